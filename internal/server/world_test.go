package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childData); dir != "" {
		os.Exit(serveAsChild(dir, os.Getenv(childListen)))
	}
	// tusd lets an upload end some time after its request; that time passes in a goroutine.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/tus/tusd/v2/pkg/handler.newDelayedContext.func1"))
}

const patience = 30 * time.Second

// world is a real server on a directory of its own.
type world struct {
	t      testing.TB
	ctx    context.Context
	dir    string // the server's data
	addr   string // the same after each start
	scheme string // http or https
	codes  chan string
	log    *lines
	stop   func()

	server *server.Server
	before func(*server.Server) // it runs; may be nil
	op     string               // an operator's key
	http   *http.Client
}

// lines keeps what the server logs.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newWorld(t testing.TB, cfg ...func(*server.Config)) *world {
	t.Helper()
	return newWorldOver(t, "http", cfg...)
}

func newWorldOver(t testing.TB, scheme string, cfg ...func(*server.Config)) *world {
	t.Helper()
	w := &world{t: t, scheme: scheme, ctx: t.Context(), dir: filepath.Join(t.TempDir(), "data"), codes: make(chan string, 64), log: &lines{}}
	w.http = clientOf(t, nil)
	w.start(cfg...)
	t.Cleanup(func() { w.stop() })
	var key wire.Credential
	check(t, client.NewKeyAPI("http://admin", "", w.admin()).Call(w.ctx, "POST", "/v1/operator/credentials",
		wire.CredentialRequest{Role: "operator", Name: "test"}, &key))
	w.op = key.Key
	return w
}

// settings of a server for tests, on a directory and a listener.
func settings(dir string, l net.Listener) server.Config {
	c := server.Defaults()
	c.Data, c.Listen = dir, l.Addr().String()
	c.Engine.HeadroomMiB = 16
	c.SIP.Listen = "127.0.0.1:0"
	c.TrustedProxies = []string{"127.0.0.0/8"}
	c.Limits.PendingPerAddress = 1000
	c.Limits.MessagesPerSecond, c.Limits.MessageBurst = 1e6, 1e6 // load is sent as fast as it goes
	c.Calls.InviteDelay = 50 * time.Millisecond
	return c
}

// start starts the server, the second time on the same data and port.
func (w *world) start(cfg ...func(*server.Config)) {
	w.t.Helper()
	s, err := w.make(cfg...)
	check(w.t, err)
	w.server = s
	if w.before != nil {
		w.before(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		w.http.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the server ended: %v", err)
		}
	})
	if w.scheme == "https" {
		w.http.Transport.(withHeader).TLSClientConfig = w.trust()
	}
	w.until("the server answers", func() bool {
		return w.ask("GET", "/healthz", "", "").status == http.StatusOK
	})
}

// make makes a server without running it.
func (w *world) make(cfg ...func(*server.Config)) (*server.Server, error) {
	l, err := net.Listen("tcp", orAny(w.addr))
	check(w.t, err)
	w.addr = l.Addr().String()
	c := settings(w.dir, l)
	for _, f := range cfg {
		f(&c)
	}
	s, err := server.New(w.ctx, c, server.Options{
		Version: "test", Listener: l, Show: func(line string) { w.codes <- line },
		Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		l.Close()
	}
	return s, err
}

func orAny(addr string) string {
	if addr == "" {
		return "127.0.0.1:0"
	}
	return addr
}

// until looks again and again until cond holds.
func (w *world) until(what string, cond func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !cond(); {
		if time.Now().After(end) {
			w.t.Fatalf("waited in vain: %s\n%s", what, w.log)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// clientOf returns an HTTP client with connections of its own.
func clientOf(t testing.TB, header http.Header) *http.Client {
	tr := &http.Transport{MaxIdleConnsPerHost: 8, DialContext: dialOf(t)}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: withHeader{tr, header}}
}

// dialOf dials until the test's end: http.Transport goes on with what nobody waits for any more, and to a machine that
// was cut off that takes minutes.
func dialOf(t testing.TB) func(ctx context.Context, network, addr string) (net.Conn, error) {
	life, end := context.WithCancel(context.Background())
	t.Cleanup(end)
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(life, cancel)()
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
}

// withHeader adds headers to requests.
type withHeader struct {
	*http.Transport
	header http.Header
}

func (h withHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for k, v := range h.header {
		r.Header[k] = v
	}
	return h.Transport.RoundTrip(r)
}

var addresses atomic.Uint32

// elsewhere is the HTTP client of somebody with another address, seen through a trusted
// proxy: enrolments are counted by address.
func elsewhere(t testing.TB) *http.Client {
	n := addresses.Add(1)
	return clientOf(t, http.Header{"X-Forwarded-For": {fmt.Sprintf("198.51.%d.%d", n>>8, n&255)}})
}

// admin is an HTTP client over the operator's socket.
func (w *world) admin() *http.Client { return adminOf(w.t, w.dir) }

// adminOf is the HTTP client of who can open the admin socket of a server's data.
func adminOf(t testing.TB, dir string) *http.Client {
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, server.AdminSocket))
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (w *world) url() string { return w.scheme + "://" + w.addr }

// reply is an answer over HTTP.
type reply struct {
	status int
	header http.Header
	body   string
}

// problem reads the problem in an answer, which must have the form of one.
func (r reply) problem(t testing.TB) wire.Problem {
	t.Helper()
	var p wire.Problem
	if err := json.Unmarshal([]byte(r.body), &p); err != nil || p.Code == "" || p.Status != r.status || p.Title == "" ||
		p.Type != "/problems/"+string(p.Code) || r.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("not a problem: %d %v %q", r.status, r.header, r.body)
	}
	return p
}

func (r reply) code(t testing.TB) wire.Code {
	t.Helper()
	return r.problem(t).Code
}

// ask makes a request; a failed connection has the status 0.
func (w *world) ask(method, path, token, body string, header ...string) reply {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.ctx, method, w.url()+path, strings.NewReader(body))
	check(w.t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return do(w.http, req)
}

func do(c *http.Client, req *http.Request) reply {
	res, err := c.Do(req)
	if err != nil {
		return reply{body: err.Error()}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return reply{body: err.Error()}
	}
	return reply{res.StatusCode, res.Header, string(b)}
}

// key makes an API key.
func (w *world) key(role string, ranges ...string) string {
	w.t.Helper()
	var c wire.Credential
	check(w.t, client.NewKeyAPI(w.url(), w.op, w.http).Call(w.ctx, "POST", "/v1/operator/credentials",
		wire.CredentialRequest{Role: role, Name: role, Ranges: ranges}, &c))
	return c.Key
}

// code reads a code that the server has printed.
func codeIn(ctx context.Context, codes <-chan string) (string, error) {
	for {
		select {
		case line := <-codes:
			for _, word := range strings.FieldsFunc(line, func(r rune) bool { return r < '0' || r > '9' }) {
				if len(word) == 6 {
					return word, nil
				}
			}
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

func enrol(t testing.TB, url, number string, codes <-chan string) *client.Identity {
	t.Helper()
	id, err := client.NewIdentity(url)
	check(t, err)
	_, err = client.Enrol(t.Context(), id, client.Enrolling{Number: number, Name: "of " + number, HTTP: elsewhere(t)},
		func(ctx context.Context, _ wire.Enrolment, last error) (string, error) {
			if last != nil {
				return "", last
			}
			return codeIn(ctx, codes)
		})
	check(t, err)
	return id
}

func (w *world) enrol(number string) *client.Identity {
	w.t.Helper()
	for len(w.codes) > 0 {
		<-w.codes // of enrolments that were left
	}
	return enrol(w.t, w.url(), number, w.codes)
}

func (w *world) token(id *client.Identity) string {
	w.t.Helper()
	token, err := client.NewAPI(id, w.http).Bearer(w.ctx)
	check(w.t, err)
	return token
}

// Numbers of the tests.
const (
	alice = "+442079460001"
	bob   = "+442079460002"
	carol = "+442079460003"
	dave  = "+442079460004"
)

// report is the body of a report of one's own call with other.
func report(other, direction, state, ref string) string {
	return fmt.Sprintf(`{"other":%q,"direction":%q,"state":%q,"ref":{"call_id":%q}}`, "tel:"+other, direction, state, ref)
}

// pair enrols two devices and opens a session between them.
func (w *world) pair(a, b string) (x, y *client.Identity, id wire.SessionID) {
	w.t.Helper()
	x, y = w.enrol(a), w.enrol(b)
	for _, r := range []reply{
		w.ask("POST", "/v1/reports", w.token(x), report(b, "outgoing", "active", "c")),
		w.ask("POST", "/v1/reports", w.token(y), report(a, "incoming", "active", "c")),
	} {
		if r.status != http.StatusOK {
			w.t.Fatalf("report: %+v", r)
		}
		var ack wire.Ack
		check(w.t, json.Unmarshal([]byte(r.body), &ack))
		id = ack.Session
	}
	if id == "" {
		w.t.Fatal("no session")
	}
	return x, y, id
}

// socket is a WebSocket that the test drives frame by frame.
type socket struct {
	t     testing.TB
	ctx   context.Context
	conn  *websocket.Conn
	nonce string
}

// dial connects without a hello.
func (w *world) dial() *socket {
	w.t.Helper()
	return w.dialOver(w.http)
}

func (w *world) dialOver(hc *http.Client) *socket {
	w.t.Helper()
	c, _, err := websocket.Dial(w.ctx, "ws"+strings.TrimPrefix(w.url(), "http")+"/v1/connect",
		&websocket.DialOptions{HTTPClient: hc, Subprotocols: []string{"tandem.v1"}})
	check(w.t, err)
	w.t.Cleanup(func() { _ = c.CloseNow() })
	c.SetReadLimit(-1)
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	w.t.Cleanup(cancel)
	s := &socket{t: w.t, ctx: ctx, conn: c}
	var ch wire.Challenge
	check(w.t, json.Unmarshal(s.read(wire.TypeChallenge).Body, &ch))
	s.nonce = ch.Nonce
	return s
}

// enter connects a device.
func (w *world) enter(id *client.Identity) *socket {
	w.t.Helper()
	s := w.dial()
	s.hello(id)
	s.read(wire.TypeWelcome)
	return s
}

func (s *socket) hello(id *client.Identity) string {
	s.t.Helper()
	a, err := id.Assert(s.nonce)
	check(s.t, err)
	frame := fmt.Sprintf(`{"type":"hello","body":{"assertion":%q}}`, a)
	s.write(frame)
	return frame
}

func (s *socket) write(frame string) {
	s.t.Helper()
	check(s.t, s.conn.Write(s.ctx, websocket.MessageText, []byte(frame)))
}

// read returns the next frame of a type, passing over others.
func (s *socket) read(want wire.Type) wire.Envelope {
	s.t.Helper()
	for {
		_, b, err := s.conn.Read(s.ctx)
		if err != nil {
			s.t.Fatalf("waiting for %s: %v", want, err)
		}
		e, err := wire.DecodeServer(b)
		check(s.t, err)
		if e.Type == want {
			return e
		}
	}
}

// closed waits for the end of the connection.
func (s *socket) closed() wire.CloseCode {
	s.t.Helper()
	for {
		if _, _, err := s.conn.Read(s.ctx); err != nil {
			var c websocket.CloseError
			if !errors.As(err, &c) {
				s.t.Fatalf("ended without a code: %v", err)
			}
			return wire.CloseCode(c.Code)
		}
	}
}

// answer is the answer to a request: the ack's body, or the problem's code.
func (s *socket) answer(frame string) (wire.Envelope, wire.Problem) {
	s.t.Helper()
	s.write(frame)
	for {
		_, b, err := s.conn.Read(s.ctx)
		check(s.t, err)
		e, err := wire.DecodeServer(b)
		check(s.t, err)
		switch e.Type {
		case wire.TypeAck:
			return e, wire.Problem{}
		case wire.TypeError:
			var p wire.Problem
			check(s.t, json.Unmarshal(e.Body, &p))
			return e, p
		}
	}
}

func details(id *client.Identity, other string, d tel.Direction, s tel.State) tel.PartyDetails {
	o, err := tel.ParseIdentity(other, "")
	if err != nil {
		panic(err) // a number of the tests'
	}
	p := id.Details(o, d, s)
	p.Ref.CallID = "c"
	return p
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// scan sends the lines of r.
func scan(r io.Reader, to chan<- string) {
	for s := bufio.NewScanner(r); s.Scan(); {
		to <- s.Text()
	}
}

// guest is a device that opened a link sent to the number.
func (w *world) guest(number string) *client.Identity {
	w.t.Helper()
	past, err := w.server.At(w.ctx, time.Now())
	check(w.t, err)
	n, err := tel.ParseNumber(number, "")
	check(w.t, err)
	id, err := client.NewIdentity(w.url())
	check(w.t, err)
	assertion, err := id.Assert("psh_LINK")
	check(w.t, err)
	id.Number = n
	id.Device, err = past.Guest(w.ctx, n, id.PublicKey(), "psh_LINK", assertion)
	check(w.t, err)
	return id
}

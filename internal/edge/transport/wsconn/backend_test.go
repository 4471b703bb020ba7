package wsconn_test

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/tandem-call/tandem/internal/edge/transport/wsconn"
	"github.com/tandem-call/tandem/wire"
)

// relay is a Backend in miniature: a device "dev_x" proves itself by "dev_x/NONCE" or the
// token "dev_x", and what it sends goes to every other connection.
type relay struct {
	mu       sync.Mutex
	attached map[wsconn.Outbox]wsconn.Identity
	detached int
	remotes  []netip.Addr

	// What tests change before the connection they concern.
	onHello  func(ctx context.Context, device wire.DeviceID) error
	onAttach func(out wsconn.Outbox) error
	onHandle func(who wsconn.Identity, e wire.Envelope, out wsconn.Outbox) (done bool)
}

func newRelay() *relay { return &relay{attached: make(map[wsconn.Outbox]wsconn.Identity)} }

func (b *relay) Challenge() string { return "nonce" }

func (b *relay) Hello(ctx context.Context, nonce string, h wire.Hello, from wsconn.Client) (wsconn.Identity, error) {
	b.mu.Lock()
	b.remotes = append(b.remotes, from.Addr)
	b.mu.Unlock()
	device, ok := strings.CutSuffix(h.Assertion, "/"+nonce)
	if !ok {
		return wsconn.Identity{}, wire.NewProblem(wire.CodeUnauthenticated, "wrong assertion")
	}
	if b.onHello != nil {
		if err := b.onHello(ctx, wire.DeviceID(device)); err != nil {
			return wsconn.Identity{}, err
		}
	}
	return identity(device), nil
}

func identity(device string) wsconn.Identity {
	return wsconn.Identity{Tenant: wire.DefaultTenant, Device: wire.DeviceID(device)}
}

func (b *relay) Bearer(_ context.Context, token string) (wsconn.Identity, error) {
	if !strings.HasPrefix(token, "dev_") {
		return wsconn.Identity{}, wire.NewProblem(wire.CodeUnauthenticated, "unknown token")
	}
	return identity(token), nil
}

func (b *relay) Attach(_ context.Context, who wsconn.Identity, out wsconn.Outbox) (wire.Welcome, func(), error) {
	if b.onAttach != nil {
		if err := b.onAttach(out); err != nil {
			return wire.Welcome{}, nil, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attached[out] = who
	return wire.Welcome{}, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.attached, out)
		b.detached++
	}, nil
}

func (b *relay) Handle(_ context.Context, who wsconn.Identity, e wire.Envelope, out wsconn.Outbox) {
	if b.onHandle != nil && b.onHandle(who, e, out) {
		return
	}
	switch e.Type {
	case wire.TypeSend:
		b.publish(out, encode(wire.Envelope{Type: wire.TypeMessage, From: wire.MemberID(who.Device), Kind: e.Kind, Body: e.Body}))
	case wire.TypeResume:
		for i := range 3 {
			out.Push(encode(wire.Envelope{Type: wire.TypeMessage, Seq: uint64(i + 1)}))
		}
		out.Push(encode(wire.Envelope{Type: wire.TypeResumed, ID: e.ID}))
		return
	case wire.TypeSignal:
		if e.Kind != "fail" {
			return
		}
		p := wire.NewProblem(wire.CodeTooMany, "slow down")
		p.RetryAfterSeconds = 7
		body, _ := json.Marshal(p)
		out.Push(encode(wire.Envelope{Type: wire.TypeError, ID: e.ID, Body: body}))
		return
	}
	out.Push(encode(wire.Envelope{Type: wire.TypeAck, ID: e.ID}))
}

// publish sends a frame to every connection but one.
func (b *relay) publish(but wsconn.Outbox, frame []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for o := range b.attached {
		if o != but {
			o.Push(frame)
		}
	}
}

// outbox returns the one connection of a device.
func (b *relay) outbox(t testing.TB, device string) wsconn.Outbox {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for o, who := range b.attached {
		if who == identity(device) {
			return o
		}
	}
	t.Fatalf("%s has no connection", device)
	return nil
}

func (b *relay) gone() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.detached
}

func encode(e wire.Envelope) []byte {
	frame, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return frame
}

// server is a Handler behind a real HTTP server.
type server struct {
	*wsconn.Handler
	relay *relay
	http  *httptest.Server
}

func serve(t testing.TB, cfg wsconn.Config) *server {
	t.Helper()
	s := &server{relay: newRelay()}
	s.http = httptest.NewUnstartedServer(s.mux(t, cfg))
	s.http.Start()
	t.Cleanup(func() {
		s.drain(t)
		s.http.Close()
	})
	return s
}

// serveTLS serves HTTP/1.1 and HTTP/2 over TLS.
func serveTLS(t testing.TB, cfg wsconn.Config) *server {
	t.Helper()
	s := &server{relay: newRelay()}
	s.http = httptest.NewUnstartedServer(s.mux(t, cfg))
	s.http.EnableHTTP2 = true
	s.http.StartTLS()
	t.Cleanup(func() {
		s.drain(t)
		s.http.Close()
	})
	return s
}

func (s *server) mux(t testing.TB, cfg wsconn.Config) http.Handler {
	t.Helper()
	if cfg.Backend == nil {
		cfg.Backend = s.relay
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if cfg.DrainSpread == 0 {
		cfg.DrainSpread = time.Millisecond
	}
	h, err := wsconn.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Handler = h
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/connect", h.Connect)
	mux.HandleFunc("/v1/events", h.Events)
	mux.HandleFunc("/v1/frames", h.Frames)
	return mux
}

func (s *server) drain(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.Drain(ctx); err != nil {
		t.Errorf("drain: %v", err)
	}
}

// device is a client, by an independent implementation.
type device struct {
	t  testing.TB
	ws *websocket.Conn
}

// dial connects without saying hello.
func (s *server) dial(t testing.TB, client *http.Client) *device {
	t.Helper()
	ws, resp, err := websocket.Dial(t.Context(), s.url("/v1/connect"), &websocket.DialOptions{
		Subprotocols: []string{"tandem.v1"}, HTTPClient: client,
	})
	if err != nil {
		t.Fatalf("dial: %v %v", err, resp)
	}
	t.Cleanup(func() { ws.CloseNow() })
	return &device{t, ws}
}

func (s *server) url(path string) string {
	if s.http == nil {
		return "http://tandem.example" + path
	}
	return s.http.URL + path
}

// connect dials and authenticates.
func (s *server) connect(t testing.TB, name string) *device {
	t.Helper()
	d := s.dial(t, nil)
	d.hello(name)
	return d
}

func (d *device) hello(name string) wire.Welcome {
	d.t.Helper()
	d.expect(wire.TypeChallenge)
	d.send(helloOf(name))
	var w wire.Welcome
	e := d.expect(wire.TypeWelcome)
	if err := json.Unmarshal(e.Body, &w); err != nil {
		d.t.Fatal(err)
	}
	return w
}

func helloOf(name string) wire.Envelope {
	body, err := json.Marshal(wire.Hello{Assertion: name + "/nonce"})
	if err != nil {
		panic(err)
	}
	return wire.Envelope{Type: wire.TypeHello, Body: body}
}

// send fills in what the type demands and the test does not care about.
func (d *device) send(e wire.Envelope) {
	d.t.Helper()
	switch e.Type {
	case wire.TypeSend:
		e.Session, e.Kind = "s", cmp.Or(e.Kind, wire.KindText)
	case wire.TypeReport:
		e.Body = json.RawMessage("{}")
	}
	if err := d.ws.Write(d.t.Context(), websocket.MessageText, encode(e)); err != nil {
		d.t.Fatalf("send %s: %v", e.Type, err)
	}
}

func (d *device) read() (wire.Envelope, error) {
	_, data, err := d.ws.Read(d.t.Context())
	if err != nil {
		return wire.Envelope{}, err
	}
	var e wire.Envelope
	return e, json.Unmarshal(data, &e)
}

func (d *device) expect(want wire.Type) wire.Envelope {
	d.t.Helper()
	e, err := d.read()
	if err != nil {
		d.t.Fatalf("waiting for %s: %v", want, err)
	}
	if e.Type != want {
		d.t.Fatalf("got %s %s, want %s", e.Type, e.Body, want)
	}
	return e
}

// problem expects an error frame with this code.
func (d *device) problem(want wire.Code) wire.Problem {
	d.t.Helper()
	var p wire.Problem
	if err := json.Unmarshal(d.expect(wire.TypeError).Body, &p); err != nil {
		d.t.Fatal(err)
	}
	if p.Code != want {
		d.t.Fatalf("got problem %v, want %s", &p, want)
	}
	return p
}

// closed expects the connection's end with this code, after any frames still to come.
func (d *device) closed(want wire.CloseCode) (frames int) {
	d.t.Helper()
	for {
		_, err := d.read()
		if err == nil {
			frames++
			continue
		}
		if got := websocket.CloseStatus(err); got != websocket.StatusCode(want) {
			d.t.Fatalf("ended with %d (%v), want %d", got, err, want)
		}
		return frames
	}
}

// pipes is a listener and dialler in memory, for tests in which time is not real.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: p.dial}}
}

package wsconn_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/tandem-call/tandem/internal/edge/transport/wsconn"
	"github.com/tandem-call/tandem/wire"
	"go.uber.org/goleak"
)

func TestHelloWelcomeAck(t *testing.T) {
	s := serve(t, wsconn.Config{})
	a, b := s.dial(t, nil), s.connect(t, "dev_b")
	w := a.hello("dev_a")
	if w.Device != "dev_a" || w.HeartbeatSeconds != 25 || w.Limits != wire.DefaultLimits || w.Time.IsZero() {
		t.Errorf("welcome %+v", w)
	}
	a.send(wire.Envelope{Type: wire.TypeSend, ID: "r1", Kind: wire.KindText, Body: json.RawMessage(`{"text":"hi"}`)})
	if e := a.expect(wire.TypeAck); e.ID != "r1" {
		t.Errorf("ack of %q", e.ID)
	}
	if e := b.expect(wire.TypeMessage); e.From != "dev_a" || string(e.Body) != `{"text":"hi"}` {
		t.Errorf("message %+v", e)
	}
	a.send(wire.Envelope{Type: wire.TypePing, ID: "p"})
	if e := a.expect(wire.TypePong); e.ID != "p" {
		t.Errorf("pong %+v", e)
	}
	if got := s.Stats(); got.Open() != 2 || got.Sockets != 2 || got.Pending != 0 || got.FramesIn != 4 {
		t.Errorf("stats %+v", got)
	}
	if r := s.relay.remotes[0]; !r.IsLoopback() {
		t.Errorf("the backend was told the address %v", r)
	}
	if err := a.ws.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Errorf("the close handshake: %v", err)
	}
}

func TestWelcomeComesFirst(t *testing.T) {
	s := serve(t, wsconn.Config{})
	s.relay.onAttach = func(out wsconn.Outbox) error {
		for range 3 {
			out.Push([]byte(`{"type":"invite"}`))
		}
		return nil
	}
	d := s.connect(t, "dev_a") // which expects the welcome after the challenge
	for range 3 {
		d.expect(wire.TypeInvite)
	}
}

func TestHelloRefused(t *testing.T) {
	for _, tt := range []struct {
		name  string
		hello error // of Backend.Hello
		att   error // of Backend.Attach
		first wire.Envelope
		code  wire.Code
		close wire.CloseCode
	}{
		{"wrong assertion", nil, nil, wire.Envelope{Type: wire.TypeHello, Body: json.RawMessage(`{"assertion":"x"}`)}, wire.CodeUnauthenticated, wire.CloseUnauthentic},
		{"body is no hello", nil, nil, wire.Envelope{Type: wire.TypeHello, Body: json.RawMessage(`[]`)}, wire.CodeBadFrame, wire.CloseBadFrame},
		{"something else first", nil, nil, wire.Envelope{Type: wire.TypeReport, ID: "r"}, wire.CodeBadFrame, wire.CloseBadFrame},
		{"ping first", nil, nil, wire.Envelope{Type: wire.TypePing}, wire.CodeBadFrame, wire.CloseBadFrame},
		{"backend broken", errors.New("disk on fire"), nil, helloOf("dev_a"), wire.CodeInternal, wire.CloseInternal},
		{"wrapped problem", fmt.Errorf("ask: %w", wire.NewProblem(wire.CodeTooMany, "later")), nil, helloOf("dev_a"), wire.CodeTooMany, wire.CloseRate},
		{"backend drains", wire.NewProblem(wire.CodeDraining, "later"), nil, helloOf("dev_a"), wire.CodeDraining, wire.CloseDraining},
		{"attach fails", nil, errors.New("disk on fire"), helloOf("dev_a"), wire.CodeInternal, wire.CloseInternal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, wsconn.Config{})
			s.relay.onHello = func(context.Context, wire.DeviceID) error { return tt.hello }
			s.relay.onAttach = func(out wsconn.Outbox) error {
				out.Push([]byte(`{"type":"invite"}`)) // never to be seen without a welcome
				return tt.att
			}
			d := s.dial(t, nil)
			d.expect(wire.TypeChallenge)
			d.send(tt.first)
			if p := d.problem(tt.code); strings.Contains(p.Detail, "fire") {
				t.Errorf("the detail tells what happened inside: %q", p.Detail)
			}
			d.closed(tt.close)
		})
	}
}

func TestPanicEndsOneConnection(t *testing.T) {
	s := serve(t, wsconn.Config{})
	s.relay.onHandle = func(_ wsconn.Identity, e wire.Envelope, _ wsconn.Outbox) bool {
		if e.Kind == "panic" {
			panic("a bug")
		}
		return false
	}
	a, b := s.connect(t, "dev_a"), s.connect(t, "dev_b")
	a.send(wire.Envelope{Type: wire.TypeSend, ID: "r", Kind: "panic"})
	a.problem(wire.CodeInternal)
	a.closed(wire.CloseInternal)
	b.send(wire.Envelope{Type: wire.TypeSend, ID: "r"})
	b.expect(wire.TypeAck)
}

// handshake sends an upgrade request with changes and returns the answer.
func (s *server) handshake(t *testing.T, change func(*http.Request)) (*http.Response, wire.Problem) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url("/v1/connect"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Sec-Websocket-Protocol": {"other", "foo, tandem.v1"}}
	change(r)
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var p wire.Problem
	if resp.StatusCode != http.StatusSwitchingProtocols {
		if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" {
			t.Errorf("content type %q", ct)
		}
		if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
			t.Fatal(err)
		}
	}
	return resp, p
}

func TestHandshake(t *testing.T) {
	set := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	for _, tt := range []struct {
		name   string
		change func(*http.Request)
		status int
		code   wire.Code
	}{
		{"proper", func(*http.Request) {}, 101, ""},
		{"no subprotocol", set("Sec-Websocket-Protocol"), 400, wire.CodeBadRequest},
		{"wrong subprotocol", set("Sec-Websocket-Protocol", "tandem.v2"), 400, wire.CodeBadRequest},
		{"old version", set("Sec-Websocket-Version", "8"), 400, wire.CodeBadRequest},
		{"short key", set("Sec-Websocket-Key", "c2hvcnQ="), 400, wire.CodeBadRequest},
		{"no upgrade", set("Upgrade"), 400, wire.CodeBadRequest},
		{"post", func(r *http.Request) { r.Method = http.MethodPost }, 405, wire.CodeMethodNotAllowed},
		{"own origin", func(r *http.Request) { r.Header.Set("Origin", "http://"+r.URL.Host) }, 101, ""},
		{"own origin behind TLS", func(r *http.Request) { r.Host = "Tandem.example:443"; r.Header.Set("Origin", "https://tandem.example") }, 101, ""},
		{"allowed origin", set("Origin", "https://app.example"), 101, ""},
		{"allowed origin, port", set("Origin", "http://localhost:5173"), 101, ""},
		{"other origin", set("Origin", "https://evil.example"), 403, wire.CodeForbidden},
		{"other port", set("Origin", "http://localhost:5174"), 403, wire.CodeForbidden},
		{"suffix of allowed", set("Origin", "https://evilapp.example"), 403, wire.CodeForbidden},
		{"user part", set("Origin", "https://app.example@evil.example"), 403, wire.CodeForbidden},
		{"null origin", set("Origin", "null"), 403, wire.CodeForbidden},
		{"empty origin", set("Origin", ""), 403, wire.CodeForbidden},
		{"two origins", set("Origin", "https://app.example", "https://evil.example"), 403, wire.CodeForbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, wsconn.Config{Origins: []string{"App.example", "localhost:5173"}})
			resp, p := s.handshake(t, tt.change)
			if resp.StatusCode != tt.status || p.Code != tt.code {
				t.Errorf("%d %v, want %d %s", resp.StatusCode, &p, tt.status, tt.code)
			}
			if tt.status == 101 && resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
				t.Error("wrong accept key (RFC 6455 1.3)")
			}
		})
	}
}

func TestPendingIsBounded(t *testing.T) {
	s := serve(t, wsconn.Config{MaxPendingPerAddr: 2})
	first := s.dial(t, nil)
	first.expect(wire.TypeChallenge)
	s.dial(t, nil).expect(wire.TypeChallenge)
	if resp, p := s.handshake(t, func(*http.Request) {}); p.Code != wire.CodeTooMany {
		t.Errorf("a third: %d %v", resp.StatusCode, &p)
	}
	first.send(helloOf("dev_a"))
	first.expect(wire.TypeWelcome)
	s.dial(t, nil).expect(wire.TypeChallenge)
	if got := s.Stats(); got.Pending != 2 || got.Refused[wire.CodeTooMany] != 1 {
		t.Errorf("stats %+v", got)
	}
}

func TestBadFrames(t *testing.T) {
	s := serve(t, wsconn.Config{})
	d := s.connect(t, "dev_a")
	write := func(kind websocket.MessageType, data string) {
		t.Helper()
		if err := d.ws.Write(t.Context(), kind, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	for range 9 {
		write(websocket.MessageText, `{"type":`)
		d.problem(wire.CodeBadFrame)
	}
	d.send(wire.Envelope{Type: wire.TypeSend, ID: "good"}) // not in a row any more
	d.expect(wire.TypeAck)
	d.send(helloOf("dev_a"))
	d.problem(wire.CodeBadFrame)
	for range 9 {
		write(websocket.MessageText, `[]`)
	}
	if n := d.closed(wire.CloseBadFrame); n != 9 {
		t.Errorf("%d answers before the end, want 9", n)
	}

	d = s.connect(t, "dev_a")
	write = func(kind websocket.MessageType, data string) { _ = d.ws.Write(t.Context(), kind, []byte(data)) }
	write(websocket.MessageBinary, `{"type":"ping"}`)
	d.problem(wire.CodeBadFrame)
	d.closed(wire.CloseBadFrame)
}

func TestFrameTooLarge(t *testing.T) {
	limits := wire.DefaultLimits
	limits.FrameBytes = 4096
	s := serve(t, wsconn.Config{Limits: limits})
	for _, size := range []int{4097, 8 << 20} { // the second one is more than the network's buffers hold
		d := s.connect(t, "dev_a")
		sent := make(chan error, 1)
		go func() { sent <- d.ws.Write(t.Context(), websocket.MessageText, bytes.Repeat([]byte("x"), size)) }()
		d.problem(wire.CodeTooLarge)
		d.closed(wire.CloseBadFrame)
		<-sent
	}
	d := s.connect(t, "dev_a")
	pad := 4096 - len(`{"type":"send","id":"r","session":"s","kind":"text","body":""}`)
	d.send(wire.Envelope{Type: wire.TypeSend, ID: "r", Body: json.RawMessage(`"` + strings.Repeat("x", pad) + `"`)})
	d.expect(wire.TypeAck)
}

func TestFlood(t *testing.T) {
	s := serve(t, wsconn.Config{FloodPerSecond: 1, FloodBurst: 50})
	d := s.connect(t, "dev_a")
	for range 60 {
		if d.ws.Write(t.Context(), websocket.MessageText, []byte(`{"type":"ping"}`)) != nil {
			break
		}
	}
	if n := d.closed(wire.CloseRate); n > 50 {
		t.Errorf("%d answers", n)
	}
}

func TestSlowReaderHurtsNobodyElse(t *testing.T) {
	s := serve(t, wsconn.Config{QueueBytes: 256 << 10})
	slow, quick := s.connect(t, "dev_slow"), s.connect(t, "dev_quick")
	slow.ws.SetReadLimit(-1)
	frame := encode(wire.Envelope{Type: wire.TypeMessage, Body: json.RawMessage(`"` + strings.Repeat("x", 16<<10) + `"`)})
	sent := 0
	for ; s.Stats().SlowClosings == 0; sent++ {
		s.relay.publish(nil, frame)
		if quick.expect(wire.TypeMessage); sent > 100_000 {
			t.Fatal("the slow device is never closed")
		}
	}
	got := slow.closed(wire.CloseSlow) // what the network had taken arrives whole
	stats := s.Stats()
	if dropped := int(stats.Dropped["slow"]); got >= sent || got+dropped != sent {
		t.Errorf("%d sent, %d arrived, %d dropped", sent, got, dropped)
	}
	s.relay.publish(nil, []byte(`{"type":"message"}`))
	quick.expect(wire.TypeMessage)
}

func TestPushAfterTheEnd(t *testing.T) {
	s := serve(t, wsconn.Config{})
	d := s.connect(t, "dev_a")
	out := s.relay.outbox(t, "dev_a")
	out.Push([]byte(`{"type":"message"}`))
	out.Close(wire.CloseInternal, strings.Repeat("é", 100)) // cut to what a close frame holds
	if out.Push([]byte(`{"type":"message"}`)) {
		t.Error("pushed after the end")
	}
	out.Close(wire.CloseSlow, "twice")
	if n := d.closed(wire.CloseInternal); n != 1 {
		t.Errorf("%d frames before the end, want the one that was queued", n)
	}
	if n := s.Stats().Dropped["closed"]; n != 1 {
		t.Errorf("%d dropped", n)
	}
}

func TestOverTLS(t *testing.T) {
	s := serveTLS(t, wsconn.Config{})
	roots := s.http.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	http1 := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}} // WebSocket needs it
	d := s.dial(t, http1)
	d.hello("dev_a")
	d.send(wire.Envelope{Type: wire.TypeSend, ID: "r"})
	d.expect(wire.TypeAck)
	_ = d.ws.Write(t.Context(), websocket.MessageText, make([]byte, 1<<20))
	d.problem(wire.CodeTooLarge)
	d.closed(wire.CloseBadFrame)

	http2 := s.http.Client()
	l := s.listen(t, http2, s.url(""), "dev_a")
	if resp, body := s.post(t, http2, `{"type":"resume","id":"r","session":"s"}`, named(l.id)); resp.ProtoMajor != 2 || resp.StatusCode != 204 {
		t.Errorf("HTTP/%d %d %s", resp.ProtoMajor, resp.StatusCode, body)
	}
	for range 3 {
		l.expect(wire.TypeMessage)
	}
	l.expect(wire.TypeResumed)
	s.CloseDevice(wire.DefaultTenant, "dev_a", wire.CloseRevoked)
	l.closed(wire.CloseRevoked)
	if resp, _ := s.post(t, http2, `{"type":"send","id":"r","session":"s","kind":"text"}`, nil); resp.StatusCode != 200 {
		t.Errorf("after a closed stream on the same HTTP/2 connection: %d", resp.StatusCode)
	}
}

func TestRevocation(t *testing.T) {
	s := serve(t, wsconn.Config{})
	a1, a2, b := s.connect(t, "dev_a"), s.connect(t, "dev_a"), s.connect(t, "dev_b")
	s.CloseDevice("other-tenant", "dev_a", wire.CloseRevoked)
	s.CloseDevice(wire.DefaultTenant, "dev_a", wire.CloseRevoked)
	a1.closed(wire.CloseRevoked)
	a2.closed(wire.CloseRevoked)
	b.send(wire.Envelope{Type: wire.TypeSend, ID: "r"})
	b.expect(wire.TypeAck)
}

func TestRevocationDuringHello(t *testing.T) {
	s := serve(t, wsconn.Config{})
	s.relay.onHello = func(context.Context, wire.DeviceID) error {
		s.CloseDevice(wire.DefaultTenant, "dev_a", wire.CloseRevoked) // after the credential was found valid
		return nil
	}
	d := s.dial(t, nil)
	d.expect(wire.TypeChallenge)
	d.send(helloOf("dev_a"))
	if n := d.closed(wire.CloseRevoked); n != 0 {
		t.Errorf("%d frames for a revoked device", n)
	}
	s.relay.onHello = nil
	s.connect(t, "dev_a") // enrolled again: the revocation is not remembered for ever
}

func TestConnectionsPerDevice(t *testing.T) {
	s := serve(t, wsconn.Config{MaxConnsPerDevice: 2})
	first := s.connect(t, "dev_a")
	s.connect(t, "dev_a")
	d := s.dial(t, nil)
	d.expect(wire.TypeChallenge)
	d.send(helloOf("dev_a"))
	d.closed(wire.CloseTooMany)
	s.connect(t, "dev_b")
	first.send(wire.Envelope{Type: wire.TypeSend, ID: "r"})
	first.expect(wire.TypeAck)
}

func TestDrain(t *testing.T) {
	s := serve(t, wsconn.Config{DrainSpread: 50 * time.Millisecond})
	var all []*device
	for i := range 10 {
		all = append(all, s.connect(t, fmt.Sprint("dev_", i)))
	}
	pending := s.dial(t, nil)
	pending.expect(wire.TypeChallenge)
	s.relay.publish(nil, []byte(`{"type":"message"}`))
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(t.Context()) }()
	for _, d := range all {
		if n := d.closed(wire.CloseDraining); n != 1 {
			t.Errorf("%d frames before the end, want the one that was queued", n)
		}
	}
	pending.closed(wire.CloseDraining)
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if resp, p := s.handshake(t, func(*http.Request) {}); resp.StatusCode != 503 || p.Code != wire.CodeDraining {
		t.Errorf("after the drain: %d %v", resp.StatusCode, &p)
	}
	if s.relay.gone() != 10 || s.Stats().Open() != 0 {
		t.Errorf("%d detached, stats %+v", s.relay.gone(), s.Stats())
	}
}

func TestDrainCutsOffWhoDoesNotAnswer(t *testing.T) {
	s := serve(t, wsconn.Config{})
	s.connect(t, "dev_a") // which reads no more, and so does not answer the close frame
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Drain(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("drain: %v", err)
	}
	if s.relay.gone() != 1 {
		t.Error("not detached")
	}
}

func TestThousandConnectionsLeakNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s := &server{relay: newRelay()}
	mux := s.mux(t, wsconn.Config{MaxPendingPerAddr: 2000})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: mux}
	go srv.Serve(ln)
	defer srv.Close()
	var all []*raw
	for i := range 1000 {
		r := dialRaw(t, ln.Addr().String())
		r.hello(fmt.Sprint("dev_", i%500))
		all = append(all, r)
	}
	if got := s.Stats(); got.Sockets != 1000 {
		t.Errorf("stats %+v", got)
	}
	s.relay.publish(nil, []byte(`{"type":"message"}`))
	for i, r := range all {
		r.text(`{"type":"message"}`)
		switch i % 3 {
		case 0: // by the rules
			r.write(finClose, []byte{0x03, 0xe8})
			if got := r.read(finClose); !bytes.Equal(got, []byte{0x03, 0xe8}) {
				t.Errorf("close answered by %x", got)
			}
			if _, err := r.br.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("after the close: %v", err)
			}
			r.nc.Close()
		case 1: // half closed
			r.nc.(*net.TCPConn).CloseWrite()
			if _, err := r.br.ReadByte(); err == nil {
				t.Error("something after the end")
			}
			r.nc.Close()
		case 2: // reset
			r.nc.(*net.TCPConn).SetLinger(0)
			r.nc.Close()
		}
	}
	s.drain(t)
	srv.Close()
	if s.relay.gone() != 1000 || len(s.relay.attached) != 0 {
		t.Errorf("%d detached", s.relay.gone())
	}
	goleak.VerifyNone(t, before)
}

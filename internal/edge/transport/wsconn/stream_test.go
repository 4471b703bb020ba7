package wsconn_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-call/tandem/internal/edge/transport/wsconn"
	"github.com/tandem-call/tandem/wire"
)

// listener is a client of an event stream.
type listener struct {
	t    testing.TB
	resp *http.Response
	br   *bufio.Reader
	id   string
}

func (s *server) listen(t testing.TB, client *http.Client, base, token string) *listener {
	t.Helper()
	l := s.open(t, client, base, token)
	var first struct{ Stream string }
	l.event("stream", &first)
	l.id = first.Stream
	l.expect(wire.TypeWelcome)
	return l
}

func (s *server) open(t testing.TB, client *http.Client, base, token string) *listener {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if ct := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || ct != "text/event-stream" {
		t.Fatalf("%d %s", resp.StatusCode, ct)
	}
	return &listener{t: t, resp: resp, br: bufio.NewReader(resp.Body)}
}

// next parses the next event as HTML 9.2.6 says; a comment is returned as name ":".
func (l *listener) next() (name, data string, err error) {
	for {
		line, err := l.br.ReadString('\n')
		if err != nil {
			return "", "", err
		}
		line = strings.TrimSuffix(line, "\n")
		switch field, value, _ := strings.Cut(line, ":"); field {
		case "event":
			name = strings.TrimPrefix(value, " ")
		case "data":
			data += strings.TrimPrefix(value, " ")
		case "":
			if strings.HasPrefix(line, ":") {
				name = ":"
			} else if name != "" || data != "" {
				return name, data, nil
			}
		}
	}
}

func (l *listener) event(want string, data any) {
	l.t.Helper()
	name, got, err := l.next()
	if err != nil || name != want {
		l.t.Fatalf("got event %q %s %v, want %s", name, got, err, want)
	}
	if data != nil {
		if err := json.Unmarshal([]byte(got), data); err != nil {
			l.t.Fatalf("event %s: %v", got, err)
		}
	}
}

func (l *listener) expect(want wire.Type) wire.Envelope {
	l.t.Helper()
	var e wire.Envelope
	l.event("envelope", &e)
	if e.Type != want {
		l.t.Fatalf("got %s %s, want %s", e.Type, e.Body, want)
	}
	return e
}

func (l *listener) closed(want wire.CloseCode) {
	l.t.Helper()
	var last struct{ Code wire.CloseCode }
	l.event("close", &last)
	if last.Code != want {
		l.t.Errorf("closed with %d, want %d", last.Code, want)
	}
	if rest, err := io.ReadAll(l.br); err != nil || len(rest) > 0 {
		l.t.Errorf("after the close %q %v", rest, err)
	}
}

// post sends a frame and returns the answer's status and body.
func (s *server) post(t testing.TB, client *http.Client, body string, change func(http.Header)) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url("/v1/frames"), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer dev_a")
	r.Header.Set("Content-Type", "application/json")
	if change != nil {
		change(r.Header)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, data
}

func named(id string) func(http.Header) {
	return func(h http.Header) { h.Set("Tandem-Stream", id) }
}

// throughProxy returns the address of a reverse proxy before the server that buffers nothing.
func (s *server) throughProxy(t testing.TB) string {
	t.Helper()
	target, err := url.Parse(s.http.URL)
	if err != nil {
		t.Fatal(err)
	}
	p := httputil.NewSingleHostReverseProxy(target)
	p.FlushInterval = -1
	proxy := httptest.NewServer(p)
	t.Cleanup(proxy.Close)
	return proxy.URL
}

func TestEventsAndFrames(t *testing.T) {
	for _, name := range []string{"direct", "through a proxy that buffers nothing"} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, wsconn.Config{})
			base := s.http.URL
			if name != "direct" {
				base = s.throughProxy(t)
			}
			l := s.listen(t, http.DefaultClient, base, "dev_a")
			b := s.connect(t, "dev_b")
			b.send(wire.Envelope{Type: wire.TypeSend, ID: "r1", Body: json.RawMessage(`{"text":"hi"}`)})
			if e := l.expect(wire.TypeMessage); string(e.Body) != `{"text":"hi"}` {
				t.Errorf("message %+v", e)
			}
			b.expect(wire.TypeAck)

			resp, body := s.post(t, http.DefaultClient, `{"type":"send","id":"r2","session":"s","kind":"text","body":1}`, named(l.id))
			if ct := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || ct != "application/json" || string(body) != `{"type":"ack","id":"r2"}` {
				t.Errorf("%d %s %s", resp.StatusCode, ct, body)
			}
			b.expect(wire.TypeMessage)
			l.expect(wire.TypeMessage) // the stream is not the POST's outbox: a relay in miniature echoes

			if got := s.Stats(); got.Streams != 1 || got.Sockets != 1 {
				t.Errorf("stats %+v", got)
			}
			s.CloseDevice(wire.DefaultTenant, "dev_a", wire.CloseRevoked)
			l.closed(wire.CloseRevoked)
		})
	}
}

func TestResumeGoesToTheStream(t *testing.T) {
	s := serve(t, wsconn.Config{})
	l, other := s.listen(t, http.DefaultClient, s.http.URL, "dev_a"), s.listen(t, http.DefaultClient, s.http.URL, "dev_a")
	resp, body := s.post(t, http.DefaultClient, `{"type":"resume","id":"r","session":"s"}`, named(l.id))
	if resp.StatusCode != 204 || len(body) > 0 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	for i := range 3 {
		if e := l.expect(wire.TypeMessage); e.Seq != uint64(i+1) {
			t.Errorf("message %d, want %d", e.Seq, i+1)
		}
	}
	l.expect(wire.TypeResumed)
	s.relay.outbox(t, "dev_a")
	s.relay.publish(nil, []byte("{\"type\":\n\"invite\"\r\n}")) // white space must not break the event
	other.expect(wire.TypeInvite)                               // and nothing of the resume before it
}

func TestFramesRefused(t *testing.T) {
	foreign := serve(t, wsconn.Config{})
	stream := foreign.listen(t, http.DefaultClient, foreign.http.URL, "dev_other").id
	header := func(name, value string) func(http.Header) {
		return func(h http.Header) { h.Set(name, value) }
	}
	ack := `{"type":"send","id":"r","session":"s","kind":"text"}`
	for _, tt := range []struct {
		name   string
		body   string
		change func(http.Header)
		status int
		code   wire.Code
	}{
		{"no token", ack, func(h http.Header) { h.Del("Authorization") }, 401, wire.CodeUnauthenticated},
		{"basic", ack, header("Authorization", "Basic ZGV2X2E6"), 401, wire.CodeUnauthenticated},
		{"wrong token", ack, header("Authorization", "Bearer x"), 401, wire.CodeUnauthenticated},
		{"wrong type", ack, header("Content-Type", "text/plain"), 415, wire.CodeUnsupportedType},
		{"not JSON", `{"type":`, nil, 400, wire.CodeBadFrame},
		{"no id", `{"type":"send","session":"s","kind":"text"}`, nil, 400, wire.CodeBadFrame},
		{"hello", `{"type":"hello","body":{}}`, nil, 400, wire.CodeBadFrame},
		{"too large", ack + strings.Repeat(" ", 64<<10), nil, 413, wire.CodeTooLarge},
		{"stream of another device", ack, named(stream), 404, wire.CodeNotFound},
		{"resume without a stream", `{"type":"resume","id":"r","session":"s"}`, nil, 400, wire.CodeBadRequest},
		{"error answer", `{"type":"signal","session":"s","kind":"fail","id":"r"}`, nil, 429, wire.CodeTooMany},
		{"other origin", ack, header("Origin", "https://evil.example"), 403, wire.CodeForbidden},
		{"panic", `{"type":"signal","session":"s","kind":"panic"}`, nil, 500, wire.CodeInternal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			foreign.relay.onHandle = func(_ wsconn.Identity, e wire.Envelope, _ wsconn.Outbox) bool {
				if e.Kind == "panic" {
					panic("a bug")
				}
				return false
			}
			resp, body := foreign.post(t, http.DefaultClient, tt.body, tt.change)
			var p wire.Problem
			if err := json.Unmarshal(body, &p); err != nil || resp.Header.Get("Content-Type") != "application/problem+json" {
				t.Fatalf("%s: %v", body, err)
			}
			if resp.StatusCode != tt.status || p.Status != tt.status || p.Code != tt.code {
				t.Errorf("%d %v, want %d %s", resp.StatusCode, &p, tt.status, tt.code)
			}
			if p.RetryAfterSeconds > 0 && resp.Header.Get("Retry-After") != fmt.Sprint(p.RetryAfterSeconds) {
				t.Errorf("Retry-After %q", resp.Header.Get("Retry-After"))
			}
		})
	}
}

func TestSignalHasNoAnswer(t *testing.T) {
	s := serve(t, wsconn.Config{})
	if resp, body := s.post(t, http.DefaultClient, `{"type":"signal","session":"s","kind":"typing"}`, nil); resp.StatusCode != 204 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestRequestClosedByTheBackend(t *testing.T) {
	s := serve(t, wsconn.Config{})
	s.relay.onHandle = func(_ wsconn.Identity, _ wire.Envelope, out wsconn.Outbox) bool {
		out.Close(wire.CloseRate, "too fast")
		return true
	}
	l := s.listen(t, http.DefaultClient, s.http.URL, "dev_a")
	if resp, body := s.post(t, http.DefaultClient, `{"type":"send","id":"r","session":"s","kind":"text"}`, named(l.id)); resp.StatusCode != 429 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	l.closed(wire.CloseRate)
}

func TestCrossOrigin(t *testing.T) {
	s := serve(t, wsconn.Config{Origins: []string{"app.example"}})
	for _, path := range []string{"/v1/events", "/v1/frames"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, s.url(path), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", "https://app.example")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Origin") != "https://app.example" ||
			!strings.Contains(resp.Header.Get("Access-Control-Allow-Headers"), "Authorization") || resp.Header.Get("Vary") != "Origin" {
			t.Errorf("preflight of %s: %d %v", path, resp.StatusCode, resp.Header)
		}
	}
	resp, _ := s.post(t, http.DefaultClient, `{"type":"send","id":"r","session":"s","kind":"text"}`, func(h http.Header) { h.Set("Origin", "https://app.example") })
	if resp.StatusCode != 200 || resp.Header.Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
}

func TestStreamDrains(t *testing.T) {
	s := serve(t, wsconn.Config{})
	l := s.listen(t, http.DefaultClient, s.http.URL, "dev_a")
	s.relay.publish(nil, []byte(`{"type":"message"}`))
	s.drain(t)
	l.expect(wire.TypeMessage)
	l.closed(wire.CloseDraining)
	if resp, body := s.post(t, http.DefaultClient, `{"type":"send","id":"r","session":"s","kind":"text"}`, nil); resp.StatusCode != 503 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestStreamOfADeviceThatHangsUp(t *testing.T) {
	s := serve(t, wsconn.Config{})
	l := s.listen(t, http.DefaultClient, s.http.URL, "dev_a")
	l.resp.Body.Close()
	s.drain(t) // waits for the stream's end
	if s.relay.gone() != 1 {
		t.Error("not detached")
	}
}

func TestSlowStreamHurtsNobodyElse(t *testing.T) {
	s := serve(t, wsconn.Config{QueueFrames: 64})
	slow, quick := s.listen(t, http.DefaultClient, s.http.URL, "dev_slow"), s.listen(t, http.DefaultClient, s.http.URL, "dev_quick")
	frame := encode(wire.Envelope{Type: wire.TypeMessage, Body: json.RawMessage(`"` + strings.Repeat("x", 16<<10) + `"`)})
	sent := 0
	for ; s.Stats().SlowClosings == 0; sent++ {
		s.relay.publish(nil, frame)
		if quick.expect(wire.TypeMessage); sent > 100_000 {
			t.Fatal("the slow stream is never closed")
		}
	}
	for got := 0; ; got++ {
		name, data, err := slow.next()
		if err != nil || got > sent {
			t.Fatalf("after %d events: %v", got, err)
		}
		if name == "close" {
			if !strings.Contains(data, "4008") {
				t.Errorf("closed with %s", data)
			}
			break
		}
	}
}

func TestStreamHeartbeatsAndLateAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, client := inBubble(t, wsconn.Config{})
		start := time.Now()
		l := s.listen(t, client, s.url(""), "dev_a")
		for i := range 3 {
			line, err := l.br.ReadString('\n')
			if line != ": ping\n" || err != nil {
				t.Fatalf("%q %v", line, err)
			}
			if got, want := time.Since(start), time.Duration(i+1)*25*time.Second; got != want {
				t.Errorf("heartbeat after %v, want %v", got, want)
			}
			l.br.ReadString('\n')
		}

		var late wsconn.Outbox
		s.relay.onHandle = func(_ wsconn.Identity, _ wire.Envelope, out wsconn.Outbox) bool {
			late = out
			return true
		}
		start = time.Now()
		resp, body := s.post(t, client, `{"type":"send","id":"r","session":"s","kind":"text"}`, named(l.id))
		if resp.StatusCode != 504 || !strings.Contains(string(body), "outcome-unknown") || time.Since(start) != 10*time.Second {
			t.Errorf("%d %s after %v", resp.StatusCode, body, time.Since(start))
		}
		late.Push([]byte(`{"type":"ack","id":"r"}`))
		l.expect(wire.TypeAck)
	})
}

func TestStreamThatIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, client := inBubble(t, wsconn.Config{})
		start := time.Now()
		s.listen(t, client, s.url(""), "dev_a")
		for range 100 {
			s.relay.publish(nil, encode(wire.Envelope{Type: wire.TypeMessage, Body: json.RawMessage(`"` + strings.Repeat("x", 9000) + `"`)}))
		}
		for s.Stats().Closings[wire.CloseHeartbeat] == 0 {
			time.Sleep(time.Second) // of the bubble
		}
		if got := time.Since(start).Round(time.Second); got < 50*time.Second || got > 76*time.Second {
			t.Errorf("closed after %v", got)
		}
		for s.relay.gone() == 0 {
			time.Sleep(time.Second)
		}
	})
}

package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/wire"
)

const key43 = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

func enrolBody(number string) string {
	return fmt.Sprintf(`{"number":%q,"key":{"kty":"EC","crv":"P-256","x":%q,"y":%q}}`, number, key43, key43)
}

// TestBadBodies: each fault of a request over HTTP has its documented answer.
func TestBadBodies(t *testing.T) {
	w := newWorld(t)
	token := w.token(w.enrol(alice))
	deep := strings.Repeat("[", 50) + strings.Repeat("]", 50)
	for _, c := range []struct {
		name, method, path, token, body string
		code                            wire.Code
		says                            string // in the detail or in a field's fault
	}{
		{"no body", "POST", "/v1/enrolments", "", "", wire.CodeBadRequest, "body is required"},
		{"not JSON", "POST", "/v1/enrolments", "", "{", wire.CodeBadRequest, "unexpected end"},
		{"not an object", "POST", "/v1/enrolments", "", `[1]`, wire.CodeBadRequest, "object"},
		{"no UTF-8", "POST", "/v1/enrolments", "", "{\"number\":\"\xff\"}", wire.CodeBadRequest, ""},
		{"something follows", "POST", "/v1/enrolments", "", enrolBody(alice) + "{}", wire.CodeBadRequest, "after top-level"},
		{"unknown key", "POST", "/v1/enrolments", "", `{"nummer":1}`, wire.CodeBadRequest, "unexpected property"},
		{"missing key", "POST", "/v1/enrolments", "", `{"number":"+442079460001"}`, wire.CodeBadRequest, "key"},
		{"wrong type", "POST", "/v1/enrolments", "", `{"number":5,"key":{}}`, wire.CodeBadRequest, "string"},
		{"key twice", "POST", "/v1/enrolments", "", strings.Replace(enrolBody(alice), "{", `{"number":"+442079460009",`, 1), wire.CodeBadRequest, "number is there twice"},
		{"key twice within", "POST", "/v1/enrolments", "", strings.Replace(enrolBody(alice), `"kty"`, `"kty":"EC","kty"`, 1), wire.CodeBadRequest, "kty is there twice"},
		{"key in another case", "POST", "/v1/enrolments", "", strings.Replace(enrolBody(alice), "number", "Number", 1), wire.CodeBadRequest, "Number"},
		{"key in both cases", "POST", "/v1/enrolments", "", strings.Replace(enrolBody(alice), "{", `{"Number":"+442079460009",`, 1), wire.CodeBadRequest, "Number"},
		{"key written with an escape", "POST", "/v1/enrolments", "", strings.Replace(enrolBody(alice), "number", `n\u0075mber`, 1), wire.CodeBadRequest, ""},
		{"null", "PATCH", "/v1/device", token, `{"name":null}`, wire.CodeBadRequest, "null"},
		{"not a number", "POST", "/v1/enrolments", "", enrolBody("alice"), wire.CodeBadNumber, ""},
		{"national number without a region", "POST", "/v1/enrolments", "", enrolBody("020 7946 0001"), wire.CodeBadNumber, ""},
		{"number too long", "POST", "/v1/enrolments", "", enrolBody("+4420794600010000000"), wire.CodeBadNumber, ""},
		{"emergency number", "POST", "/v1/enrolments", "", enrolBody("112"), wire.CodeBadNumber, ""},
		{"not a point of the curve", "POST", "/v1/enrolments", "", enrolBody(alice), wire.CodeBadRequest, ""},
		{"no such enrolment", "POST", "/v1/enrolments/none/confirm", "", `{"code":"123456","assertion":"a.b.c"}`, wire.CodeCodeExpired, ""},
		{"code of five digits", "POST", "/v1/enrolments/none/confirm", "", `{"code":"12345","assertion":"a.b.c"}`, wire.CodeBadRequest, "6"},
		{"too deep", "POST", "/v1/sessions/s/messages", token, `{"id":"1","kind":"text","body":` + deep + `}`, wire.CodeBadRequest, "deep"},
		{"identity of no scheme", "POST", "/v1/reports", token, `{"other":"nobody knows","direction":"incoming","state":"active"}`, wire.CodeBadNumber, "letters"},
		{"identity of an unknown scheme", "POST", "/v1/reports", token, `{"other":"gopher:x","direction":"incoming","state":"active"}`, wire.CodeBadIdentity, ""},
		{"identity twice", "POST", "/v1/reports", token, strings.Replace(report(bob, "incoming", "active", "c"), "{", `{"other":"tel:+442079460003",`, 1), wire.CodeBadRequest, "other is there twice"},
		{"state unknown", "POST", "/v1/reports", token, report(bob, "incoming", "asleep", "c"), wire.CodeBadRequest, "state"},
		{"direction unknown", "POST", "/v1/reports", token, report(bob, "sideways", "active", "c"), wire.CodeBadRequest, "direction"},
		{"time-to-live negative", "POST", "/v1/reports", token, strings.Replace(report(bob, "incoming", "active", "c"), "{", `{"ttl_s":-1,`, 1), wire.CodeBadRequest, "ttl_s"},
		{"query out of its range", "GET", "/v1/sessions/s/messages?limit=5000", token, "", wire.CodeBadRequest, "1000"},
		{"query of the wrong type", "GET", "/v1/sessions/s/messages?after=x", token, "", wire.CodeBadRequest, "integer"},
		{"path too long", "GET", "/v1/sessions/" + strings.Repeat("s", 100), token, "", wire.CodeBadRequest, "64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := w.ask(c.method, c.path, c.token, c.body)
			p := r.problem(t)
			if p.Code != c.code {
				t.Errorf("%s", r.body)
			}
			if !strings.Contains(r.body, c.says) {
				t.Errorf("does not say %q: %s", c.says, r.body)
			}
		})
	}
	if n := strings.Count(w.log.String(), "level=ERROR"); n > 0 {
		t.Errorf("faults of others count as the server's:\n%s", w.log)
	}
}

func TestBodySizesAndTypes(t *testing.T) {
	w := newWorld(t)
	big := `{"number":"` + strings.Repeat("1", 2<<20) + `"}`
	if r := w.ask("POST", "/v1/enrolments", "", big); r.code(t) != wire.CodeTooLarge {
		t.Errorf("oversize body: %s", r.body)
	}
	if r := w.ask("POST", "/v1/enrolments", "", `<number/>`, "Content-Type", "text/xml"); r.code(t) != wire.CodeUnsupportedType {
		t.Errorf("XML: %s", r.body)
	}
	token := w.token(w.enrol(alice))
	frame := `{"type":"signal","session":"s","kind":"x","body":"` + strings.Repeat("1", server.Defaults().Limits.FrameKiB<<10) + `"}`
	if r := w.ask("POST", "/v1/frames", token, frame); r.code(t) != wire.CodeTooLarge {
		t.Errorf("oversize frame by POST: %s", r.body)
	}
	if r := w.ask("POST", "/v1/frames", token, `{"type":"signal"}`, "Content-Type", "text/plain"); r.code(t) != wire.CodeUnsupportedType {
		t.Errorf("a frame as text: %s", r.body)
	}
}

// TestBadFrames: a frame that cannot be read is answered, and the connection goes on;
// what no correct client sends ends it with a documented code.
func TestBadFrames(t *testing.T) {
	w := newWorld(t)
	id := w.enrol(alice)
	for _, c := range []struct {
		frame string
		code  wire.Code
	}{
		{`{`, wire.CodeBadFrame},
		{`[]`, wire.CodeBadFrame},
		{`{"type":"report"}`, wire.CodeBadFrame},
		{`{"type":"no-such","id":"1"}`, wire.CodeBadFrame},
		{`{"type":"welcome","id":"1","body":{}}`, wire.CodeBadFrame},
		{`{"type":"ping","type":"ping","id":"1"}`, wire.CodeBadFrame},
		{`{"Type":"ping","id":"1"}`, wire.CodeBadFrame},
		{`{"type":"ping","id":"1","extra":true}`, wire.CodeBadFrame},
		{`{"type":"send","id":"1","session":"s","kind":"TEXT","body":1}`, wire.CodeBadFrame},
		{`{"type":"send","id":"1","session":"s","kind":"text","to":[],"body":1}`, wire.CodeBadFrame},
		{`{"type":"send","id":"1","session":"s","kind":"tandem.state","body":1}`, wire.CodeBadFrame},
		{`{"type":"send","id":"1","session":"s","kind":"file","body":{}}`, wire.CodeBadRequest},
		{`{"type":"report","id":"1","body":{"state":"active","STATE":"ended"}}`, wire.CodeBadFrame},
		{`{"type":"report","id":"1","body":{"other":"tel:+44","direction":"incoming","state":"active"}}`, wire.CodeBadNumber},
		{`{"type":"report","id":"1","body":{"other":"gopher:x","direction":"incoming","state":"active"}}`, wire.CodeBadIdentity},
		{`{"type":"send","id":"1","session":"none","kind":"text","body":{"text":"x"}}`, wire.CodeNotMember},
		{`{"type":"extend","id":"1","session":"none","body":{"seconds":60}}`, wire.CodeNotMember},
		{`{"type":"answer","id":"1","body":{"invitation":"none","accept":true}}`, wire.CodeNotFound},
		{`{"type":"confirm","id":"1","body":{"invitation":"none","words":"two words"}}`, wire.CodeNotFound},
	} {
		s := w.enter(id)
		if _, p := s.answer(c.frame); p.Code != c.code {
			t.Errorf("%s: %+v, want %s", c.frame, p, c.code)
		}
		if _, p := s.answer(`{"type":"leave","id":"2","session":"none"}`); p.Code != wire.CodeNotMember {
			t.Errorf("after %s the connection does not go on: %+v", c.frame, p)
		}
		check(t, s.conn.CloseNow())
	}
	s := w.enter(id)
	if e, p := s.answer(`{"type":"report","id":"good",` + `"body":` + report(bob, "outgoing", "active", "c") + `}`); p.Code != "" || e.ID != "good" {
		t.Errorf("a good frame: %+v %+v", e, p)
	}
	for i := 0; ; i++ {
		s.write("{")
		if i == 1000 {
			t.Fatal("malformed frames without end")
		}
		if _, b, err := s.conn.Read(s.ctx); err != nil {
			if code := websocket.CloseStatus(err); wire.CloseCode(code) != wire.CloseBadFrame {
				t.Errorf("closed with %d", code)
			}
			break
		} else if e, err := wire.DecodeServer(b); err != nil || e.Type != wire.TypeError {
			t.Errorf("%s %v", b, err)
		}
	}

	for name, f := range map[string]struct {
		do   func(*socket)
		want wire.CloseCode
	}{
		"binary": {func(s *socket) { check(t, s.conn.Write(s.ctx, websocket.MessageBinary, []byte("{}"))) }, wire.CloseBadFrame},
		"oversize": {func(s *socket) {
			s.write(`{"type":"signal","session":"s","kind":"x","body":"` + strings.Repeat("1", server.Defaults().Limits.FrameKiB<<10) + `"}`)
		}, wire.CloseBadFrame},
		"no UTF-8": {func(s *socket) { s.write("{\"type\":\"\xff\"}") }, wire.CloseBadFrame},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.enter(id)
			f.do(s)
			if code := s.closed(); code != f.want {
				t.Errorf("closed with %d, want %d", code, f.want)
			}
		})
	}
	t.Run("no hello first", func(t *testing.T) {
		s := w.dial()
		s.write(`{"type":"ping","id":"1"}`)
		if code := s.closed(); code != wire.CloseBadFrame {
			t.Errorf("closed with %d", code)
		}
	})
}

// TestUnknownAddresses: whatever is not there says so in the same form.
func TestUnknownAddresses(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		method, path string
		code         wire.Code
		allow        string
	}{
		{"GET", "/nothing", wire.CodeNotFound, ""}, // "/" is the call page
		{"GET", "/favicon.ico", wire.CodeNotFound, ""},
		{"GET", "/v1", wire.CodeNotFound, ""},
		{"GET", "/v1/", wire.CodeNotFound, ""},
		{"GET", "/v2/device", wire.CodeNotFound, ""},
		{"POST", "/v1/nothing", wire.CodeNotFound, ""},
		{"GET", "/v1/enrolments", wire.CodeMethodNotAllowed, "POST"},
		{"PUT", "/v1/device", wire.CodeMethodNotAllowed, "GET, HEAD, PATCH, DELETE"},
		{"DELETE", "/healthz", wire.CodeMethodNotAllowed, "GET, HEAD"},
		{"BREW", "/v1/reports", wire.CodeMethodNotAllowed, "POST"},
		{"POST", "/v1/events", wire.CodeMethodNotAllowed, "GET, OPTIONS"},
		{"GET", "/v1/frames", wire.CodeMethodNotAllowed, "POST, OPTIONS"},
		{"GET", "/schemas/nothing.json", wire.CodeNotFound, ""},
		{"GET", "/problems/nothing", wire.CodeNotFound, ""},
		{"GET", "/v1/files/nothing", wire.CodeUnauthenticated, ""},
	} {
		r := w.ask(c.method, c.path, "", "")
		if p := r.problem(t); p.Code != c.code || r.header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %s, Allow %q", c.method, c.path, r.body, r.header.Get("Allow"))
		}
	}
}

func TestPages(t *testing.T) {
	w := newWorld(t)
	for path, want := range map[string]string{
		"/healthz": "alive", "/readyz": "ready", "/problems/": "storage-full", "/problems/not-found": "not-found",
		"/schemas/asyncapi.json": "asyncapi", "/schemas/": "device_frame.json", "/openapi.json": `"3.1.0"`, "/openapi.yaml": "openapi: 3.1.0",
	} {
		r := w.ask("GET", path, "", "")
		if r.status != http.StatusOK || !strings.Contains(r.body, want) {
			t.Errorf("%s: %d %.200s", path, r.status, r.body)
		}
		for h, v := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
		} {
			if r.header.Get(h) != v {
				t.Errorf("%s: %s is %q", path, h, r.header.Get(h))
			}
		}
		if csp := r.header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") {
			t.Errorf("%s: the policy is %q", path, csp)
		}
	}
	for p := range wire.Catalogue {
		if r := w.ask("GET", "/problems/"+string(p), "", ""); r.status != http.StatusOK {
			t.Errorf("the problem %s has no page: %d", p, r.status)
		}
	}
	device, element := w.token(w.enrol(alice)), w.key("element", "+44")
	for token, want := range map[string]int{"": 401, device: 403, element: 403, w.op: 200} {
		r := w.ask("GET", "/metrics", token, "")
		if r.status != want {
			t.Errorf("metrics: %d, want %d", r.status, want)
		}
		if want == 401 && r.header.Get("WWW-Authenticate") == "" {
			t.Error("metrics: no WWW-Authenticate")
		}
		if want == 200 && !strings.Contains(r.body, "tandem_ready 1") {
			t.Errorf("metrics: %.500s", r.body)
		}
	}
}

// TestOtherOrigins: pages of the configured origins may use the API, the files and the
// events; others' may not.
func TestOtherOrigins(t *testing.T) {
	const ours, theirs = "https://app.example", "https://evil.example"
	w := newWorld(t, func(c *server.Config) { c.Origins = []string{ours} })
	for _, path := range []string{"/v1/device", "/v1/files/", "/v1/events", "/v1/frames"} {
		method := map[string]string{"/v1/device": "PATCH", "/v1/files/": "POST", "/v1/events": "GET", "/v1/frames": "POST"}[path]
		r := w.ask("OPTIONS", path, "", "", "Origin", ours, "Access-Control-Request-Method", method, "Access-Control-Request-Headers", "authorization")
		if r.status != http.StatusNoContent || r.header.Get("Access-Control-Allow-Origin") != ours ||
			!strings.Contains(r.header.Get("Access-Control-Allow-Methods"), method) || !strings.Contains(r.header.Get("Access-Control-Allow-Headers"), "Authorization") {
			t.Errorf("preflight of %s: %d %v", path, r.status, r.header)
		}
		r = w.ask("OPTIONS", path, "", "", "Origin", theirs, "Access-Control-Request-Method", method)
		if r.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("preflight of %s for a stranger: %d %v", path, r.status, r.header)
		}
	}
	r := w.ask("GET", "/v1/challenge", "", "", "Origin", ours)
	if r.status != 200 || r.header.Get("Access-Control-Allow-Origin") != ours || !strings.Contains(r.header.Get("Access-Control-Expose-Headers"), "Retry-After") || r.header.Get("Vary") != "Origin" {
		t.Errorf("an answer for a page of ours: %v", r.header)
	}
	if r := w.ask("GET", "/v1/challenge", "", "", "Origin", theirs); r.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("an answer for a stranger's page: %v", r.header)
	}
	dial := func(origin string) (int, error) {
		c, res, err := websocket.Dial(w.ctx, "ws://"+w.addr+"/v1/connect", &websocket.DialOptions{
			HTTPClient: w.http, Subprotocols: []string{"tandem.v1"}, HTTPHeader: http.Header{"Origin": {origin}}})
		if err == nil {
			check(t, c.CloseNow())
		}
		return res.StatusCode, err
	}
	if _, err := dial(ours); err != nil {
		t.Errorf("a socket for a page of ours: %v", err)
	}
	if status, err := dial(theirs); err == nil || status != http.StatusForbidden {
		t.Errorf("a socket for a stranger's page: %d %v", status, err)
	}
}

package server_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/edge/network/sip"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// TestForgedTokens: none of them is let in anywhere, and all get the same answer.
func TestForgedTokens(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	id := w.enrol(alice)
	good := w.token(id)
	if r := w.ask("GET", "/v1/device", good, ""); r.status != http.StatusOK {
		t.Fatalf("the good token: %+v", r)
	}
	part := strings.Split(good, ".")
	claims, err := base64.RawURLEncoding.DecodeString(part[1])
	check(t, err)
	var c jwt.MapClaims
	check(t, json.Unmarshal(claims, &c))
	sign := func(m jwt.SigningMethod, key any, change string, v any) string {
		changed := jwt.MapClaims{}
		for k, v := range c {
			changed[k] = v
		}
		changed[change] = v
		s, err := jwt.NewWithClaims(m, changed).SignedString(key)
		check(t, err)
		return s
	}
	secret := strings.Split(w.key("element", "+44"), "_")
	tampered := []byte(part[2])
	tampered[0] ^= 1
	for name, token := range map[string]string{
		"garbage":                 "garbage",
		"empty parts":             "..",
		"signature tampered":      part[0] + "." + part[1] + "." + string(tampered),
		"signature left out":      part[0] + "." + part[1] + ".",
		"claims of another":       part[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(claims), string(id.Device), "dev_other", 1))) + "." + part[2],
		"algorithm none":          sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "exp", time.Now().Add(time.Hour).Unix()),
		"another key":             sign(jwt.SigningMethodHS256, []byte("0123456789abcdef0123456789abcdef"), "exp", time.Now().Add(time.Hour).Unix()),
		"signed by the device":    sign(jwt.SigningMethodES256, id.Key, "exp", time.Now().Add(time.Hour).Unix()),
		"of another server":       other.token(other.enrol(alice)),
		"key of another server":   other.op,
		"key with a wrong secret": secret[0] + "_" + secret[1] + "_" + strings.Repeat("x", len(secret[2])),
		"key of no id":            "tdm_none_" + secret[2],
		"key cut off":             "tdm_" + secret[1],
		"very long":               strings.Repeat("x", 10_000),
	} {
		t.Run(name, func(t *testing.T) {
			var first reply
			for i, path := range []string{"GET /v1/device", "GET /v1/operator/credentials", "GET /v1/events", "GET /v1/files/f"} {
				method, path, _ := strings.Cut(path, " ")
				r := w.ask(method, path, token, "")
				if r.code(t) != wire.CodeUnauthenticated || r.header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s: %d %s %v", path, r.status, r.body, r.header)
				}
				if i == 0 {
					first = r
				} else if path != "/v1/events" && strings.TrimSpace(r.body) != strings.TrimSpace(first.body) {
					t.Errorf("%s and %s are different answers", r.body, first.body)
				}
			}
		})
	}
	for _, header := range []string{"Basic " + good, "Bearer", good} {
		if r := w.ask("GET", "/v1/device", "", "", "Authorization", header); r.code(t) != wire.CodeUnauthenticated {
			t.Errorf("%q: %s", header, r.body)
		}
	}
}

// TestAssertions: an assertion serves once, for the nonce that it was made for, by the
// device whose key it is; an unknown device and a wrong signature are one answer.
func TestAssertions(t *testing.T) {
	w := newWorld(t)
	id, stranger := w.enrol(alice), &client.Identity{}
	*stranger = *id
	fresh, err := client.NewIdentity(w.url())
	check(t, err)
	stranger.Key = fresh.Key // the device of another
	fresh.Device = "dev_nobody"

	first := w.dial()
	used := first.hello(id)
	first.read(wire.TypeWelcome)

	refused := map[string]string{}
	for name, hello := range map[string]func(s *socket) string{
		"replayed on another socket": func(*socket) string { return used },
		"no JWS":                     func(*socket) string { return `{"type":"hello","body":{"assertion":"x"}}` },
		"another's key":              func(s *socket) string { return assertion(t, stranger, s.nonce, jwt.SigningMethodES256, stranger.Key) },
		"unknown device":             func(s *socket) string { return assertion(t, fresh, s.nonce, jwt.SigningMethodES256, fresh.Key) },
		"algorithm none": func(s *socket) string {
			return assertion(t, id, s.nonce, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType)
		},
		"nonce of the device's own": func(*socket) string { return assertion(t, id, "AAAA", jwt.SigningMethodES256, id.Key) },
	} {
		s := w.dial()
		s.write(hello(s))
		refused[name] = string(s.read(wire.TypeError).Body)
		if code := s.closed(); code != wire.CloseUnauthentic {
			t.Errorf("%s: closed with %d", name, code)
		}
		if refused[name] != refused["no JWS"] && refused["no JWS"] != "" || !strings.Contains(refused[name], "unauthenticated") {
			t.Errorf("%s: %s", name, refused[name])
		}
	}

	var ch wire.Challenge
	api := client.NewKeyAPI(w.url(), "", w.http)
	check(t, api.Call(w.ctx, "GET", "/v1/challenge", nil, &ch))
	a, err := id.Assert(ch.Nonce)
	check(t, err)
	body := fmt.Sprintf(`{"nonce":%q,"assertion":%q}`, ch.Nonce, a)
	if r := w.ask("POST", "/v1/tokens", "", body); r.status != http.StatusOK || r.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("first: %+v", r)
	}
	if r := w.ask("POST", "/v1/tokens", "", body); r.code(t) != wire.CodeUnauthenticated {
		t.Errorf("the same nonce again: %s", r.body)
	}
}

// assertion is a hello with an assertion made to order.
func assertion(t *testing.T, id *client.Identity, nonce string, m jwt.SigningMethod, key any) string {
	now := time.Now()
	s, err := jwt.NewWithClaims(m, jwt.MapClaims{"sub": string(id.Device), "nonce": nonce, "aud": "tandem", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}).SignedString(key)
	check(t, err)
	return fmt.Sprintf(`{"type":"hello","body":{"assertion":%q}}`, s)
}

// TestRevokedDevice: its connections close with the code that says so, and it is let in
// nowhere again.
func TestRevokedDevice(t *testing.T) {
	w := newWorld(t)
	id := w.enrol(alice)
	token := w.token(id)
	s := w.enter(id)
	events, err := http.NewRequestWithContext(w.ctx, "GET", w.url()+"/v1/events", nil)
	check(t, err)
	events.Header.Set("Authorization", "Bearer "+token)
	stream, err := w.http.Do(events)
	check(t, err)
	defer stream.Body.Close()

	if r := w.ask("DELETE", "/v1/device", token, ""); r.status != http.StatusNoContent {
		t.Fatalf("%+v", r)
	}
	if code := s.closed(); code != wire.CloseRevoked {
		t.Errorf("the socket closed with %d", code)
	}
	said, err := io.ReadAll(stream.Body)
	check(t, err)
	if !strings.Contains(string(said), `"code":4004`) {
		t.Errorf("the stream ended with %q", said)
	}
	for _, path := range []string{"GET /v1/device", "GET /v1/sessions", "POST /v1/reports", "GET /v1/events", "POST /v1/frames", "GET /v1/files/f"} {
		method, path, _ := strings.Cut(path, " ")
		body := ""
		if method == "POST" {
			body = report(bob, "incoming", "active", "c")
		}
		if r := w.ask(method, path, token, body); r.code(t) != wire.CodeRevoked {
			t.Errorf("%s: %s", path, r.body)
		}
	}
	s = w.dial()
	s.hello(id)
	if code := s.closed(); code != wire.CloseRevoked {
		t.Errorf("hello: closed with %d", code)
	}
	var p *wire.Problem
	if _, err := client.NewAPI(id, w.http).Bearer(w.ctx); !errors.As(err, &p) || p.Code != wire.CodeRevoked {
		t.Errorf("a new token: %v", err)
	}
	d, err := client.Connect(client.Config{Identity: id, HTTP: w.http})
	check(t, err)
	if err := d.Run(w.ctx); !errors.As(err, &p) || p.Code != wire.CodeRevoked {
		t.Errorf("the client goes on after being revoked: %v", err)
	}
}

// TestKeysSpeakForTheirRanges: what an element or a provider may say, and of whom (A2).
func TestKeysSpeakForTheirRanges(t *testing.T) {
	w := newWorld(t)
	element, provider := w.key("element", "+4420794600"), w.key("provider", "+442079460001")
	device := w.token(w.enrol(carol))
	own := func(number string) string {
		return strings.Replace(report(dave, "outgoing", "active", "c"), "{", fmt.Sprintf(`{"own":"tel:%s",`, number), 1)
	}
	for _, c := range []struct {
		who, token, body string
		code             wire.Code
	}{
		{"element", element, own(alice), ""},
		{"element beyond its range", element, own("+442079461001"), wire.CodeForbidden},
		{"element of an identity without a number", element, strings.Replace(own(alice), "tel:"+alice, "sip:alice@example.com", 1), wire.CodeForbidden},
		{"element for nobody", element, report(dave, "outgoing", "active", "c"), wire.CodeBadRequest},
		{"provider", provider, own(alice), ""},
		{"provider beyond its number", provider, own(bob), wire.CodeForbidden},
		{"operator", w.op, own("+442079461001"), ""},
		{"device for itself", device, own(carol), ""},
		{"device for another", device, own(alice), wire.CodeNotYourParty},
		{"device for nobody known", device, own("+442079469999"), wire.CodeNotYourParty},
	} {
		r := w.ask("POST", "/v1/reports", c.token, c.body)
		if c.code == "" && r.status != http.StatusOK || c.code != "" && r.code(t) != c.code {
			t.Errorf("%s: %d %s", c.who, r.status, r.body)
		}
	}
	// A revoked key ends at once.
	var all wire.CredentialList
	check(t, client.NewKeyAPI(w.url(), w.op, w.http).Call(w.ctx, "GET", "/v1/operator/credentials", nil, &all))
	for _, c := range all.Credentials {
		if c.Role == "element" {
			if r := w.ask("DELETE", "/v1/operator/credentials/"+c.ID, w.op, ""); r.status != http.StatusNoContent {
				t.Fatalf("%+v", r)
			}
		}
		if c.Key != "" {
			t.Errorf("the list shows a key: %+v", c)
		}
	}
	if r := w.ask("POST", "/v1/reports", element, own(alice)); r.code(t) != wire.CodeUnauthenticated {
		t.Errorf("a revoked key: %s", r.body)
	}
}

// TestSIPRanges: what the SIP element sees of numbers beyond sip.ranges is reported nowhere, counted,
// and in the audit log once, not call by call.
func TestSIPRanges(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.SIP.Ranges = []string{"+44207946000"} })
	past, err := w.server.At(w.ctx, time.Now())
	check(t, err)
	report := func(own, other string, i int) error {
		a, err := tel.ParseIdentity(own, "")
		check(t, err)
		b, err := tel.ParseIdentity(other, "")
		check(t, err)
		return past.SIP(w.ctx, sip.Report{At: time.Now(), Lease: time.Minute, Vouched: true, PartyDetails: tel.PartyDetails{
			Own: a, Other: b, State: tel.Active, Ref: tel.Ref{CallID: fmt.Sprint("c", i)},
		}})
	}
	const outside, calls = "+442079461234", 50
	check(t, report(alice, outside, 0))
	for i := range calls {
		if err := report(outside, alice, i); !errors.Is(err, sip.ErrRefused) {
			t.Fatalf("beyond the ranges: %v", err)
		}
	}
	if r := w.ask("GET", "/v1/calls", w.token(w.enrol(outside)), ""); r.status != http.StatusOK || strings.Contains(r.body, "active") {
		t.Errorf("it was reported: %+v", r)
	}
	if m := w.ask("GET", "/metrics", w.op, "").body; !strings.Contains(m, fmt.Sprintf("tandem_sip_reports_total{outcome=\"out of range\"} %d", calls)) {
		t.Errorf("not counted:\n%s", m)
	}
	refusals := func() (n int) {
		for _, e := range w.audit() {
			if e.What == "report.refused" && e.Who.ID == "sip" {
				n++
			}
		}
		return n
	}
	w.until("the refusal is in the audit log", func() bool { return refusals() > 0 })
	if n := refusals(); n != 1 {
		t.Errorf("%d entries", n)
	}
}

// TestForeignSessions: a session of others answers as one that never was, byte for byte.
func TestForeignSessions(t *testing.T) {
	w := newWorld(t)
	_, _, session := w.pair(alice, bob)
	mallory := w.enrol(carol)
	token := w.token(mallory)
	never := wire.SessionID(wire.NewID("ses_"))
	hide := func(s string) string {
		return strings.NewReplacer(string(session), "SESSION", string(never), "SESSION").Replace(s)
	}
	for _, c := range []string{
		"GET /v1/sessions/%s",
		"GET /v1/sessions/%s/messages",
		`POST /v1/sessions/%s/messages {"id":"1","kind":"text","body":{"text":"x"}}`,
		`POST /v1/sessions/%s/extend {"seconds":60}`,
		`POST /v1/sessions/%s/leave {}`,
	} {
		method, rest, _ := strings.Cut(c, " ")
		path, body, _ := strings.Cut(rest, " ")
		theirs := w.ask(method, fmt.Sprintf(path, session), token, body)
		none := w.ask(method, fmt.Sprintf(path, never), token, body)
		if theirs.code(t) != wire.CodeNotMember || hide(theirs.body) != hide(none.body) {
			t.Errorf("%s: %s and %s", c, theirs.body, none.body)
		}
	}
	meta := func(id wire.SessionID) []string {
		return []string{"Tus-Resumable", "1.0.0", "Upload-Length", "10", "Upload-Metadata", "session " + base64.StdEncoding.EncodeToString([]byte(id))}
	}
	theirs, none := w.ask("POST", "/v1/files/", token, "", meta(session)...), w.ask("POST", "/v1/files/", token, "", meta(never)...)
	if theirs.code(t) != wire.CodeNotMember || hide(theirs.body) != hide(none.body) {
		t.Errorf("upload: %s and %s", theirs.body, none.body)
	}
	s := w.enter(mallory)
	for _, frame := range []string{
		`{"type":"send","id":"1","session":"%s","kind":"text","body":{"text":"x"}}`,
		`{"type":"signal","id":"1","session":"%s","kind":"x"}`,
		`{"type":"resume","id":"1","session":"%s"}`,
		`{"type":"extend","id":"1","session":"%s","body":{"seconds":60}}`,
		`{"type":"leave","id":"1","session":"%s"}`,
	} {
		theirs, p := s.answer(fmt.Sprintf(frame, session))
		none, _ := s.answer(fmt.Sprintf(frame, never))
		if p.Code != wire.CodeNotMember || hide(string(theirs.Body)) != hide(string(none.Body)) {
			t.Errorf("%s: %s and %s", frame, theirs.Body, none.Body)
		}
	}
}

// TestNoOracle: whoever reports a call learns nothing of the other party, neither over
// HTTP nor over the socket: not whether it exists, is in a call, or refuses (B1).
func TestNoOracle(t *testing.T) {
	w := newWorld(t)
	number := func(i int) string { return fmt.Sprintf("+44207946%04d", 1000+i) }
	element := w.key("element", "+44")
	by := func(own, other, ref string) {
		t.Helper()
		body := strings.Replace(report(other, "incoming", "active", ref), "{", fmt.Sprintf(`{"own":"tel:%s",`, own), 1)
		if r := w.ask("POST", "/v1/reports", element, body); r.status != http.StatusOK {
			t.Fatalf("%+v", r)
		}
	}
	prepare := []struct {
		name string
		do   func(me *client.Identity, other string)
	}{
		{"no such party", func(*client.Identity, string) {}},
		{"no such call", func(_ *client.Identity, other string) { w.enrol(other) }},
		{"in a call with somebody else", func(_ *client.Identity, other string) { w.enrol(other); by(other, dave, "x"); by(dave, other, "x") }},
		{"in a call with nobody known", func(_ *client.Identity, other string) { w.enrol(other); by(other, dave, "x") }},
		{"ambiguous", func(me *client.Identity, other string) {
			w.enrol(other)
			by(other, me.Number.String(), "x")
			by(other, me.Number.String(), "y")
		}},
		{"shared by many", func(me *client.Identity, other string) {
			if r := w.ask("POST", "/v1/operator/shared-identities", w.op, fmt.Sprintf(`{"identity":"tel:%s"}`, other)); r.status != http.StatusNoContent {
				t.Fatalf("%+v", r)
			}
			w.enrol(other)
			by(other, me.Number.String(), "x")
		}},
		{"blocked", func(me *client.Identity, other string) {
			them := w.enrol(other)
			var ack wire.Ack
			for _, r := range []reply{
				w.ask("POST", "/v1/reports", w.token(me), report(other, "outgoing", "active", "earlier")),
				w.ask("POST", "/v1/reports", w.token(them), report(me.Number.String(), "incoming", "active", "earlier")),
			} {
				check(t, json.Unmarshal([]byte(r.body), &ack))
			}
			if r := w.ask("POST", "/v1/sessions/"+string(ack.Session)+"/leave", w.token(them), `{"block":true}`); r.status != http.StatusNoContent {
				t.Fatalf("leave: %+v", r)
			}
			for _, r := range []reply{
				w.ask("POST", "/v1/reports", w.token(me), report(other, "outgoing", "ended", "earlier")),
				w.ask("POST", "/v1/reports", w.token(them), report(me.Number.String(), "incoming", "ended", "earlier")),
				w.ask("POST", "/v1/reports", w.token(them), report(me.Number.String(), "incoming", "active", "c")),
			} {
				if r.status != http.StatusOK {
					t.Fatalf("%+v", r)
				}
			}
		}},
	}
	me := w.enrol(number(100))
	w.enrol(number(101))
	by(number(101), me.Number.String(), "c")
	if r := w.ask("POST", "/v1/reports", w.token(me), report(number(101), "outgoing", "active", "c")); !strings.Contains(r.body, "session") {
		t.Fatalf("not even the right report opens a session: %+v", r)
	}
	answers := map[string]string{}
	for i, p := range prepare {
		for j, how := range []string{"http", "socket"} {
			me, other := w.enrol(number(4*i+2*j)), number(4*i+2*j+1)
			p.do(me, other)
			hide := strings.NewReplacer(other, "OTHER", fmt.Sprintf("%q", me.Number.String()), "ME")
			said := ""
			if how == "http" {
				r := w.ask("POST", "/v1/reports", w.token(me), report(other, "outgoing", "active", "c"))
				r.header.Del("Date")
				r.header.Del("Ratelimit") // what is left for oneself
				said = fmt.Sprint(r.status, r.header, r.body)
			} else {
				s := w.enter(me)
				e, problem := s.answer(`{"type":"report","id":"r","body":` + report(other, "outgoing", "active", "c") + `}`)
				said = fmt.Sprint(e.Type, string(e.Body), problem)
			}
			var list wire.CallList
			check(t, client.NewAPI(me, w.http).Call(w.ctx, "GET", "/v1/calls", nil, &list))
			for _, c := range list.Calls {
				if c.State != "ended" {
					said += fmt.Sprint("; ", c.Other, c.Direction, c.State, c.Session)
				}
			}
			said = hide.Replace(said)
			if answers[how] == "" {
				answers[how] = said
			}
			if said != answers[how] {
				t.Errorf("%s over %s: %s\nand otherwise %s", p.name, how, said, answers[how])
			}
			if strings.Contains(said, "ses_") {
				t.Errorf("%s: a session: %s", p.name, said)
			}
		}
	}
}

// TestEnrolmentTellsNothing: known and unknown numbers get the same answer.
func TestEnrolmentTellsNothing(t *testing.T) {
	w := newWorld(t)
	w.enrol(alice)
	fresh, err := client.NewIdentity(w.url())
	check(t, err)
	k := fresh.PublicKey()
	begin := func(number string) (wire.Enrolment, string) {
		r := w.ask("POST", "/v1/enrolments", "", fmt.Sprintf(`{"number":%q,"key":{"kty":"EC","crv":"P-256","x":%q,"y":%q}}`, number, k.X, k.Y))
		var e wire.Enrolment
		if err := json.Unmarshal([]byte(r.body), &e); err != nil || e.ID == "" {
			t.Fatalf("%+v", r)
		}
		r.header.Del("Date")
		r.header.Del("Content-Length")
		return e, fmt.Sprint(r.status, r.header, e.Via, len(e.ID))
	}
	_, known := begin(alice)
	_, unknown := begin(bob)
	if known != unknown {
		t.Errorf("%s and %s", known, unknown)
	}
}

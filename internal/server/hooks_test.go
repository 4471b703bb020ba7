package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/wire"
)

// hook is a receiver of webhooks.
type hook struct {
	t   *testing.T
	url string
	wire.Webhook
	came chan wire.Event
}

func loopbackHooks(c *server.Config) {
	c.Webhooks.HTTP, c.Webhooks.Networks = true, []string{"127.0.0.0/8"}
}

// hook adds a webhook, by the API, and receives what is sent to it.
func (w *world) hook(t *testing.T, r wire.WebhookRequest) *hook {
	t.Helper()
	h := &hook{t: t, came: make(chan wire.Event, 64)}
	var verifier *standard.Webhook
	ready := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		<-ready
		b, err := io.ReadAll(r.Body)
		if err == nil {
			err = verifier.Verify(b, r.Header)
		}
		var ev wire.Event
		if err == nil {
			err = json.Unmarshal(b, &ev)
		}
		if err != nil {
			t.Errorf("what came is not to be trusted: %v", err)
		}
		h.came <- ev
	}))
	t.Cleanup(s.Close)
	h.url = s.URL
	r.URL = s.URL
	w.operator("POST", "/v1/operator/webhooks", r, &h.Webhook)
	var err error
	verifier, err = standard.NewWebhook(h.Secret)
	check(t, err)
	close(ready)
	return h
}

func (w *world) operator(method, path string, in, out any) {
	w.t.Helper()
	check(w.t, client.NewKeyAPI(w.url(), w.op, w.http).Call(w.ctx, method, path, in, out))
}

// next waits for the next event of one of the types, past others.
func (h *hook) next(types ...string) wire.Event {
	h.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case ev := <-h.came:
			if slices.Contains(types, ev.Type) {
				return ev
			}
		case <-timeout:
			h.t.Fatalf("no %v came", types)
		}
	}
}

func (h *hook) session(eventType string) wire.SessionEvent {
	h.t.Helper()
	var e wire.SessionEvent
	check(h.t, json.Unmarshal(h.next(eventType).Data, &e))
	return e
}

// A call from enrolment to the end, as a webhook sees it; and what it does not see.
func TestWebhookSeesACall(t *testing.T) {
	w := newWorld(t, loopbackHooks)
	masked := w.hook(t, wire.WebhookRequest{Events: []string{"*"}})
	full := w.hook(t, wire.WebhookRequest{Identities: "full"})
	x, _, id := w.pair(alice, bob)

	var dev, again wire.DeviceEvent
	check(t, json.Unmarshal(masked.next(wire.EventDeviceEnrolled).Data, &dev))
	check(t, json.Unmarshal(full.next(wire.EventDeviceEnrolled).Data, &again))
	if !strings.HasPrefix(dev.Party, "party_") || !strings.HasPrefix(dev.Device, "device_") || again.Party != "tel:"+alice || again.Device != string(x.Device) || dev.Proof != "one_time_code" {
		t.Errorf("masked %+v, full %+v", dev, again)
	}
	opened := masked.session(wire.EventSessionOpened)
	if opened.Session != id || len(opened.Parties) != 2 || len(opened.Members) != 2 || !slices.ContainsFunc(opened.Parties, func(p wire.EventParty) bool { return p.Party == dev.Party }) {
		t.Errorf("opened: %+v; enrolled: %+v", opened, dev)
	}
	if e := full.session(wire.EventSessionOpened); e.Parties[0].Party != "tel:"+alice && e.Parties[1].Party != "tel:"+alice {
		t.Errorf("opened: %+v", e)
	}
	if r := w.ask("POST", "/v1/reports", w.token(x), report(bob, "outgoing", "ended", "c")); r.status != 200 {
		t.Fatalf("%+v", r)
	}
	if e := masked.session(wire.EventSessionAfterCall); e.Session != id || e.Until.IsZero() {
		t.Errorf("after the call: %+v", e)
	}
	if r := w.ask("POST", "/v1/sessions/"+string(id)+"/leave", w.token(x), "{}"); r.status >= 300 {
		t.Fatalf("%+v", r)
	}
	if e := masked.session(wire.EventMemberLeft); len(e.Changed) != 1 {
		t.Errorf("left: %+v", e)
	}
	if e := full.session(wire.EventSessionClosed); e.Session != id || e.Reason != "left" || e.Phase != wire.Closed {
		t.Errorf("closed: %+v", e)
	}
	if r := w.ask("DELETE", "/v1/device", w.token(x), ""); r.status >= 300 {
		t.Fatalf("%+v", r)
	}
	check(t, json.Unmarshal(masked.next(wire.EventDeviceRevoked).Data, &dev))
	if dev.Reason != "revoked" {
		t.Errorf("revoked: %+v", dev)
	}
	// every event once, with an id of its own; the deliveries hold no number where masked
	var l wire.WebhookDeliveryList
	w.operator("GET", "/v1/operator/webhook-deliveries?webhook="+masked.ID, nil, &l)
	seen := map[string]int{}
	for _, d := range l.Deliveries {
		seen[d.Type]++
	}
	want := map[string]int{
		wire.EventDeviceEnrolled: 2, wire.EventSessionOpened: 1, wire.EventSessionAfterCall: 1, wire.EventMemberLeft: 1,
		wire.EventSessionClosed: 1, wire.EventDeviceRevoked: 1, wire.EventCallReported: 3,
	}
	if fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("events: %v, not %v", seen, want)
	}
	w.until("no attempt is under way", func() bool {
		w.operator("GET", "/v1/operator/webhook-deliveries?status=pending", nil, &l)
		return len(l.Deliveries) == 0
	})
}

// A report that only repeats the last one is no news.
func TestWebhookCallReports(t *testing.T) {
	w := newWorld(t, loopbackHooks)
	h := w.hook(t, wire.WebhookRequest{Events: []string{wire.EventCallReported}, Identities: "full"})
	x := w.enrol(alice)
	for _, state := range []string{"ringing", "active", "active", "active", "ended"} {
		w.ask("POST", "/v1/reports", w.token(x), report(bob, "outgoing", state, "c"))
	}
	w.ask("POST", "/v1/reports", w.token(x), `{"other":"tel:`+bob+`","withheld":true,"direction":"outgoing","state":"ringing","ref":{"call_id":"d"}}`)
	// they come in no promised order
	got := map[string]wire.CallEvent{}
	for range 4 {
		var e wire.CallEvent
		check(t, json.Unmarshal(h.next(wire.EventCallReported).Data, &e))
		got[fmt.Sprint(e.State, " ", e.Own != "")] = e
	}
	for _, k := range []string{"ringing true", "active true", "ended true", "ringing false"} {
		if e, ok := got[k]; !ok || e.Other != "tel:"+bob || e.Reporter != "device" {
			t.Errorf("%s: %+v", k, e)
		}
	}
}

// Events that were not delivered are, after a restart; and an operator can see them and
// have them sent again.
func TestWebhookAfterARestart(t *testing.T) {
	w := newWorld(t, loopbackHooks)
	taken := make(chan string, 64)
	var down = make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		select {
		case <-down:
			taken <- r.Header.Get("Webhook-Id")
		default:
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	w.operator("POST", "/v1/operator/webhooks", wire.WebhookRequest{URL: s.URL, Events: []string{wire.EventSessionOpened}}, nil)
	w.pair(alice, bob)
	var l wire.WebhookDeliveryList
	w.until("an attempt has failed", func() bool {
		w.operator("GET", "/v1/operator/webhook-deliveries?status=pending", nil, &l)
		return len(l.Deliveries) == 1 && l.Deliveries[0].Tried == 1 && l.Deliveries[0].Attempts[0].Status == 503
	})
	event := l.Deliveries[0].Event
	w.stop()
	close(down)
	w.start(loopbackHooks)
	if id := <-taken; id != event {
		t.Errorf("%s came, not %s", id, event)
	}
	w.until("the server knows that it came", func() bool { // until then a replay is of no effect
		w.operator("GET", "/v1/operator/webhook-deliveries?status=delivered", nil, &l)
		return len(l.Deliveries) == 1
	})
	w.operator("POST", "/v1/operator/webhook-deliveries/"+event+"/replay", wire.WebhookReplay{}, nil)
	if id := <-taken; id != event {
		t.Errorf("%s came, not %s", id, event)
	}
}

// Addresses of the operator's own network are not reached unless they are allowed.
func TestWebhookIntoThePrivateNetwork(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Webhooks.HTTP = true })
	reached := false
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer s.Close()
	var made wire.Webhook
	w.operator("POST", "/v1/operator/webhooks", wire.WebhookRequest{URL: s.URL}, &made)
	var d wire.WebhookDelivery
	w.operator("POST", "/v1/operator/webhooks/"+made.ID+"/test", nil, &d)
	if reached || d.Status != "failed" || !strings.Contains(d.Attempts[0].Error, "not public") {
		t.Errorf("reached %t, %+v", reached, d)
	}
}

// A barred party is told nothing of it: what it and its callers are answered is what they
// would be if nobody called.
func TestBarredParty(t *testing.T) {
	w := newWorld(t)
	x, y, id := w.pair(alice, bob)
	w.operator("POST", "/v1/operator/barred", wire.BarRequest{Identity: alice, Note: "abuse"}, nil)

	// the open session is closed
	var st wire.SessionState
	check(t, json.Unmarshal([]byte(w.ask("GET", "/v1/sessions/"+string(id), w.token(y), "").body), &st))
	if st.Phase != wire.Closed {
		t.Errorf("the session is %s", st.Phase)
	}
	// no call of it matches, whoever reports and in whatever way
	strangers := w.ask("POST", "/v1/reports", w.token(y), report(dave, "outgoing", "active", "n"))
	element := w.key("element", "+44")
	conference := func(own string) string {
		return `{"own":"` + own + `","other":"+442079460999","conference_id":"77","state":"active","direction":"outgoing","ref":{"call_id":"` + own + `"}}`
	}
	for name, r := range map[string]reply{
		"the barred party":              w.ask("POST", "/v1/reports", w.token(x), report(bob, "outgoing", "active", "c2")),
		"its caller":                    w.ask("POST", "/v1/reports", w.token(y), report(alice, "incoming", "active", "c2")),
		"the barred party, once more":   w.ask("POST", "/v1/reports", w.token(x), report(bob, "outgoing", "active", "c2")),
		"an element":                    w.ask("POST", "/v1/reports", element, `{"own":"`+alice+`","other":"`+bob+`","state":"active","direction":"outgoing","ref":{"call_id":"c3"}}`),
		"with nobody named":             w.ask("POST", "/v1/reports", w.token(x), `{"direction":"incoming","state":"active","ref":{"call_id":"c4"}}`),
		"in a conference":               w.ask("POST", "/v1/reports", element, conference(alice)),
		"in a conference, another side": w.ask("POST", "/v1/reports", element, conference(bob)),
		"in a conference, once more":    w.ask("POST", "/v1/reports", element, conference(alice)),
	} {
		if r.status != strangers.status || r.body != strangers.body {
			t.Errorf("%s is told %d %s, others %d %s", name, r.status, r.body, strangers.status, strangers.body)
		}
	}
	for _, token := range []string{w.token(x), w.token(y)} {
		var l wire.SessionList
		check(t, json.Unmarshal([]byte(w.ask("GET", "/v1/sessions", token, "").body), &l))
		for _, s := range l.Sessions {
			if s.Phase != wire.Closed {
				t.Errorf("there is a session: %+v", s)
			}
		}
	}
	// another device cannot prove the number; nothing is sent to it, and the answer is that
	// of any other
	for len(w.codes) > 0 {
		<-w.codes
	}
	id2, err := client.NewIdentity(w.url())
	check(t, err)
	begun := false
	_, err = client.Enrol(w.ctx, id2, client.Enrolling{Number: alice, HTTP: w.http}, func(_ context.Context, e wire.Enrolment, last error) (string, error) {
		if last != nil {
			return "", last
		}
		begun = e.ID != "" && e.Via == "server" && time.Until(e.Expires) > time.Minute
		return "123456", nil
	})
	if p := wire.ProblemOf(err); !begun || p.Code != wire.CodeWrongCode {
		t.Errorf("enrolling: begun %t, %v", begun, err)
	}
	if len(w.codes) != 0 {
		t.Error("a code was sent to a barred number")
	}
	var l wire.BarredList
	w.operator("GET", "/v1/operator/barred", nil, &l)
	if len(l.Barred) != 1 || l.Barred[0].Identity.String() != "tel:"+alice || l.Barred[0].Note != "abuse" {
		t.Errorf("barred: %+v", l)
	}
	// and back again
	w.operator("DELETE", "/v1/operator/barred?identity="+url.QueryEscape(alice), nil, nil)
	w.ask("POST", "/v1/reports", w.token(x), report(bob, "outgoing", "active", "c5"))
	if r := w.ask("POST", "/v1/reports", w.token(y), report(alice, "incoming", "active", "c5")); !strings.Contains(r.body, `"session":`) {
		t.Errorf("after it was taken back: %+v", r)
	}
}

// The headers tell what is left, and a caller who waits as told passes.
func TestLimitsOverHTTP(t *testing.T) {
	w := newWorld(t, func(c *server.Config) {
		c.Limits.AddressPerMinute, c.Limits.DevicePerMinute, c.Limits.KeyPerMinute = 60, 30, 20
		c.Limits.DeviceReportsPerMinute, c.Limits.PairReportsPerMinute = 6, 4
	})
	x := w.enrol(alice) // from loopback: not limited
	token := w.token(x)
	until := func(name string, f func() reply) (int, reply) {
		t.Helper()
		for n := range 200 {
			if r := f(); r.status == http.StatusTooManyRequests {
				return n, r
			}
		}
		t.Fatalf("%s: no limit", name)
		return 0, reply{}
	}
	refused := func(name string, r reply, limit string) {
		t.Helper()
		p := r.problem(t)
		if p.Code != wire.CodeTooMany || p.RetryAfterSeconds < 1 || r.header.Get("Retry-After") != fmt.Sprint(p.RetryAfterSeconds) || !strings.Contains(p.Detail, `"`+limit+`"`) {
			t.Errorf("%s: %+v %v", name, p, r.header)
		}
	}
	// an address without credentials, behind the proxy; another one is not touched
	n, r := until("address", func() reply { return w.ask("GET", "/v1/challenge", "", "", "X-Forwarded-For", "198.51.100.7") })
	if refused("address", r, "address"); n < 60 || n > 65 || !strings.HasPrefix(r.header.Get("RateLimit"), `"address";r=0;t=`) || r.header.Get("RateLimit-Policy") != `"address";q=60;w=60` {
		t.Errorf("%d requests of an address pass: %v", n, r.header)
	}
	if r := w.ask("GET", "/v1/challenge", "", "", "X-Forwarded-For", "198.51.100.8"); r.status == http.StatusTooManyRequests {
		t.Error("one address pays for another")
	}
	// guesses at credentials count as an address's
	if _, r := until("guesses", func() reply {
		return w.ask("GET", "/v1/device", "tdm_guess_guess", "", "X-Forwarded-For", "198.51.100.9")
	}); r.header.Get("RateLimit-Policy") != `"address";q=60;w=60` {
		t.Errorf("guesses: %v", r.header)
	}
	// reports of a pair, then of the device, by whichever way
	n, r = until("pair", func() reply { return w.ask("POST", "/v1/reports", token, report(bob, "outgoing", "active", "c")) })
	if refused("pair", r, "pair-reports"); n != 4 {
		t.Errorf("%d reports of a pair pass", n)
	}
	_, r = until("reports", func() reply { return w.ask("POST", "/v1/reports", token, report(carol, "outgoing", "active", "c")) })
	refused("reports", r, "device-reports")
	s := w.enter(x)
	if e, p := s.answer(`{"type":"report","id":"r1","body":` + report(dave, "outgoing", "active", "c") + `}`); p.Code != wire.CodeTooMany {
		t.Errorf("on the socket: %+v", e)
	}
	// a device from wherever it comes, and not the others
	n, r = until("device", func() reply {
		return w.ask("GET", "/v1/device", token, "", "X-Forwarded-For", fmt.Sprint("203.0.113.", len(token)%200))
	})
	if refused("device", r, "device"); n > 31 {
		t.Errorf("%d requests of a device pass", n)
	}
	if r := w.ask("GET", "/v1/device", w.token(w.enrol(bob)), ""); r.status != http.StatusOK {
		t.Errorf("another device: %+v", r)
	}
	// the operator on the machine itself is not limited
	req, err := http.NewRequestWithContext(w.ctx, "GET", "http://admin/v1/operator/barred", nil)
	check(t, err)
	for range 40 {
		if r := do(w.admin(), req.Clone(w.ctx)); r.status != http.StatusOK {
			t.Fatalf("the admin socket: %+v", r)
		}
	}
	if r := do(w.admin(), mustRequest(t, w, "http://admin/metrics")); !strings.Contains(r.body, `tandem_limited_total{limit="device"}`) || !strings.Contains(r.body, `tandem_limit_keys{limit="pair-reports"} 2`) {
		t.Error("the metrics do not tell of the limits")
	}
}

func mustRequest(t *testing.T, w *world, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(w.ctx, "GET", url, nil)
	check(t, err)
	return req
}

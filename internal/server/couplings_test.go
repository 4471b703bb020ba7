package server_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/wire"
)

// asks makes a request as a device, which must succeed, and decodes the answer.
func asks[T any](w *world, id *client.Identity, method, path, body string) (out T) {
	w.t.Helper()
	r := w.ask(method, path, w.token(id), body)
	if r.status >= 300 {
		w.t.Fatalf("%s %s: %+v", method, path, r)
	}
	if r.body != "" {
		check(w.t, json.Unmarshal([]byte(r.body), &out))
	}
	return out
}

// beginCoupling asks, as a device with a key of its own, to be coupled.
func (w *world) beginCoupling(name string) (*client.Identity, wire.CouplingPending) {
	w.t.Helper()
	id, err := client.NewIdentity(w.url())
	check(w.t, err)
	k := id.PublicKey()
	r := w.ask("POST", "/v1/couplings/requests", "", fmt.Sprintf(`{"name":%q,"key":{"kty":"EC","crv":"P-256","x":%q,"y":%q}}`, name, k.X, k.Y),
		"X-Forwarded-For", "203.0.113."+fmt.Sprint(addresses.Add(1)%250+1))
	if r.status != http.StatusCreated {
		w.t.Fatalf("request: %+v", r)
	}
	var p wire.CouplingPending
	check(w.t, json.Unmarshal([]byte(r.body), &p))
	return id, p
}

// claim claims a coupling; the identity becomes the device's.
func (w *world) claim(id *client.Identity, p wire.CouplingPending, code string) reply {
	w.t.Helper()
	a, err := id.Assert(p.ID)
	check(w.t, err)
	r := w.ask("POST", "/v1/couplings/requests/"+p.ID+"/claim", "", fmt.Sprintf(`{"assertion":%q,"code":%q}`, a, code))
	if r.status == http.StatusCreated {
		var info wire.DeviceInfo
		check(w.t, json.Unmarshal([]byte(r.body), &info))
		id.Device, id.Number = info.ID, info.Bindings[0].Number
	}
	return r
}

// couple couples a new device with the one that has proved its number.
func (w *world) couple(with *client.Identity, name, kind string) *client.Identity {
	w.t.Helper()
	o := asks[wire.CouplingOffer](w, with, "POST", "/v1/couplings/offers", fmt.Sprintf(`{"kind":%q}`, kind))
	id, p := w.beginCoupling(name)
	if r := w.claim(id, p, o.Code); r.status != http.StatusCreated {
		w.t.Fatalf("claim: %+v", r)
	}
	return id
}

func (w *world) couplings(id *client.Identity) []wire.Coupling {
	w.t.Helper()
	return asks[wire.CouplingList](w, id, "GET", "/v1/couplings", "").Couplings
}

// TestCouplingWays: a device is coupled in each of the ways, and its binding says who
// vouches for it (B8).
func TestCouplingWays(t *testing.T) {
	w := newWorld(t)
	phone := w.enrol(alice)
	post := func(token, path, body string) reply { return w.ask("POST", "/v1/couplings/"+path, token, body) }
	for _, c := range []struct {
		made    wire.CouplingMade
		vouched string
		number  string
		// give makes the grant; it returns the code to claim with, if any.
		give func(p wire.CouplingPending) string
	}{
		{wire.MadeByCode, "one_time_code", alice, func(wire.CouplingPending) string {
			o := asks[wire.CouplingOffer](w, phone, "POST", "/v1/couplings/offers", `{}`)
			return strings.ToLower(strings.ReplaceAll(o.Code, "-", " "))
		}},
		{wire.MadeByConfirm, "one_time_code", alice, func(p wire.CouplingPending) string {
			seen := asks[wire.CouplingSeen](w, phone, "POST", "/v1/couplings/look", fmt.Sprintf(`{"code":%q}`, p.Code))
			if seen.Name != "the PC" {
				t.Errorf("seen: %+v", seen)
			}
			asks[wire.CouplingSeen](w, phone, "POST", "/v1/couplings/accept", fmt.Sprintf(`{"code":%q}`, strings.ReplaceAll(p.Code, "-", "")))
			return ""
		}},
		{wire.MadeAtInstall, "operator", bob, func(wire.CouplingPending) string {
			r := post(w.op, "offers", fmt.Sprintf(`{"number":%q,"hours":24}`, bob))
			var o wire.CouplingOffer
			check(t, json.Unmarshal([]byte(r.body), &o))
			if time.Until(o.Expires) < 23*time.Hour {
				t.Errorf("the installer's code: %+v", o)
			}
			return o.Code
		}},
		{wire.MadeByOperator, "operator", bob, func(p wire.CouplingPending) string {
			if r := post(w.op, "accept", fmt.Sprintf(`{"number":%q,"code":%q}`, bob, p.Code)); r.status != http.StatusOK {
				t.Fatalf("%+v", r)
			}
			return ""
		}},
		{wire.MadeByServiceNo, "network", carol, func(p wire.CouplingPending) string {
			body := fmt.Sprintf(`{"number":%q,"code":%q}`, carol, p.Code)
			if r := post(w.key("element", bob), "accept", body); r.code(t) != wire.CodeForbidden {
				t.Errorf("an element beyond its range: %+v", r)
			}
			if r := post(w.key("element", "+44207946"), "accept", body); r.status != http.StatusOK {
				t.Fatalf("%+v", r)
			}
			return ""
		}},
	} {
		t.Run(string(c.made), func(t *testing.T) {
			id, p := w.beginCoupling("the PC")
			if r := w.claim(id, p, ""); r.code(t) != wire.CodeCouplingPending || r.header.Get("Retry-After") == "" {
				t.Errorf("before: %+v", r)
			}
			code := c.give(p)
			var first wire.DeviceInfo
			for range 2 { // it may repeat
				r := w.claim(id, p, code)
				if r.status != http.StatusCreated {
					t.Fatalf("claim: %+v", r)
				}
				var info wire.DeviceInfo
				check(t, json.Unmarshal([]byte(r.body), &info))
				if b := info.Bindings[0]; b.Kind != "coupled" || b.Vouched != c.vouched || b.Number.String() != c.number || len(info.Bindings) != 1 {
					t.Errorf("bindings: %+v", info.Bindings)
				}
				if first.ID != "" && first.ID != info.ID {
					t.Errorf("two devices: %s and %s", first.ID, info.ID)
				}
				first = info
			}
			w.enter(id)
			list := w.couplings(id)
			i := slices.IndexFunc(list, func(x wire.Coupling) bool { return x.Device == id.Device })
			if i < 0 || list[i].Made != c.made || list[i].Vouched != c.vouched || list[i].Kind != wire.Permanent || list[i].Name != "the PC" {
				t.Errorf("couplings: %+v", list)
			}
			// It cannot vouch for another, nor end what it is not part of.
			if r := post(w.token(id), "offers", `{}`); r.code(t) != wire.CodeSecondHand {
				t.Errorf("it vouches for another: %+v", r)
			}
			if c.number == alice && len(list) > 1 {
				if r := w.ask("DELETE", "/v1/couplings/"+list[0].ID, w.token(id), ""); r.code(t) != wire.CodeSecondHand {
					t.Errorf("it ends another's: %+v", r)
				}
			}
		})
	}
	var what []string
	for _, e := range w.audit() {
		if strings.HasPrefix(e.What, "coupling.") {
			what = append(what, e.What+" "+e.Details["made"])
		}
	}
	for _, want := range []string{"coupling.offered ", "coupling.made code", "coupling.made confirmed", "coupling.made installer", "coupling.made operator", "coupling.made keyed"} {
		if !slices.Contains(what, want) {
			t.Errorf("the audit log lacks %q: %v", want, what)
		}
	}
}

// TestCoupledDeviceInASession: it becomes a member when a session opens and when it is
// coupled beside one, and is out of it, and cut off, when the coupling ends.
func TestCoupledDeviceInASession(t *testing.T) {
	w := newWorld(t)
	phone, other, session := w.pair(alice, bob)
	at := w.enter(phone)
	tv := w.couple(phone, "TV", "permanent")
	screen := w.enter(tv)
	var n wire.Notice
	check(t, json.Unmarshal(at.read(wire.TypeNotice).Body, &n))
	if n.Code == wire.NoticeNewDevice {
		check(t, json.Unmarshal(at.read(wire.TypeNotice).Body, &n))
	}
	if n.Code != wire.NoticeCoupled || n.Name != "TV" {
		t.Errorf("notice: %+v", n)
	}
	members := func(id *client.Identity) (names []string) {
		for _, m := range asks[wire.SessionState](w, id, "GET", "/v1/sessions/"+string(session), "").Members {
			if !m.Left {
				names = append(names, m.Name)
			}
		}
		return names
	}
	if got := members(tv); !slices.Contains(got, "TV") {
		t.Errorf("members: %v", got)
	}
	w.send(other, session, "look at this")
	if e := screen.read(wire.TypeMessage); !strings.Contains(string(e.Body), "look at this") {
		t.Errorf("%s", e.Body)
	}

	list := w.couplings(phone)
	if len(list) != 1 || list[0].Device != tv.Device {
		t.Fatalf("couplings: %+v", list)
	}
	token := w.token(tv)
	asks[struct{}](w, phone, "DELETE", "/v1/couplings/"+list[0].ID, "")
	for {
		e := screen.read(wire.TypeSession)
		var st wire.SessionState
		check(t, json.Unmarshal(e.Body, &st))
		if slices.ContainsFunc(st.Members, func(m wire.Member) bool { return m.Name == "TV" && m.Left }) {
			break
		}
	}
	if code := screen.closed(); code != wire.CloseRevoked {
		t.Errorf("closed with %d", code)
	}
	for _, path := range []string{"/v1/sessions/" + string(session), "/v1/sessions", "/v1/device"} {
		if r := w.ask("GET", path, token, ""); r.code(t) != wire.CodeBindingExpired {
			t.Errorf("%s: %+v", path, r)
		}
	}
	if got := members(other); slices.Contains(got, "TV") {
		t.Errorf("members: %v", got)
	}
	if r := w.ask("DELETE", "/v1/couplings/"+list[0].ID, w.token(phone), ""); r.code(t) != wire.CodeNotFound {
		t.Errorf("again: %+v", r)
	}

	// Coupled anew, the same device comes back.
	o := asks[wire.CouplingOffer](w, phone, "POST", "/v1/couplings/offers", `{}`)
	k := tv.PublicKey()
	r := w.ask("POST", "/v1/couplings/requests", "", fmt.Sprintf(`{"name":"TV","key":{"kty":"EC","crv":"P-256","x":%q,"y":%q}}`, k.X, k.Y))
	var p wire.CouplingPending
	check(t, json.Unmarshal([]byte(r.body), &p))
	if r := w.claim(tv, p, o.Code); r.status != http.StatusCreated {
		t.Fatalf("%+v", r)
	}
	if got := members(tv); !slices.Contains(got, "TV") {
		t.Errorf("members: %v", got)
	}
	// What the phone vouched for ends with the phone.
	screen = w.enter(tv)
	asks[struct{}](w, phone, "DELETE", "/v1/device", "")
	if code := screen.closed(); code != wire.CloseRevoked {
		t.Errorf("closed with %d", code)
	}
}

// TestCouplingCodes: they serve once, allow few tries, and tell nothing.
func TestCouplingCodes(t *testing.T) {
	w := newWorld(t)
	phone, stranger := w.enrol(alice), w.enrol(bob)
	o := asks[wire.CouplingOffer](w, phone, "POST", "/v1/couplings/offers", `{}`)
	id, p := w.beginCoupling("x")

	// Somebody else's key does not claim.
	thief, err := client.NewIdentity(w.url())
	check(t, err)
	if r := w.claim(thief, p, o.Code); r.code(t) != wire.CodeUnauthenticated {
		t.Errorf("another key: %+v", r)
	}
	// Neither kind of code serves for the other.
	if r := w.claim(id, p, p.Code); r.code(t) != wire.CodeWrongCode {
		t.Errorf("the device's own code: %+v", r)
	}
	accept := func(by *client.Identity, code string) reply {
		return w.ask("POST", "/v1/couplings/accept", w.token(by), fmt.Sprintf(`{"code":%q}`, code))
	}
	wrong := accept(phone, o.Code)
	if wrong.code(t) != wire.CodeWrongCode {
		t.Errorf("the phone's own code: %+v", wrong)
	}
	if r := w.claim(id, p, o.Code); r.status != http.StatusCreated {
		t.Fatalf("%+v", r)
	}
	// Used up, for both sides, and as if it had never been.
	for _, code := range []string{p.Code, "000000000", "none", ""} {
		r := accept(stranger, code)
		if code != "" && r.body != wrong.body {
			t.Errorf("%q: %s, and otherwise %s", code, r.body, wrong.body)
		}
	}
	second, q := w.beginCoupling("y")
	for _, code := range []string{o.Code, "BCDFGHJK", o.Code} {
		if r := w.claim(second, q, code); r.body != wrong.body {
			t.Errorf("%s: %+v", code, r)
		}
	}
	fresh := asks[wire.CouplingOffer](w, phone, "POST", "/v1/couplings/offers", `{}`)
	if r := w.claim(second, q, fresh.Code); r.code(t) != wire.CodeCodeExpired {
		t.Errorf("a fourth try: %+v", r)
	}
	// A device that mistypes often has to wait.
	limited := false
	for range 12 {
		limited = limited || accept(stranger, "123-456-789").code(t) == wire.CodeTooMany
	}
	if !limited {
		t.Error("codes can be guessed without end")
	}
	// An ended coupling is not brought back by claiming again.
	list := w.couplings(phone)
	asks[struct{}](w, phone, "DELETE", "/v1/couplings/"+list[0].ID, "")
	if r := w.claim(id, p, o.Code); r.code(t) != wire.CodeCodeExpired {
		t.Errorf("claimed again: %+v", r)
	}
}

// TestMinimumOfCoupling: a coupled device is worth what vouches for it.
func TestMinimumOfCoupling(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Evidence.Minimum.Binding = "operator" })
	phone := w.enrol(alice)
	weak := w.couple(phone, "PC", "permanent")
	if r := w.ask("POST", "/v1/reports", w.token(weak), report(bob, "outgoing", "active", "c")); r.code(t) != wire.CodeForbidden {
		t.Errorf("vouched for with less than the minimum: %+v", r)
	}
	id, p := w.beginCoupling("desk")
	if r := w.ask("POST", "/v1/couplings/accept", w.op, fmt.Sprintf(`{"code":%q,"number":%q}`, p.Code, carol)); r.status != http.StatusOK {
		t.Fatalf("%+v", r)
	}
	if r := w.claim(id, p, ""); r.status != http.StatusCreated {
		t.Fatalf("%+v", r)
	}
	if r := w.ask("POST", "/v1/reports", w.token(id), report(bob, "outgoing", "active", "c")); r.status != http.StatusOK {
		t.Errorf("vouched for by an operator: %+v", r)
	}
}

// TestAsk: a user asks for the session, at the phone or at a coupled device: it opens at once
// if the other side has reported, and otherwise the other side is asked, without delay (B15).
func TestAsk(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Calls.InviteDelay = time.Hour })
	phone, other := w.enrol(alice), w.enrol(bob)
	tv := w.couple(phone, "TV", "permanent")
	ask := func(id *client.Identity, body string) wire.SessionID {
		return asks[wire.Ack](w, id, "POST", "/v1/sessions", body).Session
	}
	if r := w.ask("POST", "/v1/sessions", w.token(tv), `{}`); r.code(t) != wire.CodeBadRequest || !strings.Contains(r.body, "body.other") {
		t.Errorf("in no call: %+v", r)
	}
	their := w.enter(other)
	if id := ask(tv, fmt.Sprintf(`{"other":%q}`, "tel:"+bob)); id != "" {
		t.Errorf("a session at once: %s", id)
	}
	var inv wire.Invite
	check(t, json.Unmarshal(their.read(wire.TypeInvite).Body, &inv))
	if inv.Claimant.String() != "tel:"+alice {
		t.Errorf("claimant %s", inv.Claimant)
	}
	asks[struct{}](w, other, "POST", "/v1/invitations/answer", fmt.Sprintf(`{"invitation":%q,"accept":true}`, inv.ID))
	if l := asks[wire.SessionList](w, tv, "GET", "/v1/sessions", "").Sessions; len(l) != 1 || len(l[0].Members) != 3 {
		t.Errorf("sessions: %+v", l)
	}

	// The other side has reported: at once, over the socket too, in the only call.
	third := w.enrol(carol)
	w.ask("POST", "/v1/reports", w.token(third), report(dave, "incoming", "active", "c"))
	fourth := w.enrol(dave)
	w.ask("POST", "/v1/reports", w.key("element", dave), strings.Replace(report(carol, "outgoing", "ringing", "c"), "{", fmt.Sprintf(`{"own":"tel:%s",`, dave), 1))
	s := w.enter(fourth)
	e, p := s.answer(fmt.Sprintf(`{"type":"ask","id":"q","body":{"other":%q}}`, "tel:"+carol))
	var ack wire.Ack
	check(t, json.Unmarshal(e.Body, &ack))
	if p.Code != "" || ack.Session == "" {
		t.Errorf("%+v %+v", e, p)
	}
	if id := ask(third, `{}`); id != ack.Session {
		t.Errorf("in the only call: %q", id)
	}
}

// TestAskAgain: who has left a session, or been left in one, may ask once more in the same call,
// and the other side is asked once more; what goes by itself does not bring it back.
func TestAskAgain(t *testing.T) {
	for _, who := range []string{"the one who asked", "the one who was asked"} {
		t.Run(who+" leaves", func(t *testing.T) {
			w := newWorld(t, func(c *server.Config) { c.Calls.InviteDelay = time.Hour })
			x, y := w.enrol(alice), w.enrol(bob)
			their := w.enter(y)
			ask := func() { asks[wire.Ack](w, x, "POST", "/v1/sessions", fmt.Sprintf(`{"other":%q}`, "tel:"+bob)) }
			accept := func() wire.SessionID {
				t.Helper()
				var inv wire.Invite
				check(t, json.Unmarshal(their.read(wire.TypeInvite).Body, &inv))
				asks[struct{}](w, y, "POST", "/v1/invitations/answer", fmt.Sprintf(`{"invitation":%q,"accept":true}`, inv.ID))
				return their.read(wire.TypeSession).Session
			}
			ask()
			first := accept()
			leaver := map[string]*client.Identity{"the one who asked": x, "the one who was asked": y}[who]
			asks[struct{}](w, leaver, "POST", "/v1/sessions/"+string(first)+"/leave", `{}`)
			if r := w.ask("POST", "/v1/reports", w.token(x), `{"other":"tel:`+bob+`","state":"active","typed":true}`); r.status != http.StatusOK || strings.Contains(r.body, `"session":`) {
				t.Errorf("a report brings it back: %+v", r)
			}
			ask()
			if again := accept(); again == first || again == "" {
				t.Errorf("asked again: session %q after %q", again, first)
			}
		})
	}
}

// TestChoices: a party chooses which of its devices join, and which are only told (B8).
// TestChoiceOfKinds: a party has photos on its television and text on its phone; what is sent to
// all goes there, and what is sent to a member goes to that one.
func TestChoiceOfKinds(t *testing.T) {
	w := newWorld(t)
	phone := w.enrol(alice)
	tv := w.couple(phone, "TV", "permanent")
	gets := func(of *client.Identity, kinds string) reply {
		return w.ask("PATCH", "/v1/party/devices/"+string(of.Device), w.token(phone), `{"gets":`+kinds+`}`)
	}
	if r := gets(tv, `["object"]`); r.status != http.StatusOK || !strings.Contains(r.body, `"gets":["object"]`) || !strings.Contains(r.body, `"session":"join"`) {
		t.Fatalf("%+v", r)
	}
	if r := gets(tv, `["smell"]`); r.status != http.StatusUnprocessableEntity && r.status != http.StatusBadRequest {
		t.Errorf("%+v", r)
	}
	if r := gets(phone, `["text"]`); r.status != http.StatusOK {
		t.Fatalf("%+v", r)
	}
	other := w.enrol(bob)
	w.ask("POST", "/v1/reports", w.token(phone), report(bob, "outgoing", "active", "c"))
	var ack wire.Ack
	check(t, json.Unmarshal([]byte(w.ask("POST", "/v1/reports", w.token(other), report(alice, "incoming", "active", "c")).body), &ack))
	send := func(kind, text, more string) {
		t.Helper()
		r := w.ask("POST", "/v1/sessions/"+string(ack.Session)+"/messages", w.token(other),
			fmt.Sprintf(`{"id":%q,"kind":%q,"body":{"text":%q}%s}`, wire.NewID("m"), kind, text, more))
		if r.status >= 300 {
			t.Fatalf("send: %+v", r)
		}
	}
	send("text", "words", "")
	send("x.photo", "picture", "")
	send("link", "wherever", "") // nobody there wants it, so both get it
	st := asks[wire.SessionState](w, tv, "GET", "/v1/sessions/"+string(ack.Session), "")
	send("text", "for the television", fmt.Sprintf(`,"to":[%q]`, st.You))
	if r := gets(phone, `[]`); r.status != http.StatusOK || strings.Contains(r.body, `"gets"`) {
		t.Fatalf("%+v", r)
	}
	send("text", "more words", "")
	send("x.photo", "another", "")
	for of, want := range map[*client.Identity][]string{
		phone: {"words", "wherever", "more words", "another"},
		tv:    {"picture", "wherever", "for the television", "another"},
		other: {"words", "picture", "wherever", "for the television", "more words", "another"},
	} {
		var got []string
		for _, m := range asks[wire.MessageList](w, of, "GET", "/v1/sessions/"+string(ack.Session)+"/messages", "").Messages {
			var body struct{ Text string }
			if json.Unmarshal(m.Body, &body) == nil && body.Text != "" {
				got = append(got, body.Text)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has %q, not %q", of.Device, got, want)
		}
	}
}

func TestChoices(t *testing.T) {
	w := newWorld(t)
	phone := w.enrol(alice)
	tv, car := w.couple(phone, "TV", "permanent"), w.couple(phone, "car", "permanent")
	choose := func(by, of *client.Identity, c string) reply {
		return w.ask("PATCH", "/v1/party/devices/"+string(of.Device), w.token(by), fmt.Sprintf(`{"session":%q}`, c))
	}
	if r := choose(tv, car, "none"); r.code(t) != wire.CodeSecondHand {
		t.Errorf("a coupled device chooses for another: %+v", r)
	}
	for of, c := range map[*client.Identity]string{tv: "told", car: "none"} {
		if r := choose(phone, of, c); r.status != http.StatusOK || !strings.Contains(r.body, c) {
			t.Fatalf("%+v", r)
		}
	}
	screen, dash := w.enter(tv), w.enter(car)
	other := w.enrol(bob)
	var ack wire.Ack
	for _, r := range []reply{
		w.ask("POST", "/v1/reports", w.token(phone), report(bob, "outgoing", "active", "c")),
		w.ask("POST", "/v1/reports", w.token(other), report(alice, "incoming", "active", "c")),
	} {
		check(t, json.Unmarshal([]byte(r.body), &ack))
	}
	told := func(s *socket) (a wire.Available) {
		t.Helper()
		check(t, json.Unmarshal(s.read(wire.TypeAvailable).Body, &a))
		return a
	}
	if a := told(screen); a.Session != ack.Session || a.Phase != wire.InCall || len(a.With) != 1 || a.With[0].String() != "tel:"+bob {
		t.Errorf("told: %+v", a)
	}
	st := asks[wire.SessionState](w, phone, "GET", "/v1/sessions/"+string(ack.Session), "")
	if len(st.Members) != 2 {
		t.Errorf("members: %+v", st.Members)
	}
	if r := w.ask("GET", "/v1/sessions/"+string(ack.Session), w.token(tv), ""); r.code(t) != wire.CodeNotMember {
		t.Errorf("told, and a member: %+v", r)
	}
	// One that connects later is told as well; it joins, and sees what was said.
	w.send(other, ack.Session, "hello there")
	if a := told(w.enter(tv)); a.Session != ack.Session {
		t.Errorf("told: %+v", a)
	}
	if st := asks[wire.SessionState](w, tv, "POST", "/v1/sessions/"+string(ack.Session)+"/join", ""); len(st.Members) != 3 {
		t.Errorf("joined: %+v", st)
	}
	if r := w.ask("GET", "/v1/sessions/"+string(ack.Session)+"/messages", w.token(tv), ""); !strings.Contains(r.body, "hello there") {
		t.Errorf("%+v", r)
	}
	if r := w.ask("POST", "/v1/sessions/"+string(ack.Session)+"/join", w.token(w.enrol(carol)), ""); r.code(t) != wire.CodeNotMember {
		t.Errorf("a stranger joins: %+v", r)
	}
	// The end is told, too: to who joined as a member, to who is told after the choice has changed.
	if r := choose(phone, car, "told"); r.status != http.StatusOK {
		t.Fatalf("%+v", r)
	}
	w.ask("POST", "/v1/reports", w.token(phone), report(bob, "outgoing", "ended", "c"))
	if a := told(dash); a.Phase != wire.AfterCall || a.Until.IsZero() {
		t.Errorf("told: %+v", a)
	}
	asks[struct{}](w, phone, "POST", "/v1/sessions/"+string(ack.Session)+"/leave", `{}`)
	if a := told(dash); a.Phase != wire.Closed {
		t.Errorf("told: %+v", a)
	}
	list := asks[wire.PartyMemberList](w, car, "GET", "/v1/party/devices", "").Devices
	if len(list) != 3 || !slices.ContainsFunc(list, func(m wire.PartyMember) bool { return m.You && m.Session == wire.ChoiceTold && m.Name == "car" }) {
		t.Errorf("devices: %+v", list)
	}
}

// TestTemporaryCoupling: it lapses when the two are apart, and comes back when they meet, by
// the phone's word of a local link or by where the two are.
func TestTemporaryCoupling(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Couplings.Lease = 1500 * time.Millisecond })
	phone, other, session := w.pair(alice, bob)
	car := w.couple(phone, "car", "temporary")
	c := w.couplings(phone)[0]
	dash := w.enter(car)
	near := func(id *client.Identity, link bool, from string) wire.Coupling {
		t.Helper()
		r := w.ask("POST", "/v1/couplings/"+c.ID+"/near", w.token(id), fmt.Sprintf(`{"link":%v}`, link), "X-Forwarded-For", from)
		if r.status != http.StatusOK {
			t.Fatalf("near: %+v", r)
		}
		var now wire.Coupling
		check(t, json.Unmarshal([]byte(r.body), &now))
		return now
	}
	if now := near(car, true, "192.0.2.7"); !now.Expires.Equal(c.Expires) {
		t.Error("the car alone says that it is near, and is believed")
	}
	if now := near(phone, true, "198.51.100.7"); !now.Expires.After(c.Expires) {
		t.Error("the phone says that it has the car on a link, and is not believed")
	}
	// Apart: cut off, out of the session, and the phone hears of it.
	if code := dash.closed(); code != wire.CloseRevoked {
		t.Errorf("closed with %d", code)
	}
	w.until("the car is out of the session", func() bool {
		st := asks[wire.SessionState](w, other, "GET", "/v1/sessions/"+string(session), "")
		return slices.ContainsFunc(st.Members, func(m wire.Member) bool { return m.Name == "car" && m.Left })
	})
	w.until("the coupling is apart", func() bool { return w.couplings(phone)[0].Apart })
	_, err := client.NewAPI(car, w.http).Bearer(w.ctx)
	if p := problemOf(err); p == nil || p.Code != wire.CodeBindingExpired {
		t.Errorf("a token: %v", err)
	}
	// Together again, in one network. It has no token, but its key.
	here := func(from string) reply {
		var ch wire.Challenge
		check(t, client.NewKeyAPI(w.url(), "", w.http).Call(w.ctx, "GET", "/v1/challenge", nil, &ch))
		a, err := car.Assert(ch.Nonce)
		check(t, err)
		return w.ask("POST", "/v1/couplings/here", "", fmt.Sprintf(`{"nonce":%q,"assertion":%q}`, ch.Nonce, a), "X-Forwarded-For", from)
	}
	near(phone, false, "2001:db8:1:3::7")
	if r := here("2001:db8:1:2::8"); r.status != http.StatusOK || !strings.Contains(r.body, `"apart":true`) {
		t.Errorf("in another network: %+v", r)
	}
	near(phone, false, "2001:db8:1:2::7")
	if r := here("2001:db8:1:2::8"); r.status != http.StatusOK || !strings.Contains(r.body, c.ID) || strings.Contains(r.body, `"apart":true`) {
		t.Errorf("in the same network: %+v", r)
	}
	w.until("the car is back", func() bool {
		near(phone, true, "192.0.2.1")
		st := asks[wire.SessionState](w, other, "GET", "/v1/sessions/"+string(session), "")
		return slices.ContainsFunc(st.Members, func(m wire.Member) bool { return m.Name == "car" && !m.Left })
	})
	w.enter(car)
	// Ended for good, nearness brings it back no more.
	asks[struct{}](w, phone, "DELETE", "/v1/couplings/"+c.ID, "")
	if r := here("192.0.2.1"); r.status != http.StatusOK || strings.Contains(r.body, c.ID) {
		t.Errorf("here: %+v", r)
	}
}

func problemOf(err error) *wire.Problem {
	var p *wire.Problem
	if errors.As(err, &p) {
		return p
	}
	return nil
}

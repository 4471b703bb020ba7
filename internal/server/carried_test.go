package server_test

import (
	"encoding/json"
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

// carrying is a report of an active or ended call that carries addresses of devices.
func carrying(own, other, state, ref string, addresses ...string) string {
	list, _ := json.Marshal(append([]string{}, addresses...))
	return fmt.Sprintf(`{"own":"tel:%s","other":"tel:%s","state":%q,"ref":{"local":%q},"coupled":%s}`, own, other, state, ref, list)
}

func (w *world) reports(token, body string) wire.SessionID {
	w.t.Helper()
	r := w.ask("POST", "/v1/reports", token, body)
	var ack wire.Ack
	if err := json.Unmarshal([]byte(r.body), &ack); err != nil || r.status != http.StatusOK {
		w.t.Fatalf("report: %+v", r)
	}
	return ack.Session
}

func (w *world) present(by *client.Identity, session wire.SessionID) (names []string) {
	w.t.Helper()
	for _, m := range asks[wire.SessionState](w, by, "GET", "/v1/sessions/"+string(session), "").Members {
		if !m.Left {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	return names
}

// TestAddressInTheReport: the report of a desk phone's call carries the address of a device that
// nobody has coupled; it carries data for this call, and for this call only (B8).
func TestAddressInTheReport(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Calls.InviteDelay = time.Hour })
	other, third := w.enrol(bob), w.enrol(carol)
	element := w.key("element", alice)
	tv, p := w.beginCoupling("TV")

	w.reports(element, carrying(alice, bob, "active", "x", p.ID))
	if s := w.reports(w.token(other), report(alice, "incoming", "active", "x")); s != "" {
		t.Fatalf("a session with a device that has not proved its key: %s", s)
	}
	if r := w.claim(tv, p, ""); r.status != http.StatusCreated {
		t.Fatalf("claim: %+v", r)
	}
	session := w.sessionOf(w.token(other))
	if got := w.present(other, session); !slices.Contains(got, "TV") {
		t.Fatalf("members: %v", got)
	}
	w.send(other, session, "look at this")
	if r := w.ask("GET", "/v1/sessions/"+string(session)+"/messages", w.token(tv), ""); !strings.Contains(r.body, "look at this") {
		t.Errorf("%+v", r)
	}
	// Repeated, also under another state, it is the same device; another call of the same party is
	// not its business.
	w.reports(element, carrying(alice, bob, "held", "x", p.ID))
	w.reports(element, carrying(alice, carol, "active", "y"))
	if s := w.reports(w.token(third), report(alice, "incoming", "active", "y")); s != "" {
		t.Errorf("the other call has a session: %v", w.present(third, s))
	}
	if got := w.present(other, session); len(got) != 2 {
		t.Errorf("members: %v", got)
	}
	// With the call it is over, and the address serves no more.
	token := w.token(tv)
	w.reports(element, carrying(alice, bob, "ended", "x", p.ID))
	if r := w.ask("GET", "/v1/device", token, ""); r.code(t) != wire.CodeBindingExpired {
		t.Errorf("after the call: %+v", r)
	}
	if got := w.present(other, session); slices.Contains(got, "TV") {
		t.Errorf("members after the call: %v", got)
	}
	if r := w.ask("POST", "/v1/reports", element, carrying(alice, bob, "active", "z", p.ID)); r.code(t) != wire.CodeForbidden {
		t.Errorf("again: %+v", r)
	}
	if list := w.audit(); !slices.ContainsFunc(list, func(e wire.AuditEntry) bool {
		return e.What == "coupling.made" && e.Details["made"] == "report" && e.Details["kind"] == "call"
	}) {
		t.Errorf("nothing of it in the audit log: %+v", list)
	}
}

// TestOwnDeviceInTheReport: a device of the party's joins the call whose report names it, whatever
// was chosen for it, and leaves with the call.
func TestOwnDeviceInTheReport(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Calls.InviteDelay = time.Hour })
	phone, other := w.enrol(alice), w.enrol(bob)
	tv := w.couple(phone, "TV", "permanent")
	w.couple(phone, "car", "permanent")
	for _, m := range asks[wire.PartyMemberList](w, phone, "GET", "/v1/party/devices", "").Devices {
		if !m.You {
			asks[wire.PartyMember](w, phone, "PATCH", "/v1/party/devices/"+string(m.Device), `{"session":"none"}`)
		}
	}
	for _, ref := range []string{"first", "second"} { // the session of the first is taken up again
		w.reports(w.token(phone), carrying(alice, bob, "active", ref, string(tv.Device)))
		session := w.reports(w.token(other), report(alice, "incoming", "active", ref))
		if got := w.present(other, session); !slices.Contains(got, "TV") || slices.Contains(got, "car") {
			t.Errorf("%s call: %v", ref, got)
		}
		w.reports(w.token(other), report(alice, "incoming", "ended", ref))
		w.reports(w.token(phone), carrying(alice, bob, "ended", ref, string(tv.Device)))
		if got := w.present(other, session); slices.Contains(got, "TV") {
			t.Errorf("after the %s call: %v", ref, got)
		}
	}
	w.stop() // what was chosen outlives the server
	w.start(func(c *server.Config) { c.Calls.InviteDelay = time.Hour })
	w.reports(w.token(phone), carrying(alice, bob, "active", "third"))
	session := w.reports(w.token(other), report(alice, "incoming", "active", "third"))
	if got := w.present(other, session); slices.Contains(got, "TV") || slices.Contains(got, "car") || len(got) != 2 {
		t.Errorf("after a restart, not named: %v", got)
	}
}

// TestAddressesRefused: nobody's report pulls in a device that has not agreed.
func TestAddressesRefused(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Calls.InviteDelay = time.Hour })
	phone, other := w.enrol(alice), w.enrol(bob)
	tv := w.couple(phone, "TV", "permanent")
	_, pending := w.beginCoupling("open to whoever has its address")
	_, taken := w.beginCoupling("of bob's call")
	w.reports(w.token(other), carrying(bob, alice, "active", "b", taken.ID))
	// Somebody asks to be coupled with the key of bob's device, and hands the address to alice: only
	// who has the key can claim it, and it is bob's for good.
	k := other.PublicKey()
	r := w.ask("POST", "/v1/couplings/requests", "", fmt.Sprintf(`{"key":{"kty":"EC","crv":"P-256","x":%q,"y":%q}}`, k.X, k.Y))
	var stolen wire.CouplingPending
	check(t, json.Unmarshal([]byte(r.body), &stolen))
	w.reports(w.token(phone), carrying(alice, bob, "active", "stolen", stolen.ID))
	if r := w.claim(&client.Identity{Server: other.Server, Device: other.Device, Key: other.Key}, stolen, ""); r.status != http.StatusConflict {
		t.Errorf("a device of two parties: %+v", r)
	}
	session := w.reports(w.token(other), carrying(bob, alice, "active", "b"))
	if got := w.present(phone, session); len(got) != 3 {
		t.Errorf("members: %v", got)
	}
	for _, c := range []struct {
		name, token, own, address string
		want                      wire.Code
	}{
		{"another party's device", w.token(phone), alice, string(other.Device), wire.CodeForbidden},
		{"an unknown device", w.token(phone), alice, "dev_unknown", wire.CodeForbidden},
		{"an unknown request", w.token(phone), alice, "crq_unknown", wire.CodeForbidden},
		{"no address", w.token(phone), alice, "a/b", wire.CodeForbidden},
		{"one that carries data for another", w.token(phone), alice, taken.ID, wire.CodeForbidden},
		{"by a device that is coupled itself", w.token(tv), alice, pending.ID, wire.CodeSecondHand},
		{"by an element outside its range", w.key("element", alice), bob, pending.ID, wire.CodeForbidden},
		{"another party's, by an element", w.key("element", bob), bob, string(tv.Device), wire.CodeForbidden},
	} {
		if r := w.ask("POST", "/v1/reports", c.token, carrying(c.own, carol, "active", "r", c.address)); r.code(t) != c.want {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
	five := carrying(alice, carol, "active", "r", "dev_1", "dev_2", "dev_3", "dev_4", "dev_5")
	if r := w.ask("POST", "/v1/reports", w.token(phone), five); r.status/100 != 4 {
		t.Errorf("five addresses: %+v", r)
	}
}

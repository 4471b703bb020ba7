package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// aPicture is a small one.
var aPicture = []byte("GIF89a\x01\x00\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;")

// enterByLink opens the link of a text message.
func (w *world) enterByLink(link string) *client.Identity {
	w.t.Helper()
	id, err := client.NewIdentity(w.url())
	check(w.t, err)
	proof, err := id.Assert(link)
	check(w.t, err)
	k := id.PublicKey()
	r := w.ask("POST", "/v1/guests", "", fmt.Sprintf(`{"link":%q,"key":{"kty":"EC","crv":"P-256","x":%q,"y":%q},"assertion":%q}`, link, k.X, k.Y, proof))
	if r.status != http.StatusCreated {
		w.t.Fatalf("guest: %+v", r)
	}
	var d wire.DeviceInfo
	check(w.t, json.Unmarshal([]byte(r.body), &d))
	id.Device = d.ID
	return id
}

// Who comes by a link to a number receives what is sent to the number's party, pictures too, and
// gives nothing that is the party's: not its profile, nor its rules.
func TestGuestReceivesAndGivesNothing(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Texts.Enabled, c.Texts.After = true, time.Second })
	x, former := w.enrol(alice), w.enrol(dave)
	general := []string{"fn", "photo"}
	for id, name := range map[*client.Identity]string{x: "Alice", former: "the velvet profile of Dave"} {
		api := client.NewAPI(id, w.http)
		_, err := api.SetPicture(w.ctx, "photo", aPicture)
		check(t, err)
		_, err = api.ChangeProfile(w.ctx, wire.ProfileChange{Set: []wire.ProfileField{{ID: "fn", Name: "fn", Value: name}}, General: &general})
		check(t, err)
	}
	own, err := client.NewAPI(former, w.http).Profile(w.ctx)
	check(t, err)
	for id, other := range map[*client.Identity]string{x: dave, former: alice} {
		if r := w.ask("PUT", "/v1/place/rules", w.token(id), `{"rules":[{"identity":"tel:`+other+`","consent":"call","unasked":true}],"never":[]}`); r.status != http.StatusOK {
			t.Fatalf("rules: %+v", r)
		}
	}
	if r := w.ask("DELETE", "/v1/device", w.token(former), ""); r.status != http.StatusNoContent {
		t.Fatalf("revoke: %+v", r)
	}

	if r := w.ask("POST", "/v1/reports", w.token(x), report(dave, "outgoing", "active", "c")); r.status != http.StatusOK {
		t.Fatalf("report: %+v", r)
	}
	guest := w.enterByLink(regexp.MustCompile(`psh_\w+`).FindString(w.text()))
	token, s := w.token(guest), w.enter(guest)
	var m wire.ProfileMessage
	var session wire.SessionID
	profile := func() {
		t.Helper()
		for {
			e := s.read(wire.TypeMessage)
			if session = e.Session; e.Kind == wire.KindProfile {
				m = wire.ProfileMessage{}
				check(t, json.Unmarshal(e.Body, &m))
				return
			}
		}
	}
	s.write(`{"type":"resume","id":"r","session":"` + string(w.sessionOf(token)) + `"}`)
	profile()
	if len(m.Fields) != 2 {
		t.Fatalf("the guest gets %+v", m)
	}
	for _, f := range m.Fields {
		if f.Picture == nil {
			continue
		}
		if r := w.ask("GET", f.Picture.Path, token, ""); r.status != http.StatusOK || r.body != string(aPicture) {
			t.Errorf("the picture that it was sent: %d %q", r.status, r.body)
		}
	}
	for _, f := range own.Fields {
		if f.Picture == nil {
			continue
		}
		if r := w.ask("GET", f.Picture.Path, token, ""); r.status != http.StatusNotFound {
			t.Errorf("the picture of the number's party: %+v", r)
		}
	}
	if r := w.ask("POST", "/v1/sessions/"+string(session)+"/profile", token, `{"fields":["fn"]}`); r.code(t) != wire.CodeForbidden {
		t.Errorf("the guest sends the party's profile: %+v", r)
	}
	for who, token := range map[string]string{"guest": token, "other side": w.token(x)} {
		if r := w.ask("GET", "/v1/sessions/"+string(session)+"/place/rules", token, ""); r.status != http.StatusOK || strings.Contains(r.body, "call") {
			t.Errorf("rules for the %s: %+v", who, r)
		}
	}
	// Once more, so that the first exchange is over.
	_, err = client.NewAPI(x, w.http).ChangeProfile(w.ctx, wire.ProfileChange{Set: []wire.ProfileField{{ID: "fn", Name: "fn", Value: "Alice K."}}})
	check(t, err)
	profile()
	if r := w.ask("GET", "/v1/sessions/"+string(session)+"/messages", w.token(x), ""); r.status != http.StatusOK || strings.Contains(r.body, "velvet") {
		t.Errorf("the party's profile was sent: %+v", r)
	}
}

// A number is barred: the session in which it is a guest only is closed, and none in which it is not.
func TestBarredGuest(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Texts.Enabled, c.Texts.After = true, time.Second })
	x, y, other := w.pair(alice, bob)
	if r := w.ask("POST", "/v1/reports", w.token(x), report(dave, "outgoing", "active", "g")); r.status != http.StatusOK {
		t.Fatalf("report: %+v", r)
	}
	guest := w.enterByLink(regexp.MustCompile(`psh_\w+`).FindString(w.text()))
	token := w.token(guest)
	id := w.sessionOf(token)
	w.send(guest, id, "before")
	// Others show the number, as those do who share one.
	z := w.enrol(carol)
	shared, err := tel.ParseIdentity("tel:"+dave, "")
	check(t, err)
	const behind = wire.SessionID("s_shared")
	check(t, w.server.Sessions().Open(t.Context(), session.Opening{Tenant: wire.DefaultTenant, ID: behind, At: time.Now(), Sides: []session.OpeningSide{
		{Principal: z.Number.Identity(), Shown: shared, Devices: []wire.DeviceID{z.Device}},
		{Principal: y.Number.Identity(), Shown: y.Number.Identity(), Devices: []wire.DeviceID{y.Device}},
	}}))

	w.operator("POST", "/v1/operator/barred", wire.BarRequest{Identity: dave}, nil)
	if st := asks[wire.SessionState](w, x, "GET", "/v1/sessions/"+string(id), ""); st.Phase != wire.Closed {
		t.Errorf("the guest's session is %s", st.Phase)
	}
	if r := w.ask("POST", "/v1/sessions/"+string(id)+"/messages", token, `{"id":"after","kind":"text","body":{"text":"x"}}`); r.status < 400 {
		t.Errorf("the guest sends: %+v", r)
	}
	for _, id := range []wire.SessionID{other, behind} {
		if st := asks[wire.SessionState](w, y, "GET", "/v1/sessions/"+string(id), ""); st.Phase == wire.Closed {
			t.Errorf("the session %s of others is closed", id)
		}
	}
}

// sessionOf is the only session of a device.
func (w *world) sessionOf(token string) wire.SessionID {
	w.t.Helper()
	var l wire.SessionList
	r := w.ask("GET", "/v1/sessions", token, "")
	check(w.t, json.Unmarshal([]byte(r.body), &l))
	if len(l.Sessions) != 1 {
		w.t.Fatalf("sessions: %+v", r)
	}
	return l.Sessions[0].ID
}

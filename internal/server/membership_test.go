package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/wire"
)

// TestNoDataToWhoHasLeft: who leaves a conference that goes on gets nothing more of its
// session, and who comes back sees nothing of what was said meanwhile (B10).
func TestNoDataToWhoHasLeft(t *testing.T) {
	w := newWorld(t)
	const bridge = "+442079460900"
	w.operator("POST", "/v1/operator/shared-identities", wire.SharedRequest{Identity: bridge}, nil)
	a, b, c := w.enrol(alice), w.enrol(bob), w.enrol(carol)
	report := func(id *client.Identity, state string) (session wire.SessionID) {
		t.Helper()
		body := fmt.Sprintf(`{"other":"tel:%s","conference_id":"77","state":%q,"ref":{"local":"c"}}`, bridge, state)
		r := w.ask("POST", "/v1/reports", w.token(id), body)
		if r.status != http.StatusOK {
			t.Fatalf("%+v", r)
		}
		var ack wire.Ack
		check(t, json.Unmarshal([]byte(r.body), &ack))
		return ack.Session
	}
	report(a, "active")
	session := report(b, "active")
	if got := report(c, "active"); session == "" || got != session {
		t.Fatalf("sessions %q and %q", session, got)
	}
	socket := w.enter(c)
	texts := func(id *client.Identity) (all string) {
		for _, e := range asks[wire.MessageList](w, id, "GET", "/v1/sessions/"+string(session)+"/messages", "").Messages {
			all += string(e.Body)
		}
		return all
	}
	w.send(a, session, "before")
	if e := socket.read(wire.TypeMessage); !strings.Contains(string(e.Body), "before") {
		t.Errorf("%s", e.Body)
	}

	report(c, "ended")
	w.send(a, session, "secret")
	for _, path := range []string{"", "/messages"} {
		if r := w.ask("GET", "/v1/sessions/"+string(session)+path, w.token(c), ""); r.code(t) != wire.CodeNotMember {
			t.Errorf("%s: %+v", path, r)
		}
	}
	if r := w.ask("POST", "/v1/sessions/"+string(session)+"/messages", w.token(c), `{"id":"x","kind":"text","body":{"text":"x"}}`); r.code(t) != wire.CodeNotMember {
		t.Errorf("sent: %+v", r)
	}
	if _, p := socket.answer(fmt.Sprintf(`{"type":"resume","id":"r","session":%q}`, session)); p.Code != wire.CodeNotMember {
		t.Errorf("resume: %+v", p)
	}

	report(c, "active")
	w.send(b, session, "after")
	for {
		e := socket.read(wire.TypeMessage)
		if strings.Contains(string(e.Body), "secret") {
			t.Fatal("who had left was told")
		}
		if strings.Contains(string(e.Body), "after") {
			break
		}
	}
	if got := texts(c); strings.Contains(got, "secret") || strings.Contains(got, "before") || !strings.Contains(got, "after") {
		t.Errorf("who comes back reads %s", got)
	}
	if got := texts(a); !strings.Contains(got, "secret") || !strings.Contains(got, "before") || !strings.Contains(got, "after") {
		t.Errorf("who was there all the time reads %s", got)
	}
	st := asks[wire.SessionState](w, a, "GET", "/v1/sessions/"+string(session), "")
	if st.Phase != wire.InCall || len(st.Members) != 4 || !st.Members[2].Left || st.Members[3].Left || st.Members[3].Side == st.Members[2].Side {
		t.Errorf("%+v", st)
	}
}

package server_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/wire"
)

// TestInvitedAgain: a connected device is invited also where the bus loses what it is to be told, and where that is not so it is invited
// once.
func TestInvitedAgain(t *testing.T) {
	for name, lose := range map[string]func(*server.Server){"lost": (*server.Server).LoseTold, "told": nil} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.enrol(alice), w.enrol(bob)
			w.stop()
			w.before = lose
			w.start(func(c *server.Config) { c.Calls.Rescan = time.Second })
			s := w.enter(b)
			w.ask("POST", "/v1/reports", w.token(a), report(bob, "outgoing", "active", "c"))
			var i wire.Invite
			check(t, json.Unmarshal(s.read(wire.TypeInvite).Body, &i))
			if lose != nil {
				return
			}
			time.Sleep(1500 * time.Millisecond) // a scan, that there is nothing to be told
			if got := s.answerWithout(decline(i), wire.TypeInvite); got != wire.TypeAck {
				t.Errorf("answered %s", got)
			}
		})
	}
}

// TestWithdrawnAgain: a connected device whose invitation is over takes it off its screen also where the bus loses that, and is told so once.
func TestWithdrawnAgain(t *testing.T) {
	for name, lose := range map[string]func(*server.Server){"lost": (*server.Server).LoseWithdrawn, "told": nil} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.enrol(alice), w.enrol(bob)
			w.stop()
			w.before = lose
			w.start(func(c *server.Config) { c.Calls.Rescan = time.Second })
			s := w.enter(b)
			w.ask("POST", "/v1/reports", w.token(a), report(bob, "outgoing", "active", "c"))
			var i wire.Invite
			check(t, json.Unmarshal(s.read(wire.TypeInvite).Body, &i))
			time.Sleep(2500 * time.Millisecond) // looks at what it is asked still
			began := time.Now()
			w.ask("POST", "/v1/reports", w.token(a), report(bob, "outgoing", "ended", "c"))
			var over wire.Withdrawn
			check(t, json.Unmarshal(s.read(wire.TypeWithdrawn).Body, &over))
			if over.Invitation != i.ID || over.Reason != "call_over" {
				t.Errorf("withdrawn %+v, want %s", over, i.ID)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("after %v", took)
			}
			time.Sleep(2500 * time.Millisecond)
			if got := s.answerWithout(decline(i), wire.TypeWithdrawn); got != wire.TypeError {
				t.Errorf("answered %s", got)
			}
		})
	}
}

// TestWithdrawnAfterAWhile: a device that was away when its invitation was over is told so when it is back.
func TestWithdrawnAfterAWhile(t *testing.T) {
	w := newWorld(t)
	a, b := w.enrol(alice), w.enrol(bob)
	w.stop()
	w.start(func(c *server.Config) { c.Calls.Rescan = time.Second })
	s := w.enter(b)
	w.ask("POST", "/v1/reports", w.token(a), report(bob, "outgoing", "active", "c"))
	var i wire.Invite
	check(t, json.Unmarshal(s.read(wire.TypeInvite).Body, &i))
	s.conn.CloseNow()
	time.Sleep(1500 * time.Millisecond)
	w.ask("POST", "/v1/reports", w.token(a), report(bob, "outgoing", "ended", "c"))
	time.Sleep(1500 * time.Millisecond)
	s = w.enter(b)
	var over wire.Withdrawn
	check(t, json.Unmarshal(s.read(wire.TypeWithdrawn).Body, &over))
	if over.Invitation != i.ID {
		t.Errorf("withdrawn %+v, want %s", over, i.ID)
	}
}

// TestAvailableAgain: a device that is told only of its party's sessions learns which there are, and what becomes of them, also where the bus loses that.
func TestAvailableAgain(t *testing.T) {
	w := newWorld(t)
	phone, other := w.enrol(alice), w.enrol(bob)
	tv := w.couple(phone, "TV", "permanent")
	if r := w.ask("PATCH", "/v1/party/devices/"+string(tv.Device), w.token(phone), `{"session":"told"}`); r.status != http.StatusOK {
		t.Fatal(r)
	}
	w.stop()
	w.before = (*server.Server).LoseAvailable
	w.start(func(c *server.Config) { c.Calls.Rescan = time.Second })
	screen := w.enter(tv)
	told := func() (a wire.Available) {
		t.Helper()
		check(t, json.Unmarshal(screen.read(wire.TypeAvailable).Body, &a))
		return a
	}
	w.ask("POST", "/v1/reports", w.token(phone), report(bob, "outgoing", "active", "c"))
	w.ask("POST", "/v1/reports", w.token(other), report(alice, "incoming", "active", "c"))
	open := told()
	if open.Phase != wire.InCall || len(open.With) != 1 {
		t.Errorf("told %+v", open)
	}
	time.Sleep(2500 * time.Millisecond) // looks, at which there is nothing new
	w.ask("POST", "/v1/reports", w.token(phone), report(bob, "outgoing", "ended", "c"))
	if a := told(); a.Session != open.Session || a.Phase != wire.AfterCall || a.Until.IsZero() {
		t.Errorf("told %+v", a)
	}
	asks[struct{}](w, phone, "POST", "/v1/sessions/"+string(open.Session)+"/leave", `{}`)
	if a := told(); a.Session != open.Session || a.Phase != wire.Closed {
		t.Errorf("told %+v", a)
	}
	time.Sleep(2500 * time.Millisecond)
	screen.answerWithout(`{"type":"ask","id":"x","body":{"other":"tel:`+carol+`"}}`, wire.TypeAvailable)
}

// decline is the answer no to an invitation, with the id x.
func decline(i wire.Invite) string {
	return `{"type":"answer","id":"x","body":{"invitation":"` + string(i.ID) + `","accept":false}}`
}

// answerWithout makes a request with the id x and returns the type of what answers it. Nothing of the type not, that came
// before that, may be there.
func (s *socket) answerWithout(request string, not wire.Type) wire.Type {
	s.t.Helper()
	s.write(request)
	for {
		_, frame, err := s.conn.Read(s.ctx)
		check(s.t, err)
		e, err := wire.DecodeServer(frame)
		check(s.t, err)
		if e.Type == not {
			s.t.Errorf("told once more: %s", frame)
		}
		if e.ID == "x" {
			return e.Type
		}
	}
}

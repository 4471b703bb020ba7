package call_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// diverted is the report of Carol's network: she has a call in which Alice dialled Bob.
func diverted(state tel.State, more ...func(*call.Report)) call.Report {
	r := report(carol, alice, state, append([]func(*call.Report){element("pbx", "x")}, more...)...)
	r.Direction, r.Dialled = tel.Incoming, bob
	return r
}

// TestDiverted: Alice's telephone says that she called Bob, and Carol's network that she has the call: it is one
// session, of Alice and Carol, in whichever order they say it. Alice is shown the number that she
// dialled; Bob is told nothing.
func TestDiverted(t *testing.T) {
	for name, in := range map[string][]call.Report{
		"the caller first":   {report(alice, bob, tel.Active), diverted(tel.Active)},
		"the element first":  {diverted(tel.Active), report(alice, bob, tel.Active)},
		"ringing":            {report(alice, bob, tel.Ringing), diverted(tel.Ringing), report(alice, bob, tel.Active), diverted(tel.Active)},
		"both from elements": {report(alice, bob, tel.Active, element("f", "y")), diverted(tel.Active)},
		"the network of both": {
			report(alice, bob, tel.Active), diverted(tel.Active),
			report(alice, carol, tel.Active, element("pbx", "x"), func(r *call.Report) { r.Direction, r.Dialled = tel.Outgoing, bob }),
		},
		"Bob's telephone rang": {report(bob, alice, tel.Ringing), report(alice, bob, tel.Ringing), report(bob, alice, tel.Ended), diverted(tel.Active), report(alice, bob, tel.Active)},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t, call.Rules{})
			m := w.matcher(t)
			var id wire.SessionID
			for _, r := range in {
				if s := say(t, m, r); s != "" {
					id = s
				}
			}
			w.pass(t, time.Minute, m)
			if len(w.opened) != 1 {
				t.Fatalf("%d sessions", len(w.opened))
			}
			for s, o := range w.opened {
				if id != "" && s != id {
					t.Errorf("reported %s, opened %s", id, s)
				}
				shown := map[tel.Identity]tel.Identity{}
				for _, side := range o.Sides {
					shown[side.Principal] = side.Shown
				}
				if len(shown) != 2 || shown[alice] != alice || shown[carol] != bob {
					t.Errorf("the sides are shown as %v", shown)
				}
			}
			if i := slices.IndexFunc(w.told, func(s string) bool { return strings.Contains(s, "d2") }); i >= 0 {
				t.Errorf("Bob was told %s", w.told[i])
			}
			calls, err := m.Calls(t.Context(), "t", alice)
			if err != nil || len(calls) != 1 || calls[0].Other != bob || calls[0].Session == "" {
				t.Errorf("Alice's calls: %+v, %v", calls, err)
			}
			ex, err := m.Explain(t.Context(), "t", alice, bob)
			if text := strings.Join(ex.Lines, "\n"); err != nil || !strings.Contains(text, "was diverted to somebody else") {
				t.Errorf("explained as %s, %v", text, err)
			}
			say(t, m, report(alice, bob, tel.Ended, func(r *call.Report) { r.Reporter = in[0].Reporter }))
			if in[0].Own == alice {
				r := in[0]
				r.State = tel.Ended
				say(t, m, r)
			}
			say(t, m, diverted(tel.Ended))
			for s, state := range w.last {
				if state != "ended" {
					t.Errorf("session %s is %s", s, state)
				}
			}
			w.pass(t, time.Hour, m)
			w.pass(t, time.Hour, m)
			for _, key := range w.all(t) {
				if strings.Contains(key, "460002") {
					t.Errorf("record %s stays", key)
				}
			}
		})
	}
}

// TestNotTheDivertedCall: what is not certain is not joined, and what a device claims counts for nothing.
func TestNotTheDivertedCall(t *testing.T) {
	dave := identity("+442079460004")
	for name, in := range map[string][]call.Report{
		"a device claims it": {report(alice, bob, tel.Active), diverted(tel.Active, func(r *call.Report) {
			r.Reporter = call.Reporter{Kind: call.ByDevice, ID: "d3", Device: "d3", Evidence: call.Passport}
		})},
		"long ago": {report(alice, bob, tel.Active, func(r *call.Report) {
			r.At = time.Date(2026, 11, 23, 11, 50, 0, 0, time.UTC)
		}), diverted(tel.Active)},
		"two calls of hers":  {report(alice, bob, tel.Active, ref("1")), report(alice, bob, tel.Active, ref("2")), diverted(tel.Active)},
		"Bob has it himself": {report(alice, bob, tel.Active), report(bob, alice, tel.Active), diverted(tel.Active)},
		"two have it": {diverted(tel.Active), func() call.Report {
			r := diverted(tel.Active, element("other", "z"))
			r.Own = dave
			return r
		}(), report(alice, bob, tel.Active)},
		"she was called":     {report(alice, bob, tel.Active, func(r *call.Report) { r.Direction = tel.Incoming }), diverted(tel.Active)},
		"it is over":         {diverted(tel.Active), diverted(tel.Ended), report(alice, bob, tel.Active)},
		"another one called": {report(dave, bob, tel.Active), diverted(tel.Active)},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t, call.Rules{})
			m := w.matcher(t)
			for _, r := range in {
				say(t, m, r)
			}
			for _, o := range w.opened {
				for _, side := range o.Sides {
					if side.Principal == carol || side.Principal == dave {
						t.Errorf("a session with %s", side.Principal)
					}
				}
			}
		})
	}
}

// TestDivertedByReference: a reference that is the same on both sides tells which of two calls it is.
func TestDivertedByReference(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	say(t, m, report(alice, bob, tel.Active, ref("1")))
	say(t, m, report(alice, bob, tel.Active, ref("2"), func(r *call.Report) { r.Ref.CallID = "x" }))
	say(t, m, diverted(tel.Active))
	if w.sessions() != 1 {
		t.Errorf("%d sessions", w.sessions())
	}
}

// TestDivertedIsInvitedWithoutItsName: whom a call was diverted to is not shown to the caller, who did not
// call it, when its network alone reports.
func TestDivertedIsInvitedWithoutItsName(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	say(t, m, diverted(tel.Active))
	w.pass(t, 3*time.Second, m)
	i, ok := w.bodies["d1 invite"].(*wire.Invite)
	if !ok {
		t.Fatalf("told %v", w.told)
	}
	if !i.Claimant.IsZero() {
		t.Errorf("the invitation names %s", i.Claimant)
	}
	if err := m.Answer(t.Context(), "t", "d1", alice, wire.Answer{Invitation: i.ID, Accept: true}); err != nil {
		t.Fatal(err)
	}
	for _, o := range w.opened {
		for _, side := range o.Sides {
			if side.Principal == carol && !side.Shown.IsZero() {
				t.Errorf("Alice is shown %s", side.Shown)
			}
		}
	}
	if len(w.opened) != 1 {
		t.Errorf("%d sessions", len(w.opened))
	}
}

// TestDivertedToOneAnother: calls to Bob that Carol has, and to Carol that Bob has, reported at once by
// many: nothing waits for itself.
func TestDivertedToOneAnother(t *testing.T) {
	w := newTown(t, call.Rules{})
	m, other := w.matcher(t), w.matcher(t)
	crossed := func(own, dialled tel.Identity, id string) call.Report {
		r := report(own, alice, tel.Active, element(id, id))
		r.Direction, r.Dialled = tel.Incoming, dialled
		return r
	}
	in := []call.Report{
		report(alice, bob, tel.Active, element("a", "x")), report(alice, carol, tel.Active, element("a", "y")),
		crossed(carol, bob, "x"), crossed(bob, carol, "y"),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var g sync.WaitGroup
		for i := range 40 {
			g.Go(func() {
				r := in[i%len(in)]
				r.Seq = uint64(i + 1)
				_, _ = []*call.Matcher{m, other}[i/4%2].Report(t.Context(), r)
			})
		}
		g.Wait()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("the reports wait for one another")
	}
	w.pass(t, 30*time.Second, m, other)
	if n := len(w.opened); n == 0 || n > 2 { // which legs meet first decides
		t.Errorf("%d sessions", n)
	}
}

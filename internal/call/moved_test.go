package call_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/tel"
)

// TestTransfer: A's leg turns from B to C, which A's side alone reports. B is out of A's call, and C in.
func TestTransfer(t *testing.T) {
	same := func(at time.Duration) func(*call.Report) {
		return func(r *call.Report) {
			r.Ref.CallID = "x"
			r.At = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).Add(at)
		}
	}
	reordered := []func(r *call.Report){same(-3 * time.Second), same(-2 * time.Second)}
	for name, orders := range map[string][2]int{"in order": {0, 1}, "the earlier one late": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t, call.Rules{})
			m := w.matcher(t)
			with := []tel.Identity{bob, carol}
			say(t, m, report(bob, alice, tel.Active, ref("b")))
			for _, i := range orders {
				say(t, m, report(alice, with[i], tel.Active, reordered[i]))
			}
			id := say(t, m, report(carol, alice, tel.Active, ref("c")))
			if id == "" || w.last[id] != "open" {
				t.Fatalf("A and C have session %q", id)
			}
			for s, state := range w.last {
				if s != id && state != "ended" {
					t.Errorf("the call of A and B is %s", state)
				}
			}
			calls, err := m.Calls(t.Context(), "t", alice)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range calls {
				if up := c.State == tel.Active; up != (c.Other == carol) {
					t.Errorf("A's call with %s is %s", c.Other, c.State)
				}
			}
		})
	}
}

// TestTwoCallsAtOnce: different references are different legs, and a ringing one ends none.
func TestTwoCallsAtOnce(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	say(t, m, report(alice, bob, tel.Active, ref("x")))
	first := say(t, m, report(bob, alice, tel.Active, ref("b")))
	say(t, m, report(alice, carol, tel.Ringing, ref("x"))) // a fork, or a second call that is not up
	say(t, m, report(alice, carol, tel.Active, ref("y")))
	second := say(t, m, report(carol, alice, tel.Active, ref("c")))
	if first == "" || second == "" || w.last[first] != "open" || w.last[second] != "open" {
		t.Errorf("sessions %q %s and %q %s", first, w.last[first], second, w.last[second])
	}
}

// TestConferenceFollowsTransfer: a call of two moves into a conference; the pair's call is over.
func TestConferenceFollowsTransfer(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	room := identity("+448005550100")
	w.shared[room] = true
	say(t, m, report(alice, bob, tel.Active, ref("x")))
	pair := say(t, m, report(bob, alice, tel.Active, ref("b")))
	in := func(r *call.Report) { r.ConferenceID = "77" }
	say(t, m, report(alice, room, tel.Active, ref("x"), in))
	say(t, m, report(carol, room, tel.Active, ref("c"), in))
	id := say(t, m, report(bob, room, tel.Active, ref("b"), in))
	if id == "" || id == pair || w.last[pair] != "ended" {
		t.Fatalf("conference %q; the pair's session %q is %s", id, pair, w.last[pair])
	}
	say(t, m, report(bob, room, tel.Ended, ref("b"), in))
	if len(w.parted) != 1 || w.parted[0].Principal != bob || w.parted[0].At.IsZero() {
		t.Errorf("parted: %+v", w.parted)
	}
}

// TestPartyIsInSoManyCalls: a device that speaks of ever more calls is stopped; a network element
// that speaks of its party, and the device about the calls that it is in, are not.
func TestPartyIsInSoManyCalls(t *testing.T) {
	w := newTown(t, call.Rules{Calls: 3})
	m := w.matcher(t)
	number := func(i int) tel.Identity { return identity(fmt.Sprintf("+44207946%04d", 5000+i)) }
	for i := range 5 {
		_, err := m.Report(t.Context(), report(alice, number(i), tel.Active, ref(fmt.Sprint(i))))
		if i < 3 && err != nil || i >= 3 && !errors.Is(err, call.ErrTooMany) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	say(t, m, report(alice, number(1), tel.Ended, ref("1")))
	say(t, m, report(alice, number(7), tel.Active, ref("7"), func(r *call.Report) {
		r.Reporter = call.Reporter{Kind: call.ByElement, ID: "element", Evidence: call.Trusted}
	}))
	for i := range 5 { // whom others name is not full for it
		say(t, m, report(number(i), bob, tel.Active, ref("b")))
	}
	say(t, m, report(bob, carol, tel.Active, ref("b")))
}

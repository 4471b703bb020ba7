package call_test

import (
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// desk says of a leg of a contact centre which agent has it.
func desk(d wire.DeviceID, extension, callID string) func(*call.Report) {
	return func(r *call.Report) {
		r.Reporter = call.Reporter{Kind: call.ByElement, ID: "sip", Device: d, Evidence: call.Trusted}
		r.Extension, r.Ref.CallID, r.Ref.Local = extension, callID, extension+callID
	}
}

// TestHandedSession: behind a shared number a further leg is a session of its own, unless the
// session was handed to the device that has it; then it goes on there, once.
func TestHandedSession(t *testing.T) {
	for name, c := range map[string]struct {
		handed, endsFirst bool
		after             time.Duration // between the legs
		same              bool
	}{
		"the new leg comes first":   {true, false, time.Second, true},
		"the old leg ends first":    {true, true, 10 * time.Second, true},
		"long after the old leg":    {true, true, 3 * time.Minute, false},
		"a transfer without a word": {false, true, time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t, call.Rules{})
			m := w.matcher(t)
			centre := identity("+442079460900")
			w.shared[centre] = true
			at := func(callID string) func(*call.Report) {
				return func(r *call.Report) { r.Ref.CallID, r.Ref.Local = callID, callID }
			}
			say(t, m, report(alice, centre, tel.Active, at("one")))
			first := say(t, m, report(centre, alice, tel.Active, desk("anna", "17", "one")))
			if first == "" {
				t.Fatal("no session")
			}
			if c.handed {
				for range 2 {
					if err := m.Hand(t.Context(), "t", centre, first, "ben"); err != nil {
						t.Fatal(err)
					}
				}
			}
			end := func() {
				say(t, m, report(centre, alice, tel.Ended, desk("", "17", "one")))
				say(t, m, report(alice, centre, tel.Ended, at("one")))
			}
			if c.endsFirst {
				end()
			}
			w.pass(t, c.after, m)
			say(t, m, report(alice, centre, tel.Active, at("two")))
			second := say(t, m, report(centre, alice, tel.Active, desk("ben", "18", "two")))
			if !c.endsFirst {
				end()
			}
			if second == "" || second == first != c.same || w.last[second] == "ended" {
				t.Errorf("the sessions are %q and %q, which is %s", first, second, w.last[second])
			}
			if !c.same {
				return
			}
			// Not for later calls, too.
			say(t, m, report(centre, alice, tel.Ended, desk("", "18", "two")))
			say(t, m, report(alice, centre, tel.Ended, at("two")))
			say(t, m, report(alice, centre, tel.Active, at("three")))
			if third := say(t, m, report(centre, alice, tel.Active, desk("ben", "18", "three"))); third == first || third == "" {
				t.Errorf("a later call has %q", third)
			}
		})
	}
}

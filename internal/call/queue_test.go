package call_test

import (
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// TestQueue: the queue is that of the session's newest call that named one, on the side that
// named it.
func TestQueue(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	in := func(ref, queue string) func(*call.Report) {
		return func(r *call.Report) { r.Ref.Local, r.Queue = ref, queue }
	}
	queue := func(own tel.Identity, s wire.SessionID) string {
		q, err := m.Queue(t.Context(), "t", own, s)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	say(t, m, report(alice, bob, tel.Active, in("1", "")))
	s := say(t, m, report(bob, alice, tel.Active, in("1", "city")))
	if s == "" || queue(bob, s) != "city" || queue(alice, s) != "" || queue(bob, "s_OTHER") != "" {
		t.Errorf("session %q: %q, the other side %q", s, queue(bob, s), queue(alice, s))
	}
	w.pass(t, time.Second, m)
	say(t, m, report(alice, bob, tel.Ended, in("1", "")))
	say(t, m, report(bob, alice, tel.Ended, in("1", "")))
	w.pass(t, time.Second, m)
	say(t, m, report(alice, bob, tel.Active, in("2", "")))
	if again := say(t, m, report(bob, alice, tel.Active, in("2", "airport"))); again != s {
		t.Fatalf("the new call is in %q", again)
	}
	if got := queue(bob, s); got != "airport" {
		t.Errorf("the newest call's queue is %q", got)
	}
}

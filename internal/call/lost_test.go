package call_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// shaky is a notifier that cannot store whom it has to wake, the first times.
type shaky struct {
	*town
	fails int
}

func (s *shaky) Tell(ctx context.Context, tn wire.TenantID, d wire.DeviceID, t wire.Type, body any) error {
	if s.fails--; s.fails >= 0 {
		return store.ErrUncertain
	}
	return s.town.Tell(ctx, tn, d, t, body)
}

// TestToldAgain: a device is told what it is asked when the store, in which it stands whom to wake, can be written to again.
func TestToldAgain(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t, func(c *call.Config) { c.Notifier = &shaky{w, 2} })
	if _, err := m.Report(t.Context(), report(alice, bob, tel.Active)); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		w.pass(t, 2*time.Second, m)
	}
	if !slices.ContainsFunc(w.told, func(s string) bool { return s == "d2 invite" }) {
		t.Errorf("told %q", w.told)
	}
}

// TestStruck: an entry of the index whose record is gone, since who forgot it died before it came to the entry, goes when
// somebody meets it.
func TestStruck(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	index := store.TableOf[call.IndexEntry](w.engine, "calls-by-party")
	key := store.Key("t", alice.String(), "t/gone")
	if _, err := index.Put(t.Context(), key, call.IndexEntry{Record: "t/gone", Life: "r"}, 0); err != nil {
		t.Fatal(err)
	}
	if list, err := m.Calls(t.Context(), "t", alice); err != nil || len(list) != 0 {
		t.Fatal(list, err)
	}
	if _, _, err := index.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the entry: %v", err)
	}
}

// TestLooksAtWhatOthersOpened: each node looks at the sessions that were opened lately, since what it was told of them may be lost.
func TestLooksAtWhatOthersOpened(t *testing.T) {
	w := newTown(t, call.Rules{})
	var looked []wire.SessionID
	m := w.matcher(t)
	other := w.matcher(t, func(c *call.Config) {
		c.Look = func(_ wire.TenantID, id wire.SessionID) {
			looked = append(looked, id)
		}
	})
	for _, r := range []call.Report{report(alice, bob, tel.Active), report(bob, alice, tel.Active)} {
		if _, err := m.Report(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	scan := func() []wire.SessionID {
		looked = nil
		if err := other.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		return looked
	}
	if got := scan(); len(got) != 1 || w.opened[got[0]].ID == "" {
		t.Errorf("looked at %q", got)
	}
	w.pass(t, 3*time.Minute, m)
	if got := scan(); len(got) != 0 {
		t.Errorf("looked later at %q", got)
	}
}

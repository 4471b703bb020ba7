package call_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
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

// TestAskedAgainElsewhere: each node asks the devices at it again what they were asked lately, since what it was to tell them may have been
// lost; not what has been answered, and not for ever.
func TestAskedAgainElsewhere(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	var mu sync.Mutex
	var asked []string
	other := w.matcher(t, func(c *call.Config) {
		c.Again = func(_ wire.TenantID, d wire.DeviceID, typ wire.Type, body any) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, string(d)+" "+string(typ))
			if i, ok := body.(*wire.Invite); ok && i.ID != w.bodies["d2 invite"].(*wire.Invite).ID {
				t.Errorf("asked with %q, which is another invitation", i.ID)
			}
		}
	})
	scan := func() []string {
		asked = nil
		if err := other.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		return asked
	}
	if _, err := m.Report(t.Context(), report(alice, bob, tel.Active)); err != nil {
		t.Fatal(err)
	}
	if got := scan(); len(got) != 0 {
		t.Errorf("asked before anybody is: %q", got)
	}
	w.pass(t, 10*time.Second, m)
	for range 2 {
		if got := scan(); !slices.Equal(got, []string{"d2 invite"}) {
			t.Errorf("asked again: %q", got)
		}
		w.pass(t, 59*time.Second, m)
		say(t, m, report(alice, bob, tel.Active)) // it goes on
	}
	w.pass(t, 3*time.Second, m)
	if got := scan(); len(got) != 0 {
		t.Errorf("asked for ever: %q", got)
	}
	if slices.Contains(w.told, "d2 withdrawn") {
		t.Error("the invitation was taken back meanwhile")
	}
}

// TestNotAskedAgainWhenAnswered: an invitation that was answered is not shown again.
func TestNotAskedAgainWhenAnswered(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	other := w.matcher(t, func(c *call.Config) {
		c.Again = func(_ wire.TenantID, d wire.DeviceID, typ wire.Type, _ any) { t.Errorf("%s is told %s again", d, typ) }
	})
	if _, err := m.Report(t.Context(), report(alice, bob, tel.Active)); err != nil {
		t.Fatal(err)
	}
	w.pass(t, 10*time.Second, m)
	invite, ok := w.bodies["d2 invite"].(*wire.Invite)
	if !ok {
		t.Fatalf("told %q", w.told)
	}
	if err := m.Answer(t.Context(), "t", "d2", bob, wire.Answer{Invitation: invite.ID}); err != nil {
		t.Fatal(err)
	}
	if err := other.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestWordsToldAgainElsewhere: so are the words, to who reads them, and that they are to be typed, to who types them, after each change.
func TestWordsToldAgainElsewhere(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	var mu sync.Mutex
	told := map[string]wire.Words{}
	other := w.matcher(t, func(c *call.Config) {
		c.Again = func(_ wire.TenantID, d wire.DeviceID, typ wire.Type, body any) {
			mu.Lock()
			defer mu.Unlock()
			told[string(d)+" "+string(typ)] = *body.(*wire.Words)
		}
	})
	scan := func(want ...string) {
		t.Helper()
		clear(told)
		if err := other.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, what := range want {
			if told[what] != *w.bodies[what].(*wire.Words) {
				t.Errorf("%s again: %+v, before %+v", what, told[what], w.bodies[what])
			}
		}
		if len(told) != len(want) {
			t.Errorf("told again %v, want %q", told, want)
		}
	}
	say(t, m, report(alice, bob, tel.Active))
	say(t, m, report(bob, tel.Identity{}, tel.Active))
	later := func() {
		for range 2 {
			w.pass(t, 61*time.Second, m)
			say(t, m, report(alice, bob, tel.Active))
			say(t, m, report(bob, tel.Identity{}, tel.Active))
		}
	}
	scan("d2 words")
	later()
	scan()
	read := w.bodies["d2 words"].(*wire.Words)
	if err := m.Answer(t.Context(), "t", "d2", bob, wire.Answer{Invitation: read.Invitation, Accept: true}); err != nil {
		t.Fatal(err)
	}
	scan("d1 words")
	later()
	scan()
	if err := m.Confirm(t.Context(), "t", "d1", alice, wire.Confirm{Invitation: read.Invitation, Words: "wrong"}); !errors.Is(err, call.ErrWrongWords) {
		t.Fatal(err)
	}
	scan("d1 words")
}

// TestOver: a node finds out whether its devices are asked still what they show, and why not.
func TestOver(t *testing.T) {
	for why, c := range map[string]func(t *testing.T, w *town, m *call.Matcher, i *wire.Invite){
		"": func(*testing.T, *town, *call.Matcher, *wire.Invite) {},
		"answered": func(t *testing.T, _ *town, m *call.Matcher, i *wire.Invite) {
			if err := m.Answer(t.Context(), "t", "d2", bob, wire.Answer{Invitation: i.ID}); err != nil {
				t.Fatal(err)
			}
		},
		"call_over": func(t *testing.T, _ *town, m *call.Matcher, _ *wire.Invite) { say(t, m, report(alice, bob, tel.Ended)) },
		"joined": func(t *testing.T, _ *town, m *call.Matcher, _ *wire.Invite) {
			say(t, m, report(bob, alice, tel.Active))
		},
		"other_call": func(t *testing.T, _ *town, m *call.Matcher, _ *wire.Invite) {
			say(t, m, report(bob, carol, tel.Active))
		},
		"expired": func(t *testing.T, w *town, m *call.Matcher, _ *wire.Invite) {
			for range 11 {
				w.pass(t, time.Minute, m)
				say(t, m, report(alice, bob, tel.Active))
			}
		},
	} {
		t.Run(why, func(t *testing.T) {
			w := newTown(t, call.Rules{})
			m, other := w.matcher(t), w.matcher(t)
			say(t, m, report(alice, bob, tel.Active))
			w.pass(t, 10*time.Second, m)
			i, ok := w.bodies["d2 invite"].(*wire.Invite)
			if !ok {
				t.Fatalf("told %q", w.told)
			}
			c(t, w, m, i)
			got, err := other.Over(store.Linearizable(t.Context()), "t", "d2", bob, i.ID)
			if err != nil || got != why {
				t.Errorf("over: %q, %v", got, err)
			}
			told, ok := w.bodies["d2 withdrawn"].(*wire.Withdrawn)
			if ok != (why != "") || ok && told.Reason != got {
				t.Errorf("the device was told %+v", told)
			}
		})
	}
}

// parted has records that cannot be listed while the node is parted from the others.
type parted struct {
	call.Table[call.Record]
	now bool
}

func (p *parted) Scan(ctx context.Context, prefix string) iter.Seq2[store.Item[call.Record], error] {
	if p.now {
		return func(yield func(store.Item[call.Record], error) bool) {
			yield(store.Item[call.Record]{}, store.ErrUncertain)
		}
	}
	return p.Table.Scan(ctx, prefix)
}

// TestLooksAtWhatItMissed: a node that was parted from the others for minutes looks at the sessions that they opened meanwhile, at those that
// were joined, and asks its devices what they were asked, when it is back; and then no more.
func TestLooksAtWhatItMissed(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	var mu sync.Mutex
	var heard []string
	dave := identity("+442079460004")
	p := &parted{}
	node := w.matcher(t, func(c *call.Config) {
		p.Table, c.Records = c.Records, p
		c.Look = func(wire.TenantID, wire.SessionID) { heard = append(heard, "look") }
		c.Again = func(_ wire.TenantID, d wire.DeviceID, typ wire.Type, _ any) {
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, string(d)+" "+string(typ))
		}
	})
	scan := func() []string {
		heard = nil
		if err := node.Recover(t.Context()); (err != nil) != p.now {
			t.Fatal(err)
		}
		return heard
	}
	scan()
	p.now = true
	for i := range 6 {
		if i == 1 { // Carol speaks to somebody who does not say so
			say(t, m, report(alice, bob, tel.Active))
			say(t, m, report(bob, alice, tel.Active))
		}
		say(t, m, report(carol, dave, tel.Active))
		w.pass(t, time.Minute, m)
		scan()
	}
	p.now = false
	got := scan()
	slices.Sort(got)
	if want := []string{"d4 invite", "look"}; !slices.Equal(got, want) {
		t.Errorf("after it was parted: %q, want %q", got, want)
	}
	w.pass(t, time.Minute, m)
	if got := scan(); len(got) != 0 {
		t.Errorf("a minute later: %q", got)
	}

	further := report(bob, alice, tel.Active)
	further.Reporter.ID, further.Reporter.Device = "d2-tablet", "d2-tablet"
	say(t, m, further)
	if got := scan(); !slices.Equal(got, []string{"look"}) {
		t.Errorf("after a further device has joined: %q", got)
	}
}

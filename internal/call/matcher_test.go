package call_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/edge/store/pebblestore/pebbletest"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

var (
	alice = identity("+442079460001")
	bob   = identity("+442079460002")
	carol = identity("+442079460003")
)

func identity(s string) tel.Identity {
	id, err := tel.ParseIdentity(s, "")
	if err != nil {
		panic(err)
	}
	return id
}

// town is the world around matchers: parties with a device each, named after the last
// digit of their number ("d1"), a session core and a notifier that remember what they
// were told, and a clock.
type town struct {
	engine store.Engine
	rules  call.Rules

	mu     sync.Mutex
	now    time.Time
	names  map[tel.Identity]tel.Identity // further names of parties
	shared map[tel.Identity]bool
	blocks bool
	// opened has the openings by session; last the newest state that each was told.
	opened map[wire.SessionID]call.Opening
	last   map[wire.SessionID]string
	closed map[wire.SessionID]bool
	joined []call.Side
	parted []call.Side
	told   []string
	bodies map[string]any // the newest body told, by device and type
	news   chan string    // what was told, for tests that wait
	// fault is asked before and after each step that leaves the matcher.
	fault func() error
}

func newTown(t testing.TB, rules call.Rules) *town {
	t.Helper()
	return townOn(pebbletest.Open(t), rules)
}

func townOn(e store.Engine, rules call.Rules) *town {
	return &town{
		engine: e, rules: rules, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		names: map[tel.Identity]tel.Identity{}, shared: map[tel.Identity]bool{},
		opened: map[wire.SessionID]call.Opening{}, last: map[wire.SessionID]string{}, closed: map[wire.SessionID]bool{},
		bodies: map[string]any{}, news: make(chan string, 1000), fault: func() error { return nil },
	}
}

func (w *town) matcher(t testing.TB, change ...func(*call.Config)) *call.Matcher {
	t.Helper()
	c := call.Config{
		Records: faulty[call.Record]{store.TableOf[call.Record](w.engine, "calls"), w},
		Index:   faulty[call.IndexEntry]{store.TableOf[call.IndexEntry](w.engine, "calls-by-party"), w},

		Directory: w, Sessions: w, Notifier: w, Rules: w.rules, Now: w.clock, Log: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&c)
	}
	m, err := call.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (w *town) records() store.Table[call.Record] {
	return store.TableOf[call.Record](w.engine, "calls")
}

func (w *town) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *town) pass(t testing.TB, d time.Duration, ms ...*call.Matcher) {
	t.Helper()
	w.mu.Lock()
	w.now = w.now.Add(d)
	w.mu.Unlock()
	for _, m := range ms {
		if err := m.TickDue(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *town) Principal(_ context.Context, _ wire.TenantID, id tel.Identity) (tel.Identity, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p, ok := w.names[id]; ok {
		return p, nil
	}
	return id, nil
}

func (w *town) SharedName(_ context.Context, _ wire.TenantID, id, _ tel.Identity) (bool, error) {
	return w.shared[id], nil
}

func (w *town) Devices(_ context.Context, _ wire.TenantID, id tel.Identity) ([]wire.DeviceID, error) {
	s := id.String()
	return []wire.DeviceID{wire.DeviceID("d" + s[len(s)-1:])}, nil
}

func (w *town) Apart(context.Context, wire.TenantID, tel.Identity, tel.Identity) (bool, error) {
	return w.blocks, nil
}

func (w *town) Open(_ context.Context, o call.Opening) error {
	return w.step(func() {
		if _, again := w.opened[o.ID]; !again {
			w.opened[o.ID], w.last[o.ID] = o, "open"
		}
		w.news <- "open"
	})
}

func (w *town) JoinDevices(_ context.Context, _ wire.TenantID, _ wire.SessionID, s call.Side) error {
	return w.step(func() { w.joined = append(w.joined, s) })
}

func (w *town) Part(_ context.Context, _ wire.TenantID, _ wire.SessionID, s call.Side) error {
	return w.step(func() { w.parted = append(w.parted, s) })
}

func (w *town) CallEnded(_ context.Context, _ wire.TenantID, id wire.SessionID, _ time.Time, _ uint64) error {
	return w.step(func() { w.last[id] = "ended" })
}

func (w *town) CallUp(_ context.Context, _ wire.TenantID, id wire.SessionID, _ uint64) (again bool, err error) {
	err = w.step(func() {
		if again = !w.closed[id]; again {
			w.last[id] = "open"
		}
	})
	return again, err
}

func (w *town) Tell(_ context.Context, _ wire.TenantID, d wire.DeviceID, t wire.Type, body any) error {
	return w.step(func() {
		what := string(d) + " " + string(t)
		w.told = append(w.told, what)
		w.bodies[what] = body
		w.news <- what
	})
}

// step does something that may fail, before or after it was done.
func (w *town) step(do func()) error {
	if err := w.fault(); err != nil {
		return err
	}
	w.mu.Lock()
	do()
	w.mu.Unlock()
	return w.fault()
}

// all returns the keys of the records that there are.
func (w *town) all(t testing.TB) (keys []string) {
	t.Helper()
	for item, err := range w.records().Scan(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, item.Key)
	}
	return keys
}

func (w *town) sessions() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.opened)
}

// faulty is a table whose steps may fail, before or after they were done.
type faulty[T any] struct {
	store.Table[T]
	w *town
}

func (f faulty[T]) Get(ctx context.Context, key string) (v T, rev store.Rev, err error) {
	if err := f.w.fault(); err != nil {
		return v, 0, err
	}
	return f.Table.Get(ctx, key)
}

func (f faulty[T]) Put(ctx context.Context, key string, v T, at store.Rev) (store.Rev, error) {
	if err := f.w.fault(); err != nil {
		return 0, err
	}
	rev, err := f.Table.Put(ctx, key, v, at)
	if lost := f.w.fault(); lost != nil {
		return 0, lost
	}
	return rev, err
}

func (f faulty[T]) Scan(ctx context.Context, prefix string) iter.Seq2[store.Item[T], error] {
	if err := f.w.fault(); err != nil {
		return func(yield func(store.Item[T], error) bool) { yield(store.Item[T]{}, err) }
	}
	return f.Table.Scan(ctx, prefix)
}

// report of a device about its own party's leg.
func report(own, other tel.Identity, state tel.State, more ...func(*call.Report)) call.Report {
	s := own.String()
	d := "d" + s[len(s)-1:]
	r := call.Report{
		Tenant:   "t",
		Reporter: call.Reporter{Kind: call.ByDevice, ID: d, Device: wire.DeviceID(d), Evidence: call.Observed},
		Report:   wire.Report{PartyDetails: tel.PartyDetails{Own: own, Other: other, State: state}},
	}
	for _, f := range more {
		f(&r)
	}
	return r
}

func ref(local string) func(*call.Report) { return func(r *call.Report) { r.Ref.Local = local } }

func element(id, callID string) func(*call.Report) {
	return func(r *call.Report) {
		r.Reporter = call.Reporter{Kind: call.ByElement, ID: id, Evidence: call.Trusted}
		r.Ref.CallID = callID
	}
}

func say(t testing.TB, m *call.Matcher, r call.Report) wire.SessionID {
	t.Helper()
	out, err := m.Report(t.Context(), r)
	if err != nil {
		t.Fatalf("report of %s: %v", r.Own.Mask(), err)
	}
	return out.Session
}

func TestTwoReportsOpenOneSession(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	if id := say(t, m, report(alice, bob, tel.Active)); id != "" {
		t.Fatalf("session %s after one report", id)
	}
	id := say(t, m, report(bob, alice, tel.Active))
	if id == "" || w.sessions() != 1 {
		t.Fatalf("session %q, %d opened", id, w.sessions())
	}
	if again := say(t, m, report(alice, bob, tel.Active)); again != id {
		t.Errorf("the first side is told session %q, want %q", again, id)
	}
	o := w.opened[id]
	if o.Tenant != "t" || len(o.Sides) != 2 || o.Sides[0].Principal != alice || o.Sides[0].Shown != alice ||
		!slices.Equal(o.Sides[1].Devices, []wire.DeviceID{"d2"}) {
		t.Errorf("opening %+v", o)
	}
	say(t, m, report(bob, alice, tel.Ended))
	if w.last[id] != "ended" {
		t.Error("the session core was not told of the end")
	}
}

func TestReportIsChecked(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	w.names[identity("sip:alice@example.com")] = alice
	for name, r := range map[string]call.Report{
		"no tenant":      report(alice, bob, tel.Active, func(r *call.Report) { r.Tenant = "" }),
		"no reporter":    report(alice, bob, tel.Active, func(r *call.Report) { r.Reporter = call.Reporter{} }),
		"nobody's leg":   report(alice, bob, tel.Active, func(r *call.Report) { r.Own = tel.Identity{} }),
		"no state":       report(alice, bob, ""),
		"odd state":      report(alice, bob, "dreaming"),
		"odd direction":  report(alice, bob, tel.Active, func(r *call.Report) { r.Direction = "up" }),
		"long reference": report(alice, bob, tel.Active, ref(strings.Repeat("x", 257))),
		"negative lease": report(alice, bob, tel.Active, func(r *call.Report) { r.TTLSeconds = -1 }),
		"with itself":    report(alice, identity("sip:alice@example.com"), tel.Active),
	} {
		if _, err := m.Report(t.Context(), r); !errors.Is(err, call.ErrReport) {
			t.Errorf("%s: error %v, want ErrReport", name, err)
		}
	}
}

func TestPartiesAreMatchedByPrincipal(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	sip := identity("sip:bob@example.com")
	w.names[sip] = bob
	say(t, m, report(alice, sip, tel.Active))
	id := say(t, m, report(bob, alice, tel.Active))
	if id == "" {
		t.Fatal("no session")
	}
	if side := w.opened[id].Sides[1]; side.Principal != bob || side.Shown != sip {
		t.Errorf("bob's side is %+v: the caller knows him by the name that it used", side)
	}
}

func TestTenantsAreApart(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	say(t, m, report(alice, bob, tel.Active))
	if id := say(t, m, report(bob, alice, tel.Active, func(r *call.Report) { r.Tenant = "other" })); id != "" {
		t.Error("a session across tenants")
	}
}

// TestOneAnswer: nothing there, ambiguous, blocked, a call of others, a waiting confirmation: a
// reporter cannot tell them apart (DESIGN section 3).
func TestOneAnswer(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T, *town, *call.Matcher){
		"nothing": func(*testing.T, *town, *call.Matcher) {},
		"other call": func(t *testing.T, _ *town, m *call.Matcher) {
			say(t, m, report(bob, carol, tel.Active))
			say(t, m, report(carol, bob, tel.Active))
		},
		"ambiguous": func(t *testing.T, _ *town, m *call.Matcher) {
			say(t, m, report(bob, alice, tel.Active, element("e", "x")))
			say(t, m, report(bob, alice, tel.Active, element("e", "y")))
		},
		"blocked": func(t *testing.T, w *town, m *call.Matcher) {
			w.blocks = true
			say(t, m, report(bob, alice, tel.Active))
		},
		"withheld": func(t *testing.T, _ *town, m *call.Matcher) { say(t, m, report(bob, tel.Identity{}, tel.Active)) },
		"shared": func(t *testing.T, w *town, m *call.Matcher) {
			w.shared[bob] = true
			say(t, m, report(bob, alice, tel.Active))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t, call.Rules{})
			m := w.matcher(t)
			prepare(t, w, m)
			if id := say(t, m, report(alice, bob, tel.Active)); id != "" {
				t.Errorf("session %s", id)
			}
			for _, told := range w.told {
				if strings.HasPrefix(told, "d1") {
					t.Errorf("the claimant was told: %s", told)
				}
			}
			if err := m.Answer(t.Context(), "t", "d1", alice, wire.Answer{Invitation: "i", Accept: true}); !errors.Is(err, call.ErrNoQuestion) {
				t.Errorf("answer to nothing: %v", err)
			}
			if err := m.Confirm(t.Context(), "t", "d1", alice, wire.Confirm{Invitation: "i"}); !errors.Is(err, call.ErrNoQuestion) {
				t.Errorf("words for nothing: %v", err)
			}
			calls, err := m.Calls(t.Context(), "t", alice)
			if err != nil || len(calls) != 1 || calls[0].Other != bob || calls[0].Session != "" {
				t.Errorf("calls %+v, %v", calls, err)
			}
		})
	}
}

func TestInvitation(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	say(t, m, report(alice, bob, tel.Active))
	w.pass(t, time.Second, m)
	if len(w.told) != 0 {
		t.Fatalf("told %q before the delay was over", w.told)
	}
	w.pass(t, time.Second, m)
	if !slices.Equal(w.told, []string{"d2 invite"}) {
		t.Fatalf("told %q", w.told)
	}
	invite := w.bodies["d2 invite"].(*wire.Invite)
	yes := wire.Answer{Invitation: invite.ID, Accept: true}
	for who, id := range map[wire.DeviceID]tel.Identity{"d1": alice, "d3": carol} {
		if err := m.Answer(t.Context(), "t", who, id, yes); !errors.Is(err, call.ErrNoQuestion) {
			t.Errorf("%s answers an invitation that is not its own: %v", who, err)
		}
	}
	for range 2 { // a repetition is harmless
		if err := m.Answer(t.Context(), "t", "d2", bob, yes); err != nil {
			t.Fatal(err)
		}
	}
	if w.sessions() != 1 {
		t.Errorf("%d sessions", w.sessions())
	}
	say(t, m, report(bob, alice, tel.Active))
	if w.sessions() != 1 {
		t.Errorf("%d sessions after the device's own report", w.sessions())
	}
	say(t, m, report(alice, bob, tel.Ended))
	for _, state := range w.last {
		if state != "ended" {
			t.Errorf("session is %s", state)
		}
	}
}

func TestNobodyIsInvitedWhoSpeaksToSomebodyElse(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	say(t, m, report(bob, carol, tel.Active))
	say(t, m, report(carol, bob, tel.Active))
	say(t, m, report(alice, bob, tel.Active))
	w.pass(t, 5*time.Second, m)
	if len(w.told) != 0 {
		t.Errorf("told %q", w.told)
	}
}

// An invitation is off the screen while its party speaks to somebody else, whoever tells of that
// call and however it came about, and on it again afterwards, under another id; also on a
// device that comes back in between.
func TestInvitationIsNotShownBesideAnotherCall(t *testing.T) {
	for _, c := range []struct {
		name       string
		begin, end func(*testing.T, *town, *call.Matcher)
	}{
		{"the device tells", func(t *testing.T, _ *town, m *call.Matcher) { say(t, m, report(bob, carol, tel.Active)) },
			func(t *testing.T, _ *town, m *call.Matcher) { say(t, m, report(bob, carol, tel.Ended)) }},
		{"an element tells", func(t *testing.T, _ *town, m *call.Matcher) {
			say(t, m, report(bob, carol, tel.Active, element("e", "x")))
		},
			func(t *testing.T, _ *town, m *call.Matcher) {
				say(t, m, report(bob, carol, tel.Ended, element("e", "x")))
			}},
		{"nobody tells of the end", func(t *testing.T, _ *town, m *call.Matcher) { say(t, m, report(bob, carol, tel.Active)) },
			func(t *testing.T, w *town, m *call.Matcher) {
				w.pass(t, 100*time.Second, m)
				say(t, m, report(alice, bob, tel.Active))
				w.pass(t, 21*time.Second, m)
			}},
		{"another invitation is accepted", func(t *testing.T, w *town, m *call.Matcher) {
			say(t, m, report(carol, bob, tel.Active))
			w.pass(t, 3*time.Second, m)
			i := w.bodies["d2 invite"].(*wire.Invite)
			if i.Claimant != carol {
				t.Fatalf("the invitation is from %s", i.Claimant)
			}
			if err := m.Answer(t.Context(), "t", "d2", bob, wire.Answer{Invitation: i.ID, Accept: true}); err != nil {
				t.Fatal(err)
			}
		}, func(t *testing.T, _ *town, m *call.Matcher) { say(t, m, report(carol, bob, tel.Ended)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTown(t, call.Rules{})
			m := w.matcher(t)
			say(t, m, report(alice, bob, tel.Active))
			w.pass(t, 3*time.Second, m)
			first := w.bodies["d2 invite"].(*wire.Invite)
			c.begin(t, w, m)
			taken, ok := w.bodies["d2 withdrawn"].(*wire.Withdrawn)
			if !ok || taken.Invitation != first.ID || taken.Reason != "other_call" {
				t.Fatalf("told %q: withdrawn %v, want %s", w.told, taken, first.ID)
			}
			if err := m.Answer(t.Context(), "t", "d2", bob, wire.Answer{Invitation: first.ID, Accept: true}); !errors.Is(err, call.ErrNoQuestion) {
				t.Errorf("what was taken back is answered: %v", err)
			}
			w.told = nil
			w.pass(t, 30*time.Second, m)
			if err := m.Remind(t.Context(), "t", "d2", bob); err != nil || slices.Contains(w.told, "d2 invite") {
				t.Fatalf("told in the other call: %q, %v", w.told, err)
			}
			c.end(t, w, m)
			w.pass(t, 6*time.Second, m)
			again := w.bodies["d2 invite"].(*wire.Invite)
			if n := len(slices.DeleteFunc(slices.Clone(w.told), func(s string) bool { return s != "d2 invite" })); n != 1 || again.ID == first.ID || again.Claimant != alice || !again.Until.Equal(first.Until) {
				t.Fatalf("after the other call: told %q, %+v (the first was %+v)", w.told, again, first)
			}
			if err := m.Answer(t.Context(), "t", "d2", bob, wire.Answer{Invitation: again.ID, Accept: true}); err != nil {
				t.Error(err)
			}
		})
	}
}

// A device that comes back after the other call need not wait for the next look.
func TestDeviceIsRemindedAfterTheOtherCall(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	say(t, m, report(alice, bob, tel.Active))
	w.pass(t, 3*time.Second, m)
	for _, step := range []struct {
		state tel.State
		shown bool
	}{{tel.Active, false}, {tel.Ended, true}} {
		say(t, m, report(bob, carol, step.state))
		w.told = nil
		if err := m.Remind(t.Context(), "t", "d2", bob); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(w.told, "d2 invite") != step.shown {
			t.Errorf("with the other call %s: told %q", step.state, w.told)
		}
	}
}

// Other calls do not multiply the questions: each showing counts, and the validity is the first one's.
func TestShownAgainWithinLimits(t *testing.T) {
	w := newTown(t, call.Rules{QuestionsPerHour: 2})
	m := w.matcher(t)
	for range 4 {
		say(t, m, report(alice, bob, tel.Active))
		w.pass(t, 6*time.Second, m)
		say(t, m, report(bob, carol, tel.Active))
		say(t, m, report(bob, carol, tel.Ended))
	}
	w.pass(t, 6*time.Second, m)
	if n := len(slices.DeleteFunc(w.told, func(s string) bool { return s != "d2 invite" })); n != 2 {
		t.Errorf("%d invitations", n)
	}
}

// A call that begins between the decision to invite and the telling keeps the invitation back.
func TestInvitationMeetsAnotherCall(t *testing.T) {
	w := newTown(t, call.Rules{})
	m, other := w.matcher(t), w.matcher(t)
	say(t, m, report(alice, bob, tel.Active))
	key := ""
	for item, err := range w.records().Scan(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		key = item.Key
	}
	w.pass(t, 3*time.Second)
	if _, err := m.Change(t.Context(), key, call.Ticked{Fresh: call.Fresh{Invitation: "i_1"}}); err != nil {
		t.Fatal(err) // decided, and not told yet
	}
	say(t, other, report(bob, carol, tel.Active))
	rec, _, err := w.records().Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	m.Perform(t.Context(), rec)
	if slices.Contains(w.told, "d2 invite") {
		t.Errorf("told %q", w.told)
	}
}

func TestInvitationIsWithdrawnAtTheEnd(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	say(t, m, report(alice, bob, tel.Active))
	w.pass(t, 3*time.Second, m)
	say(t, m, report(alice, bob, tel.Ended))
	if !slices.Equal(w.told, []string{"d2 invite", "d2 withdrawn"}) {
		t.Errorf("told %q", w.told)
	}
}

func TestPartialDetailsAreConfirmedByWords(t *testing.T) {
	orders := map[string][]call.Report{
		"claim first":   {report(alice, bob, tel.Active), report(bob, tel.Identity{}, tel.Active)},
		"partial first": {report(bob, tel.Identity{}, tel.Active), report(alice, bob, tel.Active)},
	}
	for name, reports := range orders {
		t.Run(name, func(t *testing.T) {
			w := newTown(t, call.Rules{})
			m := w.matcher(t)
			for _, r := range reports {
				if id := say(t, m, r); id != "" {
					t.Fatalf("session %s without a confirmation", id)
				}
			}
			if !slices.Equal(w.told, []string{"d2 words"}) {
				t.Fatalf("told %q: only the side that names nobody is asked", w.told)
			}
			read := w.bodies["d2 words"].(*wire.Words)
			confirm := func(words string) error {
				return m.Confirm(t.Context(), "t", "d1", alice, wire.Confirm{Invitation: read.Invitation, Words: words})
			}
			if err := confirm(read.Read); !errors.Is(err, call.ErrNoQuestion) {
				t.Fatalf("typed before the other side agreed: %v", err)
			}
			if err := m.Answer(t.Context(), "t", "d2", bob, wire.Answer{Invitation: read.Invitation, Accept: true}); err != nil {
				t.Fatal(err)
			}
			if typed := w.bodies["d1 words"].(*wire.Words); typed.Read != "" || typed.TriesLeft != 3 {
				t.Errorf("the claimant is told %+v", typed)
			}
			if err := confirm("wrong words"); !errors.Is(err, call.ErrWrongWords) {
				t.Errorf("wrong words: %v", err)
			}
			if err := confirm(strings.ToUpper(read.Read)); err != nil {
				t.Errorf("right words: %v", err)
			}
			if w.sessions() != 1 {
				t.Fatalf("%d sessions", w.sessions())
			}
			for id, o := range w.opened {
				if !o.Sides[0].Shown.IsZero() {
					t.Errorf("alice withheld her number and is shown as %s", o.Sides[0].Shown)
				}
				if got := say(t, m, report(bob, tel.Identity{}, tel.Active)); got != id {
					t.Errorf("bob's device is told session %q", got)
				}
				say(t, m, report(bob, tel.Identity{}, tel.Ended))
				if w.last[id] != "ended" {
					t.Error("the end of the unnamed leg did not end the call")
				}
			}
		})
	}
}

func TestPartialDetailsOfTwoCandidates(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	say(t, m, report(alice, bob, tel.Active))
	say(t, m, report(carol, bob, tel.Active))
	say(t, m, report(bob, tel.Identity{}, tel.Active))
	if len(w.told) != 0 || w.sessions() != 0 {
		t.Errorf("told %q, %d sessions", w.told, w.sessions())
	}
}

func TestPartialDetailsWithEqualCallID(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	say(t, m, report(carol, bob, tel.Active))
	say(t, m, report(alice, bob, tel.Active, element("e", "x")))
	if id := say(t, m, report(bob, tel.Identity{}, tel.Active, element("f", "x"))); id == "" {
		t.Error("no session although the Call-ID is the same on both sides")
	}
}

func TestTakenUpAgainOrNot(t *testing.T) {
	for _, closed := range []bool{false, true} {
		t.Run(fmt.Sprintf("closed=%v", closed), func(t *testing.T) {
			w := newTown(t, call.Rules{})
			m := w.matcher(t)
			say(t, m, report(alice, bob, tel.Active, ref("1")))
			first := say(t, m, report(bob, alice, tel.Active, ref("1")))
			say(t, m, report(alice, bob, tel.Ended, ref("1")))
			say(t, m, report(bob, alice, tel.Ended, ref("1")))
			w.pass(t, time.Minute, m)
			w.closed[first] = closed
			say(t, m, report(alice, bob, tel.Active, ref("2")))
			second := say(t, m, report(bob, alice, tel.Active, ref("2")))
			if second == "" || (second == first) == closed {
				t.Errorf("first session %s, second %s", first, second)
			}
		})
	}
}

func TestGoneSessionIsForgotten(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	say(t, m, report(alice, bob, tel.Active))
	id := say(t, m, report(bob, alice, tel.Active))
	say(t, m, report(alice, bob, tel.Ended))
	say(t, m, report(bob, alice, tel.Ended))
	for range 2 {
		if err := m.Gone(t.Context(), "t", id, []tel.Identity{alice, bob}, true); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		w.pass(t, 2*time.Minute, m)
	}
	for item, err := range w.records().Scan(t.Context(), "") {
		t.Errorf("still stored: %s %v", item.Key, err)
	}
	for item, err := range store.TableOf[call.IndexEntry](w.engine, "calls-by-party").Scan(t.Context(), "") {
		t.Errorf("still indexed: %s %v", item.Key, err)
	}
}

func TestConcurrentMatchersOpenOneSession(t *testing.T) {
	w := newTown(t, call.Rules{})
	ms := []*call.Matcher{w.matcher(t), w.matcher(t)}
	const calls = 20
	for i := range calls {
		a, b := identity(fmt.Sprintf("+4420794610%02d", i)), identity(fmt.Sprintf("+4420794620%02d", i))
		var g errgroup.Group
		for n := range 8 {
			g.Go(func() error {
				r := report(a, b, tel.Active)
				if n%2 == 1 {
					r = report(b, a, tel.Active)
				}
				r.Reporter.ID += fmt.Sprint(n / 4)
				_, err := ms[n/2%2].Report(t.Context(), r)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if w.sessions() != i+1 {
			t.Fatalf("%d sessions for %d calls", w.sessions(), i+1)
		}
	}
}

var errCrash = errors.New("the process was killed")

// TestCrashBetweenAnyTwoSteps kills the process before or after each of its steps. What
// was acknowledged is completed by the next process alone; what was not, the devices
// repeat. There is exactly one session for the call, however it went.
func TestCrashBetweenAnyTwoSteps(t *testing.T) {
	scripts := map[string][]call.Report{
		"named": {report(alice, bob, tel.Active), report(bob, alice, tel.Active), report(alice, bob, tel.Ended)},
		"by Call-ID, one side unnamed": {
			report(bob, tel.Identity{}, tel.Active, element("f", "x")), report(alice, bob, tel.Active, element("e", "x")),
			report(bob, tel.Identity{}, tel.Ended, element("f", "x")),
		},
		"diverted":                    {report(alice, bob, tel.Active), diverted(tel.Active), report(alice, bob, tel.Ended)},
		"diverted, the element first": {diverted(tel.Active), report(alice, bob, tel.Active), diverted(tel.Ended)},
	}
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			crashes, engine := 0, pebbletest.Open(t)
			for after := 0; ; after++ {
				w := townOn(engine, call.Rules{})
				script := slices.Clone(script)
				for i := range script {
					script[i].Tenant = wire.TenantID(fmt.Sprint("t", after))
				}
				var mu sync.Mutex
				steps := 0
				w.fault = func() error {
					mu.Lock()
					defer mu.Unlock()
					if steps++; steps > after {
						return errCrash
					}
					return nil
				}
				m := w.matcher(t)
				acked := 0
				for _, r := range script {
					if _, err := m.Report(t.Context(), r); err != nil {
						break
					}
					acked++
				}
				survived := steps <= after
				w.fault = func() error { return nil }
				m = w.matcher(t)
				if err := m.Recover(t.Context()); err != nil {
					t.Fatal(err)
				}
				if acked == 3 && w.sessions() != 1 {
					t.Fatalf("crash after step %d: %d sessions from what was acknowledged", after, w.sessions())
				}
				for _, r := range script[min(acked, 2):] {
					say(t, m, r)
				}
				w.pass(t, 30*time.Second, m)
				if w.sessions() != 1 {
					t.Fatalf("crash after step %d, %d acknowledged: %d sessions", after, acked, w.sessions())
				}
				for id, state := range w.last {
					if state != "ended" {
						t.Fatalf("crash after step %d: session %s is %s", after, id, state)
					}
				}
				if n, err := call.Left(t.Context(), w.records(), string(script[0].Tenant)+"/"); n != 0 || err != nil {
					t.Fatalf("crash after step %d: %d effects left, %v", after, n, err)
				}
				if survived {
					break
				}
				crashes++
			}
			if crashes < 10 {
				t.Errorf("only %d crashes were tried", crashes)
			}
		})
	}
}

// TestRun: Run itself completes what was left, and lets time pass.
func TestRun(t *testing.T) {
	w := newTown(t, call.Rules{InviteDelay: 10 * time.Millisecond})
	w.fault = func() error { return nil }
	now := func(c *call.Config) { c.Now = nil }
	m := w.matcher(t, now)
	broken := w.matcher(t, now, func(c *call.Config) { c.Sessions = brokenSessions{w} })
	say(t, broken, report(alice, bob, tel.Active))
	say(t, broken, report(bob, alice, tel.Active))

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- m.Run(ctx) }()
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-w.news:
			if got != want {
				t.Errorf("%q, want %q", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no %q", want)
		}
	}
	expect("open")
	say(t, m, report(alice, carol, tel.Active))
	expect("d3 invite")
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

type brokenSessions struct{ *town }

func (brokenSessions) Open(context.Context, call.Opening) error { return errCrash }

func TestExplain(t *testing.T) {
	w := newTown(t, call.Rules{})
	m := w.matcher(t)
	explain := func() string {
		ex, err := m.Explain(t.Context(), "t", alice, bob)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(ex.Lines, "\n")
	}
	expect := func(what string) {
		t.Helper()
		if got := explain(); !strings.Contains(got, what) {
			t.Errorf("the explanation has no %q:\n%s", what, got)
		}
	}
	outgoing := func(r *call.Report) { r.Direction = tel.Outgoing }
	expect("No report names the two together.")
	say(t, m, report(alice, bob, tel.Active, outgoing))
	expect("tel:+442079460002 has no leg that is up.")
	say(t, m, report(bob, alice, tel.Active, outgoing))
	expect("both sides say that their leg is outgoing")
	say(t, m, report(bob, alice, tel.Active))
	expect("Joined in session")
	say(t, m, report(bob, alice, tel.Ended))
	expect("stays after the call")
}

func TestConfigIsChecked(t *testing.T) {
	w := newTown(t, call.Rules{})
	good := call.Config{Records: w.records(), Index: store.TableOf[call.IndexEntry](w.engine, "i"), Directory: w, Sessions: w, Notifier: w}
	for name, change := range map[string]func(*call.Config){
		"no records":     func(c *call.Config) { c.Records = nil },
		"no sessions":    func(c *call.Config) { c.Sessions = nil },
		"unknown policy": func(c *call.Config) { c.Rules.Partial = "sometimes" },
		"negative lease": func(c *call.Config) { c.Rules.Lease = -1 },
		"negative tries": func(c *call.Config) { c.Rules.Tries = -1 },
		"huge records":   func(c *call.Config) { c.Rules.Statements = 1000 },
	} {
		c := good
		change(&c)
		if _, err := call.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := call.New(good); err != nil {
		t.Error(err)
	}
}

package session_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// B6: the session outlives the call, and the devices are told of each change.
func TestSessionOutlivesTheCall(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	a, _ := n.attach("a1")
	n.open()
	b, st := n.attach("b1")
	if len(st) != 1 || st[0].Phase != wire.InCall || st[0].You != "3" || st[0].Members[0].Identity != alice {
		t.Errorf("welcomed with %+v", st)
	}
	a.state()
	w.pass(time.Minute)
	for range 2 { // repeating does no harm, and is not told again
		if err := n.CallEnded(ctx(t), tenant, "S", w.clock(), 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []*box{a, b} {
		if st := x.state(); st.Phase != wire.AfterCall || !st.Until.Equal(w.clock().Add(10*time.Minute)) || !st.MayExtendTo.Equal(w.clock().Add(time.Hour)) {
			t.Errorf("told %+v", st)
		}
	}
	n.send("a1", a, text("r1", "still here"))
	if e := b.text(); e.ID != "r1" {
		t.Errorf("got %+v", e)
	}
	w.pass(5 * time.Minute)
	state, err := n.Extend(ctx(t), tenant, "b1", "S", wire.Extend{Seconds: 1200})
	if err != nil || !state.Until.Equal(w.clock().Add(20*time.Minute)) || state.You != "3" {
		t.Errorf("extended to %+v, %v", state, err)
	}
	a.state()
	b.state()

	w.pass(15 * time.Minute) // the first alarm is over, the session is not
	n.Ring(ctx(t))
	if st, err := n.Get(ctx(t), tenant, "a1", "S"); err != nil || st.Phase != wire.AfterCall {
		t.Errorf("got %+v, %v", st, err)
	}
	w.pass(5*time.Minute + time.Second)
	n.Ring(ctx(t))
	for _, x := range []*box{a, b} {
		if st := x.state(); st.Phase != wire.Closed || st.Reason != "linger" {
			t.Errorf("told %+v", st)
		}
	}
	if h := w.heard(); len(h) != 1 || h[0] != "S [tel:+442079460001 tel:+442079460002] true" {
		t.Errorf("the matcher heard %q", h)
	}
	n.refused("a1", text("r2", "too late"), wire.CodeSessionClosed)
	if all, err := n.Sessions(ctx(t), tenant, "a1"); err != nil || len(all) != 0 {
		t.Errorf("sessions %+v, %v", all, err)
	}
	up, err := n.CallUp(ctx(t), tenant, "S", 0)
	if up || err != nil {
		t.Errorf("taken up again: %v, %v", up, err)
	}
	a.quiet(wire.TypeSession)
}

func TestNewCallTakesTheSessionUpAgain(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.open()
	a, _ := n.attach("a1")
	if err := n.CallEnded(ctx(t), tenant, "S", w.clock(), 0); err != nil {
		t.Fatal(err)
	}
	a.state()
	for range 2 {
		if up, err := n.CallUp(ctx(t), tenant, "S", 0); !up || err != nil {
			t.Fatalf("%v, %v", up, err)
		}
	}
	if st := a.state(); st.Phase != wire.InCall || !st.Until.IsZero() {
		t.Errorf("told %+v", st)
	}
	w.pass(time.Hour)
	n.Ring(ctx(t)) // the old alarm means nothing
	if st, err := n.Get(ctx(t), tenant, "a1", "S"); err != nil || st.Phase != wire.InCall {
		t.Errorf("got %+v, %v", st, err)
	}
	if up, err := n.CallUp(ctx(t), tenant, "none", 0); up || err != nil {
		t.Errorf("no session: %v, %v", up, err)
	}
	if err := n.CallEnded(ctx(t), tenant, "none", w.clock(), 0); err != nil {
		t.Errorf("no session: %v", err)
	}
}

func TestLeaving(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	o := opening()
	o.Sides = append(o.Sides, session.OpeningSide{Principal: carol, Shown: carol, Devices: []wire.DeviceID{"c1"}})
	if err := n.Open(ctx(t), o); err != nil {
		t.Fatal(err)
	}
	a1, _ := n.attach("a1")
	a2, _ := n.attach("a2")
	b, _ := n.attach("b1")
	if err := n.Leave(ctx(t), tenant, "a2", "S", wire.Leave{Device: true}); err != nil {
		t.Fatal(err)
	}
	for _, x := range []*box{a1, a2, b} {
		if st := x.state(); !st.Members[1].Left || st.Members[0].Left || st.Phase != wire.InCall {
			t.Errorf("told %+v", st)
		}
	}
	n.refused("a2", text("r", "x"), wire.CodeNotMember)
	w.pass(time.Second)
	n.send("a1", a1, text("r1", "a2 is gone"))
	if e := b.text(); e.ID != "r1" {
		t.Errorf("got %+v", e)
	}
	if err := n.Leave(ctx(t), tenant, "a1", "S", wire.Leave{Block: true}); err != nil {
		t.Fatal(err)
	}
	if st := a1.state(); !st.Members[0].Left {
		t.Errorf("told %+v", st)
	}
	for _, c := range []struct {
		x, y tel.Identity
		want bool
	}{{alice, bob, true}, {alice, carol, true}, {bob, alice, false}, {bob, carol, false}} {
		if got := w.blocked(c.x, c.y); got != c.want {
			t.Errorf("%v has blocked %v: %v", c.x, c.y, got)
		}
	}
	if st := b.state(); st.Phase != wire.InCall {
		t.Errorf("told %+v", st)
	}
	if err := n.Leave(ctx(t), tenant, "c1", "S", wire.Leave{}); err != nil {
		t.Fatal(err)
	}
	if st := b.state(); st.Phase != wire.Closed || st.Reason != "left" {
		t.Errorf("told %+v", st)
	}
	a2.quiet(wire.TypeSession, wire.TypeMessage)
	a1.quiet(wire.TypeSession, wire.TypeMessage)
	wantCode(t, n.Leave(ctx(t), tenant, "a1", "S", wire.Leave{}), wire.CodeNotMember)
	// Who left is not brought back by the matcher's repetition.
	if err := n.JoinDevices(ctx(t), tenant, "S", o.Sides[0]); err == nil {
		t.Error("joined a closed session")
	}
	if h := w.heard(); len(h) != 2 {
		t.Errorf("the matcher heard %q", h)
	}
}

// deafWatcher fails until it is told to listen.
type deafWatcher struct {
	*world
	mu   sync.Mutex
	deaf bool
}

func (d *deafWatcher) Gone(c context.Context, tn wire.TenantID, id wire.SessionID, left []tel.Identity, over bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.deaf {
		return errors.New("matcher is busy")
	}
	return d.world.Gone(c, tn, id, left, over)
}

// What was decided and not carried out is carried out later, by whoever comes.
func TestDueEffectsOutliveACrash(t *testing.T) {
	w := newWorld(t)
	deaf := &deafWatcher{world: w, deaf: true}
	n := w.node(func(c *session.Config) { c.Watcher = deaf })
	n.open()
	wantCode(t, n.Leave(ctx(t), tenant, "a1", "S", wire.Leave{Block: true}), wire.CodeInternal)
	if len(w.heard()) != 0 {
		t.Fatal("heard")
	}
	w.pass(2 * time.Minute)
	w.node().Ring(ctx(t)) // another process
	if h := w.heard(); len(h) != 1 {
		t.Errorf("the matcher heard %q", h)
	}
	if r, err := n.Record(ctx(t), tenant, "S"); err != nil || len(r.Due) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if !w.blocked(alice, bob) {
		t.Error("not blocked")
	}
}

func TestClosedSessionsAreForgotten(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.open()
	n.send("a1", nil, text("r1", "remember"))
	if err := n.OperatorClose(ctx(t), tenant, "S"); err != nil {
		t.Fatal(err)
	}
	w.pass(5*time.Minute + time.Second)
	n.Ring(ctx(t))
	r, err := n.Record(ctx(t), tenant, "S")
	if err != nil || slices.ContainsFunc(r.Sides, func(s session.Side) bool { return !s.Principal.IsZero() || !s.Shown.IsZero() }) {
		t.Errorf("details are kept: %+v, %v", r.Sides, err)
	}
	if list, err := n.Messages(ctx(t), tenant, "b1", "S", 0, 10); err != nil || len(list.Messages) != 3 {
		t.Errorf("messages %+v, %v", list, err)
	}
	if len(w.dropped) != 0 {
		t.Errorf("dropped too early: %q", w.dropped)
	}
	w.pass(24 * time.Hour)
	n.Ring(ctx(t))
	if !slices.Equal(w.dropped, []string{string(tenant) + "/S"}) {
		t.Errorf("what belongs to the session: dropped %q", w.dropped)
	}
	if _, err := n.Record(ctx(t), tenant, "S"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("record: %v", err)
	}
	if h, err := w.engine.Head(ctx(t), "session/default/S"); err != nil || h.Seq != 0 {
		t.Errorf("log: %+v, %v", h, err)
	}
	for _, table := range []string{"session-devices", "session-alarms", "sessions"} {
		for r, err := range w.engine.Scan(ctx(t), table, "") {
			t.Errorf("left in %s: %s, %v", table, r.Key, err)
		}
	}
	n.refused("a1", text("r2", "x"), wire.CodeNotMember)
}

// A session closes in time, also if somebody is to be told that the call is over.
func TestRunClosesByItself(t *testing.T) {
	for name, o := range map[string]session.Observer{"unobserved": nil, "observed": &witness{}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			n := w.node(func(c *session.Config) {
				c.Now = nil
				c.Limits = wire.DefaultLimits
				c.Limits.LingerSeconds, c.Limits.LingerMaxSeconds = 1, 1
				c.Observer = o
			})
			n.run()
			a, _ := n.attach("a1")
			n.open()
			if err := n.CallEnded(ctx(t), tenant, "S", time.Now(), 0); err != nil {
				t.Fatal(err)
			}
			for a.state().Phase != wire.Closed {
			}
		})
	}
}

func TestRoomsAreEvicted(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.open()
	_, detach, err := n.Attach(ctx(t), tenant, "a1", newBox(t))
	if err != nil {
		t.Fatal(err)
	}
	n.send("b1", nil, text("r1", "x"))
	w.pass(time.Hour)
	n.Evict()
	if n.Rooms() != 1 {
		t.Error("a room with a member in it was evicted")
	}
	detach()
	detach()
	n.Evict()
	if n.Rooms() != 1 {
		t.Error("a room was evicted at once")
	}
	w.pass(time.Hour)
	n.Evict()
	if n.Rooms() != 0 {
		t.Error("an empty room stays")
	}
	b, _ := n.attach("a1")
	n.send("b1", nil, text("r2", "x"))
	if e := b.text(); e.ID != "r2" {
		t.Errorf("got %+v", e)
	}
}

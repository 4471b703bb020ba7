package session_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// TestEndIsToldOnce: whoever was told that a session is closed is not told again while it is kept, and forgotten bit by
// bit: a client that has let go of it would take it for a new one, and read all of its log.
func TestEndIsToldOnce(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	a, _ := n.attach("a1")
	n.open()
	a.state()
	if err := n.CallEnded(ctx(t), tenant, "S", w.clock(), 0); err != nil {
		t.Fatal(err)
	}
	a.state()
	w.pass(24 * time.Hour)
	n.Ring(ctx(t))
	if st := a.state(); st.Phase != wire.Closed {
		t.Fatalf("%+v", st)
	}
	for _, d := range []time.Duration{2 * time.Minute, 10 * time.Minute, 25 * time.Hour} {
		w.pass(d)
		n.Evict()
		n.Ring(ctx(t))
		a.quiet(wire.TypeSession)
	}
	if _, err := n.Record(ctx(t), tenant, "S"); err == nil {
		t.Error("the session has not been forgotten")
	}
}

// TestLateNode: a node that has not heard yet that a device has joined a session does not take it out of the index, by which
// others find its sessions; nor where the device was away, and its entry is an old one.
func TestLateNode(t *testing.T) {
	w := newWorld(t)
	n, late := w.node(), w.node() // they do not run, so they hear nothing of each other
	n.open()
	late.attach("b1")
	side := session.OpeningSide{Principal: carol, Shown: carol, Devices: []wire.DeviceID{"c1"}}
	for range 2 {
		if err := n.JoinDevices(ctx(t), tenant, "S", side); err != nil {
			t.Fatal(err)
		}
		if _, open := late.attach("c1"); len(open) != 0 {
			t.Fatal("the late node knows of it: nothing was tried")
		}
		if _, open := w.node().attach("c1"); len(open) != 1 {
			t.Errorf("a node that comes finds the device in %d sessions, want 1", len(open))
		}
		if err := n.Away(ctx(t), tenant, "S", side); err != nil {
			t.Fatal(err)
		}
		w.pass(2 * time.Minute)
	}
}

// TestRepetitionAfterAway: what a device sent, and was not told of before it was let go, is taken once when it repeats it as the
// member that it has become.
func TestRepetitionAfterAway(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.open()
	first := n.send("a1", nil, text("r1", "x"))
	side := opening().Sides[0]
	side.Devices = side.Devices[:1]
	if err := n.Away(ctx(t), tenant, "S", side); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Second)
	if err := n.JoinDevices(ctx(t), tenant, "S", side); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*node{n, w.node()} {
		if again := n.send("a1", nil, text("r1", "x")); again.Seq != first.Seq || again.Epoch != first.Epoch {
			t.Errorf("repeated, it is at %d, want %d", again.Seq, first.Seq)
		}
	}
}

// hooked calls a function once, when a log is read.
type hooked struct {
	session.Log
	once sync.Once
	then func()
}

func (h *hooked) Read(ctx context.Context, log string, after uint64, limit int) ([]store.Entry, error) {
	h.once.Do(h.then)
	return h.Log.Read(ctx, log, after, limit)
}

// TestGoneWhileResuming: a connection that ends while it begins to resume is nobody's any more: the device is away, and its room
// can go.
func TestGoneWhileResuming(t *testing.T) {
	w := newWorld(t)
	w.node().open()
	away := make(chan wire.DeviceID, 10)
	log := &hooked{Log: w.engine}
	n := w.node(func(c *session.Config) {
		c.Log = log
		c.Absent = func(_ wire.TenantID, _ wire.SessionID, devices []wire.DeviceID) {
			for _, d := range devices {
				away <- d
			}
		}
	})
	b := newBox(t)
	// It comes before its session: its index is empty, and the room not loaded.
	if err := w.engine.Delete(ctx(t), "session-devices", store.Key(string(tenant), "b1", "S"), revOf(t, w, "b1")); err != nil {
		t.Fatal(err)
	}
	_, detach, err := n.Attach(ctx(t), tenant, "b1", b)
	if err != nil {
		t.Fatal(err)
	}
	log.then = detach
	if err := n.Resume(ctx(t), tenant, "b1", b, wire.Envelope{ID: "r", Session: "S", Body: []byte(`{}`)}); err == nil {
		t.Error("resumed on a connection that is over")
	}
	n.send("a1", nil, text("r1", "x"))
	select {
	case d := <-away:
		if d != "b1" {
			t.Errorf("%s is away", d)
		}
	case <-time.After(patience):
		t.Error("the device is taken for connected")
	}
	w.pass(time.Hour)
	n.Evict()
	if n.Rooms() != 0 {
		t.Error("the room stays")
	}
}

func revOf(t *testing.T, w *world, d wire.DeviceID) store.Rev {
	t.Helper()
	r, err := w.engine.Get(ctx(t), "session-devices", store.Key(string(tenant), string(d), "S"))
	if err != nil {
		t.Fatal(err)
	}
	return r.Rev
}

// deaf hears of nothing that other nodes do.
type deaf struct{ session.Bus }

func (deaf) Subscribe(context.Context, string, func(string, []byte)) (func(), error) {
	return func() {}, nil
}

// TestLook: a device at a node that has not heard that its session was opened is told of it when the node looks.
func TestLook(t *testing.T) {
	w := newWorld(t)
	n, late := w.node(), w.node(func(c *session.Config) { c.Bus = deaf{c.Bus} })
	late.run()
	b, _ := late.attach("b1")
	n.open()
	late.Look(tenant, "S")
	if st := b.state(); st.You != "3" {
		t.Errorf("told %+v", st)
	}
	late.Look(tenant, "S")
	n.send("a1", nil, text("r1", "x"))
	if e := b.text(); e.ID != "r1" {
		t.Errorf("got %+v", e)
	}
	b.quiet(wire.TypeSession)
}

// behind reads a session's record as it was when it was told to.
type behind struct {
	session.Table[session.Record]
	stale atomic.Pointer[session.Record]
}

func (b *behind) Get(ctx context.Context, key string) (session.Record, store.Rev, error) {
	rec, rev, err := b.Table.Get(ctx, key)
	if old := b.stale.Load(); old != nil && err == nil {
		return *old, rev, nil
	}
	return rec, rev, err
}

// TestOldRecord: a node that hears of a change and reads the record as it was before reads it again.
func TestOldRecord(t *testing.T) {
	w := newWorld(t)
	records := &behind{}
	n, late := w.node(), w.node(func(c *session.Config) {
		records.Table = c.Records
		c.Records = records
	})
	n.run()
	late.run()
	n.open()
	b, _ := late.attach("b1")
	n.acquaint(late)
	old, err := n.Record(ctx(t), tenant, "S")
	if err != nil {
		t.Fatal(err)
	}
	records.stale.Store(&old)
	if err := n.CallEnded(ctx(t), tenant, "S", w.clock(), 0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // in which it is read
	records.stale.Store(nil)
	if st := b.state(); st.Phase != wire.AfterCall {
		t.Errorf("told %+v", st)
	}
}

// parted is an engine's log and bus for a node whose entries do not get into the log, and which nobody hears, for a while.
type parted struct {
	session.Log
	session.Bus
	now atomic.Bool
}

func (p *parted) Append(ctx context.Context, log string, data []byte, d store.Delivery) (store.Pending, error) {
	if p.now.Load() {
		return nil, store.ErrUncertain
	}
	return p.Log.Append(ctx, log, data, d)
}

func (p *parted) Publish(ctx context.Context, subject string, data []byte) error {
	if p.now.Load() {
		return nil
	}
	return p.Bus.Publish(ctx, subject, data)
}

// TestNotedAgain: a change that could not be noted in the log, and that the other nodes did not hear of, is known to them when that is over: to
// those that know the session, and to those at which a device has come into it.
func TestNotedAgain(t *testing.T) {
	w := newWorld(t)
	p := &parted{Log: w.engine, Bus: w.engine}
	n, other, third := w.node(func(c *session.Config) { c.Log, c.Bus = p, p }), w.node(), w.node()
	other.run()
	third.run()
	n.open()
	b, _ := other.attach("b1")
	c, _ := third.attach("c1")
	n.acquaint(other)
	n.acquaint(third)
	b.quiet()
	p.now.Store(true)
	if err := n.CallEnded(ctx(t), tenant, "S", w.clock(), 0); err != nil {
		t.Fatal(err)
	}
	if err := n.JoinDevices(ctx(t), tenant, "S", session.OpeningSide{Principal: carol, Shown: carol, Devices: []wire.DeviceID{"c1"}}); err != nil {
		t.Fatal(err)
	}
	n.NoteAgain(ctx(t))
	time.Sleep(50 * time.Millisecond)
	b.quiet(wire.TypeSession)
	c.quiet(wire.TypeSession)
	p.now.Store(false)
	n.NoteAgain(ctx(t))
	for name, box := range map[string]*box{"who is in it": b, "who has come": c} {
		if st := box.state(); st.Phase != wire.AfterCall || len(st.Members) != 4 {
			t.Errorf("%s was told %+v", name, st)
		}
	}
	n.NoteAgain(ctx(t))
	time.Sleep(50 * time.Millisecond)
	b.quiet(wire.TypeSession)
	c.quiet(wire.TypeSession)
}

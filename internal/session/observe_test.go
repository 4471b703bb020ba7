package session_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/wire"
)

// witness is an Observer that fails as often as it is told.
type witness struct {
	mu   sync.Mutex
	fail int
	seen []string
}

func (o *witness) Wants(wire.TenantID) bool { return true }

func (o *witness) Observe(_ context.Context, rec *session.Record, h session.Happened) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fail > 0 {
		o.fail--
		return errors.New("the observer is not ready")
	}
	if rec.Sides[0].Principal.IsZero() {
		return errors.New("the parties are forgotten already")
	}
	o.seen = append(o.seen, fmt.Sprint(h.What, h.Members))
	return nil
}

func (o *witness) heard() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.seen)
}

func (w *world) observed(o session.Observer) *session.Service {
	w.t.Helper()
	c := w.config()
	c.Observer = o
	s, err := session.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func observedOpening(id wire.SessionID) session.Opening {
	return session.Opening{Tenant: tenant, ID: id, Sides: []session.OpeningSide{
		{Principal: alice, Shown: alice, Devices: []wire.DeviceID{"a"}}, {Principal: bob, Shown: bob, Devices: []wire.DeviceID{"b"}},
	}}
}

func TestObserverHearsEverythingOnce(t *testing.T) {
	w := newWorld(t)
	o := &witness{}
	s := w.observed(o)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Open(ctx(t), observedOpening("s1")))
	must(s.Open(ctx(t), observedOpening("s1"))) // as after a crash
	side := session.OpeningSide{Principal: alice, Shown: alice, Devices: []wire.DeviceID{"a2"}}
	must(s.JoinDevices(ctx(t), tenant, "s1", side))
	must(s.JoinDevices(ctx(t), tenant, "s1", side))
	must(s.CallEnded(ctx(t), tenant, "s1", w.clock(), 0))
	must(s.CallEnded(ctx(t), tenant, "s1", w.clock(), 0))
	if again, err := s.CallUp(ctx(t), tenant, "s1", 0); !again || err != nil {
		t.Fatal(again, err)
	}
	must(s.CallEnded(ctx(t), tenant, "s1", w.clock(), 0))
	must(s.Leave(ctx(t), tenant, "a2", "s1", wire.Leave{Device: true}))
	must(s.OperatorClose(ctx(t), tenant, "s1"))
	want := []string{"opened[]", "member_joined[3]", "after_call[]", "in_call[]", "after_call[]", "member_left[3]", "closed[]"}
	if got := o.heard(); !slices.Equal(got, want) {
		t.Errorf("heard %v, not %v", got, want)
	}
	rec, err := s.Record(ctx(t), tenant, "s1")
	if err != nil || len(rec.Due) != 0 {
		t.Errorf("left to do: %v %v", rec.Due, err)
	}
}

// What could not be told is told when the request is repeated, or else when the session is
// looked at again, by whichever node; not before that are the parties forgotten.
func TestObserverThatFailsHearsItLater(t *testing.T) {
	w := newWorld(t)
	o := &witness{fail: 1}
	if err := w.observed(o).Open(ctx(t), observedOpening("s1")); err == nil {
		t.Fatal("Open says that all is done")
	}
	s := w.observed(o) // another process
	if err := s.Open(ctx(t), observedOpening("s1")); err != nil {
		t.Fatal(err)
	}
	if got := o.heard(); !slices.Equal(got, []string{"opened[]"}) {
		t.Fatalf("heard %v", got)
	}
	o.fail = 1
	if err := s.OperatorClose(ctx(t), tenant, "s1"); err == nil {
		t.Fatal("OperatorClose says that all is done")
	}
	// nobody repeats it: an alarm does
	w.pass(time.Hour)
	run, cancel := context.WithCancel(ctx(t))
	done := make(chan error, 1)
	go func() { done <- w.observed(o).Run(run) }()
	for deadline := time.Now().Add(patience); len(o.heard()) < 2; {
		if time.Now().After(deadline) {
			t.Fatal("the close was never told")
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := o.heard(); got[1] != "closed[]" {
		t.Errorf("heard %v", got)
	}
}

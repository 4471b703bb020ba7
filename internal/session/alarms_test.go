package session_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// TestAlarmsOfHours: alarms are found in their hour, those of an hour that is over, which another node has set, within ten
// minutes, and those that an earlier version has set, too. Others are not read.
func TestAlarmsOfHours(t *testing.T) {
	w := newWorld(t)
	counted := &scans{Table: store.TableOf[session.Alarm](w.engine, "session-alarms")}
	n := w.node(func(c *session.Config) { c.Alarms = counted })
	phase := func(id wire.SessionID) wire.Phase {
		t.Helper()
		rec, err := n.Record(ctx(t), tenant, id)
		if err != nil {
			t.Fatal(err)
		}
		return rec.Phase
	}
	open := func(id wire.SessionID, ended time.Time) session.Alarm {
		t.Helper()
		o := opening()
		o.ID = id
		if err := n.Open(ctx(t), o); err != nil {
			t.Fatal(err)
		}
		if err := n.CallEnded(ctx(t), tenant, id, ended, 0); err != nil {
			t.Fatal(err)
		}
		for a, err := range counted.Table.Scan(ctx(t), "") {
			if err == nil && a.Value.Session == id {
				return a.Value
			}
		}
		t.Fatal("no alarm was set")
		return session.Alarm{}
	}
	n.Ring(ctx(t)) // lists all
	a := open("A", w.clock())
	for w.clock().Before(a.At) {
		if phase("A") != wire.AfterCall {
			t.Fatal("closed before its time")
		}
		w.pass(time.Minute)
		n.Ring(ctx(t))
	}
	if phase("A") != wire.Closed {
		t.Error("not closed in its time")
	}

	// As an earlier version sets it, and as another node does whose clock is far behind.
	keys := map[wire.SessionID]func(session.Alarm) string{
		"old": func(a session.Alarm) string {
			return store.Key(fmt.Sprintf("%015d", a.At.UnixMilli()), string(tenant), "old")
		},
		"late": func(session.Alarm) string { return store.Key("h0000001", "000000003600001", string(tenant), "late") },
	}
	w.pass(5 * time.Hour)
	n.Ring(ctx(t))
	for id, key := range keys {
		a := open(id, w.clock())
		for item, err := range counted.Table.Scan(ctx(t), "") {
			if err == nil && item.Value.Session == id {
				if err := counted.Delete(ctx(t), item.Key, item.Rev); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := counted.Put(ctx(t), key(a), a, 0); err != nil {
			t.Fatal(err)
		}
		w.pass(24 * time.Hour)
	}
	for range 12 {
		w.pass(time.Minute)
		n.Ring(ctx(t))
	}
	for id := range keys {
		if phase(id) != wire.Closed {
			t.Errorf("%s is not closed", id)
		}
	}
	if counted.all > 20 {
		t.Errorf("all alarms were listed %d times", counted.all)
	}
}

// TestAlarmThatFailsForDays: looks do not go through the hours since it began to fail; it stays one, on two nodes, and is answered when
// it can be.
func TestAlarmThatFailsForDays(t *testing.T) {
	w := newWorld(t)
	counted := &scans{Table: store.TableOf[session.Alarm](w.engine, "session-alarms")}
	records := &unread{Table: store.TableOf[session.Record](w.engine, "sessions")}
	var nodes []*node
	for range 2 {
		nodes = append(nodes, w.node(func(c *session.Config) { c.Alarms, c.Records = counted, records }))
	}
	n := nodes[0]
	n.open()
	if err := n.CallEnded(ctx(t), tenant, "S", w.clock(), 0); err != nil {
		t.Fatal(err)
	}
	records.fails = true
	for range 3 * 24 * 6 {
		w.pass(10 * time.Minute)
		for _, n := range nodes {
			n.Ring(ctx(t))
		}
	}
	alarms := 0
	for _, err := range counted.Table.Scan(ctx(t), "") {
		if err != nil {
			t.Fatal(err)
		}
		alarms++
	}
	if alarms != 1 {
		t.Errorf("there are %d alarms", alarms)
	}
	n.Ring(ctx(t)) // the one before may have listed all
	before := counted.hours
	w.pass(time.Second)
	if n.Ring(ctx(t)); counted.hours-before > 5 {
		t.Errorf("a look goes through %d hours", counted.hours-before)
	}
	records.fails = false
	w.pass(time.Second)
	n.Ring(ctx(t))
	if rec, err := n.Record(ctx(t), tenant, "S"); err != nil || rec.Phase != wire.Closed {
		t.Errorf("not closed: %v, %v", rec.Phase, err)
	}
}

// unread is a table whose records cannot be read at times.
type unread struct {
	session.Table[session.Record]
	fails bool
}

func (u *unread) Get(ctx context.Context, key string) (session.Record, store.Rev, error) {
	if u.fails {
		return session.Record{}, 0, store.ErrDamaged
	}
	return u.Table.Get(ctx, key)
}

// scans counts how often a table is read whole, and how often its part of an hour.
type scans struct {
	session.Table[session.Alarm]
	all, hours int
}

func (s *scans) Scan(ctx context.Context, prefix string) iter.Seq2[store.Item[session.Alarm], error] {
	if !strings.Contains(prefix, "/") {
		s.all++
	} else {
		s.hours++
	}
	return s.Table.Scan(ctx, prefix)
}

// outdated does not know a session that was opened lately, where no proof is asked for.
type outdated struct {
	session.Table[session.Record]
}

func (o outdated) Get(ctx context.Context, key string) (session.Record, store.Rev, error) {
	if store.MomentOf(ctx) == nil {
		return session.Record{}, 0, store.ErrNotFound
	}
	return o.Table.Get(ctx, key)
}

// TestAlarmOfUnknownSession: a node that reads from a leader that is none any more does not take an alarm away, or what belongs to a session, as if
// there were none.
func TestAlarmOfUnknownSession(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.open()
	if err := n.CallEnded(ctx(t), tenant, "S", w.clock(), 0); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Hour)
	late := w.node(func(c *session.Config) { c.Records = outdated{c.Records} })
	if _, err := late.Record(ctx(t), tenant, "S"); err != nil {
		t.Error(err)
	}
	if _, err := late.Record(ctx(t), tenant, "T"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("one that never was: %v", err)
	}
	late.Ring(ctx(t))
	n.Ring(ctx(t))
	if rec, err := n.Record(ctx(t), tenant, "S"); err != nil || rec.Phase != wire.Closed {
		t.Errorf("not closed: %v, %v", rec.Phase, err)
	}
}

package call

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
)

const (
	// retryAfter is when what has failed is tried again.
	retryAfter = time.Second
	// clearAfter is how long effects that are done may stay on a record that nothing
	// else changes. They cost a repetition should the process end before, and one on each
	// other node that walks the records meanwhile.
	clearAfter = 20 * time.Second
	// ticksAtOnce bounds the ticks under way; the engine groups their syncs.
	ticksAtOnce = 64
)

// Run completes what a crash has left undone, here or on another node, and lets time have
// its effects, until ctx ends. It returns nil then. While the store cannot be read it goes
// on trying.
func (m *Matcher) Run(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(ticksAtOnce)
	defer func() { _ = g.Wait() }() // ticks report to the log
	var scanned time.Time
	for {
		if now := m.Now(); scanned.IsZero() || now.Sub(scanned) >= m.Rescan {
			scanned = now
			if err := m.rescan(ctx, &g); err != nil && ctx.Err() == nil {
				m.Log.Error("call: the records cannot be read, will try again", "err", err)
				scanned = now.Add(retryAfter - m.Rescan)
			}
		}
		now := m.Now()
		for _, key := range m.timers.Due(now) {
			g.Go(func() error { m.tickAndLog(ctx, key); return nil })
		}
		wait := time.NewTimer(m.timers.Next(scanned.Add(m.Rescan)).Sub(now))
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-m.timers.Sooner():
			wait.Stop()
		case <-wait.C:
		}
	}
}

// rescan walks all records: it completes their effects, sets their timers, and looks
// again for the pairs of unnamed legs.
func (m *Matcher) rescan(ctx context.Context, g *errgroup.Group) error {
	since := m.lately()
	for item, err := range m.Records.Scan(ctx, "") {
		if err != nil {
			m.missed = since
			return err
		}
		rec := item.Value
		m.lookAt(rec, since)
		if m.Again != nil && rec.Question != nil && rec.Question.State.pending() && rec.Question.Told.After(since) {
			g.Go(func() error {
				if err := m.askAgain(ctx, rec.Key); err != nil && ctx.Err() == nil {
					m.Log.Warn("call: devices at this node may not know what they are asked", "err", err)
				}
				return nil
			})
		}
		if len(rec.Pending) == 0 && rec.Kind != Partial {
			when := m.wake(rec)
			if rec.Question.inviting() { // a crash may have kept it from being taken back
				when = m.now()
			}
			m.timers.Bring(rec.Key, when) // what was read may have changed since, and have a time of its own
			continue
		}
		g.Go(func() error {
			rec := m.perform(ctx, rec)
			if _, err := m.matchPartial(ctx, rec); err != nil && ctx.Err() == nil {
				m.Log.Warn("call: a match by partial details waits", "err", err)
			}
			return nil
		})
	}
	m.missed = time.Time{}
	return nil
}

// lately is when the scan before the last was: what was said earlier, an earlier scan has said again. Scans that failed do not
// count: this node may have been parted from the others all the while, with its devices.
func (m *Matcher) lately() time.Time {
	if !m.missed.IsZero() {
		return m.missed
	}
	return m.now().Add(-2 * m.Rescan)
}

// askAgain tells the devices at this node what they are asked.
func (m *Matcher) askAgain(ctx context.Context, key string) error {
	rec, err := m.look(ctx, key) // it may have been answered since the scan read it
	if err != nil || rec.Question == nil || !rec.Question.State.pending() {
		return err
	}
	asked := rec.Question.Side
	if rec.Question.State == Typing { // that side has answered, and the other one types
		asked = 1 - asked
	}
	to, err := m.allDevices(ctx, rec.Tenant, *rec.to(asked, m.now()))
	if err != nil {
		return err
	}
	for _, d := range to.Devices {
		if t, body, ok := rec.asking(to.Principal, d, m.now(), m.Rules); ok {
			m.Again(rec.Tenant, d, t, body)
		}
	}
	return nil
}

// lookAt has the sessions of a record looked at that were opened, or joined by a further leg, since then.
func (m *Matcher) lookAt(rec Record, since time.Time) {
	if m.Look == nil {
		return
	}
	for _, j := range rec.Joints {
		joined := func(s Statement) bool { return s.Session == j.Session && s.Joined.After(since) }
		if j.Gone.IsZero() && (j.Opened.After(since) || slices.ContainsFunc(rec.Statements, joined)) {
			m.Look(rec.Tenant, j.Session)
		}
	}
}

func (m *Matcher) tickAndLog(ctx context.Context, key string) {
	if err := m.tick(ctx, key); err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrClosed) {
		m.Log.Warn("call: a timer will be tried again", "err", err)
		m.timers.Set(key, m.Now().Add(retryAfter))
	}
}

// tick lets time have its effect on a record, and forgets one of which nothing is left.
func (m *Matcher) tick(ctx context.Context, key string) error {
	rec, err := m.look(ctx, key)
	switch {
	case err != nil:
		return err
	case rec.Life == "":
		m.mu.Lock()
		delete(m.marks, key)
		m.mu.Unlock()
		return nil
	case rec.empty():
		return m.forget(ctx, key)
	}
	return nil
}

// ticked looks at what a tick needs to know.
func (m *Matcher) ticked(ctx context.Context, rec Record) (ev Ticked, err error) {
	ev.Fresh = m.Fresh()
	when, due := rec.inviteDue(rec.legs(m.Now()), m.Rules)
	if rec.Kind != Pair || !rec.Question.inviting() && (!due || when.After(m.Now())) {
		return ev, nil
	}
	for side := range rec.Parties {
		if ev.Busy[side], err = m.busy(ctx, rec, side); err != nil {
			return ev, err
		}
	}
	return ev, nil
}

// turnedTo takes back the invitations that a party of the record has on its screen from others:
// it is known to speak to somebody. It may be repeated.
func (m *Matcher) turnedTo(ctx context.Context, rec Record, parties ...tel.Identity) error {
	for _, party := range parties {
		for other, err := range m.recordsOf(ctx, rec.Tenant, party) {
			if err != nil {
				return err
			}
			if other.Key != rec.Key && other.invites(party) {
				if _, err := m.look(ctx, other.Key); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// invites reports whether the party has the record's invitation on its screen.
func (r Record) invites(party tel.Identity) bool {
	q := r.Question
	return q.inviting() && q.State == Open && r.Parties[q.Side].Identity == party
}

// look has a record see the time, and what else its parties do. The zero Record: there is none.
func (m *Matcher) look(ctx context.Context, key string) (Record, error) {
	ticked := func(rec Record) (Event, error) { return m.ticked(ctx, rec) }
	rec, err := store.Change(ctx, m.Records, key, m.next(key, ticked))
	if err != nil {
		return rec, err
	}
	return m.perform(context.WithoutCancel(ctx), rec), nil
}

// busy reports whether a party is known to speak to somebody outside this record: by its own
// side's word, whom it names; or it is in a session beside that call.
func (m *Matcher) busy(ctx context.Context, rec Record, side int) (bool, error) {
	party := rec.Parties[side].Identity
	for other, err := range m.recordsOf(ctx, rec.Tenant, party) {
		if err != nil {
			return false, err
		}
		if other.Key == rec.Key || other.Kind == Partial {
			continue
		}
		for _, l := range other.legs(m.Now()) {
			// What a side said of a call that the other has ended says nothing any more.
			j := other.joint(l.Session)
			if l.Side == other.side(party) && l.Up() && (j == nil && l.Named || j != nil && j.inCall()) {
				return true, nil
			}
		}
	}
	return false, nil
}

// wake returns when the record must be looked at again.
func (m *Matcher) wake(rec Record) time.Time {
	now := m.now()
	when := rec.due(now, m.Rules)
	if n := len(rec.Pending); n > 0 {
		after := retryAfter
		if m.done(m.mark(rec.Key), rec.Life) >= rec.Pending[n-1].Seq {
			after = clearAfter
		}
		when = earlier(when, now.Add(after))
	}
	return when
}

package call

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/internal/store"
)

const (
	// clearAfter is how long effects that are done may stay on a record that nothing
	// else changes. They cost a repetition should the process end before.
	clearAfter = time.Second
	// ticksAtOnce bounds the ticks under way; the engine groups their syncs.
	ticksAtOnce = 64
)

// Run completes what a crash has left undone and lets time have its effects, until ctx
// ends. It returns nil then, and whatever keeps the store from being read otherwise.
func (m *Matcher) Run(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(ticksAtOnce)
	defer func() { _ = g.Wait() }() // ticks report to the log
	var scanned time.Time
	for {
		if now := m.Now(); scanned.IsZero() || now.Sub(scanned) >= m.Rescan {
			scanned = now
			if err := m.rescan(ctx, &g); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
		}
		now := m.Now()
		for _, key := range m.timers.due(now) {
			g.Go(func() error { m.tickAndLog(ctx, key); return nil })
		}
		wait := time.NewTimer(m.timers.next(scanned.Add(m.Rescan)).Sub(now))
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-m.timers.sooner:
			wait.Stop()
		case <-wait.C:
		}
	}
}

// rescan walks all records: it completes their effects, sets their timers, and looks
// again for the pairs of unnamed legs.
func (m *Matcher) rescan(ctx context.Context, g *errgroup.Group) error {
	for item, err := range m.Records.Scan(ctx, "") {
		if err != nil {
			return err
		}
		rec := item.Value
		if len(rec.Pending) == 0 && rec.Kind != Partial {
			m.timers.set(rec.Key, m.wake(rec))
			continue
		}
		g.Go(func() error {
			rec := m.perform(ctx, rec)
			if err := m.matchPartial(ctx, rec); err != nil && ctx.Err() == nil {
				m.Log.Warn("call: a match by partial details waits", "err", err)
			}
			return nil
		})
	}
	return nil
}

func (m *Matcher) tickAndLog(ctx context.Context, key string) {
	if err := m.tick(ctx, key); err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrClosed) {
		m.Log.Warn("call: a timer will be tried again", "err", err)
		m.timers.set(key, m.Now().Add(clearAfter))
	}
}

// tick lets time have its effect on a record, and forgets one of which nothing is left.
func (m *Matcher) tick(ctx context.Context, key string) error {
	rec, _, err := m.Records.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		m.mu.Lock()
		delete(m.marks, key)
		m.mu.Unlock()
		return nil
	}
	if err != nil {
		return err
	}
	ev := Ticked{Fresh: m.Fresh()}
	if when, ok := rec.inviteDue(rec.legs(m.Now()), m.Rules); ok && !when.After(m.Now()) {
		for side := range rec.Parties {
			if ev.Busy[side], err = m.busy(ctx, rec, side); err != nil {
				return err
			}
		}
	}
	if rec, err = m.apply(ctx, key, ev); err != nil {
		return err
	}
	if rec.empty() {
		return m.forget(ctx, key)
	}
	return nil
}

// busy reports whether a party is known, by its own side's word, to speak to somebody
// outside this record whom it names.
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
			if l.Side == other.side(party) && l.Up() && l.Named {
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
	if len(rec.Pending) > 0 {
		when = earlier(when, now.Add(clearAfter))
	}
	return when
}

// timers are the times at which records are due, soonest first.
type timers struct {
	// sooner has a token when a time was set that comes before all others.
	sooner chan struct{}

	mu    sync.Mutex
	queue queue
	when  map[string]time.Time // what holds; the queue may have outdated entries beside it
}

func newTimers() *timers {
	return &timers{sooner: make(chan struct{}, 1), when: map[string]time.Time{}}
}

// set sets the one time of a key; zero for none.
func (t *timers) set(key string, when time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if when.IsZero() {
		delete(t.when, key)
		return
	}
	if t.when[key].Equal(when) {
		return
	}
	t.when[key] = when
	heap.Push(&t.queue, entry{key, when})
	if t.queue[0].key == key {
		select {
		case t.sooner <- struct{}{}:
		default:
		}
	}
}

// due takes the keys out whose time has come.
func (t *timers) due(now time.Time) (keys []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.queue) > 0 && !t.queue[0].when.After(now) {
		e := heap.Pop(&t.queue).(entry)
		if t.when[e.key].Equal(e.when) {
			delete(t.when, e.key)
			keys = append(keys, e.key)
		}
	}
	return keys
}

// next returns the soonest time, at most latest.
func (t *timers) next(latest time.Time) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) > 0 && t.queue[0].when.Before(latest) {
		return t.queue[0].when
	}
	return latest
}

type entry struct {
	key  string
	when time.Time
}

// queue is a heap (container/heap).
type queue []entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].when.Before(q[j].when) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(entry)) }
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

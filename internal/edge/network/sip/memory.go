package sip

import (
	"context"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"
)

// Memory keeps the calls that were answered, so that an element that is started again in the
// middle of them follows them further. What it is asked may take its time, and may repeat.
type Memory interface {
	// Keep stores a call, in place of what was known of it.
	Keep(ctx context.Context, id string, c Kept) error
	// Forget removes one, if it is there.
	Forget(ctx context.Context, id string) error
	// Seen notes that the element was there at this time.
	Seen(ctx context.Context, at time.Time) error
	// Kept returns all calls by id, and when the element was there last; zero if never.
	Kept(ctx context.Context) (calls map[string]Kept, seen time.Time, err error)
}

// seenEvery is how often the element notes that it is there.
const seenEvery = 10 * time.Second

// journal writes to the memory what becomes of calls, so that no call waits for it.
type journal struct {
	memory Memory
	log    *slog.Logger
	calls  *latest[*Kept] // by id; nil: over

	there map[string]bool // ids in the memory; owned by who writes
	count atomic.Int64
}

func newJournal(m Memory, most int, log *slog.Logger) *journal {
	return &journal{memory: m, log: log, calls: newLatest[*Kept](most), there: map[string]bool{}}
}

// run writes until ctx ends, and then for a moment what is left.
func (j *journal) run(ctx context.Context) error {
	j.seen(ctx, time.Now())
	tick := time.NewTicker(seenEvery)
	defer tick.Stop()
	for {
		pause := time.Duration(0)
		if id, c, ok := j.calls.take(); ok {
			if err := j.write(ctx, id, c); err == nil {
				continue
			} else if ctx.Err() == nil {
				j.log.Warn("a call was not written down; it will be tried again", "err", err)
			}
			j.calls.back(id, c)
			pause = longestPause
		}
		var again <-chan time.Time
		if pause > 0 {
			again = time.After(pause)
		}
		select {
		case <-ctx.Done():
			j.rest(context.WithoutCancel(ctx))
			return nil
		case <-j.calls.wake:
		case <-again:
		case now := <-tick.C:
			j.seen(ctx, now)
		}
	}
}

func (j *journal) write(ctx context.Context, id string, c *Kept) error {
	var err error
	if c == nil {
		err = j.memory.Forget(ctx, id)
		delete(j.there, id)
	} else {
		err = j.memory.Keep(ctx, id, *c)
		j.there[id] = true
	}
	j.count.Store(int64(len(j.there)))
	return err
}

func (j *journal) seen(ctx context.Context, now time.Time) {
	if err := j.memory.Seen(ctx, now); err != nil && ctx.Err() == nil {
		j.log.Warn("it was not written down that the SIP element is there", "err", err)
	}
}

// rest writes what waits when the element is ended as it should be.
func (j *journal) rest(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for {
		id, c, ok := j.calls.take()
		if !ok {
			break
		}
		if err := j.write(ctx, id, c); err != nil {
			j.log.Warn("a call was not written down", "err", err)
			return
		}
	}
	j.seen(ctx, time.Now())
}

// keep writes an answered call down, as it is now.
func (c *trackedCall) keep() {
	if c.quiet || c.s.e.journal.memory == nil || len(c.Dialogs) == 0 {
		return
	}
	k := c.Kept
	leg := func(l *Leg) *Leg { copied := *l; return &copied }
	k.Caller, k.Called = leg(k.Caller), maps.Clone(k.Called)
	for user, l := range k.Called {
		k.Called[user] = leg(l)
	}
	k.Dialogs, k.Instances, k.Registrations = maps.Clone(k.Dialogs), maps.Clone(k.Instances), maps.Clone(k.Registrations)
	k.Holders, k.CSeqs = maps.Clone(k.Holders), maps.Clone(k.CSeqs)
	c.kept = true
	c.s.e.journal.calls.put(c.local("call"), &k)
}

func (c *trackedCall) forget() {
	if c.kept {
		c.s.e.journal.calls.put(c.local("call"), nil)
	}
}

// happened is a request within a call, and its final answer.
type happened struct{ req, res *Message }

// mostHappened bounds what a shard notes until the calls of before are known.
const mostHappened = 1000

// within takes a request within a call, and its final answer. Until the calls of before are
// known, it is noted.
func (s *shard) within(req, res *Message) {
	if call := s.calls[req.Get(CallID)]; call != nil {
		call.within(req, res)
	} else if !s.recalled && len(s.happened) < mostHappened {
		s.happened = append(s.happened, happened{req, res})
	}
}

// remember picks up the calls of before the element was started, and writes down those that come.
// Calls do not wait for it.
func (e *Element) remember(ctx context.Context) error {
	if e.cfg.Memory == nil {
		return nil
	}
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		calls, seen, err := e.cfg.Memory.Kept(ctx)
		if err == nil {
			e.take(calls, seen)
			return e.journal.run(ctx)
		}
		if ctx.Err() == nil {
			e.log.Warn("the calls of before cannot be picked up yet", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// take hands the calls of before to their shards. Who has hung up while the element was away
// has said so again and again, for as long as a transaction lasts; after a longer time a
// call may be over without a word of it having come here.
func (e *Element) take(calls map[string]Kept, seen time.Time) {
	doubtful := time.Since(seen) > e.times.patience()
	for id, k := range calls {
		e.journal.there[id] = true
		s := e.shardOf(k.CallID)
		s.do(func() { s.recall(k, doubtful) })
	}
	for _, s := range e.shards {
		s.do(func() {
			for _, h := range s.happened {
				s.within(h.req, h.res)
			}
			s.recalled, s.happened = true, nil
		})
	}
	e.journal.count.Store(int64(len(calls)))
	if len(calls) > 0 {
		e.log.Info("calls of before are followed further", "calls", len(calls), "doubtful", doubtful)
	}
}

// recall follows a call further. One that is doubtful is not reported again until something
// is heard of it: if it is over, its lease runs out.
func (s *shard) recall(k Kept, doubtful bool) {
	if k.Caller == nil {
		return
	}
	if c := s.calls[k.CallID]; c != nil {
		if !c.quiet {
			return
		}
		c.end()
	}
	c := &trackedCall{s: s, Kept: k, kept: true, doubtful: doubtful}
	if c.Dialogs == nil {
		c.Dialogs = map[string]string{}
	}
	if c.Called == nil {
		c.Called = map[string]*Leg{}
	}
	if c.Instances == nil {
		c.Instances = map[string]string{}
	}
	if c.Registrations == nil {
		c.Registrations = map[string]string{}
	}
	if c.Holders == nil {
		c.Holders = map[string]bool{}
	}
	if c.CSeqs == nil {
		c.CSeqs = map[string]uint32{}
	}
	s.calls[c.CallID] = c
	if doubtful {
		c.refresh = s.after(s.e.cfg.Lease, c.again)
		return
	}
	// A moment later, when what happened meanwhile has had its turn.
	c.refresh = s.after(firstPause, c.again)
}

package natsstore

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tandem-call/tandem/internal/store"
)

// settle is when a new or reconnected watch first asks for the head: by then its
// subscription is known on every server.
const settle = time.Second

// liveQueue is how many live copies wait for a watch; what does not fit is read from
// the log.
const liveQueue = 128

// lateAfter is how long the live copy of what this node has appended may be away before the log is read.
const lateAfter = 250 * time.Millisecond

// watch follows one log.
type watch struct {
	// fixed after construction
	s    *Store
	log  string
	base uint64 // of the epochs
	fn   func(store.Entry)
	live chan *nats.Msg
	poke chan struct{} // holds one: the connection was away
	ctx  context.Context
	done chan struct{}

	// What this node has appended is in the log, whatever became of the live copies: see expect.
	due     atomic.Uint64 // the newest of it
	looking atomic.Bool   // somebody will look at late
	late    chan uint64   // what should have come by now

	// owned by run
	epoch uint64
	next  uint64 // the sequence to deliver next
}

// Watch implements [store.Engine]. ctx is for the beginning only.
func (s *Store) Watch(ctx context.Context, log string, fn func(store.Entry)) (func(), error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	st, subj, err := s.place(log)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	w := &watch{
		s: s, log: log, base: st.epoch, fn: fn,
		live: make(chan *nats.Msg, liveQueue),
		poke: make(chan struct{}, 1),
		late: make(chan uint64),
		done: make(chan struct{}),
	}
	sub, err := s.nc.ChanSubscribe(s.liveSubject(log, subj), w.live)
	if err != nil {
		return nil, fmt.Errorf("natsstore: watch %s: %w", log, err)
	}
	head, err := s.subscribed(ctx, log)
	if err != nil {
		_ = sub.Unsubscribe()
		return nil, err
	}
	w.epoch, w.next = head.Epoch, head.Seq+1
	var stop context.CancelFunc
	w.ctx, stop = context.WithCancel(s.life)
	s.mu.Lock()
	if s.watches[log] == nil {
		s.watches[log] = map[*watch]struct{}{}
	}
	s.watches[log][w] = struct{}{}
	s.mu.Unlock()
	started := s.start(func() {
		defer close(w.done)
		w.run()
		_ = sub.Unsubscribe()
		s.mu.Lock()
		if delete(s.watches[log], w); len(s.watches[log]) == 0 {
			delete(s.watches, log)
		}
		s.mu.Unlock()
	})
	if !started {
		stop()
		return nil, store.ErrClosed
	}
	return func() { stop(); <-w.done }, nil
}

// liveSubject is where the entries of a log are republished.
func (s *Store) liveSubject(log, subj string) string {
	skip := len(s.opt.Prefix) + len(".log.")
	return s.opt.Prefix + ".live." + subj[skip:]
}

// subscribed waits until our server knows what we have subscribed to, and then returns
// the head: what comes after it is live.
func (s *Store) subscribed(ctx context.Context, log string) (store.Head, error) {
	if err := s.nc.FlushWithContext(ctx); err != nil {
		return store.Head{}, fmt.Errorf("natsstore: watch %s: %w", log, err)
	}
	return s.Head(ctx, log)
}

// recheckAll makes all watches look for what they may have missed.
func (s *Store) recheckAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ws := range s.watches {
		for w := range ws {
			select {
			case w.poke <- struct{}{}:
			default: // it is going to look anyway
			}
		}
	}
}

// expect tells the watches of a log that this node has appended an entry.
func (s *Store) expect(log string, seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watches[log] {
		w.expect(seq)
	}
}

// expect has the watch look for an entry if its live copy does not come: who said it is answered
// only when what is before it was shown (session), and of two who wait for each other nobody would say more.
func (w *watch) expect(seq uint64) {
	w.due.Store(seq)
	if !w.looking.CompareAndSwap(false, true) {
		return // looked for in its turn
	}
	time.AfterFunc(lateAfter, func() {
		select {
		case w.late <- seq:
		case <-w.ctx.Done():
		}
	})
}

func (w *watch) run() {
	timer := time.NewTimer(min(settle, w.s.opt.Recheck))
	defer timer.Stop()
	for {
		again := w.s.opt.Recheck
		select {
		case <-w.ctx.Done():
			return
		case m := <-w.live:
			if w.take(published(m)) {
				continue
			}
			again = min(settle, again) // could not read what is missing
		case <-w.poke:
			w.catchUp()
			again = min(settle, again)
		case seq := <-w.late:
			w.looking.Store(false)
			found := seq < w.next || w.catchUp()
			if due := w.due.Load(); due >= w.next {
				w.expect(due)
			}
			if found {
				continue
			}
			again = min(settle, again)
		case <-timer.C:
			if !w.catchUp() {
				again = min(settle, again)
			}
		}
		timer.Reset(again)
	}
}

// take delivers a live copy, after what is missing before it. False: that could not be read.
func (w *watch) take(m message) bool {
	e := endAt(m)
	w.s.heard(w.log, e)
	entry := store.Entry{Seq: e.n, Epoch: w.base + e.first, Data: m.data, Time: m.appended()}
	if w.offer(entry) {
		return true
	}
	return w.catchUp()
}

// offer delivers an entry if it is the next one, and drops what was delivered before.
// False: entries before it are missing.
func (w *watch) offer(e store.Entry) bool {
	if e.Epoch > w.epoch { // the log was dropped and begun again
		w.epoch, w.next = e.Epoch, 1
	}
	if e.Epoch < w.epoch || e.Seq < w.next {
		return true
	}
	if e.Seq > w.next || w.ctx.Err() != nil {
		return false
	}
	w.next++
	w.fn(e)
	return true
}

// catchUp reads and delivers what is in the log and was not delivered. False: it could
// not be read.
func (w *watch) catchUp() bool {
	for w.ctx.Err() == nil {
		head, err := w.s.Head(w.ctx, w.log)
		if err != nil {
			return w.failed(err)
		}
		if head.Epoch > w.epoch {
			w.epoch, w.next = head.Epoch, 1
		}
		if head.Epoch < w.epoch || head.Seq < w.next {
			return true
		}
		entries, err := w.s.Read(w.ctx, w.log, w.next-1, readBatch)
		if err != nil {
			return w.failed(err)
		}
		for _, e := range entries {
			w.offer(e)
		}
	}
	return false
}

func (w *watch) failed(err error) bool {
	if w.ctx.Err() == nil {
		w.s.opt.Logger.Warn("storage cluster: watch cannot read its log, will try again",
			"log", w.log, "next", strconv.FormatUint(w.next, 10), "error", err)
	}
	return false
}

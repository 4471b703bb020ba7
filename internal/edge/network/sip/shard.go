package sip

import (
	"container/heap"
	"context"
	"hash/maphash"
	"time"
)

// shard handles all that belongs to some of the calls, by their Call-ID, one thing after
// the other. So what it keeps needs no locks, and the messages of a call keep their order.
type shard struct {
	e  *Element
	in chan func() // bounded

	// owned by run
	timers  timers
	servers map[string]*serverTx
	clients map[string]*clientTx
	calls   map[string]*trackedCall
	watches map[string]*watch // by Call-ID
	// recalled: the calls of before the start are known; happened is what came sooner.
	recalled bool
	happened []happened
}

// inbox is how many messages wait for a shard; beyond them, datagrams are dropped, and
// connections wait.
const inbox = 4096

func newShard(e *Element) *shard {
	return &shard{
		e: e, in: make(chan func(), inbox), servers: map[string]*serverTx{}, clients: map[string]*clientTx{}, calls: map[string]*trackedCall{},
		watches: map[string]*watch{}, recalled: e.cfg.Memory == nil,
	}
}

var shardSeed = maphash.MakeSeed()

func (e *Element) shardOf(callID string) *shard {
	return e.shards[maphash.String(shardSeed, callID)%uint64(len(e.shards))]
}

func (s *shard) run(ctx context.Context) error {
	tick := time.NewTimer(time.Hour)
	defer tick.Stop()
	for {
		wait := time.Hour
		if len(s.timers) > 0 {
			wait = time.Until(s.timers[0].at)
		}
		if wait <= 0 {
			heap.Pop(&s.timers).(*timer).f()
			// Messages have their turn between timers.
			select {
			case f := <-s.in:
				f()
			default:
			}
			continue
		}
		tick.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case f := <-s.in:
			f()
		case <-tick.C:
		}
	}
}

// do hands f to the shard; it waits for room.
func (s *shard) do(f func()) {
	select {
	case s.in <- f:
	case <-s.e.stopped:
	}
}

// tryDo is do without waiting; false where there is no room.
func (s *shard) tryDo(f func()) bool {
	select {
	case s.in <- f:
		return true
	default:
		return false
	}
}

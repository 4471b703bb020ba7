package sip

import (
	"container/heap"
	"time"
)

// The times of RFC 3261 17, with T1 as the estimate of a round trip.
type times struct{ t1, t2, t4 time.Duration }

// patience is 64*T1: timers B, F, H, J, and L and M of RFC 6026.
func (t times) patience() time.Duration { return 64 * t.t1 }

// timerC bounds an INVITE that rings without end (RFC 3261 16.6 step 11).
const timerC = 180 * time.Second

// timer calls f once, from its shard.
type timer struct {
	at    time.Time
	f     func()
	index int // in the heap; -1: not any more
}

// timers are those of one shard; nobody else touches them.
type timers []*timer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at.Before(t[j].at) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].index, t[j].index = i, j
}

// Push implements heap.Interface.
func (t *timers) Push(x any) {
	n := x.(*timer)
	n.index = len(*t)
	*t = append(*t, n)
}

// Pop implements heap.Interface.
func (t *timers) Pop() any {
	last := len(*t) - 1
	x := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	x.index = -1
	return x
}

// after calls f when d has passed.
func (s *shard) after(d time.Duration, f func()) *timer {
	t := &timer{at: time.Now().Add(d), f: f}
	heap.Push(&s.timers, t)
	return t
}

// stop forgets a timer; nil and one that has run are welcome.
func (s *shard) stop(t *timer) {
	if t != nil && t.index >= 0 {
		heap.Remove(&s.timers, t.index)
	}
}

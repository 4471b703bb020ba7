// Package due remembers when things are due, soonest first: what a loop that lets time
// have its effects needs beside its store. [Times] forgets everything with the process; whoever
// uses it reads its records again at the start.
package due

import (
	"container/heap"
	"sync"
	"time"
)

// Times are the times at which keys are due. Its methods may be called from several
// goroutines. Make it with [New].
type Times struct {
	sooner chan struct{}

	mu    sync.Mutex
	queue queue
	when  map[string]time.Time // what holds; the queue may have outdated entries beside it
}

// New returns Times without any.
func New() *Times {
	return &Times{sooner: make(chan struct{}, 1), when: map[string]time.Time{}}
}

// Sooner has a token when a time was set that comes before all others.
func (t *Times) Sooner() <-chan struct{} { return t.sooner }

// Set sets the one time of a key; zero for none.
func (t *Times) Set(key string, when time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.set(key, when)
}

func (t *Times) set(key string, when time.Time) {
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

// Bring sets the time of a key, unless it has an earlier one.
func (t *Times) Bring(key string, when time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old, set := t.when[key]; !when.IsZero() && (!set || when.Before(old)) {
		t.set(key, when)
	}
}

// Due takes the keys out whose time has come.
func (t *Times) Due(now time.Time) (keys []string) {
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

// Next returns the soonest time, at most latest.
func (t *Times) Next(latest time.Time) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) > 0 && t.queue[0].when.Before(latest) {
		return t.queue[0].when
	}
	return latest
}

// Len is how many keys have a time.
func (t *Times) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.when)
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

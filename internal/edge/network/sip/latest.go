package sip

import "sync"

// latest is a bounded queue that keeps the newest value of each key: what became of a call
// matters, not what it was before.
type latest[T any] struct {
	most int

	mu      sync.Mutex
	waiting map[string]T
	order   []string
	wake    chan struct{}
	dropped int64 // of keys that it did not know when it was full
}

func newLatest[T any](most int) *latest[T] {
	return &latest[T]{most: most, waiting: map[string]T{}, wake: make(chan struct{}, 1)}
}

// put never waits.
func (q *latest[T]) put(key string, v T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.room(key) {
		return
	}
	q.waiting[key] = v
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// room makes a place for a key. q.mu is held.
func (q *latest[T]) room(key string) bool {
	if _, known := q.waiting[key]; known {
		return true
	}
	if len(q.order) >= q.most {
		q.dropped++
		return false
	}
	q.order = append(q.order, key)
	return true
}

func (q *latest[T]) take() (key string, v T, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) == 0 {
		return "", v, false
	}
	key = q.order[0]
	q.order = q.order[1:]
	v = q.waiting[key]
	delete(q.waiting, key)
	return key, v, true
}

// back puts a value that was not taken behind the others, unless a newer one has come.
func (q *latest[T]) back(key string, v T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, newer := q.waiting[key]; !newer && q.room(key) {
		q.waiting[key] = v
	}
}

// stats: how many wait, and how many were dropped.
func (q *latest[T]) stats() (waiting, dropped int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return int64(len(q.order)), q.dropped
}

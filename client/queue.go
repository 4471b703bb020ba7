package client

import "sync"

// maxSignals is how many frames may wait before signals are dropped.
const maxSignals = 64

// queue holds the frames of one connection that wait to be written. Its length is
// bounded by the requests that the program has under way.
type queue struct {
	mu     sync.Mutex
	frames [][]byte
	more   chan struct{} // of one: there are frames
}

func newQueue() *queue { return &queue{more: make(chan struct{}, 1)} }

func (q *queue) push(frames ...[]byte) {
	q.mu.Lock()
	q.frames = append(q.frames, frames...)
	q.mu.Unlock()
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// signal is push for what need not arrive.
func (q *queue) signal(frame []byte) {
	q.mu.Lock()
	full := len(q.frames) >= maxSignals
	q.mu.Unlock()
	if !full {
		q.push(frame)
	}
}

// take returns the frames and empties the queue.
func (q *queue) take() [][]byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.frames
	q.frames = nil
	return l
}

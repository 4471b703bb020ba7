package pebblestore

import (
	"sync"
	"sync/atomic"
)

// delivery calls watchers and subscribers from a few goroutines, so that they are never
// called under a caller's locks. What is scheduled twice before it ran runs once; one
// strand runs on one goroutine, always the same.
type delivery struct {
	workers []*worker
	next    atomic.Uint32
	wg      sync.WaitGroup
}

// strand is something to be run when there is news for it.
type strand struct {
	worker *worker
	due    atomic.Bool
	run    func()
}

type worker struct {
	mu      sync.Mutex
	some    *sync.Cond
	queue   []*strand
	closing bool
}

func newDelivery(workers int) *delivery {
	d := &delivery{}
	for range workers {
		w := &worker{}
		w.some = sync.NewCond(&w.mu)
		d.workers = append(d.workers, w)
		d.wg.Go(w.loop)
	}
	return d
}

func (d *delivery) strand(run func()) *strand {
	return &strand{worker: d.workers[int(d.next.Add(1))%len(d.workers)], run: run}
}

// schedule has the strand run soon. After close it does nothing.
func (s *strand) schedule() {
	if !s.due.CompareAndSwap(false, true) {
		return
	}
	w := s.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = append(w.queue, s)
	if len(w.queue) == 1 {
		w.some.Signal()
	}
}

func (w *worker) loop() {
	for {
		w.mu.Lock()
		for len(w.queue) == 0 && !w.closing {
			w.some.Wait()
		}
		queue := w.queue
		w.queue = nil
		w.mu.Unlock()
		if len(queue) == 0 {
			return
		}
		for _, s := range queue {
			s.due.Store(false)
			s.run()
		}
	}
}

// close runs what is scheduled and ends the goroutines.
func (d *delivery) close() {
	for _, w := range d.workers {
		w.mu.Lock()
		w.closing = true
		w.some.Signal()
		w.mu.Unlock()
	}
	d.wg.Wait()
}

// mailbox is the queue of one watcher or subscriber, emptied by a strand.
type mailbox[T any] struct {
	strand *strand
	limit  int // zero: none
	fn     func(T)

	mu    sync.Mutex
	queue []T
	spare []T // the queue before, empty, to be used again

	calling sync.Mutex // held while fn runs
	closed  bool       // guarded by calling
}

func newMailbox[T any](d *delivery, limit int, fn func(T)) *mailbox[T] {
	m := &mailbox[T]{limit: limit, fn: fn}
	m.strand = d.strand(m.empty)
	return m
}

// put queues a message; false if there are too many.
func (m *mailbox[T]) put(v T) bool {
	m.mu.Lock()
	if m.limit > 0 && len(m.queue) >= m.limit {
		m.mu.Unlock()
		return false
	}
	m.queue = append(m.queue, v)
	m.mu.Unlock()
	m.strand.schedule()
	return true
}

func (m *mailbox[T]) empty() {
	m.mu.Lock()
	queue := m.queue
	m.queue, m.spare = m.spare, nil
	m.mu.Unlock()
	for _, v := range queue {
		if !m.call(v) {
			return
		}
	}
	if cap(queue) <= maxSpare {
		clear(queue)
		m.mu.Lock()
		m.spare = queue[:0]
		m.mu.Unlock()
	}
}

// maxSpare is the longest queue whose memory a mailbox keeps.
const maxSpare = 8

func (m *mailbox[T]) call(v T) bool {
	m.calling.Lock()
	defer m.calling.Unlock()
	if !m.closed {
		m.fn(v)
	}
	return !m.closed
}

// close returns after the last call.
func (m *mailbox[T]) close() {
	m.calling.Lock()
	defer m.calling.Unlock()
	m.closed = true
}

package natsstore

import (
	"context"
	"sync"
)

// pending is an append that is stored: there is nothing to wait for.
type pending struct {
	done  *callbacks
	seq   uint64
	epoch uint64
}

func (p pending) Seq() uint64              { return p.seq }
func (p pending) Epoch() uint64            { return p.epoch }
func (pending) Wait(context.Context) error { return nil }
func (p pending) Done(fn func(error))      { p.done.add(fn) }

// callbacks calls functions one after the other from a goroutine of its own, so that
// no caller of Done runs inside what it asked to be called.
type callbacks struct {
	mu     sync.Mutex
	more   sync.Cond
	queue  []func(error)
	closed bool
}

func newCallbacks() *callbacks {
	c := &callbacks{}
	c.more.L = &c.mu
	return c
}

func (c *callbacks) add(fn func(error)) {
	c.mu.Lock()
	closed := c.closed
	if !closed {
		c.queue = append(c.queue, fn)
	}
	c.mu.Unlock()
	if closed {
		fn(nil) // the goroutine may be gone already
		return
	}
	c.more.Signal()
}

// run calls what was added until close, and then what is left.
func (c *callbacks) run() {
	for {
		c.mu.Lock()
		for len(c.queue) == 0 && !c.closed {
			c.more.Wait()
		}
		batch := c.queue
		c.queue = nil
		c.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for _, fn := range batch {
			fn(nil)
		}
	}
}

func (c *callbacks) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.more.Broadcast()
}

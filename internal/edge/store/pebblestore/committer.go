package pebblestore

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tandem-call/tandem/internal/store"
)

// op is one change on its way to the disk.
type op interface {
	// write adds the change to a batch, under its commit number.
	write(b *pebble.Batch, number uint64)
	// finish is called once, in order of the numbers, when the change is durable or, with
	// an error that is store.ErrUncertain, when that cannot be known any more.
	finish(err error)
}

const (
	maxBatchOps = 4096 // operations in one batch
	maxBatch    = 4 << 20
	maxFlights  = 4 // batches between their application and their sync
)

// committer turns queued operations into batches. While one batch is being synced the
// next one is built, so a batch holds what came in the meantime. It numbers the
// operations; a batch holds the number of its last operation, which is how a store
// knows what it has.
type committer struct {
	db      *pebble.DB
	relaxed bool
	synced  func(number uint64) // called in order, before the operations finish
	flights chan flight
	wg      sync.WaitGroup

	mu      sync.Mutex
	some    *sync.Cond // the queue is not empty, or closing
	queue   []op
	closing bool

	last    uint64        // number of the last operation; of the build loop
	opBytes int           // about what an operation takes in a batch; of the build loop
	applied atomic.Uint64 // no iterator shows a number above this
	failure atomic.Pointer[error]

	watermark struct {
		sync.Mutex
		durable uint64
		waiting []waiter
	}
	stats commitStats
}

type flight struct {
	batch *pebble.Batch
	ops   []op
	last  uint64
}

type waiter struct {
	number uint64
	done   chan struct{}
}

type commitStats struct {
	batches, ops, bytes atomic.Uint64
	largest             atomic.Uint64
	syncTime, syncMax   atomic.Int64
}

func newCommitter(db *pebble.DB, last uint64, relaxed bool, synced func(uint64)) *committer {
	c := &committer{db: db, relaxed: relaxed, synced: synced, last: last, flights: make(chan flight, maxFlights)}
	c.some = sync.NewCond(&c.mu)
	c.applied.Store(last)
	c.watermark.durable = last
	c.wg.Go(c.buildLoop)
	c.wg.Go(c.syncLoop)
	return c
}

// submit queues an operation. Operations keep the order in which they are submitted.
func (c *committer) submit(o op) error {
	if err := c.failed(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return store.ErrClosed
	}
	c.queue = append(c.queue, o)
	if len(c.queue) == 1 {
		c.some.Signal()
	}
	return nil
}

// take waits for operations and returns some of them, or none when closing.
func (c *committer) take() []op {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) == 0 && !c.closing {
		c.some.Wait()
	}
	ops := c.queue
	if len(ops) > maxBatchOps {
		ops = ops[:maxBatchOps:maxBatchOps]
	}
	// The next ones will be about as many.
	c.queue = append(make([]op, 0, len(ops)), c.queue[len(ops):]...)
	return ops
}

func (c *committer) buildLoop() {
	defer close(c.flights)
	for {
		ops := c.take()
		if len(ops) == 0 {
			return
		}
		for len(ops) > 0 {
			ops = ops[c.commit(ops):]
		}
	}
}

// commit applies one batch of the first of these operations and returns how many.
func (c *committer) commit(ops []op) int {
	// With room for all from the start, since a batch that grows is copied each time.
	b := c.db.NewBatchWithSize(min(len(ops)*c.opBytes, maxBatch)+1024, pebble.WithMaxRetainedSizeBytes(2*maxBatch))
	n := 0
	for n < len(ops) && b.Len() < maxBatch {
		c.last++
		ops[n].write(b, c.last)
		n++
	}
	c.opBytes = b.Len()/n + 16
	f := flight{b, ops[:n], c.last}
	if c.failed() == nil {
		err := b.Set(commitKey, number(c.last), nil)
		c.applied.Store(c.last) // before anybody can see it
		c.stats.bytes.Add(uint64(b.Len()))
		switch {
		case err != nil:
		case c.relaxed:
			err = c.db.Apply(b, pebble.NoSync)
		default:
			err = c.db.ApplyNoSyncWait(b, pebble.Sync)
		}
		if err != nil {
			c.fail(err)
			f.batch = nil // never applied, so there is no sync to wait for
		}
	} else {
		f.batch = nil
	}
	c.flights <- f
	return n
}

func (c *committer) syncLoop() {
	for f := range c.flights {
		started := time.Now()
		if f.batch != nil {
			if !c.relaxed {
				if err := f.batch.SyncWait(); err != nil {
					c.fail(err)
				}
			}
			if err := f.batch.Close(); err != nil {
				c.fail(err)
			}
		}
		err := c.failed()
		if err == nil {
			c.count(f, time.Since(started))
			c.synced(f.last)
			c.advance(f.last)
		} else {
			err = fmt.Errorf("pebblestore: %w: %w", store.ErrUncertain, err)
		}
		for _, o := range f.ops {
			o.finish(err)
		}
	}
}

func (c *committer) count(f flight, took time.Duration) {
	n := uint64(len(f.ops))
	c.stats.batches.Add(1)
	c.stats.ops.Add(n)
	c.stats.syncTime.Add(int64(took))
	c.stats.largest.Store(max(n, c.stats.largest.Load()))
	c.stats.syncMax.Store(max(int64(took), c.stats.syncMax.Load()))
}

// advance raises the watermark and lets go who waits below it.
func (c *committer) advance(durable uint64) {
	c.watermark.Lock()
	defer c.watermark.Unlock()
	c.watermark.durable = durable
	kept := c.watermark.waiting[:0]
	for _, w := range c.watermark.waiting {
		if w.number <= durable {
			close(w.done)
		} else {
			kept = append(kept, w)
		}
	}
	c.watermark.waiting = kept
}

// barrier returns a channel that is closed when all that is visible now is durable.
func (c *committer) barrier() <-chan struct{} {
	done := make(chan struct{})
	visible := c.applied.Load()
	c.watermark.Lock()
	defer c.watermark.Unlock()
	if c.watermark.durable >= visible || c.failed() != nil {
		close(done)
	} else {
		c.watermark.waiting = append(c.watermark.waiting, waiter{visible, done})
	}
	return done
}

// fail records the first failure. Nothing is written any more, and nothing is answered:
// the memtable may show what the disk does not have.
func (c *committer) fail(err error) {
	err = fmt.Errorf("pebblestore: storage failed, restart needed: %w", err)
	c.failure.CompareAndSwap(nil, &err)
	c.watermark.Lock()
	defer c.watermark.Unlock()
	for _, w := range c.watermark.waiting {
		close(w.done)
	}
	c.watermark.waiting = nil
}

func (c *committer) failed() error {
	if err := c.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// close commits what is queued and returns when it is finished.
func (c *committer) close() {
	c.mu.Lock()
	c.closing = true
	c.some.Signal()
	c.mu.Unlock()
	c.wg.Wait()
}

func (c *committer) durable() uint64 {
	c.watermark.Lock()
	defer c.watermark.Unlock()
	return c.watermark.durable
}

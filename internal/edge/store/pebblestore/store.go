package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sync/semaphore"

	"github.com/tandem-call/tandem/internal/store"
)

// Store is a store.Engine on Pebble. It is made with [Open]; all methods may be called
// from several goroutines.
type Store struct {
	options  Options
	lock     *pebble.Lock
	db       *pebble.DB
	commits  *committer
	witness  *witness
	space    *space
	queued   *semaphore.Weighted // bytes of changes under way
	table    *table
	rosters  *rosters
	removing atomic.Int64 // removals of records under way
	counters counters
	epochs   epochs
	logs     *logs
	bus      bus
	delivery *delivery

	gate gate
}

// maxQueued bounds the memory of changes under way, in bytes: beyond it writers wait.
const maxQueued = 64 << 20

// gate counts the operations under way, so that Close can wait for them.
type gate struct {
	underway atomic.Int64
	closed   atomic.Bool
	once     sync.Once
	empty    chan struct{}
}

func (g *gate) enter() error {
	g.underway.Add(1)
	if g.closed.Load() {
		g.leave()
		return store.ErrClosed
	}
	return nil
}

func (g *gate) leave() {
	if g.underway.Add(-1) == 0 && g.closed.Load() {
		g.once.Do(func() { close(g.empty) })
	}
}

// close lets nobody in any more and returns when all have left; false if it was closed.
func (g *gate) close() bool {
	g.underway.Add(1)
	first := g.closed.CompareAndSwap(false, true)
	g.leave()
	<-g.empty
	return first
}

// enter begins an operation; leave ends it.
func (s *Store) enter(ctx context.Context) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	if err := s.usable(ctx); err != nil {
		s.gate.leave()
		return err
	}
	return nil
}

func (s *Store) leave() { s.gate.leave() }

// usable says why an operation cannot begin or go on.
func (s *Store) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.gate.closed.Load() {
		return store.ErrClosed
	}
	return s.commits.failed()
}

// admit lets a change of n bytes in, once there is room for it in memory and on the
// disk. The function it returns gives the memory back. What makes space may use a part
// of the headroom.
func (s *Store) admit(ctx context.Context, n int, makesSpace bool) (free func(), err error) {
	if err := s.take(ctx, n, makesSpace); err != nil {
		return nil, err
	}
	return func() { s.release(n) }, nil
}

// take is admit for those who call release themselves, with the same n.
func (s *Store) take(ctx context.Context, n int, makesSpace bool) error {
	if err := s.witness.err(); err != nil {
		return err
	}
	if err := s.space.admit(n, makesSpace); err != nil {
		return err
	}
	return s.queued.Acquire(ctx, queuedSize(n))
}

func (s *Store) release(n int) { s.queued.Release(queuedSize(n)) }

// queuedSize is what a change of n bytes takes while it is under way.
func queuedSize(n int) int64 { return int64(n) + 256 }

// barrier waits until all that is visible now is durable.
func (s *Store) barrier(ctx context.Context) error {
	select {
	case <-s.commits.barrier():
		return s.commits.failed()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readError wraps an error of Pebble: corruption is store.ErrDamaged.
func readError(err error) error {
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("pebblestore: %w: %w", store.ErrDamaged, err)
	}
	return fmt.Errorf("pebblestore: %w", err)
}

// Durability says what an acknowledgement means: "fsync" or "relaxed".
func (s *Store) Durability() string {
	if s.options.Relaxed {
		return "relaxed"
	}
	return "fsync"
}

// Err returns nil while the store takes writes, else why not.
func (s *Store) Err() error {
	if s.gate.closed.Load() {
		return store.ErrClosed
	}
	return errors.Join(s.commits.failed(), s.witness.err(), s.space.admit(0, false))
}

// Close waits for the operations under way, commits what is queued and writes down
// that the store was closed in good order. Closing again is no error.
func (s *Store) Close() error {
	if !s.gate.close() {
		return nil
	}
	s.commits.close()
	s.delivery.close()
	s.witness.close()
	err := s.commits.failed()
	return errors.Join(s.closeFiles(err == nil), err)
}

// closeFiles closes Pebble, writes the last witness, which is exact, and lets the
// directory go. clean says that nothing shown can have been lost.
func (s *Store) closeFiles(clean bool) error {
	err := s.db.Close()
	if clean && err == nil {
		err = s.witness.writeClean(s.commits.durable())
	}
	return errors.Join(err, s.lock.Close())
}

// Stats is what a store has done since it was opened, and how it is.
type Stats struct {
	Batches      uint64 // commits, each with one sync at most
	Operations   uint64 // changes in them
	LargestBatch uint64 // in changes
	BatchBytes   uint64 // written to the log
	SyncNanos    int64  // time spent waiting for syncs, in all
	SyncMaxNanos int64  // the longest of them
	LastCommit   uint64 // number of the last durable change
	Witnessed    uint64 // the same, as the witness file has it
	DiskBytes    uint64 // what the data takes on the disk
	FreeBytes    int64  // what is free on the file system, when last looked at
	LogsInMemory int    // logs whose state is kept in memory
	BusDropped   uint64 // messages dropped since a subscriber was too slow
}

// Stats returns the numbers for the metrics.
func (s *Store) Stats() Stats {
	c := &s.commits.stats
	st := Stats{
		Batches:      c.batches.Load(),
		Operations:   c.ops.Load(),
		LargestBatch: c.largest.Load(),
		BatchBytes:   c.bytes.Load(),
		SyncNanos:    c.syncTime.Load(),
		SyncMaxNanos: c.syncMax.Load(),
		LastCommit:   s.commits.durable(),
		Witnessed:    s.witness.written(),
		FreeBytes:    s.space.lastFree(),
		LogsInMemory: s.logs.size(),
		BusDropped:   s.bus.dropped.Load(),
	}
	if s.gate.enter() == nil {
		st.DiskBytes = s.db.Metrics().DiskSpaceUsage()
		s.leave()
	}
	return st
}

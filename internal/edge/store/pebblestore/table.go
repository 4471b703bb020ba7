package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tandem-call/tandem/internal/store"
)

const shards = 256

var hashSeed = maphash.MakeSeed()

// shard guards the keys that hash to it. Its lock is held for a look at the pending
// changes and at Pebble, never across a sync.
type shard struct {
	mu      sync.RWMutex
	pending map[string]*change // changes under way, by Pebble key; one per key
}

type table struct{ shards [shards]shard }

func newTable() *table {
	t := &table{}
	for i := range t.shards {
		t.shards[i].pending = map[string]*change{}
	}
	return t
}

func (t *table) shard(hash uint64) *shard { return &t.shards[hash%shards] }

// change is a put or a delete under way. Who finds one on a key waits for it, and may
// answer from it once it is done: it was the state of the key at that moment.
type change struct {
	shard  *shard
	roster *roster
	hash   uint64 // of key
	key    []byte
	value  []byte
	remove bool
	free   func()
	// removing counts the removals under way.
	removing *atomic.Int64
	done     chan struct{}

	// Written before done is closed.
	rev store.Rev
	err error
}

func (c *change) write(b *pebble.Batch, number uint64) {
	c.rev = store.Rev(number)
	if c.remove {
		d := b.DeleteDeferred(len(c.key))
		copy(d.Key, c.key)
		d.Finish()
		return
	}
	d := b.SetDeferred(len(c.key), 8+len(c.value))
	copy(d.Key, c.key)
	encodeRecord(d.Value, number, c.value)
	d.Finish()
}

func (c *change) finish(err error) {
	c.err = err
	if err == nil { // after a failure the key stays taken: nobody knows its state
		c.shard.mu.Lock()
		delete(c.shard.pending, string(c.key))
		c.shard.mu.Unlock()
		if c.remove {
			c.roster.remove(c.hash)
			c.removing.Add(-1)
		}
	}
	c.free()
	close(c.done)
}

// revision is the revision that the change left behind: zero after a delete.
func (c *change) revision() store.Rev {
	if c.remove {
		return 0
	}
	return c.rev
}

// wait waits for somebody else's change.
func (c *change) wait(ctx context.Context) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Get returns the record under key, as store.Engine says.
func (s *Store) Get(ctx context.Context, tableName, key string) (store.Record, error) {
	k, err := recordKey(tableName, key)
	if err != nil {
		return store.Record{}, err
	}
	if err := s.enter(ctx); err != nil {
		return store.Record{}, err
	}
	defer s.leave()
	hash := hashOf(k)
	if s.rosters.lacks(tableName, hash) {
		return store.Record{}, &missing{tableName, key}
	}
	sh := s.table.shard(hash)
	sh.mu.RLock()
	if c := sh.pending[string(k)]; c != nil {
		sh.mu.RUnlock()
		if err := c.wait(ctx); err != nil {
			return store.Record{}, err
		}
		if c.remove {
			return store.Record{}, &missing{tableName, key}
		}
		return store.Record{Key: key, Value: bytes.Clone(c.value), Rev: c.rev}, nil
	}
	defer sh.mu.RUnlock()
	rev, value, err := s.load(k)
	if err != nil {
		return store.Record{}, err
	}
	if rev == 0 {
		return store.Record{}, &missing{tableName, key}
	}
	return store.Record{Key: key, Value: value, Rev: rev}, nil
}

// missing is store.ErrNotFound of a record. Most who ask do not read it.
type missing struct{ table, key string }

func (m *missing) Error() string {
	return fmt.Sprintf("pebblestore: %s in table %s: %v", m.key, m.table, store.ErrNotFound)
}

func (m *missing) Unwrap() error { return store.ErrNotFound }

// load reads a record from Pebble; revision zero means that there is none.
func (s *Store) load(k []byte) (store.Rev, []byte, error) {
	b, closer, err := s.db.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, readError(err)
	}
	defer closer.Close()
	rev, value, err := decodeRecord(b)
	return rev, bytes.Clone(value), err
}

// Put writes a record if it is at revision at, as store.Engine says.
func (s *Store) Put(ctx context.Context, tableName, key string, value []byte, at store.Rev) (store.Rev, error) {
	if len(value) > store.MaxValue {
		return 0, fmt.Errorf("pebblestore: record of %d bytes: %w", len(value), store.ErrTooLarge)
	}
	return s.change(ctx, tableName, key, value, at, false)
}

// Delete removes a record if it is at revision at, as store.Engine says.
func (s *Store) Delete(ctx context.Context, tableName, key string, at store.Rev) error {
	_, err := s.change(ctx, tableName, key, nil, at, true)
	return err
}

func (s *Store) change(ctx context.Context, tableName, key string, value []byte, at store.Rev, remove bool) (store.Rev, error) {
	k, err := recordKey(tableName, key)
	if err != nil {
		return 0, err
	}
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	free, err := s.admit(ctx, len(k)+len(value), remove)
	if err != nil {
		return 0, err
	}
	mine := &change{
		roster: s.rosters.of(tableName), hash: hashOf(k), key: k, value: value, remove: remove,
		free: free, removing: &s.removing, done: make(chan struct{}),
	}
	if err := s.begin(ctx, mine, at); err != nil {
		free()
		if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
			err = fmt.Errorf("pebblestore: %s in table %s: %w", key, tableName, err)
		}
		return 0, err
	}
	select {
	case <-mine.done:
		return mine.rev, mine.err
	case <-ctx.Done():
		return 0, uncertain(ctx)
	}
}

func uncertain(ctx context.Context) error {
	return fmt.Errorf("pebblestore: %w: %w", store.ErrUncertain, ctx.Err())
}

// begin checks that the key is at revision at and queues the change.
func (s *Store) begin(ctx context.Context, mine *change, at store.Rev) error {
	sh := s.table.shard(mine.hash)
	mine.shard = sh
	for {
		sh.mu.Lock()
		other := sh.pending[string(mine.key)]
		if other == nil {
			break
		}
		sh.mu.Unlock()
		if err := other.wait(ctx); err != nil {
			return err
		}
		if err := mine.check(other.revision(), at); err != nil {
			return err
		}
	}
	defer sh.mu.Unlock()
	rev, err := s.revisionOf(mine.key)
	if err != nil {
		return err
	}
	if err := mine.check(rev, at); err != nil {
		return err
	}
	// Before the change can be seen. After a failure they stay: nothing is answered then any more.
	if mine.remove {
		s.removing.Add(1)
	} else if at == 0 {
		mine.roster.add(mine.hash)
	}
	if err := s.commits.submit(mine); err != nil {
		return err
	}
	sh.pending[string(mine.key)] = mine
	return nil
}

func (c *change) check(is, at store.Rev) error {
	switch {
	case c.remove && is == 0:
		return store.ErrNotFound
	case is != at || c.remove && at == 0:
		return store.ErrConflict
	}
	return nil
}

func (s *Store) revisionOf(k []byte) (store.Rev, error) {
	b, closer, err := s.db.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, readError(err)
	}
	defer closer.Close()
	rev, _, err := decodeRecord(b)
	return rev, err
}

// Scan walks the records with a prefix in the order of their keys. It shows one moment
// of the store, and nothing of it that is not durable.
func (s *Store) Scan(ctx context.Context, tableName, prefix string) iter.Seq2[store.Record, error] {
	return s.ScanAfter(ctx, tableName, prefix, "")
}

// ScanAfter implements [store.Engine].
func (s *Store) ScanAfter(ctx context.Context, tableName, prefix, from string) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		if err := s.scan(ctx, tableName, prefix, from, yield); err != nil {
			yield(store.Record{}, err)
		}
	}
}

// scan returns an error that is still to be shown.
func (s *Store) scan(ctx context.Context, tableName, prefix, from string, yield func(store.Record, error) bool) error {
	if err := checkName("table name", tableName); err != nil {
		return err
	}
	if err := checkBytes("prefix", prefix); err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	start := tablePrefix(tableName)
	keyAt := len(start)
	start = append(start, prefix...)
	if s.rosters.empty(tableName) {
		return nil
	}
	end := after(start)
	if from >= prefix {
		start = append(append(start[:keyAt], from...), 0)
	}
	if bytes.Compare(start, end) >= 0 {
		return nil
	}
	durable := store.Rev(s.commits.durable())
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: start, UpperBound: end})
	if err != nil {
		return readError(err)
	}
	defer it.Close()
	// A removal that the iterator sees may not be durable. A record tells that by its revision.
	waited := false
	wait := func() error {
		if waited {
			return nil
		}
		waited = true
		return s.barrier(ctx)
	}
	if s.removing.Load() > 0 {
		if err := wait(); err != nil {
			return err
		}
	}
	for ok := it.First(); ok; ok = it.Next() {
		if err := s.usable(ctx); err != nil {
			return err
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return readError(err)
		}
		rev, value, err := decodeRecord(value)
		if err != nil {
			return err
		}
		if rev > durable {
			if err := wait(); err != nil {
				return err
			}
		}
		if !yield(store.Record{Key: string(it.Key()[keyAt:]), Value: slices.Clone(value), Rev: rev}, nil) {
			return nil
		}
	}
	if err := it.Error(); err != nil {
		return readError(err)
	}
	return nil
}

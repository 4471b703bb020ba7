package pebblestore

import (
	"context"
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tandem-call/tandem/internal/store"
)

// counters holds the values of the counters that are being changed, with the changes
// that are on their way: additions to one counter follow each other without waiting for
// the disk. A caller hears of a value only once it, and so all before it, is durable.
type counters struct {
	mu     sync.Mutex
	active map[string]*counter
}

type counter struct {
	value    int64
	underway int
}

type addition struct {
	counters *counters
	key      []byte
	value    int64
	free     func()
	done     chan error
}

func (a *addition) write(b *pebble.Batch, _ uint64) {
	// Set fails only on a batch that is already committed.
	_ = b.Set(a.key, number(uint64(a.value)), nil)
}

func (a *addition) finish(err error) {
	c := a.counters
	c.mu.Lock()
	active := c.active[string(a.key)]
	if active.underway--; active.underway == 0 {
		delete(c.active, string(a.key))
	}
	c.mu.Unlock()
	a.free()
	a.done <- err
}

// Add adds delta to a counter, as store.Engine says.
func (s *Store) Add(ctx context.Context, name string, delta int64) (int64, error) {
	k, err := counterKey(name)
	if err != nil {
		return 0, err
	}
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	free, err := s.admit(ctx, len(k)+8, false)
	if err != nil {
		return 0, err
	}
	a := &addition{counters: &s.counters, key: k, free: free, done: make(chan error, 1)}
	if err := s.beginAdd(a, delta); err != nil {
		free()
		return 0, err
	}
	select {
	case err := <-a.done:
		return a.value, err
	case <-ctx.Done():
		return 0, uncertain(ctx)
	}
}

func (s *Store) beginAdd(a *addition, delta int64) error {
	c := a.counters
	c.mu.Lock()
	defer c.mu.Unlock()
	active := c.active[string(a.key)]
	if active == nil {
		value, err := s.counterValue(a.key)
		if err != nil {
			return err
		}
		active = &counter{value: value}
	}
	a.value = active.value + delta
	if err := s.commits.submit(a); err != nil {
		return err
	}
	active.value = a.value
	active.underway++
	c.active[string(a.key)] = active
	return nil
}

func (s *Store) counterValue(k []byte) (int64, error) {
	b, closer, err := s.db.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, readError(err)
	}
	defer closer.Close()
	n, err := decodeNumber("counter", b)
	return int64(n), err
}

var _ store.Engine = (*Store)(nil)

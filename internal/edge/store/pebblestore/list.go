package pebblestore

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tandem-call/tandem/internal/store"
)

var _ store.Portable = (*Store)(nil)

// Tables names the tables that have records, as store.Portable says.
func (s *Store) Tables(ctx context.Context) ([]string, error) { return s.names(ctx, recordSpace) }

// Logs names the logs that have entries, as store.Portable says.
func (s *Store) Logs(ctx context.Context) ([]string, error) { return s.names(ctx, logSpace) }

// Counters names the counters, as store.Portable says.
func (s *Store) Counters(ctx context.Context) ([]string, error) { return s.names(ctx, counterSpace) }

// names lists what comes after the first byte of the keys of a space, up to a zero byte or
// to their end. It steps over the other keys of each name.
func (s *Store) names(ctx context.Context, space byte) (names []string, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{space}, UpperBound: []byte{space + 1}})
	if err != nil {
		return nil, readError(err)
	}
	defer it.Close()
	if err := s.barrier(ctx); err != nil {
		return nil, err
	}
	for ok := it.First(); ok; {
		if err := s.usable(ctx); err != nil {
			return nil, err
		}
		name, _, parts := bytes.Cut(it.Key()[1:], []byte{0})
		names = append(names, string(name))
		next := append([]byte{space}, name...)
		if parts {
			next = append(next, 1) // after all that is under the name
		} else {
			next = append(next, 0) // after this key
		}
		ok = it.SeekGE(next)
	}
	if err := it.Error(); err != nil {
		return nil, readError(err)
	}
	return names, nil
}

// Renew implements store.Portable. A store that was made anew has epochs from the clock
// already, see epochs; one that has logs keeps them.
func (s *Store) Renew(context.Context) error { return nil }

// AppendAt is Append of an entry that keeps its time, as store.Portable says.
func (s *Store) AppendAt(ctx context.Context, name string, data []byte, at time.Time) (store.Pending, error) {
	if at.IsZero() {
		return nil, fmt.Errorf("pebblestore: append to %s: no time", name)
	}
	return s.appendEntry(ctx, name, &entry{Entry: store.Entry{Data: data, Time: at}})
}

package natsstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/tandem-call/tandem/internal/store"
)

// The layout of a key-value bucket (NATS ADR-8): stream KV_<bucket>, subjects
// $KV.<bucket>.<key>; a delete is a message with an operation header.
const (
	operation = "KV-Operation"
	// deleted is the operation that the server knows for a marker: it ends by its own sequence alone. After any other one
	// that expires, the server puts a marker of its own, whatever has been written meanwhile.
	deleted = "PURGE"
	// markerLife is how long a delete's marker stays.
	markerLife = time.Hour
)

// scanPage is how many records a scan fetches at once.
const scanPage = 128

func isMarker(m message) bool {
	return m.header.Get(operation) != "" || m.header.Get(jetstream.MarkerReasonHeader) != ""
}

// where names the stream and the subject of a record.
func (s *Store) where(table, key string) (stream, subj string, err error) {
	b, err := bucketName(s.opt.Prefix, table)
	if err != nil {
		return "", "", err
	}
	k, err := subject(key)
	if err != nil {
		return "", "", err
	}
	return "KV_" + b, "$KV." + b + "." + k, nil
}

// bucket returns the stream of a table. With create it is made if need be, else
// store.ErrNotFound.
func (s *Store) bucket(ctx context.Context, table string, create bool) (jetstream.Stream, error) {
	s.mu.Lock()
	st := s.buckets[table]
	s.mu.Unlock()
	if st != nil {
		return st, nil
	}
	b, err := bucketName(s.opt.Prefix, table)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	missing := false
	err = s.retry(ctx, func(try context.Context) (err error) {
		st, err = s.js.Stream(try, "KV_"+b)
		if missing = errors.Is(err, jetstream.ErrStreamNotFound); !missing {
			return err
		}
		if !create {
			return nil
		}
		_, err = s.js.CreateKeyValue(try, jetstream.KeyValueConfig{
			Bucket: b, Description: tableDescription + table, History: 1,
			Storage: jetstream.FileStorage, Replicas: s.opt.Replicas, LimitMarkerTTL: markerLife,
		})
		if err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
			return err
		}
		return errNotYet // look again
	})
	switch {
	case missing && !create:
		return nil, store.ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("natsstore: table %s: %w", table, err)
	}
	s.mu.Lock()
	s.buckets[table] = st
	s.mu.Unlock()
	return st, nil
}

// Get implements [store.Engine].
func (s *Store) Get(ctx context.Context, table, key string) (store.Record, error) {
	if err := s.open(); err != nil {
		return store.Record{}, err
	}
	stream, subj, err := s.where(table, key)
	if err != nil {
		return store.Record{}, err
	}
	if _, err := s.bucket(ctx, table, false); err != nil {
		return store.Record{}, err
	}
	m, err := s.newest(ctx, stream, subj, tableFence(stream))
	switch {
	case errors.Is(err, errMissing), err == nil && isMarker(m):
		return store.Record{}, store.ErrNotFound
	case err != nil:
		return store.Record{}, err
	}
	return store.Record{Key: key, Value: m.data, Rev: store.Rev(m.seq)}, nil
}

// Put implements [store.Engine].
func (s *Store) Put(ctx context.Context, table, key string, value []byte, at store.Rev) (store.Rev, error) {
	if len(value) > store.MaxValue {
		return 0, store.ErrTooLarge
	}
	return s.change(ctx, table, key, at, func(subj string) *nats.Msg {
		return &nats.Msg{Subject: subj, Data: value, Header: nats.Header{}}
	})
}

// Delete implements [store.Engine].
func (s *Store) Delete(ctx context.Context, table, key string, at store.Rev) error {
	if at == 0 {
		if _, err := s.Get(ctx, table, key); err != nil {
			return err
		}
		return store.ErrConflict
	}
	_, err := s.change(ctx, table, key, at, func(subj string) *nats.Msg {
		return &nats.Msg{Subject: subj, Header: nats.Header{
			operation:              {deleted},
			jetstream.MsgTTLHeader: {markerLife.String()},
		}}
	})
	if !errors.Is(err, store.ErrConflict) {
		return err
	}
	if _, got := s.Get(ctx, table, key); errors.Is(got, store.ErrNotFound) {
		return store.ErrNotFound
	}
	return err
}

// change publishes what build returns if the record is at revision at.
func (s *Store) change(ctx context.Context, table, key string, at store.Rev, build func(subj string) *nats.Msg) (store.Rev, error) {
	if err := s.open(); err != nil {
		return 0, err
	}
	stream, subj, err := s.where(table, key)
	if err != nil {
		return 0, err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	if _, err := s.bucket(ctx, table, true); err != nil {
		return 0, err
	}
	expected, id, maybe := uint64(at), nuid.Next(), false
	for {
		seq, lost, err := s.publish(ctx, build(subj), expected, id)
		maybe = maybe || lost
		if err == nil {
			return store.Rev(seq), nil
		}
		if !errors.Is(err, errRefused) {
			return 0, err
		}
		now, err := s.last(ctx, stream, subj)
		if err == nil && now.seq < expected { // perhaps the answer of a leader that is none any more
			now, err = s.newest(store.Linearizable(ctx), stream, subj, tableFence(stream))
		}
		gone := errors.Is(err, errMissing)
		if err != nil && !gone {
			// Refused by another revision or because another change is under way: nobody says which.
			return 0, fmt.Errorf("natsstore: %w (%w)", store.ErrUncertain, err)
		}
		switch {
		case now.header.Get(jetstream.MsgIDHeader) == id:
			// Stored all the same: the answer was lost, or a leader that is none any more was the first to answer.
			return store.Rev(now.seq), nil
		case maybe && now.seq > expected:
			return 0, fmt.Errorf("natsstore: record changed after a lost answer: %w", store.ErrUncertain)
		case at == 0 && (gone || isMarker(now)) && now.seq != expected:
			expected, id, maybe = now.seq, nuid.Next(), false // no record, but the marker of one, or no longer
		case now.seq == expected:
			// Refused because another change is under way, or by a leader that is none any more. ErrConflict
			// would be too early: the caller could still read the record as it was.
			if err := s.rest(ctx); err != nil {
				return 0, fmt.Errorf("natsstore: %w (%w)", store.ErrUncertain, err)
			}
		default:
			return 0, store.ErrConflict
		}
	}
}

// Scan implements [store.Engine]. The keys come from the leader, in one request and
// all in memory (a server sends them in pages of 100,000, see listing); values are fetched in pages.
func (s *Store) Scan(ctx context.Context, table, prefix string) iter.Seq2[store.Record, error] {
	return s.ScanAfter(ctx, table, prefix, "")
}

// ScanAfter implements [store.Engine]: the keys before it are listed too, their values are not read.
func (s *Store) ScanAfter(ctx context.Context, table, prefix, after string) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		if err := s.scan(ctx, table, prefix, after, yield); err != nil {
			yield(store.Record{}, err)
		}
	}
}

func (s *Store) scan(ctx context.Context, table, prefix, after string, yield func(store.Record, error) bool) error {
	if err := s.open(); err != nil {
		return err
	}
	b, err := bucketName(s.opt.Prefix, table)
	if err != nil {
		return err
	}
	root := "$KV." + b + "."
	filter, err := scanFilter(prefix)
	if err != nil {
		return err
	}
	keys, upTo, err := s.keys(ctx, table, root, filter)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	keys = slices.DeleteFunc(keys, func(k string) bool { return !strings.HasPrefix(k, prefix) || after != "" && k <= after })
	slices.Sort(keys)
	for page := range slices.Chunk(keys, scanPage) {
		records, err := s.fetch(ctx, "KV_"+b, root, page, upTo)
		if err != nil {
			return err
		}
		for _, r := range records {
			if !yield(r, nil) {
				return nil
			}
		}
	}
	return nil
}

// keys returns the keys under filter, with those that have only a delete's marker, and
// the sequence that the stream had reached, both from its leader.
func (s *Store) keys(ctx context.Context, table, root, filter string) (keys []string, upTo uint64, err error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	st, err := s.bucket(ctx, table, false)
	if err != nil {
		return nil, 0, err
	}
	var reach uint64
	if store.MomentOf(ctx) != nil {
		if reach, err = s.reach(ctx, root+fenceToken); err != nil {
			return nil, 0, fmt.Errorf("natsstore: prove a scan of %s: %w", table, err)
		}
	}
	list, upTo, err := s.listing(ctx, st.CachedInfo().Config.Name, root+filter, reach)
	if err != nil {
		return nil, 0, fmt.Errorf("natsstore: scan %s: %w", table, err)
	}
	delete(list, root+fenceToken)
	for subj := range list {
		keys = append(keys, name(strings.TrimPrefix(subj, root)))
	}
	return keys, upTo, nil
}

// fetch returns the records that are under keys, in their order, as they were when the
// stream was at upTo or later: from a replica that has come so far, else one by one
// from the leader.
func (s *Store) fetch(ctx context.Context, stream, root string, keys []string, upTo uint64) ([]store.Record, error) {
	subjects := make([]string, len(keys))
	for i, k := range keys {
		subj, err := subject(k)
		if err != nil {
			return nil, err
		}
		subjects[i] = root + subj
	}
	got, reached := s.gather(ctx, stream, getRequest{MultiLast: subjects})
	bySubject := make(map[string]message, len(got))
	if reached >= upTo {
		for _, m := range got {
			bySubject[m.subject] = m
		}
	}
	records := make([]store.Record, 0, len(keys))
	for i, k := range keys {
		m, ok := bySubject[subjects[i]]
		if !ok {
			var err error
			if m, err = s.newest(ctx, stream, subjects[i], tableFence(stream)); errors.Is(err, errMissing) {
				continue
			} else if err != nil {
				return nil, err
			}
		}
		if !isMarker(m) {
			records = append(records, store.Record{Key: k, Value: m.data, Rev: store.Rev(m.seq)})
		}
	}
	return records, nil
}

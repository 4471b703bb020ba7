package natsstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tandem-call/tandem/internal/store"
)

var _ store.Portable = (*Store)(nil)

// tableDescription begins the description of a table's bucket; the table's name follows,
// which the bucket's name need not show: see bucketName.
const tableDescription = "Tandem table "

// Tables implements [store.Portable]. A table without records may be among them.
func (s *Store) Tables(ctx context.Context) (tables []string, err error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	buckets, err := s.streamNames(ctx, "KV_"+s.opt.Prefix+"_")
	if err != nil {
		return nil, fmt.Errorf("natsstore: list tables: %w", err)
	}
	for _, bucket := range buckets {
		var description string
		if err := s.retry(ctx, func(try context.Context) error {
			st, err := s.js.Stream(try, bucket)
			if err == nil {
				description = st.CachedInfo().Config.Description
			}
			return err
		}); err != nil {
			return nil, fmt.Errorf("natsstore: list tables: %s: %w", bucket, err)
		}
		if table, ok := strings.CutPrefix(description, tableDescription); ok {
			tables = append(tables, table)
		}
	}
	slices.Sort(tables)
	return tables, nil
}

// streamNames lists the streams whose names begin with prefix, each once. The names come in pages, between which streams
// that others make or remove move the rest: so they are read until a reading shows nothing new. A listing of the streams
// themselves would not do: it leaves out those that have no leader just now, and shows others twice.
func (s *Store) streamNames(ctx context.Context, prefix string) ([]string, error) {
	found := map[string]bool{}
	for known := -1; known < len(found); {
		known = len(found)
		if err := s.retry(ctx, func(try context.Context) error {
			names := s.js.StreamNames(try)
			for name := range names.Name() {
				if strings.HasPrefix(name, prefix) {
					found[name] = true
				}
			}
			return names.Err()
		}); err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// Logs implements [store.Portable].
func (s *Store) Logs(ctx context.Context) (logs []string, err error) {
	for i := range s.logs {
		names, err := s.subjects(ctx, s.logs[i], fmt.Sprintf("%s.log.%d.", s.opt.Prefix, i))
		if err != nil {
			return nil, err
		}
		logs = append(logs, names...)
	}
	slices.Sort(logs)
	return logs, nil
}

// Counters implements [store.Portable].
func (s *Store) Counters(ctx context.Context) ([]string, error) {
	return s.subjects(ctx, s.count, s.opt.Prefix+".count.")
}

// subjects lists the names under root in a stream, from its leader.
func (s *Store) subjects(ctx context.Context, in stream, root string) (names []string, err error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	var reach uint64
	if store.MomentOf(ctx) != nil && in.fence != "" {
		if reach, err = s.reach(ctx, in.fence); err != nil {
			return nil, fmt.Errorf("natsstore: prove a listing of %s: %w", in.name, err)
		}
	}
	var st jetstream.Stream
	err = s.retry(ctx, func(try context.Context) (err error) {
		st, err = s.js.Stream(try, in.name)
		return err
	})
	var list map[string]uint64
	if err == nil {
		list, _, err = s.listing(ctx, st, root+">", reach)
	}
	if err != nil {
		return nil, fmt.Errorf("natsstore: list %s: %w", in.name, err)
	}
	delete(list, root+fenceToken)
	for subj := range list {
		names = append(names, name(strings.TrimPrefix(subj, root)))
	}
	slices.Sort(names)
	return names, nil
}

// listingPage is how many subjects the server lists at once (nats-server, JSMaxSubjectDetails).
const listingPage = 100_000

// listing asks a stream's leader which subjects there are under a filter, when the stream has reached a sequence, and
// how far it had come. A long list takes its time, so each try has twice the time of the one before. It comes in pages,
// between which what goes away moves the others up: so a list of several pages is read twice, and what either has is in it.
func (s *Store) listing(ctx context.Context, st jetstream.Stream, filter string, reach uint64) (subjects map[string]uint64, upTo uint64, err error) {
	for again := false; ; again = true {
		err = s.retryLonger(ctx, 2, func(try context.Context) error {
			info, err := st.Info(try, jetstream.WithSubjectFilter(filter))
			switch {
			case err != nil:
				return err
			case info.State.LastSeq < reach:
				return errNotYet // a leader that is none any more
			case subjects == nil:
				subjects, upTo = info.State.Subjects, info.State.LastSeq
			default:
				maps.Copy(subjects, info.State.Subjects)
			}
			return nil
		})
		if err != nil || again || len(subjects) < listingPage {
			return subjects, upTo, err
		}
	}
}

// Renew implements [store.Portable]: the base of all epochs becomes the present time. Other
// nodes must not run, since they know the old one.
func (s *Store) Renew(ctx context.Context) error {
	ctx, cancel := s.within(ctx)
	defer cancel()
	for i := range s.logs {
		base := uint64(time.Now().UnixMicro())
		err := s.retry(ctx, func(try context.Context) error {
			st, err := s.js.Stream(try, s.logs[i].name)
			if err != nil {
				return err
			}
			c := st.CachedInfo().Config
			if base <= s.logs[i].epoch {
				return errors.New("natsstore: renew: the clock is behind the epochs of the logs")
			}
			c.Metadata[epochKey] = strconv.FormatUint(base, 10)
			_, err = s.js.UpdateStream(try, c)
			return err
		})
		if err != nil {
			return fmt.Errorf("natsstore: renew %s: %w", s.logs[i].name, err)
		}
		s.logs[i].epoch = base
	}
	return nil
}

// AppendAt implements [store.Portable].
func (s *Store) AppendAt(ctx context.Context, log string, data []byte, at time.Time) (store.Pending, error) {
	if at.IsZero() {
		return nil, fmt.Errorf("natsstore: append to %s: no time", log)
	}
	return s.appendEntry(ctx, log, data, at)
}

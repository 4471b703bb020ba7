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
	list := s.js.ListStreams(ctx)
	for info := range list.Info() {
		table, ok := strings.CutPrefix(info.Config.Description, tableDescription)
		if !ok {
			continue
		}
		if b, err := bucketName(s.opt.Prefix, table); err == nil && info.Config.Name == "KV_"+b {
			tables = append(tables, table)
		}
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("natsstore: list tables: %w", err)
	}
	slices.Sort(tables)
	return tables, nil
}

// Logs implements [store.Portable].
func (s *Store) Logs(ctx context.Context) (logs []string, err error) {
	for i := range s.logs {
		names, err := s.subjects(ctx, s.logs[i].name, fmt.Sprintf("%s.log.%d.", s.opt.Prefix, i))
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
	return s.subjects(ctx, s.count.name, s.opt.Prefix+".count.")
}

// subjects lists the names under root in a stream, from its leader.
func (s *Store) subjects(ctx context.Context, stream, root string) (names []string, err error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	var info *jetstream.StreamInfo
	err = s.retry(ctx, func(try context.Context) error {
		st, err := s.js.Stream(try, stream)
		if err == nil {
			info, err = st.Info(try, jetstream.WithSubjectFilter(root+">"))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("natsstore: list %s: %w", stream, err)
	}
	delete(info.State.Subjects, root+fenceToken)
	for subj := range maps.Keys(info.State.Subjects) {
		names = append(names, name(strings.TrimPrefix(subj, root)))
	}
	slices.Sort(names)
	return names, nil
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

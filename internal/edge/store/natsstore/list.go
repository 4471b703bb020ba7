package natsstore

import (
	"context"
	"encoding/json"
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
	list, _, err := s.listing(ctx, in.name, root+">", reach)
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

// listingOverlap is how many subjects of a page are asked for again with the next one.
const listingOverlap = 1000

// listing asks a stream's leader which subjects there are under a filter, when the stream has reached a sequence, and
// how far it had come. A long list comes in pages, in order, and when subjects go away between two of them, those that follow move up. So each page
// begins within the one before; one that does not is asked for again, from further up. A page takes its time, so each
// try has twice the time of the one before.
func (s *Store) listing(ctx context.Context, stream, filter string, reach uint64) (subjects map[string]uint64, upTo uint64, err error) {
	subjects = map[string]uint64{}
	end, overlap := "", listingOverlap // all subjects up to end are known
	for offset := 0; ; {
		var page listed
		err := s.retryLonger(ctx, 2, func(try context.Context) (err error) {
			page, err = s.listFrom(try, stream, filter, offset)
			if err == nil && page.State.LastSeq < reach {
				err = errNotYet // a leader that is none any more
			}
			return err
		})
		if err != nil {
			return nil, 0, err
		}
		first, last := "", ""
		for subj := range page.State.Subjects {
			if first == "" || subj < first {
				first = subj
			}
			last = max(last, subj)
		}
		if offset > 0 && (first == "" || first > end) {
			overlap *= 2
			offset = max(0, min(offset, page.Total)-overlap)
			continue
		}
		maps.Copy(subjects, page.State.Subjects)
		end, upTo = max(end, last), page.State.LastSeq
		next := offset + len(page.State.Subjects)
		if next >= page.Total {
			return subjects, upTo, nil
		}
		if overlap > len(page.State.Subjects)/2 {
			overlap = len(page.State.Subjects) / 2
		}
		offset = next - overlap
	}
}

// listed is a page of subjects, and how many there are in all.
type listed struct {
	Total int                 `json:"total"`
	Error *jetstream.APIError `json:"error"`
	State struct {
		LastSeq  uint64            `json:"last_seq"`
		Subjects map[string]uint64 `json:"subjects"`
	} `json:"state"`
}

// listFrom asks for a page of the subjects from a place in their order. nats.go would ask for all pages, each from where the one before ended.
func (s *Store) listFrom(try context.Context, stream, filter string, offset int) (page listed, err error) {
	body, err := json.Marshal(struct {
		Filter string `json:"subjects_filter"`
		Offset int    `json:"offset,omitempty"`
	}{filter, offset})
	if err != nil {
		return page, err
	}
	r, err := s.nc.RequestWithContext(try, "$JS.API.STREAM.INFO."+stream, body)
	if err != nil {
		return page, err
	}
	if err := json.Unmarshal(r.Data, &page); err != nil {
		return page, err
	}
	if page.Error != nil {
		return page, page.Error
	}
	return page, nil
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

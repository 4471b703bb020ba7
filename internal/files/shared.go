package files

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// Place is an entry of the index by session: key tenant/session/device/request, so that of
// two nodes that get one request one makes the file.
type Place struct {
	File wire.FileID `json:"file"`
	At   time.Time   `json:"at"`
}

// strayFor is how long an index entry may be without a record: the record follows at once.
const strayFor = time.Hour

func (k requestKey) place() string {
	return store.Key(string(k.tenant), string(k.session), string(k.device), string(k.id))
}

// Reindex makes the index by session of all files, where the records come from a store that
// had none.
func Reindex(ctx context.Context, records Records, by Index) error {
	for item, err := range records.Scan(ctx, "") {
		if err != nil {
			return fmt.Errorf("files: index: %w", err)
		}
		r := item.Value
		if _, err := by.Put(ctx, requestOf(r).place(), Place{File: r.ID, At: r.Created}, 0); err != nil {
			return fmt.Errorf("files: index %s: %w", r.ID, err)
		}
	}
	return nil
}

// createShared is Create where several nodes share the table: the upload is reserved, and
// then measured together with those of others.
func (s *Service) createShared(ctx context.Context, r Record) (_ Record, repeated bool, err error) {
	key := requestOf(r).place()
	for taken := wire.FileID(""); ; {
		p, err := store.Change(ctx, s.c.BySession, key, func(now Place, exists bool) (Place, bool, error) {
			if exists && now.File != taken {
				return now, false, nil
			}
			return Place{File: r.ID, At: r.Created}, true, nil
		})
		if err != nil {
			return r, false, fmt.Errorf("files: create: %w", full(err))
		}
		if p.File == r.ID {
			break
		}
		before, _, err := s.get(ctx, r.Tenant, p.File)
		switch {
		case err == nil && before.Length != r.Length:
			return r, false, fmt.Errorf("%w: id %s was used for a file of another size", ErrConflict, r.Request)
		case !errors.Is(err, ErrNotFound):
			return before, true, err
		}
		taken = p.File // it has gone: the request may be used again
	}
	if err := s.write(ctx, r); err != nil {
		return r, false, err // the sweep removes the index entry
	}
	others, err := s.others(ctx, r)
	if err == nil {
		err = s.room(others, r)
	}
	if err != nil {
		return r, false, errors.Join(err, s.remove(context.WithoutCancel(ctx), r))
	}
	return r, false, nil
}

// others counts the session's other files.
func (s *Service) others(ctx context.Context, r Record) (*ledger, error) {
	ids, err := s.idsOf(ctx, sessionKey{r.Tenant, r.Session})
	if err != nil {
		return nil, err
	}
	l := newLedger()
	for _, id := range ids {
		if id == r.ID {
			continue
		}
		other, _, err := s.get(ctx, r.Tenant, id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		l.set(other)
	}
	return l, nil
}

// idsOf lists a session's files.
func (s *Service) idsOf(ctx context.Context, k sessionKey) ([]wire.FileID, error) {
	if s.c.BySession == nil {
		return s.ledger.bySession(k), nil
	}
	var ids []wire.FileID
	for item, err := range s.c.BySession.Scan(ctx, store.Key(string(k.tenant), string(k.session))+"/") {
		if err != nil {
			return nil, fmt.Errorf("files: session %s: %w", k.session, err)
		}
		ids = append(ids, item.Value.File)
	}
	return ids, nil
}

// takeOver makes this request the one that may append, where nodes share the table.
func (s *Service) takeOver(ctx context.Context, r Record, at int64) (Record, error) {
	if s.c.BySession == nil {
		return r, nil
	}
	writer := wire.NewID("w")
	return s.change(ctx, r, func(now *Record) error {
		if now.Offset != at || now.State != Uploading {
			return fmt.Errorf("%w: the upload is at offset %d", ErrConflict, now.Offset)
		}
		now.Writer = writer
		return nil
	})
}

// forget takes a file whose record has gone out of the ledger or the index.
func (s *Service) forget(ctx context.Context, r Record) error {
	if s.c.BySession == nil {
		s.ledger.drop(r.ID)
		return nil
	}
	key := requestOf(r).place()
	p, rev, err := s.c.BySession.Get(ctx, key)
	if err == nil && p.File == r.ID {
		err = s.c.BySession.Delete(ctx, key, rev)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("files: remove %s: %w", r.ID, err)
	}
	return nil
}

// places reads the whole index, by key.
func (s *Service) places(ctx context.Context) (map[string]store.Item[Place], error) {
	if s.c.BySession == nil {
		return nil, nil
	}
	all := map[string]store.Item[Place]{}
	for item, err := range s.c.BySession.Scan(ctx, "") {
		if err != nil {
			return nil, fmt.Errorf("files: read the index: %w", err)
		}
		all[item.Key] = item
	}
	return all, nil
}

// placed sees that a record is in the index: one that was imported is not.
func (s *Service) placed(ctx context.Context, r Record, index map[string]store.Item[Place]) error {
	key := requestOf(r).place()
	if _, ok := index[key]; ok || s.c.BySession == nil || r.State == Removed {
		return nil
	}
	_, err := store.Change(ctx, s.c.BySession, key, func(now Place, exists bool) (Place, bool, error) {
		return Place{File: r.ID, At: r.Created}, !exists, nil
	})
	if err != nil {
		return fmt.Errorf("files: index of %s: %w", r.ID, err)
	}
	return nil
}

// sweepIndex removes the entries whose record was never written.
func (s *Service) sweepIndex(ctx context.Context, index map[string]store.Item[Place], known map[wire.FileID]bool) error {
	var faults []error
	for key, item := range index {
		if known[item.Value.File] || time.Since(item.Value.At) < strayFor {
			continue
		}
		err := s.c.BySession.Delete(ctx, key, item.Rev)
		if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) {
			faults = append(faults, fmt.Errorf("files: index entry of %s: %w", item.Value.File, err))
		}
	}
	return errors.Join(faults...)
}

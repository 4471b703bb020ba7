package files

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// Run sweeps at once and then every SweepEvery, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(s.c.SweepEvery)
	defer tick.Stop()
	for {
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.c.Log.Error("sweep of files", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Sweep completes what was cut short (uploads to describe, offers to make, removals) and
// removes what has expired: unfinished uploads, files of sessions no longer kept, bytes
// that no record knows. Files in use at the moment are left to the next sweep. One
// file's failure does not stop it; the errors come joined.
func (s *Service) Sweep(ctx context.Context) error {
	var faults []error
	kept := map[sessionKey]bool{}
	known := map[wire.FileID]bool{}
	index, err := s.places(ctx)
	if err != nil {
		return err
	}
	for item, err := range s.c.Records.Scan(ctx, "") {
		if err != nil {
			return errors.Join(append(faults, fmt.Errorf("files: read the table: %w", err))...)
		}
		r := item.Value
		known[r.ID] = true
		if err := s.placed(ctx, r, index); err != nil {
			faults = append(faults, err)
		}
		k := sessionKey{r.Tenant, r.Session}
		if _, known := kept[k]; !known {
			if kept[k], err = s.c.Access.Kept(ctx, r.Tenant, r.Session); err != nil {
				faults = append(faults, fmt.Errorf("files: session %s: %w", r.Session, err))
				kept[k] = true
			}
		}
		if err := s.sweepOne(ctx, r, kept[k]); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(append(faults, s.sweepIndex(ctx, index, known), s.sweepDisk(known))...)
}

func (s *Service) sweepOne(ctx context.Context, seen Record, kept bool) error {
	unlock, ok := s.locks.try(seen.ID)
	if !ok {
		return nil
	}
	defer unlock()
	r, _, err := s.c.Records.Get(ctx, seen.key())
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("files: %w", err)
	}
	now := time.Now()
	switch {
	case r.State == Removed, !kept, r.expired(now):
		return s.remove(ctx, r)
	case r.State == Uploading && r.Complete(), r.State == Stored && !r.Offered:
		err := s.finish(ctx, r)
		if errors.Is(err, ErrDamaged) && !now.Before(r.Expires) {
			// Unless another node has finished it, and taken the part away.
			if now, _, gerr := s.get(ctx, r.Tenant, r.ID); gerr == nil && now.State == Stored {
				return nil
			}
			return errors.Join(err, s.remove(ctx, r))
		}
		if errors.Is(err, ErrClosed) || errors.Is(err, ErrNotMember) || errors.Is(err, ErrDamagedPicture) {
			s.c.Log.Info("file could not be offered and was removed", "file", r.ID, "session", r.Session, "reason", err)
			return nil
		}
		return err
	}
	return nil
}

// sweepDisk removes bytes without a record, such as those of a database that was put
// back from a backup, once they are older than an upload can be. known has every record:
// what was made since is young.
func (s *Service) sweepDisk(known map[wire.FileID]bool) error {
	var faults []error
	for id, changed := range s.c.Disk.List() {
		if known[id] || time.Since(changed) < s.c.UnfinishedFor {
			continue
		}
		if err := s.c.Disk.Remove(id, Parts, Contents, Previews); err != nil {
			faults = append(faults, fmt.Errorf("files: remove %s, which has no record: %w", id, err))
			continue
		}
		s.c.Log.Warn("removed bytes without a record", "file", id)
	}
	return errors.Join(faults...)
}

// DropSession removes a session's files: to be called when its log is dropped. Files in
// use at the moment are left to the sweep, which asks Access.Kept.
func (s *Service) DropSession(ctx context.Context, tenant wire.TenantID, session wire.SessionID) error {
	var faults []error
	ids, err := s.idsOf(ctx, sessionKey{tenant, session})
	if err != nil {
		return err
	}
	for _, id := range ids {
		faults = append(faults, s.sweepOne(ctx, Record{ID: id, Tenant: tenant, Session: session}, false))
	}
	return errors.Join(faults...)
}

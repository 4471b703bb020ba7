package files

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// Limits of files. A zero field means its default.
type Limits struct {
	// FileBytes is the largest file. Default: wire.DefaultLimits.FileBytes.
	FileBytes int64
	// SessionBytes is the most that one session may hold. Default: 2 GiB.
	SessionBytes int64
	// TenantBytes is the most that one tenant may hold. Default: no limit but the disk.
	TenantBytes int64
	// DeviceUploads is the most unfinished uploads of one device. Default: 16.
	DeviceUploads int
	// Headroom is what must stay free on the disk, in bytes. Default: 256 MiB.
	Headroom int64
	// Pixels of the largest picture that is decoded for a preview. Default: 50 million.
	Pixels int64
}

// Config of a Service.
type Config struct {
	Records Records // required; store.TableOf[Record](engine, "files")
	// BySession is needed where several nodes share table and disk: the limits are then
	// kept by it, store.TableOf[Place](engine, "files-by-session"). Nil: this Service is
	// the only one, and counts in memory.
	BySession Index
	Disk      Disk   // required
	Access    Access // required
	Offer     Offer  // required
	// Progress is told at most every 250 ms per upload, and must not block. Nil: nobody is.
	Progress func(Progress)
	Limits   Limits
	// UnfinishedFor is how long an upload may take. Default: 24 hours.
	UnfinishedFor time.Duration
	// SweepEvery is the time between two sweeps. Default: 10 minutes.
	SweepEvery time.Duration
	// PreviewWorkers is how many pictures are decoded at once; one of 50 million pixels
	// takes up to 400 MB. Default: 1.
	PreviewWorkers int
	Log            *slog.Logger // required
}

// Service applies the rules. Its methods may be called from several goroutines.
type Service struct {
	// Fixed after construction.
	c        Config
	previews chan struct{} // a slot for each picture being decoded

	ledger *ledger // unused where nodes share the table
	locks  keyLock
	// creating serialises the check of the limits with the reservation.
	creating sync.Mutex
}

// Open returns the Service over what is in the table. It changes nothing; Run completes
// what a crash left undone.
func Open(ctx context.Context, c Config) (*Service, error) {
	if c.Records == nil || c.Disk == nil || c.Access == nil || c.Offer == nil || c.Log == nil {
		return nil, errors.New("files: Config needs Records, Disk, Access, Offer and Log")
	}
	l := &c.Limits
	for _, f := range []struct {
		v   *int64
		def int64
	}{
		{&l.FileBytes, wire.DefaultLimits.FileBytes}, {&l.SessionBytes, 2 << 30}, {&l.TenantBytes, 1 << 62},
		{&l.Headroom, 256 << 20}, {&l.Pixels, 50_000_000},
		{(*int64)(&c.UnfinishedFor), int64(24 * time.Hour)}, {(*int64)(&c.SweepEvery), int64(10 * time.Minute)},
	} {
		if *f.v < 0 {
			return nil, errors.New("files: a limit or time in Config is negative")
		}
		if *f.v == 0 {
			*f.v = f.def
		}
	}
	if l.DeviceUploads < 0 || c.PreviewWorkers < 0 {
		return nil, errors.New("files: a limit in Config is negative")
	}
	if l.DeviceUploads == 0 {
		l.DeviceUploads = 16
	}
	if c.PreviewWorkers == 0 {
		c.PreviewWorkers = 1
	}
	s := &Service{c: c, ledger: newLedger(), previews: make(chan struct{}, c.PreviewWorkers)}
	if c.BySession != nil {
		return s, nil
	}
	for item, err := range c.Records.Scan(ctx, "") {
		if err != nil {
			return nil, fmt.Errorf("files: read the table: %w", err)
		}
		s.ledger.set(item.Value)
	}
	return s, nil
}

// MaxBytes is the largest file.
func (s *Service) MaxBytes() int64 { return s.c.Limits.FileBytes }

// get returns a file's record. ErrNotFound.
func (s *Service) get(ctx context.Context, tenant wire.TenantID, id wire.FileID) (Record, store.Rev, error) {
	if !wire.ValidID(string(id)) {
		return Record{}, 0, ErrNotFound
	}
	r, rev, err := s.c.Records.Get(ctx, key(tenant, id))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return r, 0, ErrNotFound
	case err != nil:
		return r, 0, fmt.Errorf("files: %w", err)
	case r.State == Removed:
		return r, rev, ErrNotFound
	}
	return r, rev, nil
}

// change writes a record anew, and the ledger with it. ErrNotFound if it has gone, or the
// error of edit. The caller holds the file's lock, so nobody else on this node changes it
// meanwhile.
func (s *Service) change(ctx context.Context, r Record, edit func(*Record) error) (Record, error) {
	next, err := store.Change(ctx, s.c.Records, r.key(), func(now Record, exists bool) (Record, bool, error) {
		if !exists || now.State == Removed {
			return now, false, ErrNotFound
		}
		err := edit(&now)
		return now, err == nil, err
	})
	if err != nil {
		return r, fmt.Errorf("files: record %s: %w", r.ID, full(err))
	}
	if s.c.BySession == nil {
		s.ledger.set(next)
	}
	return next, nil
}

// full makes the engine's want of room ours.
func full(err error) error {
	if errors.Is(err, store.ErrFull) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// hold takes a file's lock.
func (s *Service) hold(ctx context.Context, id wire.FileID) (unlock func(), err error) {
	unlock, ok := s.locks.lock(ctx.Done(), id)
	if !ok {
		return nil, fmt.Errorf("files: wait for %s: %w", id, context.Cause(ctx))
	}
	return unlock, nil
}

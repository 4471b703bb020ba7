package pebblestore

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// memTables is how many of them there may be until writes wait. Pebble keeps one log file
// more than that, to write over.
const memTables = 4

// Compact rewrites the data without what was deleted, so that it is not in the files
// either, and returns when that is done. It reads and writes everything, and needs as
// much room again as the largest level takes; writes go on meanwhile. What a file system or
// a disk keeps of a deleted file is beyond it, and so are backups.
func (s *Store) Compact(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := s.barrier(ctx); err != nil {
		return err
	}
	s.options.scrub.Add(1)
	defer s.options.scrub.Add(-1)
	err := s.db.Flush()
	if err == nil {
		err = s.db.Compact(ctx, []byte{0}, []byte{0xff, 0xff}, false)
	}
	if err == nil {
		err = s.renewFiles(ctx)
	}
	if err != nil {
		return fmt.Errorf("pebblestore: compact: %w", err)
	}
	return nil
}

// renewFiles flushes until no file is left that was written before: each flush begins a
// new log file in the place of an old one, which goes, and adds to the manifest, which
// names the keys at the bounds of files. Pebble writes the manifest anew after as many
// changes as there are files, and keeps the one before.
func (s *Store) renewFiles(ctx context.Context) error {
	last, err := s.manifest()
	renewed := 0
	for n := 0; err == nil && (n <= memTables+1 || renewed < 2); n++ {
		if err = ctx.Err(); err != nil {
			return err
		}
		if err = s.db.Set(scrubKey, number(uint64(n)), pebble.NoSync); err == nil {
			err = s.db.Flush()
		}
		now := last
		if err == nil {
			now, err = s.manifest()
		}
		if now != last {
			last, renewed = now, renewed+1
		}
	}
	return err
}

// manifest returns the name of the newest manifest.
func (s *Store) manifest() (newest string, err error) {
	names, err := s.options.fs.List(s.options.path(databaseDir))
	for _, name := range names {
		longer := len(name) > len(newest) // numbers have six digits, or more
		if strings.HasPrefix(name, "MANIFEST-") && (longer || len(name) == len(newest) && name > newest) {
			newest = name
		}
	}
	return newest, err
}

// scrubbing is a file system on which Pebble's old log files are not written over but
// removed while scrub is above zero: beyond the new end their bytes would stay.
type scrubbing struct {
	vfs.FS
	scrub *atomic.Int32
}

// ReuseForWrite implements vfs.FS.
func (f scrubbing) ReuseForWrite(old, fresh string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if f.scrub.Load() == 0 {
		return f.FS.ReuseForWrite(old, fresh, category)
	}
	if err := f.Remove(old); err != nil {
		return nil, err
	}
	return f.Create(fresh, category)
}

// Unwrap implements vfs.FS.
func (f scrubbing) Unwrap() vfs.FS { return f.FS }

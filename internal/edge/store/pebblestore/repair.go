package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"

	"github.com/tandem-call/tandem/internal/store"
)

// Loss says whether a repair may give up acknowledged data.
type Loss bool

// AcceptLoss lets a repair give up acknowledged data.
const AcceptLoss Loss = true

// Repaired is what a repair did.
type Repaired struct {
	Acknowledged uint64   // the last change that the witness knows of, zero if it is lost
	Kept         uint64   // the last change that is still there
	SetAside     []string // files, or ends of files, that were moved into the folder "lost"
}

// Repair makes a store open again whose log files have lost changes or whose witness
// file is missing or damaged. Without AcceptLoss it only says what is wrong: an error
// that is store.ErrDamaged, or nil. Log files are cut where they are unreadable; what
// is behind is set aside. Numbers that the lost changes had are not given out again,
// and all logs get a new epoch. Damaged or missing table files are beyond it: restore a
// backup.
func Repair(ctx context.Context, o Options, accept Loss) (Repaired, error) {
	var done Repaired
	o, err := o.complete()
	if err != nil {
		return done, err
	}
	if state, err := readState(o); err != nil {
		return done, err
	} else if state != "" && state != stateReady {
		return done, mustBeReady(o)
	}
	if _, err := o.fs.Stat(o.path(databaseDir)); err != nil {
		return done, fmt.Errorf("pebblestore: %s holds no data to be repaired: %w", o.Dir, err)
	}
	lock, err := lockDir(o)
	if err != nil {
		return done, err
	}
	err = done.repair(ctx, o, accept)
	return done, errors.Join(err, lock.Close())
}

func (done *Repaired) repair(ctx context.Context, o Options, accept Loss) error {
	said, err := readTestimony(o.fs, o.Dir)
	wrong := errors.Join(mustBeReady(o), err)
	done.Acknowledged = said.commit
	m, err := peek(o)
	done.Kept = m.commit
	wrong = errors.Join(wrong, err, said.check(m))
	if wrong == nil || accept != AcceptLoss {
		return wrong
	}
	if errors.Is(err, errUnopenable) {
		if err := done.cutLogs(ctx, o); err != nil {
			return err
		}
		if m, err = peek(o); errors.Is(err, errUnopenable) {
			return err
		}
		done.Kept = m.commit
	}
	o.Log.Warn("repairing with the loss of acknowledged changes", "acknowledged", said.commit, "kept", m.commit, "reason", wrong)
	return renew(o, m, said)
}

// errUnopenable: Pebble itself refuses the database.
var errUnopenable = errors.New("pebblestore: the database does not open")

// peek reads the store's numbers without changing anything. They are zero where the
// database opens but has none.
func peek(o Options) (meta, error) {
	db, err := readPebble(o)
	if err != nil {
		return meta{}, fmt.Errorf("%w: %w", errUnopenable, err)
	}
	m, err := loadMeta(db)
	return m, errors.Join(err, db.Close())
}

// renew begins a new life of a store over the same data: with numbers and epochs beyond
// whatever was given out before.
func renew(o Options, m meta, said testimony) error {
	db, err := openPebble(o, func(error) {})
	if err != nil {
		return err
	}
	// Neither the witness nor a backup knows of the very last changes: leave room for
	// more than can have been made.
	m.commit = beyond(max(m.commit, said.commit) + 1<<32)
	m.epoch = beyond(max(m.epoch, said.epoch))
	m.floor = m.epoch
	err = errors.Join(saveMeta(db, m), db.Close())
	if err == nil {
		err = writeFile(o.fs, o.path(witnessFile), testimony{commit: m.commit, epoch: m.epoch, clean: true}.String())
	}
	if err == nil {
		err = writeFile(o.fs, o.path(formatFile), stateReady)
	}
	if err != nil {
		return fmt.Errorf("pebblestore: %w", err)
	}
	return nil
}

// cutLogs cuts the log files at the first place that cannot be read and sets aside what
// comes after: a hole in the changes would be worse than their end.
func (done *Repaired) cutLogs(ctx context.Context, o Options) error {
	dir := o.path(databaseDir)
	names, err := o.fs.List(dir)
	if err != nil {
		return fmt.Errorf("pebblestore: %w", err)
	}
	slices.Sort(names)
	lost := o.fs.PathJoin(o.path(lostDir), time.Now().UTC().Format("20060102-150405"))
	cut := false
	for _, name := range names {
		num, _, ok := wal.ParseLogFilename(name)
		if !ok {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		path := o.fs.PathJoin(dir, name)
		good, err := readable(o.fs, path, uint64(num))
		if err != nil {
			return fmt.Errorf("pebblestore: %w", err)
		}
		if good < 0 && !cut {
			continue
		}
		if err := makeDir(o.fs, lost); err != nil {
			return fmt.Errorf("pebblestore: %w", err)
		}
		aside := o.fs.PathJoin(lost, name)
		if err := o.fs.Rename(path, aside); err != nil {
			return fmt.Errorf("pebblestore: %w", err)
		}
		done.SetAside = append(done.SetAside, aside)
		if !cut {
			if err := copyPart(o.fs, aside, path, good); err != nil {
				return fmt.Errorf("pebblestore: %w", err)
			}
		}
		cut = true
	}
	if !cut {
		return fmt.Errorf("pebblestore: the log files are readable, but the database does not open; restore a backup: %w", store.ErrDamaged)
	}
	return errors.Join(syncDir(o.fs, dir), syncDir(o.fs, lost))
}

// readable returns up to where a log file can be read, or -1 if that is its end. An end
// in mid-record is an end: so it looks after a crash.
func readable(files vfs.FS, path string, num uint64) (int64, error) {
	f, err := files.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r := newRecordReader(record.NewReader, f, num)
	for {
		at := r.Offset()
		next, err := r.Next()
		if err == nil {
			_, err = io.Copy(io.Discard, next)
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), errors.Is(err, record.ErrUnexpectedEOF):
			return -1, nil
		case errors.Is(err, record.ErrInvalidChunk), errors.Is(err, record.ErrZeroedChunk):
			return at, nil
		default:
			return 0, err
		}
	}
}

// newRecordReader calls record.NewReader, whose second parameter is of a type that only
// Pebble can name.
func newRecordReader[N ~uint64](make func(io.Reader, N) *record.Reader, r io.Reader, num uint64) *record.Reader {
	return make(r, N(num))
}

func copyPart(files vfs.FS, from, to string, n int64) error {
	src, err := files.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := files.Create(to, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.CopyN(dst, src, n)
	return errors.Join(err, dst.Sync(), dst.Close())
}

package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sync/semaphore"

	"github.com/tandem-call/tandem/internal/store"
)

// Open opens the store in a directory, or makes one where there is nothing.
//
// It refuses a directory that another process has open (store.ErrLocked), that is not a
// store's, and one in which acknowledged data is missing (store.ErrDamaged); see
// [Repair]. Never does it start empty where there was data.
func Open(o Options) (*Store, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(o)
	if err != nil {
		return nil, err
	}
	s, err := openLocked(o, lock)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

func lockDir(o Options) (*pebble.Lock, error) {
	if err := makeDir(o.fs, o.Dir); err != nil {
		return nil, fmt.Errorf("pebblestore: %w", err)
	}
	lock, err := pebble.LockDirectory(o.Dir, o.fs)
	if err != nil {
		return nil, fmt.Errorf("pebblestore: %s: %w (%w)", o.Dir, store.ErrLocked, err)
	}
	return lock, nil
}

func openLocked(o Options, lock *pebble.Lock) (*Store, error) {
	s := &Store{
		options:  o,
		lock:     lock,
		queued:   semaphore.NewWeighted(maxQueued),
		table:    newTable(),
		rosters:  newRosters(),
		counters: counters{active: map[string]*counter{}},
		bus:      bus{exact: map[string]subscribers{}, below: map[string]subscribers{}},
		space:    &space{dir: o.Dir, headroom: o.Headroom, read: o.free},
		gate:     gate{empty: make(chan struct{})},
	}
	s.logs = newLogs(s)
	state, err := directoryState(o)
	if err != nil {
		return nil, err
	}
	var said testimony
	if state == stateReady {
		said, err = s.openData()
	} else {
		said, err = s.createData()
	}
	if err == nil {
		err = s.start(said)
	}
	if err != nil {
		if s.db != nil {
			err = errors.Join(err, s.db.Close())
		}
		return nil, err
	}
	return s, nil
}

// openData opens the database of a store that is there.
func (s *Store) openData() (testimony, error) {
	said, err := readTestimony(s.options.fs, s.options.Dir)
	if err != nil {
		return said, err
	}
	// Look before opening: opening for real gives up what is left of the log files.
	if err := check(s.options, said); err != nil {
		return said, err
	}
	s.db, err = openPebble(s.options, s.pebbleFailed)
	return said, err
}

// createData makes an empty store. Interrupted, it starts anew the next time.
func (s *Store) createData() (testimony, error) {
	o := s.options
	said := testimony{epoch: beyond(0), clean: true}
	err := writeFile(o.fs, o.path(formatFile), stateCreating)
	if err == nil {
		err = errors.Join(o.fs.RemoveAll(o.path(databaseDir)), o.fs.RemoveAll(o.path(witnessFile)))
	}
	if err == nil {
		p := o.pebble(s.pebbleFailed)
		p.ErrorIfExists = true
		s.db, err = pebble.Open(o.path(databaseDir), p)
	}
	if err == nil {
		err = saveMeta(s.db, meta{epoch: said.epoch, floor: said.epoch})
	}
	if err == nil {
		err = writeFile(o.fs, o.path(witnessFile), said.String())
	}
	if err == nil {
		err = writeFile(o.fs, o.path(formatFile), stateReady)
	}
	if err != nil {
		return said, fmt.Errorf("pebblestore: create: %w", err)
	}
	return said, nil
}

// pebbleFailed hears of an error after which Pebble ends the process.
func (s *Store) pebbleFailed(err error) {
	if s.commits != nil {
		s.commits.fail(err)
	}
}

// directoryState says whether there is a store to be opened (stateReady) or one to be
// made (stateCreating); anything else is an error.
func directoryState(o Options) (string, error) {
	state, err := readState(o)
	if err != nil {
		return "", err
	}
	switch state {
	case stateReady, stateCreating:
		return state, nil
	case stateRestoring:
		return "", fmt.Errorf("pebblestore: %s: a restore was interrupted; remove the directory and restore again: %w", o.Dir, store.ErrDamaged)
	case "":
		names, err := contents(o.fs, o.Dir)
		if err != nil {
			return "", fmt.Errorf("pebblestore: %w", err)
		}
		if len(names) == 0 {
			return stateCreating, nil
		}
		return "", foreign(o, names)
	default:
		return "", fmt.Errorf("pebblestore: %s has another format: its file %s says %.40q", o.Dir, formatFile, state)
	}
}

// foreign says what is wrong with a directory that has content but no format file.
func foreign(o Options, names []string) error {
	switch {
	case slices.Contains(names, manifestFile):
		return fmt.Errorf("pebblestore: %s is a backup; it must be restored, not opened", o.Dir)
	case slices.Contains(names, databaseDir), slices.Contains(names, witnessFile):
		return fmt.Errorf("pebblestore: %s holds data, but its file %s is missing: %w", o.Dir, formatFile, store.ErrDamaged)
	default:
		return fmt.Errorf("pebblestore: %s is not empty and not a data directory of Tandem", o.Dir)
	}
}

// readState returns what the format file says, "" where there is none.
func readState(o Options) (string, error) {
	state, err := readFile(o.fs, o.path(formatFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("pebblestore: %w", err)
	}
	return state, nil
}

// openPebble opens the existing database. What is missing or unreadable is
// store.ErrDamaged.
func openPebble(o Options, onFatal func(error)) (*pebble.DB, error) {
	p := o.pebble(onFatal)
	p.ErrorIfNotExists = true
	db, err := pebble.Open(o.path(databaseDir), p)
	return db, openError(err)
}

// readPebble opens the existing database for reading; its files stay as they are.
func readPebble(o Options) (*pebble.DB, error) {
	p := o.pebble(func(error) {})
	p.ErrorIfNotExists = true
	p.ReadOnly = true
	db, err := pebble.Open(o.path(databaseDir), p)
	return db, openError(err)
}

func openError(err error) error {
	switch {
	case err == nil:
		return nil
	case pebble.IsCorruptionError(err), errors.Is(err, fs.ErrNotExist), errors.Is(err, pebble.ErrDBDoesNotExist):
		return fmt.Errorf("pebblestore: %w: %w", store.ErrDamaged, err)
	default:
		return fmt.Errorf("pebblestore: %w", err)
	}
}

// check compares what the database has with what the witness says.
func check(o Options, said testimony) error {
	db, err := readPebble(o)
	if err != nil {
		return err
	}
	m, err := loadMeta(db)
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	return said.check(m)
}

// check returns store.ErrDamaged if the database has less than what was acknowledged.
func (t testimony) check(m meta) error {
	if m.commit < t.commit {
		return fmt.Errorf("pebblestore: the data ends at change %d, but %d was acknowledged; restore a backup, or accept the loss with a repair: %w",
			m.commit, t.commit, store.ErrDamaged)
	}
	return nil
}

// start begins a new run of a store whose data has been checked.
func (s *Store) start(said testimony) error {
	m, err := loadMeta(s.db)
	if err != nil {
		return err
	}
	if !said.clean {
		m.floor = beyond(max(m.epoch, said.epoch))
		m.epoch = m.floor
		if err := saveMeta(s.db, m); err != nil {
			return fmt.Errorf("pebblestore: %w", err)
		}
		s.options.Log.Info("the store was not closed in good order; logs get a new epoch", "epoch", m.epoch)
	}
	s.epochs.last, s.epochs.floor = m.epoch, m.floor
	s.epochs.now.Store(m.epoch)
	s.witness = &witness{
		files: s.options.fs,
		dir:   s.options.Dir,
		epoch: s.epochs.now.Load,
		sync:  s.syncRelaxed,
		log:   func(err error) { s.options.Log.Error("writes are refused", "error", err) },
	}
	if err := s.witness.write(testimony{commit: m.commit, epoch: m.epoch}); err != nil {
		return fmt.Errorf("pebblestore: %w", err)
	}
	s.witness.noted.Store(m.commit)
	s.witness.done.Store(m.commit)
	s.witness.start()
	if err := s.rosters.load(s.db); err != nil { // whoever reads it is told, too
		s.options.Log.Error("a table cannot be read", "err", err)
	}
	s.delivery = newDelivery(runtime.GOMAXPROCS(0))
	s.commits = newCommitter(s.db, m.commit, s.options.Relaxed, s.witness.note)
	return nil
}

// syncRelaxed makes durable what was acknowledged without it, so that the witness says
// nothing that is not on the disk.
func (s *Store) syncRelaxed() error {
	if !s.options.Relaxed {
		return nil
	}
	return s.db.LogData(nil, pebble.Sync)
}

// beyond returns a number greater than the last, and than any that was given out before
// now: the microseconds since 1970.
func beyond(last uint64) uint64 { return max(last+1, uint64(time.Now().UnixMicro())) }

// meta is what Pebble holds about the store itself.
type meta struct {
	commit uint64 // number of the last change
	epoch  uint64 // the last epoch given out
	floor  uint64 // the epoch of the last unclean start
}

func loadMeta(db *pebble.DB) (m meta, err error) {
	for key, n := range map[string]int{string(commitKey): 8, string(epochKey): 16} {
		b, closer, err := db.Get([]byte(key))
		if errors.Is(err, pebble.ErrNotFound) {
			// The store's first log file is gone, and all with it.
			return meta{}, fmt.Errorf("pebblestore: there is no record of the last change: %w", store.ErrDamaged)
		}
		if err != nil {
			return meta{}, readError(err)
		}
		if len(b) != n {
			return meta{}, errors.Join(fmt.Errorf("pebblestore: record of the last change of %d bytes: %w", len(b), store.ErrDamaged), closer.Close())
		}
		if n == 8 {
			m.commit = binary.BigEndian.Uint64(b)
		} else {
			m.epoch, m.floor = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
		}
		if err := closer.Close(); err != nil {
			return meta{}, readError(err)
		}
	}
	return m, nil
}

func saveMeta(db *pebble.DB, m meta) error {
	b := db.NewBatch()
	return errors.Join(
		b.Set(commitKey, number(m.commit), nil),
		b.Set(epochKey, append(number(m.epoch), number(m.floor)...), nil),
		b.Commit(pebble.Sync))
}

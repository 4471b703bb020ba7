package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tandem-call/tandem/internal/store"
)

// Report is what Verify found.
type Report struct {
	Commit   uint64 // number of the last change in the data
	Witness  uint64 // at least this change was acknowledged
	Clean    bool   // the store was closed in good order
	Tables   int    // table files read, each block against its checksum
	Records  int
	Logs     int
	Entries  int // of all logs
	Counters int
	Bytes    int64 // of keys and values
}

// Verify reads everything in a closed store and changes nothing: each block of each
// table file against its checksum, then each record, log and counter. Flipped bits in a
// table are found in no other way before the data is needed. What is wrong comes back
// as errors that are store.ErrDamaged, joined, with a report of what could be read.
func Verify(ctx context.Context, o Options) (Report, error) {
	var r Report
	o, err := o.complete()
	if err != nil {
		return r, err
	}
	if err := mustBeReady(o); err != nil {
		return r, err
	}
	lock, err := lockDir(o)
	if err != nil {
		return r, err
	}
	err = r.verify(ctx, o)
	return r, errors.Join(err, lock.Close())
}

func mustBeReady(o Options) error {
	state, err := readState(o)
	if err != nil {
		return err
	}
	if state == "" {
		names, err := contents(o.fs, o.Dir)
		if err != nil {
			return fmt.Errorf("pebblestore: %w", err)
		}
		return foreign(o, names)
	}
	if state != stateReady {
		return fmt.Errorf("pebblestore: %s: its file %s says %.40q", o.Dir, formatFile, state)
	}
	return nil
}

func (r *Report) verify(ctx context.Context, o Options) error {
	said, err := readTestimony(o.fs, o.Dir)
	r.Witness, r.Clean = said.commit, said.clean
	problems := []error{err, r.verifyTables(ctx, o)}
	db, err := readPebble(o)
	if err != nil {
		return errors.Join(append(problems, err)...)
	}
	m, err := loadMeta(db)
	r.Commit = m.commit
	problems = append(problems, err, said.check(m), r.verifyContent(ctx, db, m), db.Close())
	return errors.Join(problems...)
}

// verifyTables reads all blocks of all table files.
func (r *Report) verifyTables(ctx context.Context, o Options) error {
	dir := o.path(databaseDir)
	names, err := o.fs.List(dir)
	if err != nil {
		return openError(err)
	}
	var problems []error
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		r.Tables++
		if err := verifyTable(ctx, o, o.fs.PathJoin(dir, name)); err != nil {
			problems = append(problems, fmt.Errorf("pebblestore: table file %s: %w: %w", name, store.ErrDamaged, err))
		}
	}
	return errors.Join(problems...)
}

func verifyTable(ctx context.Context, o Options, path string) (err error) {
	f, err := o.fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	t, err := sstable.NewReader(ctx, readable, o.pebble(func(error) {}).MakeReaderOptions())
	if err != nil {
		return errors.Join(err, readable.Close())
	}
	return errors.Join(t.ValidateBlockChecksums(), t.Close())
}

// maxProblems bounds the list of what is wrong in the content.
const maxProblems = 100

// verifyContent reads all keys and values.
func (r *Report) verifyContent(ctx context.Context, db *pebble.DB, m meta) error {
	it, err := db.NewIter(nil)
	if err != nil {
		return readError(err)
	}
	var problems []error
	var log logCheck
	for ok := it.First(); ok && len(problems) < maxProblems; ok = it.Next() {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, it.Close())
		}
		value, err := it.ValueAndErr()
		if err == nil {
			r.Bytes += int64(len(it.Key()) + len(value))
			err = r.verifyKey(it.Key(), value, m, &log)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("pebblestore: key %q: %w: %w", it.Key(), store.ErrDamaged, err))
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		problems = append(problems, fmt.Errorf("pebblestore: %w: %w", store.ErrDamaged, err))
	}
	return errors.Join(append(problems, log.end())...)
}

var errMalformed = errors.New("malformed")

func (r *Report) verifyKey(key, value []byte, m meta, log *logCheck) error {
	switch key[0] {
	case recordSpace:
		r.Records++
		rev, _, err := decodeRecord(value)
		if err != nil {
			return err
		}
		if bytes.Count(key, []byte{0}) != 1 {
			return errMalformed
		}
		if uint64(rev) > m.commit || rev == 0 {
			return fmt.Errorf("revision %d, the last change is %d", rev, m.commit)
		}
	case logSpace:
		return r.verifyLogKey(key, value, log)
	case counterSpace:
		r.Counters++
		_, err := decodeNumber("counter", value)
		return err
	case metaSpace:
	default:
		return errMalformed
	}
	return nil
}

func (r *Report) verifyLogKey(key, value []byte, log *logCheck) error {
	n := bytes.IndexByte(key, 0)
	if n < 0 || len(key) != n+10 {
		return errMalformed
	}
	var problem error
	if name := string(key[1:n]); name != log.name {
		problem = log.end()
		*log = logCheck{name: name}
		r.Logs++
	}
	what := binary.BigEndian.Uint64(key[n+2:])
	switch key[n+1] {
	case entryKind:
		entries, err := decodePack(nil, key, value)
		r.Entries += len(entries)
		for _, e := range entries {
			err = errors.Join(err, log.entry(e))
		}
		return errors.Join(problem, err)
	case epochKind:
		start, err := decodeNumber("start of an epoch", value)
		if err == nil {
			err = log.epoch(epochStart{what, start})
		}
		return errors.Join(problem, err)
	}
	return errMalformed
}

// logCheck follows one log: its entries come first, then its epochs.
type logCheck struct {
	name string
	last store.Entry
	seen []epochStart // as the entries have it
}

func (c *logCheck) entry(e store.Entry) error {
	if e.Seq != c.last.Seq+1 {
		return fmt.Errorf("entry %d follows entry %d", e.Seq, c.last.Seq)
	}
	if e.Epoch < c.last.Epoch {
		return fmt.Errorf("epoch %d follows epoch %d", e.Epoch, c.last.Epoch)
	}
	if e.Epoch > c.last.Epoch {
		c.seen = append(c.seen, epochStart{e.Epoch, c.last.Seq})
	}
	c.last = store.Entry{Seq: e.Seq, Epoch: e.Epoch}
	return nil
}

func (c *logCheck) epoch(e epochStart) error {
	if len(c.seen) == 0 || c.seen[0] != e {
		return fmt.Errorf("no entry begins epoch %d after %d", e.epoch, e.after)
	}
	c.seen = c.seen[1:]
	return nil
}

func (c *logCheck) end() error {
	if len(c.seen) > 0 {
		return fmt.Errorf("pebblestore: log %s: epoch %d is not recorded: %w", c.name, c.seen[0].epoch, store.ErrDamaged)
	}
	return nil
}

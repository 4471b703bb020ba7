package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tandem-call/tandem/internal/chaos"
	"github.com/tandem-call/tandem/internal/store"
)

// TestCorruption damages one file of a store at random, again and again: flipped bits, a block
// of zeroes, a shorter file, none. The store may refuse to open, or say what it cannot read, or
// have everything. It must not give a wrong answer, and must not be without something in silence.
func TestCorruption(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	closed, killed := corruptible(t)
	said := map[string]int{}
	times := chaos.Times(24, 400)
	for round := range times {
		sound := closed
		if round%2 == 1 {
			sound = killed
		}
		dir := filepath.Join(t.TempDir(), "data")
		ok(t, os.CopyFS(dir, os.DirFS(sound.dir)))
		what := damage(t, rng, dir)
		how, err := sound.holds(t.Context(), dir)
		if err != nil {
			t.Errorf("round %d, %s: %v", round, what, err)
		}
		said[how]++
		ok(t, os.RemoveAll(dir))
	}
	chaos.Report(t, "engine: a file damaged at random (bits, zeroes, shorter, missing)", times,
		"%d times not opened, %d times an error where it was read, %d times nothing was missing; 0 silent losses", said[refused], said[toldLater], said[whole])
}

// sound is a store before it is damaged.
type sound struct {
	dir     string
	records map[string]store.Record
	entries int
}

// corruptible makes a store with tables and log files, one that was closed, and the same as a
// kill would leave it, with its witness up to date.
func corruptible(t *testing.T) (closed, killed sound) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	s := openStore(t, small(dir))
	all := fill(t, s, 150, 1000)
	ok(t, s.db.Flush())
	value := make([]byte, 700)
	for i := range 150 {
		key := fmt.Sprintf("more%05d", i)
		for j := range value {
			value[j] = byte(rand.Uint32())
		}
		all[key] = store.Record{Key: key, Value: slices.Clone(value), Rev: must[store.Rev](t)(s.Put(t.Context(), "t", key, value, 0))}
	}
	waitFor(t, func() bool { return s.witness.written() == s.witness.noted.Load() })
	killed = sound{filepath.Join(t.TempDir(), "killed"), all, 150}
	ok(t, os.CopyFS(killed.dir, os.DirFS(dir)))
	ok(t, s.Close())
	return sound{dir, all, 150}, killed
}

// damage damages one file, and says how.
func damage(t *testing.T, rng *rand.Rand, dir string) string {
	t.Helper()
	var files []string
	ok(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	}))
	for {
		name := files[rng.IntN(len(files))]
		b := must[[]byte](t)(os.ReadFile(name))
		used := len(b)
		for used > 0 && b[used-1] == 0 {
			used--
		}
		if used == 0 {
			continue // the lock; and log files that are kept for use
		}
		short := must[string](t)(filepath.Rel(dir, name))
		at := rng.IntN(used)
		switch rng.IntN(4) {
		case 0:
			n := 1 + rng.IntN(8)
			for range n {
				b[rng.IntN(used)] ^= 1 << rng.IntN(8)
			}
			ok(t, os.WriteFile(name, b, 0o600))
			return fmt.Sprintf("%d bits flipped in %s", n, short)
		case 1:
			ok(t, os.Truncate(name, int64(at)))
			return fmt.Sprintf("%s cut after %d of %d bytes", short, at, used)
		case 2:
			clear(b[at:min(at+4096, len(b))])
			ok(t, os.WriteFile(name, b, 0o600))
			return fmt.Sprintf("zeroes from byte %d of %d of %s", at, used, short)
		default:
			ok(t, os.Remove(name))
			return "no " + short
		}
	}
}

// What a damaged store did.
const (
	refused   = "refused"
	toldLater = "told later"
	whole     = "whole"
)

// holds opens the store and reads everything. The error is a wrong answer, or a silent loss.
func (x sound) holds(ctx context.Context, dir string) (how string, err error) {
	s, err := Open(small(dir))
	if err != nil {
		return refused, nil
	}
	defer func() {
		if how == whole || err != nil {
			err = errors.Join(err, s.Close())
		} else {
			_ = s.Close() // of a damaged store
		}
	}()
	how = whole
	for key, want := range x.records {
		r, err := s.Get(ctx, "t", key)
		switch {
		case errors.Is(err, store.ErrDamaged):
			how = toldLater
		case err != nil || r.Rev != want.Rev || string(r.Value) != string(want.Value):
			return how, fmt.Errorf("record %s is wrong: %w", key, err)
		}
	}
	seen := 0
	for _, err := range s.Scan(ctx, "t", "") {
		if err != nil && !errors.Is(err, store.ErrDamaged) {
			return how, err
		} else if err != nil {
			how = toldLater
			break
		}
		seen++
	}
	if how == whole && seen != len(x.records) {
		return how, fmt.Errorf("a scan finds %d of %d records", seen, len(x.records))
	}
	entries, err := s.Read(ctx, "log", 0, 1<<20)
	switch {
	case errors.Is(err, store.ErrDamaged):
		return toldLater, nil
	case err != nil:
		return how, err
	case len(entries) != x.entries:
		return how, fmt.Errorf("%d of %d entries", len(entries), x.entries)
	}
	for i, e := range entries {
		if want := x.records[fmt.Sprintf("k%05d", i)]; string(e.Data) != string(want.Value) {
			return how, fmt.Errorf("entry %d is wrong", i)
		}
	}
	return how, nil
}

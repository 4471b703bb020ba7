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
	"strings"
	"testing"

	"github.com/tandem-call/tandem/internal/store"
)

// fill puts n records of size random bytes, and appends as many entries.
func fill(t *testing.T, s *Store, n, size int) map[string]store.Record {
	t.Helper()
	records := map[string]store.Record{}
	var last store.Pending
	for i := range n {
		key, value := fmt.Sprintf("k%05d", i), make([]byte, size)
		for j := range value {
			value[j] = byte(rand.Uint32())
		}
		rev := must[store.Rev](t)(s.Put(t.Context(), "t", key, value, 0))
		records[key] = store.Record{Key: key, Value: value, Rev: rev}
		last = must[store.Pending](t)(s.Append(t.Context(), "log", value, store.DeliverAfter))
	}
	ok(t, last.Wait(t.Context()))
	must[int64](t)(s.Add(t.Context(), "c", 1))
	return records
}

// logFiles returns the log files of a closed store that hold something, oldest first.
func logFiles(t *testing.T, dir string) (names []string) {
	t.Helper()
	all := must[[]string](t)(filepath.Glob(filepath.Join(dir, databaseDir, "*.log")))
	slices.Sort(all)
	for _, name := range all {
		if must[os.FileInfo](t)(os.Stat(name)).Size() > 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		t.Fatal("the store has no log file")
	}
	return names
}

func truncate(t *testing.T, name string, keep int64) {
	t.Helper()
	ok(t, os.Truncate(name, keep))
}

// TestLostLog damages the log files of a store in the ways that Pebble does not notice,
// or does, and checks that the store refuses to open until the loss is accepted, that a
// refused opening changes nothing, and what a repair keeps.
func TestLostLog(t *testing.T) {
	damages := map[string]func(t *testing.T, dir string){
		"a little of the newest log's end": func(t *testing.T, dir string) {
			logs := logFiles(t, dir)
			newest := logs[len(logs)-1]
			truncate(t, newest, usedSize(t, newest)-100)
		},
		"half of the newest log": func(t *testing.T, dir string) {
			logs := logFiles(t, dir)
			newest := logs[len(logs)-1]
			truncate(t, newest, usedSize(t, newest)/2)
		},
		"zeroes over the newest log's end": func(t *testing.T, dir string) {
			logs := logFiles(t, dir)
			newest := logs[len(logs)-1]
			overwrite(t, newest, usedSize(t, newest)-500, make([]byte, 500))
		},
		"flipped bits in the middle of the log": func(t *testing.T, dir string) {
			logs := logFiles(t, dir)
			newest := logs[len(logs)-1]
			flip(t, newest, usedSize(t, newest)/2)
		},
		"the newest log": func(t *testing.T, dir string) {
			logs := logFiles(t, dir)
			ok(t, os.Remove(logs[len(logs)-1]))
		},
		"all logs": func(t *testing.T, dir string) {
			for _, name := range logFiles(t, dir) {
				ok(t, os.Remove(name))
			}
		},
		"the witness": func(t *testing.T, dir string) {
			ok(t, os.Remove(filepath.Join(dir, witnessFile)))
		},
		"a digit of the witness": func(t *testing.T, dir string) {
			flip(t, filepath.Join(dir, witnessFile), 25)
		},
		"the format file": func(t *testing.T, dir string) {
			ok(t, os.Remove(filepath.Join(dir, formatFile)))
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openStore(t, Options{Dir: dir})
			records := fill(t, s, 200, 1000)
			ok(t, s.Close())
			damage(t, dir)

			before := snapshot(t, dir)
			for range 2 {
				if s, err := Open(Options{Dir: dir}); !errors.Is(err, store.ErrDamaged) {
					t.Fatalf("open: %v, %v", s, err)
				}
			}
			if _, err := Verify(t.Context(), Options{Dir: dir}); !errors.Is(err, store.ErrDamaged) {
				t.Fatalf("verify: %v", err)
			}
			if _, err := Repair(t.Context(), Options{Dir: dir}, false); !errors.Is(err, store.ErrDamaged) {
				t.Fatalf("repair without accepting the loss: %v", err)
			}
			if after := snapshot(t, dir); after != before {
				t.Fatalf("a refused opening changed the directory:\n%s\n%s", before, after)
			}
			done, err := Repair(t.Context(), Options{Dir: dir}, AcceptLoss)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", done)
			if _, err := Repair(t.Context(), Options{Dir: dir}, false); err != nil {
				t.Fatalf("after the repair: %v", err)
			}
			report := must[Report](t)(Verify(t.Context(), Options{Dir: dir}))
			s = openStore(t, Options{Dir: dir})
			kept := 0
			for r, err := range s.Scan(t.Context(), "t", "") {
				if err != nil {
					t.Fatal(err)
				}
				if was := records[r.Key]; r.Rev != was.Rev || string(r.Value) != string(was.Value) {
					t.Fatalf("record %s changed", r.Key)
				}
				kept++
			}
			lossless := name == "the witness" || name == "a digit of the witness" || name == "the format file"
			all := kept + report.Entries + report.Counters
			if lossless != (all == 2*len(records)+1) || report.Records != kept {
				t.Fatalf("%d of %d records kept, verify found %+v", kept, len(records), report)
			}
			if strings.Contains(name, "end") && kept < len(records)-5 {
				t.Fatalf("only %d of %d records kept", kept, len(records))
			}
			for _, r := range records {
				rev, err := s.Put(t.Context(), "t", r.Key, []byte("new"), r.Rev)
				if errors.Is(err, store.ErrConflict) {
					rev, err = s.Put(t.Context(), "t", r.Key, []byte("new"), 0)
				}
				if err != nil || rev <= store.Rev(3*len(records)) {
					t.Fatalf("after the repair: revision %d again, %v", rev, err)
				}
			}
			ok(t, s.Close())
		})
	}
}

// usedSize is where the content of a file ends, before zeroes.
func usedSize(t *testing.T, name string) int64 {
	t.Helper()
	b := must[[]byte](t)(os.ReadFile(name))
	return int64(len(strings.TrimRight(string(b), "\x00")))
}

func overwrite(t *testing.T, name string, at int64, b []byte) {
	t.Helper()
	f := must[*os.File](t)(os.OpenFile(name, os.O_RDWR, 0))
	must[int](t)(f.WriteAt(b, at))
	ok(t, f.Close())
}

func flip(t *testing.T, name string, at int64) {
	t.Helper()
	b := must[[]byte](t)(os.ReadFile(name))
	overwrite(t, name, at, []byte{b[at] ^ 0x04})
}

// snapshot lists what is in a directory, with contents.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	ok(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %d %x\n", strings.TrimPrefix(path, dir), len(content), hashOf(content))
		return err
	}))
	return b.String()
}

// TestFlippedTable flips a bit in each part of a table file: the store opens, since
// Pebble does not read it all, but Verify finds it.
func TestFlippedTable(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, Options{Dir: dir})
	fill(t, s, 100, 1000)
	ok(t, s.db.Flush())
	ok(t, s.Close())
	report := must[Report](t)(Verify(t.Context(), Options{Dir: dir}))
	if report.Records != 100 || report.Entries != 100 || report.Logs != 1 || report.Counters != 1 || report.Tables < 1 ||
		!report.Clean || report.Commit != report.Witness || report.Bytes < 200*1000 {
		t.Fatalf("%+v", report)
	}
	tables := must[[]string](t)(filepath.Glob(filepath.Join(dir, databaseDir, "*.sst")))
	for _, table := range tables {
		size := must[os.FileInfo](t)(os.Stat(table)).Size()
		for part := range int64(20) {
			at := size * part / 20
			flip(t, table, at)
			if _, err := Verify(t.Context(), Options{Dir: dir}); !errors.Is(err, store.ErrDamaged) {
				t.Errorf("flipped bit at %d of %d: %v", at, size, err)
			}
			flip(t, table, at)
		}
	}
	must[Report](t)(Verify(t.Context(), Options{Dir: dir}))

	// Reading what is damaged is an error, too, and not a wrong answer.
	for _, table := range tables {
		for at := range must[os.FileInfo](t)(os.Stat(table)).Size() / 2000 {
			flip(t, table, at*2000)
		}
	}
	s, err := Open(Options{Dir: dir})
	if err == nil {
		_, err = s.Get(t.Context(), "t", "k00050")
		ok(t, s.Close())
	}
	if !errors.Is(err, store.ErrDamaged) {
		t.Fatalf("reading damaged data: %v", err)
	}

	for _, table := range tables {
		ok(t, os.Remove(table))
	}
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, store.ErrDamaged) {
		t.Fatalf("open without a table: %v", err)
	}
	if _, err := Repair(t.Context(), Options{Dir: dir}, AcceptLoss); !errors.Is(err, store.ErrDamaged) {
		t.Fatalf("repair without a table: %v", err)
	}
}

// TestForeignDirectory checks what is not opened, and what an interrupted creation or
// restore leaves.
func TestForeignDirectory(t *testing.T) {
	for name, c := range map[string]struct {
		file, content string
		damaged       bool
	}{
		"something else":      {file: "notes.txt"},
		"another format":      {file: formatFile, content: "TANDEM-STORE 2\n"},
		"interrupted restore": {file: formatFile, content: stateRestoring, damaged: true},
		"no database":         {file: formatFile, content: stateReady, damaged: true},
		"a backup":            {file: manifestFile},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			ok(t, os.WriteFile(filepath.Join(dir, c.file), []byte(c.content), 0o600))
			s, err := Open(Options{Dir: dir})
			if err == nil || errors.Is(err, store.ErrDamaged) != c.damaged {
				t.Fatalf("open: %v, %v", s, err)
			}
			if b := must[[]byte](t)(os.ReadFile(filepath.Join(dir, c.file))); string(b) != c.content {
				t.Fatalf("the file changed to %q", b)
			}
		})
	}
	dir := t.TempDir()
	ok(t, os.WriteFile(filepath.Join(dir, formatFile), []byte(stateCreating), 0o600))
	ok(t, os.MkdirAll(filepath.Join(dir, databaseDir, "half"), 0o700))
	ok(t, openStore(t, Options{Dir: dir}).Close())
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, Options{Dir: dir})
	_, err := Open(Options{Dir: dir})
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("second open: %v", err)
	}
	if _, err := Verify(context.Background(), Options{Dir: dir}); !errors.Is(err, store.ErrLocked) {
		t.Fatalf("verify of an open store: %v", err)
	}
	ok(t, s.Close())
	ok(t, openStore(t, Options{Dir: dir}).Close())
}

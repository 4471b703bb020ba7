package pebblestore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tandem-call/tandem/internal/store"
)

// TestBackupRestore backs a store up while it is being written. The restored one has
// all that was acknowledged before, is whole, and starts a new epoch and new revisions.
func TestBackupRestore(t *testing.T) {
	ctx := t.Context()
	s := openStore(t, Options{Dir: t.TempDir()})
	records := fill(t, s, 50, 500)
	head := must[store.Head](t)(s.Head(ctx, "log"))

	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				if _, err := s.Put(ctx, "busy", fmt.Sprintf("%d-%06d", w, i), []byte("x"), 0); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	backup := filepath.Join(t.TempDir(), "backup")
	err := s.Backup(ctx, backup)
	stop.Store(true)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(ctx, backup); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("backup over a backup: %v", err)
	}
	// After the backup the store goes on, with what the restored one will not know.
	lost := must[store.Pending](t)(s.Append(ctx, "log", []byte("lost"), store.DeliverAfter))
	ok(t, lost.Wait(ctx))
	lostRev := must[store.Rev](t)(s.Put(ctx, "t", "lost", nil, 0))
	ok(t, s.Close())

	if _, err := Open(Options{Dir: backup}); err == nil {
		t.Fatal("a backup was opened as a store")
	}
	dir := filepath.Join(t.TempDir(), "data")
	ok(t, Restore(ctx, backup, Options{Dir: dir}))
	if err := Restore(ctx, backup, Options{Dir: dir}); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("restore over a store: %v", err)
	}
	must[Report](t)(Verify(ctx, Options{Dir: dir}))
	s = openStore(t, Options{Dir: dir})
	for key, was := range records {
		r := must[store.Record](t)(s.Get(ctx, "t", key))
		if r.Rev != was.Rev || !bytes.Equal(r.Value, was.Value) {
			t.Fatalf("record %s changed", key)
		}
	}
	if h := must[store.Head](t)(s.Head(ctx, "log")); h.Seq != head.Seq || h.Epoch <= lost.Epoch() {
		t.Fatalf("head %+v, was %+v", h, head)
	}
	if back := must[uint64](t)(s.Rewind(ctx, "log", lost.Epoch(), lost.Seq())); back != head.Seq {
		t.Fatalf("rewind to %d, want %d", back, head.Seq)
	}
	p := must[store.Pending](t)(s.Append(ctx, "log", []byte("new"), store.DeliverAfter))
	ok(t, p.Wait(ctx))
	if p.Seq() != lost.Seq() || p.Epoch() <= lost.Epoch() {
		t.Fatalf("new entry %d of epoch %d, the lost one was %d of %d", p.Seq(), p.Epoch(), lost.Seq(), lost.Epoch())
	}
	if rev := must[store.Rev](t)(s.Put(ctx, "t", "lost", nil, 0)); rev <= lostRev {
		t.Fatalf("revision %d again", rev)
	}
	ok(t, s.Close())
	must[Report](t)(Verify(ctx, Options{Dir: dir}))
}

func TestDamagedBackup(t *testing.T) {
	ctx := t.Context()
	s := openStore(t, Options{Dir: t.TempDir()})
	fill(t, s, 20, 500)
	ok(t, s.db.Flush())
	for name, damage := range map[string]func(dir string){
		"no manifest": func(dir string) { ok(t, os.Remove(filepath.Join(dir, manifestFile))) },
		"manifest":    func(dir string) { flip(t, filepath.Join(dir, manifestFile), 30) },
		"table": func(dir string) {
			tables := must[[]string](t)(filepath.Glob(filepath.Join(dir, databaseDir, "*.sst")))
			b := must[[]byte](t)(os.ReadFile(tables[0])) // a link to the store's: write a new file
			b[len(b)/2] ^= 1
			ok(t, os.Remove(tables[0]))
			ok(t, os.WriteFile(tables[0], b, 0o600))
		},
		"a name that leads elsewhere": func(dir string) {
			m := must[[]byte](t)(os.ReadFile(filepath.Join(dir, manifestFile)))
			m = []byte(strings.Replace(string(m), "db/", "db/../../", 1))
			ok(t, os.WriteFile(filepath.Join(dir, manifestFile), m, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			backup, data := filepath.Join(t.TempDir(), "backup"), t.TempDir()
			ok(t, s.Backup(ctx, backup))
			damage(backup)
			if err := Restore(ctx, backup, Options{Dir: data}); !errors.Is(err, store.ErrDamaged) {
				t.Fatalf("restore: %v", err)
			}
			if name == "table" { // noticed half-way: what is there is never taken for a store
				if _, err := Open(Options{Dir: data}); !errors.Is(err, store.ErrDamaged) {
					t.Fatalf("open: %v", err)
				}
			}
		})
	}
}

package pebblestore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tandem-call/tandem/internal/store"
)

// TestFull lets the free space shrink and grow: writes are refused below the headroom,
// what makes space a little longer, and reads go on.
func TestFull(t *testing.T) {
	const headroom = 256 << 20
	var free atomic.Int64
	free.Store(1 << 40)
	s := openStore(t, Options{Dir: t.TempDir(), free: func(string) (int64, error) { return free.Load(), nil }})
	ctx := t.Context()
	rev := must[store.Rev](t)(s.Put(ctx, "t", "k", []byte("v"), 0))
	ok(t, must[store.Pending](t)(s.Append(ctx, "log", nil, store.DeliverAfter)).Wait(ctx))

	free.Store(headroom - 1)
	waitFor(t, func() bool { return errors.Is(s.Err(), store.ErrFull) }) // a look is at most 50 ms old
	if _, err := s.Put(ctx, "t", "k", []byte("new"), rev); !errors.Is(err, store.ErrFull) {
		t.Fatalf("put: %v", err)
	}
	if _, err := s.Append(ctx, "log", nil, store.DeliverFirst); !errors.Is(err, store.ErrFull) {
		t.Fatalf("append: %v", err)
	}
	if _, err := s.Add(ctx, "c", 1); !errors.Is(err, store.ErrFull) {
		t.Fatalf("add: %v", err)
	}
	if r := must[store.Record](t)(s.Get(ctx, "t", "k")); string(r.Value) != "v" {
		t.Fatalf("get: %q", r.Value)
	}
	if e := must[[]store.Entry](t)(s.Read(ctx, "log", 0, 10)); len(e) != 1 {
		t.Fatalf("read: %d entries", len(e))
	}
	for _, err := range s.Scan(ctx, "t", "") {
		ok(t, err)
	}
	ok(t, s.DropLog(ctx, "log"))
	ok(t, s.Delete(ctx, "t", "k", rev))

	free.Store(headroom / 4)
	waitFor(t, func() bool { return errors.Is(s.Delete(ctx, "t", "k", 1), store.ErrFull) })
	free.Store(1 << 40)
	waitFor(t, func() bool { return s.Err() == nil })
	must[store.Rev](t)(s.Put(ctx, "t", "k", []byte("new"), 0))
}

// TestFullDisk fills a real, small file system, where it may mount one; elsewhere it
// fills the same store up to a free space that it counts itself.
func TestFullDisk(t *testing.T) {
	const size, headroom = 96 << 20, 32 << 20
	disk := t.TempDir()
	o := Options{Dir: filepath.Join(disk, "data"), Headroom: headroom, memTable: 4 << 20}
	mounted := unix.Mount("tmpfs", disk, "tmpfs", 0, fmt.Sprintf("size=%d", size)) == nil
	if mounted {
		t.Cleanup(func() { ok(t, unix.Unmount(disk, unix.MNT_DETACH)) })
	} else {
		o.free = func(string) (int64, error) { return size - used(disk), nil }
	}
	t.Logf("mounted a file system: %v", mounted)
	ballast := filepath.Join(disk, "ballast")
	ok(t, os.WriteFile(ballast, make([]byte, 16<<20), 0o600))

	s := openStore(t, o)
	ctx := t.Context()
	revs := map[string]store.Rev{}
	value := make([]byte, 100<<10)
	fillUp := func() {
		for i := 0; ; i++ {
			for j := range value {
				value[j] = byte(rand.Uint32())
			}
			key := fmt.Sprint(len(revs))
			rev, err := s.Put(ctx, "t", key, value, 0)
			if errors.Is(err, store.ErrFull) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if revs[key] = rev; i > size/len(value) {
				t.Fatal("the store wrote more than there is room for")
			}
		}
	}
	fillUp()
	t.Logf("full after %d records, %d MiB free", len(revs), must[int64](t)(s.options.free(disk))>>20)
	if len(revs) < 50 || !errors.Is(s.Err(), store.ErrFull) {
		t.Fatalf("full after %d records: %v", len(revs), s.Err())
	}
	check := func() {
		t.Helper()
		for key, rev := range revs {
			if r := must[store.Record](t)(s.Get(ctx, "t", key)); r.Rev != rev {
				t.Fatalf("record %s is at %d, want %d", key, r.Rev, rev)
			}
		}
	}
	check()
	ok(t, s.Close())
	s = openStore(t, o) // it opens on a nearly full disk, too
	check()
	before := len(revs)
	ok(t, os.Remove(ballast))
	waitFor(t, func() bool { return s.Err() == nil })
	fillUp()
	if len(revs) < before+20 {
		t.Fatalf("%d records more with 16 MiB more room", len(revs)-before)
	}
	check()
	ok(t, s.Close())
}

// used is the size of all files below a directory.
func used(dir string) (n int64) {
	filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}

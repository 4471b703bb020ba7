package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tandem-call/tandem/internal/store"
)

// TestRoster follows what is known in memory of a table's keys: as it grows beyond what is known,
// shrinks, and is opened again; and whatever is known, the answers are the same.
func TestRoster(t *testing.T) {
	fs := memory(vfs.NewMem())
	s := openStore(t, Options{Dir: "data", fs: fs, Relaxed: true})
	ctx := t.Context()
	hash := func(table, key string) uint64 {
		k, err := recordKey(table, key)
		ok(t, err)
		return hashOf(k)
	}
	want := func(table, key string, lacks bool) {
		t.Helper()
		_, err := s.Get(ctx, table, key)
		if s.rosters.lacks(table, hash(table, key)) != lacks || lacks && !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s in %s: known to be missing: %v; get: %v", key, table, !lacks, err)
		}
	}
	want("small", "k", true)
	rev := must[store.Rev](t)(s.Put(ctx, "small", "k", []byte("1"), 0))
	want("small", "k", false)
	want("small", "other", true)
	rev = must[store.Rev](t)(s.Put(ctx, "small", "k", []byte("2"), rev))
	if _, err := s.Put(ctx, "small", "k", nil, 0); !errors.Is(err, store.ErrConflict) {
		t.Fatal(err)
	}
	ok(t, s.Delete(ctx, "small", "k", rev))
	want("small", "k", true)
	if !s.rosters.empty("small") {
		t.Error("an emptied table is not known to be empty")
	}
	must[store.Rev](t)(s.Put(ctx, "small", "k", []byte("3"), 0))
	must[store.Rev](t)(s.Put(ctx, "zebra", "k", nil, 0))

	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i <= rosterSize; i += 8 {
				if _, err := s.Put(ctx, "large", fmt.Sprint(i), nil, 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for range 2 {
		want("large", "0", false)
		want("large", "missing", false)
		if _, err := s.Get(ctx, "large", "missing"); !errors.Is(err, store.ErrNotFound) {
			t.Error(err)
		}
		want("small", "k", false)
		want("small", "other", true)
		want("zebra", "k", false)
		want("zebra", "other", true)
		want("unheard-of", "k", true)
		n := 0
		for _, err := range s.Scan(ctx, "large", "") {
			ok(t, err)
			n++
		}
		if n != rosterSize+1 {
			t.Errorf("%d records", n)
		}
		ok(t, s.Close())
		s = openStore(t, Options{Dir: "data", fs: fs, Relaxed: true})
	}
	s.rosters.blind = true // as after a table that cannot be read
	want("small", "k", false)
	want("unheard-of", "k", false)
}

// TestScanWaitsForItsOwn holds a sync back: a scan waits for what it shows, and for removals, since it shows
// what is left; not for what is changed elsewhere.
func TestScanWaitsForItsOwn(t *testing.T) {
	disk := newSlowDisk()
	s := openStore(t, Options{Dir: "data", fs: disk})
	t.Cleanup(disk.release)
	ctx := t.Context()
	must[store.Rev](t)(s.Put(ctx, "t", "a/1", nil, 0))
	rev := must[store.Rev](t)(s.Put(ctx, "t", "b/1", nil, 0))
	gone := must[store.Rev](t)(s.Put(ctx, "t", "c/1", nil, 0))
	scan := func(prefix string) error {
		short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
		defer stop()
		for _, err := range s.Scan(short, "t", prefix) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	applied := func(key string, is func(store.Rev) bool) {
		k, _ := recordKey("t", key)
		waitFor(t, func() bool { rev, _, _ := s.load(k); return is(rev) })
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer disk.release()
	disk.hold()
	wg.Go(func() { _, _ = s.Put(ctx, "t", "b/1", nil, rev) })
	<-disk.waiting
	applied("b/1", func(now store.Rev) bool { return now > rev })
	if err := scan("a/"); err != nil {
		t.Errorf("a scan waited for a change elsewhere: %v", err)
	}
	if err := scan("b/"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a scan showed what is not durable: %v", err)
	}
	wg.Go(func() { _ = s.Delete(ctx, "t", "c/1", gone) })
	applied("c/1", func(now store.Rev) bool { return now == 0 })
	if err := scan("c/"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a scan hid what is not durably removed: %v", err)
	}
}

package store_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
	"github.com/tandem-call/tandem/internal/store"
)

// reads counts what reaches the engine.
type reads struct {
	store.Engine
	gets int
}

func (r *reads) Get(ctx context.Context, table, key string) (store.Record, error) {
	r.gets++
	return r.Engine.Get(ctx, table, key)
}

func newReads(t *testing.T) *reads {
	e, err := pebblestore.Open(pebblestore.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return &reads{Engine: e}
}

// TestRemember reads records again and again in one request: what is there, what is not, and what is found by a
// prefix. Each is read once, until this request changes it; others see what is there.
func TestRemember(t *testing.T) {
	engine := newReads(t)
	table := store.TableOf[int](engine, "t").Remembered()
	plain := context.Background()
	ctx := store.Remember(plain)
	if store.Remember(ctx) != ctx {
		t.Error("a context that remembers was made to forget")
	}
	want := func(ctx context.Context, key string, want, reads int) store.Rev {
		t.Helper()
		before := engine.gets
		v, rev, err := table.Get(ctx, key)
		if err != nil && (want != 0 || !errors.Is(err, store.ErrNotFound)) || v != want || engine.gets-before != reads {
			t.Errorf("%s: %d, %v after %d reads; want %d after %d", key, v, err, engine.gets-before, want, reads)
		}
		return rev
	}
	found := func(ctx context.Context, want int) {
		t.Helper()
		n := 0
		for _, err := range table.Scan(ctx, "a/") {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != want {
			t.Errorf("%d records found, want %d", n, want)
		}
	}
	put := func(ctx context.Context, key string, v int, at store.Rev) {
		t.Helper()
		if _, err := table.Put(ctx, key, v, at); err != nil {
			t.Fatal(err)
		}
	}
	put(plain, "a/1", 1, 0)
	rev := want(ctx, "a/1", 1, 1)
	want(ctx, "a/1", 1, 0)
	want(ctx, "a/2", 0, 1)
	want(ctx, "a/2", 0, 0)
	found(ctx, 1)

	put(plain, "a/1", 2, rev) // by somebody else
	put(plain, "a/2", 2, 0)
	want(ctx, "a/1", 1, 0)
	want(ctx, "a/2", 0, 0)
	found(ctx, 1)
	rev = want(plain, "a/1", 2, 1)
	found(plain, 2)

	put(ctx, "a/1", 3, rev) // by ourselves
	want(ctx, "a/1", 3, 1)
	found(ctx, 2)

	// An attempt that comes too late is told so, and then what came before it is seen.
	late, _, _ := table.Get(ctx, "a/2")
	if _, err := table.Put(ctx, "a/2", late+1, 0); !errors.Is(err, store.ErrConflict) {
		t.Errorf("conflict: %v", err)
	}
	want(ctx, "a/2", 2, 1)

	// After a decision nothing is left of what was read before it.
	put(plain, "a/3", 1, 0)
	want(ctx, "a/3", 1, 1)
	put(plain, "a/3", 2, want(plain, "a/3", 1, 1))
	after := store.RememberAnew(ctx)
	want(ctx, "a/3", 1, 0)
	want(after, "a/3", 2, 1)
	want(after, "a/3", 2, 0)

	// What is decided upon is read.
	put(plain, "a/2", 5, want(plain, "a/2", 2, 1))
	if v, err := store.Change(ctx, table, "a/2", func(v int, _ bool) (int, bool, error) { return v + 1, true, nil }); v != 6 || err != nil {
		t.Errorf("change: %d, %v", v, err)
	}
	want(ctx, "a/2", 6, 1)

	// Other tables are read each time.
	table = store.TableOf[int](engine, "t")
	want(ctx, "a/1", 3, 1)
	want(ctx, "a/1", 3, 1)
}

// TestRememberForAWhile keeps a context for long: it remembers no more.
func TestRememberForAWhile(t *testing.T) {
	engine := newReads(t)
	table := store.TableOf[int](engine, "t").Remembered()
	synctest.Test(t, func(t *testing.T) {
		ctx := store.Remember(t.Context())
		for range 3 {
			if _, _, err := table.Get(ctx, "k"); !errors.Is(err, store.ErrNotFound) {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		if _, _, err := table.Get(ctx, "k"); !errors.Is(err, store.ErrNotFound) || engine.gets != 2 {
			t.Errorf("%d reads, want 2 (%v)", engine.gets, err)
		}
	})
}

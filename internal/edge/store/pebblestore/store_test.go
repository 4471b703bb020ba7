package pebblestore

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/internal/store/storetest"
)

func openStore(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) store.Engine {
		return openStore(t, Options{Dir: dir})
	})
}

func TestConformanceRelaxed(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) store.Engine {
		return openStore(t, Options{Dir: dir, Relaxed: true})
	})
}

// memory gives a file system in memory room.
func memory(m *vfs.MemFS) *vfs.MemFS {
	m.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 40})
	return m
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{}, {Dir: "x", Headroom: -1}, {Dir: "x", CacheSize: -1}} {
		if s, err := Open(o); err == nil {
			t.Errorf("%+v opened %v", o, s)
		}
	}
	if d := openStore(t, Options{Dir: t.TempDir()}).Durability(); d != "fsync" {
		t.Errorf("the default durability is %q", d)
	}
	if d := openStore(t, Options{Dir: t.TempDir(), Relaxed: true}).Durability(); d != "relaxed" {
		t.Errorf("the relaxed durability is %q", d)
	}
}

func TestNames(t *testing.T) {
	s := openStore(t, Options{Dir: t.TempDir()})
	ctx := t.Context()
	for _, name := range []string{"", "a b", "a\x00b", "a:b", "é", "a,b"} {
		if _, err := s.Put(ctx, "t", name, nil, 0); err == nil {
			t.Errorf("key %q", name)
		}
		if _, err := s.Put(ctx, name, "k", nil, 0); err == nil {
			t.Errorf("table %q", name)
		}
		if _, err := s.Append(ctx, name, nil, store.DeliverAfter); err == nil {
			t.Errorf("log %q", name)
		}
		if _, err := s.Add(ctx, name, 1); err == nil {
			t.Errorf("counter %q", name)
		}
		if err := s.Publish(ctx, name, nil); err == nil {
			t.Errorf("subject %q", name)
		}
		if _, err := s.Subscribe(ctx, name, nil); err == nil {
			t.Errorf("subscription %q", name)
		}
	}
}

// TestIdleLogs writes many logs and finds only few of them in memory, and all on disk.
func TestIdleLogs(t *testing.T) {
	s := openStore(t, Options{Dir: t.TempDir(), Relaxed: true})
	s.logs.maxIdle = 10
	ctx := t.Context()
	cancel := must[func()](t)(s.Watch(ctx, "watched", func(store.Entry) {}))
	for i := range 100 {
		p := must[store.Pending](t)(s.Append(ctx, fmt.Sprint("log", i), []byte("x"), store.DeliverAfter))
		ok(t, p.Wait(ctx))
	}
	if n := s.Stats().LogsInMemory; n != 11 {
		t.Fatalf("%d logs in memory", n)
	}
	for i := range 100 {
		name := fmt.Sprint("log", i)
		p := must[store.Pending](t)(s.Append(ctx, name, []byte("y"), store.DeliverAfter))
		ok(t, p.Wait(ctx))
		if h := must[store.Head](t)(s.Head(ctx, name)); h.Seq != 2 || h.Epoch != p.Epoch() {
			t.Fatalf("head of %s: %+v", name, h)
		}
	}
	if s.logs.states["watched"] == nil {
		t.Fatal("a watched log was forgotten")
	}
	cancel()
	cancel()
}

// TestStats checks that the numbers say what was done, and that waiting writers share
// batches.
func TestStats(t *testing.T) {
	s := openStore(t, Options{Dir: t.TempDir()})
	ctx := t.Context()
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for i := range 5 {
				if _, err := s.Put(ctx, "t", fmt.Sprintf("%d-%d", w, i), []byte("x"), 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	st := s.Stats()
	if st.Operations != 320 || st.LastCommit != 320 || st.Batches == 0 || st.Batches >= 320 || st.LargestBatch < 2 ||
		st.BatchBytes == 0 || st.SyncNanos == 0 || st.SyncMaxNanos == 0 || st.DiskBytes == 0 || st.FreeBytes == 0 {
		t.Fatalf("%+v", st)
	}
	waitFor(t, func() bool { return s.Stats().Witnessed == 320 })
}

// TestSlowSubscriber checks that messages nobody takes are dropped and counted.
func TestSlowSubscriber(t *testing.T) {
	s := openStore(t, Options{Dir: t.TempDir()})
	stuck, entered := make(chan struct{}), make(chan struct{}, maxUnread+10)
	cancel := must[func()](t)(s.Subscribe(t.Context(), "a", func(string, []byte) { entered <- struct{}{}; <-stuck }))
	ok(t, s.Publish(t.Context(), "a", nil))
	<-entered
	for range maxUnread + 3 {
		ok(t, s.Publish(t.Context(), "a", nil))
	}
	if n := s.Stats().BusDropped; n != 3 {
		t.Errorf("%d messages dropped", n)
	}
	close(stuck)
	cancel()
}

// TestWitnessUnwritable takes the witness file's directory away from a running store:
// it refuses writes rather than acknowledging what nobody would miss, until it is back.
func TestWitnessUnwritable(t *testing.T) {
	disk := &witnessDisk{FS: memory(vfs.NewMem())}
	s := openStore(t, Options{Dir: "data", fs: disk})
	ctx := t.Context()
	disk.broken.Store(true)
	rev := must[store.Rev](t)(s.Put(ctx, "t", "k", nil, 0))
	waitFor(t, func() bool { return s.Err() != nil })
	if _, err := s.Put(ctx, "t", "k", nil, rev); err == nil {
		t.Fatal("a write was taken without a witness")
	}
	must[store.Record](t)(s.Get(ctx, "t", "k"))
	disk.broken.Store(false)
	waitFor(t, func() bool { return s.Err() == nil })
	must[store.Rev](t)(s.Put(ctx, "t", "k", nil, rev))
}

type witnessDisk struct {
	vfs.FS
	broken atomic.Bool
}

func (d *witnessDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if d.broken.Load() && strings.Contains(name, witnessFile) {
		return nil, errors.New("broken")
	}
	return d.FS.Create(name, c)
}

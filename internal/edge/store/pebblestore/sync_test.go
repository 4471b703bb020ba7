package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tandem-call/tandem/internal/store"
)

// slowDisk is a file system whose log files' syncs can be held back.
type slowDisk struct {
	vfs.FS
	mu      sync.Mutex
	held    chan struct{} // closed to let syncs go on; nil when they are not held
	waiting chan struct{} // told of each sync that is held
}

func newSlowDisk() *slowDisk {
	return &slowDisk{FS: memory(vfs.NewMem()), waiting: make(chan struct{}, 100)}
}

func (d *slowDisk) hold() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = make(chan struct{})
}

func (d *slowDisk) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held != nil {
		close(d.held)
		d.held = nil
	}
}

func (d *slowDisk) wait() {
	d.mu.Lock()
	held := d.held
	d.mu.Unlock()
	if held != nil {
		d.waiting <- struct{}{}
		<-held
	}
}

func (d *slowDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	return d.wrap(name, f), err
}

func (d *slowDisk) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(old, name, c)
	return d.wrap(name, f), err
}

func (d *slowDisk) wrap(name string, f vfs.File) vfs.File {
	if f == nil || !strings.HasSuffix(name, ".log") {
		return f
	}
	return &slowFile{f, d}
}

type slowFile struct {
	vfs.File
	disk *slowDisk
}

func (f *slowFile) Sync() error     { f.disk.wait(); return f.File.Sync() }
func (f *slowFile) SyncData() error { f.disk.wait(); return f.File.SyncData() }
func (f *slowFile) SyncTo(n int64) (bool, error) {
	f.disk.wait()
	return f.File.SyncTo(n)
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestNothingFromUnsynced holds the sync of a change back, at a time when Pebble already
// shows it, and asks for everything that depends on it: no answer comes before the sync.
func TestNothingFromUnsynced(t *testing.T) {
	disk := newSlowDisk()
	s := openStore(t, Options{Dir: "data", fs: disk})
	t.Cleanup(disk.release)
	ctx := t.Context()
	rev := must[store.Rev](t)(s.Put(ctx, "t", "k", []byte("old"), 0))
	gone := must[store.Rev](t)(s.Put(ctx, "t", "gone", []byte("old"), 0))
	other := neighbour(s, "k")
	otherRev := must[store.Rev](t)(s.Put(ctx, "t", other, []byte("other"), 0))
	must[int64](t)(s.Add(ctx, "c", 1))
	ok(t, must[store.Pending](t)(s.Append(ctx, "log", []byte("one"), store.DeliverAfter)).Wait(ctx))
	ok(t, must[store.Pending](t)(s.Append(ctx, "doomed", []byte("one"), store.DeliverAfter)).Wait(ctx))
	seen := make(chan store.Entry, 10)
	cancel := must[func()](t)(s.Watch(ctx, "log", func(e store.Entry) { seen <- e }))
	defer cancel()

	disk.hold()
	type result struct {
		rev store.Rev
		err error
	}
	put, remove := make(chan result, 1), make(chan error, 1)
	go func() {
		r, err := s.Put(ctx, "t", "k", []byte("new"), rev)
		put <- result{r, err}
	}()
	<-disk.waiting
	go func() { remove <- s.Delete(ctx, "t", "gone", gone) }()
	first := must[store.Pending](t)(s.Append(ctx, "log", []byte("two"), store.DeliverFirst))
	second := must[store.Pending](t)(s.Append(ctx, "log", []byte("three"), store.DeliverAfter))
	third := must[store.Pending](t)(s.Append(ctx, "log", []byte("four"), store.DeliverFirst))
	added := make(chan int64, 1)
	go func() { v, _ := s.Add(ctx, "c", 1); added <- v }()
	// The trap: Pebble shows all of it.
	waitFor(t, func() bool {
		k, _ := recordKey("t", "k")
		g, _ := recordKey("t", "gone")
		rev2, value, _ := s.load(k)
		revGone, _, _ := s.load(g)
		c, _ := s.counterValue([]byte("cc"))
		_, closer, err := s.db.Get(entryKey("log", 4))
		if err == nil {
			closer.Close()
		}
		return rev2 > rev && string(value) == "new" && revGone == 0 && c == 2 && err == nil
	})

	short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	defer stop()
	var wg sync.WaitGroup
	silent := func(what string, ask func() error) {
		wg.Go(func() {
			if err := ask(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s was answered before the sync: %v", what, err)
			}
		})
	}
	silent("get", func() error { _, err := s.Get(short, "t", "k"); return err })
	silent("get of what is deleted", func() error { _, err := s.Get(short, "t", "gone"); return err })
	silent("put at the old revision", func() error { _, err := s.Put(short, "t", "k", nil, rev); return err })
	silent("creation", func() error { _, err := s.Put(short, "t", "gone", nil, 0); return err })
	silent("delete", func() error { return s.Delete(short, "t", "gone", gone) })
	silent("scan", func() (err error) {
		for _, err = range s.Scan(short, "t", "") {
			if err == nil {
				return nil
			}
		}
		return err
	})
	silent("add", func() error { _, err := s.Add(short, "c", 0); return err })
	silent("wait", func() error { return first.Wait(short) })
	silent("rewind", func() error { _, err := s.Rewind(short, "log", first.Epoch(), first.Seq()); return err })
	silent("drop", func() error { return s.DropLog(short, "doomed") })

	// What does not depend on it is answered at once, whatever locks it shares.
	if r, err := s.Get(ctx, "t", other); err != nil || r.Rev != otherRev {
		t.Errorf("a neighbour waited: %v", err)
	}
	if _, err := s.Put(ctx, "t", other, nil, 0); !errors.Is(err, store.ErrConflict) {
		t.Errorf("conflict on a neighbour: %v", err)
	}
	if h := must[store.Head](t)(s.Head(ctx, "log")); h.Seq != 1 {
		t.Errorf("head %d", h.Seq)
	}
	if e := must[[]store.Entry](t)(s.Read(ctx, "log", 0, 10)); len(e) != 1 {
		t.Errorf("%d entries", len(e))
	}
	// A watcher sees what may be delivered first, up to the first that may not.
	if e := <-seen; string(e.Data) != "two" {
		t.Errorf("the watcher saw %q", e.Data)
	}
	late := make(chan store.Entry, 10)
	cancelLate := must[func()](t)(s.Watch(ctx, "log", func(e store.Entry) { late <- e }))
	defer cancelLate()
	if e := <-late; string(e.Data) != "two" {
		t.Errorf("the late watcher saw %q", e.Data)
	}
	wg.Wait()
	select {
	case r := <-put:
		t.Errorf("put was answered before the sync: %v", r)
	case err := <-remove:
		t.Errorf("delete was answered before the sync: %v", err)
	case v := <-added:
		t.Errorf("add was answered before the sync: %d", v)
	case e := <-seen:
		t.Errorf("the watcher saw %q before the sync", e.Data)
	default:
	}

	disk.release()
	if r := <-put; r.err != nil {
		t.Fatal(r.err)
	}
	ok(t, <-remove)
	if v := <-added; v != 2 {
		t.Errorf("added: %d", v)
	}
	ok(t, third.Wait(ctx))
	ok(t, second.Wait(ctx))
	if r := must[store.Record](t)(s.Get(ctx, "t", "k")); string(r.Value) != "new" {
		t.Errorf("after the sync: %q", r.Value)
	}
	for _, c := range []chan store.Entry{seen, late} {
		if e, f := <-c, <-c; string(e.Data) != "three" || string(f.Data) != "four" {
			t.Errorf("then came %q and %q", e.Data, f.Data)
		}
	}
}

// neighbour finds a key whose record shares its lock with another.
func neighbour(s *Store, key string) string {
	k, _ := recordKey("t", key)
	for i := 0; ; i++ {
		name := fmt.Sprint("n", i)
		if n, _ := recordKey("t", name); s.table.shard(hashOf(n)) == s.table.shard(hashOf(k)) {
			return name
		}
	}
}

// waitFor polls for something that other goroutines are about to do.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 30000 {
		if ok() {
			return
		}
		<-tick.C
	}
	t.Fatal("it did not happen")
}

// TestDeliverFirstWaitsForEpoch holds back the sync of a log's first entry: nothing may
// be shown under an epoch that a crash could take away.
func TestDeliverFirstWaitsForEpoch(t *testing.T) {
	disk := newSlowDisk()
	s := openStore(t, Options{Dir: "data", fs: disk})
	t.Cleanup(disk.release)
	ctx := t.Context()
	seen := make(chan store.Entry, 10)
	cancel := must[func()](t)(s.Watch(ctx, "log", func(e store.Entry) { seen <- e }))
	defer cancel()
	disk.hold()
	must[store.Pending](t)(s.Append(ctx, "log", []byte("one"), store.DeliverFirst))
	<-disk.waiting
	last := must[store.Pending](t)(s.Append(ctx, "log", []byte("two"), store.DeliverFirst))
	short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	if err := last.Wait(short); !errors.Is(err, store.ErrUncertain) {
		t.Fatalf("wait: %v", err)
	}
	if len(seen) > 0 {
		t.Fatal("an entry was shown before its epoch was durable")
	}
	if h := must[store.Head](t)(s.Head(ctx, "log")); h != (store.Head{}) {
		t.Fatalf("head %+v", h)
	}
	disk.release()
	ok(t, last.Wait(ctx))
	if a, b := <-seen, <-seen; string(a.Data) != "one" || string(b.Data) != "two" {
		t.Fatalf("saw %q, %q", a.Data, b.Data)
	}
}

// failingDisk fails the syncs of log files from some time on.
type failingDisk struct {
	vfs.FS
	mu  sync.Mutex
	err error
}

func (d *failingDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	if f == nil || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	return &failingFile{f, d}, err
}

func (d *failingDisk) set(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

func (d *failingDisk) get() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

type failingFile struct {
	vfs.File
	disk *failingDisk
}

func (f *failingFile) Sync() error     { return errors.Join(f.disk.get(), f.File.Sync()) }
func (f *failingFile) SyncData() error { return errors.Join(f.disk.get(), f.File.SyncData()) }

// TestSyncFails lets a sync fail: the outcome is unknown, and nothing is answered from
// what may not be on the disk.
func TestSyncFails(t *testing.T) {
	disk := &failingDisk{FS: memory(vfs.NewMem())}
	s := must[*Store](t)(Open(Options{Dir: "data", fs: disk}))
	ctx := t.Context()
	rev := must[store.Rev](t)(s.Put(ctx, "t", "k", []byte("old"), 0))
	broken := errors.New("broken disk")
	disk.set(broken)
	if _, err := s.Put(ctx, "t", "k", []byte("new"), rev); !errors.Is(err, store.ErrUncertain) || !errors.Is(err, broken) {
		t.Fatalf("put: %v", err)
	}
	if _, err := s.Get(ctx, "t", "k"); !errors.Is(err, broken) {
		t.Fatalf("get: %v", err)
	}
	for _, err := range s.Scan(ctx, "t", "") {
		if !errors.Is(err, broken) {
			t.Fatalf("scan: %v", err)
		}
	}
	if _, err := s.Append(ctx, "log", nil, store.DeliverFirst); !errors.Is(err, broken) {
		t.Fatalf("append: %v", err)
	}
	if err := s.Err(); !errors.Is(err, broken) {
		t.Fatalf("err: %v", err)
	}
	if err := s.Close(); !errors.Is(err, broken) {
		t.Fatalf("close: %v", err)
	}
}

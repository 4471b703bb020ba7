package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tandem-call/tandem/internal/store"
)

// Counters tests counters.
func Counters(t *testing.T, open Open) {
	runAll(t, open, []test{
		{"Add", testAdd},
		{"AddConcurrently", testAddConcurrently},
	})
}

func (h *harness) add(counter string, delta, want int64) {
	h.t.Helper()
	if got, err := h.Add(h.ctx, counter, delta); err != nil || got != want {
		h.t.Fatalf("add %d to %s: %d, %v, want %d", delta, counter, got, err, want)
	}
}

func testAdd(t *testing.T, h *harness) {
	h.add("c", 0, 0)
	h.add("c", 5, 5)
	h.add("c", -8, -3)
	h.add("c/2", 1, 1)
	h.add("c.2", 2, 2)
	h.add(store.Key("tenant", "+44 é"), 1<<40, 1<<40)
	h.reopen()
	h.add("c", 0, -3)
	h.add("c/2", 1, 2)
	h.add(store.Key("tenant", "+44 é"), 1, 1<<40+1)
}

func testAddConcurrently(t *testing.T, h *harness) {
	const workers, each = 8, 20
	var mu sync.Mutex
	seen := map[int64]bool{}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			last := int64(0)
			for range each {
				v, err := h.Add(h.ctx, "c", 1)
				if err != nil {
					t.Errorf("add: %v", err)
					return
				}
				if v <= last {
					t.Errorf("value %d after %d", v, last)
				}
				last = v
				mu.Lock()
				seen[v] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != workers*each {
		t.Fatalf("%d different values for %d additions", len(seen), workers*each)
	}
	h.add("c", 0, workers*each)
}

// Bus tests the bus for what need not last.
func Bus(t *testing.T, open Open) {
	runAll(t, open, []test{
		{"PublishSubscribe", testPublishSubscribe},
		{"Wildcard", testWildcard},
		{"CancelSubscription", testCancelSubscription},
	})
}

type message struct{ subject, data string }

func (h *harness) subscribe(subject string) (<-chan message, func()) {
	h.t.Helper()
	got := make(chan message, 1000)
	cancel, err := h.Subscribe(h.ctx, subject, func(subject string, data []byte) {
		got <- message{subject, string(data)}
	})
	if err != nil {
		h.t.Fatalf("subscribe %s: %v", subject, err)
	}
	return got, cancel
}

func (h *harness) publish(subject, data string) {
	h.t.Helper()
	if err := h.Publish(h.ctx, subject, []byte(data)); err != nil {
		h.t.Fatalf("publish %s: %v", subject, err)
	}
}

func (h *harness) wantMessages(who string, got <-chan message, want ...message) {
	h.t.Helper()
	for _, w := range want {
		if m := receive(h, who, got); m != w {
			h.t.Fatalf("%s got %v, want %v", who, m, w)
		}
	}
	if len(got) > 0 {
		h.t.Fatalf("%s got %v, too", who, <-got)
	}
}

func testPublishSubscribe(t *testing.T, h *harness) {
	h.publish("a/b", "nobody listens")
	one, cancelOne := h.subscribe("a/b")
	two, cancelTwo := h.subscribe("a/b")
	other, cancelOther := h.subscribe(store.Key("a", "b c"))
	defer cancelOne()
	defer cancelTwo()
	defer cancelOther()
	var want []message
	for i := range 50 { // in order of publication
		h.publish("a/b", fmt.Sprint(i))
		want = append(want, message{"a/b", fmt.Sprint(i)})
	}
	h.publish("a/b/c", "below")
	h.publish("a", "above")
	h.publish(store.Key("a", "b c"), "")
	h.wantMessages("first subscriber", one, want...)
	h.wantMessages("second subscriber", two, want...)
	h.wantMessages("other subscriber", other, message{store.Key("a", "b c"), ""})
}

func testWildcard(t *testing.T, h *harness) {
	all, cancel := h.subscribe("a/>")
	defer cancel()
	deeper, cancelDeeper := h.subscribe("a/b/>")
	defer cancelDeeper()
	dotted, cancelDotted := h.subscribe(store.Key("x.y", "+44") + "/>")
	defer cancelDotted()
	for _, s := range []string{"a/b", "a", "ab/c", "a/b/c", "b/a/b", "a/b/c/d", "a.b/c", "a/+"} {
		h.publish(s, "to "+s)
	}
	h.publish(store.Key("x.y", "+44", "z"), "dotted")
	h.publish(store.Key("x", "y", "+44", "z"), "not dotted")
	h.wantMessages("a/>", all, message{"a/b", "to a/b"}, message{"a/b/c", "to a/b/c"},
		message{"a/b/c/d", "to a/b/c/d"}, message{"a/+", "to a/+"})
	h.wantMessages("a/b/>", deeper, message{"a/b/c", "to a/b/c"}, message{"a/b/c/d", "to a/b/c/d"})
	h.wantMessages("x.y/+44/>", dotted, message{store.Key("x.y", "+44", "z"), "dotted"})
}

func testCancelSubscription(t *testing.T, h *harness) {
	witness, cancelWitness := h.subscribe("a")
	defer cancelWitness()
	for range 20 {
		var stopped atomic.Bool
		cancel, err := h.Subscribe(h.ctx, "a", func(string, []byte) {
			if stopped.Load() {
				t.Error("a cancelled subscriber was called")
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		h.publish("a", "x")
		h.publish("a", "y")
		cancel()
		stopped.Store(true)
		h.publish("a", "z")
		h.wantMessages("witness", witness, message{"a", "x"}, message{"a", "y"}, message{"a", "z"})
		cancel() // again is harmless
	}
}

// Lifecycle tests opening and closing.
func Lifecycle(t *testing.T, open Open) {
	runAll(t, open, []test{
		{"ReopenKeepsEverything", testReopen},
		{"CloseSettlesAppends", testCloseSettlesAppends},
		{"Closed", testClosed},
		{"Health", testHealth},
	})
}

func testReopen(t *testing.T, h *harness) {
	revs := map[string]store.Rev{}
	var entries []store.Entry
	for i := range 30 {
		key := fmt.Sprintf("k%02d", i)
		revs[key] = h.put("t", key, "first", 0)
		if i%3 > 0 {
			revs[key] = h.put("t", key, "value of "+key, revs[key])
		}
		if i%3 == 2 {
			if err := h.Delete(h.ctx, "t", key, revs[key]); err != nil {
				t.Fatal(err)
			}
			revs[key] = 0
		}
		entries = append(entries, h.append("log", key))
		h.add("c", 2, int64(2*i+2))
	}
	head := h.head("log")
	for range 2 {
		h.reopen()
		for key, rev := range revs {
			r, err := h.Get(h.ctx, "t", key)
			switch {
			case rev == 0:
				h.wantErr("get of a deleted record", err, store.ErrNotFound)
			case err != nil || r.Rev != rev || string(r.Value) != "first" && string(r.Value) != "value of "+key:
				t.Fatalf("get %s: %q at %d, %v, want revision %d", key, r.Value, r.Rev, err, rev)
			}
		}
		if n := len(h.scan(h.ctx, "t", "")); n != 20 {
			t.Fatalf("%d records", n)
		}
		h.wantEntries("log", h.readAll("log", 0), entries)
		if got := h.head("log"); got.Seq != head.Seq || got.Epoch < head.Epoch {
			t.Fatalf("head %+v, was %+v", got, head)
		}
		h.add("c", 0, 60)
	}
}

// testCloseSettlesAppends closes with appends under way: each outcome comes exactly
// once, and what succeeded is there afterwards.
func testCloseSettlesAppends(t *testing.T, h *harness) {
	const n = 40
	type result struct {
		seq uint64
		err error
	}
	results := make(chan result, 2*n)
	for i := range n {
		p := h.begin("log", fmt.Sprint(i), store.Delivery(i%2))
		p.Done(func(err error) { results <- result{p.Seq(), err} })
	}
	h.reopen()
	stored := map[uint64]bool{}
	for _, e := range h.readAll("log", 0) {
		stored[e.Seq] = true
	}
	for range n {
		if r := receive(h, "outcome", results); r.err == nil && !stored[r.seq] {
			t.Fatalf("entry %d was acknowledged and is not there", r.seq)
		}
	}
	if len(results) > 0 {
		t.Fatal("an outcome came twice")
	}
}

func testClosed(t *testing.T, h *harness) {
	rev := h.put("t", "k", "v", 0)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := h.Get(h.ctx, "t", "k")
	h.wantErr("get", err, store.ErrClosed)
	_, err = h.Put(h.ctx, "t", "k", nil, rev)
	h.wantErr("put", err, store.ErrClosed)
	h.wantErr("delete", h.Delete(h.ctx, "t", "k", rev), store.ErrClosed)
	_, err = h.Append(h.ctx, "log", nil, store.DeliverAfter)
	h.wantErr("append", err, store.ErrClosed)
	_, err = h.Read(h.ctx, "log", 0, 10)
	h.wantErr("read", err, store.ErrClosed)
	_, err = h.Head(h.ctx, "log")
	h.wantErr("head", err, store.ErrClosed)
	_, err = h.Rewind(h.ctx, "log", 1, 1)
	h.wantErr("rewind", err, store.ErrClosed)
	_, err = h.Watch(h.ctx, "log", func(store.Entry) {})
	h.wantErr("watch", err, store.ErrClosed)
	h.wantErr("drop", h.DropLog(h.ctx, "log"), store.ErrClosed)
	_, err = h.Add(h.ctx, "c", 1)
	h.wantErr("add", err, store.ErrClosed)
	h.wantErr("publish", h.Publish(h.ctx, "s", nil), store.ErrClosed)
	_, err = h.Subscribe(h.ctx, "s", func(string, []byte) {})
	h.wantErr("subscribe", err, store.ErrClosed)
	for _, err = range h.Scan(h.ctx, "t", "") {
	}
	h.wantErr("scan", err, store.ErrClosed)
	h.wantErr("err", h.Err(), store.ErrClosed)
	if err := h.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
		t.Fatalf("second close: %v", err)
	}
}

func testHealth(t *testing.T, h *harness) {
	if err := h.Err(); err != nil {
		t.Fatalf("a fresh engine reports %v", err)
	}
	if h.Durability() == "" {
		t.Fatal("the engine does not say what an acknowledgement means")
	}
}

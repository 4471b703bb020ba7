package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/store"
)

// Logs tests append-only logs: order, reading, watching, epochs.
func Logs(t *testing.T, open Open) {
	runAll(t, open, []test{
		{"AppendAndRead", testAppendAndRead},
		{"HeadFollowsAck", testHeadFollowsAck},
		{"DoneOnce", testDoneOnce},
		{"DoneInOrder", testDoneInOrder},
		{"WaitCancelled", testWaitCancelled},
		{"WatchInOrder", testWatchInOrder},
		{"WatchAndReadJoin", testWatchAndReadJoin},
		{"WatchDurable", testWatchDurable},
		{"WatchCancel", testWatchCancel},
		{"WatchOutlivesContext", testWatchOutlivesContext},
		{"LogsAreApart", testLogsAreApart},
		{"Rewind", testRewind},
		{"DropLog", testDropLog},
	})
}

func testAppendAndRead(t *testing.T, h *harness) {
	if got := h.head("log"); got != (store.Head{}) {
		t.Fatalf("head of an unwritten log: %+v", got)
	}
	if got := h.readAll("log", 0); len(got) != 0 {
		t.Fatalf("entries of an unwritten log: %s", brief(got))
	}
	before := time.Now().Add(-time.Minute)
	var want []store.Entry
	for i := range 20 {
		e := h.append("log", fmt.Sprint("entry ", i))
		if e.Epoch == 0 || e.Seq == 0 || i > 0 && (e.Seq <= want[i-1].Seq || e.Epoch != want[i-1].Epoch) {
			t.Fatalf("entry %d: sequence %d of epoch %d", i, e.Seq, e.Epoch)
		}
		want = append(want, e)
	}
	got := h.readAll("log", 0)
	h.wantEntries("all", got, want)
	for _, e := range got {
		if e.Time.Before(before) || e.Time.After(time.Now().Add(time.Minute)) {
			t.Fatalf("entry %d has the time %v", e.Seq, e.Time)
		}
	}
	h.wantEntries("tail", h.readAll("log", want[14].Seq), want[15:])
	h.wantEntries("after the end", h.readAll("log", want[19].Seq), nil)
	h.wantEntries("far after the end", h.readAll("log", want[19].Seq+100), nil)
	page, err := h.Read(h.ctx, "log", want[2].Seq, 3)
	if err != nil {
		t.Fatal(err)
	}
	h.wantEntries("page", page, want[3:6])
	h.reopen()
	h.wantEntries("after reopening", h.readAll("log", 0), want)
	e := h.append("log", "later")
	if e.Seq <= want[19].Seq {
		t.Fatalf("after reopening: sequence %d after %d", e.Seq, want[19].Seq)
	}
}

func testHeadFollowsAck(t *testing.T, h *harness) {
	for i := range 30 {
		e := h.append("log", fmt.Sprint(i))
		if got := h.head("log"); got != (store.Head{Epoch: e.Epoch, Seq: e.Seq}) {
			t.Fatalf("head %+v after the ack of %d in epoch %d", got, e.Seq, e.Epoch)
		}
		if got, err := h.Head(store.Linearizable(h.ctx), "log"); err != nil || got.Seq != e.Seq {
			t.Fatalf("linearizable head %+v, %v after the ack of %d", got, err, e.Seq)
		}
		if got := h.readAll("log", e.Seq-1); len(got) != 1 || !same(got[0], e) {
			t.Fatalf("acknowledged entry %d cannot be read: %s", e.Seq, brief(got))
		}
	}
}

func testDoneOnce(t *testing.T, h *harness) {
	const n = 50
	var calls [n][3]atomic.Int32
	outcomes := make(chan error, 4*n)
	var all []store.Pending
	for i := range n {
		p := h.begin("log", fmt.Sprint(i), store.Delivery(i%2))
		all = append(all, p)
		for j := range 2 { // at once, twice
			p.Done(func(err error) { calls[i][j].Add(1); outcomes <- err })
		}
	}
	for i, p := range all {
		h.wait(p)
		p.Done(func(err error) { calls[i][2].Add(1); outcomes <- err }) // after the outcome
	}
	for range 3 * n {
		if err := receive(h, "outcome", outcomes); err != nil {
			t.Fatal(err)
		}
	}
	h.reopen() // nothing is called once more, at the latest now
	for i := range calls {
		for j := range calls[i] {
			if c := calls[i][j].Load(); c != 1 {
				t.Fatalf("entry %d: function %d was called %d times", i, j, c)
			}
		}
	}
}

// testDoneInOrder asks for each outcome right after the append, some so late that it is
// known already.
func testDoneInOrder(t *testing.T, h *harness) {
	const n = 300
	order := make(chan uint64, n)
	for i := range n {
		p := h.begin("log", fmt.Sprint(i), store.Delivery(i%2))
		if i%7 == 0 {
			h.wait(p)
		}
		p.Done(func(error) { order <- p.Seq() })
		if i%7 == 0 && len(order) != i+1 {
			t.Fatalf("entry %d is stored, and %d of %d outcomes are told", i+1, len(order), i+1)
		}
	}
	for i := range n {
		if seq := receive(h, "outcome", order); seq != uint64(i+1) {
			t.Fatalf("the outcome of entry %d came in place %d", seq, i+1)
		}
	}
}

func testWaitCancelled(t *testing.T, h *harness) {
	ended, cancel := context.WithCancel(h.ctx)
	cancel()
	for i := range 20 {
		p := h.begin("log", fmt.Sprint(i), store.DeliverAfter)
		if err := p.Wait(ended); err != nil && !errors.Is(err, store.ErrUncertain) {
			t.Fatalf("wait with an ended context: %v", err)
		}
		h.wait(p) // the append itself goes on
	}
	if got := h.readAll("log", 0); len(got) != 20 {
		t.Fatalf("%d entries", len(got))
	}
}

// appendMany appends from several goroutines at once and returns what was acknowledged,
// by sequence.
func (h *harness) appendMany(log string, writers, each int, delivery func(i int) store.Delivery) map[uint64]store.Entry {
	h.t.Helper()
	var mu sync.Mutex
	acked := map[uint64]store.Entry{}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			var last uint64
			for i := range each {
				data := fmt.Sprintf("%d-%d", w, i)
				p, err := h.Append(h.ctx, log, []byte(data), delivery(i))
				if err == nil && i%3 == 0 {
					err = p.Wait(h.ctx)
				}
				if err != nil {
					h.t.Errorf("append %s: %v", data, err)
					return
				}
				if p.Seq() <= last {
					h.t.Errorf("append %s: sequence %d after %d", data, p.Seq(), last)
				}
				last = p.Seq()
				mu.Lock()
				acked[p.Seq()] = store.Entry{Seq: p.Seq(), Epoch: p.Epoch(), Data: []byte(data)}
				mu.Unlock()
				if i == each-1 { // durable in order: the last one stands for all
					if err := p.Wait(h.ctx); err != nil {
						h.t.Errorf("append %s: %v", data, err)
					}
				}
			}
		})
	}
	wg.Wait()
	if len(acked) != writers*each {
		h.t.Fatalf("%d different sequences for %d entries", len(acked), writers*each)
	}
	return acked
}

// watch collects what a watcher of the log sees.
func (h *harness) watch(log string) (<-chan store.Entry, func()) {
	h.t.Helper()
	seen := make(chan store.Entry, 10000)
	cancel, err := h.Watch(h.ctx, log, func(e store.Entry) { seen <- e })
	if err != nil {
		h.t.Fatalf("watch %s: %v", log, err)
	}
	return seen, cancel
}

func testWatchInOrder(t *testing.T, h *harness) {
	deliveries := map[string]func(int) store.Delivery{
		"after": func(int) store.Delivery { return store.DeliverAfter },
		"first": func(int) store.Delivery { return store.DeliverFirst },
		"mixed": func(i int) store.Delivery { return store.Delivery(i % 2) },
	}
	for name, delivery := range deliveries {
		seen, cancel := h.watch(name)
		also, cancelAlso := h.watch(name)
		acked := h.appendMany(name, 4, 25, delivery)
		for _, c := range []<-chan store.Entry{seen, also} {
			var last uint64
			for range acked {
				e := receive(h, name, c)
				if e.Seq <= last {
					t.Fatalf("%s: sequence %d after %d", name, e.Seq, last)
				}
				if !same(e, acked[e.Seq]) {
					t.Fatalf("%s: entry %d is %q, acknowledged was %q", name, e.Seq, e.Data, acked[e.Seq].Data)
				}
				last = e.Seq
			}
		}
		cancel()
		cancelAlso()
		if len(seen) != 0 || len(also) != 0 {
			t.Fatalf("%s: a watcher saw more than was appended", name)
		}
	}
}

// testWatchAndReadJoin follows a log from its start while it is being written.
func testWatchAndReadJoin(t *testing.T, h *harness) {
	h.appendMany("log", 2, 10, func(int) store.Delivery { return store.DeliverAfter })
	var wg sync.WaitGroup
	wg.Go(func() {
		h.appendMany("log", 3, 40, func(i int) store.Delivery { return store.Delivery(i % 2) })
	})
	var followers [3][]store.Entry
	for i := range followers {
		live, cancel := h.watch("log")
		got := h.readAll("log", 0)
		var last uint64
		if len(got) > 0 {
			last = got[len(got)-1].Seq
		}
		for len(got) < 20+3*40 {
			if e := receive(h, "live entry", live); e.Seq > last {
				got, last = append(got, e), e.Seq
			}
		}
		cancel()
		followers[i] = got
	}
	wg.Wait()
	want := h.readAll("log", 0)
	for _, got := range followers {
		h.wantEntries("follower", got, want)
	}
}

// testWatchDurable checks that an entry to be delivered after is durable when it is seen.
func testWatchDurable(t *testing.T, h *harness) {
	seen, cancel := h.watch("log")
	defer cancel()
	for i := range 30 {
		p := h.begin("log", fmt.Sprint(i), store.DeliverAfter)
		e := receive(h, "entry", seen)
		if e.Seq != p.Seq() {
			t.Fatalf("saw %d, appended %d", e.Seq, p.Seq())
		}
		if head := h.head("log"); head.Seq < e.Seq {
			t.Fatalf("entry %d was delivered with the durable head at %d", e.Seq, head.Seq)
		}
	}
}

func testWatchCancel(t *testing.T, h *harness) {
	for range 20 {
		var stopped atomic.Bool
		cancel, err := h.Watch(h.ctx, "log", func(store.Entry) {
			if stopped.Load() {
				t.Error("a cancelled watcher was called")
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		var last store.Pending
		for i := range 5 {
			last = h.begin("log", "x", store.Delivery(i%2))
		}
		cancel()
		stopped.Store(true)
		h.wait(last)
		cancel() // again is harmless
	}
}

func testWatchOutlivesContext(t *testing.T, h *harness) {
	ctx, end := context.WithCancel(h.ctx)
	seen := make(chan store.Entry, 10)
	cancel, err := h.Watch(ctx, "log", func(e store.Entry) { seen <- e })
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	end() // it covers the set-up only
	e := h.append("log", "x")
	if got := receive(h, "entry", seen); !same(got, e) {
		t.Fatalf("saw %q", got.Data)
	}
}

func testLogsAreApart(t *testing.T, h *harness) {
	logs := []string{"a", "ab", "a/b", "a.b", "A"}
	var seen []<-chan store.Entry
	for _, log := range logs {
		c, cancel := h.watch(log)
		defer cancel()
		seen = append(seen, c)
	}
	for i := range 3 {
		for _, log := range logs {
			h.append(log, fmt.Sprint(log, i))
		}
	}
	for l, log := range logs {
		for i := range 3 {
			if e := receive(h, "entry", seen[l]); string(e.Data) != fmt.Sprint(log, i) {
				t.Fatalf("watcher of %s saw %q", log, e.Data)
			}
		}
		if got := h.readAll(log, 0); len(got) != 3 {
			t.Fatalf("log %s: %s", log, brief(got))
		}
	}
	if err := h.DropLog(h.ctx, "a"); err != nil {
		t.Fatal(err)
	}
	for _, log := range logs[1:] {
		if got := h.readAll(log, 0); len(got) != 3 {
			t.Fatalf("log %s after dropping a: %s", log, brief(got))
		}
	}
}

func testRewind(t *testing.T, h *harness) {
	if got := h.rewind("log", 1, 5); got != 0 {
		t.Fatalf("rewind of an unwritten log: %d", got)
	}
	var all []store.Entry
	for i := range 10 {
		all = append(all, h.append("log", fmt.Sprint(i)))
	}
	check := func() {
		t.Helper()
		for _, e := range all {
			if got := h.rewind("log", e.Epoch, e.Seq); got != e.Seq {
				t.Fatalf("rewind to what is stored: %d, want %d", got, e.Seq)
			}
		}
		last := all[len(all)-1]
		if got := h.rewind("log", last.Epoch, last.Seq+5); got != last.Seq {
			t.Fatalf("rewind from beyond the end: %d, want %d", got, last.Seq)
		}
		if got := h.rewind("log", last.Epoch+1000, last.Seq); got != 0 {
			t.Fatalf("rewind from an unknown epoch: %d", got)
		}
		if got := h.rewind("log", 0, last.Seq); got != 0 {
			t.Fatalf("rewind from no epoch: %d", got)
		}
	}
	check()
	h.reopen()
	check()
	all = append(all, h.append("log", "after reopening"))
	check()
	// An entry that is known but not durable yet is waited for, not taken back.
	p := h.begin("log", "first", store.DeliverFirst)
	if got := h.rewind("log", p.Epoch(), p.Seq()); got != p.Seq() {
		t.Fatalf("rewind from an entry under way: %d, want %d", got, p.Seq())
	}
}

func testDropLog(t *testing.T, h *harness) {
	if err := h.DropLog(h.ctx, "log"); err != nil {
		t.Fatalf("dropping nothing: %v", err)
	}
	var last store.Entry
	for round := range 4 {
		seen, cancel := h.watch("log")
		e := h.append("log", fmt.Sprint("round ", round))
		if e.Epoch < last.Epoch || e.Epoch == last.Epoch && e.Seq <= last.Seq {
			t.Fatalf("after a drop: %d/%d follows %d/%d", e.Epoch, e.Seq, last.Epoch, last.Seq)
		}
		h.wantEntries("after a drop", h.readAll("log", 0), []store.Entry{e})
		if got := receive(h, "entry", seen); !same(got, e) {
			t.Fatalf("watcher saw %q", got.Data)
		}
		cancel()
		if last.Epoch != 0 && last.Epoch != e.Epoch && h.rewind("log", last.Epoch, last.Seq) != 0 {
			t.Fatal("an epoch survived the drop")
		}
		last = e
		if err := h.DropLog(h.ctx, "log"); err != nil {
			t.Fatal(err)
		}
		if got := h.head("log"); got != (store.Head{}) {
			t.Fatalf("head after a drop: %+v", got)
		}
		if got := h.readAll("log", 0); len(got) != 0 {
			t.Fatalf("entries after a drop: %s", brief(got))
		}
		if got := h.rewind("log", last.Epoch, last.Seq); got != 0 {
			t.Fatalf("rewind after a drop: %d", got)
		}
		if round == 2 {
			h.reopen()
		}
	}
}

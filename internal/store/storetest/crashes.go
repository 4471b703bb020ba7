package storetest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/tandem-call/tandem/internal/store"
)

// Crashable opens a fresh engine, and returns with it a function that cuts it off as a
// power cut would, without warning and with writes under way, and opens what is left.
// The function may be called again after each opening.
type Crashable func(t *testing.T) (e store.Engine, crash func() store.Engine)

// place is where an entry stands, for ever.
type place struct{ epoch, seq uint64 }

// Crashes cuts the engine off while it is being written, several times, and checks that
// everything acknowledged is there afterwards; that a place in a log never means two
// things, even if only a watcher has seen the first; and that Rewind takes back exactly
// what was shown and never stored.
func Crashes(t *testing.T, open Crashable) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	e, crash := open(t)
	h := &harness{Engine: e, t: t, ctx: ctx}
	t.Cleanup(func() { h.Close() })

	var mu sync.Mutex
	shown := map[place]string{}          // told to a watcher, perhaps not durable
	acked := map[place]string{}          // acknowledged
	values := map[string]string{}        // acknowledged, per record
	revs := map[string]store.Rev{}       // acknowledged, per record
	counted, added := int64(0), int64(0) // lower and upper bound of the counter

	for round := range 8 {
		life, end := context.WithCancel(ctx)
		if _, err := h.Watch(ctx, "log", func(e store.Entry) {
			mu.Lock()
			defer mu.Unlock()
			at := place{e.Epoch, e.Seq}
			if old, ok := shown[at]; ok && old != string(e.Data) {
				t.Errorf("entry %d of epoch %d was %q and is %q", e.Seq, e.Epoch, old, e.Data)
			}
			shown[at] = string(e.Data)
		}); err != nil {
			t.Fatal(err)
		}
		enough := make(chan struct{}, 1000)
		var wg sync.WaitGroup
		for w := range 3 {
			wg.Go(func() {
				for i := 0; life.Err() == nil; i++ {
					data := fmt.Sprintf("%d-%d-%d", round, w, i)
					p, err := h.Append(life, "log", []byte(data), store.Delivery(i%2))
					if err != nil {
						return
					}
					if p.Wait(life) == nil {
						mu.Lock()
						acked[place{p.Epoch(), p.Seq()}] = data
						mu.Unlock()
						tell(enough)
					}
				}
			})
			wg.Go(func() {
				for i := 0; life.Err() == nil; i++ {
					key := fmt.Sprintf("k%d-%d", w, i%5)
					value := fmt.Sprintf("%d-%d", round, i)
					mu.Lock()
					at := revs[key]
					mu.Unlock()
					rev, err := h.Put(life, "t", key, []byte(value), at)
					if err != nil {
						return
					}
					mu.Lock()
					values[key], revs[key] = value, rev
					mu.Unlock()
					tell(enough)
				}
			})
		}
		wg.Go(func() {
			for life.Err() == nil {
				mu.Lock()
				added++
				mu.Unlock()
				v, err := h.Add(life, "c", 1)
				if err != nil {
					return
				}
				mu.Lock()
				counted = max(counted, v)
				mu.Unlock()
			}
		})
		for range 20 + rand.IntN(60) {
			receive(h, "acknowledgement", enough)
		}
		// What is acknowledged from here on may not be on the copy that the cut leaves,
		// so only what is known by now counts; it is a lower bound either way.
		mu.Lock()
		wantAcked, wantValues, wantRevs := maps.Clone(acked), maps.Clone(values), maps.Clone(revs)
		wantCounted := counted
		mu.Unlock()
		next := crash()
		end()
		wg.Wait()
		h.Engine = next

		stored := map[place]string{}
		for _, e := range h.readAll("log", 0) {
			stored[place{e.Epoch, e.Seq}] = string(e.Data)
		}
		for at, data := range wantAcked {
			if stored[at] != data {
				t.Fatalf("round %d: acknowledged entry %v is %q, want %q", round, at, stored[at], data)
			}
		}
		mu.Lock()
		for at, data := range stored {
			if old, ok := shown[at]; ok && old != data {
				t.Fatalf("round %d: entry %v was shown as %q and is %q", round, at, old, data)
			}
		}
		for at := range shown {
			back := h.rewind("log", at.epoch, at.seq)
			_, kept := stored[at]
			if kept && back != at.seq || !kept && back >= at.seq {
				t.Fatalf("round %d: rewind from %v, stored %v: %d", round, at, kept, back)
			}
		}
		for key, value := range wantValues {
			r, err := h.Get(ctx, "t", key)
			if err != nil {
				t.Fatalf("round %d: acknowledged record %s: %v", round, key, err)
			}
			if r.Rev < wantRevs[key] || r.Rev == wantRevs[key] && string(r.Value) != value {
				t.Fatalf("round %d: record %s is %q at %d, want %q at %d", round, key, r.Value, r.Rev, value, wantRevs[key])
			}
		}
		// The next life starts from what is there.
		acked, values, revs = stored, map[string]string{}, map[string]store.Rev{}
		for r, err := range h.Scan(ctx, "t", "") {
			if err != nil {
				t.Fatal(err)
			}
			values[r.Key], revs[r.Key] = string(r.Value), r.Rev
		}
		v, err := h.Add(ctx, "c", 0)
		if err != nil || v < wantCounted || v > added {
			t.Fatalf("round %d: counter %d, %v, want %d to %d", round, v, err, wantCounted, added)
		}
		counted, added = v, v
		mu.Unlock()
	}
}

func tell(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

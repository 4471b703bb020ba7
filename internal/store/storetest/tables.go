package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/store"
)

// Tables tests records: compare-and-set, deletes, scans, and who wins a race.
func Tables(t *testing.T, open Open) {
	runAll(t, open, []test{
		{"CompareAndSet", testCompareAndSet},
		{"Delete", testDelete},
		{"RevisionsNeverRepeat", testRevisionsNeverRepeat},
		{"Scan", testScan},
		{"ScanWhileWriting", testScanWhileWriting},
		{"ScanOfFolders", testScanOfFolders},
		{"OddKeys", testOddKeys},
		{"TablesAreApart", testTablesAreApart},
		{"ValueSizes", testValueSizes},
		{"CancelledContext", testCancelledContext},
		{"ChangeThroughUncertainty", testChangeThroughUncertainty},
		{"OneWinner", testOneWinner},
		{"Linearizable", testLinearizable},
	})
}

func testCompareAndSet(t *testing.T, h *harness) {
	_, err := h.Get(h.ctx, "t", "k")
	h.wantErr("get of nothing", err, store.ErrNotFound)
	_, err = h.Put(h.ctx, "t", "k", []byte("x"), 7)
	h.wantErr("change of nothing", err, store.ErrConflict)

	r1 := h.put("t", "k", "one", 0)
	h.wantRecord("t", "k", "one", r1)
	_, err = h.Put(h.ctx, "t", "k", []byte("x"), 0)
	h.wantErr("second creation", err, store.ErrConflict)

	r2 := h.put("t", "k", "two", r1)
	for _, at := range []store.Rev{0, r1, r2 + 1} {
		_, err = h.Put(h.ctx, "t", "k", []byte("x"), at)
		h.wantErr(fmt.Sprintf("put at %d", at), err, store.ErrConflict)
	}
	h.wantRecord("t", "k", "two", r2)
	h.put("t", "other", "o", 0)
	r3 := h.put("t", "k", "two", r2)
	h.wantRecord("t", "k", "two", r3)
}

func testDelete(t *testing.T, h *harness) {
	h.wantErr("delete of nothing", h.Delete(h.ctx, "t", "k", 0), store.ErrNotFound)
	h.wantErr("delete of nothing", h.Delete(h.ctx, "t", "k", 3), store.ErrNotFound)
	r1 := h.put("t", "k", "one", 0)
	r2 := h.put("t", "k", "two", r1)
	h.wantErr("delete at an old revision", h.Delete(h.ctx, "t", "k", r1), store.ErrConflict)
	h.wantErr("delete at zero", h.Delete(h.ctx, "t", "k", 0), store.ErrConflict)
	h.wantRecord("t", "k", "two", r2)
	if err := h.Delete(h.ctx, "t", "k", r2); err != nil {
		t.Fatal(err)
	}
	_, err := h.Get(h.ctx, "t", "k")
	h.wantErr("get after delete", err, store.ErrNotFound)
	h.wantErr("second delete", h.Delete(h.ctx, "t", "k", r2), store.ErrNotFound)
	_, err = h.Put(h.ctx, "t", "k", []byte("x"), r2)
	h.wantErr("change after delete", err, store.ErrConflict)
	h.wantScan("t", "")
}

func testRevisionsNeverRepeat(t *testing.T, h *harness) {
	var last store.Rev
	grow := func(rev store.Rev) {
		t.Helper()
		if rev <= last {
			t.Fatalf("revision %d after %d", rev, last)
		}
		last = rev
	}
	for i := range 10 {
		rev := h.put("t", "k", "created", 0)
		grow(rev)
		rev = h.put("t", "k", "changed", rev)
		grow(rev)
		if err := h.Delete(h.ctx, "t", "k", rev); err != nil {
			t.Fatal(err)
		}
		if i%4 == 3 {
			h.reopen()
		}
	}
}

func testScan(t *testing.T, h *harness) {
	h.wantScan("t", "")
	keys := []string{"a", "a/", "a/1", "a/10", "a/2", "a/2/x", "a=", "a0", "ab", "b/1", "z"}
	for _, i := range rand.Perm(len(keys)) {
		h.put("t", keys[i], "v"+keys[i], 0)
	}
	sorted := slices.Sorted(slices.Values(keys))
	h.wantScan("t", "", sorted...)
	h.wantScan("t", "a/", "a/", "a/1", "a/10", "a/2", "a/2/x")
	h.wantScan("t", "a/1", "a/1", "a/10")
	h.wantScan("t", "b/1", "b/1")
	h.wantScan("t", "c")
	h.wantScan("t", "zz")
	for _, c := range []struct {
		prefix, after string
		want          []string
	}{
		{"", "", sorted},
		{"", "a/2", []string{"a/2/x", "a0", "a=", "ab", "b/1", "z"}},
		{"a/", "", []string{"a/", "a/1", "a/10", "a/2", "a/2/x"}},
		{"a/", "a/", []string{"a/1", "a/10", "a/2", "a/2/x"}},
		{"a/", "a/1", []string{"a/10", "a/2", "a/2/x"}},
		{"a/", "a/11", []string{"a/2", "a/2/x"}}, // not there
		{"a/", "a", []string{"a/", "a/1", "a/10", "a/2", "a/2/x"}},
		{"a/", "a/2/x", nil},
		{"a/", "b", nil},
		{"a/", "a/1\x00?", []string{"a/10", "a/2", "a/2/x"}}, // of bytes that no key has
	} {
		var got []string
		for r, err := range h.ScanAfter(h.ctx, "t", c.prefix, c.after) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, r.Key); string(r.Value) != "v"+r.Key {
				t.Fatalf("scan: %q holds %q", r.Key, r.Value)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Fatalf("scan of %q after %q = %q, want %q", c.prefix, c.after, got, c.want)
		}
	}
	for r, err := range h.Scan(h.ctx, "t", "") {
		if err != nil {
			t.Fatal(err)
		}
		h.wantRecord("t", r.Key, string(r.Value), r.Rev) // a loop may call the engine
		if string(r.Value) != "v"+r.Key {
			t.Fatalf("scan: %q holds %q", r.Key, r.Value)
		}
		if r.Key == "a/2" {
			break
		}
	}
	kept := map[string][]byte{}
	for r, err := range h.Scan(h.ctx, "t", "") {
		if err != nil {
			t.Fatal(err)
		}
		kept[r.Key] = r.Value // values stay what they are after the step
	}
	for k, v := range kept {
		if string(v) != "v"+k {
			t.Fatalf("scan: the kept value of %q turned into %q", k, v)
		}
	}
	ctx, cancel := context.WithCancel(h.ctx)
	cancel()
	var last error
	for _, err := range h.Scan(ctx, "t", "") {
		last = err
	}
	if last == nil {
		t.Fatal("scan with a cancelled context ended without an error")
	}
}

// testScanWhileWriting changes a pair of records in order, first one then the other: a
// scan, which is of one moment or later, never shows the second ahead of the first.
func testScanWhileWriting(t *testing.T, h *harness) {
	a, b := h.put("t", "b", "000", 0), h.put("t", "a", "000", 0) // the later change is scanned first
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		defer done.Store(true)
		for i := range 60 {
			v := []byte(fmt.Sprintf("%03d", i))
			var err error
			if a, err = h.Put(h.ctx, "t", "b", v, a); err == nil {
				b, err = h.Put(h.ctx, "t", "a", v, b)
			}
			if err != nil {
				t.Errorf("put: %v", err)
				return
			}
		}
	})
	defer wg.Wait()
	seen := ""
	for more := true; more; {
		more = !done.Load()
		got := map[string]string{}
		for r, err := range h.Scan(h.ctx, "t", "") {
			if err != nil {
				t.Fatal(err)
			}
			got[r.Key] = string(r.Value)
		}
		if len(got) != 2 || got["a"] > got["b"] || got["b"] < seen {
			t.Fatalf("scan: %v after %s", got, seen)
		}
		seen = got["b"]
	}
}

// testScanOfFolders has each writer change the records of a folder of its own, and find there
// after each change what it must, while others look at all folders and never see one go back.
func testScanOfFolders(t *testing.T, h *harness) {
	const writers, steps = 4, 120
	folder := func(w int) string { return fmt.Sprintf("f%d/", w) }
	keys := []string{"a", "a/b", "a/c", "a/c/d", "b", "c"}
	done := make(chan struct{})
	var writing, looking sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			model := map[string]store.Rev{}
			for i := range steps {
				key := folder(w) + keys[rand.IntN(len(keys))]
				var err error
				if rev := model[key]; rev != 0 && rand.IntN(3) == 0 {
					err = h.Delete(h.ctx, "t", key, rev)
					delete(model, key)
				} else if model[key], err = h.Put(h.ctx, "t", key, fmt.Append(nil, i), rev); rand.IntN(4) == 0 && err == nil {
					_, err = h.Get(h.ctx, "t", key)
				}
				if err != nil {
					t.Errorf("step %d: %v", i, err)
					return
				}
				for _, prefix := range []string{folder(w), folder(w) + "a/", folder(w) + "a/c/"} {
					found := map[string]store.Rev{}
					last := ""
					for r, err := range h.Scan(h.ctx, "t", prefix) {
						if err != nil || r.Key <= last || len(r.Value) == 0 {
							t.Errorf("scan of %s: %q after %q, %q, %v", prefix, r.Key, last, r.Value, err)
							return
						}
						found[r.Key], last = r.Rev, r.Key
						clear(r.Value) // it is ours
					}
					for key, rev := range model {
						if strings.HasPrefix(key, prefix) && found[key] != rev {
							t.Errorf("step %d: %s is at revision %d in a scan of %s, want %d", i, key, found[key], prefix, rev)
							return
						}
					}
					for key := range found {
						if model[key] == 0 {
							t.Errorf("step %d: %s is in a scan of %s, and was deleted", i, key, prefix)
							return
						}
					}
				}
			}
		})
	}
	for range 2 {
		looking.Go(func() {
			seen := map[string]store.Rev{}
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				for r, err := range h.Scan(h.ctx, "t", folder(n%writers)) {
					if err != nil || r.Rev < seen[r.Key] {
						t.Errorf("%s went from revision %d to %d: %v", r.Key, seen[r.Key], r.Rev, err)
						return
					}
					seen[r.Key] = r.Rev
				}
			}
		})
	}
	writing.Wait()
	close(done)
	looking.Wait()
}

func testOddKeys(t *testing.T, h *harness) {
	keys := []string{
		store.Key("tenant", "+442079460001"),
		store.Key("tenant", "sip:Alice Smith@example.org;user=phone"),
		store.Key("tenant", ""),
		store.Key("", ""),
		store.Key("x/y", "*", ">", "#"),
		store.Key("é", "\x00", "\xff"),
		store.Key(strings.Repeat("long", 60)),
		".", "a.b", "a..b", ".a", "a.", "-", "=", "==", "+", "_", "UPPER", "upper",
	}
	for _, k := range keys {
		h.put("t", k, "v:"+k, 0)
		h.put(store.Key("t", "odd", k), k, "w:"+k, 0) // as part of a table's name
	}
	for _, k := range keys {
		r, err := h.Get(h.ctx, "t", k)
		if err != nil || string(r.Value) != "v:"+k {
			t.Errorf("get %q: %q, %v", k, r.Value, err)
		}
		h.wantScan(store.Key("t", "odd", k), "", k)
		h.append(store.Key("log", k), k)
		if e := h.readAll(store.Key("log", k), 0); len(e) != 1 || string(e[0].Data) != k {
			t.Errorf("log %q: %s", k, brief(e))
		}
	}
	h.wantScan("t", "", slices.Sorted(slices.Values(keys))...)
}

func testTablesAreApart(t *testing.T, h *harness) {
	tables := []string{"a", "ab", "a/b", "a.b", "A", store.Key("a", "b", "c")}
	revs := map[string]store.Rev{}
	for _, table := range tables {
		revs[table] = h.put(table, "k", "in "+table, 0)
	}
	for _, table := range tables {
		h.wantRecord(table, "k", "in "+table, revs[table])
		h.wantScan(table, "", "k")
	}
	if err := h.Delete(h.ctx, "a", "k", revs["a"]); err != nil {
		t.Fatal(err)
	}
	for _, table := range tables[1:] {
		h.wantRecord(table, "k", "in "+table, revs[table])
	}
}

func testValueSizes(t *testing.T, h *harness) {
	h.put("t", "empty", "", 0)
	r, err := h.Get(h.ctx, "t", "empty")
	if err != nil || len(r.Value) != 0 {
		t.Fatalf("empty value: %q, %v", r.Value, err)
	}
	h.wantScan("t", "", "empty")

	big := bytes.Repeat([]byte("0123456789abcdef"), store.MaxValue/16)
	if _, err := h.Put(h.ctx, "t", "big", big, 0); err != nil {
		t.Fatalf("put of MaxValue bytes: %v", err)
	}
	if r, err = h.Get(h.ctx, "t", "big"); err != nil || !bytes.Equal(r.Value, big) {
		t.Fatalf("get of MaxValue bytes: %d bytes, %v", len(r.Value), err)
	}
	big = append(big, 'x')
	_, err = h.Put(h.ctx, "t", "bigger", big, 0)
	h.wantErr("put of more than MaxValue", err, store.ErrTooLarge)
	_, err = h.Append(h.ctx, "log", big, store.DeliverAfter)
	h.wantErr("append of more than MaxValue", err, store.ErrTooLarge)
	_, err = h.Get(h.ctx, "t", "bigger")
	h.wantErr("get of what was too large", err, store.ErrNotFound)
	p := h.begin("log", string(big[:store.MaxValue]), store.DeliverAfter)
	h.wait(p)
	if e := h.readAll("log", 0); len(e) != 1 || !bytes.Equal(e[0].Data, big[:store.MaxValue]) {
		t.Fatal("an entry of MaxValue bytes did not come back")
	}
}

// testCancelledContext ends contexts at any moment of a put and checks what each answer
// promises: nil is there, ErrUncertain may be there, any other error is not there.
func testCancelledContext(t *testing.T, h *harness) {
	var rev store.Rev
	value := ""
	for i := range 120 {
		ctx, cancel := context.WithCancel(h.ctx)
		stop := time.AfterFunc(time.Duration(rand.Int64N(int64(2*time.Millisecond))), cancel)
		if i%4 == 0 {
			cancel()
		}
		want := fmt.Sprint("value ", i)
		got, err := h.Put(ctx, "t", "k", []byte(want), rev)
		stop.Stop()
		cancel()
		switch {
		case err == nil:
			rev, value = got, want
			h.wantRecord("t", "k", value, rev)
		case errors.Is(err, store.ErrUncertain):
			r, err := h.Get(h.ctx, "t", "k")
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Fatal(err)
			}
			if string(r.Value) != value && string(r.Value) != want {
				t.Fatalf("after an uncertain put of %q over %q: %q", want, value, r.Value)
			}
			// Settle it: a put that fails knows the record better than we do.
			for {
				rev, err = h.Put(h.ctx, "t", "k", []byte("settled"), r.Rev)
				if err == nil {
					break
				}
				h.wantErr("settling put", err, store.ErrConflict)
				if r, err = h.Get(h.ctx, "t", "k"); err != nil {
					t.Fatal(err)
				}
			}
			value = "settled"
		case errors.Is(err, context.Canceled):
			r, err := h.Get(h.ctx, "t", "k")
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Fatal(err)
			}
			if string(r.Value) != value || r.Rev != rev {
				t.Fatalf("a put that was refused changed %q to %q", value, r.Value)
			}
		default:
			t.Fatalf("put with a cancelled context: %v", err)
		}
	}
}

// tally is a record that knows who has added to it.
type tally struct {
	Attempts []string
}

// testChangeThroughUncertainty adds attempts with store.Change over contexts that end
// early, each until it has succeeded: every attempt counts exactly once.
func testChangeThroughUncertainty(t *testing.T, h *harness) {
	table := store.TableOf[tally](h.Engine, "tally")
	const workers, each = 4, 10
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d-%d", w, i)
				for {
					ctx, cancel := context.WithTimeout(h.ctx, time.Duration(1+rand.Int64N(int64(20*time.Millisecond))))
					_, err := store.Change(ctx, table, "k", func(v tally, _ bool) (tally, bool, error) {
						if slices.Contains(v.Attempts, id) {
							return v, false, nil
						}
						return tally{append(slices.Clone(v.Attempts), id)}, true, nil
					})
					cancel()
					if err == nil {
						break
					}
					if h.ctx.Err() != nil {
						t.Errorf("attempt %s: %v", id, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	r, err := h.Get(h.ctx, "tally", "k")
	if err != nil {
		t.Fatal(err)
	}
	var got tally
	if err := json.Unmarshal(r.Value, &got); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got.Attempts)
	if n := len(slices.Compact(slices.Clone(got.Attempts))); n != workers*each || len(got.Attempts) != n {
		t.Fatalf("%d attempts, %d different ones, want %d", len(got.Attempts), n, workers*each)
	}
}

func testOneWinner(t *testing.T, h *harness) {
	var rev store.Rev
	for round := range 5 {
		const racers = 16
		revs := make([]store.Rev, racers)
		var wg sync.WaitGroup
		for i := range racers {
			wg.Go(func() {
				r, err := h.Put(h.ctx, "t", "k", []byte(fmt.Sprint(round, i)), rev)
				if err != nil && !errors.Is(err, store.ErrConflict) {
					t.Errorf("put: %v", err)
				}
				revs[i] = r
			})
		}
		wg.Wait()
		winner := -1
		for i, r := range revs {
			if r != 0 && winner >= 0 {
				t.Fatalf("round %d: two winners", round)
			} else if r != 0 {
				winner = i
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: no winner", round)
		}
		rev = revs[winner]
		h.wantRecord("t", "k", fmt.Sprint(round, winner), rev)
	}
}

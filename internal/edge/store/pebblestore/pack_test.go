package pebblestore

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tandem-call/tandem/internal/store"
)

// packedLog appends entries of these sizes while the first one's batch is held back, so
// that the others share keys, and returns them. The first bears the log's epoch.
func packedLog(t *testing.T, sizes ...int) (*Store, []store.Entry) {
	disk := newSlowDisk()
	s := openStore(t, Options{Dir: "data", fs: disk})
	t.Cleanup(disk.release)
	disk.hold()
	var entries []store.Entry
	var last store.Pending
	for i, size := range sizes {
		data := bytes.Repeat([]byte{byte(i)}, size)
		last = must[store.Pending](t)(s.Append(t.Context(), "log", data, store.DeliverAfter))
		entries = append(entries, store.Entry{Seq: last.Seq(), Epoch: last.Epoch(), Data: data})
		if i == 0 {
			<-disk.waiting // the batch is on its way; further ones are built while Pebble takes them
		}
	}
	disk.release()
	ok(t, last.Wait(t.Context()))
	return s, entries
}

// keysOf counts the keys that hold a log's entries.
func keysOf(t *testing.T, s *Store, log string) (n int) {
	prefix := logPrefix(log, entryKind)
	it := must[*pebble.Iterator](t)(s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)}))
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	return n
}

// TestPackedEntriesAreReadFromAnyPlace: wherever packs begin and end, a read begins after
// the sequence that was asked for and has as many entries as were asked for.
func TestPackedEntriesAreReadFromAnyPlace(t *testing.T) {
	sizes := make([]int, 400)
	for i := range sizes {
		sizes[i] = i % 7 * 100
	}
	s, want := packedLog(t, sizes...)
	if n := keysOf(t, s, "log"); n < 2 || n > len(sizes)/2 {
		t.Fatalf("%d entries have %d keys", len(sizes), n)
	}
	for from := range want {
		for _, limit := range []int{1, 2, 50, 1000} {
			got := must[[]store.Entry](t)(s.Read(t.Context(), "log", uint64(from), limit))
			expect := want[from:min(from+limit, len(want))]
			if len(got) != len(expect) {
				t.Fatalf("after %d: %d entries of %d", from, len(got), len(expect))
			}
			for i, e := range got {
				if e.Seq != expect[i].Seq || e.Epoch != expect[i].Epoch || !bytes.Equal(e.Data, expect[i].Data) || time.Since(e.Time) > time.Hour {
					t.Fatalf("after %d: entry %d of epoch %d, %s, %.10x", from, e.Seq, e.Epoch, e.Time, e.Data)
				}
			}
		}
	}
}

// TestPacksAreBounded: large entries do not share a key with many others.
func TestPacksAreBounded(t *testing.T) {
	sizes := make([]int, 50)
	for i := range sizes {
		sizes[i] = packBytes / 4
	}
	s, _ := packedLog(t, sizes...)
	if n := keysOf(t, s, "log"); n < len(sizes)/4 {
		t.Errorf("%d entries of %d bytes have %d keys", len(sizes), packBytes/4, n)
	}
}

func encodedPack(datas ...string) (key, value []byte) {
	p := &pack{}
	for i, data := range datas {
		e := &entry{}
		e.Entry = store.Entry{Seq: uint64(i + 5), Epoch: 7, Time: time.Unix(0, int64(i)), Data: []byte(data)}
		p.entries, p.bytes = append(p.entries, e), p.bytes+len(data)
	}
	value = make([]byte, p.encodedSize())
	p.encode(value)
	return number(p.last()), value
}

// FuzzDecodePack: whatever a damaged table file gives, decoding ends with an error or with
// entries that make the same bytes again.
func FuzzDecodePack(f *testing.F) {
	for _, datas := range [][]string{{""}, {"one"}, {"one", "two"}, {"", "", "three"}} {
		key, value := encodedPack(datas...)
		f.Add(key, value)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		entries, err := decodePack(nil, key, value)
		if err != nil {
			return
		}
		p := &pack{}
		for i, e := range entries {
			if e.Seq != entries[0].Seq+uint64(i) || e.Epoch != entries[0].Epoch {
				t.Fatalf("entry %d of epoch %d", e.Seq, e.Epoch)
			}
			p.entries, p.bytes = append(p.entries, &entry{Entry: e}), p.bytes+len(e.Data)
		}
		again := make([]byte, p.encodedSize())
		if p.encode(again); !bytes.Equal(again, value) {
			t.Fatalf("%x became %x", value, again)
		}
	})
}

// TestDamagedPack: each cut is noticed.
func TestDamagedPack(t *testing.T) {
	key, value := encodedPack("one", "", "three")
	for n := range value {
		if entries, err := decodePack(nil, key, value[:n]); err == nil {
			t.Errorf("%d of %d bytes: %s", n, len(value), fmt.Sprint(entries))
		}
	}
}

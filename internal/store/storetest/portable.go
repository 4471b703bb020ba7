package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/internal/store/archive"
)

// Portable checks that the whole content of an engine can be named, and carried to an empty one.
func Portable(t *testing.T, open Open) {
	h := start(t, open)
	from, ok := h.Engine.(store.Portable)
	if !ok {
		t.Fatalf("a %T is not portable", h.Engine)
	}
	// Names that begin alike, and what was removed again.
	for _, table := range []string{"t", "t-2", "t/x", "a.b"} {
		for i := range 5 {
			h.put(table, fmt.Sprint("k/", i), fmt.Sprint(table, i), 0)
		}
	}
	if err := h.Delete(h.ctx, "t", "k/1", h.put("t", "k/1", "gone", mustRev(h, "t", "k/1"))); err != nil {
		t.Fatal(err)
	}
	for _, log := range []string{"l", "l-2", "l/x", "dropped"} {
		for i := range 20 {
			h.append(log, fmt.Sprint(log, i))
		}
	}
	if err := h.DropLog(h.ctx, "dropped"); err != nil {
		t.Fatal(err)
	}
	for i, counter := range []string{"c", "c/1"} {
		if _, err := h.Add(h.ctx, counter, int64(i)-7); err != nil {
			t.Fatal(err)
		}
	}
	tables, err := from.Tables(h.ctx)
	if want := []string{"a.b", "t", "t-2", "t/x"}; err != nil || !slices.Equal(tables, want) {
		t.Errorf("tables %q, %v; want %q", tables, err, want)
	}
	logs, err := from.Logs(h.ctx)
	if want := []string{"l", "l-2", "l/x"}; err != nil || !slices.Equal(logs, want) {
		t.Errorf("logs %q, %v; want %q", logs, err, want)
	}
	counters, err := from.Counters(h.ctx)
	if want := []string{"c", "c/1"}; err != nil || !slices.Equal(counters, want) {
		t.Errorf("counters %q, %v; want %q", counters, err, want)
	}

	var b bytes.Buffer
	sum, err := archive.Write(h.ctx, archive.Content{Engine: from}, &b)
	if err != nil || sum.Records != 19 || sum.Entries != 60 || sum.Counters != 2 {
		t.Fatalf("archive: %+v, %v", sum, err)
	}
	before, old := h.head("l"), h.readAll("l", 0)
	to := &harness{Engine: open(t, t.TempDir()), t: t, ctx: h.ctx}
	t.Cleanup(func() { to.Close() })
	if got, err := archive.Read(h.ctx, &b, archive.Content{Engine: to.Engine.(store.Portable)}); err != nil || got != sum {
		t.Fatalf("read %+v, %v; want %+v", got, err, sum)
	}
	if now := to.head("l"); now.Seq != before.Seq || now.Epoch <= before.Epoch {
		t.Errorf("the log ended at %+v and ends at %+v", before, now)
	}
	if at := to.rewind("l", before.Epoch, before.Seq); at != 0 {
		t.Errorf("a reader of the old log is right up to %d", at)
	}
	seen := make(chan store.Entry, 1)
	cancel, err := to.Watch(h.ctx, "l", func(e store.Entry) { seen <- e })
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	then := time.Unix(1_600_000_000, 123_456_789)
	p, err := to.Engine.(store.Portable).AppendAt(h.ctx, "l", []byte("of then"), then)
	if err != nil {
		t.Fatal(err)
	}
	to.wait(p)
	if e := receive(to, "the entry", seen); !e.Time.Equal(then) {
		t.Errorf("shown with time %v, appended at %v", e.Time, then)
	}
	for i, e := range to.readAll("l", 0) {
		want := then
		if i < len(old) {
			want = old[i].Time
		}
		if !e.Time.Equal(want) {
			t.Errorf("entry %d is of %v, and was of %v", e.Seq, e.Time, want)
		}
	}
}

func mustRev(h *harness, table, key string) store.Rev {
	r, err := h.Get(h.ctx, table, key)
	if err != nil {
		h.t.Fatal(err)
	}
	return r.Rev
}

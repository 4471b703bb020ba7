// Package storetest is the conformance suite of the storage contract: every engine of
// package store passes it, so that the rest of Tandem can be tested on one of them and
// run on any.
//
// [Run] runs everything that needs nothing but a way to open an engine; its parts,
// [Tables], [Logs], [Counters], [Bus], [Lifecycle] and [Portable], can be run alone. [Crashes]
// needs a way to cut an engine off as a power cut would, too.
//
// The suite asks only what the contract says. Sequences of a log grow but need not be
// consecutive, since an engine may number the entries of several logs together.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/store"
)

// Open opens an engine over the data of dir: opened again with the same dir, after a
// Close, it shows what was acknowledged before. It fails the test if it cannot.
type Open func(t *testing.T, dir string) store.Engine

// patience bounds what a test waits for; a conforming engine needs a small part of it.
const patience = 60 * time.Second

// Run runs the whole suite but for [Crashes].
func Run(t *testing.T, open Open) {
	t.Run("Tables", func(t *testing.T) { Tables(t, open) })
	t.Run("Logs", func(t *testing.T) { Logs(t, open) })
	t.Run("Counters", func(t *testing.T) { Counters(t, open) })
	t.Run("Bus", func(t *testing.T) { Bus(t, open) })
	t.Run("Lifecycle", func(t *testing.T) { Lifecycle(t, open) })
	t.Run("Portable", func(t *testing.T) { Portable(t, open) })
}

type test struct {
	name string
	run  func(t *testing.T, h *harness)
}

func runAll(t *testing.T, open Open, tests []test) {
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, start(t, open)) })
	}
}

// harness is one engine under test, with the steps that tests are written in.
type harness struct {
	store.Engine
	t    *testing.T
	ctx  context.Context
	open Open
	dir  string
}

func start(t *testing.T, open Open) *harness {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	h := &harness{t: t, ctx: ctx, open: open, dir: t.TempDir()}
	h.Engine = open(t, h.dir)
	t.Cleanup(func() { h.Close() })
	return h
}

// reopen closes the engine and opens it again over the same data.
func (h *harness) reopen() {
	h.t.Helper()
	if err := h.Close(); err != nil {
		h.t.Fatalf("close: %v", err)
	}
	h.Engine = h.open(h.t, h.dir)
}

func (h *harness) put(table, key, value string, at store.Rev) store.Rev {
	h.t.Helper()
	rev, err := h.Put(h.ctx, table, key, []byte(value), at)
	if err != nil {
		h.t.Fatalf("put %s/%s at %d: %v", table, key, at, err)
	}
	if rev <= at {
		h.t.Fatalf("put %s/%s at %d: revision %d does not grow", table, key, at, rev)
	}
	return rev
}

func (h *harness) wantRecord(table, key, value string, rev store.Rev) {
	h.t.Helper()
	r, err := h.Get(h.ctx, table, key)
	if err != nil {
		h.t.Fatalf("get %s/%s: %v", table, key, err)
	}
	if r.Key != key || string(r.Value) != value || r.Rev != rev {
		h.t.Fatalf("get %s/%s = %q %q at %d, want %q at %d", table, key, r.Key, r.Value, r.Rev, value, rev)
	}
}

func (h *harness) wantErr(what string, err, want error) {
	h.t.Helper()
	if !errors.Is(err, want) {
		h.t.Fatalf("%s: %v, want %v", what, err, want)
	}
}

func (h *harness) scan(ctx context.Context, table, prefix string) (keys []string) {
	h.t.Helper()
	for r, err := range h.Scan(ctx, table, prefix) {
		if err != nil {
			h.t.Fatalf("scan %s/%s: %v", table, prefix, err)
		}
		keys = append(keys, r.Key)
	}
	return keys
}

func (h *harness) wantScan(table, prefix string, want ...string) {
	h.t.Helper()
	for _, ctx := range []context.Context{store.Linearizable(h.ctx), h.ctx} {
		if got := h.scan(ctx, table, prefix); !slices.Equal(got, want) {
			h.t.Fatalf("scan %s/%s = %q, want %q", table, prefix, got, want)
		}
	}
}

// begin appends without waiting for the outcome.
func (h *harness) begin(log, data string, d store.Delivery) store.Pending {
	h.t.Helper()
	p, err := h.Append(h.ctx, log, []byte(data), d)
	if err != nil {
		h.t.Fatalf("append to %s: %v", log, err)
	}
	return p
}

// append appends and waits until the entry is durable.
func (h *harness) append(log, data string) store.Entry {
	h.t.Helper()
	p := h.begin(log, data, store.DeliverAfter)
	h.wait(p)
	return store.Entry{Seq: p.Seq(), Epoch: p.Epoch(), Data: []byte(data)}
}

func (h *harness) wait(p store.Pending) {
	h.t.Helper()
	if err := p.Wait(h.ctx); err != nil {
		h.t.Fatalf("append %d: %v", p.Seq(), err)
	}
}

func (h *harness) head(log string) store.Head {
	h.t.Helper()
	head, err := h.Head(h.ctx, log)
	if err != nil {
		h.t.Fatalf("head of %s: %v", log, err)
	}
	return head
}

// readAll reads a log from after to its end, in pages of a few entries.
func (h *harness) readAll(log string, after uint64) (all []store.Entry) {
	h.t.Helper()
	for {
		page, err := h.Read(h.ctx, log, after, 7)
		if err != nil {
			h.t.Fatalf("read %s after %d: %v", log, after, err)
		}
		if len(page) == 0 {
			return all
		}
		if len(page) > 7 {
			h.t.Fatalf("read %s with limit 7 returned %d entries", log, len(page))
		}
		all = append(all, page...)
		after = page[len(page)-1].Seq
	}
}

func (h *harness) rewind(log string, epoch, seq uint64) uint64 {
	h.t.Helper()
	r, err := h.Rewind(h.ctx, log, epoch, seq)
	if err != nil {
		h.t.Fatalf("rewind of %s: %v", log, err)
	}
	return r
}

// same compares entries but for their time.
func same(a, b store.Entry) bool {
	return a.Seq == b.Seq && a.Epoch == b.Epoch && bytes.Equal(a.Data, b.Data)
}

func (h *harness) wantEntries(what string, got, want []store.Entry) {
	h.t.Helper()
	if !slices.EqualFunc(got, want, same) {
		h.t.Fatalf("%s: got %s, want %s", what, brief(got), brief(want))
	}
}

// brief shows entries shortly.
func brief(entries []store.Entry) string {
	var b bytes.Buffer
	for i, e := range entries {
		if i == 20 {
			b.WriteString("...")
			break
		}
		b.WriteString(string(e.Data))
		b.WriteByte(' ')
	}
	return b.String()
}

// receive takes one value from c, or fails the test when none comes in time.
func receive[T any](h *harness, what string, c <-chan T) T {
	h.t.Helper()
	select {
	case v := <-c:
		return v
	case <-h.ctx.Done():
		h.t.Fatalf("%s: nothing came", what)
		panic("unreachable")
	}
}

package call_test

import (
	"context"
	"iter"
	"sync/atomic"
	"testing"

	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
)

// counted counts what is asked of a table.
type counted[T any] struct {
	call.Table[T]
	gets, scans atomic.Int64
}

func (c *counted[T]) Get(ctx context.Context, key string) (T, store.Rev, error) {
	c.gets.Add(1)
	return c.Table.Get(ctx, key)
}

func (c *counted[T]) Scan(ctx context.Context, prefix string) iter.Seq2[store.Item[T], error] {
	c.scans.Add(1)
	return c.Table.Scan(ctx, prefix)
}

// TestCost holds down what a report costs that completes a call: it reads the pair's record once, and looks
// at the party's other calls once.
func TestCost(t *testing.T) {
	w := newTown(t, call.Rules{Partial: call.PartialOff})
	records := &counted[call.Record]{Table: w.records()}
	index := &counted[call.IndexEntry]{Table: store.TableOf[call.IndexEntry](w.engine, "calls-by-party")}
	m := w.matcher(t, func(c *call.Config) { c.Records, c.Index = records, index })
	a, b := identity("+442079460001"), identity("+442079460002")
	say(t, m, report(a, b, tel.Active))
	records.gets.Store(0)
	index.scans.Store(0)
	if session := say(t, m, report(b, a, tel.Active)); session == "" {
		t.Fatal("the second report opened no session")
	}
	if gets, scans := records.gets.Load(), index.scans.Load(); gets != 1 || scans != 1 {
		t.Errorf("the second report read %d records of calls and scanned %d times; want once each", gets, scans)
	}
}

package call_test

import (
	"context"
	"iter"
	"sync/atomic"
	"testing"

	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
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

// ahead is asked to read ahead.
type ahead struct{ of, apart atomic.Int64 }

func (a *ahead) Foresee(_ context.Context, _ wire.TenantID, ids ...tel.Identity) {
	a.of.Add(int64(len(ids)))
}

func (a *ahead) ForeseeApart(context.Context, wire.TenantID, tel.Identity, tel.Identity) {
	a.apart.Add(1)
}

// TestCost holds down what a report costs that completes a call: it reads the pair's record once, and looks
// at the party's other calls once.
func TestCost(t *testing.T) {
	w := newTown(t, call.Rules{Partial: call.PartialOff})
	records := &counted[call.Record]{Table: w.records()}
	index := &counted[call.IndexEntry]{Table: store.TableOf[call.IndexEntry](w.engine, "calls-by-party")}
	foresight := &ahead{}
	m := w.matcher(t, func(c *call.Config) { c.Records, c.Index, c.Foresight = records, index, foresight })
	a, b := identity("+442079460001"), identity("+442079460002")
	say(t, m, report(a, b, tel.Active))
	if of, apart := foresight.of.Swap(0), foresight.apart.Swap(0); of != 2 || apart != 1 { // nobody is told of anything yet
		t.Errorf("the first report read ahead of %d parties, %d times of what keeps them apart", of, apart)
	}
	records.gets.Store(0)
	index.scans.Store(0)
	if session := say(t, m, report(b, a, tel.Active)); session == "" {
		t.Fatal("the second report opened no session")
	}
	if gets, scans := records.gets.Load(), index.scans.Load(); gets != 1 || scans != 1 {
		t.Errorf("the second report read %d records of calls and scanned %d times; want once each", gets, scans)
	}
	if of, apart := foresight.of.Load(), foresight.apart.Load(); of != 2+2 || apart != 1 { // and for who is in the session
		t.Errorf("the second report read ahead of %d parties, %d times of what keeps them apart", of, apart)
	}
	foresight.of.Store(0)
	say(t, m, report(b, a, tel.Active))
	if of := foresight.of.Load(); of != 2 { // what followed from the second one has been done, and is off the record
		t.Errorf("a report that changes nothing read ahead of %d parties", of)
	}
}

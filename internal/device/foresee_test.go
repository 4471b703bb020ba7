package device_test

import (
	"context"
	"iter"
	"sync/atomic"
	"testing"

	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/party"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// read counts what is read.
type read struct {
	store.Engine
	reads atomic.Int64
}

func (e *read) Get(ctx context.Context, table, key string) (store.Record, error) {
	e.reads.Add(1)
	return e.Engine.Get(ctx, table, key)
}

func (e *read) Scan(ctx context.Context, table, prefix string) iter.Seq2[store.Record, error] {
	e.reads.Add(1)
	return e.Engine.Scan(ctx, table, prefix)
}

// TestForesee: whatever a report asks of who two parties are has been read ahead, of those who have devices and of
// those whom nobody knows.
func TestForesee(t *testing.T) {
	w := newWorld(t)
	known := number(t, "+442079460001")
	first, second := w.enrol(newPhone(t), known), w.enrol(newPhone(t), known)
	e := &read{Engine: w.engine}
	parties := party.New(e, w.clock)
	devices, err := device.New(t.Context(), device.Config{Engine: e, Parties: parties, Sender: w, Now: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	a, b := known.Identity(), number(t, "+442079460002").Identity()
	ask := func(ctx context.Context) {
		t.Helper()
		for _, id := range []tel.Identity{a, b} {
			p, err := parties.Principal(ctx, wire.DefaultTenant, id)
			if err != nil || p != id {
				t.Errorf("principal %v, %v", p, err)
			}
			if shared, err := parties.SharedName(ctx, wire.DefaultTenant, id, p); shared || err != nil {
				t.Error(shared, err)
			}
			if barred, err := parties.Barred(ctx, wire.DefaultTenant, id); barred || err != nil {
				t.Error(barred, err)
			}
		}
		if apart, err := parties.Apart(ctx, wire.DefaultTenant, a, b); apart || err != nil {
			t.Error(apart, err)
		}
		all, err := devices.OfParty(ctx, wire.DefaultTenant, a)
		if err != nil || len(all) != 2 || all[0].ID != first.ID && all[0].ID != second.ID {
			t.Errorf("devices %+v, %v", all, err)
		}
		if all, err := devices.OfParty(ctx, wire.DefaultTenant, b); err != nil || len(all) != 0 {
			t.Errorf("devices %+v, %v", all, err)
		}
	}
	ask(t.Context()) // the directory's secret is read once
	ctx := store.Remember(t.Context())
	parties.Foresee(ctx, wire.DefaultTenant, a, b)
	parties.ForeseeApart(ctx, wire.DefaultTenant, a, b)
	devices.Foresee(ctx, wire.DefaultTenant, a, b)
	e.reads.Store(0)
	ask(ctx)
	if n := e.reads.Load(); n != 0 {
		t.Errorf("%d reads were not foreseen", n)
	}
}

package call

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// PairKey is where the calls of two principals are kept.
func PairKey(tenant wire.TenantID, a, b tel.Identity) string { return pairKey(tenant, a, b) }

// TickDue ticks what is due by the matcher's clock, until nothing is.
func (m *Matcher) TickDue(ctx context.Context) error {
	for keys := m.timers.Due(m.now()); len(keys) > 0; keys = m.timers.Due(m.now()) {
		for _, key := range keys {
			if err := m.tick(ctx, key); err != nil {
				return err
			}
		}
	}
	return nil
}

// Recover does what Run does first: it completes what a crash has left.
func (m *Matcher) Recover(ctx context.Context) error {
	var g errgroup.Group
	err := m.rescan(ctx, &g)
	_ = g.Wait()
	return err
}

// Left counts the effects that no record may still hold, after all timers.
func Left(ctx context.Context, records Table[Record], prefix string) (n int, err error) {
	for item, err := range records.Scan(ctx, prefix) {
		if err != nil {
			return n, err
		}
		n += len(item.Value.Pending)
	}
	return n, nil
}

// Change and Perform are the two steps of an event.
func (m *Matcher) Change(ctx context.Context, key string, ev Event) (Record, error) {
	return m.change(ctx, key, ev)
}

// Perform carries out what a change has left to do.
func (m *Matcher) Perform(ctx context.Context, rec Record) { m.perform(ctx, rec) }

var _ Table[Record] = store.Table[Record]{}

package party

import (
	"context"
	"sync"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Foresee reads side by side, into the memory of a request (store.Remember), what the directory is going to be asked
// about names that are mostly those of parties. Otherwise each look-up follows from the one before, and on a cluster
// each is a way to another machine and back. What cannot be read is read again when it is asked for.
func (d *Directory) Foresee(ctx context.Context, tenant wire.TenantID, ids ...tel.Identity) {
	var all sync.WaitGroup
	for _, id := range ids {
		if id.IsZero() {
			continue
		}
		key := keyOf(tenant, id)
		all.Go(func() { _, _, _ = d.names.Get(ctx, key) })
		all.Go(func() { _, _, _ = d.shared.Get(ctx, key) })
		all.Go(func() { _, _, _ = d.parties.Get(ctx, key) })
	}
	all.Wait()
}

// ForeseeApart is [Directory.Foresee] of what may keep two parties apart.
func (d *Directory) ForeseeApart(ctx context.Context, tenant wire.TenantID, a, b tel.Identity) {
	var all sync.WaitGroup
	for _, of := range [][2]tel.Identity{{a, b}, {b, a}} {
		if of[0].IsZero() {
			continue
		}
		all.Go(func() { _, _, _ = d.bars.Get(ctx, keyOf(tenant, of[0])) })
		if of[1].IsZero() {
			continue
		}
		all.Go(func() {
			if key, err := d.blockKey(ctx, tenant, of[0], of[1]); err == nil {
				_, _, _ = d.blocks.Get(ctx, key)
			}
		})
	}
	all.Wait()
}

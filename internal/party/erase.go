package party

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Erase removes everything that names one of the identities, which are all of a party's, the principal first:
// it is as if they had never been here. A block that somebody else made against it stays
// in force, but no longer says against whom. It may repeat, and must be repeated after an
// error.
func (d *Directory) Erase(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) error {
	if err := d.eraseElsewhere(ctx, tenant, ids); err != nil {
		return fmt.Errorf("party: erase: %w", err)
	}
	for _, id := range ids {
		if err := d.UnmarkShared(ctx, tenant, id); err != nil {
			return err
		}
	}
	// The principal, which leads to the others, last.
	for _, id := range slices.Backward(ids) {
		if err := d.Forget(ctx, tenant, id); err != nil {
			return err
		}
	}
	return nil
}

// eraseElsewhere removes the names from the records of others: a former party's list, and
// blocks against them.
func (d *Directory) eraseElsewhere(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) error {
	prefix := store.Key(string(tenant)) + "/"
	var lists, blocks []string
	for item, err := range d.parties.Scan(ctx, prefix) {
		if err != nil {
			return err
		}
		own := slices.ContainsFunc(ids, func(id tel.Identity) bool { return keyOf(tenant, id) == item.Key })
		if !own && slices.ContainsFunc(item.Value.Names, func(n tel.Identity) bool { return slices.Contains(ids, n) }) {
			lists = append(lists, item.Key)
		}
	}
	for item, err := range d.blocks.Scan(ctx, prefix) {
		if err != nil {
			return err
		}
		if slices.Contains(ids, item.Value.Other) {
			blocks = append(blocks, item.Key)
		}
	}
	for _, key := range lists {
		_, err := store.Change(ctx, d.parties, key, func(p partyRecord, exists bool) (partyRecord, bool, error) {
			p.Names = slices.DeleteFunc(slices.Clone(p.Names), func(n tel.Identity) bool { return slices.Contains(ids, n) })
			return p, exists, nil
		})
		if err != nil {
			return err
		}
	}
	for _, key := range blocks {
		_, err := store.Change(ctx, d.blocks, key, func(b blockRecord, exists bool) (blockRecord, bool, error) {
			b.Other = tel.Identity{}
			return b, exists, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Sweep forgets the identities, in all tenants, whose proof lapsed so long ago: strangers
// since then, whose names were kept for nothing but a renewal. It returns how many. It may
// run on any node.
func (d *Directory) Sweep(ctx context.Context, after time.Duration) (int, error) {
	old := d.now().Add(-after)
	type lapsed struct {
		tenant wire.TenantID
		id     tel.Identity
	}
	var all []lapsed
	for item, err := range d.names.Scan(ctx, "") {
		if err != nil {
			return 0, fmt.Errorf("party: sweep: %w", err)
		}
		if n := item.Value; !n.Expires.IsZero() && n.Expires.Before(old) {
			tenant, ok := tenantOf(item.Key, n.Identity.Identity)
			if ok {
				all = append(all, lapsed{tenant, n.Identity.Identity})
			}
		}
	}
	gone := map[wire.TenantID][][]tel.Identity{}
	for _, l := range all {
		n, _, err := d.names.Get(ctx, keyOf(l.tenant, l.id))
		if errors.Is(err, store.ErrNotFound) || err == nil && n.current(d.now()) {
			continue
		}
		var ids []tel.Identity
		if err == nil {
			ids, err = d.goingWith(ctx, l.tenant, l.id)
		}
		if err != nil {
			return 0, fmt.Errorf("party: sweep: %w", err)
		}
		gone[l.tenant] = append(gone[l.tenant], ids)
	}
	forgotten := 0
	for tenant, parties := range gone {
		if err := d.also(ctx, tenant, slices.Concat(parties...)); err != nil {
			return forgotten, fmt.Errorf("party: sweep: %w", err)
		}
		for _, ids := range parties {
			if err := d.forget(ctx, tenant, ids); err != nil {
				return forgotten, fmt.Errorf("party: sweep: %w", err)
			}
			forgotten++
		}
	}
	return forgotten, nil
}

// tenantOf reads the tenant from the key of an identity's record.
func tenantOf(key string, id tel.Identity) (wire.TenantID, bool) {
	for i := range len(key) {
		if key[i] == '/' {
			t := wire.TenantID(key[:i])
			return t, keyOf(t, id) == key
		}
	}
	return "", false
}

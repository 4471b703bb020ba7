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

// Erase removes everything that names one of the identities, which are all of a party's:
// it is as if they had never been here. A block that somebody else made against it stays
// in force, but no longer says against whom. It may repeat, and must be repeated after an
// error.
func (d *Directory) Erase(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) error {
	for _, id := range ids {
		if err := d.Forget(ctx, tenant, id); err != nil {
			return err
		}
		if err := d.UnmarkShared(ctx, tenant, id); err != nil {
			return err
		}
	}
	// Lists of other parties may still have a name that was theirs.
	if err := d.rewrite(ctx, tenant, ids); err != nil {
		return fmt.Errorf("party: erase: %w", err)
	}
	return nil
}

func (d *Directory) rewrite(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) error {
	prefix := store.Key(string(tenant)) + "/"
	var lists, blocks []string
	for item, err := range d.parties.Scan(ctx, prefix) {
		if err != nil {
			return err
		}
		if slices.ContainsFunc(item.Value.Names, func(n tel.Identity) bool { return slices.Contains(ids, n) }) {
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
	for i, l := range all {
		n, _, err := d.names.Get(ctx, keyOf(l.tenant, l.id))
		if errors.Is(err, store.ErrNotFound) || err == nil && n.current(d.now()) {
			continue
		}
		if err == nil {
			err = d.Forget(ctx, l.tenant, l.id)
		}
		if err != nil {
			return i, fmt.Errorf("party: sweep: %w", err)
		}
	}
	return len(all), nil
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

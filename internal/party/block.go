package party

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// blockRecord is kept under (tenant, by, other).
type blockRecord struct {
	Other tel.Identity `json:"other"`
	Since time.Time    `json:"since"`
}

func blockKey(tenant wire.TenantID, by, other tel.Identity) string {
	return store.Key(string(tenant), by.String(), other.String())
}

// Block notes that by wants no data sessions with other. It holds for the two parties,
// whichever of their identities a call shows. It may repeat. ErrRequest.
func (d *Directory) Block(ctx context.Context, tenant wire.TenantID, by, other tel.Identity) error {
	if by.IsZero() || other.IsZero() {
		return fmt.Errorf("%w: a block needs two identities", ErrRequest)
	}
	by, err := d.Principal(ctx, tenant, by)
	if err != nil {
		return err
	}
	if other, err = d.Principal(ctx, tenant, other); err != nil {
		return err
	}
	_, err = store.Change(ctx, d.blocks, blockKey(tenant, by, other), func(b blockRecord, exists bool) (blockRecord, bool, error) {
		if exists {
			return b, false, nil
		}
		return blockRecord{other, d.now()}, true, nil
	})
	if err != nil {
		return fmt.Errorf("party: block: %w", err)
	}
	return nil
}

// Unblock takes the block back. It may repeat.
func (d *Directory) Unblock(ctx context.Context, tenant wire.TenantID, by, other tel.Identity) error {
	return d.pairs(ctx, tenant, by, other, func(key string) (bool, error) { return true, remove(ctx, d.blocks, key) })
}

// Blocked reports whether by has blocked other. Ask for both directions.
func (d *Directory) Blocked(ctx context.Context, tenant wire.TenantID, by, other tel.Identity) (bool, error) {
	found := false
	err := d.pairs(ctx, tenant, by, other, func(key string) (bool, error) {
		_, _, err := d.blocks.Get(ctx, key)
		if errors.Is(err, store.ErrNotFound) {
			return true, nil
		}
		found = found || err == nil
		return !found, err
	})
	return found, err
}

// pairs calls fn with the key of each identity of by's with each of other's, until it
// returns false: a block stands under the principals that the two had when it was made.
func (d *Directory) pairs(ctx context.Context, tenant wire.TenantID, by, other tel.Identity, fn func(key string) (bool, error)) error {
	if by.IsZero() || other.IsZero() {
		return nil
	}
	ours, err := d.Identities(ctx, tenant, by)
	if err != nil {
		return err
	}
	theirs, err := d.Identities(ctx, tenant, other)
	if err != nil {
		return err
	}
	for _, a := range ours {
		for _, b := range theirs {
			if more, err := fn(blockKey(tenant, a, b)); err != nil {
				return fmt.Errorf("party: look up a block: %w", err)
			} else if !more {
				return nil
			}
		}
	}
	return nil
}

// Blocks lists whom a party has blocked.
func (d *Directory) Blocks(ctx context.Context, tenant wire.TenantID, by tel.Identity) ([]tel.Identity, error) {
	ours, err := d.Identities(ctx, tenant, by)
	if err != nil {
		return nil, err
	}
	var all []tel.Identity
	for _, id := range ours {
		for item, err := range d.blocks.Scan(ctx, keyOf(tenant, id)+"/") {
			if err != nil {
				return nil, fmt.Errorf("party: list blocks: %w", err)
			}
			all = append(all, item.Value.Other)
		}
	}
	return all, nil
}

// unblockAll removes the blocks that an identity made. Those made against it stand: who
// wanted nothing of this number has not changed their mind.
func (d *Directory) unblockAll(ctx context.Context, tenant wire.TenantID, by tel.Identity) error {
	var keys []string
	for item, err := range d.blocks.Scan(ctx, keyOf(tenant, by)+"/") {
		if err != nil {
			return fmt.Errorf("party: list blocks: %w", err)
		}
		keys = append(keys, item.Key)
	}
	for _, key := range keys {
		if err := remove(ctx, d.blocks, key); err != nil {
			return fmt.Errorf("party: remove a block: %w", err)
		}
	}
	return nil
}

package party

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// blockRecord is kept under (tenant, by, other), both veiled, so that a block outlives the
// erasure of the party that it is against and still holds should it come back.
type blockRecord struct {
	// Other for the list; zero where its number is withheld from by, or was erased.
	Other tel.Identity `json:"other,omitzero"`
	Since time.Time    `json:"since"`
}

// veilRecord is the directory's secret, in the table "keys" under "party".
type veilRecord struct {
	Secret []byte `json:"secret"`
}

// veil returns an identity's place in the keys of blocks: it cannot be read back, nor
// found by trying numbers without the secret.
func (d *Directory) veil(ctx context.Context, id tel.Identity) (string, error) {
	secret := d.secret.Load()
	if secret == nil {
		fresh := veilRecord{Secret: make([]byte, 32)}
		rand.Read(fresh.Secret)
		rec, err := store.Change(ctx, d.keys, store.Key("party"), func(old veilRecord, exists bool) (veilRecord, bool, error) {
			if exists {
				return old, false, nil
			}
			return fresh, true, nil
		})
		if err != nil {
			return "", fmt.Errorf("party: load the secret: %w", err)
		}
		secret = &rec.Secret
		d.secret.Store(secret)
	}
	mac := hmac.New(sha256.New, *secret)
	mac.Write([]byte(id.String()))
	return hex.EncodeToString(mac.Sum(nil)[:16]), nil
}

// blockPrefix is the beginning of the keys of the blocks that by made.
func (d *Directory) blockPrefix(ctx context.Context, tenant wire.TenantID, by tel.Identity) (string, error) {
	v, err := d.veil(ctx, by)
	return store.Key(string(tenant), v) + "/", err
}

func (d *Directory) blockKey(ctx context.Context, tenant wire.TenantID, by, other tel.Identity) (string, error) {
	prefix, err := d.blockPrefix(ctx, tenant, by)
	if err != nil {
		return "", err
	}
	v, err := d.veil(ctx, other)
	return prefix + store.Key(v), err
}

// Block notes that by wants no data sessions with other. It holds for the two parties,
// whichever of their identities a call shows. It may repeat. ErrRequest.
func (d *Directory) Block(ctx context.Context, tenant wire.TenantID, by, other tel.Identity) error {
	return d.block(ctx, tenant, by, other, true)
}

// BlockUnnamed is Block where other's identity is withheld from by: no list shows it.
func (d *Directory) BlockUnnamed(ctx context.Context, tenant wire.TenantID, by, other tel.Identity) error {
	return d.block(ctx, tenant, by, other, false)
}

func (d *Directory) block(ctx context.Context, tenant wire.TenantID, by, other tel.Identity, named bool) error {
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
	key, err := d.blockKey(ctx, tenant, by, other)
	if err != nil {
		return err
	}
	_, err = store.Change(ctx, d.blocks, key, func(b blockRecord, exists bool) (blockRecord, bool, error) {
		if exists {
			return b, false, nil
		}
		b.Since = d.now()
		if named {
			b.Other = other
		}
		return b, true, nil
	})
	if err != nil {
		return fmt.Errorf("party: block: %w", err)
	}
	return nil
}

// Unblock takes the block back. It may repeat.
func (d *Directory) Unblock(ctx context.Context, tenant wire.TenantID, by, other tel.Identity) error {
	ours, theirs, err := d.both(ctx, tenant, by, other)
	if err != nil {
		return err
	}
	return pairs(tenant, ours, theirs, func(key string) (bool, error) { return true, store.Remove(ctx, d.blocks, key) })
}

// Blocked reports whether by has blocked other; see Apart for both directions.
func (d *Directory) Blocked(ctx context.Context, tenant wire.TenantID, by, other tel.Identity) (bool, error) {
	ours, theirs, err := d.both(ctx, tenant, by, other)
	if err != nil {
		return false, err
	}
	return d.blockedBy(ctx, tenant, ours, theirs)
}

// Apart reports whether one of two parties has blocked the other.
func (d *Directory) Apart(ctx context.Context, tenant wire.TenantID, a, b tel.Identity) (bool, error) {
	one, two, err := d.both(ctx, tenant, a, b)
	if err != nil {
		return false, err
	}
	apart, err := d.blockedBy(ctx, tenant, one, two)
	if err != nil || apart {
		return apart, err
	}
	return d.blockedBy(ctx, tenant, two, one)
}

func (d *Directory) blockedBy(ctx context.Context, tenant wire.TenantID, ours, theirs []string) (found bool, err error) {
	err = pairs(tenant, ours, theirs, func(key string) (bool, error) {
		_, _, err := d.blocks.Get(ctx, key)
		if errors.Is(err, store.ErrNotFound) {
			return true, nil
		}
		found = found || err == nil
		return !found, err
	})
	return found, err
}

// both lists the identities of two parties, veiled; none of either where one of the two is nobody.
func (d *Directory) both(ctx context.Context, tenant wire.TenantID, a, b tel.Identity) (one, two []string, err error) {
	if a.IsZero() || b.IsZero() {
		return nil, nil, nil
	}
	if one, err = d.veiled(ctx, tenant, a); err != nil {
		return nil, nil, err
	}
	two, err = d.veiled(ctx, tenant, b)
	return one, two, err
}

// veiled lists the identities of the party that id names as they stand in the keys of blocks.
func (d *Directory) veiled(ctx context.Context, tenant wire.TenantID, id tel.Identity) ([]string, error) {
	ids, err := d.Identities(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	all := make([]string, len(ids))
	for i, id := range ids {
		if all[i], err = d.veil(ctx, id); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// pairs calls fn with the key of each identity of ours with each of theirs, veiled, until it
// returns false: a block stands under the principals that the two had when it was made.
func pairs(tenant wire.TenantID, ours, theirs []string, fn func(key string) (bool, error)) error {
	for _, a := range ours {
		for _, b := range theirs {
			if more, err := fn(store.Key(string(tenant), a, b)); err != nil {
				return fmt.Errorf("party: look up a block: %w", err)
			} else if !more {
				return nil
			}
		}
	}
	return nil
}

// Blocks lists whom a party has blocked, as far as it knows them.
func (d *Directory) Blocks(ctx context.Context, tenant wire.TenantID, by tel.Identity) ([]tel.Identity, error) {
	ours, err := d.Identities(ctx, tenant, by)
	if err != nil {
		return nil, err
	}
	var all []tel.Identity
	for _, id := range ours {
		prefix, err := d.blockPrefix(ctx, tenant, id)
		if err != nil {
			return nil, err
		}
		for item, err := range d.blocks.Scan(ctx, prefix) {
			if err != nil {
				return nil, fmt.Errorf("party: list blocks: %w", err)
			}
			if !item.Value.Other.IsZero() {
				all = append(all, item.Value.Other)
			}
		}
	}
	return all, nil
}

// unblockAll removes the blocks that an identity made. Those made against it stand: who
// wanted nothing of this number has not changed their mind.
func (d *Directory) unblockAll(ctx context.Context, tenant wire.TenantID, by tel.Identity) error {
	prefix, err := d.blockPrefix(ctx, tenant, by)
	if err != nil {
		return err
	}
	var keys []string
	for item, err := range d.blocks.Scan(ctx, prefix) {
		if err != nil {
			return fmt.Errorf("party: list blocks: %w", err)
		}
		keys = append(keys, item.Key)
	}
	for _, key := range keys {
		if err := store.Remove(ctx, d.blocks, key); err != nil {
			return fmt.Errorf("party: remove a block: %w", err)
		}
	}
	return nil
}

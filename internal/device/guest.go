package device

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// Guest reports whether the device is there by a link only: it is in the session that the link
// invited it to, reports no calls and is found by nobody under its number (D4).
func (d Device) Guest() bool {
	return len(d.Bindings) > 0 && !slices.ContainsFunc(d.Bindings, func(b wire.Binding) bool { return b.Kind != ProofLink })
}

// Guest lets in a device that opened the link sent to the number, until that time at most. It
// proves its key by an assertion over the link's identifier. The same device may repeat it.
// ErrRequest, ErrKey, ErrAssertion, ErrRevoked; ErrOtherParty for a device that is enrolled.
func (r *Registry) Guest(ctx context.Context, q Request, link, assertion string, until time.Time) (Device, error) {
	if err := r.check(q); err != nil {
		return Device{}, err
	}
	now := r.cfg.Now()
	err := parseAssertion(assertion, link, now, func(assertionClaims) (*ecdsa.PublicKey, error) { return PublicKey(q.Key) })
	if err != nil {
		return Device{}, err
	}
	barred, err := r.cfg.Barred(ctx, q.Tenant, q.Number)
	if err != nil {
		return Device{}, fmt.Errorf("device: let a guest in: %w", err)
	}
	if barred {
		return Device{}, ErrNotFound
	}
	id := IDOf(q.Tenant, q.Key)
	d, err := store.Change(ctx, r.devices, deviceKey(q.Tenant, id), func(d Device, exists bool) (Device, bool, error) {
		switch {
		case !d.RevokedAt.IsZero():
			return d, false, ErrRevoked
		case exists && !d.Guest():
			return d, false, ErrOtherParty
		case exists && d.Bindings[0].Number != q.Number:
			return d, false, ErrOtherParty
		case !exists:
			d = Device{ID: id, Tenant: q.Tenant, Key: q.Key, Created: now}
		}
		d.Name, d.Client = q.Name, q.Client
		d.bind(wire.Binding{Number: q.Number, Kind: ProofLink, Proved: now, Expires: until}, now)
		return d, true, nil
	})
	if err != nil {
		if !ours(err) {
			err = fmt.Errorf("device: write %s: %w", id, err)
		}
		return Device{}, err
	}
	r.cfg.Log.Info("guest let in", "tenant", q.Tenant, "device", id, "number", q.Number)
	return r.resolve(ctx, d)
}

// DismissGuest revokes a device if it is a guest, and only then. It may repeat.
func (r *Registry) DismissGuest(ctx context.Context, tenant wire.TenantID, id wire.DeviceID) error {
	d, err := r.Get(ctx, tenant, id)
	if errors.Is(err, ErrNotFound) || err == nil && (!d.Guest() || !d.RevokedAt.IsZero()) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.Revoke(ctx, tenant, id)
}

package device

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// Agent reports whether the device is there for an agent of the number's owner only: calls are
// reported for it, not by it, and nobody finds it under the number (SPEC I1).
func (d Device) Agent() bool {
	return len(d.Bindings) > 0 && !slices.ContainsFunc(d.Bindings, func(b wire.Binding) bool { return b.Kind != ProofAgent })
}

// Seat lets in the device of an agent who answers the number's calls, until that time at most. It
// proves its key by an assertion over the nonce. The same device may repeat it. ErrRequest, ErrKey,
// ErrAssertion, ErrRevoked; ErrOtherParty for a device that is enrolled.
func (r *Registry) Seat(ctx context.Context, q Request, nonce, assertion string, until time.Time) (Device, error) {
	if err := r.check(q); err != nil {
		return Device{}, err
	}
	now := r.cfg.Now()
	err := parseAssertion(assertion, nonce, now, func(assertionClaims) (*ecdsa.PublicKey, error) { return PublicKey(q.Key) })
	if err != nil {
		return Device{}, err
	}
	id := IDOf(q.Tenant, q.Key)
	d, err := store.Change(ctx, r.devices, deviceKey(q.Tenant, id), func(d Device, exists bool) (Device, bool, error) {
		switch {
		case !d.RevokedAt.IsZero():
			return d, false, ErrRevoked
		case exists && !d.Agent():
			return d, false, ErrOtherParty
		case !exists:
			d = Device{ID: id, Tenant: q.Tenant, Key: q.Key, Created: now}
		}
		d.Name, d.Client = q.Name, q.Client
		d.Bindings = []wire.Binding{{Number: q.Number, Kind: ProofAgent, Proved: now, Expires: until}}
		return d, true, nil
	})
	if err != nil {
		if !ours(err) {
			err = fmt.Errorf("device: write %s: %w", id, err)
		}
		return Device{}, err
	}
	r.cfg.Log.Info("agent's device let in", "tenant", q.Tenant, "device", id, "number", q.Number)
	return r.resolve(ctx, d)
}

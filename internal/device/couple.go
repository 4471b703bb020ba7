package device

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// FirstHand returns the proof that a binding rests on: its own kind or, for a coupled
// device, that of whoever vouches for it.
func FirstHand(b wire.Binding) ProofKind {
	if b.Kind == ProofCoupled {
		return b.Vouched
	}
	return b.Kind
}

// ForCall: the device carries data beside one call only, and is no device of the party's otherwise.
func (d Device) ForCall(now time.Time) bool {
	current := d.Current(now)
	return len(current) > 0 && !slices.ContainsFunc(current, func(b wire.Binding) bool { return !b.ForCall })
}

// Couple binds the device to the number on the word of somebody who has proved it by
// vouched, until that time at most (B8). A device that was coupled before is bound anew.
// ErrRequest, ErrKey, ErrRevoked, ErrOtherParty. It may repeat.
func (r *Registry) Couple(ctx context.Context, q Request, vouched ProofKind, until time.Time) (Device, error) {
	if err := r.check(q); err != nil {
		return Device{}, err
	}
	if !slices.Contains([]ProofKind{ProofCode, ProofNetwork, ProofSIM, ProofOperator}, vouched) {
		return Device{}, fmt.Errorf("%w: a proof of the kind %q cannot be vouched with", ErrRequest, vouched)
	}
	return r.bind(ctx, q, wire.Binding{Number: q.Number, Kind: ProofCoupled, Vouched: vouched, Proved: r.cfg.Now(), Expires: until, ForCall: q.ForCall})
}

// Uncouple ends the device's coupling with the number; a device left without a binding is
// cut off. What is not coupled is no error, so it may repeat.
func (r *Registry) Uncouple(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, n tel.Number) error {
	return r.uncouple(ctx, tenant, id, n, func(_ time.Time, all []wire.Binding) []wire.Binding {
		return slices.DeleteFunc(all, func(b wire.Binding) bool { return b.Kind == ProofCoupled && b.Number == n })
	})
}

// Lapse is as Uncouple, but the device's record still tells that it was coupled, so that it
// can be coupled again when it is back.
func (r *Registry) Lapse(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, n tel.Number) error {
	return r.uncouple(ctx, tenant, id, n, func(now time.Time, all []wire.Binding) []wire.Binding {
		for i := range all {
			if b := &all[i]; b.Kind == ProofCoupled && b.Number == n && now.Before(b.Expires) {
				b.Expires = now
			}
		}
		return all
	})
}

func (r *Registry) uncouple(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, n tel.Number, end func(time.Time, []wire.Binding) []wire.Binding) error {
	now := r.cfg.Now()
	done, err := r.cfg.Changing(ctx, tenant, id, now)
	if err != nil {
		return fmt.Errorf("device: uncouple %s: %w", id, err)
	}
	d, err := r.change(ctx, tenant, id, func(d *Device) error {
		d.Bindings = end(now, slices.Clone(d.Bindings))
		return nil
	})
	done(ctx)
	if err != nil {
		return err
	}
	if !d.has(n, now) {
		if err := r.unindex(ctx, tenant, n, id); err != nil {
			return err
		}
	}
	if d.Check(now) != nil {
		r.cfg.OnRevoke(ctx, tenant, id)
	}
	r.cfg.Log.Info("device uncoupled", "tenant", tenant, "device", id, "number", n)
	return nil
}

package device

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

// Erase cuts off every device that has or had one of the numbers, which are all of a
// party's, as the e-mail addresses are, and forgets everything else that names one; it returns the devices. What stays of
// a device is its key, so that it is never accepted again. The directory of parties it
// leaves alone. It may repeat, and must be repeated after an error.
func (r *Registry) Erase(ctx context.Context, tenant wire.TenantID, numbers []tel.Number, addresses []tel.Identity) ([]wire.DeviceID, error) {
	prefix := store.Key(string(tenant)) + "/"
	var ids []wire.DeviceID
	for item, err := range r.devices.Scan(ctx, prefix) {
		if err != nil {
			return nil, fmt.Errorf("device: erase: %w", err)
		}
		if slices.ContainsFunc(item.Value.Bindings, func(b wire.Binding) bool { return slices.Contains(numbers, b.Number) }) {
			ids = append(ids, item.Value.ID)
		}
	}
	for _, n := range numbers { // what only the index knows
		for id, err := range r.namedBy(ctx, tenant, n) {
			if err != nil {
				return ids, err
			}
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	for _, id := range ids {
		err := r.Revoke(ctx, tenant, id)
		if err == nil {
			err = r.wipe(ctx, tenant, id)
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return ids, err
		}
	}
	for _, n := range numbers {
		for _, id := range ids {
			if err := r.unindex(ctx, tenant, n, id); err != nil {
				return ids, err
			}
		}
		if err := store.Remove(ctx, r.limits, store.Key(string(tenant), "number", n.String())); err != nil {
			return ids, fmt.Errorf("device: erase: %w", err)
		}
	}
	for _, n := range numbers {
		if err := store.Remove(ctx, r.limits, store.Key(string(tenant), "mails-of", n.Identity().String())); err != nil {
			return ids, fmt.Errorf("device: erase: %w", err)
		}
	}
	var codes []mailbox
	for item, err := range r.mailboxes.Scan(ctx, prefix) {
		if err != nil {
			return ids, fmt.Errorf("device: erase: %w", err)
		}
		if n, ok := item.Value.Principal.Number(); ok && slices.Contains(numbers, n) {
			codes = append(codes, item.Value)
		}
	}
	addresses = slices.Clone(addresses)
	for _, m := range codes {
		addresses = append(addresses, m.Address)
	}
	for _, a := range addresses {
		if err := store.Remove(ctx, r.limits, store.Key(string(tenant), "mailbox", a.String())); err != nil {
			return ids, fmt.Errorf("device: erase: %w", err)
		}
	}
	for _, m := range codes { // last: they tell whose an address is
		if err := store.Remove(ctx, r.mailboxes, mailboxKey(tenant, m.Principal, m.Address)); err != nil {
			return ids, fmt.Errorf("device: erase: %w", err)
		}
	}
	return ids, r.dropEnrolments(ctx, tenant, numbers)
}

// dropEnrolments removes the enrolments of the numbers, also those that are proved: they could be
// confirmed once more. It may repeat.
func (r *Registry) dropEnrolments(ctx context.Context, tenant wire.TenantID, numbers []tel.Number) error {
	var begun []string
	for item, err := range r.enrolments.Scan(ctx, store.Key(string(tenant))+"/") {
		if err != nil {
			return fmt.Errorf("device: drop enrolments: %w", err)
		}
		if slices.Contains(numbers, item.Value.Number) {
			begun = append(begun, item.Key)
		}
	}
	for _, key := range begun {
		if err := store.Remove(ctx, r.enrolments, key); err != nil {
			return fmt.Errorf("device: drop enrolments: %w", err)
		}
	}
	return nil
}

// wipe leaves of a revoked device only its key, which is never accepted again.
func (r *Registry) wipe(ctx context.Context, tenant wire.TenantID, id wire.DeviceID) error {
	_, err := r.change(ctx, tenant, id, func(d *Device) error {
		*d = Device{ID: d.ID, Tenant: d.Tenant, Key: d.Key, Created: d.Created, RevokedAt: d.RevokedAt}
		return nil
	})
	return err
}

// All returns every device that has or had a binding to one of the numbers, also one that
// was revoked, until it is wiped.
func (r *Registry) All(ctx context.Context, tenant wire.TenantID, numbers []tel.Number) ([]Device, error) {
	var all []Device
	for item, err := range r.devices.Scan(ctx, store.Key(string(tenant))+"/") {
		if err != nil {
			return nil, fmt.Errorf("device: list: %w", err)
		}
		if slices.ContainsFunc(item.Value.Bindings, func(b wire.Binding) bool { return slices.Contains(numbers, b.Number) }) {
			all = append(all, item.Value)
		}
	}
	return all, nil
}

// SweepLapsed deletes devices whose last proof lapsed so long ago (they could not even say
// hello since, and would enrol anew), leaves of those revoked so long ago only the key, and
// returns how many. Call it now and then, on any node.
func (r *Registry) SweepLapsed(ctx context.Context, after time.Duration) (n int, err error) {
	before := r.cfg.Now().Add(-after)
	lapsed := func(d Device) bool {
		if !d.RevokedAt.IsZero() {
			return len(d.Bindings) > 0 && d.RevokedAt.Before(before)
		}
		return d.Created.Before(before) && !slices.ContainsFunc(d.Bindings, func(b wire.Binding) bool { return !b.Expires.Before(before) })
	}
	var old []store.Item[Device]
	for item, err := range r.devices.Scan(ctx, "") {
		if err != nil {
			return 0, fmt.Errorf("device: sweep devices: %w", err)
		}
		if lapsed(item.Value) {
			old = append(old, item)
		}
	}
	for _, item := range old {
		d := item.Value
		for _, b := range d.Bindings {
			if err := r.unindex(ctx, d.Tenant, b.Number, d.ID); err != nil {
				return n, err
			}
		}
		if !d.RevokedAt.IsZero() {
			if err := r.wipe(ctx, d.Tenant, d.ID); err != nil {
				return n, err
			}
			n++
			continue
		}
		err := r.devices.Delete(ctx, item.Key, item.Rev)
		if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
			// Enrolled again meanwhile: back into the index it goes.
			if now, _, err := r.devices.Get(ctx, item.Key); err == nil {
				for _, b := range now.Bindings {
					if err := r.index(ctx, now.Tenant, b.Number, now.ID); err != nil {
						return n, err
					}
				}
			}
			continue
		}
		if err != nil {
			return n, fmt.Errorf("device: sweep devices: %w", err)
		}
		r.cfg.OnRevoke(ctx, d.Tenant, d.ID)
		n++
	}
	return n, nil
}

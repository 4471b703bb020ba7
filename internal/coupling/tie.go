package coupling

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// make brings about what a request was granted: the coupling, then the device's binding,
// then whoever wants to know. Each step may repeat.
func (s *Service) make(ctx context.Context, r Request) (device.Device, error) {
	holds, err := s.stillHolds(ctx, r.Grant.Voucher)
	if err != nil {
		return device.Device{}, fmt.Errorf("coupling: look at the voucher: %w", err)
	}
	c := r.tie(device.IDOf(r.Tenant, r.Key), s.cfg.Now(), s.cfg.Lease)
	key := couplingKey(r.Tenant, r.Grant.Voucher.Number, c.Device)
	if r.Made {
		old, _, err := s.couplings.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return device.Device{}, fmt.Errorf("coupling: read: %w", err)
		}
		if err != nil || old.ID != c.ID || old.Ended {
			return device.Device{}, ErrExpired
		}
		return s.cfg.Devices.Get(ctx, r.Tenant, c.Device)
	}
	if !holds {
		return device.Device{}, ErrExpired
	}
	others, err := s.OfNumber(ctx, r.Tenant, c.Voucher.Number)
	if err != nil {
		return device.Device{}, err
	}
	others = slices.DeleteFunc(others, func(o Coupling) bool { return o.Device == c.Device })
	if len(others) >= s.cfg.PerNumber {
		return device.Device{}, ErrFull
	}
	d, err := s.bind(ctx, key, c)
	if err != nil {
		return d, err
	}
	_, err = store.Change(ctx, s.requests, store.Key(string(r.Tenant), r.ID), func(r Request, exists bool) (Request, bool, error) {
		r.Made = true
		return r, exists, nil
	})
	if err != nil {
		return d, fmt.Errorf("coupling: note that it is made: %w", err)
	}
	s.cfg.Log.Info("device coupled", "tenant", r.Tenant, "device", c.Device, "number", c.Voucher.Number, "kind", c.Kind, "made", c.Voucher.Made)
	return d, nil
}

// bind stores a coupling, gives its device the binding, and tells.
func (s *Service) bind(ctx context.Context, key string, c Coupling) (device.Device, error) {
	before := Coupling{}
	c, err := store.Change(ctx, s.couplings, key, func(old Coupling, exists bool) (Coupling, bool, error) {
		if before = old; exists && old.ID == c.ID {
			return old, false, nil
		}
		return c, true, nil
	})
	if err != nil {
		return device.Device{}, fmt.Errorf("coupling: keep: %w", err)
	}
	d, err := s.cfg.Devices.Couple(ctx, c.request(), c.Voucher.Proof, c.until())
	if err != nil {
		if refused(err) && before.ID != c.ID {
			err = errors.Join(err, store.Remove(ctx, s.couplings, key))
		}
		return d, err
	}
	s.lookAgain()
	return d, s.cfg.Made(ctx, c, false)
}

// refused: the registry will never take the device like this.
func refused(err error) bool {
	return errors.Is(err, device.ErrRevoked) || errors.Is(err, device.ErrOtherParty) || errors.Is(err, device.ErrRequest) || errors.Is(err, device.ErrKey)
}

// OfNumber lists the couplings of a number, the oldest first.
func (s *Service) OfNumber(ctx context.Context, tenant wire.TenantID, n tel.Number) ([]Coupling, error) {
	var all []Coupling
	for item, err := range s.couplings.Scan(ctx, store.Key(string(tenant), n.String())+"/") {
		if err != nil {
			return nil, fmt.Errorf("coupling: list: %w", err)
		}
		if !item.Value.Ended {
			all = append(all, item.Value)
		}
	}
	slices.SortStableFunc(all, func(a, b Coupling) int { return a.Created.Compare(b.Created) })
	return all, nil
}

// OfDevice lists the couplings that make the device carry data for a number, also while it
// is away.
func (s *Service) OfDevice(ctx context.Context, d device.Device) ([]Coupling, error) {
	var all []Coupling
	for _, n := range numbers(d) {
		c, _, err := s.couplings.Get(ctx, couplingKey(d.Tenant, n, d.ID))
		if errors.Is(err, store.ErrNotFound) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("coupling: read: %w", err)
		}
		if !c.Ended {
			all = append(all, c)
		}
	}
	return all, nil
}

// numbers that a device has or had a binding to.
func numbers(d device.Device) []tel.Number {
	var all []tel.Number
	for _, b := range d.Bindings {
		if !slices.Contains(all, b.Number) {
			all = append(all, b.Number)
		}
	}
	return all
}

// Find returns the coupling with this id among those of the numbers. ErrNotFound.
func (s *Service) Find(ctx context.Context, tenant wire.TenantID, of []tel.Number, id string) (Coupling, error) {
	for _, n := range of {
		list, err := s.OfNumber(ctx, tenant, n)
		if err != nil {
			return Coupling{}, err
		}
		if i := slices.IndexFunc(list, func(c Coupling) bool { return c.ID == id }); i >= 0 {
			return list[i], nil
		}
	}
	return Coupling{}, ErrNotFound
}

// End takes a coupling apart for good: its device loses the binding, its connections and its
// part in the party's sessions. It may repeat, and must be repeated after an error.
func (s *Service) End(ctx context.Context, c Coupling) error {
	key := couplingKey(c.Voucher.Tenant, c.Voucher.Number, c.Device)
	c, err := store.Change(ctx, s.couplings, key, func(old Coupling, exists bool) (Coupling, bool, error) {
		if !exists || old.ID != c.ID {
			return c, false, ErrNotFound
		}
		old.Ended = true
		return old, true, nil
	})
	if errors.Is(err, ErrNotFound) {
		return nil // ended already, or another has taken its place
	} else if err != nil {
		return fmt.Errorf("coupling: end: %w", err)
	}
	return s.finish(ctx, key, c)
}

// finish does what is left of the end of a coupling.
func (s *Service) finish(ctx context.Context, key string, c Coupling) error {
	// The sessions first: a device that is still there hears that it has left.
	if err := s.cfg.Ended(ctx, c, false); err != nil {
		return err
	}
	if err := s.cfg.Devices.Uncouple(ctx, c.Voucher.Tenant, c.Device, c.Voucher.Number); err != nil && !errors.Is(err, device.ErrNotFound) {
		return err
	}
	if err := store.Remove(ctx, s.couplings, key); err != nil {
		return fmt.Errorf("coupling: end: %w", err)
	}
	s.cfg.Log.Info("coupling ended", "tenant", c.Voucher.Tenant, "device", c.Device, "number", c.Voucher.Number)
	return nil
}

// DeviceGone ends what a device that can act no more was part of: what it vouched for, and
// where it was the coupled one. It may repeat.
func (s *Service) DeviceGone(ctx context.Context, d device.Device) error {
	for _, n := range numbers(d) {
		list, err := s.OfNumber(ctx, d.Tenant, n)
		if err != nil {
			return err
		}
		for _, c := range list {
			if c.Device == d.ID && !d.RevokedAt.IsZero() || c.Voucher.By == d.ID {
				if err := s.End(ctx, c); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Renewed lets what a device vouched for last as long as the proofs that it has now.
func (s *Service) Renewed(ctx context.Context, d device.Device) error {
	for _, n := range numbers(d) {
		v, err := VoucherOf(d, n, s.cfg.Now())
		if err != nil {
			continue // nothing of its own
		}
		list, err := s.OfNumber(ctx, d.Tenant, n)
		if err != nil {
			return err
		}
		for _, c := range list {
			if c.Voucher.By != d.ID || !v.Until.After(c.Voucher.Until) {
				continue
			}
			c, err := store.Change(ctx, s.couplings, couplingKey(d.Tenant, n, c.Device), func(old Coupling, exists bool) (Coupling, bool, error) {
				if !exists || old.ID != c.ID || old.Ended {
					return old, false, nil
				}
				old.Voucher.Proof, old.Voucher.Until = v.Proof, v.Until
				return old, true, nil
			})
			if err == nil && c.Kind == wire.Permanent && !c.Ended {
				_, err = s.cfg.Devices.Couple(ctx, c.request(), c.Voucher.Proof, c.until())
			}
			if err != nil && !refused(err) {
				return fmt.Errorf("coupling: renew: %w", err)
			}
		}
	}
	return nil
}

// Erase ends every coupling of the numbers, and forgets whatever else names one. It may
// repeat.
func (s *Service) Erase(ctx context.Context, tenant wire.TenantID, of []tel.Number) error {
	for _, n := range of {
		prefix := store.Key(string(tenant), n.String()) + "/"
		for item, err := range s.couplings.Scan(ctx, prefix) {
			if err != nil {
				return fmt.Errorf("coupling: erase: %w", err)
			}
			item.Value.Ended = false // whatever was left of it, too
			if err := s.End(ctx, item.Value); err != nil {
				return err
			}
		}
		if err := store.Remove(ctx, s.limits, store.Key(string(tenant), "wrong", n.String())); err != nil {
			return fmt.Errorf("coupling: erase: %w", err)
		}
	}
	_, err := sweep(ctx, s.codes, func(c code) bool { return c.Offer != nil && c.Offer.Voucher.of(tenant, of) })
	if err == nil {
		_, err = sweep(ctx, s.requests, func(r Request) bool { return r.Grant != nil && r.Grant.Voucher.of(tenant, of) })
	}
	if err != nil {
		return fmt.Errorf("coupling: erase: %w", err)
	}
	return nil
}

func (v Voucher) of(tenant wire.TenantID, numbers []tel.Number) bool {
	return v.Tenant == tenant && slices.Contains(numbers, v.Number)
}

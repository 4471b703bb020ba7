package coupling

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// A report may carry the address of a device that nobody has coupled before (B8): the id of the
// request that the device itself has made to be coupled, and has handed over. That is its consent,
// since nobody else knows the id. The coupling that comes of it is for the call ([wire.ForCall]).

// Carried is the device to which an address in a report leads.
type Carried struct {
	Device wire.DeviceID
	// There: it has claimed its coupling, and may carry data. Otherwise it does so soon.
	There bool
}

// Carry couples the device of the request with the voucher's number, for a call whose report is
// heard again within lease. It may be repeated, and keeps the coupling alive. A device that is
// coupled with the number in another way stays so. ErrWrongCode where the request is of nobody who
// is to be had for that number.
func (s *Service) Carry(ctx context.Context, v Voucher, request string, lease time.Duration) (Carried, error) {
	ties, err := s.OfNumber(ctx, v.Tenant, v.Number)
	if err != nil {
		return Carried{}, err
	}
	if i := slices.IndexFunc(ties, func(c Coupling) bool { return c.Request == request }); i >= 0 {
		return Carried{ties[i].Device, true}, s.carryOn(ctx, ties[i], lease)
	}
	r, _, err := s.requests.Get(ctx, store.Key(string(v.Tenant), request))
	if errors.Is(err, store.ErrNotFound) || err == nil && r.Made {
		return Carried{}, ErrWrongCode
	} else if err != nil {
		return Carried{}, fmt.Errorf("coupling: read a request: %w", err)
	}
	id := device.IDOf(v.Tenant, r.Key)
	if slices.ContainsFunc(ties, func(c Coupling) bool { return c.Device == id && !c.lapsed(s.cfg.Now()) }) {
		return Carried{id, true}, nil
	}
	_, err = s.grant(ctx, r, Grant{Coupling: wire.NewID("cpl_"), Voucher: v, Kind: wire.ForCall})
	return Carried{id, false}, err
}

// carryOn renews a coupling. ErrWrongCode where it is over.
func (s *Service) carryOn(ctx context.Context, old Coupling, lease time.Duration) error {
	key := couplingKey(old.Voucher.Tenant, old.Voucher.Number, old.Device)
	c, err := store.Change(ctx, s.couplings, key, func(c Coupling, exists bool) (Coupling, bool, error) {
		now := s.cfg.Now()
		if !exists || c.ID != old.ID || c.Ended || c.lapsed(now) {
			return c, false, ErrWrongCode
		}
		c.Expires = earliest(now.Add(lease), c.Voucher.Until)
		return c, true, nil
	})
	if errors.Is(err, ErrWrongCode) {
		return err
	} else if err != nil {
		return fmt.Errorf("coupling: carry on: %w", err)
	}
	if _, err := s.cfg.Devices.Couple(ctx, c.request(), c.Voucher.Proof, c.until()); err != nil {
		return fmt.Errorf("coupling: carry on: %w", err)
	}
	s.lookAgain()
	return nil
}

// Released ends the couplings of a device that were for a call which is over. It may repeat.
func (s *Service) Released(ctx context.Context, d device.Device) error {
	list, err := s.OfDevice(ctx, d)
	for _, c := range list {
		if err == nil && c.Kind == wire.ForCall {
			err = s.End(ctx, c)
		}
	}
	return err
}

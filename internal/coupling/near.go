package coupling

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// lookEvery is how often Run looks at all couplings, at least and at most.
const (
	lookEvery   = time.Minute
	lookAtMost  = time.Second
	sweepEvery  = 5 * time.Minute
	finishAfter = time.Second
)

// Near notes a sighting of one side of a coupling (see [Coupling.Seen]) and returns the
// coupling as it is then. A device that was away is bound again if it turns out to be near.
// ErrNotFound where it has ended meanwhile.
func (s *Service) Near(ctx context.Context, c Coupling, seen Sighting) (Coupling, error) {
	key := couplingKey(c.Voucher.Tenant, c.Voucher.Number, c.Device)
	var near, again bool
	c, err := store.Change(ctx, s.couplings, key, func(old Coupling, exists bool) (Coupling, bool, error) {
		if !exists || old.ID != c.ID || old.Ended {
			return old, false, ErrNotFound
		}
		now := s.cfg.Now()
		again = old.Apart || old.lapsed(now)
		var next Coupling
		next, near = old.Seen(seen, now, s.cfg.Lease)
		return next, next != old, nil
	})
	if errors.Is(err, ErrNotFound) || err == nil && !near {
		return c, err
	} else if err != nil {
		return c, fmt.Errorf("coupling: note a sighting: %w", err)
	}
	if holds, err := s.stillHolds(ctx, c.Voucher); err != nil || !holds {
		return c, err // it ends with its voucher's proof
	}
	if _, err := s.cfg.Devices.Couple(ctx, c.request(), c.Voucher.Proof, c.until()); err != nil {
		return c, fmt.Errorf("coupling: renew: %w", err)
	}
	s.lookAgain()
	if again {
		return c, s.cfg.Made(ctx, c, true)
	}
	return c, nil
}

func (s *Service) lookAgain() {
	select {
	case s.sooner <- struct{}{}:
	default:
	}
}

// Run lets leases run out, completes what a crash has cut short, and sweeps what is over,
// until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	cancel, err := s.cfg.Engine.Subscribe(ctx, choiceSubject, s.onChoice)
	if err != nil {
		return fmt.Errorf("coupling: hear of other nodes: %w", err)
	}
	defer cancel()
	var swept time.Time
	for {
		now := s.cfg.Now()
		next, err := s.look(ctx, now)
		if err == nil {
			err = s.lookAtChoices(ctx)
		}
		if err == nil && now.Sub(swept) >= sweepEvery {
			swept = now
			_, err = s.Sweep(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("couplings are looked at again later", "err", err)
		}
		wait := time.NewTimer(min(lookEvery, max(lookAtMost, next.Sub(s.cfg.Now()))))
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-s.sooner:
		case <-wait.C:
		}
		wait.Stop()
	}
}

// look ends what is over now, and returns when the next lease runs out.
func (s *Service) look(ctx context.Context, now time.Time) (time.Time, error) {
	next := now.Add(lookEvery)
	var over []store.Item[Coupling]
	for item, err := range s.couplings.Scan(ctx, "") {
		if err != nil {
			return next, err
		}
		switch c := item.Value; {
		case c.Ended, !now.Before(c.Voucher.Until), c.lapsed(now) && !c.Apart:
			over = append(over, item)
		case c.leased() && !c.Apart:
			next = earliest(next, c.Expires)
		}
	}
	for _, item := range over {
		c := item.Value
		var err error
		switch {
		case c.Ended:
			err = s.finish(ctx, item.Key, c)
		case !now.Before(c.Voucher.Until), c.Kind == wire.ForCall:
			err = s.End(ctx, c)
		default:
			err = s.lapse(ctx, item.Key)
		}
		if err != nil {
			return now.Add(finishAfter), err
		}
	}
	return next, nil
}

// lapse takes the binding from the device of a temporary coupling whose lease has run out.
func (s *Service) lapse(ctx context.Context, key string) error {
	gone := false
	c, err := store.Change(ctx, s.couplings, key, func(c Coupling, exists bool) (Coupling, bool, error) {
		gone = exists && !c.Ended && c.lapsed(s.cfg.Now())
		return c, false, nil
	})
	if err != nil || !gone {
		return err
	}
	if err := s.cfg.Ended(ctx, c, true); err != nil {
		return err
	}
	if err := s.cfg.Devices.Lapse(ctx, c.Voucher.Tenant, c.Device, c.Voucher.Number); err != nil && !errors.Is(err, device.ErrNotFound) {
		return err
	}
	// Last: until then it is done again after a crash. If the two met meanwhile, the device
	// is bound again with their next sighting.
	_, err = store.Change(ctx, s.couplings, key, func(c Coupling, exists bool) (Coupling, bool, error) {
		if !exists || c.Ended {
			return c, false, nil
		}
		c.Apart = true
		return c, true, nil
	})
	return err
}

// Sweep deletes codes, requests and limits that are over, and returns how many.
func (s *Service) Sweep(ctx context.Context) (n int, err error) {
	now := s.cfg.Now()
	for _, f := range []func() (int, error){
		func() (int, error) { return sweep(ctx, s.codes, func(c code) bool { return !now.Before(c.Expires) }) },
		func() (int, error) {
			return sweep(ctx, s.requests, func(r Request) bool { return !now.Before(r.Expires) })
		},
		func() (int, error) { return sweep(ctx, s.limits, func(u usage) bool { return u.over(now) }) },
	} {
		m, err := f()
		if n += m; err != nil {
			return n, fmt.Errorf("coupling: sweep: %w", err)
		}
	}
	return n, nil
}

// sweep deletes the records that are over.
func sweep[T any](ctx context.Context, t store.Table[T], over func(T) bool) (n int, err error) {
	var old []store.Item[T]
	for item, err := range t.Scan(ctx, "") {
		if err != nil {
			return 0, err
		}
		if over(item.Value) {
			old = append(old, item)
		}
	}
	for _, item := range old {
		err := t.Delete(ctx, item.Key, item.Rev)
		switch {
		case err == nil:
			n++
		case errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict): // changed, or swept by another node
		default:
			return n, err
		}
	}
	return n, nil
}

package payment

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

const (
	atOnce     = 16          // payments that are looked at at one time
	tick       = time.Second // while anything is open
	rest       = time.Minute // while nothing is: another node may have died
	sweepEvery = 10 * time.Minute
)

// pause between two looks at a payment of an age: notices come sooner where they come.
func pause(age time.Duration) time.Duration { return min(max(age/4, 3*time.Second), 5*time.Minute) }

func (s *Service) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run looks at what is open, and tells what came of it, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		open, err := s.work(ctx)
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("payments are looked at later", "err", err)
		}
		wait := time.NewTimer(rest)
		if open {
			wait.Reset(tick)
		}
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-s.wake:
		case <-wait.C:
		case <-sweep.C:
			if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
				s.cfg.Log.Warn("payments are kept longer", "err", err)
			}
		}
		wait.Stop()
	}
}

// work looks at those whose time has come. open: there are some.
func (s *Service) work(ctx context.Context) (open bool, err error) {
	var any atomic.Bool
	err = store.WorkOn(ctx, s.due, atOnce, func(ctx context.Context, item store.Item[Watch]) error {
		any.Store(true)
		return s.workOn(ctx, item)
	})
	return any.Load(), err
}

func (s *Service) workOn(ctx context.Context, item store.Item[Watch]) error {
	w, now := item.Value, s.cfg.Now()
	if w.Next.After(now) {
		return nil
	}
	p, _, err := s.payments.Get(ctx, item.Key)
	if errors.Is(err, store.ErrNotFound) {
		// Whoever begins it is about to write it, or died: nobody can pay it then.
		if now.Sub(w.Next) < rest {
			return nil
		}
		_, err = store.Finish(ctx, s.due, item)
		return err
	}
	if err != nil {
		return fmt.Errorf("payment: read: %w", err)
	}
	// Only one node looks.
	w.Next = now.Add(pause(now.Sub(p.Begun)))
	if item.Rev, err = s.due.Put(ctx, item.Key, w, item.Rev); err != nil {
		if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return fmt.Errorf("payment: claim: %w", err)
	}
	if !p.over() {
		if p, err = s.progress(ctx, p); err != nil {
			return err
		}
	}
	if !p.over() {
		return nil
	}
	if err := s.tell(ctx, p); err != nil {
		return err
	}
	_, err = store.Finish(ctx, s.due, item)
	return err
}

// progress looks at an open payment; one whose session is closed is given up.
func (s *Service) progress(ctx context.Context, p Payment) (Payment, error) {
	open, err := s.cfg.Sessions.Open(ctx, p.Tenant, p.Session)
	if err != nil {
		return p, fmt.Errorf("payment: session: %w", err)
	}
	now := s.cfg.Now()
	if p.State == wire.PaymentOpen && (!open || now.After(p.Expires)) {
		reason := Expired
		if !open {
			reason = SessionClosed
		}
		p, err = s.expire(ctx, p, reason)
	} else {
		p, err = s.look(ctx, p)
	}
	since := now.Sub(p.Expires)
	if err != nil && p.State == wire.PaymentOpen && since > unknownFor || p.State == wire.PaymentProcessing && since > processingFor {
		s.cfg.Log.Error("what came of a payment was never learned; look at the payment server", "account", p.Account, "session", p.Session, "payment", p.ID, "err", err)
		return s.settle(ctx, p, wire.PaymentFailed, Unknown, "")
	}
	return p, err
}

func (s *Service) look(ctx context.Context, p Payment) (Payment, error) {
	return s.ask(ctx, p, s.cfg.Gateway.Look)
}

// expire gives an attempt up, for a reason.
func (s *Service) expire(ctx context.Context, p Payment, reason string) (Payment, error) {
	next, err := store.Change(ctx, s.payments, key(p), func(x Payment, exists bool) (Payment, bool, error) {
		if !exists || x.Attempt != p.Attempt || x.over() || x.GivenUp != "" {
			return x, false, nil
		}
		x.GivenUp = reason
		return x, true, nil
	})
	if err != nil {
		return p, fmt.Errorf("payment: keep: %w", err)
	}
	if next.Attempt != p.Attempt || next.over() {
		return next, nil
	}
	return s.ask(ctx, next, s.cfg.Gateway.Expire)
}

// ask asks the payment server, and keeps what it says.
func (s *Service) ask(ctx context.Context, p Payment, do func(ctx context.Context, key, checkout string) (Checkout, error)) (Payment, error) {
	a, err := s.Account(ctx, credential.Owner{Tenant: p.Tenant, All: true}, p.Account)
	if err != nil {
		return p, err
	}
	c, err := do(ctx, a.Key, p.Checkout)
	if err != nil {
		return p, err
	}
	reason := ""
	switch c.State {
	case wire.PaymentCancelled:
		reason = Expired
	case wire.PaymentFailed:
		reason = Declined
	}
	return s.settle(ctx, p, c.State, reason, c.Reference)
}

// settle keeps the state of an attempt, and has it told.
func (s *Service) settle(ctx context.Context, p Payment, state wire.PaymentState, reason, reference string) (Payment, error) {
	if state == p.State {
		return p, nil
	}
	now, settled := s.cfg.Now(), false
	next, err := store.Change(ctx, s.payments, key(p), func(x Payment, exists bool) (Payment, bool, error) {
		settled = false
		if !exists || x.Attempt != p.Attempt || x.over() || x.State == state {
			return x, false, nil
		}
		x.State, x.Reason, x.Reference = state, reason, reference
		if state == wire.PaymentCancelled && x.GivenUp != "" {
			x.Reason = x.GivenUp
		}
		if x.over() {
			x.Ended, x.URL = now, ""
		}
		settled = true
		return x, true, nil
	})
	if err != nil || !settled {
		if err != nil {
			err = fmt.Errorf("payment: keep: %w", err)
		}
		return next, err
	}
	switch next.State {
	case wire.PaymentPaid:
		s.ended[0].Add(1)
	case wire.PaymentFailed:
		s.ended[1].Add(1)
	case wire.PaymentCancelled:
		s.ended[2].Add(1)
	}
	if next.over() {
		if err := s.watch(ctx, next, now); err != nil {
			return next, err
		}
		s.signal()
	}
	s.notify(ctx, next)
	return next, nil
}

// notify has the device that pays read its payments again. It is only a hint.
func (s *Service) notify(ctx context.Context, p Payment) {
	if s.cfg.Notify == nil || p.Device == "" {
		return
	}
	if err := s.cfg.Notify(ctx, p.Tenant, p.Device, p.Session); err != nil && ctx.Err() == nil {
		s.cfg.Log.Warn("a device was not told that its payment has gone on", "session", p.Session, "err", err)
	}
}

// tell puts what came of a payment into the session, once.
func (s *Service) tell(ctx context.Context, p Payment) error {
	if p.Device == "" {
		return nil // erased
	}
	r := wire.OverlayResult{
		Seq: p.Seq, Overlay: p.Overlay,
		Answer:  overlay.Answer{Region: p.Region, Action: p.Action, Type: p.Type, Outcome: overlay.Done, Reason: p.Reason},
		Payment: &wire.OverlayPayment{ID: p.ID, Item: p.Item, Amount: p.Amount, Reference: p.Reference},
	}
	switch p.State {
	case wire.PaymentFailed:
		r.Outcome = overlay.Failed
	case wire.PaymentCancelled:
		r.Outcome = overlay.Cancelled
	}
	err := s.cfg.Sessions.Tell(ctx, p, wire.RequestID(fmt.Sprintf("%s-%d", p.ID, p.Attempt)), r)
	if errors.Is(err, ErrClosed) {
		s.cfg.Log.Info("a payment ended after its session", "session", p.Session, "payment", p.ID, "state", p.State)
		return nil
	}
	return err
}

// sweep removes payments that ended long ago.
func (s *Service) sweep(ctx context.Context) error {
	for item, err := range s.payments.Scan(ctx, "") {
		if err != nil {
			return fmt.Errorf("payment: sweep: %w", err)
		}
		p := item.Value
		if !p.over() || s.cfg.Now().Sub(p.Ended) < s.cfg.Keep {
			continue
		}
		if err := s.payments.Delete(ctx, item.Key, item.Rev); err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("payment: sweep: %w", err)
		}
	}
	return nil
}

package webhook

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

const (
	// pause is the longest time between two looks at what is due.
	pause = 10 * time.Second
	// sweepEvery is how often old deliveries are removed.
	sweepEvery = time.Hour
	// slack is how much longer than an attempt its lease holds.
	slack = 15 * time.Second
)

// Run delivers until ctx ends; then it waits for the attempts under way to be cut off. What
// they were at stays pending.
func (s *Service) Run(ctx context.Context) error {
	cancel, err := s.c.Engine.Subscribe(ctx, changedSubject, func(string, []byte) { s.ring() })
	if err != nil {
		return fmt.Errorf("webhook: hear of other nodes: %w", err)
	}
	defer cancel()
	var flights sync.WaitGroup
	defer flights.Wait()
	swept := time.Time{}
	for {
		if err := s.look(ctx); err != nil && ctx.Err() == nil {
			s.c.Log.Error("webhooks cannot be read", "err", err)
		}
		if now := s.c.Now(); now.Sub(swept) >= sweepEvery {
			if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
				s.c.Log.Error("old webhook deliveries cannot be removed", "err", err)
			}
			swept = now
		}
		next := s.c.Now().Add(pause)
		for _, e := range *s.known.Load() {
			at, err := s.dispatch(ctx, e, &flights)
			if err != nil && ctx.Err() == nil {
				s.c.Log.Error("due webhooks cannot be read", "webhook", e.ID, "err", err)
			}
			if !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		timer := time.NewTimer(max(next.Sub(s.c.Now()), 0))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-s.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// dispatch begins the endpoint's due deliveries, as far as it may have more at one time,
// and returns when the next one is due.
func (s *Service) dispatch(ctx context.Context, e Endpoint, flights *sync.WaitGroup) (time.Time, error) {
	if !e.Disabled.IsZero() {
		return time.Time{}, nil
	}
	now := s.c.Now()
	var found []store.Item[pointer]
	for item, err := range s.due.Scan(ctx, e.key()+"/") {
		if err != nil {
			return time.Time{}, err
		}
		if item.Value.At.After(now) {
			s.begin(ctx, e, found, flights)
			return item.Value.At, nil
		}
		if found = append(found, item); len(found) >= 2*s.c.PerEndpoint {
			break // an attempt that ends rings again
		}
	}
	s.begin(ctx, e, found, flights)
	return time.Time{}, nil
}

func (s *Service) begin(ctx context.Context, e Endpoint, due []store.Item[pointer], flights *sync.WaitGroup) {
	for _, p := range due {
		if !s.take(e, p.Key) {
			continue
		}
		flights.Go(func() {
			d, done := s.attempt(ctx, e, deliveryKey(e.Tenant, e.ID, p.Value.Event))
			// Not done: another node is at it, or the store failed; the pointer stays for
			// the next look. A pointer that is the delivery's next one stays too.
			if done && !(d.Status == Pending && d.Next.Equal(p.Value.At)) {
				err := s.due.Delete(ctx, p.Key, p.Rev)
				if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) && ctx.Err() == nil {
					s.c.Log.Warn("a webhook's pointer stays, and is looked at again", "err", err)
				}
			}
			s.release(e, p.Key)
			if done {
				s.ring()
			}
		})
	}
}

// take reserves one of the endpoint's places. False: none is free, or it is taken already.
func (s *Service) take(e Endpoint, key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flying[e.key()]
	if f == nil {
		f = map[string]bool{}
		s.flying[e.key()] = f
	}
	if f[key] || len(f) >= s.c.PerEndpoint {
		return false
	}
	f[key] = true
	return true
}

func (s *Service) release(e Endpoint, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flying[e.key()], key)
	if len(s.flying[e.key()]) == 0 {
		delete(s.flying, e.key())
	}
}

// attempt claims the delivery, makes one attempt, and writes down what came of it. False:
// somebody else is at it, or the store failed. A delivery that is not due counts as done.
func (s *Service) attempt(ctx context.Context, e Endpoint, key string) (Delivery, bool) {
	holder := wire.NewID("")
	claimed, busy := false, false
	d, err := store.Change(ctx, s.deliveries, key, func(d Delivery, exists bool) (Delivery, bool, error) {
		now := s.c.Now()
		claimed, busy = false, false
		switch {
		case !exists || d.Status != Pending || d.Next.After(now):
			return d, false, nil
		case d.Holder == holder: // our own write, whose answer was lost
			claimed = true
			return d, false, nil
		case d.Lease.After(now):
			busy = true
			return d, false, nil
		}
		claimed = true
		d.Lease, d.Holder = now.Add(s.c.Timeout+slack).UTC().Round(0), holder
		return d, true, nil
	})
	if err != nil || busy || !claimed {
		if err != nil && ctx.Err() == nil {
			s.c.Log.Warn("a webhook delivery cannot be claimed", "webhook", e.ID, "err", err)
		}
		return d, err == nil && !busy
	}
	began := s.c.Now()
	pctx, cancel := context.WithTimeout(ctx, s.c.Timeout)
	a, err := s.c.Poster.Post(pctx, Post{
		URL: e.URL, ID: d.Event, Timestamp: began.Unix(),
		Signature: sign(e.Secrets, d.Event, began.Unix(), d.Body, began), Body: d.Body,
	})
	cancel()
	if ctx.Err() != nil {
		// Stopping: the attempt does not count.
		wctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_, err := store.Change(wctx, s.deliveries, key, func(d Delivery, exists bool) (Delivery, bool, error) {
			mine := exists && d.Holder == holder
			d.Lease, d.Holder = time.Time{}, ""
			return d, mine && d.Status == Pending, nil
		})
		if err != nil {
			s.c.Log.Warn("a webhook delivery waits until its lease is over", "err", err)
		}
		return d, false
	}
	tried := Attempt{At: began.UTC(), Status: a.Status, Millis: s.c.Now().Sub(began).Milliseconds()}
	if err != nil {
		tried.Error = err.Error()
	}
	d, err = s.finish(ctx, e, d, tried, a.RetryAfter)
	if err != nil && ctx.Err() == nil {
		s.c.Log.Warn("what came of a webhook delivery cannot be written down; it is tried again", "webhook", e.ID, "err", err)
	}
	return d, err == nil
}

// finish writes down what came of an attempt, and what is next.
func (s *Service) finish(ctx context.Context, e Endpoint, d Delivery, a Attempt, after time.Duration) (Delivery, error) {
	ok := a.Status >= 200 && a.Status <= 299
	next := time.Time{}
	if !ok && !d.Once && d.Round < len(s.c.Pauses) {
		wait := s.c.Pauses[d.Round]
		wait += time.Duration(s.c.Jitter() * float64(wait) / 5)
		next = whole(s.c.Now().Add(max(wait, min(after, longest))))
		if err := s.point(ctx, d, next); err != nil {
			return d, err
		}
	}
	was := d
	written, recorded := false, false
	d, err := store.Change(ctx, s.deliveries, d.key(), func(d Delivery, exists bool) (Delivery, bool, error) {
		if recorded = exists && d.Holder == was.Holder; !recorded {
			recorded = written && exists && d.Holder == "" && d.Tried == was.Tried+1 // our write, whose answer was lost
			return d, false, nil                                                     // else it was removed, or is another attempt's by now
		}
		written = true
		replayed := d.Round != was.Round || !d.Next.Equal(was.Next) // meanwhile an operator has asked for it anew
		d.Lease, d.Holder = time.Time{}, ""
		d.Tried++
		d.Attempts = append(d.Attempts[max(0, len(d.Attempts)-keptAttempts+1):len(d.Attempts):len(d.Attempts)], a)
		switch {
		case ok:
			d.Status, d.Next = Delivered, time.Time{}
		case replayed:
			return d, true, nil
		case next.IsZero():
			d.Status, d.Next = Failed, time.Time{}
		default:
			d.Next = next
		}
		d.Round++
		return d, true, nil
	})
	if err != nil || !recorded {
		return d, err
	}
	switch {
	case ok:
		s.stats.delivered.Add(1)
	case next.IsZero():
		s.stats.missed.Add(1)
		s.stats.failed.Add(1)
		s.c.Log.Warn("an event was not delivered; see `tandem webhook deliveries`", "webhook", e.ID, "event", d.Event, "type", d.Type, "status", a.Status, "err", a.Error)
	default:
		s.stats.missed.Add(1)
	}
	return d, s.health(ctx, e, d, a, ok)
}

// statusGone: the endpoint wants nothing more.
const statusGone = 410

// health notes whether the endpoint works, and disables it when it has not for too long.
func (s *Service) health(ctx context.Context, e Endpoint, d Delivery, a Attempt, ok bool) error {
	now := s.c.Now()
	known, found := s.endpoint(e.Tenant, e.ID)
	if !found || d.Once && !ok || ok && known.FailingSince.IsZero() {
		return nil
	}
	if !ok && a.Status != statusGone && !known.FailingSince.IsZero() && now.Sub(known.FailingSince) < s.c.GiveUp {
		return nil
	}
	disabled := false
	e, err := s.change(ctx, e.Tenant, e.ID, func(e *Endpoint) bool {
		disabled = false
		switch {
		case ok:
			e.FailingSince = time.Time{}
			return true
		case e.FailingSince.IsZero():
			e.FailingSince = now
		}
		if e.Disabled.IsZero() && (a.Status == statusGone || now.Sub(e.FailingSince) >= s.c.GiveUp) {
			e.Disabled, e.DisabledBy, disabled = now, failing, true
			if a.Status == statusGone {
				e.DisabledBy = gone
			}
		}
		return true
	})
	if disabled && err == nil {
		s.stats.disabled.Add(1)
		s.c.Log.Warn("a webhook is disabled; enable it with `tandem webhook enable`", "webhook", e.ID, "by", e.DisabledBy)
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// sweep removes what is old, or for endpoints that are gone, and sets pointers that a crash
// left out. Which endpoints there are it reads anew, after what is for them, and proved: what this node knows may be old.
func (s *Service) sweep(ctx context.Context) error {
	now := s.c.Now()
	var old []string
	var found, pending []Delivery
	for item, err := range s.deliveries.Scan(ctx, "") {
		if err != nil {
			return fmt.Errorf("webhook: sweep: %w", err)
		}
		d := item.Value
		if now.Sub(d.touched()) >= s.c.Keep {
			old = append(old, item.Key)
			continue
		}
		if _, known := s.endpoint(d.Tenant, d.Endpoint); known && (d.Status != Pending || d.Once) {
			continue // it stays until it is old
		}
		d.Body, d.Attempts = nil, nil
		found = append(found, d)
	}
	var pointers []store.Item[pointer]
	for item, err := range s.due.Scan(ctx, "") {
		if err != nil {
			return fmt.Errorf("webhook: sweep: %w", err)
		}
		pointers = append(pointers, item)
	}
	endpoints, err := s.read(store.Linearizable(ctx))
	if err != nil {
		return fmt.Errorf("webhook: sweep: %w", err)
	}
	live := map[string]bool{}
	for _, e := range endpoints {
		live[e.key()] = true
	}
	for _, d := range found {
		switch {
		case !live[endpointOf(d.key())]:
			if now.Sub(d.Created) >= pause {
				old = append(old, d.key())
			}
		case d.Status == Pending && !d.Once:
			pending = append(pending, d)
		}
	}
	for _, key := range old {
		if err := remove(ctx, s.deliveries, key); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	for _, d := range pending {
		if err := s.point(ctx, d, d.Next); err != nil {
			return fmt.Errorf("webhook: sweep: %w", err)
		}
	}
	// Pointers of deliveries that are gone vanish when they are due.
	for _, p := range pointers {
		if live[endpointOf(p.Key)] || now.Sub(p.Value.At) < pause {
			continue
		}
		if err := remove(ctx, s.due, p.Key); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

// endpointOf returns the endpoint's key from a pointer's: its first two parts.
func endpointOf(key string) string {
	slashes := 0
	for i := range len(key) {
		if key[i] == '/' {
			if slashes++; slashes == 2 {
				return key[:i]
			}
		}
	}
	return key
}

package notify

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

const (
	// rescan is how often all records are read, for what other nodes have left undone and
	// what is over.
	rescan = time.Minute
	// slack is how much longer than an attempt its lease holds.
	slack = 5 * time.Second
	// longest is the longest pause between two attempts that we make by ourselves.
	longest = time.Minute
	// kept is how long a record stays after its matter is over, so that a late device is told so.
	kept = 10 * time.Minute
)

// schedule sets the time of the next attempt.
func (s *Service) schedule(w Wake) {
	if w.State != Waiting {
		return
	}
	at := w.Next
	if w.Lease.After(at) {
		at = w.Lease
	}
	s.times.Set(key(w.Push.ID), at)
}

// Run delivers until ctx ends; then it waits for the attempts under way. What they were at
// stays waiting.
func (s *Service) Run(ctx context.Context) error {
	cancel, err := s.c.Engine.Subscribe(ctx, cameSubject, s.onCame)
	if err != nil {
		return fmt.Errorf("notify: hear of other nodes: %w", err)
	}
	defer cancel()
	var flights sync.WaitGroup
	defer flights.Wait()
	var scanned time.Time
	for {
		if now := s.now(); scanned.IsZero() || now.Sub(scanned) >= rescan {
			scanned = now
			if err := s.scan(ctx); err != nil && ctx.Err() == nil {
				s.c.Log.Error("pushes cannot be read", "err", err)
			}
		}
		now := s.now()
		for _, k := range s.times.Due(now) {
			switch {
			case k == dataKey:
				s.announce(ctx)
			case k == backKey:
				s.mu.Lock()
				back := s.back
				s.back = nil
				s.mu.Unlock()
				for _, d := range back {
					s.served(ctx, d.deviceKey, []wire.SessionID{d.session})
				}
			case strings.HasPrefix(k, goneKey):
				s.remind(ctx, k)
			default:
				s.begin(ctx, k, &flights)
			}
		}
		timer := time.NewTimer(s.times.Next(scanned.Add(rescan)).Sub(s.now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-s.times.Sooner():
			timer.Stop()
		case <-timer.C:
		}
	}
}

// scan schedules what waits, and removes what is long over.
func (s *Service) scan(ctx context.Context) error {
	now := s.now()
	var old []string
	for item, err := range s.wakes.Scan(ctx, "") {
		if err != nil {
			return err
		}
		if now.Sub(item.Value.Push.Until) >= kept {
			old = append(old, item.Key)
			continue
		}
		s.schedule(item.Value)
		if w := item.Value; w.Push.Kind == wire.PushData && w.State == Dropped { // it has served, perhaps at a node that was not heard
			s.mu.Lock()
			delete(s.announced[deviceKey{w.Tenant, w.Device}], wire.SessionID(w.Ref))
			s.mu.Unlock()
		}
	}
	for _, k := range old {
		if err := store.Remove(ctx, s.wakes, k); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for d, sessions := range s.announced {
		maps.DeleteFunc(sessions, func(_ wire.SessionID, at time.Time) bool { return now.Sub(at) >= resend })
		if len(sessions) == 0 {
			delete(s.announced, d)
		}
	}
	return nil
}

// announce writes down of which sessions devices that are away are to be told.
func (s *Service) announce(ctx context.Context) {
	s.mu.Lock()
	list := s.data
	s.data = nil
	s.mu.Unlock()
	for _, d := range list {
		m := Matter{Tenant: d.tenant, Device: d.device, Ref: string(d.session), Push: wire.Push{Kind: wire.PushData, Session: d.session}}
		if err := s.Wake(ctx, m); err != nil && ctx.Err() == nil {
			s.c.Log.Warn("a device is not told that data waits", "device", d.device, "err", err)
			s.mu.Lock()
			delete(s.announced[d.deviceKey], d.session) // the next message tries again
			s.mu.Unlock()
		}
	}
}

// remind has a device woken for what it is being asked, when it has not come back.
func (s *Service) remind(ctx context.Context, k string) {
	s.mu.Lock()
	d := s.gone[k]
	delete(s.gone, k)
	s.mu.Unlock()
	if s.c.Connected(d.tenant, d.device) {
		return
	}
	if err := s.c.Remind(ctx, d.tenant, d.device); err != nil && ctx.Err() == nil {
		s.c.Log.Warn("a device that has gone is not reminded of what it is asked", "device", d.device, "err", err)
	}
}

func (s *Service) begin(ctx context.Context, k string, flights *sync.WaitGroup) {
	if !s.takeOff(k) {
		return
	}
	flights.Go(func() {
		again, err := s.attempt(ctx, k)
		if err != nil && ctx.Err() == nil {
			s.c.Log.Warn("a push will be tried again", "err", err)
			again = s.now().Add(slack)
		}
		if s.land(k) {
			again = s.now()
		}
		if !again.IsZero() && ctx.Err() == nil {
			s.times.Set(k, again)
		}
	})
}

// takeOff notes that an attempt for the record is under way. False: one was already; when it
// has ended, the record is looked at again.
func (s *Service) takeOff(k string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, flying := s.flying[k]
	s.flying[k] = flying
	return !flying
}

// land notes that the attempt is over, and reports whether another is wanted.
func (s *Service) land(k string) (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	again = s.flying[k]
	delete(s.flying, k)
	return again
}

// attempt makes one attempt for the record, if it is due, and returns when it is due again.
func (s *Service) attempt(ctx context.Context, k string) (again time.Time, err error) {
	w, _, err := s.wakes.Get(ctx, k)
	if errors.Is(err, store.ErrNotFound) {
		return time.Time{}, nil
	} else if err != nil {
		return time.Time{}, err
	}
	now := s.now()
	if w.State != Waiting {
		return time.Time{}, nil
	}
	if at := laterOf(w.Next, w.Lease); at.After(now) {
		return at, nil
	}
	app, err := s.app(ctx, w.Tenant, w.Device, w.Number)
	if err != nil {
		return time.Time{}, err
	}
	var pusher Pusher
	if app != nil {
		pusher = s.c.Pushers[app.Platform]
	}
	switch {
	case w.over(now):
		return s.settle(ctx, k, Failed)
	case pusher == nil, w.Number.IsZero() && s.c.Connected(w.Tenant, w.Device) && w.Push.Withdrawn == "":
		return s.settle(ctx, k, Dropped)
	}
	select {
	case s.places[app.Platform] <- struct{}{}:
		defer func() { <-s.places[app.Platform] }()
	case <-ctx.Done():
		return time.Time{}, nil
	}
	if until := s.pause(app.Platform); until.After(s.now()) {
		return until, nil // asked of another meanwhile
	}
	w, ok, err := s.claim(ctx, k)
	if err != nil || !ok {
		return laterOf(w.Next, w.Lease), err
	}
	err = s.push(ctx, pusher, app, w)
	if ctx.Err() != nil {
		return time.Time{}, s.release(ctx, k, w.Claim)
	}
	return s.finish(ctx, k, w, *app, err)
}

func (s *Service) push(ctx context.Context, pusher Pusher, app *wire.App, w Wake) error {
	ctx, cancel := context.WithTimeout(ctx, s.c.Timeout)
	defer cancel()
	return pusher.Push(ctx, Push{
		App: app.ID, ID: w.Push.ID, Kind: w.Push.Kind, Withdraw: w.Push.Withdrawn != "",
		TTL: max(w.Push.Until.Sub(s.now()), time.Second).Round(time.Second), Urgent: urgent(w.Push.Kind) && w.Push.Withdrawn == "", About: w.Push,
	})
}

// claim leases a record that waits. False: somebody else is at it, or it waits no more.
func (s *Service) claim(ctx context.Context, k string) (Wake, bool, error) {
	mine := rand.Text()
	claimed := false
	w, err := store.Change(ctx, s.wakes, k, func(w Wake, exists bool) (Wake, bool, error) {
		claimed = exists && w.Claim == mine // our own write, whose answer was lost
		if !exists || claimed || w.State != Waiting || w.Lease.After(s.now()) {
			return w, false, nil
		}
		claimed = true
		w.Lease, w.Claim = s.now().Add(s.c.Timeout+slack), mine
		return w, true, nil
	})
	return w, claimed, err
}

// release gives a record back when the service stops: the attempt does not count.
func (s *Service) release(ctx context.Context, k, claim string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_, err := store.Change(ctx, s.wakes, k, func(w Wake, exists bool) (Wake, bool, error) {
		if !exists || w.Claim != claim {
			return w, false, nil
		}
		w.Lease, w.Claim = time.Time{}, ""
		return w, true, nil
	})
	return err
}

// finish writes down what came of an attempt, and returns when the next one is due.
func (s *Service) finish(ctx context.Context, k string, was Wake, app wire.App, failure error) (time.Time, error) {
	now := s.now()
	state, next := Waiting, time.Time{}
	var later *Later
	switch {
	case failure == nil:
		state = Sent
		s.stats.count(s.stats.sent, app.Platform)
		if was.Push.Withdrawn == "" {
			s.stats.seconds.Add(uint64(now.Sub(was.Created).Microseconds()))
		}
	case errors.Is(failure, ErrGone):
		state = Dropped
		s.stats.count(s.stats.gone, app.Platform)
		if err := s.c.Devices.Drop(ctx, was.Tenant, was.Device, app); err != nil {
			return time.Time{}, err
		}
		s.c.Log.Info("a dead application id was dropped", "device", was.Device, "platform", app.Platform)
	case errors.Is(failure, ErrRefused):
		state = Failed
		s.stats.count(s.stats.refused, app.Platform)
		s.c.Log.Warn("a push was refused", "device", was.Device, "platform", app.Platform, "err", failure)
	default:
		s.stats.count(s.stats.missed, app.Platform)
		wait := min(time.Second<<min(was.Tried, 6), longest)
		wait += time.Duration(s.c.Jitter() * float64(wait) / 5)
		if errors.As(failure, &later) {
			wait = max(wait, later.After)
			if later.Everyone {
				s.setPause(app.Platform, now.Add(wait))
			}
		}
		next = now.Add(wait)
		s.c.Log.Debug("a push will be tried again", "platform", app.Platform, "in", wait, "err", failure)
		if !next.Before(was.Push.Until) {
			state = Failed
		}
	}
	return s.settleAttempt(ctx, k, was, state, next)
}

func (s *Service) settleAttempt(ctx context.Context, k string, was Wake, state State, next time.Time) (time.Time, error) {
	w, err := store.Change(ctx, s.wakes, k, func(w Wake, exists bool) (Wake, bool, error) {
		if !exists || w.Claim != was.Claim {
			return w, false, nil // removed meanwhile; or done: the answer of our write was lost
		}
		w.Lease, w.Claim = time.Time{}, ""
		w.State, w.Next, w.Tried = state, next, w.Tried+1
		if state == Sent {
			w.Taken = s.now()
			if w.Push.Kind == wire.PushData && s.c.Connected(w.Tenant, w.Device) {
				w.State = Dropped // it came meanwhile: what is stored from now on is news
			}
		}
		switch withdrawn := w.Push.Withdrawn != "" && was.Push.Withdrawn == ""; {
		case withdrawn && state == Sent && w.Number.IsZero(): // withdrawn while it was being sent
			w.State, w.Next, w.Tried = Waiting, s.now(), 0
		case withdrawn && state != Sent:
			w.State = Dropped
		}
		return w, true, nil
	})
	if err != nil || w.State != Waiting {
		return time.Time{}, err
	}
	return w.Next, nil
}

// settle ends the waiting of a record without an attempt.
func (s *Service) settle(ctx context.Context, k string, state State) (time.Time, error) {
	_, err := store.Change(ctx, s.wakes, k, func(w Wake, exists bool) (Wake, bool, error) {
		if !exists || w.State != Waiting || w.Lease.After(s.now()) {
			return w, false, nil
		}
		w.State = state
		return w, true, nil
	})
	return time.Time{}, err
}

func (s *Service) pause(platform string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.paused[platform]
}

func (s *Service) setPause(platform string, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if until.After(s.paused[platform]) {
		s.paused[platform] = until
	}
}

func laterOf(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Outcome of a trial.
type Outcome struct {
	Platform string
	// Err is nil where the push service took it. ErrGone, ErrRefused, others; ErrNoApp,
	// ErrNotConfigured.
	Err  error
	Took time.Duration
}

// Errors of a trial.
var (
	ErrNoApp         = errors.New("notify: the device has no application id")
	ErrNotConfigured = errors.New("notify: this server has no credentials for the platform")
)

// Test wakes a device at once, once, connected or not, and returns what came of it. A dead
// application id is dropped.
func (s *Service) Test(ctx context.Context, tenant wire.TenantID, id wire.DeviceID) (Outcome, error) {
	app, err := s.c.Devices.App(ctx, tenant, id)
	if err != nil {
		return Outcome{}, fmt.Errorf("notify: test: %w", err)
	}
	if app == nil {
		return Outcome{Err: ErrNoApp}, nil
	}
	o := Outcome{Platform: app.Platform}
	pusher := s.c.Pushers[app.Platform]
	if pusher == nil {
		o.Err = ErrNotConfigured
		return o, nil
	}
	began := s.now()
	m := Matter{Tenant: tenant, Device: id, Push: wire.Push{Kind: wire.PushTest, Until: began.Add(time.Minute)}}
	w, err := s.write(ctx, m)
	if err != nil {
		return o, err
	}
	o.Err = s.push(ctx, pusher, app, w)
	o.Took = s.now().Sub(began)
	state := Sent
	if o.Err != nil {
		state = Dropped
	}
	if errors.Is(o.Err, ErrGone) {
		if err := s.c.Devices.Drop(ctx, tenant, id, *app); err != nil {
			return o, fmt.Errorf("notify: test: %w", err)
		}
	}
	_, err = s.settle(ctx, key(w.Push.ID), state)
	return o, err
}

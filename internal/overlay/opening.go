package overlay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

// Opening is a session into which a predetermined overlay may have to be sent: table
// "overlay-openings", key store.Key(tenant, session). It is written with the event and removed
// when it is done, so that a crash between the two loses nothing.
type Opening struct {
	Tenant  wire.TenantID  `json:"tenant"`
	Session wire.SessionID `json:"session"`
	// Call counts the calls of the session: each gets an overlay of its own.
	Call uint64    `json:"call"`
	At   time.Time `json:"at"`
	// Members that came later, and have not got it; nil: it goes to all, of whom those in Also came
	// while it was perhaps being sent.
	Members []wire.MemberID `json:"members,omitempty"`
	Also    []wire.MemberID `json:"also,omitempty"`
}

// Opened notes that a session opened, or a new call took it up, in a version of its record;
// with members: that they joined later. It may be repeated.
func (s *Service) Opened(ctx context.Context, tenant wire.TenantID, id wire.SessionID, version uint64, members []wire.MemberID) error {
	_, err := store.Change(ctx, s.openings, store.Key(string(tenant), string(id)), func(o Opening, exists bool) (Opening, bool, error) {
		if !exists {
			o = Opening{Tenant: tenant, Session: id, Call: version}
		}
		o.At = s.cfg.Now()
		switch {
		case members == nil:
			o.Call, o.Members, o.Also = version, nil, nil
		case !exists || o.Members != nil:
			o.Members = append(slices.Clone(o.Members), members...)
		default:
			o.Also = append(slices.Clone(o.Also), members...)
		}
		return o, true, nil
	})
	if err != nil {
		return fmt.Errorf("overlay: note a session: %w", err)
	}
	s.signal()
	return nil
}

func (s *Service) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run sends predetermined overlays, and removes answers of providers' servers that may serve no
// longer, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	cancel, err := s.cfg.Engine.Subscribe(ctx, changedSubject, func(string, []byte) {
		if err := s.look(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("overlays of other nodes are seen later", "err", err)
		}
	})
	if err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	defer cancel()
	retry := time.NewTicker(time.Minute) // what failed, and what other nodes left
	defer retry.Stop()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		if err := s.work(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("overlays are sent later", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-sweep.C:
			if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
				s.cfg.Log.Warn("answers of providers are kept longer than they said", "err", err)
			}
		case <-retry.C:
			if err := s.look(ctx); err != nil && ctx.Err() == nil {
				s.cfg.Log.Warn("overlays of other nodes are seen later", "err", err)
			}
		}
	}
}

// atOnce is how many sessions are served at one time.
const atOnce = 16

// giveUp is how long it is tried; nobody waits longer for a first screen.
const giveUp = 2 * time.Minute

// work does all openings that are there.
func (s *Service) work(ctx context.Context) error {
	return store.WorkOn(ctx, s.openings, atOnce, s.workOn)
}

// workOn does one opening, and takes it off. One that was noted again meanwhile stays.
func (s *Service) workOn(ctx context.Context, item store.Item[Opening]) error {
	o := item.Value
	err := s.predetermine(ctx, o)
	final := errors.Is(err, ErrClosed) || errors.Is(err, ErrSource) || errors.Is(err, ErrNotFound)
	if err != nil && !final && s.cfg.Now().Sub(o.At) < giveUp {
		return err
	}
	if err != nil {
		s.cfg.Log.Info("no predetermined overlay was sent", "session", o.Session, "err", err)
	}
	again, err := store.Finish(ctx, s.openings, item)
	if again {
		s.signal()
	}
	return err
}

// predetermine sends the overlay that was determined for the call (I2), in the name of the
// provider's side, to all other sides.
func (s *Service) predetermine(ctx context.Context, o Opening) error {
	all := s.live(o.Tenant)
	if len(all) == 0 {
		return nil
	}
	x, err := s.cfg.Sessions.Session(ctx, o.Tenant, o.Session)
	if err != nil {
		return err
	}
	var numbers []string
	for _, p := range all {
		numbers = append(numbers, p.LiveNumbers...)
	}
	side, err := x.provider(numbers)
	if err != nil {
		return err
	}
	var there, late []wire.MemberID
	for i, other := range x.Sides {
		for _, m := range other.Members {
			switch {
			case i == side:
			case slices.Contains(o.Members, m.ID), slices.Contains(o.Also, m.ID):
				late = append(late, m.ID)
			case o.Members == nil:
				there = append(there, m.ID)
			}
		}
	}
	if len(there)+len(late) == 0 {
		return nil
	}
	q, err := s.question(ctx, o.Tenant, x, side)
	if err != nil {
		return err
	}
	chosen, ok := choose(all, x.Sides[side], call{queue: q.Queue, language: q.Language, at: s.cfg.Now()})
	if !ok {
		return nil
	}
	stored, e, err := s.edition(ctx, o.Tenant, chosen.Name)
	if err != nil {
		return err
	}
	from := x.Sides[side].Members[0].Device
	values, err := s.customers(ctx, o.Tenant, x, from, e.Parameters)
	if err != nil {
		return err
	}
	document, err := s.source(ctx, stored, e, q, values)
	if err != nil {
		return err
	}
	// Who came later has a request of its own: one that was carried out is not carried out again.
	request := wire.RequestID("opening-" + strconv.FormatUint(o.Call, 10))
	if len(there) > 0 {
		if _, err := s.cfg.Sessions.Send(ctx, o.Tenant, o.Session, from, x.Sides[side].toAlso(there, from), request, overlay.Kind, document); err != nil {
			return err
		}
	}
	for _, m := range late {
		if _, err := s.cfg.Sessions.Send(ctx, o.Tenant, o.Session, from, x.Sides[side].toAlso([]wire.MemberID{m}, from), request+"-"+wire.RequestID(m), overlay.Kind, document); err != nil {
			return err
		}
	}
	return nil
}

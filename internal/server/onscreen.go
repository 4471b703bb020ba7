package server

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/edge/transport/wsconn"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// What devices are told outside sessions goes over the bus, where it may be lost. What they are asked they are told again (notifier.again); that
// this is over, and which sessions they may join, each node finds out by itself for the devices at it.

// onScreen is what devices that are connected here were told, and show still, as far as this node knows.
type onScreen struct {
	mu    sync.Mutex
	asked map[question]time.Time // until when
	// offered are the sessions that a device may join, in the phase that it was told.
	offered map[wsconn.Identity]map[wire.SessionID]wire.Phase
}

type question struct {
	of         wsconn.Identity
	invitation wire.InvitationID
}

// screened says what a frame puts on a device's screen, or takes off it: a question (until zero: that is over), or a session.
type screened struct {
	Invitation wire.InvitationID `json:"invitation,omitempty"`
	Until      time.Time         `json:"until,omitzero"`
	Session    wire.SessionID    `json:"session,omitempty"`
	Phase      wire.Phase        `json:"phase,omitempty"`
}

func screenedBy(body any) *screened {
	switch b := body.(type) {
	case *wire.Invite:
		return &screened{Invitation: b.ID, Until: b.Until}
	case *wire.Words:
		return &screened{Invitation: b.Invitation, Until: b.Until}
	case *wire.Withdrawn:
		return &screened{Invitation: b.Invitation}
	case wire.Available:
		return &screened{Session: b.Session, Phase: b.Phase}
	}
	return nil
}

func (o *onScreen) note(of wsconn.Identity, what screened) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.asked == nil {
		o.asked, o.offered = map[question]time.Time{}, map[wsconn.Identity]map[wire.SessionID]wire.Phase{}
	}
	k := question{of, what.Invitation}
	switch {
	case what.Session != "" && what.Phase != wire.Closed && o.offered[of] == nil:
		o.offered[of] = map[wire.SessionID]wire.Phase{what.Session: what.Phase}
	case what.Session != "" && what.Phase != wire.Closed:
		o.offered[of][what.Session] = what.Phase
	case what.Session != "":
		delete(o.offered[of], what.Session)
	case what.Until.IsZero():
		delete(o.asked, k)
	default:
		o.asked[k] = what.Until
	}
}

func (o *onScreen) questions() map[question]time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.asked)
}

// sessions are those that were offered to a device.
func (o *onScreen) sessions(of wsconn.Identity) map[wire.SessionID]wire.Phase {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.offered[of])
}

// left: the device has no connection here any more. The next one is told anew which sessions it may join; what it is asked it may show still.
func (o *onScreen) left(of wsconn.Identity) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.offered, of)
}

// lookAtScreens tells the devices connected here what they should show otherwise, until ctx ends.
func (s *Server) lookAtScreens(ctx context.Context) error {
	t := time.NewTicker(s.cfg.Calls.Rescan)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		questions := s.onScreen.questions()
		now := store.Linearizable(ctx) // what is on a screen was stored before
		for k, until := range questions {
			if err := s.askedStill(now, k, until); err != nil && ctx.Err() == nil {
				s.log.Warn("a device may show what it is not asked any more", "device", k.of.Device, "err", err)
			}
		}
		if err := s.lookAtOffers(now); err != nil && ctx.Err() == nil {
			s.log.Warn("a device may not know which sessions it may join", "err", err)
		}
	}
}

func (s *Server) askedStill(ctx context.Context, k question, until time.Time) error {
	switch {
	case !time.Now().Before(until): // which the device knows
		s.onScreen.note(k.of, screened{Invitation: k.invitation})
		return nil
	case !s.sockets.Connected(k.of.Tenant, k.of.Device):
		return nil // perhaps it comes back
	}
	own, err := calls{s}.own(ctx, httpapi.Caller{Tenant: k.of.Tenant, Device: k.of.Device})
	if err != nil {
		return err
	}
	reason, err := s.matcher.Over(ctx, k.of.Tenant, k.of.Device, own, k.invitation)
	if err != nil || reason == "" {
		return err
	}
	return s.screen(k.of, wire.TypeWithdrawn, &wire.Withdrawn{Invitation: k.invitation, Reason: reason})
}

// lookAtOffers tells those devices that are to be told only of their party's sessions which of them there are, and in which phase.
func (s *Server) lookAtOffers(ctx context.Context) error {
	var told []wsconn.Identity
	for c, err := range s.couples.ToldOnly(ctx) {
		if err != nil {
			return err
		}
		if of := (wsconn.Identity{Tenant: c.Tenant, Device: c.Device}); s.sockets.Connected(of.Tenant, of.Device) {
			told = append(told, of)
		}
	}
	var all error
	for _, of := range told {
		all = errors.Join(all, s.lookAtOffersTo(ctx, of))
	}
	return all
}

func (s *Server) lookAtOffersTo(ctx context.Context, of wsconn.Identity) error {
	before := s.onScreen.sessions(of)
	own, err := calls{s}.own(ctx, httpapi.Caller{Tenant: of.Tenant, Device: of.Device})
	if err != nil {
		return nil // it may join nothing just now
	}
	now, err := s.availableTo(ctx, of.Tenant, of.Device, own)
	if err != nil {
		return err
	}
	for _, a := range now {
		if _, known := before[a.Session]; !known {
			if err := s.screen(of, wire.TypeAvailable, a); err != nil {
				return err
			}
		}
	}
	for id, phase := range before {
		rec, side, err := s.sideIn(ctx, of.Tenant, id, own)
		a := wire.Available{Session: id, Phase: wire.Closed}
		var p *wire.Problem
		switch {
		case err == nil && rec.Phase == phase:
			continue
		case err == nil && rec.Phase != wire.Closed:
			a = available(&rec, side)
		case err != nil && !errors.As(err, &p):
			return err
		}
		if err := s.screen(of, wire.TypeAvailable, a); err != nil {
			return err
		}
	}
	return nil
}

// screen tells a device that is connected here, and no other node.
func (s *Server) screen(of wsconn.Identity, t wire.Type, body any) error {
	frame, err := toldFrame(t, body)
	if err != nil {
		return err
	}
	s.tellHere(told{of.Tenant, of.Device, frame, once(body), screenedBy(body)})
	return nil
}

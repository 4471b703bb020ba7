package server

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/edge/transport/wsconn"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// asking is what devices that are connected here have on their screens, and were not told the end of: what another node said of that
// may have been lost.
type asking struct {
	mu    sync.Mutex
	until map[question]time.Time
}

type question struct {
	of         wsconn.Identity
	invitation wire.InvitationID
}

// screened says what a frame puts on a device's screen, until when; zero: it takes that off.
type screened struct {
	Invitation wire.InvitationID `json:"invitation"`
	Until      time.Time         `json:"until,omitzero"`
}

func screenedBy(body any) *screened {
	switch b := body.(type) {
	case *wire.Invite:
		return &screened{b.ID, b.Until}
	case *wire.Words:
		return &screened{b.Invitation, b.Until}
	case *wire.Withdrawn:
		return &screened{Invitation: b.Invitation}
	}
	return nil
}

func (a *asking) note(of wsconn.Identity, what screened) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch k := (question{of, what.Invitation}); {
	case what.Until.IsZero():
		delete(a.until, k)
	case a.until == nil:
		a.until = map[question]time.Time{k: what.Until}
	default:
		a.until[k] = what.Until
	}
}

func (a *asking) all() map[question]time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.until)
}

// lookAtAsked tells the devices connected here which of the questions on their screens are over, until ctx ends.
func (s *Server) lookAtAsked(ctx context.Context) error {
	t := time.NewTicker(s.cfg.Calls.Rescan)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		all := s.asking.all()
		now := store.Linearizable(ctx) // what is on a screen was stored before
		for k, until := range all {
			if err := s.askedStill(now, k, until); err != nil && ctx.Err() == nil {
				s.log.Warn("a device may show what it is not asked any more", "device", k.of.Device, "err", err)
			}
		}
	}
}

func (s *Server) askedStill(ctx context.Context, k question, until time.Time) error {
	over := screened{Invitation: k.invitation}
	if !s.sockets.Connected(k.of.Tenant, k.of.Device) || !time.Now().Before(until) {
		s.asking.note(k.of, over) // its next connection is told what holds then; and when a question ends, the device knows
		return nil
	}
	own, err := calls{s}.own(ctx, httpapi.Caller{Tenant: k.of.Tenant, Device: k.of.Device})
	if err != nil {
		return err
	}
	reason, err := s.matcher.Over(ctx, k.of.Tenant, k.of.Device, own, k.invitation)
	if err != nil || reason == "" {
		return err
	}
	frame, err := toldFrame(wire.TypeWithdrawn, &wire.Withdrawn{Invitation: k.invitation, Reason: reason})
	if err != nil {
		return err
	}
	s.tellHere(told{Tenant: k.of.Tenant, Device: k.of.Device, Frame: frame, Screened: &over})
	return nil
}

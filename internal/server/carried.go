package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/coupling"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// A report may carry the addresses of devices that are to carry data in this call (B8). Each is one
// of the party's own, or it has agreed by handing over the id of its request to be coupled;
// for anything else the report is refused, with one answer.

// carried finds the devices to which the addresses in a report lead.
func (s calls) carried(ctx context.Context, who httpapi.Caller, addresses []string, r *call.Report) error {
	for i, at := range addresses {
		c, err := s.address(ctx, who, at, r)
		var p *wire.Problem
		switch {
		case errors.Is(err, coupling.ErrWrongCode):
			p = wire.NewProblem(wire.CodeForbidden, "no device of this party, and none that has agreed to carry data for it, has this address; couple it first")
		case errors.Is(err, coupling.ErrSecondHand):
			p = wire.NewProblem(wire.CodeSecondHand, "")
		case err != nil:
			return err
		}
		if p != nil {
			p.Errors = []wire.FieldError{{Location: fmt.Sprintf("body.coupled[%d]", i), Message: "not usable for this call"}}
			return p
		}
		if c.Device == "" {
			continue
		}
		r.Named = append(r.Named, c.Device)
		if c.There {
			r.Brought = append(r.Brought, c.Device)
		}
	}
	return nil
}

func (s calls) address(ctx context.Context, who httpapi.Caller, at string, r *call.Report) (coupling.Carried, error) {
	if !wire.ValidID(at) {
		return coupling.Carried{}, coupling.ErrWrongCode
	}
	if strings.HasPrefix(at, "dev_") {
		return s.ownDevice(ctx, wire.DeviceID(at), r)
	}
	if r.State == tel.Ended {
		return coupling.Carried{}, nil // what it brought goes with the call
	}
	number, ok := r.Own.Number()
	if !ok {
		return coupling.Carried{}, coupling.ErrWrongCode
	}
	v, err := couplings(s).vouching(ctx, who, number.String())
	if err != nil {
		return coupling.Carried{}, err
	}
	v.Made = wire.MadeByReport
	return s.couples.Carry(ctx, v, at, s.cfg.Calls.Lease)
}

// ownDevice is a device of the party whose call it is.
func (s calls) ownDevice(ctx context.Context, id wire.DeviceID, r *call.Report) (coupling.Carried, error) {
	d, err := s.devices.Get(ctx, r.Tenant, id)
	if errors.Is(err, device.ErrNotFound) {
		return coupling.Carried{}, coupling.ErrWrongCode
	} else if err != nil {
		return coupling.Carried{}, err
	}
	own, err := s.parties.Principal(ctx, r.Tenant, r.Own)
	if err != nil {
		return coupling.Carried{}, err
	}
	now := time.Now()
	if d.Principal != own || d.Guest() || d.ForCall(now) || d.Check(now) != nil {
		return coupling.Carried{}, coupling.ErrWrongCode
	}
	return coupling.Carried{Device: id, There: true}, nil
}

// goneOf are the devices brought into a call that can act no more.
func (s *Server) goneOf(ctx context.Context, tenant wire.TenantID, side call.Side) (gone []wire.DeviceID, err error) {
	for _, id := range side.Brought {
		d, err := s.devices.Get(ctx, tenant, id)
		switch {
		case err != nil && !errors.Is(err, device.ErrNotFound):
			return nil, err
		case err != nil, d.Check(time.Now()) != nil, d.Principal != side.Principal:
			gone = append(gone, id)
		}
	}
	return gone, nil
}

// released lets go the devices that were brought into a call which is over: those coupled for it end
// their coupling, and those that would not have joined by themselves leave the session.
func (s *Server) released(ctx context.Context, tenant wire.TenantID, id wire.SessionID, side call.Side) error {
	for _, brought := range side.Devices {
		d, err := s.devices.Get(ctx, tenant, brought)
		if errors.Is(err, device.ErrNotFound) {
			continue
		} else if err != nil {
			return err
		}
		choice, err := s.couples.Chosen(ctx, tenant, brought)
		if err == nil && choice.Session != wire.ChoiceJoin {
			err = s.sessions.Away(ctx, tenant, id, session.OpeningSide{Principal: side.Principal, Devices: []wire.DeviceID{brought}})
		}
		if err == nil {
			err = s.couples.Released(ctx, d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

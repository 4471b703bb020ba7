package server

import (
	"context"
	"time"

	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/place"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// placed is what a network's report says of where its own party is, as it came and as it was read.
type placed struct {
	place *wire.Place
	doc   string

	where wire.Place
	until time.Time
}

func (p *placed) empty() bool { return p.place == nil && p.doc == "" }

// read makes a place of what was said. A device says where it is in a session, to whom its user wants.
func (p *placed) read(role httpapi.Role) (err error) {
	if p.empty() {
		return nil
	}
	if role == httpapi.RoleDevice {
		return wire.NewProblem(wire.CodeBadRequest, "place: a device shares its place in a session, POST /v1/sessions/{session}/place; only a network's report says it")
	}
	p.where, p.until, err = place.Reported(p.place, p.doc)
	return err
}

// placed keeps what a network's report says of where its own party is, for that party alone, until
// it shares it; and forgets it when the call is over. Nobody is at a number that many share.
func (s *Server) placed(ctx context.Context, r call.Report, p placed) error {
	byNetwork := r.Reporter.Kind == call.ByElement || r.Reporter.Kind == call.ByProvider
	if !byNetwork || p.empty() && r.State != tel.Ended {
		return nil
	}
	own, err := s.parties.Principal(ctx, r.Tenant, r.Own)
	if err != nil {
		return err
	}
	c := place.Call{Ref: r.Ref, Conference: r.ConferenceID}
	if c.With, err = s.parties.Principal(ctx, r.Tenant, r.Other); err != nil {
		return err
	}
	if r.State == tel.Ended {
		return s.places.Forget(ctx, r.Tenant, own, c)
	}
	shared, err := s.parties.SharedName(ctx, r.Tenant, r.Own, own)
	if err != nil || shared {
		return err
	}
	return s.places.Know(ctx, r.Tenant, own, c, p.where, p.until)
}

func (s places) NetworkPlace(ctx context.Context, who httpapi.Caller, id wire.SessionID) (wire.NetworkPlace, error) {
	k, err := s.places.KnownHere(ctx, who.Tenant, id, who.Device)
	return k, problem(s.log, "place by the network", err)
}

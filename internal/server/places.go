package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/place"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// newPlaces makes the service that asks for places and shares them (SPEC F).
func (s *Server) newPlaces(ctx context.Context) (*place.Service, error) {
	return place.New(ctx, place.Config{Engine: s.engine, Sessions: whereabouts{s}, Link: s.cfg.Maps.Link, Log: s.log})
}

// whereabouts tells places who is in a session, and carries them there.
type whereabouts struct{ *Server }

func (w whereabouts) Session(ctx context.Context, tenant wire.TenantID, id wire.SessionID) (place.Session, error) {
	rec, err := w.sessions.Record(ctx, tenant, id)
	x := place.Session{InCall: rec.Phase == wire.InCall}
	if errors.Is(err, store.ErrNotFound) || err == nil && rec.Phase == wire.Closed {
		return x, place.ErrClosed
	}
	for i, m := range rec.Members {
		if m.Left.IsZero() {
			x.Members = append(x.Members, place.Member{
				ID: wire.MemberID(strconv.Itoa(i + 1)), Device: m.Device, Side: m.Side, Principal: rec.Sides[m.Side-1].Principal,
			})
		}
	}
	return x, err
}

func (w whereabouts) Send(ctx context.Context, tenant wire.TenantID, id wire.SessionID, from wire.DeviceID, to []wire.MemberID, request wire.RequestID, kind string, what any) error {
	body, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("server: place: %w", err)
	}
	e := wire.Envelope{Type: wire.TypeSend, ID: request, Session: id, To: to, Kind: kind, Body: body}
	if request == "" {
		// A signal that was taken is answered only where it has an id.
		e.Type, e.ID = wire.TypeSignal, wire.RequestID(wire.NewID("place-"))
	}
	_, err = w.sendOwn(ctx, tenant, from, e)
	var p *wire.Problem
	if errors.As(err, &p) && slices.Contains([]wire.Code{wire.CodeNotMember, wire.CodeSessionClosed}, p.Code) {
		return fmt.Errorf("%w: %w", place.ErrClosed, err)
	}
	return err
}

// places serves httpapi.Places.
type places struct{ *Server }

// here is nil for a device whose proof of its number holds.
func (s places) here(ctx context.Context, who httpapi.Caller) error {
	d, err := s.devices.Get(ctx, who.Tenant, who.Device)
	if err == nil {
		err = d.Check(time.Now())
	}
	return err
}

func (s places) SetPlaceAbility(ctx context.Context, who httpapi.Caller, id wire.SessionID, can wire.PlaceAbility) error {
	return problem(s.log, "place ability", s.places.SetAbility(ctx, who.Tenant, id, who.Device, can))
}

func (s places) CheckPlace(ctx context.Context, who httpapi.Caller, id wire.SessionID, q wire.PlaceCheckRequest) (wire.PlaceAbility, error) {
	can, err := s.places.Check(ctx, who.Tenant, id, who.Device, q.To)
	return can, problem(s.log, "check place", err)
}

func (s places) AskPlace(ctx context.Context, who httpapi.Caller, id wire.SessionID, q wire.PlaceAskRequest) (wire.PlaceAskedFor, error) {
	err := s.here(ctx, who)
	var asked wire.PlaceAskedFor
	if err == nil {
		asked, err = s.places.Ask(ctx, who.Tenant, id, who.Device, q)
	}
	return asked, problem(s.log, "ask for a place", err)
}

func (s places) AnswerPlace(ctx context.Context, who httpapi.Caller, id wire.SessionID, q wire.PlaceAnswer) error {
	return problem(s.log, "answer for a place", s.places.Answer(ctx, who.Tenant, id, who.Device, q))
}

func (s places) SharePlace(ctx context.Context, who httpapi.Caller, id wire.SessionID, q wire.PlaceShare) (wire.PlaceShared, error) {
	shared, err := s.places.Share(ctx, who.Tenant, id, who.Device, q)
	return shared, problem(s.log, "share a place", err)
}

func (s places) StopPlace(ctx context.Context, who httpapi.Caller, id wire.SessionID) error {
	st, err := s.sessions.Get(ctx, who.Tenant, who.Device, id)
	if err == nil && st.You == "" {
		err = place.ErrClosed
	}
	if err == nil {
		err = s.places.Stop(ctx, who.Tenant, id, who.Device)
	}
	return problem(s.log, "stop a place", err)
}

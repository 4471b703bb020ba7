package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-call/tandem/internal/edge/atlas"
	"github.com/tandem-call/tandem/internal/edge/fetch"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/place"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// newPlaces makes the service that asks for places and shares them (SPEC F).
func (s *Server) newPlaces(ctx context.Context) (*place.Service, error) {
	return place.New(ctx, place.Config{
		Engine: s.engine, Sessions: whereabouts{s}, Parties: circles{s}, Link: s.cfg.Maps.Link, URL: s.cfg.URL(), Log: s.log,
	})
}

// newAtlas makes what draws maps.
func (s *Server) newAtlas(version string) (*atlas.Atlas, error) {
	c := s.cfg.Maps
	networks := make([]netip.Prefix, len(c.Networks))
	for i, n := range c.Networks {
		networks[i] = netip.MustParsePrefix(n) // checked by Validate
	}
	out, err := fetch.New(fetch.Config{Allow: networks, Timeout: 5 * time.Second, UserAgent: "tandem/" + version})
	if err != nil {
		return nil, err
	}
	return atlas.New(atlas.Config{Tiles: c.Tiles, File: c.File, Attribution: c.Attribution, Fetcher: out, Log: s.log})
}

// circles tells places whom a party counts as what.
type circles struct{ *Server }

func (c circles) Principal(ctx context.Context, tenant wire.TenantID, id tel.Identity) (tel.Identity, error) {
	return c.parties.Principal(ctx, tenant, id)
}

func (c circles) In(ctx context.Context, tenant wire.TenantID, party, other tel.Identity, g wire.PlaceGroup) (bool, error) {
	var list []string
	switch g {
	case wire.GroupEmergency:
		list = c.cfg.Maps.Emergency
	case wire.GroupProviders:
		list = c.cfg.Maps.Providers
	case wire.GroupContacts:
		return c.people.Knows(ctx, tenant, party, other)
	}
	for _, text := range list {
		id, err := tel.ParseIdentity(text, "") // checked by Validate
		if err == nil {
			id, err = c.parties.Principal(ctx, tenant, id)
		}
		if err != nil || id == other {
			return err == nil, err
		}
	}
	return false, nil
}

// whereabouts tells places who is in a session, and carries them there.
type whereabouts struct{ *Server }

func (w whereabouts) Session(ctx context.Context, tenant wire.TenantID, id wire.SessionID) (place.Session, error) {
	rec, err := w.sessions.Record(ctx, tenant, id)
	x := place.Session{InCall: rec.Phase == wire.InCall}
	if errors.Is(err, store.ErrNotFound) || err == nil && rec.Phase == wire.Closed {
		return x, place.ErrClosed
	}
	for _, side := range rec.Sides {
		if side.Left.IsZero() && !side.Principal.IsZero() {
			x.Parties = append(x.Parties, side.Principal)
		}
	}
	for i, m := range rec.Members {
		if !m.Left.IsZero() {
			continue
		}
		guest, err := w.isGuest(ctx, tenant, m.Device)
		if err != nil {
			return x, err
		}
		x.Members = append(x.Members, place.Member{
			ID: wire.MemberID(strconv.Itoa(i + 1)), Device: m.Device, Side: m.Side, Principal: rec.Sides[m.Side-1].Principal, Shown: rec.Sides[m.Side-1].Shown, Guest: guest,
		})
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

func (s places) PlaceRules(ctx context.Context, who httpapi.Caller) (wire.PlaceRules, error) {
	return forParty(profiles(s), ctx, who, "place rules", func(p tel.Identity) (wire.PlaceRules, error) {
		return s.places.Rules(ctx, who.Tenant, p)
	})
}

func (s places) SetPlaceRules(ctx context.Context, who httpapi.Caller, q wire.PlaceRules) (wire.PlaceRules, error) {
	return forParty(profiles(s), ctx, who, "place rules", func(p tel.Identity) (wire.PlaceRules, error) {
		if err := s.places.SetRules(ctx, who.Tenant, p, q); err != nil {
			return wire.PlaceRules{}, err
		}
		return s.places.Rules(ctx, who.Tenant, p)
	})
}

func (s places) PlaceRulesHere(ctx context.Context, who httpapi.Caller, id wire.SessionID) (wire.PlaceRulesHere, error) {
	here, err := s.places.RulesHere(ctx, who.Tenant, id, who.Device)
	return here, problem(s.log, "place rules", err)
}

func (s places) PlacePicture(ctx context.Context, picture string) ([]byte, error) {
	p, err := s.places.Opened(strings.TrimSuffix(picture, ".png"))
	var b []byte
	if err == nil {
		b, err = s.atlas.Picture(ctx, p)
	}
	return b, problem(s.log, "picture of a place", err)
}

package server

import (
	"context"
	"errors"
	"slices"

	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Bars: an operator bars a number. Its reports match nothing, it is sent no code and
// enrols no device, and its sessions are closed. Whoever tries is told what anybody is
// told to whom nothing belongs: that no call matches, that a code is on its way, that a
// code is wrong.

// bars serves httpapi.Bars.
type bars struct{ *Server }

func (s bars) Barred(ctx context.Context, who httpapi.Caller) ([]wire.Barred, error) {
	list, err := s.parties.Bars(ctx, who.Tenant)
	out := make([]wire.Barred, len(list))
	for i, b := range list {
		out[i] = wire.Barred{Identity: b.Identity, Note: b.Note, Since: b.Since}
	}
	return out, problem(s.log, "list what is barred", err)
}

func (s bars) Bar(ctx context.Context, who httpapi.Caller, id tel.Identity, note string) error {
	return s.audited(ctx, who, audit.Record{What: audit.PartyBarred, Parties: []tel.Identity{id}}, func() error {
		if err := s.parties.Bar(ctx, who.Tenant, id, note); err != nil {
			return err
		}
		return s.closeSessionsOf(ctx, who.Tenant, id)
	})
}

func (s bars) Unbar(ctx context.Context, who httpapi.Caller, id tel.Identity) error {
	return s.audited(ctx, who, audit.Record{What: audit.PartyUnbarred, Parties: []tel.Identity{id}}, func() error {
		return s.parties.Unbar(ctx, who.Tenant, id)
	})
}

// numberBarred tells the device registry.
func (s *Server) numberBarred(ctx context.Context, tenant wire.TenantID, n tel.Number) (bool, error) {
	return s.parties.Barred(ctx, tenant, n.Identity())
}

// closeSessionsOf closes the sessions that the party is in, and ends its telephones' registrations.
// Guests and agents' seats are in no index of devices: the sessions themselves tell of their sides.
func (s *Server) closeSessionsOf(ctx context.Context, tenant wire.TenantID, id tel.Identity) error {
	principal, err := s.parties.Principal(ctx, tenant, id)
	if err != nil {
		return err
	}
	list, err := s.devices.OfParty(ctx, tenant, principal)
	if err != nil {
		return err
	}
	devices := make([]wire.DeviceID, len(list))
	for i, d := range list {
		s.endTelephone(tenant, d.ID)
		devices[i] = d.ID
	}
	ids, err := s.parties.Identities(ctx, tenant, principal)
	if err != nil {
		return err
	}
	records, err := s.sessions.OfParty(ctx, tenant, ids, devices)
	if err != nil {
		return err
	}
	for _, rec := range records {
		if rec.Phase == wire.Closed || !takesPart(&rec, ids, devices) {
			continue
		}
		if err := s.sessions.OperatorClose(ctx, tenant, rec.ID); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

// takesPart reports whether a party is in a session now. It is not for being shown there: a
// shared number is shown by many.
func takesPart(rec *session.Record, ids []tel.Identity, devices []wire.DeviceID) bool {
	return slices.ContainsFunc(rec.Sides, func(x session.Side) bool { return x.Left.IsZero() && slices.Contains(ids, x.Principal) }) ||
		slices.ContainsFunc(rec.Members, func(m session.Member) bool { return m.Left.IsZero() && slices.Contains(devices, m.Device) })
}

// barredCall reports whether a report is of a barred party's call of a kind for which the
// matcher does not ask whether the two sides may meet: with the other side unnamed, or in
// a conference.
func (s *Server) barredCall(ctx context.Context, r call.Report) (bool, error) {
	if !r.Other.IsZero() && r.ConferenceID == "" {
		return false, nil
	}
	return s.parties.Barred(ctx, r.Tenant, r.Own)
}

// eitherBarred reports whether one of two parties is barred.
func (s *Server) eitherBarred(ctx context.Context, tenant wire.TenantID, a, b tel.Identity) (bool, error) {
	yes, err := s.parties.Barred(ctx, tenant, a)
	if yes || err != nil {
		return yes, err
	}
	return s.parties.Barred(ctx, tenant, b)
}

package server

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/coupling"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// A party chooses which of its devices join a session by themselves, and which are only told
// that it is there (B8).

// joining leaves of a side's devices those that join by themselves. Where none does, all do:
// a party without a device would be in no session.
// What a report has brought into the call joins whatever was chosen, if it may act by now.
func (s *Server) joining(ctx context.Context, tenant wire.TenantID, side call.Side) (call.Side, error) {
	gone, err := s.goneOf(ctx, tenant, side)
	if err != nil {
		return side, err
	}
	side.Devices = slices.DeleteFunc(slices.Clone(side.Devices), func(d wire.DeviceID) bool { return slices.Contains(gone, d) })
	if !s.couples.HasChoices(tenant) {
		return side, nil
	}
	var join []wire.DeviceID
	for _, d := range side.Devices {
		if slices.Contains(side.Brought, d) {
			join = append(join, d)
			continue
		}
		c, err := s.couples.Chosen(ctx, tenant, d)
		if err != nil {
			return side, err
		}
		if c.Session == wire.ChoiceJoin {
			join = append(join, d)
		}
	}
	if len(join) > 0 {
		side.Devices = join
	}
	return side, nil
}

// tellChosen tells of a change of a session those devices of its parties that are to be told
// only. What is told again does no harm.
func (s *Server) tellChosen(ctx context.Context, rec *session.Record, h session.Happened) error {
	if h.What == session.MemberJoined || h.What == session.MemberLeft || !s.couples.HasChoices(rec.Tenant) {
		return nil
	}
	for i, side := range rec.Sides {
		if side.Principal.IsZero() || !side.Left.IsZero() && !side.Left.Equal(rec.Closed) {
			continue // it left before, and hears no more
		}
		list, err := s.toldOf(ctx, rec, side.Principal)
		if err != nil {
			return err
		}
		for _, d := range list {
			if err := (notifier{s}).Tell(ctx, rec.Tenant, d, wire.TypeAvailable, available(rec, i)); err != nil {
				s.log.Info("a device was not told of a session", "device", d, "err", err)
			}
		}
	}
	return nil
}

// toldOf lists the party's devices that are to be told of the session, and are not in it.
func (s *Server) toldOf(ctx context.Context, rec *session.Record, principal tel.Identity) ([]wire.DeviceID, error) {
	shared, err := s.parties.Shared(ctx, rec.Tenant, principal)
	if err != nil || shared {
		return nil, err
	}
	all, err := directory{s}.Devices(ctx, rec.Tenant, principal)
	var told []wire.DeviceID
	for _, d := range all {
		if err != nil {
			break
		}
		if slices.ContainsFunc(rec.Members, func(m session.Member) bool { return m.Device == d && m.Left.IsZero() }) {
			continue
		}
		var c coupling.Choice
		if c, err = s.couples.Chosen(ctx, rec.Tenant, d); c.Session == wire.ChoiceTold {
			told = append(told, d)
		}
	}
	return told, err
}

// wanted returns the members that something sent to all goes to: those whose party wants that
// kind of data on their device. Where a side has none that gets it, all of that side do. Where
// all members get it, it stays for all, those who come later too.
func (s *Server) wanted(ctx context.Context, tenant wire.TenantID, id wire.SessionID, from wire.DeviceID, kind wire.DataKind, to []wire.MemberID) ([]wire.MemberID, error) {
	if !s.couples.ChoosesKinds(tenant) || !wire.ValidID(string(id)) {
		return to, nil
	}
	rec, err := s.sessions.Record(ctx, tenant, id)
	if errors.Is(err, store.ErrNotFound) {
		return to, nil
	} else if err != nil {
		return nil, err
	}
	return fitting(rec.Members, from, to, func(d wire.DeviceID) bool { return s.couples.Gets(tenant, d, kind) }), nil
}

// fitting leaves of the members that something is for (none given: all) those whose devices get
// it. It is never empty where it leaves any out: that would be to all.
func fitting(members []session.Member, from wire.DeviceID, to []wire.MemberID, gets func(wire.DeviceID) bool) []wire.MemberID {
	type candidate struct {
		id   wire.MemberID
		side int
		gets bool
	}
	var all []candidate
	var you wire.MemberID
	served := map[int]bool{} // sides with a device that gets it
	for i, m := range members {
		id := wire.MemberID(strconv.Itoa(i + 1))
		switch {
		case !m.Left.IsZero():
		case m.Device == from:
			you, served[m.Side] = id, true
		case len(to) == 0 || slices.Contains(to, id):
			c := candidate{id, m.Side, gets(m.Device)}
			all, served[m.Side] = append(all, c), served[m.Side] || c.gets
		}
	}
	var fit []wire.MemberID
	for _, c := range all {
		if c.gets || !served[c.side] {
			fit = append(fit, c.id)
		}
	}
	switch {
	case len(fit) == len(all) || you == "":
		return to
	case len(fit) == 0:
		return []wire.MemberID{you}
	}
	return fit
}

// available is what a side is told of a session.
func available(rec *session.Record, side int) wire.Available {
	a := wire.Available{Session: rec.ID, Phase: rec.Phase, Until: rec.Until}
	for i, s := range rec.Sides {
		if i != side && s.Left.IsZero() && !s.Shown.IsZero() {
			a.With = append(a.With, s.Shown)
		}
	}
	return a
}

// tellAvailable tells a device that has just connected of the sessions that it may join.
func (s *Server) tellAvailable(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, own tel.Identity) error {
	if !s.couples.HasChoices(tenant) {
		return nil
	}
	if c, err := s.couples.Chosen(ctx, tenant, id); err != nil || c.Session != wire.ChoiceTold {
		return err
	}
	list, err := s.availableTo(ctx, tenant, id, own)
	for _, a := range list {
		if err == nil {
			err = notifier{s}.Tell(ctx, tenant, id, wire.TypeAvailable, a)
		}
	}
	return err
}

// availableTo lists the sessions that a device which is to be told only may join.
func (s *Server) availableTo(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, own tel.Identity) (all []wire.Available, err error) {
	list, err := s.matcher.Calls(ctx, tenant, own)
	if err != nil {
		return nil, err
	}
	for _, c := range list {
		if c.Session == "" {
			continue
		}
		rec, side, err := s.sideIn(ctx, tenant, c.Session, own)
		if err != nil || rec.Phase == wire.Closed {
			continue
		}
		told, err := s.toldOf(ctx, &rec, own)
		if err != nil {
			return nil, err
		}
		if slices.Contains(told, id) {
			all = append(all, available(&rec, side))
		}
	}
	return all, nil
}

// sideIn finds a party's side in a session; CodeNotMember where it has none.
func (s *Server) sideIn(ctx context.Context, tenant wire.TenantID, id wire.SessionID, own tel.Identity) (session.Record, int, error) {
	if !wire.ValidID(string(id)) {
		return session.Record{}, 0, wire.NewProblem(wire.CodeNotMember, "")
	}
	rec, err := s.sessions.Record(ctx, tenant, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return rec, 0, err
	}
	for i, side := range slices.Backward(rec.Sides) {
		if side.Principal == own && side.Left.IsZero() {
			return rec, i, nil
		}
	}
	return rec, 0, wire.NewProblem(wire.CodeNotMember, "")
}

// Join makes the calling device a member of a session that its party is in.
func (s couplings) Join(ctx context.Context, who httpapi.Caller, id wire.SessionID) (wire.SessionState, error) {
	own, err := calls(s).own(ctx, who)
	if err != nil {
		return wire.SessionState{}, problem(s.log, "join session", err)
	}
	_, _, err = s.sideIn(ctx, who.Tenant, id, own)
	if err == nil {
		var shared bool
		if shared, err = s.parties.Shared(ctx, who.Tenant, own); shared {
			err = wire.NewProblem(wire.CodeNotMember, "")
		}
	}
	if err == nil {
		err = s.sessions.JoinDevices(ctx, who.Tenant, id, session.OpeningSide{Principal: own, Devices: []wire.DeviceID{who.Device}})
	}
	if err != nil {
		return wire.SessionState{}, problem(s.log, "join session", err)
	}
	return sessions(s).Session(ctx, who, id)
}

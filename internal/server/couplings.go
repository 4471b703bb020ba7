package server

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/coupling"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// couplings serves httpapi.Couplings: it decides who may vouch for whom, and hands on.
type couplings struct{ *Server }

// voucher is what the caller may vouch with, for the number named: a device for a number that
// it has proved itself, an operator for any, an element for those in its ranges.
func (s couplings) voucher(ctx context.Context, who httpapi.Caller, number string) (coupling.Voucher, error) {
	var n tel.Number
	if number != "" {
		var err error
		if n, err = tel.ParseNumber(number, s.cfg.Codes.Region); err != nil {
			return coupling.Voucher{}, err
		}
	}
	now := time.Now()
	if who.Role == httpapi.RoleDevice {
		d, err := s.devices.Get(ctx, who.Tenant, who.Device)
		if err != nil {
			return coupling.Voucher{}, err
		}
		return coupling.VoucherOf(d, n, now)
	}
	if n.IsZero() {
		p := wire.NewProblem(wire.CodeBadNumber, "say with whose telephone")
		p.Errors = []wire.FieldError{{Location: "number", Message: "only a device may leave it out"}}
		return coupling.Voucher{}, p
	}
	v := coupling.Voucher{
		Tenant: who.Tenant, Number: n, Key: who.Credential, Role: string(who.Role), Proof: device.ProofOperator,
		Until: now.AddDate(0, 0, s.cfg.Codes.BindingDays),
	}
	if who.Role == httpapi.RoleOperator {
		return v, nil
	}
	v.Proof = device.ProofNetwork
	c, err := s.keys.Get(ctx, who.Tenant, who.Credential)
	if err == nil && !c.MaySpeakFor(n.Identity()) {
		err = s.refused(who, audit.Record{What: audit.CouplingRefused, Parties: []tel.Identity{n.Identity()}},
			wire.NewProblem(wire.CodeForbidden, "this key may not speak for %s", n))
	}
	return v, err
}

// vouching is a voucher that is good enough to couple with.
func (s couplings) vouching(ctx context.Context, who httpapi.Caller, number string) (coupling.Voucher, error) {
	v, err := s.voucher(ctx, who, number)
	if err == nil {
		err = s.mayVouch(v)
	}
	return v, err
}

func (s couplings) Offer(ctx context.Context, who httpapi.Caller, r wire.CouplingOfferRequest) (wire.CouplingOffer, error) {
	v, err := s.vouching(ctx, who, r.Number)
	if err != nil {
		return wire.CouplingOffer{}, problem(s.log, "offer a coupling", err)
	}
	v.Made = wire.MadeByCode
	var ttl time.Duration
	if who.Role == httpapi.RoleOperator {
		v.Made, ttl = wire.MadeAtInstall, time.Duration(r.Hours)*time.Hour
	}
	var o wire.CouplingOffer
	offered := audit.Record{What: audit.CouplingOffered, Parties: []tel.Identity{v.Number.Identity()}}
	err = s.audited(ctx, who, offered, func() (err error) {
		o, err = s.couples.Offer(ctx, v, r.Kind, ttl)
		return err
	})
	return o, err
}

func (s couplings) Begin(ctx context.Context, r wire.CouplingRequest, remote netip.Addr) (wire.CouplingPending, error) {
	p, err := s.couples.Begin(ctx, asked(ctx), r, remote)
	return p, problem(s.log, "request a coupling", err)
}

func (s couplings) Claim(ctx context.Context, id string, c wire.CouplingClaim) (wire.DeviceInfo, error) {
	tenant := asked(ctx)
	d, err := s.couples.Claim(ctx, tenant, id, c.Code, c.Assertion)
	if errors.Is(err, coupling.ErrPending) {
		p := wire.NewProblem(wire.CodeCouplingPending, "")
		p.RetryAfterSeconds = 2
		return wire.DeviceInfo{}, p
	}
	if err != nil {
		return wire.DeviceInfo{}, s.refused(httpapi.Caller{Tenant: tenant}, audit.Record{What: audit.CouplingRefused, On: on("coupling", id)}, err)
	}
	return s.info(ctx, d)
}

func (s couplings) Look(ctx context.Context, who httpapi.Caller, l wire.CouplingLook) (wire.CouplingSeen, error) {
	v, err := s.lookingVoucher(ctx, who)
	if err != nil {
		return wire.CouplingSeen{}, problem(s.log, "look at a coupling", err)
	}
	seen, err := s.couples.Look(ctx, v, l.Code)
	return seen, s.refusedCode(who, err)
}

// lookingVoucher is the caller's voucher for any number.
func (s couplings) lookingVoucher(ctx context.Context, who httpapi.Caller) (coupling.Voucher, error) {
	if who.Role == httpapi.RoleOperator {
		return coupling.Voucher{Tenant: who.Tenant, Key: who.Credential}, nil
	}
	return s.vouching(ctx, who, "")
}

// refusedCode has a wrong code written down.
func (s couplings) refusedCode(who httpapi.Caller, err error) error {
	if errors.Is(err, coupling.ErrWrongCode) {
		return s.refused(who, audit.Record{What: audit.CouplingRefused}, err)
	}
	return problem(s.log, "couple", err)
}

func (s couplings) Accept(ctx context.Context, who httpapi.Caller, a wire.CouplingAccept) (wire.CouplingSeen, error) {
	v, err := s.vouching(ctx, who, a.Number)
	if err != nil {
		return wire.CouplingSeen{}, problem(s.log, "accept a coupling", err)
	}
	switch who.Role {
	case httpapi.RoleDevice:
		v.Made = wire.MadeByConfirm
	case httpapi.RoleOperator:
		v.Made = wire.MadeByOperator
	default:
		v.Made = wire.MadeByServiceNo
	}
	seen, err := s.couples.Accept(ctx, v, a.Kind, a.Code)
	return seen, s.refusedCode(who, err)
}

// numbersOf are the telephones that the caller may ask about: its party's, or the one that an
// operator names.
func (s couplings) numbersOf(ctx context.Context, who httpapi.Caller, number string) ([]tel.Number, error) {
	if who.Role != httpapi.RoleDevice {
		v, err := s.voucher(ctx, who, number)
		return []tel.Number{v.Number}, err
	}
	own, err := calls(s).own(ctx, who)
	if err != nil {
		return nil, err
	}
	ids, err := s.parties.Identities(ctx, who.Tenant, own)
	var all []tel.Number
	for _, id := range ids {
		if n, ok := id.Number(); ok && (number == "" || n.String() == number) {
			all = append(all, n)
		}
	}
	return all, err
}

func (s couplings) Couplings(ctx context.Context, who httpapi.Caller, number string) ([]wire.Coupling, error) {
	all, now := []wire.Coupling{}, time.Now()
	of, err := s.numbersOf(ctx, who, number)
	for _, n := range of {
		if err != nil {
			break
		}
		var list []coupling.Coupling
		list, err = s.couples.OfNumber(ctx, who.Tenant, n)
		for _, c := range list {
			all = append(all, c.Info(now))
		}
	}
	return all, problem(s.log, "list couplings", err)
}

// find returns a coupling that the caller may ask about, and whether it is the coupled
// device itself.
func (s couplings) find(ctx context.Context, who httpapi.Caller, number, id string) (c coupling.Coupling, itself bool, err error) {
	of, err := s.numbersOf(ctx, who, number)
	if err != nil {
		return c, false, err
	}
	c, err = s.couples.Find(ctx, who.Tenant, of, id)
	return c, err == nil && who.Role == httpapi.RoleDevice && c.Device == who.Device, err
}

func (s couplings) EndCoupling(ctx context.Context, who httpapi.Caller, number, id string) error {
	c, itself, err := s.find(ctx, who, number, id)
	if err == nil && !itself && who.Role == httpapi.RoleDevice {
		_, err = s.voucher(ctx, who, "")
	}
	if err != nil {
		return problem(s.log, "end a coupling", err)
	}
	ended := audit.Record{What: audit.CouplingEnded, Parties: []tel.Identity{c.Voucher.Number.Identity()}, On: on("device", string(c.Device))}
	return s.audited(ctx, who, ended, func() error { return s.couples.End(ctx, c) })
}

func (s couplings) Near(ctx context.Context, who httpapi.Caller, id string, n wire.CouplingNear, remote netip.Addr) (wire.Coupling, error) {
	c, itself, err := s.find(ctx, who, "", id)
	if err == nil && !itself {
		_, err = s.voucher(ctx, who, c.Voucher.Number.String())
	}
	if err == nil {
		c, err = s.couples.Near(ctx, c, coupling.Sighting{OfPhone: !itself, Link: n.Link, From: remote})
	}
	if err != nil {
		return wire.Coupling{}, problem(s.log, "near", err)
	}
	return c.Info(time.Now()), nil
}

func (s couplings) Here(ctx context.Context, r wire.TokenRequest, remote netip.Addr) ([]wire.Coupling, error) {
	d, err := s.auth.VerifyKnown(ctx, home(ctx), r.Nonce, r.Assertion)
	if err != nil {
		return nil, s.refused(stranger(ctx), audit.Record{What: audit.LoginRefused, Details: map[string]string{"by": "device"}}, err)
	}
	list, err := s.couples.OfDevice(ctx, d)
	all := []wire.Coupling{}
	for _, c := range list {
		if err != nil {
			break
		}
		if c.Kind == wire.Temporary {
			c, err = s.couples.Near(ctx, c, coupling.Sighting{From: remote})
		}
		all = append(all, c.Info(time.Now()))
	}
	return all, problem(s.log, "here", err)
}

func (s couplings) PartyDevices(ctx context.Context, who httpapi.Caller) ([]wire.PartyMember, error) {
	own, err := calls(s).own(ctx, who)
	if err != nil {
		return nil, problem(s.log, "list a party's devices", err)
	}
	list, err := s.devices.OfParty(ctx, who.Tenant, own)
	all := []wire.PartyMember{}
	for _, d := range list {
		if err != nil {
			break
		}
		var m wire.PartyMember
		m, err = s.partyMember(ctx, who, d)
		all = append(all, m)
	}
	return all, problem(s.log, "list a party's devices", err)
}

func (s couplings) partyMember(ctx context.Context, who httpapi.Caller, d device.Device) (wire.PartyMember, error) {
	choice, err := s.couples.Chosen(ctx, d.Tenant, d.ID)
	return wire.PartyMember{Device: d.ID, Name: d.Name, You: d.ID == who.Device, Bindings: d.Current(time.Now()), Session: choice.Session, Gets: choice.Gets}, err
}

func (s couplings) Choose(ctx context.Context, who httpapi.Caller, id wire.DeviceID, c wire.PartyMemberChange) (wire.PartyMember, error) {
	own, err := calls(s).own(ctx, who)
	if err != nil {
		return wire.PartyMember{}, problem(s.log, "choose", err)
	}
	if id != who.Device {
		if _, err := s.voucher(ctx, who, ""); err != nil {
			return wire.PartyMember{}, problem(s.log, "choose", err)
		}
	}
	list, err := s.devices.OfParty(ctx, who.Tenant, own)
	if err != nil {
		return wire.PartyMember{}, problem(s.log, "choose", err)
	}
	i := slices.IndexFunc(list, func(d device.Device) bool { return d.ID == id })
	if i < 0 {
		return wire.PartyMember{}, wire.NewProblem(wire.CodeNotFound, "")
	}
	if err := s.couples.Choose(ctx, who.Tenant, id, c); err != nil {
		return wire.PartyMember{}, problem(s.log, "choose", err)
	}
	m, err := s.partyMember(ctx, who, list[i])
	return m, problem(s.log, "choose", err)
}

// coupled is told that a device carries data for a number from now on: it joins the sessions
// that its party is in, and the party's other devices hear of it.
func (s *Server) coupled(ctx context.Context, c coupling.Coupling, again bool) error {
	t := c.Voucher.Tenant
	if !again {
		who := wire.AuditActor{Role: string(httpapi.RoleDevice), ID: string(c.Voucher.By)}
		if c.Voucher.By == "" {
			who = wire.AuditActor{Role: c.Voucher.Role, ID: c.Voucher.Key}
		}
		made := audit.Record{
			Tenant: t, Who: who, What: audit.CouplingMade, Parties: []tel.Identity{c.Voucher.Number.Identity()}, On: on("device", string(c.Device)),
			Details: map[string]string{"made": string(c.Voucher.Made), "kind": string(c.Kind), "proof": c.Voucher.Proof},
		}
		if err := s.audit.Append(ctx, made); err != nil {
			return err
		}
		s.tellOwners(ctx, c, wire.NoticeCoupled)
	}
	if c.Kind == wire.ForCall {
		return s.matcher.Arrived(ctx, t, c.Voucher.Number.Identity(), c.Device)
	}
	return s.joinRunning(ctx, t, c.Voucher.Number.Identity(), c.Device)
}

// uncoupled is told that a device carries no data for a number any more: it leaves the
// sessions of that party.
func (s *Server) uncoupled(ctx context.Context, c coupling.Coupling, apart bool) error {
	t := c.Voucher.Tenant
	principal, err := s.parties.Principal(ctx, t, c.Voucher.Number.Identity())
	if err != nil {
		return err
	}
	open, err := s.sessions.Sessions(ctx, t, c.Device)
	if err != nil {
		return err
	}
	for _, st := range open {
		if err := s.sessions.Away(ctx, t, st.ID, session.OpeningSide{Principal: principal, Devices: []wire.DeviceID{c.Device}}); err != nil {
			return err
		}
	}
	code := wire.NoticeUncoupled
	if apart {
		code = wire.NoticeApart
	}
	s.tellOwners(ctx, c, code)
	return nil
}

// tellOwners tells the devices of the number, but for the coupled one.
func (s *Server) tellOwners(ctx context.Context, c coupling.Coupling, code string) {
	list, err := s.devices.ByNumber(ctx, c.Voucher.Tenant, c.Voucher.Number)
	for _, d := range list {
		if d.ID != c.Device {
			err = errors.Join(err, notifier{s}.Tell(ctx, d.Tenant, d.ID, wire.TypeNotice, wire.Notice{Code: code, Name: c.Name, At: time.Now()}))
		}
	}
	if err != nil {
		s.log.Warn("a device was not told of a coupling", "device", c.Device, "err", err)
	}
}

// joinRunning makes a device a member of the sessions beside its party's calls. Behind a
// shared number the party's further devices have no part in them.
func (s *Server) joinRunning(ctx context.Context, t wire.TenantID, own tel.Identity, id wire.DeviceID) error {
	d := directory{s}
	principal, err := d.Principal(ctx, t, own)
	if err != nil {
		return err
	}
	shared, err := d.SharedName(ctx, t, own, principal)
	if err != nil || shared {
		return err
	}
	usable, err := d.Devices(ctx, t, principal)
	if err != nil || !slices.Contains(usable, id) {
		return err
	}
	list, err := s.matcher.Calls(ctx, t, principal)
	if err != nil {
		return err
	}
	for _, c := range list {
		if c.Session == "" {
			continue
		}
		err := s.sessions.JoinDevices(ctx, t, c.Session, session.OpeningSide{Principal: principal, Devices: []wire.DeviceID{id}})
		var p *wire.Problem
		if err != nil && !errors.As(err, &p) { // closed or full meanwhile
			return err
		}
	}
	return nil
}

// endCouplingsOf ends what a device that was cut off had to do with couplings.
func (s *Server) endCouplingsOf(ctx context.Context, t wire.TenantID, id wire.DeviceID) {
	d, err := s.devices.Get(ctx, t, id)
	switch {
	case errors.Is(err, device.ErrNotFound):
		err = s.couples.Unchoose(ctx, t, id) // what was chosen for it goes
	case err == nil:
		err = s.couples.DeviceGone(ctx, d)
	}
	if err != nil {
		s.log.Warn("couplings of a device that was cut off end later", "device", id, "err", err)
	}
}

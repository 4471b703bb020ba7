package server

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// auth tells the API who is calling.
type auth struct{ *Server }

func (s auth) bearer(ctx context.Context, token string) (httpapi.Caller, error) {
	if strings.HasPrefix(token, "tdm_") {
		c, err := s.keys.Verify(ctx, token)
		if err == nil && (!athome(ctx, c.Tenant) || !shows(ctx, c.Certificate)) {
			err = credential.ErrInvalid
		}
		if err != nil {
			return httpapi.Caller{}, s.refused(stranger(ctx), audit.Record{What: audit.LoginRefused, Details: map[string]string{"by": "key"}}, err)
		}
		role, ok := roles[c.Role]
		if !ok {
			return httpapi.Caller{}, wire.NewProblem(wire.CodeForbidden, "keys of the role %s have no use here yet", c.Role)
		}
		return httpapi.Caller{Tenant: c.Tenant, Role: role, Credential: c.ID, Scopes: scopesOf(c)}, nil
	}
	d, err := s.auth.VerifyToken(ctx, token)
	if err == nil && !athome(ctx, d.Tenant) {
		err = device.ErrToken
	}
	if err != nil {
		return httpapi.Caller{}, problem(s.log, "check token", err)
	}
	return httpapi.Caller{Tenant: d.Tenant, Role: httpapi.RoleDevice, Device: d.ID}, nil
}

var roles = map[credential.Role]httpapi.Role{
	credential.Operator: httpapi.RoleOperator, credential.Element: httpapi.RoleElement, credential.Provider: httpapi.RoleProvider,
}

// enrolment serves httpapi.Enrolment.
type enrolment struct{ *Server }

func (s enrolment) Begin(ctx context.Context, r wire.EnrolRequest, remote netip.Addr) (wire.Enrolment, error) {
	region := r.Region
	if region == "" {
		region = s.cfg.Codes.Region
	}
	n, err := tel.ParseNumber(r.Number, region)
	if err != nil {
		return wire.Enrolment{}, problem(s.log, "enrol", err)
	}
	began := time.Now()
	e, err := s.Server.devices.Begin(ctx, device.Request{
		Tenant: asked(ctx), Number: n, Key: r.Key, Name: r.Name, Client: r.Client, App: r.App, Remote: remote,
	})
	barred, lookUp := s.numberBarred(ctx, asked(ctx), n) // for every number, at the end
	more := time.Duration(0)
	if barred && err == nil {
		more = s.codes.pace()
	}
	even(ctx, began, more, s.cfg.Calls.AnswerEvery)
	if err == nil {
		err = lookUp
	}
	return e, problem(s.log, "enrol", err)
}

func (s enrolment) Confirm(ctx context.Context, id string, c wire.EnrolConfirm) (wire.DeviceInfo, error) {
	tenant := asked(ctx)
	d, err := s.Server.devices.Confirm(ctx, tenant, id, c.Code, c.Assertion)
	if err != nil {
		return wire.DeviceInfo{}, s.refused(httpapi.Caller{Tenant: tenant}, audit.Record{What: audit.EnrolmentRefused, On: on("enrolment", id)}, err)
	}
	made := audit.Record{
		Tenant: tenant, Who: wire.AuditActor{Role: string(httpapi.RoleDevice), ID: string(d.ID)}, What: audit.DeviceEnrolled,
		Parties: []tel.Identity{d.Principal}, On: on("device", string(d.ID)), Details: map[string]string{"proof": string(device.ProofCode)},
	}
	if err := s.audit.Append(ctx, made); err != nil {
		return wire.DeviceInfo{}, problem(s.log, "audit", err) // repeating the confirmation is harmless
	}
	if err := s.couples.Renewed(ctx, d); err != nil {
		return wire.DeviceInfo{}, problem(s.log, "renew couplings", err)
	}
	return s.info(ctx, d)
}

func (s enrolment) Bind(ctx context.Context, who httpapi.Caller, r wire.BindingRequest) (wire.DeviceInfo, error) {
	n, err := tel.ParseNumber(r.Number, s.cfg.Codes.Region)
	if err != nil {
		return wire.DeviceInfo{}, problem(s.log, "bind", err)
	}
	proved := audit.Record{What: audit.DeviceEnrolled, Parties: []tel.Identity{n.Identity()}, Details: map[string]string{"proof": r.Proof}}
	if err := s.mayBind(ctx, who, n, r.Proof); err != nil {
		return wire.DeviceInfo{}, s.refused(who, audit.Record{What: audit.EnrolmentRefused, Parties: proved.Parties}, err)
	}
	var d device.Device
	err = s.audited(ctx, who, proved, func() (err error) {
		d, err = s.Server.devices.Bind(ctx, device.Request{Tenant: who.Tenant, Number: n, Key: r.Key, Name: r.Name, Client: r.Client, App: r.App}, r.Proof)
		return err
	})
	if err != nil {
		return wire.DeviceInfo{}, err
	}
	return s.info(ctx, d)
}

// mayBind: an element vouches for its own numbers, with what a network can know.
func (s *Server) mayBind(ctx context.Context, who httpapi.Caller, n tel.Number, proof string) error {
	if who.Role == httpapi.RoleElement {
		c, err := s.keys.Get(ctx, who.Tenant, who.Credential)
		switch {
		case err != nil:
			return err
		case !c.MaySpeakFor(n.Identity()):
			return wire.NewProblem(wire.CodeForbidden, "this key may not speak for %s", n)
		case proof != device.ProofNetwork && proof != device.ProofSIM:
			return wire.NewProblem(wire.CodeForbidden, "a network element proves by network or sim")
		}
	}
	barred, err := s.numberBarred(ctx, who.Tenant, n)
	if err == nil && barred {
		err = wire.NewProblem(wire.CodeForbidden, "the operator has barred the number")
	}
	return err
}

// devices serves httpapi.Devices.
type devices struct{ *Server }

func (s devices) Challenge() (string, time.Duration) { return s.auth.Nonce(), device.NonceTTL }

func (s devices) Token(ctx context.Context, r wire.TokenRequest) (wire.Token, error) {
	d, err := s.auth.VerifyHello(ctx, home(ctx), r.Nonce, r.Assertion)
	if err != nil {
		return wire.Token{}, s.refused(stranger(ctx), audit.Record{What: audit.LoginRefused, Details: map[string]string{"by": "device"}}, err)
	}
	t, valid, err := s.auth.IssueToken(d)
	if err != nil {
		return wire.Token{}, problem(s.log, "token", err)
	}
	return wire.Token{Token: t, Type: "Bearer", ExpiresInSeconds: int(valid.Seconds())}, nil
}

func (s devices) Device(ctx context.Context, who httpapi.Caller) (wire.DeviceInfo, error) {
	d, err := s.Server.devices.Get(ctx, who.Tenant, who.Device)
	if err != nil {
		return wire.DeviceInfo{}, problem(s.log, "device", err)
	}
	return s.info(ctx, d)
}

func (s devices) Change(ctx context.Context, who httpapi.Caller, c wire.DeviceChange) (wire.DeviceInfo, error) {
	d, err := s.Server.devices.Get(ctx, who.Tenant, who.Device)
	if err == nil && c.Name != nil {
		d, err = s.Server.devices.Rename(ctx, who.Tenant, who.Device, *c.Name)
	}
	if err == nil && c.Language != nil && d.Language != strings.ToLower(*c.Language) {
		d, err = s.Server.devices.SetLanguage(ctx, who.Tenant, who.Device, *c.Language)
	}
	if err == nil && c.App != nil {
		d, err = s.Server.devices.UpdateApp(ctx, who.Tenant, who.Device, c.App)
	}
	if err == nil && c.Unasked != nil {
		d, err = s.Server.devices.SetUnasked(ctx, who.Tenant, who.Device, *c.Unasked)
	}
	if err != nil {
		return wire.DeviceInfo{}, problem(s.log, "change device", err)
	}
	return s.info(ctx, d)
}

func (s devices) Remove(ctx context.Context, who httpapi.Caller) error {
	return s.audited(ctx, who, audit.Record{What: audit.DeviceRevoked, On: on("device", string(who.Device))}, func() error {
		return s.Server.devices.Revoke(ctx, who.Tenant, who.Device)
	})
}

// info is what a device may know of itself.
func (s *Server) info(ctx context.Context, d device.Device) (wire.DeviceInfo, error) {
	i := wire.DeviceInfo{ID: d.ID, Name: d.Name, Language: d.Language, Bindings: d.Bindings, App: d.App, Unasked: d.Unasked, Created: d.Created, Party: []wire.Proved{}}
	if d.Guest() || d.Agent() { // what else belongs to the number's party is none of its business
		for _, b := range d.Bindings {
			i.Party = append(i.Party, wire.Proved{Identity: b.Number.Identity(), Proof: b.Kind})
		}
		return i, nil
	}
	if !d.Principal.IsZero() {
		p, err := s.parties.Get(ctx, d.Tenant, d.Principal)
		if err != nil {
			return i, problem(s.log, "device", err)
		}
		for _, id := range p.Identities {
			i.Party = append(i.Party, wire.Proved{Identity: id.Identity, Proof: id.Proof})
		}
	}
	return i, nil
}

// A revoked device loses its connections on every node; so that each node hears of it,
// the word goes over the bus.
const revokedSubject = "revoked"

func (s *Server) closeRevoked(ctx context.Context, tenant wire.TenantID, id wire.DeviceID) {
	s.closeDevice(tenant, id)
	if err := s.engine.Publish(ctx, store.Key(revokedSubject, string(tenant), string(id)), []byte(string(tenant)+"/"+string(id))); err != nil {
		s.log.Warn("other nodes were not told of a revoked device; its connections there end with its next request", "device", id, "err", err)
	}
	s.endCouplingsOf(ctx, tenant, id)
	if err := s.agents.Lost(ctx, tenant, id); err != nil {
		s.log.Warn("an agent whose device was revoked counts as signed in until its time is over", "device", id, "err", err)
	}
}

// watchRevoked closes here what was revoked on other nodes.
func (s *Server) watchRevoked(ctx context.Context) (cancel func(), err error) {
	return s.engine.Subscribe(ctx, revokedSubject+"/>", func(_ string, data []byte) {
		if tenant, id, ok := strings.Cut(string(data), "/"); ok {
			s.closeDevice(wire.TenantID(tenant), wire.DeviceID(id))
		}
	})
}

func (s *Server) closeDevice(tenant wire.TenantID, id wire.DeviceID) {
	s.sockets.CloseDevice(tenant, id, wire.CloseRevoked)
	s.endTelephone(tenant, id)
}

// endTelephone ends a device's registration as a telephone, here; other nodes look within a
// minute.
func (s *Server) endTelephone(tenant wire.TenantID, id wire.DeviceID) {
	if s.sip != nil && tenant == wire.DefaultTenant {
		s.sip.Revoke(string(id))
	}
}

// closeGone closes what is left here of devices that may act no more: whose binding has ended by
// itself, or that were cut off on another node, whose word was lost: the bus promises nothing while
// the cluster is disturbed.
func (s *Server) closeGone(ctx context.Context) {
	for _, who := range s.sockets.Devices() {
		d, err := s.devices.Get(ctx, who.Tenant, who.Device)
		if err == nil {
			err = d.Check(time.Now())
		}
		switch {
		case errors.Is(err, device.ErrNotFound), errors.Is(err, device.ErrRevoked):
			s.sockets.CloseDevice(who.Tenant, who.Device, wire.CloseRevoked)
		case errors.Is(err, device.ErrBindingExpired): // its next hello is told that, and it may be bound again
			s.sockets.CloseDevice(who.Tenant, who.Device, wire.CloseUnauthentic)
		case err != nil:
			if ctx.Err() == nil {
				s.log.Warn("connected devices could not be looked at", "err", err)
			}
			return
		}
	}
}

// alertEarlier tells a party's earlier devices that a further one has proved the number:
// their users notice when it was not them.
func (s *Server) alertEarlier(ctx context.Context, earlier []device.Device, added device.Device) {
	for _, d := range earlier {
		if err := (notifier{s}).Tell(ctx, d.Tenant, d.ID, wire.TypeNotice, wire.Notice{Code: wire.NoticeNewDevice, Name: added.Name, At: added.Created}); err != nil {
			s.log.Warn("an earlier device was not told of a new one", "device", d.ID, "err", err)
		}
	}
}

// names serves session.Names.
type names struct{ *device.Registry }

func (n names) Name(ctx context.Context, tenant wire.TenantID, id wire.DeviceID) (string, error) {
	d, err := n.Get(ctx, tenant, id)
	return d.Name, err
}

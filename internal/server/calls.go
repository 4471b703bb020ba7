package server

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// calls serves httpapi.Calls: it decides who may say what, and hands on to the matcher.
type calls struct{ *Server }

func (s calls) Report(ctx context.Context, who httpapi.Caller, r wire.Report) (wire.Ack, error) {
	return s.take(ctx, who, r, false)
}

// Ask takes a user's request for a session: a report by a person, after which the other side is
// asked at once. What is answered is what every report is answered.
func (s calls) Ask(ctx context.Context, who httpapi.Caller, a wire.Ask) (wire.Ack, error) {
	other := a.Other
	if other.IsZero() {
		list, err := s.Calls(ctx, who)
		if err != nil {
			return wire.Ack{}, err
		}
		for _, c := range list {
			switch {
			case c.State != tel.Active && c.State != tel.Held, c.Other == other:
			case other.IsZero():
				other = c.Other
			default:
				return wire.Ack{}, sayWhom("you are in more than one call")
			}
		}
		if other.IsZero() {
			return wire.Ack{}, sayWhom("no call of yours is known")
		}
	}
	return s.take(ctx, who, wire.Report{PartyDetails: tel.PartyDetails{Other: other, State: tel.Active}, Typed: true}, true)
}

func sayWhom(why string) error {
	p := wire.NewProblem(wire.CodeBadRequest, "say whom you are speaking to: %s", why)
	p.Errors = []wire.FieldError{{Location: "body.other", Message: "required here"}}
	return p
}

// take takes a report; urgent: a person asks for the session.
func (s calls) take(ctx context.Context, who httpapi.Caller, r wire.Report, urgent bool) (wire.Ack, error) {
	began := time.Now()
	a, err := s.report(store.Remember(ctx), who, r, urgent)
	if err == nil && a.Session == "" && curious(who.Role) {
		even(ctx, began, 0, s.cfg.Calls.AnswerEvery)
	}
	return a, err
}

func (s calls) report(ctx context.Context, who httpapi.Caller, r wire.Report, urgent bool) (wire.Ack, error) {
	passports := r.Passports
	profile, coupled, placed := r.Profile, r.Coupled, placed{place: r.Place, doc: r.PIDFLO}
	// They say nothing of the call, and are not kept with it.
	r.Passports, r.Profile, r.Coupled, r.Place, r.PIDFLO = nil, "", nil, nil, ""
	raw, err := json.Marshal(r)
	if err != nil {
		return wire.Ack{}, problem(s.log, "report", err)
	}
	report := call.Report{Tenant: who.Tenant, Report: r, Asked: urgent, Raw: raw}
	if who.Role == httpapi.RoleDevice {
		err = s.fromDevice(ctx, who, &report)
	} else {
		err = s.fromElement(ctx, who, &report)
	}
	if err == nil {
		err = report.PartyDetails.Validate()
	}
	if err == nil && who.Role != httpapi.RoleDevice {
		err = s.seat(ctx, &report)
	}
	if err == nil {
		err = s.vouched(ctx, &report, passports)
	}
	if err == nil && len(coupled) > 0 {
		err = s.carried(ctx, who, coupled, &report)
	}
	if err == nil && profile != "" {
		err = s.namedProfile(ctx, who, profile)
	}
	if err == nil {
		err = placed.read(who.Role)
	}
	if err != nil {
		err = problem(s.log, "report", err)
		if forbidden(err) {
			return wire.Ack{}, s.refused(who, audit.Record{What: audit.ReportRefused, Parties: []tel.Identity{r.Own}}, err)
		}
		return wire.Ack{}, err
	}
	if err := s.limits.report(who, report); err != nil {
		return wire.Ack{}, err
	}
	if barred, err := s.barredCall(ctx, report); barred || err != nil {
		return wire.Ack{}, problem(s.log, "report", err)
	}
	o, err := s.matcher.Report(ctx, report)
	if err == nil {
		err = s.reported(ctx, report, o)
	}
	if err == nil {
		err = s.placed(ctx, report, placed)
	}
	return wire.Ack{Session: o.Session}, problem(s.log, "report", err)
}

// forbidden: the reporter spoke for somebody it may not speak for, or of a call that its
// own evidence contradicts.
func forbidden(err error) bool {
	var p *wire.Problem
	return errors.As(err, &p) && (p.Code == wire.CodeForbidden || p.Code == wire.CodeNotYourParty || p.Code == wire.CodePassport)
}

// fromDevice: a device reports its own party's calls only, with a proof that still holds.
func (s calls) fromDevice(ctx context.Context, who httpapi.Caller, r *call.Report) error {
	own, err := s.own(ctx, who)
	if err != nil {
		return err
	}
	if r.Own.IsZero() {
		r.Own = own
	}
	claimed, err := s.parties.Principal(ctx, who.Tenant, r.Own)
	if err != nil {
		return err
	}
	if claimed != own {
		return wire.NewProblem(wire.CodeNotYourParty, "this device has not proved %s", r.Own)
	}
	if !r.Dialled.IsZero() {
		p := wire.NewProblem(wire.CodeBadRequest, "a telephone does not know whom the caller dialled; leave it out")
		p.Errors = []wire.FieldError{{Location: "body.dialled", Message: "only a network element or provider may say it"}}
		return p
	}
	r.Reporter = call.Reporter{Kind: call.ByDevice, ID: string(who.Device), Device: who.Device, Evidence: call.Observed}
	if r.Typed {
		r.Reporter.Kind, r.Reporter.Evidence = call.ByPerson, call.Typed
	}
	return nil
}

// own returns the principal identity of the caller's party, if its proof is good enough.
func (s calls) own(ctx context.Context, who httpapi.Caller) (tel.Identity, error) {
	d, err := s.devices.Get(ctx, who.Tenant, who.Device)
	if err == nil {
		err = d.Check(time.Now())
	}
	if err == nil && !s.proved(d) {
		err = wire.NewProblem(wire.CodeForbidden, "calls need a number that is proved by %s here; enrol again in that way", s.cfg.Evidence.Minimum.Binding)
	}
	return d.Principal, err
}

// fromElement: an element or provider speaks for its own ranges only.
func (s calls) fromElement(ctx context.Context, who httpapi.Caller, r *call.Report) error {
	if r.Own.IsZero() {
		p := wire.NewProblem(wire.CodeBadRequest, "say whose leg it is")
		p.Errors = []wire.FieldError{{Location: "body.own", Message: "only a device may leave it out"}}
		return p
	}
	r.Reporter = call.Reporter{Kind: call.ByElement, ID: who.Credential, Evidence: call.Trusted}
	switch who.Role {
	case httpapi.RoleOperator:
		return nil
	case httpapi.RoleProvider:
		r.Reporter.Kind = call.ByProvider
	}
	c, err := s.keys.Get(ctx, who.Tenant, who.Credential)
	if err != nil {
		return err
	}
	if !c.MaySpeakFor(r.Own) {
		s.log.Warn("a report outside the reporter's ranges was refused", "credential", c.ID, "name", c.Name, "own", r.Own)
		return wire.NewProblem(wire.CodeForbidden, "this key may not speak for %s", r.Own)
	}
	// Who has the call gets the session that was meant for the party that was dialled.
	if !r.Dialled.IsZero() && !c.MaySpeakFor(r.Dialled) {
		s.log.Warn("a report of a call diverted from outside the reporter's ranges was refused", "credential", c.ID, "name", c.Name, "dialled", r.Dialled)
		return wire.NewProblem(wire.CodeForbidden, "this key may not say that calls to %s were diverted", r.Dialled)
	}
	return nil
}

func (s calls) Calls(ctx context.Context, who httpapi.Caller) ([]wire.CallInfo, error) {
	own, err := s.own(ctx, who)
	if err != nil {
		return nil, problem(s.log, "list calls", err)
	}
	l, err := s.matcher.Calls(ctx, who.Tenant, own)
	if l == nil {
		l = []wire.CallInfo{}
	}
	return l, problem(s.log, "list calls", err)
}

func (s calls) Answer(ctx context.Context, who httpapi.Caller, a wire.Answer) error {
	own, err := s.own(ctx, who)
	if err == nil {
		err = s.matcher.Answer(ctx, who.Tenant, who.Device, own, a)
	}
	return problem(s.log, "answer", err)
}

func (s calls) Confirm(ctx context.Context, who httpapi.Caller, c wire.Confirm) error {
	own, err := s.own(ctx, who)
	if err == nil {
		err = s.matcher.Confirm(ctx, who.Tenant, who.Device, own, c)
	}
	return problem(s.log, "confirm", err)
}

// directory tells the matcher who is who.
type directory struct{ *Server }

func (d directory) Principal(ctx context.Context, tenant wire.TenantID, id tel.Identity) (tel.Identity, error) {
	return d.parties.Principal(ctx, tenant, id)
}

func (d directory) SharedName(ctx context.Context, tenant wire.TenantID, id, principal tel.Identity) (bool, error) {
	return d.parties.SharedName(ctx, tenant, id, principal)
}

func (d directory) Devices(ctx context.Context, tenant wire.TenantID, principal tel.Identity) ([]wire.DeviceID, error) {
	list, err := d.devices.OfParty(ctx, tenant, principal)
	var ids []wire.DeviceID
	for _, dev := range list {
		if d.proved(dev) && !dev.ForCall(time.Now()) {
			ids = append(ids, dev.ID)
		}
	}
	return ids, err
}

// Foresee and ForeseeApart read ahead for the matcher.
func (d directory) Foresee(ctx context.Context, tenant wire.TenantID, ids ...tel.Identity) {
	var both sync.WaitGroup
	both.Go(func() { d.parties.Foresee(ctx, tenant, ids...) })
	both.Go(func() { d.devices.Foresee(ctx, tenant, ids...) })
	both.Wait()
}

func (d directory) ForeseeApart(ctx context.Context, tenant wire.TenantID, a, b tel.Identity) {
	d.parties.ForeseeApart(ctx, tenant, a, b)
}

func (d directory) Apart(ctx context.Context, tenant wire.TenantID, a, b tel.Identity) (bool, error) {
	var barred, apart bool
	var g errgroup.Group // on a cluster each look-up is a way to another machine and back
	g.Go(func() (err error) {
		barred, err = d.eitherBarred(ctx, tenant, a, b)
		return err
	})
	g.Go(func() (err error) {
		apart, err = d.parties.Apart(ctx, tenant, a, b)
		return err
	})
	err := g.Wait()
	return barred || apart, err
}

// opener gives the matcher the sessions; devices that are away are woken for a new one.
type opener struct{ *Server }

func (o opener) Open(ctx context.Context, x call.Opening) error {
	sides := make([]session.OpeningSide, len(x.Sides))
	for i, s := range x.Sides {
		s, err := o.joining(ctx, x.Tenant, s)
		if err != nil {
			return err
		}
		x.Sides[i], sides[i] = s, openingSide(s)
	}
	if err := o.sessions.Open(ctx, session.Opening{Tenant: x.Tenant, ID: x.ID, Sides: sides, At: x.At}); err != nil {
		return err
	}
	return o.wakeFor(ctx, x.Tenant, x.ID, x.Sides...)
}

func (o opener) JoinDevices(ctx context.Context, tenant wire.TenantID, id wire.SessionID, s call.Side) error {
	s, err := o.joining(ctx, tenant, s)
	if err != nil {
		return err
	}
	if err := o.sessions.JoinDevices(ctx, tenant, id, openingSide(s)); err != nil {
		return err
	}
	return o.wakeFor(ctx, tenant, id, s)
}

func (o opener) CallEnded(ctx context.Context, tenant wire.TenantID, id wire.SessionID, at time.Time, order uint64) error {
	return o.sessions.CallEnded(ctx, tenant, id, at, order)
}

func (o opener) CallUp(ctx context.Context, tenant wire.TenantID, id wire.SessionID, order uint64) (bool, error) {
	return o.sessions.CallUp(ctx, tenant, id, order)
}

func (o opener) Part(ctx context.Context, tenant wire.TenantID, id wire.SessionID, s call.Side) error {
	return o.sessions.Away(ctx, tenant, id, session.OpeningSide{Principal: s.Principal, At: s.At})
}

func openingSide(s call.Side) session.OpeningSide {
	return session.OpeningSide{Principal: s.Principal, Shown: s.Shown, Devices: s.Devices, At: s.At}
}

// watcher tells the others what becomes of a session. They are made one after the other,
// so this looks them up when they are needed.
type watcher struct{ *Server }

func (w watcher) Gone(ctx context.Context, tenant wire.TenantID, id wire.SessionID, left []tel.Identity, over bool) error {
	if over {
		if err := w.unwakeFor(ctx, tenant, id); err != nil {
			return err
		}
	}
	return w.matcher.Gone(ctx, tenant, id, left, over)
}

func (w watcher) Dropped(ctx context.Context, tenant wire.TenantID, id wire.SessionID) error {
	if err := w.places.Drop(ctx, tenant, id); err != nil {
		return err
	}
	return w.files.DropSession(ctx, tenant, id)
}

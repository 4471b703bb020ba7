package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/fetch"
	"github.com/tandem-call/tandem/internal/edge/push/apns"
	"github.com/tandem-call/tandem/internal/edge/push/fcm"
	"github.com/tandem-call/tandem/internal/edge/push/webpush"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/notify"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// The platforms of wire.App.
const (
	platformAPNs = "apns"
	platformFCM  = "fcm"
	platformWeb  = "webpush"
)

// newPushes makes the service that wakes devices, and its way to each platform.
func (s *Server) newPushes(ctx context.Context, version string) error {
	c := s.cfg.Push
	secret, err := s.secret(ctx, "push", func() ([]byte, error) {
		b := make([]byte, 32)
		rand.Read(b)
		return b, nil
	})
	if err != nil {
		return err
	}
	vapid, err := s.secret(ctx, "vapid", webpush.NewKey)
	if err != nil {
		return err
	}
	networks := make([]netip.Prefix, len(c.Web.Networks))
	for i, n := range c.Web.Networks {
		networks[i] = netip.MustParsePrefix(n) // checked by Validate
	}
	out, err := fetch.New(fetch.Config{Allow: networks, Timeout: c.Timeout, Redirects: -1, UserAgent: "tandem/" + version})
	if err != nil {
		return err
	}
	if s.web, err = webpush.New(webpush.Config{Fetcher: out, Key: vapid, Subject: c.Web.Subject, Plain: c.Web.HTTP}); err != nil {
		return err
	}
	pushers := map[string]notify.Pusher{platformWeb: s.web}
	if c.APNs.Key != "" {
		key, err := os.ReadFile(c.APNs.Key)
		if err != nil {
			return fmt.Errorf("push.apns.key: %w", err)
		}
		pushers[platformAPNs], err = apns.New(apns.Config{
			Key: key, KeyID: c.APNs.KeyID, TeamID: c.APNs.TeamID, Topic: c.APNs.Topic, URL: c.APNs.URL, Text: c.APNs.Text,
		})
		if err != nil {
			return err
		}
	}
	if c.FCM.Account != "" {
		account, err := os.ReadFile(c.FCM.Account)
		if err != nil {
			return fmt.Errorf("push.fcm.account: %w", err)
		}
		if pushers[platformFCM], err = fcm.New(fcm.Config{Account: account, URL: c.FCM.URL}); err != nil {
			return err
		}
	}
	if s.texts != nil {
		pushers[notify.PlatformText] = s.texts
	}
	s.wakes, err = notify.New(notify.Config{
		Engine: s.engine, Secret: secret, Devices: wakeable{s}, Pushers: pushers,
		Connected: func(tenant wire.TenantID, id wire.DeviceID) bool {
			return s.sockets.Connected(tenant, id)
		},
		Remind: s.remind, Timeout: c.Timeout, KeepData: s.cfg.Sessions.Retention, Log: s.log,
	})
	return err
}

// secret returns bytes that all nodes share and that last for ever, made at the first start.
func (s *Server) secret(ctx context.Context, name string, fresh func() ([]byte, error)) ([]byte, error) {
	type record struct {
		Secret  []byte    `json:"secret"`
		Created time.Time `json:"created"`
	}
	made, err := fresh()
	if err != nil {
		return nil, err
	}
	r, err := store.Change(ctx, store.TableOf[record](s.engine, "keys"), store.Key(name), func(r record, exists bool) (record, bool, error) {
		if exists {
			return r, false, nil
		}
		return record{made, time.Now().UTC()}, true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("server: load a secret: %w", err)
	}
	return r.Secret, nil
}

// checkApp refuses application ids that can wake nothing.
func (s *Server) checkApp(a wire.App) error {
	var err error
	switch a.Platform {
	case platformAPNs:
		err = apns.CheckToken(a.ID)
	case platformWeb:
		_, err = webpush.Parse(a.ID, s.cfg.Push.Web.HTTP)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", device.ErrRequest, err)
	}
	return nil
}

// wakeable tells the pushes of devices.
type wakeable struct{ *Server }

func (w wakeable) App(ctx context.Context, tenant wire.TenantID, id wire.DeviceID) (*wire.App, error) {
	d, err := w.devices.Get(ctx, tenant, id)
	if errors.Is(err, device.ErrNotFound) || err == nil && d.Check(time.Now()) != nil {
		return nil, nil
	}
	return d.App, err
}

func (w wakeable) Drop(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, dead wire.App) error {
	return w.devices.DropApp(ctx, tenant, id, dead)
}

// wake has a device woken for what it is told outside any session, or takes that back.
func (s *Server) wake(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, body any) error {
	m := notify.Matter{Tenant: tenant, Device: id}
	switch b := body.(type) {
	case *wire.Invite:
		d, err := s.devices.Get(ctx, tenant, id)
		if err != nil {
			return err
		}
		after, ok, err := s.turn(ctx, tenant, d.Principal, wire.WayPush)
		if err == nil && ok {
			ok, err = s.claimed(ctx, tenant, d.Principal, b.ID, "push")
		}
		if err != nil || !ok {
			return err
		}
		m.Ref, m.After, m.Push = string(b.ID), after, wire.Push{Kind: wire.PushInvite, Until: b.Until, Invite: b}
	case *wire.Words:
		m.Ref, m.Push = string(b.Invitation), wire.Push{Kind: wire.PushWords, Until: b.Until, Words: b}
	case *wire.Withdrawn:
		m.Ref = string(b.Invitation)
		for _, kind := range []wire.PushKind{wire.PushInvite, wire.PushWords} {
			m.Push.Kind = kind
			if err := s.wakes.Withdraw(ctx, m, b.Reason); err != nil {
				return err
			}
		}
		return nil
	case wire.Notice:
		if b.Code == wire.NoticeAgent || b.Code == wire.NoticeAgents {
			return nil
		}
		m.Ref, m.Push = b.Code+b.At.String(), wire.Push{Kind: wire.PushNotice, Notice: &b}
	case wire.Available:
		return nil // whoever is only told is not woken for it
	default:
		return fmt.Errorf("server: nobody is woken for a %T", body)
	}
	return s.wakes.Wake(ctx, m)
}

// remind has a device asked again what it is being asked: it was connected, and is not any more.
func (s *Server) remind(ctx context.Context, tenant wire.TenantID, id wire.DeviceID) error {
	if s.draining.Load() {
		return nil // all are gone
	}
	own, err := calls{s}.own(ctx, httpapi.Caller{Tenant: tenant, Device: id})
	if err != nil {
		return nil // it may not act any more
	}
	return s.matcher.Remind(ctx, tenant, id, own)
}

// wakeFor has the devices of a side woken for a session that was opened (B9).
func (s *Server) wakeFor(ctx context.Context, tenant wire.TenantID, id wire.SessionID, sides ...call.Side) error {
	for _, side := range sides {
		for _, d := range side.Devices {
			m := notify.Matter{Tenant: tenant, Device: d, Ref: string(id), Push: wire.Push{Kind: wire.PushSession, Session: id}}
			if err := s.wakes.Wake(ctx, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// unwakeFor takes that back; guests go with the session.
func (s *Server) unwakeFor(ctx context.Context, tenant wire.TenantID, id wire.SessionID) error {
	rec, err := s.sessions.Record(ctx, tenant, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	for _, member := range rec.Members {
		m := notify.Matter{Tenant: tenant, Device: member.Device, Ref: string(id), Push: wire.Push{Kind: wire.PushSession}}
		if err := s.wakes.Withdraw(ctx, m, "closed"); err != nil {
			return err
		}
		if err := s.devices.DismissGuest(ctx, tenant, member.Device); err != nil {
			return err
		}
	}
	return nil
}

// dataWaits has devices told that messages wait for them (C5).
func (s *Server) dataWaits(tenant wire.TenantID, id wire.SessionID, devices []wire.DeviceID) {
	for _, d := range devices {
		s.wakes.Data(tenant, d, id)
	}
}

// pushes serves httpapi.Pushes.
type pushes struct{ *Server }

func (s pushes) Key() string { return s.web.PublicKey() }

func (s pushes) Push(ctx context.Context, id wire.PushID) (wire.Push, error) {
	w, err := s.wakes.Get(ctx, id)
	if err == nil && w.Push.Invite != nil && w.Number.IsZero() {
		var d device.Device
		d, err = s.devices.Get(ctx, w.Tenant, w.Device)
		w.Push.Unasked = d.Unasked
	}
	return w.Push, problem(s.log, "push", err)
}

// JoinPush takes the device's report for one about the call that the push is about (B14).
func (s pushes) JoinPush(ctx context.Context, who httpapi.Caller, id wire.PushID, j wire.PushJoin) (wire.Ack, error) {
	w, err := s.wakes.Get(ctx, id)
	if err == nil && (w.Tenant != who.Tenant || w.Device != who.Device || w.Push.Invite == nil) {
		err = notify.ErrNotFound
	}
	if err != nil {
		return wire.Ack{}, problem(s.log, "join", err)
	}
	d, err := s.devices.Get(ctx, who.Tenant, who.Device)
	r := j.Report
	switch {
	case err != nil:
		return wire.Ack{}, problem(s.log, "join", err)
	case !d.Unasked:
		return wire.Ack{}, wire.NewProblem(wire.CodeForbidden, "this device's user wants to be asked; answer the invitation, or set unasked")
	case r.Typed || r.State != tel.Active:
		return wire.Ack{}, wire.NewProblem(wire.CodeBadRequest, "joining unasked needs a call that the device's own telephone shows to be active")
	}
	claim, err := s.matcher.Claim(ctx, who.Tenant, d.Principal, w.Push.Invite.ID)
	if err == nil {
		err = s.mayJoin(ctx, d, w.Push.Invite.ID, claim)
	}
	if err != nil {
		return wire.Ack{}, problem(s.log, "join", err)
	}
	claimant := claim.Party
	if r.Other.IsZero() {
		r.Other, r.OtherWithheld = claimant, w.Push.Invite.Claimant.IsZero()
	} else if other, err := s.parties.Principal(ctx, who.Tenant, r.Other); err != nil {
		return wire.Ack{}, problem(s.log, "join", err)
	} else if other != claimant {
		return wire.Ack{}, wire.NewProblem(wire.CodeConflict, "the device's telephone speaks to somebody else than the invitation is from")
	}
	return calls(s).Report(ctx, who, r)
}

func (s pushes) AnswerPush(ctx context.Context, id wire.PushID, a wire.PushAnswer) error {
	w, err := s.wakes.Get(ctx, id)
	if err != nil {
		return problem(s.log, "answer push", err)
	}
	if w.Push.Invite == nil {
		return wire.NewProblem(wire.CodeNotFound, "this push is about no invitation")
	}
	if !w.Number.IsZero() {
		if a.Accept {
			return wire.NewProblem(wire.CodeBadRequest, "to accept, open the link: POST /v1/guests")
		}
		return problem(s.log, "answer push", s.matcher.Answer(ctx, w.Tenant, "", w.Number.Identity(), wire.Answer{Invitation: w.Push.Invite.ID}))
	}
	who := httpapi.Caller{Tenant: w.Tenant, Role: httpapi.RoleDevice, Device: w.Device}
	return calls(s).Answer(ctx, who, wire.Answer{Invitation: w.Push.Invite.ID, Accept: a.Accept})
}

// outcomes of a trial, as the operator reads them.
var outcomes = []struct {
	err  error
	name string
}{
	{notify.ErrNoApp, "no_app"}, {notify.ErrNotConfigured, "not_configured"}, {notify.ErrGone, "gone"}, {notify.ErrRefused, "refused"},
}

func (s pushes) TestPush(ctx context.Context, who httpapi.Caller, of tel.Identity) ([]wire.PushTested, error) {
	tested := []wire.PushTested{}
	err := s.audited(ctx, who, audit.Record{What: audit.PushTested, Parties: []tel.Identity{of}}, func() error {
		principal, err := s.parties.Principal(ctx, who.Tenant, of)
		if err != nil {
			return err
		}
		list, err := s.devices.OfParty(ctx, who.Tenant, principal)
		for _, d := range list {
			o, err := s.wakes.Test(ctx, who.Tenant, d.ID)
			if err != nil {
				return err
			}
			t := wire.PushTested{Device: d.ID, Name: d.Name, Platform: o.Platform, Outcome: "accepted", Millis: o.Took.Milliseconds()}
			if o.Err != nil {
				t.Outcome, t.Detail = "failed", o.Err.Error()
			}
			for _, known := range outcomes {
				if errors.Is(o.Err, known.err) {
					t.Outcome = known.name
				}
			}
			tested = append(tested, t)
		}
		return err
	})
	return tested, err
}

package server

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/push/sms"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/guest"
	"github.com/tandem-call/tandem/internal/notify"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// guestFor is how long a guest may stay at most; it goes with its session before.
const guestFor = 12 * time.Hour

// linkPath is what stands before a link's identifier in its address.
const linkPath = "/g/"

// openPage sends whoever opens a link to the page that joins. It uses nothing up, since
// previews of messages open links too.
func openPage(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if !wire.ValidID(id) {
		httpapi.WriteProblem(w, errLink)
		return
	}
	http.Redirect(w, r, "/#/guest/"+id, http.StatusSeeOther)
}

// newTexts makes what invites by text message.
func (s *Server) newTexts(sender sms.Sender) (err error) {
	c := s.cfg.Texts
	s.guests, err = guest.New(guest.Config{Engine: s.engine, PerNumber: c.PerNumber, PerPair: c.PerPair, PerClaimant: c.PerClaimant})
	if err != nil || !c.Enabled {
		return err
	}
	report := ""
	if c.Token != "" {
		report = s.cfg.URL() + "/v1/texts/report?token=" + url.QueryEscape(c.Token)
	}
	s.texts, err = sms.NewInviter(sms.InviterConfig{
		Sender: sender, Link: s.cfg.URL() + linkPath, Text: c.Text, Countries: c.Countries, Report: report,
	})
	return err
}

// invitable: a number that has no client can be sent a link (D4).
func (s *Server) invitable(ctx context.Context, _ wire.TenantID, principal tel.Identity) (bool, error) {
	n, ok := principal.Number()
	if !ok || s.texts == nil {
		return false, nil
	}
	out, err := s.guests.OptedOut(ctx, n)
	return !out, err
}

// ways returns how a party is reached that is not connected. Without a word of its own, a
// party with a client is reached by push, one without by text message.
func (s *Server) ways(ctx context.Context, tenant wire.TenantID, principal tel.Identity) ([]wire.Way, error) {
	list, err := s.devices.OfParty(ctx, tenant, principal)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return []wire.Way{wire.WayText}, nil
	}
	ways, err := s.guests.Ways(ctx, tenant, principal)
	if ways == nil {
		ways = []wire.Way{wire.WayPush}
	}
	return ways, err
}

// turn returns when it is a way's turn to reach a party; false: never.
func (s *Server) turn(ctx context.Context, tenant wire.TenantID, principal tel.Identity, w wire.Way) (time.Duration, bool, error) {
	ways, err := s.ways(ctx, tenant, principal)
	i := slices.Index(ways, w)
	return time.Duration(i) * s.cfg.Texts.After, i >= 0, err
}

// tellParty invites a party by text message, or takes that back.
func (s *Server) tellParty(ctx context.Context, tenant wire.TenantID, principal tel.Identity, _ wire.Type, body any) error {
	n, ok := principal.Number()
	if !ok || s.texts == nil {
		return nil
	}
	m := notify.Matter{Tenant: tenant, Number: n}
	switch b := body.(type) {
	case *wire.Invite:
		after, ok, err := s.turn(ctx, tenant, principal, wire.WayText)
		if err != nil || !ok {
			return err
		}
		if can, err := s.invitable(ctx, tenant, principal); err != nil || !can {
			return err
		}
		claimant, err := s.matcher.Claimant(ctx, tenant, principal, b.ID)
		if err != nil {
			return nil // answered already
		}
		if enough, err := s.claimed(ctx, tenant, principal, b.ID, "text_invitation"); err != nil || !enough {
			return err
		}
		allowed, err := s.guests.Allow(ctx, tenant, n, claimant, string(b.ID))
		if err != nil {
			return err
		}
		if !allowed {
			s.textsRefused.Add(1)
			s.log.Info("an invitation by text message is beyond a quota", "number", n)
			return nil
		}
		m.Ref, m.After, m.Push = string(b.ID), after, wire.Push{Kind: wire.PushInvite, Until: b.Until, Invite: b}
		return s.wakes.Wake(ctx, m)
	case *wire.Withdrawn:
		m.Ref, m.Push.Kind = string(b.Invitation), wire.PushInvite
		return s.wakes.Withdraw(ctx, m, b.Reason)
	}
	return nil
}

// isGuest: the device is there by a link only. What belongs to its number's party is not its own.
func (s *Server) isGuest(ctx context.Context, tenant wire.TenantID, id wire.DeviceID) (bool, error) {
	d, err := s.devices.Get(ctx, tenant, id)
	if errors.Is(err, device.ErrNotFound) {
		return false, nil
	}
	return d.Guest(), err
}

// guests serves httpapi.Guests.
type guests struct{ *Server }

var errLink = wire.NewProblem(wire.CodeCodeExpired, "the link is no longer valid; the next call brings a new one")

// link returns the text message that a link came with.
func (s guests) link(ctx context.Context, id wire.PushID) (notify.Wake, error) {
	w, err := s.wakes.Get(ctx, id)
	if errors.Is(err, notify.ErrNotFound) || err == nil && (w.Number.IsZero() || w.Push.Invite == nil) {
		return w, errLink
	}
	return w, err
}

// Enter lets whoever opened a link into the session, as a guest: once (D4).
func (s guests) Enter(ctx context.Context, r wire.GuestRequest) (wire.DeviceInfo, error) {
	d, err := s.enter(ctx, r)
	if err != nil {
		return wire.DeviceInfo{}, problem(s.log, "guest", err)
	}
	return s.info(ctx, d)
}

func (s guests) enter(ctx context.Context, r wire.GuestRequest) (device.Device, error) {
	w, err := s.link(ctx, r.Link)
	if err != nil {
		return device.Device{}, err
	}
	// The device's id follows from its key, so it is known before there is one.
	id := device.IDOf(w.Tenant, r.Key)
	used, again, err := s.guests.Link(ctx, r.Link)
	switch {
	case err != nil:
		return device.Device{}, err
	case again && used.Device != id:
		return device.Device{}, guest.ErrUsed
	case !again && w.Push.Withdrawn != "":
		return device.Device{}, errLink
	case !again:
		used = guest.Link{Tenant: w.Tenant, Device: id}
		if used.Claimant, err = s.matcher.Claimant(ctx, w.Tenant, w.Number.Identity(), w.Push.Invite.ID); err != nil {
			return device.Device{}, errLink
		}
	}
	q := device.Request{Tenant: w.Tenant, Number: w.Number, Key: r.Key, Name: r.Name, Client: r.Client}
	d, err := s.devices.Guest(ctx, q, string(r.Link), r.Assertion, time.Now().Add(guestFor))
	if err != nil {
		return d, err
	}
	if err := s.guests.Use(ctx, r.Link, used); errors.Is(err, guest.ErrUsed) {
		return d, errors.Join(err, s.devices.DismissGuest(ctx, w.Tenant, d.ID))
	} else if err != nil {
		return d, err // it may have been taken: the same device may try again
	}
	made := audit.Record{
		Tenant: w.Tenant, Who: wire.AuditActor{Role: string(httpapi.RoleDevice), ID: string(d.ID)}, What: audit.DeviceEnrolled,
		Parties: []tel.Identity{w.Number.Identity()}, On: on("device", string(d.ID)), Details: map[string]string{"proof": device.ProofLink},
	}
	if err := s.audit.Append(ctx, made); err != nil {
		return d, err // repeating is harmless
	}
	return d, s.matcher.Answer(ctx, w.Tenant, d.ID, w.Number.Identity(), wire.Answer{Invitation: w.Push.Invite.ID, Accept: true})
}

// Installed has a device that was installed by way of a link join, still during the call.
func (s guests) Installed(ctx context.Context, who httpapi.Caller, id wire.PushID) (wire.Ack, error) {
	w, err := s.link(ctx, id)
	if err != nil {
		return wire.Ack{}, problem(s.log, "installed", err)
	}
	own, err := calls(s).own(ctx, who)
	if err == nil {
		var party tel.Identity
		if party, err = s.parties.Principal(ctx, w.Tenant, w.Number.Identity()); err == nil && (w.Tenant != who.Tenant || party != own) {
			err = errLink // what belongs to others looks like what does not exist
		}
	}
	if err != nil {
		return wire.Ack{}, problem(s.log, "installed", err)
	}
	used, there, err := s.guests.Link(ctx, id)
	if err == nil && !there {
		used.Claimant, err = s.matcher.Claimant(ctx, who.Tenant, own, w.Push.Invite.ID)
	}
	if err != nil {
		return wire.Ack{}, problem(s.log, "installed", err)
	}
	s.log.Info("installed by way of a link", "device", who.Device)
	return calls(s).Report(ctx, who, wire.Report{Typed: true, PartyDetails: tel.PartyDetails{
		Other: used.Claimant, OtherWithheld: w.Push.Invite.Claimant.IsZero(), State: tel.Active, Ref: tel.Ref{Local: "link:" + string(id)},
	}})
}

func (s guests) Reach(ctx context.Context, who httpapi.Caller) (wire.Reach, error) {
	own, err := calls(s).own(ctx, who)
	var r wire.Reach
	if err == nil {
		r.Ways, err = s.ways(ctx, who.Tenant, own)
	}
	return r, problem(s.log, "reach", err)
}

func (s guests) SetReach(ctx context.Context, who httpapi.Caller, r wire.Reach) (wire.Reach, error) {
	own, err := calls(s).own(ctx, who)
	if err == nil {
		err = s.guests.SetWays(ctx, who.Tenant, own, r.Ways)
	}
	return r, problem(s.log, "reach", err)
}

// gateway checks the token with which a gateway speaks.
func (s guests) gateway(token string) error {
	if want := s.cfg.Texts.Token; want == "" || subtle.ConstantTimeCompare([]byte(token), []byte(want)) != 1 {
		return wire.NewProblem(wire.CodeUnauthenticated, "this is for the operator's text message gateway: texts.token")
	}
	return nil
}

// stopWords, in capitals, are what people answer who want no more messages; startWords take
// that back.
var (
	stopWords  = []string{"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT"}
	startWords = []string{"START", "UNSTOP"}
)

// TextCame takes a message that somebody sent to the gateway.
func (s guests) TextCame(ctx context.Context, token, from, text string) error {
	if err := s.gateway(token); err != nil {
		return err
	}
	n, err := tel.ParseNumber(from, s.cfg.Codes.Region)
	if err != nil {
		return problem(s.log, "text came", err)
	}
	word := strings.ToUpper(strings.Trim(strings.TrimSpace(text), ".!"))
	stop := slices.Contains(stopWords, word)
	if !stop && !slices.Contains(startWords, word) {
		return nil
	}
	if err := s.guests.OptOut(ctx, n, stop); err != nil {
		return problem(s.log, "text came", err)
	}
	if stop {
		s.textsStopped.Add(1)
	} else {
		s.textsResumed.Add(1)
	}
	return nil
}

// TextPosted takes such a message as providers post it.
func (s guests) TextPosted(ctx context.Context, token, contentType string, body []byte) error {
	if err := s.gateway(token); err != nil {
		return err
	}
	from, text, err := sms.ReadAnswer(contentType, body)
	if err != nil {
		return problem(s.log, "text posted", err)
	}
	return s.TextCame(ctx, token, from, text)
}

// TextReported takes the report of whether a message was delivered.
func (s guests) TextReported(_ context.Context, token string, id wire.PushID, status string) error {
	if err := s.gateway(token); err != nil {
		return err
	}
	s.textBecame(id, sms.OutcomeOf(status))
	return nil
}

// ReportPosted takes such a report as providers post it.
func (s guests) ReportPosted(_ context.Context, token string, id wire.PushID, contentType string, body []byte) error {
	if err := s.gateway(token); err != nil {
		return err
	}
	o, err := sms.ReadReport(contentType, body)
	if err != nil {
		return problem(s.log, "report posted", err)
	}
	s.textBecame(id, o)
	return nil
}

func (s guests) textBecame(id wire.PushID, o sms.Outcome) {
	switch o {
	case sms.Delivered:
		s.textsDelivered.Add(1)
	case sms.Failed:
		s.textsFailed.Add(1)
		s.log.Warn("a text message was not delivered", "id", fmt.Sprintf("%.8s…", id))
	}
}

package server

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/fetch"
	partner "github.com/tandem-call/tandem/internal/edge/partner/webhook"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/webhook"
	"github.com/tandem-call/tandem/wire"
)

// newWebhooks makes the service that tells others of sessions, calls and devices.
func (s *Server) newWebhooks(ctx context.Context, version string) (*webhook.Service, error) {
	c := s.cfg.Webhooks
	networks := make([]netip.Prefix, len(c.Networks))
	for i, n := range c.Networks {
		networks[i] = netip.MustParsePrefix(n) // checked by Validate
	}
	out, err := fetch.New(fetch.Config{Allow: networks, Timeout: c.Timeout, Redirects: -1, UserAgent: "tandem/" + version})
	if err != nil {
		return nil, err
	}
	return webhook.New(ctx, webhook.Config{
		Engine: s.engine, Poster: partner.Poster{Fetcher: out, Plain: c.HTTP}, Source: s.cfg.URL(), Plain: c.HTTP,
		Timeout: c.Timeout, Keep: c.Retention, GiveUp: c.GiveUp, Log: s.log,
	})
}

// observer makes events of what happens to sessions, and tells the devices that are to be
// told of them only.
type observer struct{ *Server }

func (o observer) Wants(tenant wire.TenantID) bool {
	return o.hooks.Wants(tenant, "session.") || o.couples.HasChoices(tenant) || o.people.Any(tenant) || o.places.Any(tenant) || o.agents.Any(tenant) || o.overlays.Any(tenant)
}

func (o observer) Observe(ctx context.Context, rec *session.Record, h session.Happened) error {
	if o.people.Any(rec.Tenant) && (h.What == session.WasOpened || h.What == session.MemberJoined || h.What == session.WasTakenUp) {
		if err := o.people.Opened(ctx, rec.Tenant, rec.ID); err != nil {
			return err
		}
	}
	if o.places.Any(rec.Tenant) && (h.What == session.CallIsOver || h.What == session.WasClosed) {
		if err := o.places.CallOver(ctx, rec.Tenant, rec.ID); err != nil {
			return err
		}
	}
	if o.agents.Any(rec.Tenant) {
		if err := o.observeAgents(ctx, rec); err != nil {
			return err
		}
	}
	if o.overlays.Any(rec.Tenant) {
		if err := o.overlayOpened(ctx, rec, h); err != nil {
			return err
		}
	}
	if err := o.tellChosen(ctx, rec, h); err != nil || !o.hooks.Wants(rec.Tenant, "session.") {
		return err
	}
	return o.hooks.Emit(ctx, webhook.Event{
		Tenant: rec.Tenant, ID: webhook.EventID("session", string(rec.Tenant), string(rec.ID), h.ID()),
		Type: "session." + string(h.What), At: h.At, Subject: string(rec.ID),
		Data: func(show webhook.Shown) any { return sessionEvent(rec, h, show) },
	})
}

func sessionEvent(rec *session.Record, h session.Happened, show webhook.Shown) wire.SessionEvent {
	e := wire.SessionEvent{
		Session: rec.ID, Phase: rec.Phase, Opened: rec.Opened, Until: rec.Until, Reason: rec.Reason, Changed: h.Members,
	}
	for i, side := range rec.Sides {
		e.Parties = append(e.Parties, wire.EventParty{Side: i + 1, Party: show.Party(side.Principal, side.Shown), Left: !side.Left.IsZero()})
	}
	for i, m := range rec.Members {
		e.Members = append(e.Members, wire.EventMember{ID: wire.MemberID(strconv.Itoa(i + 1)), Side: m.Side, Left: !m.Left.IsZero()})
	}
	return e
}

// reported makes an event of a call report, unless it only repeats the reporter's last one.
// It is written down before the reporter hears that its report was taken; a reporter that
// does not hear so repeats it.
func (s *Server) reported(ctx context.Context, r call.Report, o call.Outcome) error {
	if _, ok := s.demands["profile"]; ok && o.Session != "" && s.people.Any(r.Tenant) {
		// The report may be the evidence that the profiles have waited for.
		if err := s.people.Opened(ctx, r.Tenant, o.Session); err != nil {
			return err
		}
	}
	if !s.hooks.Wants(r.Tenant, wire.EventCallReported) {
		return nil
	}
	own, err := s.parties.Principal(ctx, r.Tenant, r.Own)
	if err != nil {
		return err
	}
	other, err := s.parties.Principal(ctx, r.Tenant, r.Other)
	if err != nil {
		return err
	}
	leg := strings.Join([]string{
		string(r.Tenant), string(r.Reporter.Kind), r.Reporter.ID, own.String(), other.String(), r.Ref.Local, r.Ref.CallID, r.Ref.SessionID,
	}, "\x00")
	if s.lately.is(leg, string(r.State)) {
		return nil
	}
	at := r.At
	if at.IsZero() {
		at = time.Now()
	}
	err = s.hooks.Emit(ctx, webhook.Event{
		Tenant: r.Tenant, ID: webhook.EventID("call", leg, string(r.State), string(r.Direction), at.UTC().Format(time.RFC3339Nano)),
		Type: wire.EventCallReported, At: at,
		Data: func(show webhook.Shown) any {
			e := wire.CallEvent{Reporter: string(r.Reporter.Kind), Direction: r.Direction, State: r.State}
			if !r.Withheld {
				e.Own = show.Party(own, r.Own)
			}
			if !r.OtherWithheld {
				e.Other = show.Party(other, r.Other)
			}
			return e
		},
	})
	if err == nil {
		s.lately.put(leg, string(r.State))
	}
	return err
}

// lately remembers the last state of the legs that were reported, the newest of them.
type lately struct {
	mu    sync.Mutex
	state map[string]string
	order []string // a ring
	next  int
}

const latelyLegs = 1 << 14

func (l *lately) is(leg, state string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was, ok := l.state[leg]
	return ok && was == state
}

func (l *lately) put(leg, state string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == nil {
		l.state, l.order = map[string]string{}, make([]string, latelyLegs)
	}
	if _, known := l.state[leg]; !known {
		delete(l.state, l.order[l.next])
		l.order[l.next] = leg
		l.next = (l.next + 1) % latelyLegs
	}
	l.state[leg] = state
}

// changing announces a device's enrolment or end, and makes the event when it is done.
func (s *Server) changing(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, at time.Time) (func(context.Context), error) {
	if !s.hooks.Wants(tenant, "device.") {
		return func(context.Context) {}, nil
	}
	done, err := s.hooks.Announce(ctx, tenant, string(id), at)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		if err := done(func() error { return s.deviceEvents(ctx, tenant, string(id), at) }); err != nil {
			s.log.Warn("a webhook event about a device comes later", "device", id, "err", err)
		}
	}, nil
}

// deviceEvents makes the events of what happened to a device at the time or since.
func (s *Server) deviceEvents(ctx context.Context, tenant wire.TenantID, id string, at time.Time) error {
	d, err := s.devices.Get(ctx, tenant, wire.DeviceID(id))
	if errors.Is(err, device.ErrNotFound) {
		return nil // it came to nothing, or was erased since
	} else if err != nil {
		return err
	}
	emit := func(eventType string, at time.Time, data func(webhook.Shown) wire.DeviceEvent) error {
		return s.hooks.Emit(ctx, webhook.Event{
			Tenant: tenant, ID: webhook.EventID("device", string(tenant), id, eventType, at.UTC().Format(time.RFC3339Nano)), Type: eventType, At: at,
			Data: func(show webhook.Shown) any {
				e := data(show)
				e.Device = show.Device(d.ID)
				return e
			},
		})
	}
	revoked := func(reason string) func(webhook.Shown) wire.DeviceEvent {
		return func(webhook.Shown) wire.DeviceEvent { return wire.DeviceEvent{Reason: reason} }
	}
	switch {
	case !d.RevokedAt.IsZero() && d.RevokedAt.Before(at):
		return nil
	case !d.RevokedAt.IsZero():
		return emit(wire.EventDeviceRevoked, d.RevokedAt, revoked("revoked"))
	case len(d.Bindings) == 0:
		return emit(wire.EventDeviceRevoked, at, revoked("number_recycled"))
	}
	for _, b := range d.Bindings {
		if b.Proved.Before(at) {
			continue
		}
		principal, err := s.parties.Principal(ctx, tenant, b.Number.Identity())
		if err != nil {
			return err
		}
		err = emit(wire.EventDeviceEnrolled, b.Proved, func(show webhook.Shown) wire.DeviceEvent {
			return wire.DeviceEvent{Party: show.Party(principal, b.Number.Identity()), Proof: b.Kind, Expires: b.Expires}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// recoverEvents makes the events that a crash cut off.
func (s *Server) recoverEvents(ctx context.Context) error {
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	for {
		if err := s.hooks.Recover(ctx, s.deviceEvents); err != nil && ctx.Err() == nil {
			s.log.Warn("webhook events that were cut off", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// hooksAPI serves httpapi.Webhooks.
type hooksAPI struct{ *Server }

func (s hooksAPI) Webhooks(ctx context.Context, who httpapi.Caller) ([]wire.Webhook, error) {
	list, err := s.hooks.List(ctx, who.Tenant)
	if err != nil {
		return nil, problem(s.log, "list webhooks", err)
	}
	out := make([]wire.Webhook, len(list))
	for i, e := range list {
		out[i] = webhookInfo(e)
	}
	return out, nil
}

func webhookInfo(e webhook.Endpoint) wire.Webhook {
	return wire.Webhook{
		ID: e.ID, URL: e.URL, Events: e.Events, Identities: string(e.Identities), Created: e.Created,
		FailingSince: e.FailingSince, Disabled: e.Disabled, DisabledBy: e.DisabledBy,
	}
}

func (s hooksAPI) AddWebhook(ctx context.Context, who httpapi.Caller, r wire.WebhookRequest) (wire.Webhook, error) {
	n := webhook.NewEndpoint{ID: webhook.NewID(), Tenant: who.Tenant, URL: r.URL, Events: r.Events, Identities: webhook.Identities(r.Identities)}
	var e webhook.Endpoint
	err := s.audited(ctx, who, audit.Record{What: audit.WebhookAdded, On: on("webhook", n.ID), Details: identitiesDetail(r)}, func() (err error) {
		e, err = s.hooks.Add(ctx, n)
		return err
	})
	if err != nil {
		return wire.Webhook{}, err
	}
	return withSecret(e), nil
}

func identitiesDetail(r wire.WebhookRequest) map[string]string {
	if r.Identities == string(webhook.Full) {
		return map[string]string{"identities": "full"}
	}
	return map[string]string{"identities": "masked"}
}

func withSecret(e webhook.Endpoint) wire.Webhook {
	info := webhookInfo(e)
	info.Secret = e.Secrets[0].String()
	return info
}

func (s hooksAPI) RemoveWebhook(ctx context.Context, who httpapi.Caller, id string) error {
	return s.audited(ctx, who, audit.Record{What: audit.WebhookRemoved, On: on("webhook", id)}, func() error {
		return s.hooks.Remove(ctx, who.Tenant, id)
	})
}

func (s hooksAPI) RotateWebhook(ctx context.Context, who httpapi.Caller, id string) (wire.Webhook, error) {
	var e webhook.Endpoint
	err := s.audited(ctx, who, audit.Record{What: audit.WebhookRotated, On: on("webhook", id)}, func() (err error) {
		e, err = s.hooks.Rotate(ctx, who.Tenant, id)
		return err
	})
	if err != nil {
		return wire.Webhook{}, err
	}
	return withSecret(e), nil
}

func (s hooksAPI) EnableWebhook(ctx context.Context, who httpapi.Caller, id string) error {
	return s.audited(ctx, who, audit.Record{What: audit.WebhookEnabled, On: on("webhook", id)}, func() error {
		_, err := s.hooks.Enable(ctx, who.Tenant, id)
		return err
	})
}

func (s hooksAPI) TestWebhook(ctx context.Context, who httpapi.Caller, id string) (wire.WebhookDelivery, error) {
	d, err := s.hooks.Test(ctx, who.Tenant, id)
	return deliveryInfo(d), problem(s.log, "test webhook", err)
}

func (s hooksAPI) Deliveries(ctx context.Context, who httpapi.Caller, id, status string, limit int) ([]wire.WebhookDelivery, error) {
	list, err := s.hooks.Deliveries(ctx, who.Tenant, webhook.Filter{Endpoint: id, Status: webhook.Status(status), Limit: limit})
	if err != nil {
		return nil, problem(s.log, "list deliveries", err)
	}
	out := make([]wire.WebhookDelivery, len(list))
	for i, d := range list {
		out[i] = deliveryInfo(d)
	}
	return out, nil
}

func deliveryInfo(d webhook.Delivery) wire.WebhookDelivery {
	info := wire.WebhookDelivery{
		Event: d.Event, Webhook: d.Endpoint, Type: d.Type, Created: d.Created, Status: string(d.Status), Next: d.Next, Tried: d.Tried,
	}
	for _, a := range d.Attempts {
		info.Attempts = append(info.Attempts, wire.WebhookAttempt{At: a.At, Status: a.Status, Error: a.Error, Millis: a.Millis})
	}
	return info
}

func (s hooksAPI) Replay(ctx context.Context, who httpapi.Caller, event, id string) error {
	return s.audited(ctx, who, audit.Record{What: audit.WebhookReplayed, On: on("event", event)}, func() error {
		_, err := s.hooks.Replay(ctx, who.Tenant, event, id)
		return err
	})
}

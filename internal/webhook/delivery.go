package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Status of a delivery.
type Status string

// Statuses.
const (
	Pending   Status = "pending"
	Delivered Status = "delivered"
	Failed    Status = "failed" // all attempts are used up
)

// keptAttempts is how many attempts a delivery remembers.
const keptAttempts = 16

// Delivery is one event for one endpoint: table "webhook-deliveries", key
// store.Key(tenant, endpoint, event).
//
// While it is pending there is a pointer to it in the table "webhook-due", under the time
// of its next attempt; [Delivery.Next] decides which pointer counts. A pointer too many is
// harmless. One is written before the delivery says so, or, for the first, after it, by
// whoever repeats Emit; and the sweeper makes good what is missing.
type Delivery struct {
	Tenant   wire.TenantID `json:"tenant"`
	Endpoint string        `json:"endpoint"`
	Event    string        `json:"event"`
	Type     string        `json:"type"`
	Created  time.Time     `json:"created"`
	// Body as it is sent, the same each time.
	Body   []byte `json:"body"`
	Status Status `json:"status"`
	// Next attempt, while pending; in whole milliseconds.
	Next time.Time `json:"next,omitzero"`
	// Lease: until then somebody is at it.
	Lease time.Time `json:"lease,omitzero"`
	// Holder names the attempt that has the lease.
	Holder string `json:"holder,omitempty"`
	// Round is how many attempts were made since the delivery was last asked for; Tried
	// counts all.
	Round int `json:"round"`
	Tried int `json:"tried"`
	// Once: a trial, which is not repeated.
	Once bool `json:"once,omitempty"`
	// Attempts made, the last of them.
	Attempts []Attempt `json:"attempts,omitempty"`
}

// Attempt is one attempt to deliver.
type Attempt struct {
	At     time.Time `json:"at"`
	Status int       `json:"status,omitempty"`
	Error  string    `json:"error,omitempty"`
	Millis int64     `json:"ms"`
}

// pointer says that a delivery is due at the time in its key.
type pointer struct {
	Event string    `json:"event"`
	At    time.Time `json:"at"`
}

func (d Delivery) key() string { return deliveryKey(d.Tenant, d.Endpoint, d.Event) }

// touched is when something last happened to the delivery, or will.
func (d Delivery) touched() time.Time {
	t := d.Created
	if n := len(d.Attempts); n > 0 {
		t = d.Attempts[n-1].At
	}
	if d.Next.After(t) {
		t = d.Next
	}
	return t
}

func deliveryKey(tenant wire.TenantID, endpoint, event string) string {
	return store.Key(string(tenant), endpoint, event)
}

func pointerKey(tenant wire.TenantID, endpoint, event string, at time.Time) string {
	return store.Key(string(tenant), endpoint, fmt.Sprintf("%015d", at.UnixMilli()), event)
}

// whole cuts a time to the precision of a pointer's key.
func whole(t time.Time) time.Time { return time.UnixMilli(t.UnixMilli()).UTC() }

// Emit writes the event down for each endpoint that wants it. When it has returned nil the
// event outlives a crash; until then it must be repeated, which is harmless.
func (s *Service) Emit(ctx context.Context, ev Event) error {
	var g errgroup.Group
	wanted := false
	for _, e := range *s.known.Load() {
		if e.Tenant == ev.Tenant && e.wants(ev.Type) {
			wanted = true
			g.Go(func() error { return s.enqueue(ctx, e, ev, false) })
		}
	}
	if !wanted {
		return nil
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("webhook: emit %s: %w", ev.Type, err)
	}
	s.stats.emitted.Add(1)
	s.ring()
	return nil
}

func (s *Service) enqueue(ctx context.Context, e Endpoint, ev Event, once bool) error {
	data, err := json.Marshal(ev.Data(shown{e}))
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	body, err := json.Marshal(wire.Event{
		SpecVersion: "1.0", ID: ev.ID, Source: s.c.Source + "/tenants/" + string(ev.Tenant), Type: ev.Type, Time: ev.At.UTC(),
		Subject: ev.Subject, DataContentType: "application/json", Data: data,
	})
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	now := whole(s.c.Now())
	fresh := Delivery{
		Tenant: ev.Tenant, Endpoint: e.ID, Event: ev.ID, Type: ev.Type, Created: now, Body: body, Status: Pending, Next: now, Once: once,
	}
	d, err := store.Change(ctx, s.deliveries, fresh.key(), func(d Delivery, exists bool) (Delivery, bool, error) {
		if exists {
			return d, false, nil
		}
		return fresh, true, nil
	})
	if err != nil || d.Status != Pending || once {
		return err
	}
	return s.point(ctx, d, d.Next)
}

// point sets a pointer to a delivery. It may repeat.
func (s *Service) point(ctx context.Context, d Delivery, at time.Time) error {
	_, err := store.Change(ctx, s.due, pointerKey(d.Tenant, d.Endpoint, d.Event, at), func(p pointer, exists bool) (pointer, bool, error) {
		return pointer{d.Event, at}, !exists, nil
	})
	return err
}

// Filter of a list of deliveries. The zero Filter takes all.
type Filter struct {
	Endpoint, Event string
	Status          Status
	// Limit; zero: 100.
	Limit int
}

// Deliveries lists deliveries, the newest first.
func (s *Service) Deliveries(ctx context.Context, tenant wire.TenantID, f Filter) ([]Delivery, error) {
	prefix := store.Key(string(tenant)) + "/"
	if f.Endpoint != "" {
		prefix = store.Key(string(tenant), f.Endpoint) + "/"
	}
	var all []Delivery
	for item, err := range s.deliveries.Scan(ctx, prefix) {
		if err != nil {
			return nil, fmt.Errorf("webhook: list deliveries: %w", err)
		}
		d := item.Value
		if (f.Event == "" || f.Event == d.Event) && (f.Status == "" || f.Status == d.Status) {
			d.Body = nil
			all = append(all, d)
		}
	}
	slices.SortStableFunc(all, func(a, b Delivery) int { return b.Created.Compare(a.Created) })
	if f.Limit <= 0 {
		f.Limit = 100
	}
	return all[:min(len(all), f.Limit)], nil
}

// Replay sends an event again, with its id, to one endpoint or ("") to each that it was
// for. ErrNotFound when it is not in the log.
func (s *Service) Replay(ctx context.Context, tenant wire.TenantID, event, endpoint string) (int, error) {
	found, err := s.Deliveries(ctx, tenant, Filter{Endpoint: endpoint, Event: event, Limit: s.c.Endpoints})
	if err != nil {
		return 0, err
	}
	if len(found) == 0 {
		return 0, ErrNotFound
	}
	now := whole(s.c.Now())
	for _, d := range found {
		d, err := store.Change(ctx, s.deliveries, d.key(), func(d Delivery, exists bool) (Delivery, bool, error) {
			if !exists || d.Status == Pending && d.Next.Equal(now) {
				return d, false, nil
			}
			d.Status, d.Round, d.Next, d.Once = Pending, 0, now, false
			return d, true, nil
		})
		if err == nil && d.Status == Pending {
			err = s.point(ctx, d, d.Next)
		}
		if err != nil {
			return 0, fmt.Errorf("webhook: replay: %w", err)
		}
	}
	s.ring()
	return len(found), nil
}

// Test sends the endpoint an event of the type webhook.test, once and at once, and returns
// what came of it. It works for disabled endpoints too. ErrNotFound.
func (s *Service) Test(ctx context.Context, tenant wire.TenantID, id string) (Delivery, error) {
	e, _, err := s.endpoints.Get(ctx, store.Key(string(tenant), id))
	if errors.Is(err, store.ErrNotFound) {
		return Delivery{}, ErrNotFound
	} else if err != nil {
		return Delivery{}, fmt.Errorf("webhook: test: %w", err)
	}
	ev := Event{
		Tenant: tenant, ID: wire.NewID("evt_"), Type: wire.EventWebhookTest, At: s.c.Now(),
		Data: func(Shown) any { return struct{}{} },
	}
	if err := s.enqueue(ctx, e, ev, true); err != nil {
		return Delivery{}, fmt.Errorf("webhook: test: %w", err)
	}
	s.attempt(ctx, e, deliveryKey(tenant, id, ev.ID))
	d, _, err := s.deliveries.Get(ctx, deliveryKey(tenant, id, ev.ID))
	if err != nil {
		return d, fmt.Errorf("webhook: test: %w", err)
	}
	return d, nil
}

// Forget removes the deliveries in which one of the identities is named, as itself or by
// a pseudonym, and returns how many. It belongs to the erasure of a party.
func (s *Service) Forget(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) (int, error) {
	n := 0
	endpoints, err := s.List(ctx, tenant)
	if err != nil {
		return 0, err
	}
	for _, e := range endpoints {
		var names []string
		for _, mode := range []Identities{Masked, Full} {
			e.Identities = mode
			for _, id := range ids {
				if name := (shown{e}).Party(id, id); name != "" {
					names = append(names, `"`+name+`"`)
				}
			}
		}
		var keys []string
		for item, err := range s.deliveries.Scan(ctx, e.key()+"/") {
			if err != nil {
				return n, fmt.Errorf("webhook: forget: %w", err)
			}
			if slices.ContainsFunc(names, func(name string) bool { return strings.Contains(string(item.Value.Body), name) }) {
				keys = append(keys, item.Key)
			}
		}
		for _, key := range keys {
			if err := remove(ctx, s.deliveries, key); err != nil && !errors.Is(err, ErrNotFound) {
				return n, err
			}
			n++
		}
	}
	return n, nil
}

package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tandem-call/tandem/internal/signed"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// Identities says how an endpoint sees the parties.
type Identities string

// Ways to see the parties.
const (
	Masked Identities = "masked" // pseudonyms, the same for one party at one endpoint
	Full   Identities = "full"   // identities, as far as they were not withheld
)

// Reasons for which an endpoint is disabled.
const (
	gone    = "gone"    // it answered 410
	failing = "failing" // for longer than Config.GiveUp
)

// overlap is how long the older secret signs too after a rotation.
const overlap = 24 * time.Hour

// Endpoint gets events: table "webhooks", key store.Key(tenant, id).
type Endpoint struct {
	ID     string        `json:"id"`
	Tenant wire.TenantID `json:"tenant"`
	URL    string        `json:"url"`
	// Events are types, sorted.
	Events     []string   `json:"events"`
	Identities Identities `json:"identities"`
	// Secrets that sign, the newest first.
	Secrets []Secret `json:"secrets"`
	// Pseudonyms is the key that makes them.
	Pseudonyms []byte    `json:"pseudonyms"`
	Created    time.Time `json:"created"`
	// FailingSince is when the first of an unbroken row of failures came.
	FailingSince time.Time `json:"failing_since,omitzero"`
	Disabled     time.Time `json:"disabled,omitzero"`
	DisabledBy   string    `json:"disabled_by,omitempty"`
}

func (e Endpoint) key() string { return store.Key(string(e.Tenant), e.ID) }

func (e Endpoint) wants(eventType string) bool {
	return e.Disabled.IsZero() && slices.Contains(e.Events, eventType)
}

// NewEndpoint is what an endpoint is made of.
type NewEndpoint struct {
	// ID; empty: a new one is made.
	ID     string
	Tenant wire.TenantID
	URL    string
	// Events are types of wire.EventTypes; empty: all but call.reported, "*": all.
	Events []string
	// Identities; empty: Masked.
	Identities Identities
}

// NewID returns an id for an endpoint.
func NewID() string { return wire.NewID("whk_") }

// Add makes an endpoint, which gets the events from now on. ErrRequest, ErrTooMany.
func (s *Service) Add(ctx context.Context, n NewEndpoint) (Endpoint, error) {
	if err := s.c.checkURL(n.URL); err != nil {
		return Endpoint{}, err
	}
	events, err := eventsOf(n.Events)
	if err != nil {
		return Endpoint{}, err
	}
	if n.Identities == "" {
		n.Identities = Masked
	}
	if n.Identities != Masked && n.Identities != Full {
		return Endpoint{}, fmt.Errorf("%w: identities are masked or full", ErrRequest)
	}
	there, err := s.List(ctx, n.Tenant)
	if err != nil {
		return Endpoint{}, err
	}
	if len(there) >= s.c.Endpoints {
		return Endpoint{}, fmt.Errorf("%w: there are %d", ErrTooMany, len(there))
	}
	if n.ID == "" {
		n.ID = NewID()
	}
	e := Endpoint{
		ID: n.ID, Tenant: n.Tenant, URL: n.URL, Events: events, Identities: n.Identities,
		Secrets: []Secret{{Key: signed.NewKey()}}, Pseudonyms: signed.NewKey(), Created: s.c.Now(),
	}
	_, err = store.Change(ctx, s.endpoints, e.key(), func(_ Endpoint, exists bool) (Endpoint, bool, error) {
		return e, !exists, nil // exists: our own write, whose answer was lost
	})
	if err != nil {
		return Endpoint{}, fmt.Errorf("webhook: add: %w", err)
	}
	return e, s.changed(ctx)
}

func eventsOf(asked []string) ([]string, error) {
	events := slices.Clone(asked)
	switch {
	case len(asked) == 0:
		events = slices.DeleteFunc(slices.Clone(wire.EventTypes), func(t string) bool { return t == wire.EventCallReported })
	case len(asked) == 1 && asked[0] == "*":
		events = slices.Clone(wire.EventTypes)
	}
	for _, t := range events {
		if !slices.Contains(wire.EventTypes, t) {
			return nil, fmt.Errorf("%w: no event is called %q; there are %s", ErrRequest, t, strings.Join(wire.EventTypes, ", "))
		}
	}
	slices.Sort(events)
	return slices.Compact(events), nil
}

// List returns a tenant's endpoints, the oldest first.
func (s *Service) List(ctx context.Context, tenant wire.TenantID) ([]Endpoint, error) {
	var all []Endpoint
	for item, err := range s.endpoints.Scan(ctx, store.Key(string(tenant))+"/") {
		if err != nil {
			return nil, fmt.Errorf("webhook: list: %w", err)
		}
		all = append(all, item.Value)
	}
	slices.SortFunc(all, func(a, b Endpoint) int { return a.Created.Compare(b.Created) })
	return all, nil
}

// Remove forgets an endpoint, and everything that was for it. ErrNotFound.
func (s *Service) Remove(ctx context.Context, tenant wire.TenantID, id string) error {
	if err := remove(ctx, s.endpoints, store.Key(string(tenant), id)); err != nil {
		return err
	}
	if err := s.changed(ctx); err != nil {
		return err
	}
	return s.drop(ctx, tenant, id)
}

// drop removes what was for an endpoint.
func (s *Service) drop(ctx context.Context, tenant wire.TenantID, id string) error {
	prefix := store.Key(string(tenant), id) + "/"
	if err := removeAll(ctx, s.due, prefix); err != nil {
		return err
	}
	return removeAll(ctx, s.deliveries, prefix)
}

// Rotate gives an endpoint a new secret; for a day the older one signs too. ErrNotFound.
func (s *Service) Rotate(ctx context.Context, tenant wire.TenantID, id string) (Endpoint, error) {
	fresh := Secret{Key: signed.NewKey()}
	return s.change(ctx, tenant, id, func(e *Endpoint) bool {
		if slices.Equal(e.Secrets[0].Key, fresh.Key) {
			return false // our own write, whose answer was lost
		}
		older := e.Secrets[0]
		older.Until = s.c.Now().Add(overlap)
		e.Secrets = []Secret{fresh, older}
		return true
	})
}

// Enable lets a disabled endpoint work again; what is pending for it is sent. ErrNotFound.
func (s *Service) Enable(ctx context.Context, tenant wire.TenantID, id string) (Endpoint, error) {
	return s.change(ctx, tenant, id, func(e *Endpoint) bool {
		was := !e.Disabled.IsZero() || !e.FailingSince.IsZero()
		e.Disabled, e.DisabledBy, e.FailingSince = time.Time{}, "", time.Time{}
		return was
	})
}

func (s *Service) change(ctx context.Context, tenant wire.TenantID, id string, fn func(*Endpoint) bool) (Endpoint, error) {
	e, err := store.Change(ctx, s.endpoints, store.Key(string(tenant), id), func(e Endpoint, exists bool) (Endpoint, bool, error) {
		if !exists {
			return e, false, ErrNotFound
		}
		e.Secrets = slices.Clone(e.Secrets)
		write := fn(&e)
		return e, write, nil
	})
	if errors.Is(err, ErrNotFound) {
		return e, ErrNotFound
	} else if err != nil {
		return e, fmt.Errorf("webhook: change %s: %w", id, err)
	}
	return e, s.changed(ctx)
}

// remove deletes a record whatever it is. ErrNotFound.
func remove[T any](ctx context.Context, t store.Table[T], key string) error {
	for {
		_, rev, err := t.Get(ctx, key)
		if err == nil {
			err = t.Delete(ctx, key, rev)
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, store.ErrNotFound):
			return ErrNotFound
		case ctx.Err() != nil || !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrUncertain):
			return fmt.Errorf("webhook: remove: %w", err)
		}
	}
}

func removeAll[T any](ctx context.Context, t store.Table[T], prefix string) error {
	var keys []string
	for item, err := range t.Scan(ctx, prefix) {
		if err != nil {
			return fmt.Errorf("webhook: remove: %w", err)
		}
		keys = append(keys, item.Key)
	}
	for _, key := range keys {
		if err := remove(ctx, t, key); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

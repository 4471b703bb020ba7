package coupling

import (
	"context"
	"errors"
	"fmt"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// Choice is what a party wants one of its devices to do when a session opens: table
// "device_choices", key store.Key(tenant, device). A device without one joins.
type Choice struct {
	Session wire.SessionChoice `json:"session"`
	Tenant  wire.TenantID      `json:"tenant"`
}

// Choose keeps a party's choice for one of its devices. ErrRequest.
func (s *Service) Choose(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, c wire.SessionChoice) error {
	key := store.Key(string(tenant), string(id))
	var err error
	switch c {
	case wire.ChoiceJoin:
		err = store.Remove(ctx, s.choices, key) // what holds without one
	case wire.ChoiceTold, wire.ChoiceNone:
		_, err = store.Change(ctx, s.choices, key, func(old Choice, _ bool) (Choice, bool, error) {
			return Choice{c, tenant}, old.Session != c, nil
		})
	default:
		return fmt.Errorf("%w: a choice is %s, %s or %s, not %q", ErrRequest, wire.ChoiceJoin, wire.ChoiceTold, wire.ChoiceNone, c)
	}
	if err != nil {
		return fmt.Errorf("coupling: keep a choice: %w", err)
	}
	if c != wire.ChoiceJoin {
		s.chosen.Store(tenant, true)
	}
	return nil
}

// HasChoices reports whether a device of the tenant may do anything but join. What another
// node was told is known within a minute.
func (s *Service) HasChoices(tenant wire.TenantID) bool {
	_, yes := s.chosen.Load(tenant)
	return yes
}

// lookAtChoices finds the tenants that have any.
func (s *Service) lookAtChoices(ctx context.Context) error {
	for item, err := range s.choices.Scan(ctx, "") {
		if err != nil {
			return fmt.Errorf("coupling: read choices: %w", err)
		}
		s.chosen.Store(item.Value.Tenant, true)
	}
	return nil
}

// Chosen returns the choice for a device.
func (s *Service) Chosen(ctx context.Context, tenant wire.TenantID, id wire.DeviceID) (wire.SessionChoice, error) {
	c, _, err := s.choices.Get(ctx, store.Key(string(tenant), string(id)))
	if errors.Is(err, store.ErrNotFound) {
		return wire.ChoiceJoin, nil
	} else if err != nil {
		return "", fmt.Errorf("coupling: read a choice: %w", err)
	}
	return c.Session, nil
}

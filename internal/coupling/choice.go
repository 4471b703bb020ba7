package coupling

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// Choice is what a party wants one of its devices to do when a session opens, and what to get
// in it: table "device_choices", key store.Key(tenant, device). A device without one joins,
// and gets everything.
type Choice struct {
	Session wire.SessionChoice `json:"session"`
	// Gets are the kinds of data that it gets of what is sent to all; empty: every kind.
	Gets   []wire.DataKind `json:"gets,omitempty"`
	Tenant wire.TenantID   `json:"tenant"`
	Device wire.DeviceID   `json:"device,omitempty"`
}

var kinds = []wire.DataKind{wire.DataText, wire.DataLink, wire.DataFile, wire.DataPlace, wire.DataProfile, wire.DataOverlay, wire.DataObject}

// Choose changes a party's choice for one of its devices. ErrRequest.
func (s *Service) Choose(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, change wire.PartyMemberChange) error {
	switch change.Session {
	case "", wire.ChoiceJoin, wire.ChoiceTold, wire.ChoiceNone:
	default:
		return fmt.Errorf("%w: a choice is %s, %s or %s, not %q", ErrRequest, wire.ChoiceJoin, wire.ChoiceTold, wire.ChoiceNone, change.Session)
	}
	for _, k := range change.Gets {
		if !slices.Contains(kinds, k) {
			return fmt.Errorf("%w: the kinds of data are %v, not %q", ErrRequest, kinds, k)
		}
	}
	var now Choice
	_, err := store.Change(ctx, s.choices, store.Key(string(tenant), string(id)), func(old Choice, _ bool) (Choice, bool, error) {
		now = Choice{old.Session, old.Gets, tenant, id}
		if change.Session != "" {
			now.Session = change.Session
		}
		if now.Session == "" {
			now.Session = wire.ChoiceJoin
		}
		if change.Gets != nil {
			now.Gets = slices.Compact(slices.Sorted(slices.Values(change.Gets)))
		}
		return now, old.Session != now.Session || !slices.Equal(old.Gets, now.Gets), nil
	})
	if err == nil && now.Session == wire.ChoiceJoin && len(now.Gets) == 0 {
		return s.Unchoose(ctx, tenant, id) // what holds without one
	}
	if err != nil {
		return fmt.Errorf("coupling: keep a choice: %w", err)
	}
	return s.tell(ctx, now)
}

// Unchoose forgets what was chosen for a device.
func (s *Service) Unchoose(ctx context.Context, tenant wire.TenantID, id wire.DeviceID) error {
	if err := store.Remove(ctx, s.choices, store.Key(string(tenant), string(id))); err != nil {
		return fmt.Errorf("coupling: forget a choice: %w", err)
	}
	return s.tell(ctx, Choice{Session: wire.ChoiceJoin, Tenant: tenant, Device: id})
}

// choiceSubject is on which nodes tell each other of choices, as they are stored.
const choiceSubject = "coupling.choice"

// tell lets a choice hold here, and on the other nodes. What one of them does not hear it finds
// within a minute.
func (s *Service) tell(ctx context.Context, c Choice) error {
	s.note(c)
	data, err := json.Marshal(c)
	if err == nil {
		err = s.cfg.Engine.Publish(ctx, choiceSubject, data)
	}
	if err != nil {
		return fmt.Errorf("coupling: tell of a choice: %w", err)
	}
	return nil
}

// onChoice hears of a choice that was made at some node.
func (s *Service) onChoice(_ string, data []byte) {
	var c Choice
	if err := json.Unmarshal(data, &c); err != nil {
		s.cfg.Log.Error("a node tells of a choice that cannot be read", "err", err)
		return
	}
	s.note(c)
}

// HasChoices reports whether a device of the tenant may do anything but join.
func (s *Service) HasChoices(tenant wire.TenantID) bool {
	_, yes := s.chosen.Load(tenant)
	return yes
}

// ToldOnly walks the choices of devices that are told of sessions only.
func (s *Service) ToldOnly(ctx context.Context) iter.Seq2[Choice, error] {
	return func(yield func(Choice, error) bool) {
		some := false
		s.chosen.Range(func(any, any) bool { some = true; return false })
		if !some {
			return
		}
		for item, err := range s.choices.Scan(ctx, "") {
			if c := item.Value; err != nil {
				yield(c, fmt.Errorf("coupling: read choices: %w", err))
				return
			} else if c.Session == wire.ChoiceTold && !yield(c, nil) {
				return
			}
		}
	}
}

// gets are the choices of kinds of data, by tenant and device. They are asked for with every
// message, so they are held in memory.
type gets map[wire.TenantID]map[wire.DeviceID][]wire.DataKind

// note lets a choice hold at this node.
func (s *Service) note(c Choice) {
	if c.Session != wire.ChoiceJoin {
		s.chosen.Store(c.Tenant, true)
	}
	s.getsMu.Lock()
	defer s.getsMu.Unlock()
	s.gets.put(c)
	s.getsMade++
}

func (g gets) put(c Choice) {
	of := g[c.Tenant]
	switch {
	case len(c.Gets) == 0:
		if delete(of, c.Device); len(of) == 0 {
			delete(g, c.Tenant)
		}
	case of == nil:
		g[c.Tenant] = map[wire.DeviceID][]wire.DataKind{c.Device: c.Gets}
	default:
		of[c.Device] = c.Gets
	}
}

// ChoosesKinds reports whether a device of the tenant may get less than everything.
func (s *Service) ChoosesKinds(tenant wire.TenantID) bool {
	s.getsMu.RLock()
	defer s.getsMu.RUnlock()
	return len(s.gets[tenant]) > 0
}

// Gets reports whether a device gets a kind of data, of what is sent to all.
func (s *Service) Gets(tenant wire.TenantID, id wire.DeviceID, kind wire.DataKind) bool {
	s.getsMu.RLock()
	defer s.getsMu.RUnlock()
	chosen, some := s.gets[tenant][id]
	return !some || slices.Contains(chosen, kind)
}

// lookAtChoices finds the tenants that have any, and the kinds of data that were chosen.
func (s *Service) lookAtChoices(ctx context.Context) error {
	s.getsMu.RLock()
	made := s.getsMade
	s.getsMu.RUnlock()
	all := gets{}
	for item, err := range s.choices.Scan(ctx, "") {
		if err != nil {
			return fmt.Errorf("coupling: read choices: %w", err)
		}
		if item.Value.Session != wire.ChoiceJoin {
			s.chosen.Store(item.Value.Tenant, true)
		}
		if len(item.Value.Gets) > 0 {
			all.put(item.Value)
		}
	}
	s.getsMu.Lock()
	defer s.getsMu.Unlock()
	if s.getsMade == made || s.gets == nil { // or else what was read may be old; the next look is soon
		s.gets = all
	}
	return nil
}

// Chosen returns the choice for a device.
func (s *Service) Chosen(ctx context.Context, tenant wire.TenantID, id wire.DeviceID) (Choice, error) {
	c, _, err := s.choices.Get(ctx, store.Key(string(tenant), string(id)))
	if errors.Is(err, store.ErrNotFound) {
		return Choice{Session: wire.ChoiceJoin, Tenant: tenant, Device: id}, nil
	} else if err != nil {
		return Choice{}, fmt.Errorf("coupling: read a choice: %w", err)
	}
	return c, nil
}

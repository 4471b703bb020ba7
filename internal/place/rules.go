package place

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Rules of a party: table "place-rules", key store.Key(tenant, party), by principal identities.
type Rules struct {
	Rules []wire.PlaceRule `json:"rules"`
}

// Refusal is who is never asked again by whom: table "place-refusals", key
// store.Key(tenant, party, other), by principal identities.
type Refusal struct {
	Other tel.Identity `json:"other"`
	At    time.Time    `json:"at"`
}

// Rules returns what a party has settled (F3).
func (s *Service) Rules(ctx context.Context, tenant wire.TenantID, p tel.Identity) (wire.PlaceRules, error) {
	out := wire.PlaceRules{Rules: []wire.PlaceRule{}}
	r, _, err := s.rules.Get(ctx, store.Key(string(tenant), p.String()))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return out, fmt.Errorf("place: rules: %w", err)
	}
	out.Rules = append(out.Rules, r.Rules...)
	out.Never, err = s.Refused(ctx, tenant, p)
	return out, err
}

// SetRules settles anew for a party: all of its rules, and whom it never wants to be asked by. What
// the old ones consented to in a running call ends with [Service.Stop]. ErrRequest.
func (s *Service) SetRules(ctx context.Context, tenant wire.TenantID, p tel.Identity, q wire.PlaceRules) error {
	if len(q.Rules) > wire.MaxPlaceRules || len(q.Never) > wire.MaxPlaceNever {
		return fmt.Errorf("%w: at most %d rules, and %d who never ask", ErrRequest, wire.MaxPlaceRules, wire.MaxPlaceNever)
	}
	for i, r := range q.Rules {
		if err := validRule(r); err != nil {
			return fmt.Errorf("%w: rule %d: %s", ErrRequest, i+1, err)
		}
	}
	never := map[tel.Identity]bool{}
	for _, id := range q.Never {
		other, err := s.principal(ctx, tenant, id)
		if err != nil {
			return err
		}
		if other != p {
			never[other] = true
		}
	}
	was, err := s.Refused(ctx, tenant, p)
	if err != nil {
		return err
	}
	for _, other := range was {
		if !never[other] {
			err = errors.Join(err, store.Remove(ctx, s.refusals, store.Key(string(tenant), p.String(), other.String())))
		}
	}
	for other := range never {
		err = errors.Join(err, s.refuse(ctx, tenant, p, other))
	}
	if err == nil {
		_, err = store.Change(ctx, s.rules, store.Key(string(tenant), p.String()), func(Rules, bool) (Rules, bool, error) { return Rules{q.Rules}, true, nil })
	}
	if err != nil {
		return fmt.Errorf("place: rules: %w", err)
	}
	return nil
}

func validRule(r wire.PlaceRule) error {
	groups := []wire.PlaceGroup{wire.GroupEmergency, wire.GroupProviders, wire.GroupContacts}
	switch {
	case (r.Group == "") == r.Identity.IsZero():
		return errors.New("it has a group or an identity")
	case r.Group != "" && !slices.Contains(groups, r.Group):
		return errors.New("groups are emergency, providers and contacts")
	case r.Consent == wire.ConsentCall && r.Minutes == 0:
	case r.Consent == wire.ConsentLive && r.Minutes >= 1 && r.Minutes <= wire.MaxPlaceMinutes:
	default:
		return fmt.Errorf("consent is call, or live for 1 to %d minutes", wire.MaxPlaceMinutes)
	}
	return nil
}

// rule returns the first of a member's that fits another; none for who withholds its number, and
// none of guests or for them.
func (s *Service) rule(ctx context.Context, tenant wire.TenantID, of, other Member) (wire.PlaceRule, bool, error) {
	if s.cfg.Parties == nil || of.Shown.IsZero() || other.Shown.IsZero() || of.Principal == other.Principal || of.Guest || other.Guest {
		return wire.PlaceRule{}, false, nil
	}
	rules, _, err := s.rules.Get(ctx, store.Key(string(tenant), of.Principal.String()))
	if errors.Is(err, store.ErrNotFound) {
		return wire.PlaceRule{}, false, nil
	}
	for _, r := range rules.Rules {
		if err != nil {
			break
		}
		fits := false
		if r.Group != "" {
			fits, err = s.cfg.Parties.In(ctx, tenant, of.Principal, other.Principal, r.Group)
		} else {
			var id tel.Identity
			id, err = s.principal(ctx, tenant, r.Identity)
			fits = id == other.Principal
		}
		if err == nil && fits {
			return r, true, nil
		}
	}
	if err != nil {
		return wire.PlaceRule{}, false, fmt.Errorf("place: rules: %w", err)
	}
	return wire.PlaceRule{}, false, nil
}

func (s *Service) principal(ctx context.Context, tenant wire.TenantID, id tel.Identity) (tel.Identity, error) {
	if s.cfg.Parties == nil {
		return id, nil
	}
	return s.cfg.Parties.Principal(ctx, tenant, id)
}

// RulesHere says which of a device's party's rules hold for the other members of a session, so that
// the device shares by itself where a rule says so (F3). ErrClosed.
func (s *Service) RulesHere(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID) (wire.PlaceRulesHere, error) {
	out := wire.PlaceRulesHere{Rules: []wire.PlaceRuleFor{}}
	x, err := s.cfg.Sessions.Session(ctx, tenant, id)
	if err != nil {
		return out, err
	}
	me, err := x.of(d)
	if err != nil {
		return out, err
	}
	for _, m := range x.Members {
		if m.Side == me.Side {
			continue
		}
		r, ok, err := s.rule(ctx, tenant, me, m)
		if err != nil {
			return out, err
		}
		if ok {
			out.Rules = append(out.Rules, wire.PlaceRuleFor{Member: m.ID, Rule: r})
		}
	}
	return out, nil
}

func (s *Service) refuse(ctx context.Context, tenant wire.TenantID, by, other tel.Identity) error {
	k := store.Key(string(tenant), by.String(), other.String())
	_, err := store.Change(ctx, s.refusals, k, func(Refusal, bool) (Refusal, bool, error) { return Refusal{other, s.cfg.Now()}, true, nil })
	return err
}

func (s *Service) refused(ctx context.Context, tenant wire.TenantID, by, other tel.Identity) (bool, error) {
	_, _, err := s.refusals.Get(ctx, store.Key(string(tenant), by.String(), other.String()))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Refused lists who a party never wants to be asked by.
func (s *Service) Refused(ctx context.Context, tenant wire.TenantID, p tel.Identity) ([]tel.Identity, error) {
	list := []tel.Identity{}
	for item, err := range s.refusals.Scan(ctx, store.Key(string(tenant), p.String())+"/") {
		if err != nil {
			return nil, fmt.Errorf("place: refusals: %w", err)
		}
		list = append(list, item.Value.Other)
	}
	return list, nil
}

// Erase removes what is kept of a party: where the network says that it is, its rules and whom it never wants to be asked by; and
// others' rules for it: who has the number next is somebody else. That others never want to be
// asked by it stays ([Service.EraseRefusals]). What is kept of sessions goes with [Service.Drop].
func (s *Service) Erase(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) error {
	for _, id := range ids {
		err := store.Remove(ctx, s.rules, store.Key(string(tenant), id.String()))
		if err = errors.Join(err, s.forget(ctx, tenant, id, func(store.Item[Known]) bool { return true })); err != nil {
			return fmt.Errorf("place: erase: %w", err)
		}
	}
	for item, err := range s.rules.Scan(ctx, store.Key(string(tenant))+"/") {
		if err == nil && slices.ContainsFunc(item.Value.Rules, func(r wire.PlaceRule) bool { return slices.Contains(ids, r.Identity) }) {
			_, err = store.Change(ctx, s.rules, item.Key, func(r Rules, exists bool) (Rules, bool, error) {
				r.Rules = slices.DeleteFunc(slices.Clone(r.Rules), func(r wire.PlaceRule) bool { return slices.Contains(ids, r.Identity) })
				return r, exists, nil
			})
		}
		if err != nil {
			return fmt.Errorf("place: erase: %w", err)
		}
	}
	for item, err := range s.refusals.Scan(ctx, store.Key(string(tenant))+"/") {
		mine := slices.ContainsFunc(ids, func(id tel.Identity) bool {
			return item.Key == store.Key(string(tenant), id.String(), item.Value.Other.String())
		})
		if err == nil && mine {
			err = store.Remove(ctx, s.refusals, item.Key)
		}
		if err != nil {
			return fmt.Errorf("place: erase: %w", err)
		}
	}
	return nil
}

// EraseRefusals removes that others never want to be asked by these identities. It may be repeated.
func (s *Service) EraseRefusals(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) error {
	for item, err := range s.refusals.Scan(ctx, store.Key(string(tenant))+"/") {
		if err == nil && slices.Contains(ids, item.Value.Other) {
			err = store.Remove(ctx, s.refusals, item.Key)
		}
		if err != nil {
			return fmt.Errorf("place: erase: %w", err)
		}
	}
	return nil
}

// Package guest lets parties without a client in by a link that is sent to their number
// (SPEC D4), and keeps what they, and others, want of invitations.
//
// The link bears the identifier of the push by which it was sent, which internal/notify keeps;
// here stands which device has used it ([Service.Use]: one can), how many messages a
// number got ([Service.Allow]), which numbers want none ([Service.OptOut]), and in which
// order a party prefers to be reached ([Service.Ways]).
package guest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Errors of a Service.
var (
	// ErrUsed: another device has opened the link.
	ErrUsed = errors.New("guest: the link was used by another device")
	// ErrRequest: a field cannot be used as it is.
	ErrRequest = errors.New("guest: unusable request")
)

// Config of a Service. Engine is needed.
type Config struct {
	Engine store.Engine
	// Messages in 24 hours at most: to one number, to one number on behalf of one claimant, and
	// on behalf of one claimant. Zero: 5, 2, 20.
	PerNumber, PerPair, PerClaimant int
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Service keeps links, quotas and wishes. Make it with [New].
type Service struct {
	c       Config
	links   store.Table[Link]
	quotas  store.Table[usage]
	optOuts store.Table[OptOut]
	reach   store.Table[Reach]
}

// Link is one that was used: table "guest_links", key store.Key(id).
type Link struct {
	Tenant wire.TenantID `json:"tenant"`
	Device wire.DeviceID `json:"device"`
	// Claimant is the party that the guest speaks to; never shown.
	Claimant tel.Identity `json:"claimant"`
	Used     time.Time    `json:"used"`
}

// usage counts messages: table "text_quotas", key store.Key(tenant, "to" or "by", number or
// identity).
type usage struct {
	Sent []sent `json:"sent"`
}

type sent struct {
	Ref   string       `json:"ref"`
	Other tel.Identity `json:"other,omitzero"`
	At    time.Time    `json:"at"`
}

// OptOut is a number that wants no messages: table "text_optouts", key store.Key(number). All
// tenants share the gateway, and so the wish.
type OptOut struct {
	At time.Time `json:"at"`
}

// Reach is how a party prefers to be reached: table "reach", key store.Key(tenant, principal).
type Reach struct {
	Ways []wire.Way `json:"ways"`
}

// day is the window of the quotas; kept is how long a used link is remembered.
const (
	day  = 24 * time.Hour
	kept = 24 * time.Hour
)

// New checks the configuration.
func New(c Config) (*Service, error) {
	if c.Engine == nil || c.PerNumber < 0 || c.PerPair < 0 || c.PerClaimant < 0 {
		return nil, errors.New("guest: config needs Engine, and no negative limits")
	}
	c.PerNumber, c.PerPair, c.PerClaimant = cmp.Or(c.PerNumber, 5), cmp.Or(c.PerPair, 2), cmp.Or(c.PerClaimant, 20)
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Service{
		c: c, links: store.TableOf[Link](c.Engine, "guest_links"), quotas: store.TableOf[usage](c.Engine, "text_quotas"),
		optOuts: store.TableOf[OptOut](c.Engine, "text_optouts"), reach: store.TableOf[Reach](c.Engine, "reach"),
	}, nil
}

func (s *Service) now() time.Time { return s.c.Now().UTC().Round(0) }

// Use notes that a device opened a link; the same device may repeat it. ErrUsed.
func (s *Service) Use(ctx context.Context, id wire.PushID, l Link) error {
	l.Used = s.now()
	_, err := store.Change(ctx, s.links, store.Key(string(id)), func(old Link, exists bool) (Link, bool, error) {
		if exists && old.Device != l.Device {
			return old, false, ErrUsed
		}
		return l, !exists, nil
	})
	if err != nil && !errors.Is(err, ErrUsed) {
		return fmt.Errorf("guest: use a link: %w", err)
	}
	return err
}

// Link returns a link that was used; false for one that was not.
func (s *Service) Link(ctx context.Context, id wire.PushID) (Link, bool, error) {
	l, _, err := s.links.Get(ctx, store.Key(string(id)))
	if errors.Is(err, store.ErrNotFound) {
		return l, false, nil
	}
	return l, err == nil, err
}

// Allow reports whether one more message may go to the number on behalf of the claimant, and
// counts it. With the same ref it counts once.
func (s *Service) Allow(ctx context.Context, tenant wire.TenantID, to tel.Number, by tel.Identity, ref string) (bool, error) {
	ok, err := s.take(ctx, store.Key(string(tenant), "to", to.String()), sent{Ref: ref, Other: by}, func(all []sent) bool {
		pair := 0
		for _, x := range all {
			if x.Other == by {
				pair++
			}
		}
		return len(all) < s.c.PerNumber && pair < s.c.PerPair
	})
	if err != nil || !ok {
		return false, err
	}
	return s.take(ctx, store.Key(string(tenant), "by", by.String()), sent{Ref: ref}, func(all []sent) bool { return len(all) < s.c.PerClaimant })
}

func (s *Service) take(ctx context.Context, key string, one sent, fits func([]sent) bool) (ok bool, err error) {
	one.At = s.now()
	_, err = store.Change(ctx, s.quotas, key, func(u usage, _ bool) (usage, bool, error) {
		u.Sent = slices.DeleteFunc(slices.Clone(u.Sent), func(x sent) bool { return one.At.Sub(x.At) >= day })
		if slices.ContainsFunc(u.Sent, func(x sent) bool { return x.Ref == one.Ref }) {
			ok = true
			return u, false, nil
		}
		if ok = fits(u.Sent); !ok {
			return u, false, nil
		}
		u.Sent = append(u.Sent, one)
		return u, true, nil
	})
	if err != nil {
		return false, fmt.Errorf("guest: count a message: %w", err)
	}
	return ok, nil
}

// OptOut notes whether a number wants no more messages, of any tenant. It may repeat.
func (s *Service) OptOut(ctx context.Context, n tel.Number, out bool) error {
	key := store.Key(n.String())
	var err error
	if out {
		_, err = store.Change(ctx, s.optOuts, key, func(o OptOut, exists bool) (OptOut, bool, error) { return OptOut{s.now()}, !exists, nil })
	} else {
		err = store.Remove(ctx, s.optOuts, key)
	}
	if err != nil {
		return fmt.Errorf("guest: opt out: %w", err)
	}
	return nil
}

// OptedOut reports whether a number wants no messages.
func (s *Service) OptedOut(ctx context.Context, n tel.Number) (bool, error) {
	_, _, err := s.optOuts.Get(ctx, store.Key(n.String()))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Ways returns how a party prefers to be reached, in its order; nil if it never said.
func (s *Service) Ways(ctx context.Context, tenant wire.TenantID, principal tel.Identity) ([]wire.Way, error) {
	r, _, err := s.reach.Get(ctx, store.Key(string(tenant), principal.String()))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return r.Ways, err
}

// SetWays sets it; none: it is not reached unless connected. ErrRequest.
func (s *Service) SetWays(ctx context.Context, tenant wire.TenantID, principal tel.Identity, ways []wire.Way) error {
	seen := map[wire.Way]bool{}
	for _, w := range ways {
		if w != wire.WayPush && w != wire.WayText || seen[w] {
			return fmt.Errorf("%w: ways are push and text, each once", ErrRequest)
		}
		seen[w] = true
	}
	_, err := store.Change(ctx, s.reach, store.Key(string(tenant), principal.String()), func(Reach, bool) (Reach, bool, error) {
		return Reach{ways}, true, nil
	})
	if err != nil {
		return fmt.Errorf("guest: set ways: %w", err)
	}
	return nil
}

// Sweep removes counts and links that are of no use any more, and returns how many.
func (s *Service) Sweep(ctx context.Context) (n int, err error) {
	now := s.now()
	a, err := sweep(ctx, s.links, func(_ string, l Link) bool { return now.Sub(l.Used) >= kept })
	if err != nil {
		return a, err
	}
	b, err := sweep(ctx, s.quotas, func(_ string, u usage) bool {
		return !slices.ContainsFunc(u.Sent, func(x sent) bool { return now.Sub(x.At) < day })
	})
	return a + b, err
}

// Forget removes what names one of a party's identities, but for its wish to get no messages,
// which stays until it is taken back. It belongs to the erasure of a party.
func (s *Service) Forget(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) error {
	for _, id := range ids {
		keys := []string{store.Key(string(tenant), "by", id.String())}
		if n, ok := id.Number(); ok {
			keys = append(keys, store.Key(string(tenant), "to", n.String()))
		}
		for _, k := range keys {
			if err := store.Remove(ctx, s.quotas, k); err != nil {
				return fmt.Errorf("guest: forget: %w", err)
			}
		}
		if err := store.Remove(ctx, s.reach, store.Key(string(tenant), id.String())); err != nil {
			return fmt.Errorf("guest: forget: %w", err)
		}
	}
	if _, err := sweep(ctx, s.links, func(_ string, l Link) bool { return l.Tenant == tenant && slices.Contains(ids, l.Claimant) }); err != nil {
		return err
	}
	_, err := sweep(ctx, s.quotas, func(_ string, u usage) bool {
		return slices.ContainsFunc(u.Sent, func(x sent) bool { return slices.Contains(ids, x.Other) })
	})
	return err
}

func sweep[T any](ctx context.Context, t store.Table[T], over func(key string, v T) bool) (n int, err error) {
	var old []string
	for item, err := range t.Scan(ctx, "") {
		if err != nil {
			return 0, fmt.Errorf("guest: sweep: %w", err)
		}
		if over(item.Key, item.Value) {
			old = append(old, item.Key)
		}
	}
	for _, k := range old {
		if err := store.Remove(ctx, t, k); err != nil {
			return n, fmt.Errorf("guest: sweep: %w", err)
		}
		n++
	}
	return n, nil
}

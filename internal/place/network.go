package place

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/pidflo"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Known is where the network says that a party is, in one of its calls: table "place-network", key
// store.Key(tenant, party, call), by its principal identity. It goes to nobody until a device of the
// party shares it.
type Known struct {
	Place wire.Place `json:"place"`
	Call  Call       `json:"call,omitzero"`
	// At is when it was reported, Until when it is forgotten.
	At    time.Time `json:"at"`
	Until time.Time `json:"until"`
}

// Call tells a party's calls from each other, as its network reports them.
type Call struct {
	Ref tel.Ref `json:"ref,omitzero"`
	// With is the other party's principal identity; zero where it is not known, or in a conference.
	With       tel.Identity `json:"with,omitzero"`
	Conference string       `json:"conference,omitempty"`
}

// is reports whether both are the same call: by a reference that both have, else by who is in it.
func (c Call) is(d Call) bool {
	if !c.Ref.IsZero() && !d.Ref.IsZero() {
		same := func(a, b string) bool { return a != "" && a == b }
		return same(c.Ref.SessionID, d.Ref.SessionID) || same(c.Ref.CallID, d.Ref.CallID) || same(c.Ref.Local, d.Ref.Local)
	}
	return c.With == d.With && c.Conference == d.Conference
}

// key of the call among those of a party.
func (c Call) key() string {
	return cmp.Or(c.Ref.SessionID, c.Ref.CallID, c.Ref.Local, c.With.String()+" "+c.Conference)
}

// Reported is a place out of a network's report: as GeoJSON, or as PIDF-LO whose rules let it be
// passed on (RFC 4119 2.2.2). The time is when it must be forgotten; zero: nothing is said. ErrRequest.
func Reported(p *wire.Place, doc string) (wire.Place, time.Time, error) {
	var usage pidflo.Usage
	where, err := Read(wire.PlaceShare{Place: p, PIDFLO: doc})
	if err == nil && doc != "" {
		_, usage, err = pidflo.ParseWithUsage([]byte(doc))
		if err == nil && !usage.Retransmit {
			err = fmt.Errorf("%w: this PIDF-LO may not be passed on, not even to the party's own device; its usage-rules need retransmission-allowed yes", ErrRequest)
		}
	}
	return where, usage.Until, err
}

// Know takes the network's word of where a party is in a call. It is kept for an hour, and no longer than
// until, if that is not zero. The same place said again is as old as it was.
func (s *Service) Know(ctx context.Context, tenant wire.TenantID, party tel.Identity, c Call, where wire.Place, until time.Time) error {
	now := s.cfg.Now()
	k := Known{Place: where, Call: c, At: now, Until: now.Add(wire.PlaceNetworkMinutes * time.Minute)}
	if !until.IsZero() && until.Before(k.Until) {
		k.Until = until
	}
	if !now.Before(k.Until) {
		return s.Forget(ctx, tenant, party, c)
	}
	key := store.Key(string(tenant), party.String(), c.key())
	again := func(old Known) {
		if samePlace(old.Place, where) && old.At.Before(k.At) && now.Before(old.Until) {
			k.At = old.At
		}
	}
	err := s.forget(ctx, tenant, party, func(old store.Item[Known]) bool {
		same := old.Key != key && old.Value.Call.is(c)
		if same {
			again(old.Value)
		}
		return same
	})
	if err != nil {
		return err
	}
	_, err = store.Change(ctx, s.known, key, func(old Known, exists bool) (Known, bool, error) {
		if exists {
			again(old)
		}
		return k, true, nil
	})
	if err != nil {
		return fmt.Errorf("place: known by the network: %w", err)
	}
	return nil
}

// samePlace: equal in all that is said of it.
func samePlace(a, b wire.Place) bool {
	if !a.Properties.Time.Equal(b.Properties.Time) {
		return false
	}
	a.Properties.Time = b.Properties.Time
	return reflect.DeepEqual(a, b)
}

// Forget removes what the network has said of where a party is in a call: that is over. It may be repeated.
func (s *Service) Forget(ctx context.Context, tenant wire.TenantID, party tel.Identity, c Call) error {
	return s.forget(ctx, tenant, party, func(old store.Item[Known]) bool { return old.Value.Call.is(c) })
}

func (s *Service) forget(ctx context.Context, tenant wire.TenantID, party tel.Identity, which func(store.Item[Known]) bool) error {
	for item, err := range s.known.Scan(ctx, store.Key(string(tenant), party.String())+"/") {
		if err == nil && which(item) {
			err = store.Remove(ctx, s.known, item.Key)
		}
		if err != nil {
			return fmt.Errorf("place: forget: %w", err)
		}
	}
	return nil
}

// Known returns where the network says that a party is, in each of its calls.
func (s *Service) Known(ctx context.Context, tenant wire.TenantID, party tel.Identity) ([]wire.NetworkPlace, error) {
	all := []wire.NetworkPlace{}
	list, err := s.knownOf(ctx, tenant, party)
	for _, k := range list {
		all = append(all, k.told())
	}
	return all, err
}

func (s *Service) knownOf(ctx context.Context, tenant wire.TenantID, party tel.Identity) (all []Known, err error) {
	for item, err := range s.known.Scan(ctx, store.Key(string(tenant), party.String())+"/") {
		if err != nil {
			return nil, fmt.Errorf("place: known by the network: %w", err)
		}
		if s.cfg.Now().Before(item.Value.Until) {
			all = append(all, item.Value)
		}
	}
	return all, nil
}

func (k Known) told() wire.NetworkPlace {
	return wire.NetworkPlace{Place: k.Place, URI: URI(k.Place), Words: Words(k.Place), At: k.At, Until: k.Until}
}

// KnownHere is where the network says that the party of a device is, in the call beside a session, while that is
// up: the newest of what was said of a call with one of its other parties; where nothing was, of a call whose
// other party the network does not name. ErrClosed, ErrNotFound.
func (s *Service) KnownHere(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID) (wire.NetworkPlace, error) {
	x, err := s.cfg.Sessions.Session(ctx, tenant, id)
	if err != nil {
		return wire.NetworkPlace{}, err
	}
	me, err := x.of(d)
	if err == nil && (!x.InCall || me.Guest) {
		err = ErrNotFound
	}
	if err != nil {
		return wire.NetworkPlace{}, err
	}
	list, err := s.knownOf(ctx, tenant, me.Principal)
	if err != nil {
		return wire.NetworkPlace{}, err
	}
	var best Known
	for _, k := range list {
		named := !k.Call.With.IsZero()
		if named && !slices.Contains(x.Parties, k.Call.With) {
			continue
		}
		if was := !best.Call.With.IsZero(); best.At.IsZero() || named && !was || named == was && k.At.After(best.At) {
			best = k
		}
	}
	if best.At.IsZero() {
		return wire.NetworkPlace{}, ErrNotFound
	}
	return best.told(), nil
}

// shared is the place that a device shares: what it says itself, or what the network does. ErrRequest.
func (s *Service) shared(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID, q wire.PlaceShare) (wire.Place, error) {
	if !q.Network {
		return Read(q)
	}
	if q.Place != nil || q.URI != "" || q.PIDFLO != "" {
		return wire.Place{}, fmt.Errorf("%w: give place, uri or pidf_lo, or network", ErrRequest)
	}
	k, err := s.KnownHere(ctx, tenant, id, d)
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("%w: the network has not said where you are", ErrRequest)
	}
	return k.Place, err
}

// sweepKnown forgets what the network said too long ago.
func (s *Service) sweepKnown(ctx context.Context) error {
	var all error
	for item, err := range s.known.Scan(ctx, "") {
		if err == nil && !s.cfg.Now().Before(item.Value.Until) {
			if err = s.known.Delete(ctx, item.Key, item.Rev); errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
				err = nil // it was reported anew, or the call is over
			}
		}
		all = errors.Join(all, err)
	}
	return all
}

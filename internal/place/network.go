package place

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tandem-call/tandem/internal/pidflo"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Known is where the network says that a party is: table "place-network", key store.Key(tenant,
// party), by its principal identity. It goes to nobody until a device of the party shares it.
type Known struct {
	Place wire.Place `json:"place"`
	// At is when it was reported, Until when it is forgotten.
	At    time.Time `json:"at"`
	Until time.Time `json:"until"`
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

// Know takes the network's word of where a party is. It is kept for an hour, and no longer than
// until, if that is not zero.
func (s *Service) Know(ctx context.Context, tenant wire.TenantID, party tel.Identity, where wire.Place, until time.Time) error {
	now := s.cfg.Now()
	k := Known{Place: where, At: now, Until: now.Add(wire.PlaceNetworkMinutes * time.Minute)}
	if !until.IsZero() && until.Before(k.Until) {
		k.Until = until
	}
	if !now.Before(k.Until) {
		return s.Forget(ctx, tenant, party)
	}
	_, err := store.Change(ctx, s.known, store.Key(string(tenant), party.String()), func(Known, bool) (Known, bool, error) { return k, true, nil })
	if err != nil {
		return fmt.Errorf("place: known by the network: %w", err)
	}
	return nil
}

// Forget removes what the network has said of where a party is: its call is over. It may be repeated.
func (s *Service) Forget(ctx context.Context, tenant wire.TenantID, party tel.Identity) error {
	if err := store.Remove(ctx, s.known, store.Key(string(tenant), party.String())); err != nil {
		return fmt.Errorf("place: forget: %w", err)
	}
	return nil
}

// Known returns where the network says that a party is. ErrNotFound.
func (s *Service) Known(ctx context.Context, tenant wire.TenantID, party tel.Identity) (wire.NetworkPlace, error) {
	k, _, err := s.known.Get(ctx, store.Key(string(tenant), party.String()))
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && !s.cfg.Now().Before(k.Until):
		return wire.NetworkPlace{}, ErrNotFound
	case err != nil:
		return wire.NetworkPlace{}, fmt.Errorf("place: known by the network: %w", err)
	}
	return wire.NetworkPlace{Place: k.Place, URI: URI(k.Place), Words: Words(k.Place), At: k.At, Until: k.Until}, nil
}

// KnownHere is Known for the party of a device in a session whose call is up. ErrClosed, ErrNotFound.
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
	return s.Known(ctx, tenant, me.Principal)
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

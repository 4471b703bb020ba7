package profile

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// ErrFetch: an address gave nothing.
var ErrFetch = errors.New("profile: the address gave nothing")

// Fetch gets what is at an address that a user named, if it is of one of the types and not larger
// than limit. Its errors are for the log: they may tell of the operator's network.
type Fetch func(ctx context.Context, address string, types []string, limit int64) (mediaType string, body []byte, err error)

// SourceEvery is how long the server takes what it read at an address for new.
const SourceEvery = time.Hour

// setSource sets the address at which the server is to read the profile. ErrRequest.
func (p *Profile) setSource(address string) error {
	if address == "" {
		p.Source, p.Sourced = nil, nil
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" || len(address) > wire.MaxProfileSource {
		return fmt.Errorf("%w: source is an address with https:// or http://, without user or password, of at most %d bytes", ErrRequest, wire.MaxProfileSource)
	}
	if p.Source == nil || p.Source.URL != address {
		p.Source = &wire.ProfileSource{URL: address}
	}
	return nil
}

// take makes the fields of what was read the profile's: those with the same ids are replaced, and
// those that came from there before and are gone are removed. ErrRequest.
func (p Profile) take(card Card, now time.Time) (Profile, error) {
	c := wire.ProfileChange{}
	var ids []string
	for _, f := range card.Fields {
		if f.Name != "photo" {
			c.Set, ids = append(c.Set, f), append(ids, f.ID)
		}
	}
	for _, id := range p.Sourced {
		if !slices.Contains(ids, id) {
			c.Remove = append(c.Remove, id)
		}
	}
	next, _, err := p.Change(c, now)
	if err != nil {
		return p, err
	}
	if slices.EqualFunc(p.Fields, next.Fields, same) {
		next = p // nothing new: whoever has it in this version has it
	}
	next.Sourced = ids
	next.Source = &wire.ProfileSource{URL: p.Source.URL, Read: now}
	return next, nil
}

// SetSource sets the address at which the server reads the profile, when it next needs it. ErrRequest.
func (s *Service) SetSource(ctx context.Context, tenant wire.TenantID, p tel.Identity, address string) error {
	x, err := s.load(ctx, tenant, p)
	if err != nil || x.Source != nil && x.Source.URL == address { // reports are repeated
		return err
	}
	_, err = s.change(ctx, tenant, p, func(x Profile) (Profile, error) {
		next, _, err := x.Change(wire.ProfileChange{Source: &address}, s.cfg.Now())
		return next, err
	})
	return err
}

// ReadSource reads the profile at its address now. ErrRequest, ErrFetch.
func (s *Service) ReadSource(ctx context.Context, tenant wire.TenantID, p tel.Identity, d wire.DeviceID) (wire.Profile, error) {
	x, err := s.load(ctx, tenant, p)
	if err == nil {
		err = s.refresh(ctx, x)
	}
	if err == nil {
		err = s.renew(ctx, tenant, d)
	}
	if err != nil {
		return wire.Profile{}, err
	}
	return s.Own(ctx, tenant, p)
}

// refresh reads a profile at its address, and notes when, and what came of it.
func (s *Service) refresh(ctx context.Context, x Profile) error {
	if x.Source == nil {
		return fmt.Errorf("%w: the profile has no source that could be read", ErrRequest)
	}
	card, failed := s.at(ctx, x.Source.URL)
	_, err := s.change(ctx, x.Tenant, x.Principal, func(now Profile) (Profile, error) {
		if now.Source == nil || now.Source.URL != x.Source.URL {
			return now, fmt.Errorf("%w: the source was changed meanwhile", ErrRequest)
		}
		if failed == nil {
			next, err := now.take(card, s.cfg.Now())
			if err == nil {
				return next, nil
			}
			failed = err
		}
		now.Source = &wire.ProfileSource{URL: x.Source.URL, Read: s.cfg.Now(), Error: failed.Error()}
		return now, nil
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	for id, b := range card.Pictures {
		err := s.storePicture(ctx, x.Tenant, x.Principal, id, b)
		if errors.Is(err, ErrType) || errors.Is(err, ErrRequest) || errors.Is(err, ErrTooLarge) {
			s.cfg.Log.Info("the picture of a profile at an address was not taken", "err", err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// at reads what is at an address, with the picture that it names. ErrFetch, ErrRequest, ErrTooLarge.
func (s *Service) at(ctx context.Context, address string) (Card, error) {
	if s.cfg.Fetch == nil {
		return Card{}, fmt.Errorf("%w: this server reads no addresses", ErrFetch)
	}
	u, err := url.Parse(address)
	if err != nil {
		return Card{}, fmt.Errorf("%w: source cannot be read as an address", ErrRequest)
	}
	kind, body, err := s.cfg.Fetch(ctx, address, AddressTypes, wire.MaxCard)
	if err != nil {
		s.cfg.Log.Info("a profile at an address was not read", "err", err)
		return Card{}, fmt.Errorf("%w: there was no answer, or none that is a vCard, jCard, page or JSON of at most %d bytes", ErrFetch, wire.MaxCard)
	}
	card, err := ParseAddressed(kind, body, u)
	if err != nil || card.Photo == "" || len(card.Pictures) > 0 {
		return card, err
	}
	_, picture, err := s.cfg.Fetch(ctx, card.Photo, []string{"image/*"}, wire.MaxProfilePicture)
	if err != nil {
		s.cfg.Log.Info("the picture of a profile at an address was not read", "err", err)
		return card, nil // the rest is good
	}
	card.Pictures = map[string][]byte{"photo": picture}
	return card, nil
}

// stale reports whether the profile lives at an address, and was not read there for a while.
func (s *Service) stale(x Profile) bool {
	return x.Source != nil && s.cfg.Fetch != nil && s.cfg.Now().Sub(x.Source.Read) >= SourceEvery
}

// freshen reads anew the profiles of a session's sides that live at addresses, and reports whether
// it read one. What was sent before holds until then: nobody waits for somebody else's server.
func (s *Service) freshen(ctx context.Context, x *Session) (read bool) {
	for _, side := range x.Sides {
		own, err := s.load(ctx, x.Tenant, side.Principal)
		if err == nil && s.stale(own) {
			err = s.refresh(ctx, own)
			read = read || err == nil
		}
		if err != nil {
			s.cfg.Log.Info("a profile at an address was not read", "err", err)
		}
	}
	return read
}

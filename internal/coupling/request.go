package coupling

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/ipnet"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// claimEvery is how often a device should ask whether it has been granted.
const claimEvery = 2 * time.Second

// MaxOffer is how long an operator's code may be valid.
const MaxOffer = 7 * 24 * time.Hour

// code is what a code leads to: an offer, or a request by its id.
type code struct {
	Offer   *Offer    `json:"offer,omitempty"`
	Request string    `json:"request,omitempty"`
	Expires time.Time `json:"expires"`
}

// Offer vouches for whichever device its code is typed at, once.
type Offer struct {
	Voucher Voucher           `json:"voucher"`
	Kind    wire.CouplingKind `json:"kind,omitempty"`
	// Taken by this request.
	Taken string `json:"taken,omitempty"`
}

// Request of a device to be coupled: table "coupling_requests", key store.Key(tenant, id).
type Request struct {
	ID      string            `json:"id"`
	Tenant  wire.TenantID     `json:"tenant"`
	Key     wire.JWK          `json:"key"`
	Name    string            `json:"name,omitempty"`
	Client  string            `json:"client,omitempty"`
	App     *wire.App         `json:"app,omitempty"`
	Kind    wire.CouplingKind `json:"kind,omitempty"`
	Expires time.Time         `json:"expires"`
	Tries   int               `json:"tries"`
	// Grant is the decision; the coupling is made from it, and again if that is repeated.
	Grant *Grant `json:"grant,omitempty"`
	// Made: the coupling was made once; should it have been ended since, it stays so.
	Made bool `json:"made,omitempty"`
}

// Grant says who vouches for the device of a request.
type Grant struct {
	Coupling string            `json:"coupling"`
	Voucher  Voucher           `json:"voucher"`
	Kind     wire.CouplingKind `json:"kind"`
}

// Offer makes a code to be typed at a device, valid for ttl; zero for as long as codes are.
// *device.TooMany where the voucher's device has asked for too many.
func (s *Service) Offer(ctx context.Context, v Voucher, kind wire.CouplingKind, ttl time.Duration) (wire.CouplingOffer, error) {
	if v.By != "" {
		if err := s.take(ctx, store.Key(string(v.Tenant), "offers", string(v.By)), s.cfg.OffersPerHour); err != nil {
			return wire.CouplingOffer{}, err
		}
	}
	if ttl <= 0 {
		ttl = s.cfg.CodeTTL
	}
	kind = orPermanent(kind)
	expires := s.cfg.Now().Add(min(ttl, MaxOffer))
	text, err := s.enter(ctx, v.Tenant, letters, offerLen, code{Offer: &Offer{Voucher: v, Kind: kind}, Expires: expires})
	if err != nil {
		return wire.CouplingOffer{}, err
	}
	return wire.CouplingOffer{Code: shown(text), Number: v.Number, Kind: kind, Expires: expires}, nil
}

func orPermanent(k wire.CouplingKind) wire.CouplingKind {
	if k == "" {
		return wire.Permanent
	}
	return k
}

// enter stores what a fresh code leads to.
func (s *Service) enter(ctx context.Context, tenant wire.TenantID, alphabet string, n int, to code) (string, error) {
	for {
		text, err := newCode(alphabet, n)
		if err != nil {
			return "", err
		}
		_, err = s.codes.Put(ctx, s.codeKey(tenant, text), to, 0)
		switch {
		case err == nil:
			return text, nil
		case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrUncertain) && ctx.Err() == nil:
			// taken, or perhaps written: another one
		default:
			return "", fmt.Errorf("coupling: keep a code: %w", err)
		}
	}
}

// Begin takes a device's request to be coupled, from an address. It answers the same for
// every device. *device.TooMany, device.ErrRequest, device.ErrKey.
func (s *Service) Begin(ctx context.Context, tenant wire.TenantID, q wire.CouplingRequest, remote netip.Addr) (wire.CouplingPending, error) {
	d := device.Request{Tenant: tenant, Key: q.Key, Name: q.Name, Client: q.Client, App: q.App}
	if err := d.CheckDevice(); err != nil {
		return wire.CouplingPending{}, err
	}
	if err := s.take(ctx, store.Key(string(tenant), "address", orNone(ipnet.Of(remote))), s.cfg.AddressPerHour); err != nil {
		return wire.CouplingPending{}, err
	}
	r := Request{
		ID: wire.NewID("crq_"), Tenant: tenant, Key: q.Key, Name: q.Name, Client: q.Client, App: q.App, Kind: q.Kind,
		Expires: s.cfg.Now().Add(s.cfg.CodeTTL),
	}
	_, err := store.Change(ctx, s.requests, store.Key(string(tenant), r.ID), func(_ Request, exists bool) (Request, bool, error) {
		return r, !exists, nil
	})
	if err != nil {
		return wire.CouplingPending{}, fmt.Errorf("coupling: keep a request: %w", err)
	}
	text, err := s.enter(ctx, tenant, digits, requestLen, code{Request: r.ID, Expires: r.Expires})
	if err != nil {
		return wire.CouplingPending{}, err
	}
	return wire.CouplingPending{ID: r.ID, Code: shown(text), Expires: r.Expires, IntervalSeconds: int(claimEvery / time.Second)}, nil
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Look returns the device that shows a code, to somebody who could vouch for it. A code that
// leads nowhere counts against the voucher. ErrWrongCode, *device.TooMany.
func (s *Service) Look(ctx context.Context, v Voucher, typed string) (wire.CouplingSeen, error) {
	r, err := s.shownBy(ctx, v, typed)
	if err != nil {
		return wire.CouplingSeen{}, err
	}
	return wire.CouplingSeen{Name: r.Name, Client: r.Client, Kind: r.Kind, Expires: r.Expires}, nil
}

// shownBy finds the open request whose code was typed on the voucher's side.
func (s *Service) shownBy(ctx context.Context, v Voucher, typed string) (Request, error) {
	wrong := store.Key(string(v.Tenant), "wrong", v.Number.String())
	if v.By != "" {
		wrong = store.Key(string(v.Tenant), "wrong", string(v.By))
	}
	if err := s.left(ctx, wrong, s.cfg.WrongPerHour); err != nil {
		return Request{}, err
	}
	r, err := s.openRequest(ctx, v.Tenant, typed)
	if errors.Is(err, ErrWrongCode) {
		if err := s.take(ctx, wrong, s.cfg.WrongPerHour); err != nil {
			return Request{}, err
		}
	}
	return r, err
}

func (s *Service) openRequest(ctx context.Context, tenant wire.TenantID, typed string) (Request, error) {
	text := plain(typed, digits, requestLen)
	if text == "" {
		return Request{}, ErrWrongCode
	}
	c, _, err := s.codes.Get(ctx, s.codeKey(tenant, text))
	if err == nil {
		var r Request
		r, _, err = s.requests.Get(ctx, store.Key(string(tenant), c.Request))
		if err == nil && s.cfg.Now().Before(r.Expires) && r.Grant == nil {
			return r, nil
		}
	}
	if err == nil || errors.Is(err, store.ErrNotFound) {
		return Request{}, ErrWrongCode
	}
	return Request{}, fmt.Errorf("coupling: find a code: %w", err)
}

// Accept vouches for the device that shows a code; it is coupled as soon as it claims that.
// ErrWrongCode, *device.TooMany.
func (s *Service) Accept(ctx context.Context, v Voucher, kind wire.CouplingKind, typed string) (wire.CouplingSeen, error) {
	r, err := s.shownBy(ctx, v, typed)
	if err != nil {
		return wire.CouplingSeen{}, err
	}
	if kind == "" {
		kind = r.Kind
	}
	r, err = s.grant(ctx, r, Grant{Coupling: wire.NewID("cpl_"), Voucher: v, Kind: orPermanent(kind)})
	if err != nil {
		return wire.CouplingSeen{}, err
	}
	return wire.CouplingSeen{Name: r.Name, Client: r.Client, Kind: r.Grant.Kind, Expires: r.Expires}, nil
}

// grant decides a request, once. ErrWrongCode if it was decided otherwise meanwhile.
func (s *Service) grant(ctx context.Context, r Request, g Grant) (Request, error) {
	r, err := store.Change(ctx, s.requests, store.Key(string(r.Tenant), r.ID), func(r Request, exists bool) (Request, bool, error) {
		switch {
		case !exists || !s.cfg.Now().Before(r.Expires):
			return r, false, ErrWrongCode
		case r.Grant != nil && r.Grant.Voucher.Number == g.Voucher.Number && r.Grant.Voucher.By == g.Voucher.By:
			return r, false, nil
		case r.Grant != nil:
			return r, false, ErrWrongCode
		}
		r.Grant = &g
		return r, true, nil
	})
	if err != nil && !errors.Is(err, ErrWrongCode) {
		err = fmt.Errorf("coupling: grant a request: %w", err)
	}
	return r, err
}

// Claim completes a request with the assertion by its key over its id: at once with the code
// that is shown at the phone, otherwise when somebody has vouched for the device. A wrong
// code costs a try, a wrong assertion does not. It may repeat, with the same outcome.
// device.ErrAssertion, ErrExpired, ErrWrongCode, ErrPending, ErrFull, device.ErrRevoked,
// device.ErrOtherParty.
func (s *Service) Claim(ctx context.Context, tenant wire.TenantID, id, typed, assertion string) (device.Device, error) {
	r, _, err := s.requests.Get(ctx, store.Key(string(tenant), id))
	if errors.Is(err, store.ErrNotFound) {
		return device.Device{}, ErrExpired
	} else if err != nil {
		return device.Device{}, fmt.Errorf("coupling: read a request: %w", err)
	}
	now := s.cfg.Now()
	if err := device.VerifyKey(assertion, id, r.Key, now); err != nil {
		return device.Device{}, err
	}
	if !now.Before(r.Expires) {
		return device.Device{}, ErrExpired
	}
	if r.Grant == nil && typed != "" {
		if r, err = s.redeem(ctx, r, typed); err != nil {
			return device.Device{}, err
		}
	}
	if r.Grant == nil {
		return device.Device{}, ErrPending
	}
	barred, err := s.cfg.Barred(ctx, tenant, r.Grant.Voucher.Number)
	if err != nil {
		return device.Device{}, fmt.Errorf("coupling: claim: %w", err)
	}
	if barred {
		return device.Device{}, ErrExpired
	}
	return s.make(ctx, r)
}

// redeem gives the request to the offer whose code was typed.
func (s *Service) redeem(ctx context.Context, r Request, typed string) (Request, error) {
	r, err := store.Change(ctx, s.requests, store.Key(string(r.Tenant), r.ID), func(r Request, exists bool) (Request, bool, error) {
		if !exists || r.Tries >= s.cfg.Tries {
			return r, false, ErrExpired
		}
		r.Tries++
		return r, true, nil
	})
	if errors.Is(err, ErrExpired) {
		return r, err
	} else if err != nil {
		return r, fmt.Errorf("coupling: count a try: %w", err)
	}
	wrong := fmt.Errorf("%w: tries left: %d", ErrWrongCode, s.cfg.Tries-r.Tries)
	text := plain(typed, letters, offerLen)
	if text == "" {
		return r, wrong
	}
	c, err := store.Change(ctx, s.codes, s.codeKey(r.Tenant, text), func(c code, exists bool) (code, bool, error) {
		now := s.cfg.Now()
		if !exists || c.Offer == nil || !now.Before(c.Expires) || !now.Before(c.Offer.Voucher.Until) || c.Offer.Taken != "" && c.Offer.Taken != r.ID {
			return c, false, ErrWrongCode
		}
		taken := *c.Offer
		taken.Taken = r.ID
		c.Offer = &taken
		return c, true, nil
	})
	if errors.Is(err, ErrWrongCode) {
		return r, wrong
	} else if err != nil {
		return r, fmt.Errorf("coupling: take an offer: %w", err)
	}
	return s.grant(ctx, r, Grant{Coupling: wire.NewID("cpl_"), Voucher: c.Offer.Voucher, Kind: c.Offer.Kind})
}

// stillHolds: the voucher's proof is good at this moment, also if it is a device's.
func (s *Service) stillHolds(ctx context.Context, v Voucher) (bool, error) {
	if v.By == "" {
		return s.cfg.Now().Before(v.Until), nil
	}
	d, err := s.cfg.Devices.Get(ctx, v.Tenant, v.By)
	if errors.Is(err, device.ErrNotFound) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	_, err = VoucherOf(d, v.Number, s.cfg.Now())
	return err == nil, nil
}

// tie is the coupling that a request was granted.
func (r Request) tie(id wire.DeviceID, now time.Time, lease time.Duration) Coupling {
	g := r.Grant
	c := Coupling{
		ID: g.Coupling, Device: id, Key: r.Key, Name: r.Name, Client: r.Client, App: r.App,
		Kind: g.Kind, Voucher: g.Voucher, Created: now,
	}
	if c.Kind == wire.ForCall {
		c.Request = r.ID
	}
	if c.leased() {
		c.Expires = earliest(now.Add(lease), c.Voucher.Until)
	}
	return c
}

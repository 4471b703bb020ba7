package coupling

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/ipnet"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Errors of this package. None tells anything of another party.
var (
	// ErrWrongCode: nothing can be coupled with this code: it is mistyped, used up, too old,
	// or never was.
	ErrWrongCode = errors.New("coupling: wrong code")
	// ErrExpired: the request is over: too old, its tries used up, or never made.
	ErrExpired = errors.New("coupling: the request is no longer open")
	// ErrPending: nobody has vouched for the device yet; claim again.
	ErrPending = errors.New("coupling: nobody has vouched for the device yet")
	// ErrNotFound: the caller has no such coupling.
	ErrNotFound = errors.New("coupling: not found")
	// ErrSecondHand: a device that is coupled itself cannot vouch for another.
	ErrSecondHand = errors.New("coupling: only a device that has proved the number itself can vouch for another")
	// ErrFull: the number has as many coupled devices as it may have.
	ErrFull = errors.New("coupling: the number has as many coupled devices as it may have; remove one")
	// ErrRequest: a field cannot be used as it is.
	ErrRequest = errors.New("coupling: unusable request")
)

// Voucher is who vouches that a device carries data for a number.
type Voucher struct {
	Tenant wire.TenantID `json:"tenant"`
	Number tel.Number    `json:"number"`
	// By is the voucher's device; empty for an operator or element, whose API key Key is and
	// whose role Role.
	By   wire.DeviceID `json:"by,omitempty"`
	Key  string        `json:"key,omitempty"`
	Role string        `json:"role,omitempty"`
	// Proof of the number that the voucher has.
	Proof device.ProofKind `json:"proof"`
	// Until the proof lasts, and what it vouches for.
	Until time.Time `json:"until"`
	// Made says in which way it vouches.
	Made wire.CouplingMade `json:"made"`
}

// VoucherOf lets a device vouch for others, by the best proof that it has of the number; of
// the zero number, by the newest of any. ErrSecondHand.
func VoucherOf(d device.Device, n tel.Number, now time.Time) (Voucher, error) {
	own := slices.DeleteFunc(d.Current(now), func(b wire.Binding) bool {
		return b.Kind == device.ProofCoupled || b.Kind == device.ProofLink || !n.IsZero() && b.Number != n
	})
	if !d.RevokedAt.IsZero() || len(own) == 0 {
		return Voucher{}, ErrSecondHand
	}
	b := own[0]
	for _, other := range own[1:] {
		if other.Number == b.Number && other.Expires.After(b.Expires) {
			b = other
		}
	}
	return Voucher{Tenant: d.Tenant, Number: b.Number, By: d.ID, Proof: b.Kind, Until: b.Expires}, nil
}

// Coupling is what is kept of one: table "couplings", key store.Key(tenant, number, device).
type Coupling struct {
	ID      string            `json:"id"`
	Device  wire.DeviceID     `json:"device"`
	Key     wire.JWK          `json:"key"`
	Name    string            `json:"name,omitempty"`
	Client  string            `json:"client,omitempty"`
	App     *wire.App         `json:"app,omitempty"`
	Kind    wire.CouplingKind `json:"kind"`
	Voucher Voucher           `json:"voucher"`
	// Request of the device that a call's report carried, of a coupling for that call.
	Request string    `json:"request,omitempty"`
	Created time.Time `json:"created"`
	// Expires is when the lease of a coupling that is not permanent runs out.
	Expires time.Time `json:"expires,omitzero"`
	// Apart: the lease has run out, and the device was told so.
	Apart bool `json:"apart,omitempty"`
	// Ended: it is being taken apart, which a crash may have cut short.
	Ended bool `json:"ended,omitempty"`
	// Phone and Other are where the two sides were heard of last.
	Phone Mark `json:"phone,omitzero"`
	Other Mark `json:"other,omitzero"`
}

// Mark is where a side was heard of, and when.
type Mark struct {
	At   time.Time `json:"at,omitzero"`
	From string    `json:"from,omitempty"`
}

// Sighting is something that was heard of one side of a temporary coupling.
type Sighting struct {
	// OfPhone: a device that has proved the number says so; else the coupled device.
	OfPhone bool
	// Link: it has the other one on a local link.
	Link bool
	// From is the address that it was heard from.
	From netip.Addr
}

// Seen notes a sighting, and renews the lease if it shows that the two are near each other:
// the phone's side says so, or both were heard of within a lease from one network. Only the
// phone's side is believed, since the coupled one would hardly say that they are apart.
func (c Coupling) Seen(s Sighting, now time.Time, lease time.Duration) (_ Coupling, near bool) {
	if c.Kind != wire.Temporary || c.Ended || !now.Before(c.Voucher.Until) {
		return c, false
	}
	m := Mark{At: now, From: ipnet.Of(s.From)}
	if s.OfPhone {
		c.Phone = m
	} else {
		c.Other = m
	}
	recent := func(m Mark) bool { return !m.At.IsZero() && now.Sub(m.At) < lease }
	same := c.Phone.From != "" && c.Phone.From == c.Other.From && recent(c.Phone) && recent(c.Other)
	if !same && (!s.OfPhone || !s.Link) {
		return c, false
	}
	c.Expires, c.Apart = earliest(now.Add(lease), c.Voucher.Until), false
	return c, true
}

// until is when the device's binding ends.
func (c Coupling) until() time.Time {
	if c.leased() {
		return c.Expires
	}
	return c.Voucher.Until
}

// lapsed: the lease has run out.
func (c Coupling) lapsed(now time.Time) bool {
	return c.leased() && !now.Before(c.Expires)
}

// leased: it lasts for as long as something renews it.
func (c Coupling) leased() bool { return c.Kind == wire.Temporary || c.Kind == wire.ForCall }

// Info is the coupling as its party sees it.
func (c Coupling) Info(now time.Time) wire.Coupling {
	return wire.Coupling{
		ID: c.ID, Number: c.Voucher.Number, Device: c.Device, Name: c.Name, Key: &c.Key, Kind: c.Kind, Made: c.Voucher.Made,
		Vouched: c.Voucher.Proof, Created: c.Created, Until: c.Voucher.Until, Expires: c.Expires, Apart: c.lapsed(now),
	}
}

// request is what the registry of devices is asked for.
func (c Coupling) request() device.Request {
	return device.Request{Tenant: c.Voucher.Tenant, Number: c.Voucher.Number, Key: c.Key, Name: c.Name, Client: c.Client, App: c.App, ForCall: c.Kind == wire.ForCall}
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

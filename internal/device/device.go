package device

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Errors about a device.
var (
	// ErrNotFound: there is no such device in this tenant.
	ErrNotFound = errors.New("device: not found")
	// ErrRevoked: the device's key has been revoked for good; it needs a new one.
	ErrRevoked = errors.New("device: key is revoked")
	// ErrBindingExpired: no proof of a number holds any longer; enrol again.
	ErrBindingExpired = errors.New("device: the proof of its number has expired")
	// ErrOtherParty: the number belongs to another party than the device's.
	ErrOtherParty = errors.New("device: the number belongs to another party than this device; use a new key for it")
	// ErrRequest: a field cannot be used as it is.
	ErrRequest = errors.New("device: unusable request")
)

// ProofKind says how a device proved that it has its number.
type ProofKind = string

// The kinds of proof.
const (
	ProofCode     ProofKind = "one_time_code" // a code sent to the number came back
	ProofNetwork  ProofKind = "network"       // the access network vouches for it
	ProofSIM      ProofKind = "sim"           // the SIM card answered a challenge
	ProofOperator ProofKind = "operator"      // an operator says so
	ProofLink     ProofKind = "link"          // a link sent to the number was opened: a guest (D4)
	ProofAgent    ProofKind = "agent"         // the number's owner lets one of its agents in, see Registry.Seat
	ProofCoupled  ProofKind = "coupled"       // it is coupled with a telephone (B8), see Registry.Couple
)

// MaxApp is the longest application id and MaxName the longest name, in bytes.
const (
	MaxApp  = 2048
	MaxName = 64
)

// Device is what is kept of a device.
type Device struct {
	ID     wire.DeviceID `json:"id"`
	Tenant wire.TenantID `json:"tenant"`
	// Principal of the device's party, as the directory had it when the device was read;
	// zero when no binding is current. It is not part of the record.
	Principal tel.Identity `json:"-"`
	Key       wire.JWK     `json:"key"`
	// Name that the device shows to others.
	Name string `json:"name,omitempty"`
	// Language of its user, BCP 47 in lower case; empty where it did not say.
	Language string `json:"language,omitempty"`
	// Client names the software.
	Client string `json:"client,omitempty"`
	// App names the application that a push wakes (B16); nil when there is none.
	App *wire.App `json:"app,omitempty"`
	// Unasked: after a push it may join a session without asking its user (B14).
	Unasked bool `json:"unasked,omitempty"`
	// Bindings are the proofs of its numbers, also expired ones.
	Bindings []wire.Binding `json:"bindings,omitempty"`
	Created  time.Time      `json:"created"`
	// LastSeen is right to within [SeenEvery].
	LastSeen  time.Time `json:"last_seen,omitzero"`
	RevokedAt time.Time `json:"revoked_at,omitzero"`
	// Answers are the challenges that it has answered lately, where several nodes share
	// the devices.
	Answers []answer `json:"answers,omitempty"`
}

// Check returns nil while the device may act: ErrRevoked, ErrBindingExpired.
func (d Device) Check(now time.Time) error {
	if !d.RevokedAt.IsZero() {
		return ErrRevoked
	}
	if len(d.Current(now)) == 0 {
		return ErrBindingExpired
	}
	return nil
}

// Current returns the bindings that hold at this moment, the newest first.
func (d Device) Current(now time.Time) []wire.Binding {
	var current []wire.Binding
	for _, b := range d.Bindings {
		if now.Before(b.Expires) {
			current = append(current, b)
		}
	}
	slices.SortStableFunc(current, func(a, b wire.Binding) int { return b.Proved.Compare(a.Proved) })
	return current
}

// has reports whether a binding to the number holds.
func (d Device) has(n tel.Number, now time.Time) bool {
	return slices.ContainsFunc(d.Current(now), func(b wire.Binding) bool { return b.Number == n })
}

// proved returns when the device's own proof of the number ends or ended; zero if it had none.
func (d Device) proved(n tel.Number) (last time.Time) {
	for _, b := range d.Bindings {
		if b.Number == n && !slices.Contains([]ProofKind{ProofLink, ProofCoupled, ProofAgent}, b.Kind) && b.Expires.After(last) {
			last = b.Expires
		}
	}
	return last
}

// bind replaces the binding of the same number and kind, and drops what has expired.
func (d *Device) bind(b wire.Binding, now time.Time) {
	d.Bindings = slices.DeleteFunc(slices.Clone(d.Bindings), func(old wire.Binding) bool {
		return !now.Before(old.Expires) || old.Number == b.Number && old.Kind == b.Kind
	})
	d.Bindings = append(d.Bindings, b)
}

// IDOf derives a device's id from its tenant and key. Nobody can guess it who does not
// know the key's public part, which only the device and the server do.
func IDOf(tenant wire.TenantID, key wire.JWK) wire.DeviceID {
	sum := sha256.Sum256([]byte("tandem device id\x00" + string(tenant) + "\x00" + Thumbprint(key)))
	return wire.DeviceID("dev_" + base64.RawURLEncoding.EncodeToString(sum[:24]))
}

func checkName(what, s string) error {
	if len(s) > MaxName || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%w: %s has at most %d bytes of text on one line", ErrRequest, what, MaxName)
	}
	return nil
}

// checkApp checks also what only the app's platform knows.
func (r *Registry) checkApp(a *wire.App) error {
	if err := checkApp(a); err != nil || a == nil {
		return err
	}
	return r.cfg.CheckApp(*a)
}

func checkApp(a *wire.App) error {
	switch {
	case a == nil:
		return nil
	case a.Platform != "apns" && a.Platform != "fcm" && a.Platform != "webpush":
		return fmt.Errorf("%w: unknown platform %q; use apns, fcm or webpush", ErrRequest, a.Platform)
	case a.ID == "" || len(a.ID) > MaxApp || !utf8.ValidString(a.ID):
		return fmt.Errorf("%w: an application id has 1 to %d bytes", ErrRequest, MaxApp)
	}
	return nil
}

package device

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// SeenEvery is how often [Registry.Seen] writes, at most.
const SeenEvery = 24 * time.Hour

// Parties is what the registry needs from the directory of parties.
type Parties interface {
	// Principal returns the principal identity of the party; an unknown identity is its own.
	Principal(ctx context.Context, tenant wire.TenantID, id tel.Identity) (tel.Identity, error)
	// Identities lists a party's identities, the principal among them, also for a party
	// that the directory does not know.
	Identities(ctx context.Context, tenant wire.TenantID, principal tel.Identity) ([]tel.Identity, error)
	// Renew notes that the identity has been proved, until a time, and returns its principal.
	// last is when the device's own proof of before ends or ended, zero if it had none: a party
	// whose proof has lapsed goes on only for who had it last. It may repeat.
	Renew(ctx context.Context, tenant wire.TenantID, id tel.Identity, kind string, until, last time.Time) (tel.Identity, error)
	// Claim makes an identity one of the principal's, until a time, for it was proved, and takes it from
	// whoever had proved it before. taken: it is another party's on an operator's word, and stays so. It may repeat.
	Claim(ctx context.Context, tenant wire.TenantID, id, principal tel.Identity, kind string, until time.Time) (taken bool, err error)
	// Disclaim ends such a claim of the principal's. linked: it is the principal's on an operator's word, and stays so.
	Disclaim(ctx context.Context, tenant wire.TenantID, id, principal tel.Identity, kind string) (linked bool, err error)
	// Forget makes the identity unknown, with what was linked to it. It may repeat.
	Forget(ctx context.Context, tenant wire.TenantID, id tel.Identity) error
}

// Sender carries a one-time code to a number, by text message or otherwise. It returns
// nil once the message has been accepted for delivery.
type Sender interface {
	SendCode(ctx context.Context, to tel.Number, code, text string) error
}

// Config of a Registry. Engine, Parties and Sender are needed; the zero value of each
// other field is its default.
type Config struct {
	Engine  store.Engine
	Parties Parties
	Sender  Sender
	// Mailer sends codes to e-mail addresses; nil: none are proved.
	Mailer Mailer
	// Via names the sender's way to the person; "" means "sms".
	Via string
	// Text of the message that carries the code; nil means a sentence in English.
	Text func(code string) string
	// Alert is told when a device has proved a number that earlier devices also have. It may
	// be called twice for one event, and must not block for long. Nil: nobody is told.
	Alert func(ctx context.Context, earlier []Device, added Device)
	// OnRevoke is told when a device can act no more, so that its connections are closed on
	// every node. It may be called twice for one event. Nil: nobody is told.
	OnRevoke func(ctx context.Context, tenant wire.TenantID, id wire.DeviceID)

	// Changing is told that the device is about to be enrolled or cut off, before it is
	// written, so that whoever tells others of it loses nothing in a crash; done is called
	// after it is written. at is the time of the change, the same when it is repeated. An
	// error prevents the change. Nil: nobody wants to know.
	Changing func(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, at time.Time) (done func(context.Context), err error)
	// CheckApp refuses an application id that its platform cannot use; the error is an
	// ErrRequest. Nil: any that is not empty will do.
	CheckApp func(wire.App) error
	// Barred numbers get no code, and cannot be enrolled; whoever tries learns nothing of
	// it. Nil: none.
	Barred func(ctx context.Context, tenant wire.TenantID, n tel.Number) (bool, error)

	// CodeTTL is how long a code can be used; zero means 10 minutes.
	CodeTTL time.Duration
	// BindingTTL is how long a proved number counts as proved; zero means 180 days.
	BindingTTL time.Duration
	// Tries per code; zero means 3.
	Tries int
	// Codes sent to one number, per hour and per day; zero means 5 and 10. With 3 tries
	// each, a day's guesses at a number are 30 in a million.
	NumberPerHour, NumberPerDay int
	// MailsPerDay is how many codes a party may have sent to e-mail addresses, all together, a day; zero
	// means 10. An address gets as many as a number.
	MailsPerDay int
	// Unlimited reports whether codes to a number are not counted, since they are sent
	// nowhere; nil: none.
	Unlimited func(tel.Number) bool
	// Codes asked for from one address (an IPv6 address counts with its /64), per hour;
	// zero means 20.
	AddressPerHour int

	// Shared says that other nodes use the same engine: that a challenge was answered is
	// then written down for them, which costs a write for each authentication.
	Shared bool

	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log; nil means no log.
	Log *slog.Logger
}

// Registry keeps the devices. Make it with [New]. Its methods may be called from several
// goroutines and on several nodes at once.
type Registry struct {
	cfg        Config
	keys       store.Table[secretRecord]
	ring       atomic.Pointer[keyring]
	devices    store.Table[Device]
	numbers    store.Table[numberEntry]
	enrolments store.Table[enrolment]
	limits     store.Table[usage]
	mailboxes  store.Table[mailbox]
}

// numberEntry says, by its key (tenant, number, device), that the device once proved the
// number. It is a hint: the device's own record decides.
type numberEntry struct{}

// New returns the registry over the engine. At the first start it makes the server's
// secrets; nodes that start together agree on them.
func New(ctx context.Context, cfg Config) (*Registry, error) {
	if cfg.Engine == nil || cfg.Parties == nil || cfg.Sender == nil {
		return nil, errors.New("device: config needs Engine, Parties and Sender")
	}
	if cfg.CodeTTL < 0 || cfg.BindingTTL < 0 || cfg.Tries < 0 || cfg.NumberPerHour < 0 || cfg.NumberPerDay < 0 || cfg.AddressPerHour < 0 || cfg.MailsPerDay < 0 {
		return nil, errors.New("device: config has a negative limit")
	}
	setDefault(&cfg.Via, "sms")
	setDefault(&cfg.CodeTTL, 10*time.Minute)
	setDefault(&cfg.BindingTTL, 180*24*time.Hour)
	setDefault(&cfg.Tries, 3)
	setDefault(&cfg.NumberPerHour, 5)
	setDefault(&cfg.NumberPerDay, 10)
	setDefault(&cfg.AddressPerHour, 20)
	setDefault(&cfg.MailsPerDay, 10)
	if cfg.Text == nil {
		cfg.Text = func(code string) string { return code + " is your Tandem code. Tell it to nobody." }
	}
	if cfg.Alert == nil {
		cfg.Alert = func(context.Context, []Device, Device) {}
	}
	if cfg.OnRevoke == nil {
		cfg.OnRevoke = func(context.Context, wire.TenantID, wire.DeviceID) {}
	}
	if cfg.Changing == nil {
		cfg.Changing = func(context.Context, wire.TenantID, wire.DeviceID, time.Time) (func(context.Context), error) {
			return func(context.Context) {}, nil
		}
	}
	if cfg.CheckApp == nil {
		cfg.CheckApp = func(wire.App) error { return nil }
	}
	if cfg.Barred == nil {
		cfg.Barred = func(context.Context, wire.TenantID, tel.Number) (bool, error) { return false, nil }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	keys := store.TableOf[secretRecord](cfg.Engine, "keys")
	ring, err := loadSecrets(ctx, keys, cfg.Now())
	if err != nil {
		return nil, err
	}
	r := &Registry{
		cfg:        cfg,
		keys:       keys,
		devices:    store.TableOf[Device](cfg.Engine, "devices").Remembered(),
		numbers:    store.TableOf[numberEntry](cfg.Engine, "device_numbers").Remembered(),
		enrolments: store.TableOf[enrolment](cfg.Engine, "enrolments"),
		limits:     store.TableOf[usage](cfg.Engine, "enrolment_limits"),
		mailboxes:  store.TableOf[mailbox](cfg.Engine, "mailboxes"),
	}
	r.ring.Store(ring)
	return r, nil
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Get returns the device, also one that may act no more (see [Device.Check]). ErrNotFound.
func (r *Registry) Get(ctx context.Context, tenant wire.TenantID, id wire.DeviceID) (Device, error) {
	d, _, err := r.devices.Get(ctx, deviceKey(tenant, id))
	if errors.Is(err, store.ErrNotFound) {
		return Device{}, ErrNotFound
	}
	if err != nil {
		return Device{}, fmt.Errorf("device: read %s: %w", id, err)
	}
	return r.resolve(ctx, d)
}

// resolve fills in the principal: that of the number proved last.
func (r *Registry) resolve(ctx context.Context, d Device) (Device, error) {
	d.Principal = tel.Identity{}
	if !d.RevokedAt.IsZero() {
		return d, nil
	}
	if current := d.Current(r.cfg.Now()); len(current) > 0 {
		p, err := r.cfg.Parties.Principal(ctx, d.Tenant, current[0].Number.Identity())
		if err != nil {
			return d, fmt.Errorf("device: find the party of %s: %w", d.ID, err)
		}
		d.Principal = p
	}
	return d, nil
}

// ByNumber returns the devices that have a current binding to the number (B7).
func (r *Registry) ByNumber(ctx context.Context, tenant wire.TenantID, n tel.Number) ([]Device, error) {
	now := r.cfg.Now()
	var found []Device
	for id, err := range r.namedBy(ctx, tenant, n) {
		if err != nil {
			return nil, err
		}
		d, err := r.Get(ctx, tenant, id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if d.RevokedAt.IsZero() && d.has(n, now) {
			found = append(found, d)
		}
	}
	return found, nil
}

// namedBy walks the ids in the index of a number.
func (r *Registry) namedBy(ctx context.Context, tenant wire.TenantID, n tel.Number) func(yield func(wire.DeviceID, error) bool) {
	prefix := store.Key(string(tenant), n.String()) + "/"
	return func(yield func(wire.DeviceID, error) bool) {
		for item, err := range r.numbers.Scan(ctx, prefix) {
			if err != nil {
				yield("", fmt.Errorf("device: look up a number: %w", err))
				return
			}
			if !yield(wire.DeviceID(strings.TrimPrefix(item.Key, prefix)), nil) {
				return
			}
		}
	}
}

// OfParty returns the party's devices that may act: not revoked, with a current binding.
func (r *Registry) OfParty(ctx context.Context, tenant wire.TenantID, principal tel.Identity) ([]Device, error) {
	ids, err := r.cfg.Parties.Identities(ctx, tenant, principal)
	if err != nil {
		return nil, fmt.Errorf("device: find the identities of a party: %w", err)
	}
	found := map[wire.DeviceID]bool{}
	var all []Device
	for _, id := range ids {
		n, ok := id.Number()
		if !ok {
			continue
		}
		devices, err := r.ByNumber(ctx, tenant, n)
		if err != nil {
			return nil, err
		}
		for _, d := range devices {
			if d.Principal == principal && !found[d.ID] {
				found[d.ID] = true
				all = append(all, d)
			}
		}
	}
	return all, nil
}

// Foresee reads side by side, into the memory of a request (store.Remember), the devices of numbers.
func (r *Registry) Foresee(ctx context.Context, tenant wire.TenantID, ids ...tel.Identity) {
	var all sync.WaitGroup
	for _, id := range ids {
		n, ok := id.Number()
		if !ok {
			continue
		}
		all.Go(func() {
			for device, err := range r.namedBy(ctx, tenant, n) {
				if err == nil {
					all.Go(func() { _, _ = r.Get(ctx, tenant, device) })
				}
			}
		})
	}
	all.Wait()
}

// Revoke ends the device for good: its key is never accepted again. ErrNotFound. It may
// repeat.
func (r *Registry) Revoke(ctx context.Context, tenant wire.TenantID, id wire.DeviceID) error {
	now := r.cfg.Now()
	done, err := r.cfg.Changing(ctx, tenant, id, now)
	if err != nil {
		return fmt.Errorf("device: revoke %s: %w", id, err)
	}
	var had []wire.Binding
	_, err = r.change(ctx, tenant, id, func(d *Device) error {
		had = d.Bindings
		if d.RevokedAt.IsZero() {
			d.RevokedAt = now
		}
		return nil
	})
	done(ctx)
	if err != nil {
		return err
	}
	for _, b := range had {
		if err := r.unindex(ctx, tenant, b.Number, id); err != nil {
			return err
		}
	}
	r.cfg.OnRevoke(ctx, tenant, id)
	r.cfg.Log.Info("device revoked", "tenant", tenant, "device", id)
	return nil
}

// WipeNumber removes every device's binding to the number, its enrolments, and its party: the
// number has gone to somebody else. Devices left without a binding are cut off. It may
// repeat, and must be repeated after an error.
func (r *Registry) WipeNumber(ctx context.Context, tenant wire.TenantID, n tel.Number) error {
	if n.IsZero() {
		return fmt.Errorf("%w: no number", ErrRequest)
	}
	if err := r.dropEnrolments(ctx, tenant, []tel.Number{n}); err != nil {
		return err
	}
	var ids []wire.DeviceID
	for id, err := range r.namedBy(ctx, tenant, n) {
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	for _, id := range ids {
		done, err := r.cfg.Changing(ctx, tenant, id, r.cfg.Now())
		if err != nil {
			return fmt.Errorf("device: wipe %s: %w", n.Mask(), err)
		}
		_, err = r.change(ctx, tenant, id, func(d *Device) error {
			var kept []wire.Binding
			for _, b := range d.Bindings {
				if b.Number != n {
					kept = append(kept, b)
				}
			}
			d.Bindings = kept
			return nil
		})
		done(ctx)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err := r.unindex(ctx, tenant, n, id); err != nil {
			return err
		}
		r.cfg.OnRevoke(ctx, tenant, id)
	}
	// What was begun meanwhile may be the old holder's too.
	if err := r.dropEnrolments(ctx, tenant, []tel.Number{n}); err != nil {
		return err
	}
	if err := r.cfg.Parties.Forget(ctx, tenant, n.Identity()); err != nil {
		return fmt.Errorf("device: wipe %s: %w", n.Mask(), err)
	}
	r.cfg.Log.Info("number wiped", "tenant", tenant, "number", n, "devices", len(ids))
	return nil
}

// UpdateApp sets the application that a push wakes; nil: none. ErrNotFound, ErrRevoked,
// ErrRequest.
func (r *Registry) UpdateApp(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, app *wire.App) (Device, error) {
	if err := r.checkApp(app); err != nil {
		return Device{}, err
	}
	return r.edit(ctx, tenant, id, func(d *Device) { d.App = app })
}

// SetUnasked sets whether the device may join a session without asking its user. ErrNotFound,
// ErrRevoked.
func (r *Registry) SetUnasked(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, yes bool) (Device, error) {
	return r.edit(ctx, tenant, id, func(d *Device) { d.Unasked = yes })
}

// DropApp forgets a device's application that is dead, unless it has another one by now. A
// device that is gone is no error.
func (r *Registry) DropApp(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, dead wire.App) error {
	_, err := r.change(ctx, tenant, id, func(d *Device) error {
		if d.App != nil && *d.App == dead {
			d.App = nil
		}
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Rename sets the name that others see. ErrNotFound, ErrRevoked, ErrRequest.
func (r *Registry) Rename(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, name string) (Device, error) {
	if err := checkName("a name", name); err != nil {
		return Device{}, err
	}
	return r.edit(ctx, tenant, id, func(d *Device) { d.Name = name })
}

var language = regexp.MustCompile(`^([a-z]{2,3}(-[a-z0-9]{2,8}){0,4})?$`)

// SetLanguage sets the language of the device's user, a tag of BCP 47 in any case; empty: it is
// not known. ErrNotFound, ErrRevoked, ErrRequest.
func (r *Registry) SetLanguage(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, tag string) (Device, error) {
	if tag = strings.ToLower(tag); !language.MatchString(tag) {
		return Device{}, fmt.Errorf("%w: a language is a tag such as en or pt-BR", ErrRequest)
	}
	return r.edit(ctx, tenant, id, func(d *Device) { d.Language = tag })
}

// Seen notes that the device was here. It writes at most once per [SeenEvery], so it may
// be called at every connection.
func (r *Registry) Seen(ctx context.Context, d Device) error {
	now := r.cfg.Now()
	if now.Sub(d.LastSeen) < SeenEvery {
		return nil
	}
	_, err := r.edit(ctx, d.Tenant, d.ID, func(d *Device) { d.LastSeen = now })
	return err
}

// edit is change for devices that are not revoked.
func (r *Registry) edit(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, fn func(*Device)) (Device, error) {
	d, err := r.change(ctx, tenant, id, func(d *Device) error {
		if !d.RevokedAt.IsZero() {
			return ErrRevoked
		}
		fn(d)
		return nil
	})
	if err != nil {
		return Device{}, err
	}
	return r.resolve(ctx, d)
}

// change applies fn to the record of a device that exists; fn may run several times.
func (r *Registry) change(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, fn func(*Device) error) (Device, error) {
	d, err := store.Change(ctx, r.devices, deviceKey(tenant, id), func(d Device, exists bool) (Device, bool, error) {
		if !exists {
			return d, false, ErrNotFound
		}
		err := fn(&d)
		return d, err == nil, err
	})
	if err != nil && !ours(err) {
		err = fmt.Errorf("device: change %s: %w", id, err)
	}
	return d, err
}

// unindex removes the device from the number's index; it may repeat.
func (r *Registry) unindex(ctx context.Context, tenant wire.TenantID, n tel.Number, id wire.DeviceID) error {
	if err := store.Remove(ctx, r.numbers, store.Key(string(tenant), n.String(), string(id))); err != nil {
		return fmt.Errorf("device: remove %s from its number: %w", id, err)
	}
	return nil
}

// index adds the device to the number's index; it may repeat.
func (r *Registry) index(ctx context.Context, tenant wire.TenantID, n tel.Number, id wire.DeviceID) error {
	_, err := store.Change(ctx, r.numbers, store.Key(string(tenant), n.String(), string(id)),
		func(e numberEntry, exists bool) (numberEntry, bool, error) { return e, !exists, nil })
	if err != nil {
		return fmt.Errorf("device: add %s to its number: %w", id, err)
	}
	return nil
}

func ours(err error) bool {
	for _, e := range []error{ErrNotFound, ErrRevoked, ErrBindingExpired, ErrOtherParty, ErrRequest, ErrCodeExpired, ErrTooMany, ErrAssertion, ErrBusy} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func deviceKey(tenant wire.TenantID, id wire.DeviceID) string {
	return store.Key(string(tenant), string(id))
}

package device

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Errors of an enrolment.
var (
	// ErrWrongCode: these are not the digits that were sent; tries are left.
	ErrWrongCode = errors.New("device: wrong code")
	// ErrCodeExpired: the code is too old, or its tries are used up, or there never was
	// such an enrolment.
	ErrCodeExpired = errors.New("device: the code is no longer valid")
	// ErrSender: the code could not be sent.
	ErrSender = errors.New("device: the code could not be sent")
)

// Request asks to enrol a device.
type Request struct {
	Tenant wire.TenantID
	Number tel.Number
	Key    wire.JWK
	// Name that others see, and the software's; each may be empty.
	Name, Client string
	// App that a push wakes; may be nil.
	App *wire.App
	// Remote is the address the request came from; the zero Addr where there is none.
	Remote netip.Addr
	// ForCall: it is to carry data beside the one call whose report named it; see Couple.
	ForCall bool
}

func (r *Registry) check(q Request) error {
	if q.Number.IsZero() {
		return fmt.Errorf("%w: no number", ErrRequest)
	}
	if err := q.CheckDevice(); err != nil {
		return err
	}
	return r.checkApp(q.App)
}

// CheckDevice checks what a request says of the device itself. ErrRequest, ErrKey.
func (q Request) CheckDevice() error {
	if !wire.ValidID(string(q.Tenant)) {
		return fmt.Errorf("%w: no tenant", ErrRequest)
	}
	if _, err := PublicKey(q.Key); err != nil {
		return err
	}
	if err := checkName("a name", q.Name); err != nil {
		return err
	}
	if err := checkName("a client", q.Client); err != nil {
		return err
	}
	return checkApp(q.App)
}

// enrolment is the record of one code.
type enrolment struct {
	ID     string        `json:"id"`
	Tenant wire.TenantID `json:"tenant"`
	Number tel.Number    `json:"number"`
	Key    wire.JWK      `json:"key"`
	Name   string        `json:"name,omitempty"`
	Client string        `json:"client,omitempty"`
	App    *wire.App     `json:"app,omitempty"`
	// CodeMAC is an HMAC over the enrolment's id and the code.
	CodeMAC []byte    `json:"code_mac"`
	Expires time.Time `json:"expires"`
	Tries   int       `json:"tries"`
	// ProvedAt is when the right code came: the decision. The device is written after it,
	// from this record, and again if Confirm is repeated.
	ProvedAt time.Time `json:"proved_at,omitzero"`
	// Renews: the device had the number already, so nobody is told of it. Told: they were.
	Renews bool `json:"renews,omitempty"`
	Told   bool `json:"told,omitempty"`
}

// Begin sends a code to the number, which [Registry.Confirm] then asks for. It answers the
// same whether or not the number is known here. ErrRequest, ErrKey, ErrTooMany,
// ErrSender.
func (r *Registry) Begin(ctx context.Context, q Request) (wire.Enrolment, error) {
	if err := r.check(q); err != nil {
		return wire.Enrolment{}, err
	}
	if err := r.limit(ctx, q.Tenant, q.Number, q.Remote); err != nil {
		return wire.Enrolment{}, err
	}
	code, err := newCode()
	if err != nil {
		return wire.Enrolment{}, err
	}
	e := enrolment{
		ID: wire.NewID("enr_"), Tenant: q.Tenant, Number: q.Number, Key: q.Key,
		Name: q.Name, Client: q.Client, App: q.App, Expires: r.cfg.Now().Add(r.cfg.CodeTTL),
	}
	e.CodeMAC = codeMAC(r.signing(), e.ID, code)
	key := store.Key(string(e.Tenant), e.ID)
	_, err = store.Change(ctx, r.enrolments, key, func(_ enrolment, exists bool) (enrolment, bool, error) {
		return e, !exists, nil
	})
	if err != nil {
		return wire.Enrolment{}, fmt.Errorf("device: begin enrolment: %w", err)
	}
	barred, err := r.cfg.Barred(ctx, q.Tenant, q.Number)
	if err != nil {
		return wire.Enrolment{}, fmt.Errorf("device: begin enrolment: %w", err)
	}
	if barred {
		return wire.Enrolment{ID: e.ID, Expires: e.Expires, Via: r.cfg.Via}, nil
	}
	if err := r.cfg.Sender.SendCode(ctx, q.Number, code, r.cfg.Text(code)); err != nil {
		r.cfg.Log.Warn("code not sent", "tenant", q.Tenant, "number", q.Number, "err", err)
		if err := store.Remove(ctx, r.enrolments, key); err != nil {
			r.cfg.Log.Warn("enrolment without a code left to the sweeper", "err", err)
		}
		return wire.Enrolment{}, fmt.Errorf("%w: %w", ErrSender, err)
	}
	return wire.Enrolment{ID: e.ID, Expires: e.Expires, Via: r.cfg.Via}, nil
}

// Confirm completes an enrolment with the code and the key's assertion over the
// enrolment's id (see the package comment), and returns the device. A wrong code costs a
// try, a wrong assertion does not. Repeating it with the right code gets the same
// device, and completes what a crash cut off. ErrAssertion, ErrWrongCode, ErrCodeExpired,
// ErrRevoked, ErrOtherParty.
func (r *Registry) Confirm(ctx context.Context, tenant wire.TenantID, id, code, assertion string) (Device, error) {
	key := store.Key(string(tenant), id)
	e, _, err := r.enrolments.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return Device{}, ErrCodeExpired
	}
	if err != nil {
		return Device{}, fmt.Errorf("device: read enrolment: %w", err)
	}
	now := r.cfg.Now()
	if err := VerifyKey(assertion, e.ID, e.Key, now); err != nil {
		return Device{}, err
	}
	old, err := r.Get(ctx, tenant, IDOf(tenant, e.Key))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Device{}, err
	}
	barred, err := r.cfg.Barred(ctx, tenant, e.Number)
	if err != nil {
		return Device{}, fmt.Errorf("device: confirm enrolment: %w", err)
	}
	right := r.verified(e.CodeMAC, func(s secrets) []byte { return codeMAC(s, id, code) }) && !barred
	e, err = store.Change(ctx, r.enrolments, key, func(e enrolment, exists bool) (enrolment, bool, error) {
		switch {
		case !exists || !now.Before(e.Expires):
			return e, false, ErrCodeExpired
		case !e.ProvedAt.IsZero():
			return e, false, nil
		case e.Tries >= r.cfg.Tries:
			return e, false, ErrCodeExpired
		}
		e.Tries++
		if right {
			e.ProvedAt, e.Renews = now, old.has(e.Number, now)
		}
		return e, true, nil
	})
	switch {
	case errors.Is(err, ErrCodeExpired):
		return Device{}, err
	case err != nil:
		return Device{}, fmt.Errorf("device: confirm enrolment: %w", err)
	case !right && (e.Tries >= r.cfg.Tries || !e.ProvedAt.IsZero()):
		return Device{}, ErrCodeExpired
	case !right:
		return Device{}, fmt.Errorf("%w: tries left: %d", ErrWrongCode, r.cfg.Tries-e.Tries)
	}
	q := Request{Tenant: e.Tenant, Number: e.Number, Key: e.Key, Name: e.Name, Client: e.Client, App: e.App}
	d, err := r.bind(ctx, q, r.binding(q.Number, ProofCode, e.ProvedAt))
	if err != nil || e.Renews || e.Told {
		return d, err
	}
	r.alert(ctx, d, e.Number)
	_, err = store.Change(ctx, r.enrolments, key, func(e enrolment, exists bool) (enrolment, bool, error) {
		e.Told = true
		return e, exists, nil
	})
	if err != nil {
		r.cfg.Log.Warn("devices may be told twice of a new one", "device", d.ID, "err", err)
	}
	return d, nil
}

// Bind enrols a device without a code, on the word of whoever calls: an operator, or an
// element that has the number's proof from the network or the SIM card. ErrRequest,
// ErrKey, ErrRevoked, ErrOtherParty. It may repeat.
func (r *Registry) Bind(ctx context.Context, q Request, kind ProofKind) (Device, error) {
	if err := r.check(q); err != nil {
		return Device{}, err
	}
	if !slices.Contains([]ProofKind{ProofCode, ProofNetwork, ProofSIM, ProofOperator}, kind) {
		return Device{}, fmt.Errorf("%w: unknown kind of proof %q", ErrRequest, kind)
	}
	now := r.cfg.Now()
	old, err := r.Get(ctx, q.Tenant, IDOf(q.Tenant, q.Key))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Device{}, err
	}
	d, err := r.bind(ctx, q, r.binding(q.Number, kind, now))
	if err == nil && !old.has(q.Number, now) {
		r.alert(ctx, d, q.Number)
	}
	return d, err
}

// binding is a proof of the number that lasts as long as proofs do.
func (r *Registry) binding(n tel.Number, kind ProofKind, proved time.Time) wire.Binding {
	return wire.Binding{Number: n, Kind: kind, Proved: proved, Expires: proved.Add(r.cfg.BindingTTL)}
}

// bind writes what a proof brings about: party, index, device, in this order, so that a
// device is never without the first two. Each step may repeat.
func (r *Registry) bind(ctx context.Context, q Request, b wire.Binding) (Device, error) {
	now, id := r.cfg.Now(), IDOf(q.Tenant, q.Key)
	old, err := r.Get(ctx, q.Tenant, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Device{}, err
	}
	if !old.RevokedAt.IsZero() {
		return Device{}, ErrRevoked
	}
	principal, err := r.cfg.Parties.Principal(ctx, q.Tenant, q.Number.Identity())
	if err != nil {
		return Device{}, fmt.Errorf("device: find the party of %s: %w", q.Number.Mask(), err)
	}
	if !old.Principal.IsZero() && old.Principal != principal {
		return Device{}, ErrOtherParty
	}
	// Where the same key had the number before, its holder is nobody new.
	if _, err := r.cfg.Parties.Renew(ctx, q.Tenant, q.Number.Identity(), FirstHand(b), b.Expires, old.proved(q.Number)); err != nil {
		return Device{}, fmt.Errorf("device: prove %s: %w", q.Number.Mask(), err)
	}
	if err := r.index(ctx, q.Tenant, q.Number, id); err != nil {
		return Device{}, err
	}
	done, err := r.cfg.Changing(ctx, q.Tenant, id, b.Proved)
	if err != nil {
		return Device{}, fmt.Errorf("device: enrol %s: %w", id, err)
	}
	d, err := store.Change(ctx, r.devices, deviceKey(q.Tenant, id), func(d Device, exists bool) (Device, bool, error) {
		if !d.RevokedAt.IsZero() {
			return d, false, ErrRevoked
		}
		if !exists {
			d = Device{ID: id, Tenant: q.Tenant, Key: q.Key, Created: now}
		}
		d.Name, d.Client, d.App = q.Name, q.Client, q.App
		d.bind(b, now)
		return d, true, nil
	})
	done(ctx)
	if err != nil {
		if !ours(err) {
			err = fmt.Errorf("device: write %s: %w", id, err)
		}
		return Device{}, err
	}
	if d, err = r.resolve(ctx, d); err != nil {
		return Device{}, err
	}
	r.cfg.Log.Info("device enrolled", "tenant", q.Tenant, "device", id, "number", q.Number, "proof", b.Kind)
	return d, nil
}

// alert tells the number's other devices of a new one. The binding stands already, so a
// fault here is only logged.
func (r *Registry) alert(ctx context.Context, added Device, n tel.Number) {
	all, err := r.ByNumber(ctx, added.Tenant, n)
	if err != nil {
		r.cfg.Log.Error("earlier devices of a number not told of a new one", "device", added.ID, "err", err)
		return
	}
	earlier := slices.DeleteFunc(all, func(d Device) bool { return d.ID == added.ID })
	if len(earlier) > 0 {
		r.cfg.Alert(ctx, earlier, added)
	}
}

// Sweep deletes enrolments that are over and limits that limit nothing any more, and
// returns how many. Call it every few minutes, on any node.
func (r *Registry) Sweep(ctx context.Context) (int, error) {
	now := r.cfg.Now()
	n, err := sweep(ctx, r.enrolments, func(e enrolment) bool { return !now.Before(e.Expires) })
	if err != nil {
		return n, fmt.Errorf("device: sweep enrolments: %w", err)
	}
	k, err := sweep(ctx, r.mailboxes, func(m mailbox) bool { return !now.Before(m.Expires) })
	n += k
	if err != nil {
		return n, fmt.Errorf("device: sweep e-mail codes: %w", err)
	}
	m, err := sweep(ctx, r.limits, func(u usage) bool { return u.over(now) })
	if err != nil {
		return n + m, fmt.Errorf("device: sweep limits: %w", err)
	}
	return n + m, nil
}

func sweep[T any](ctx context.Context, t store.Table[T], over func(T) bool) (n int, err error) {
	var old []store.Item[T]
	for item, err := range t.Scan(ctx, "") {
		if err != nil {
			return 0, err
		}
		if over(item.Value) {
			item.Value = *new(T)
			old = append(old, item)
		}
	}
	for _, item := range old {
		err := t.Delete(ctx, item.Key, item.Rev)
		switch {
		case err == nil:
			n++
		case errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict):
			// used again, or swept by another node
		default:
			return n, err
		}
	}
	return n, nil
}

// codeMAC binds a code to its enrolment. Without the server's secret a stolen table gives
// no codes away.
func codeMAC(s secrets, id, code string) []byte {
	mac := hmac.New(sha256.New, s.code)
	mac.Write([]byte(id + "\x00" + code))
	return mac.Sum(nil)
}

// newCode returns six random digits.
func newCode() (string, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
	if err != nil {
		return "", fmt.Errorf("device: make a code: %w", err)
	}
	return fmt.Sprintf("%06d", n), nil
}

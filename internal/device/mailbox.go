package device

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

// Errors of proving an e-mail address.
var (
	// ErrNoMail: this server sends no e-mail.
	ErrNoMail = errors.New("device: this server sends no e-mail")
	// ErrLinked: the address was linked by an operator, who alone takes it away.
	ErrLinked = errors.New("device: an operator has linked this address, and has to unlink it")
	// ErrSecondHand: the device's own number is proved by somebody else's word alone.
	ErrSecondHand = errors.New("device: a device that is coupled, a guest or an agent proves no e-mail address")
)

// Mailer carries an e-mail message to an address, and returns nil once it has been accepted for
// delivery. Subject is one line, text is plain.
type Mailer interface {
	SendMail(ctx context.Context, to, subject, text string) error
}

// mailbox is the record of one code that was sent by e-mail, of the table "mailboxes": of a party and an address.
type mailbox struct {
	Principal tel.Identity `json:"principal"`
	Address   tel.Identity `json:"address"`
	// CodeMAC is an HMAC over the record's key and the code.
	CodeMAC []byte    `json:"code_mac"`
	Expires time.Time `json:"expires"`
	Tries   int       `json:"tries"`
	// ProvedAt is when the right code came: the decision. The directory is told after it,
	// and again if the confirmation is repeated.
	ProvedAt time.Time `json:"proved_at,omitzero"`
}

// BeginMailbox sends a code to an e-mail address of the device's party, which
// [Registry.ConfirmMailbox] then asks for; one that was sent before is worth nothing any more.
// It answers the same whether or not the address is known here. ErrRequest, ErrNoMail,
// ErrSecondHand, ErrTooMany, ErrSender, and those of [Device.Check].
func (r *Registry) BeginMailbox(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, address tel.Identity) (expires time.Time, err error) {
	d, err := r.mailboxOf(ctx, tenant, id, address)
	if err != nil {
		return expires, err
	}
	to, _ := address.Email()
	// The party's quota first, so that one without cannot use up an address's.
	if err := r.take(ctx, store.Key(string(tenant), "mails-of", d.Principal.String()), quota{24 * time.Hour, r.cfg.MailsPerDay}); err != nil {
		return expires, err
	}
	if err := r.take(ctx, store.Key(string(tenant), "mailbox", address.String()),
		quota{time.Hour, r.cfg.NumberPerHour}, quota{24 * time.Hour, r.cfg.NumberPerDay}); err != nil {
		return expires, err
	}
	code, err := newCode()
	if err != nil {
		return expires, err
	}
	key := mailboxKey(tenant, d.Principal, address)
	next := mailbox{Principal: d.Principal, Address: address, CodeMAC: codeMAC(r.signing(), key, code), Expires: r.cfg.Now().Add(r.cfg.CodeTTL)}
	_, err = store.Change(ctx, r.mailboxes, key, func(mailbox, bool) (mailbox, bool, error) { return next, true, nil })
	if err != nil {
		return expires, fmt.Errorf("device: begin the proof of an address: %w", err)
	}
	text := code + " is your Tandem code: it confirms that this e-mail address is yours.\r\nTell it to nobody. If you have not asked for it, do nothing.\r\n"
	if err := r.cfg.Mailer.SendMail(ctx, to, "Your Tandem code", text); err != nil {
		r.cfg.Log.Warn("code not sent by e-mail", "tenant", tenant, "address", address, "err", err)
		return expires, fmt.Errorf("%w: %w", ErrSender, err)
	}
	return next.Expires, nil
}

// ConfirmMailbox completes the proof with the code: the address is one of the party's from then
// on, for as long as proofs hold, and no more of whoever proved it before. A wrong code costs a try. Repeating it with
// the right code completes what a crash cut off. ErrWrongCode, ErrCodeExpired, ErrOtherParty, and
// those of BeginMailbox.
func (r *Registry) ConfirmMailbox(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, address tel.Identity, code string) error {
	d, err := r.mailboxOf(ctx, tenant, id, address)
	if err != nil {
		return err
	}
	now, right := r.cfg.Now(), false
	key := mailboxKey(tenant, d.Principal, address)
	m, err := store.Change(ctx, r.mailboxes, key, func(m mailbox, exists bool) (mailbox, bool, error) {
		right = exists && r.verified(m.CodeMAC, func(s secrets) []byte { return codeMAC(s, key, code) })
		switch {
		case !exists || !now.Before(m.Expires):
			return m, false, ErrCodeExpired
		case !m.ProvedAt.IsZero():
			return m, false, nil
		case m.Tries >= r.cfg.Tries:
			return m, false, ErrCodeExpired
		}
		m.Tries++
		if right {
			m.ProvedAt = now
		}
		return m, true, nil
	})
	switch {
	case errors.Is(err, ErrCodeExpired):
		return err
	case err != nil:
		return fmt.Errorf("device: prove an address: %w", err)
	case !right && (m.Tries >= r.cfg.Tries || !m.ProvedAt.IsZero()):
		return ErrCodeExpired
	case !right:
		return fmt.Errorf("%w: tries left: %d", ErrWrongCode, r.cfg.Tries-m.Tries)
	}
	taken, err := r.cfg.Parties.Claim(ctx, tenant, address, d.Principal, ProofCode, m.ProvedAt.Add(r.cfg.BindingTTL))
	if err != nil {
		return fmt.Errorf("device: prove an address: %w", err)
	}
	if taken {
		return fmt.Errorf("%w: an operator has to unlink it there first", ErrOtherParty)
	}
	return nil
}

// WithdrawMailbox takes back that an address is the party's: it is one of its identities no more, and a
// code that is on its way proves nothing. ErrLinked, ErrRequest, ErrSecondHand, those of [Device.Check],
// and an error of the directory for an address that is not the party's.
func (r *Registry) WithdrawMailbox(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, address tel.Identity) error {
	d, err := r.firstHand(ctx, tenant, id, address)
	if err != nil {
		return err
	}
	if err := r.DropMailbox(ctx, tenant, d.Principal, address); err != nil {
		return err
	}
	linked, err := r.cfg.Parties.Disclaim(ctx, tenant, address, d.Principal, ProofCode)
	if err == nil && linked {
		return ErrLinked
	}
	return err
}

// DropMailbox forgets the code that a party was sent to an address, also one that has proved it. It may be repeated.
func (r *Registry) DropMailbox(ctx context.Context, tenant wire.TenantID, principal, address tel.Identity) error {
	if err := store.Remove(ctx, r.mailboxes, mailboxKey(tenant, principal, address)); err != nil {
		return fmt.Errorf("device: forget a code: %w", err)
	}
	return nil
}

// mailboxOf checks who asks for a code, and for what.
func (r *Registry) mailboxOf(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, address tel.Identity) (Device, error) {
	if r.cfg.Mailer == nil {
		return Device{}, ErrNoMail
	}
	return r.firstHand(ctx, tenant, id, address)
}

// firstHand checks that a device may say which addresses are its party's.
func (r *Registry) firstHand(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, address tel.Identity) (Device, error) {
	if address.Kind() != tel.KindEmail {
		return Device{}, fmt.Errorf("%w: an e-mail address is mailto:alice@example.com", ErrRequest)
	}
	d, err := r.Get(ctx, tenant, id)
	if err != nil {
		return d, err
	}
	if err := d.Check(r.cfg.Now()); err != nil {
		return d, err
	}
	firstHand := func(b wire.Binding) bool {
		return !slices.Contains([]ProofKind{ProofLink, ProofCoupled, ProofAgent}, b.Kind)
	}
	if !slices.ContainsFunc(d.Current(r.cfg.Now()), firstHand) {
		return d, ErrSecondHand
	}
	return d, nil
}

func mailboxKey(tenant wire.TenantID, principal, address tel.Identity) string {
	return store.Key(string(tenant), principal.String(), address.String())
}

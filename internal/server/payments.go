package server

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/edge/partner/stripe"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/overlay"
	"github.com/tandem-call/tandem/internal/payment"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// paidPath is the page to which payment servers send customers back.
const paidPath = "/paid.html"

// hooksPath is where payment servers post their notices.
const hooksPath = "/v1/payment-hooks/"

// Payments says how payment servers are asked.
type Payments struct {
	// URL of the payment server's API; empty: Stripe's own.
	URL string `koanf:"url"`
	// Timeout of one request.
	Timeout time.Duration `koanf:"timeout"`
	// Retention of payments after they have ended.
	Retention time.Duration `koanf:"retention"`
}

func (p Payments) validate(fault func(ok bool, format string, args ...any)) {
	fault(p.Timeout >= time.Second && p.Timeout <= time.Minute, "payments.timeout: from 1s to 1m")
	fault(p.Retention >= time.Hour, "payments.retention: at least 1h")
	if p.URL == "" {
		return
	}
	u, err := url.Parse(p.URL)
	own := false
	if err == nil {
		ip, bad := netip.ParseAddr(u.Hostname())
		own = bad == nil && ip.IsLoopback()
	}
	fault(err == nil && u.Host != "" && u.User == nil && (u.Scheme == "https" || u.Scheme == "http" && own),
		"payments.url: %q is not an https address; http is for a server on this machine", p.URL)
}

// newPayments makes the service by which customers pay (SPEC I6).
func (s *Server) newPayments() (*payment.Service, error) {
	c := s.cfg.Payments
	return payment.New(payment.Config{
		Engine: s.engine, Sessions: bills{s}, Gateway: stripe.New(stripe.Config{URL: c.URL, Timeout: c.Timeout}), Notify: s.paymentMoved,
		Back: s.cfg.URL() + paidPath, Keep: c.Retention, Log: s.log,
	})
}

// paymentMoved has a device read its payments again.
func (s *Server) paymentMoved(ctx context.Context, tenant wire.TenantID, d wire.DeviceID, id wire.SessionID) error {
	return notifier{s}.Tell(ctx, tenant, d, wire.TypeNotice, wire.Notice{Code: wire.NoticePayment, Name: string(id), At: time.Now()})
}

// bills tells payments what is to be paid, and sessions what was.
type bills struct{ *Server }

// paymentError says in the payments' words what the overlays said.
func paymentError(err error) error {
	switch {
	case errors.Is(err, overlay.ErrClosed):
		return payment.ErrClosed
	case errors.Is(err, overlay.ErrNotFound):
		return payment.ErrNotFound
	}
	return err
}

func (b bills) Bill(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID, seq uint64) (payment.Bill, error) {
	r, err := b.overlays.Received(ctx, tenant, id, d, seq)
	if err != nil {
		return payment.Bill{}, paymentError(err)
	}
	bill := payment.Bill{Overlay: r.Overlay, Side: r.Own + 1, Payee: r.From + 1}
	for _, party := range []tel.Identity{r.Session.Sides[r.From].Principal, r.Session.Sides[r.From].Shown} {
		if !party.IsZero() {
			bill.From = append(bill.From, party)
		}
	}
	return bill, nil
}

func (b bills) Side(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID) (int, error) {
	x, err := screens(b).Session(ctx, tenant, id)
	if err != nil {
		return 0, paymentError(err)
	}
	i, err := x.Of(d)
	return i + 1, paymentError(err)
}

func (b bills) Tell(ctx context.Context, p payment.Payment, request wire.RequestID, r wire.OverlayResult) error {
	x, err := screens(b).Session(ctx, p.Tenant, p.Session)
	if err != nil {
		return paymentError(err)
	}
	if p.Payee == 0 {
		if p.Payee, err = b.payee(ctx, x, p); err != nil {
			return err
		}
	}
	from, to := toBeTold(x, p)
	if len(to) == 0 {
		return payment.ErrClosed
	}
	_, err = screens(b).Send(ctx, p.Tenant, p.Session, from, to, request, wire.KindOverlayResult, r)
	return err // where somebody has left just now, the next try tells the others
}

// payee is the side that is paid, of a payment that an earlier version has begun, or changed, which did not keep it: the one that the overlay
// came from. Zero: it has left, or nobody of the side that pays is left who got that.
func (b bills) payee(ctx context.Context, x overlay.Session, p payment.Payment) (int, error) {
	payers := []wire.DeviceID{p.Device}
	for _, m := range ofParty(x, p.Side) {
		payers = append(payers, m.Device)
	}
	for _, d := range payers {
		r, err := b.overlays.Received(ctx, p.Tenant, p.Session, d, p.Seq)
		switch {
		case err == nil:
			return r.From + 1, nil
		case !errors.Is(err, overlay.ErrClosed) && !errors.Is(err, overlay.ErrNotFound):
			return 0, paymentError(err)
		}
	}
	return 0, nil
}

// toBeTold are the members to whom the outcome of a payment is told, and in whose name: that of the device that pays; once it has
// left, of another one of its party, or of the party that is paid.
func toBeTold(x overlay.Session, p payment.Payment) (from wire.DeviceID, to []wire.MemberID) {
	for _, m := range slices.Concat(ofParty(x, p.Side), ofParty(x, p.Payee)) {
		if from == "" || m.Device == p.Device {
			from = m.Device
		}
		if m.Device != p.Device {
			to = append(to, m.ID)
		}
	}
	return from, to
}

// ofParty lists the members of a side, counted from 1, and those of the sides of the same party: one that was away comes back as
// a further side.
func ofParty(x overlay.Session, side int) (all []overlay.Member) {
	for i, s := range x.Sides {
		if i+1 == side || side > 0 && !s.Principal.IsZero() && s.Principal == x.Sides[side-1].Principal {
			all = append(all, s.Members...)
		}
	}
	return all
}

func (b bills) Open(ctx context.Context, tenant wire.TenantID, id wire.SessionID) (bool, error) {
	_, err := screens(b).Session(ctx, tenant, id)
	if errors.Is(err, overlay.ErrClosed) {
		return false, nil
	}
	return err == nil, err
}

// payments serves httpapi.Payments.
type payments struct{ *Server }

func (s payments) account(a payment.Account) wire.PaymentAccount {
	return wire.PaymentAccount{
		Name: a.Name, Numbers: a.Numbers, Changed: a.Changed, HookSecretSet: a.HookSecret != "",
		HookURL: s.cfg.URL() + hooksPath + url.PathEscape(string(a.Tenant)) + "/" + a.Name,
	}
}

func (s payments) PaymentAccounts(ctx context.Context, who httpapi.Caller) ([]wire.PaymentAccount, error) {
	return forOwner(overlays(s), ctx, who, "list payment accounts", func(o credential.Owner) ([]wire.PaymentAccount, error) {
		all, err := s.Server.payments.Accounts(ctx, o)
		list := make([]wire.PaymentAccount, len(all))
		for i, a := range all {
			list[i] = s.account(a)
		}
		return list, err
	})
}

func (s payments) PaymentAccount(ctx context.Context, who httpapi.Caller, name string) (wire.PaymentAccount, error) {
	return forOwner(overlays(s), ctx, who, "payment account", func(o credential.Owner) (wire.PaymentAccount, error) {
		a, err := s.Server.payments.Account(ctx, o, name)
		return s.account(a), err
	})
}

func (s payments) SetPaymentAccount(ctx context.Context, who httpapi.Caller, name string, d wire.PaymentAccountDraft) (x wire.PaymentAccount, err error) {
	return x, s.audited(ctx, who, audit.Record{What: audit.PaymentAccountSet, On: on("payment-account", name)}, func() error {
		o, err := overlays(s).owner(ctx, who)
		if err != nil {
			return err
		}
		a, err := s.Server.payments.SetAccount(ctx, o, name, d)
		x = s.account(a)
		return err
	})
}

func (s payments) RemovePaymentAccount(ctx context.Context, who httpapi.Caller, name string) error {
	return s.audited(ctx, who, audit.Record{What: audit.PaymentAccountRemoved, On: on("payment-account", name)}, func() error {
		o, err := overlays(s).owner(ctx, who)
		if err != nil {
			return err
		}
		return s.Server.payments.RemoveAccount(ctx, o, name)
	})
}

func (s payments) BeginPayment(ctx context.Context, who httpapi.Caller, id wire.SessionID, seq uint64, r wire.PaymentRequest) (wire.Payment, error) {
	if err := s.limits.fetch(who); err != nil {
		return wire.Payment{}, err
	}
	p, err := s.Server.payments.Begin(ctx, who.Tenant, id, who.Device, seq, r)
	return p, problem(s.log, "begin a payment", err)
}

func (s payments) CancelPayment(ctx context.Context, who httpapi.Caller, session wire.SessionID, id wire.PaymentID) (wire.Payment, error) {
	if err := s.limits.fetch(who); err != nil {
		return wire.Payment{}, err
	}
	p, err := s.Server.payments.Cancel(ctx, who.Tenant, session, who.Device, id)
	return p, problem(s.log, "cancel a payment", err)
}

func (s payments) Payments(ctx context.Context, who httpapi.Caller, id wire.SessionID) (l []wire.Payment, err error) {
	if who.Role == httpapi.RoleDevice {
		l, err = s.Server.payments.OfDevice(ctx, who.Tenant, id, who.Device)
		return l, problem(s.log, "payments", err)
	}
	return forOwner(overlays(s), ctx, who, "payments", func(o credential.Owner) ([]wire.Payment, error) { return s.Server.payments.OfOwner(ctx, o, id) })
}

func (s payments) PaymentNoticed(ctx context.Context, tenant wire.TenantID, account, signature string, body []byte) error {
	return problem(s.log, "payment noticed", s.Server.payments.Noticed(ctx, tenant, account, signature, body))
}

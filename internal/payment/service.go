package payment

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Sessions is what payments need of the data sessions.
type Sessions interface {
	// Bill returns the overlay of a message that somebody of another side sent to a device. ErrClosed, ErrNotFound.
	Bill(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID, seq uint64) (Bill, error)
	// Tell hands what came of an action to the other members of the side that pays and to the side that is paid, also when the
	// device that pays has left. The same request tells once. ErrClosed: the session is, or nobody is left to be told.
	Tell(ctx context.Context, p Payment, request wire.RequestID, r wire.OverlayResult) error
	// Side is the side of a session that a device is of, from 1. ErrClosed.
	Side(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID) (int, error)
	// Open reports whether a session is not closed.
	Open(ctx context.Context, tenant wire.TenantID, id wire.SessionID) (bool, error)
}

// Bill is an overlay, the identities of whoever sent it, the side that got it, and the one that sent it, from 1.
type Bill struct {
	Overlay     overlay.Overlay
	From        []tel.Identity
	Side, Payee int
}

// Config of a Service. The first three are needed.
type Config struct {
	Engine   store.Engine
	Sessions Sessions
	Gateway  Gateway
	// Notify has the device that pays read its payments again; nil: it is not told.
	Notify func(ctx context.Context, tenant wire.TenantID, d wire.DeviceID, id wire.SessionID) error
	// Back is the page to which the payment server sends customers back.
	Back string
	// Keep is how long a payment is kept after it has ended; 0: 24 hours.
	Keep time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log; nil means no log.
	Log *slog.Logger
}

// Service takes payments. Make it with [New]; [Service.Run] must run. Its methods may be called from several
// goroutines and on several nodes at once.
type Service struct {
	cfg      Config
	accounts store.Table[Account]
	payments store.Table[Payment]
	due      store.Table[Watch]
	wake     chan struct{}
	begun    atomic.Uint64
	ended    [3]atomic.Uint64 // paid, failed, cancelled
}

// New returns the service over the engine.
func New(cfg Config) (*Service, error) {
	if cfg.Engine == nil || cfg.Sessions == nil || cfg.Gateway == nil {
		return nil, errors.New("payment: config needs Engine, Sessions and Gateway")
	}
	if cfg.Keep == 0 {
		cfg.Keep = 24 * time.Hour
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{
		cfg:      cfg,
		accounts: store.TableOf[Account](cfg.Engine, "payment-accounts"),
		payments: store.TableOf[Payment](cfg.Engine, "payments"),
		due:      store.TableOf[Watch](cfg.Engine, "payments-due"),
		wake:     make(chan struct{}, 1),
	}, nil
}

// Stats are counts since the start.
type Stats struct{ Begun, Paid, Failed, Cancelled uint64 }

// Stats returns the counts.
func (s *Service) Stats() Stats {
	return Stats{s.begun.Load(), s.ended[0].Load(), s.ended[1].Load(), s.ended[2].Load()}
}

func key(p Payment) string { return store.Key(string(p.Tenant), string(p.Session), string(p.ID)) }

// name of the payment of an action by a side: there is one of each, however often it is touched.
func name(id wire.SessionID, seq uint64, region string, action, side int) wire.PaymentID {
	sum := sha256.Sum256([]byte(store.Key(string(id), strconv.FormatUint(seq, 10), region, strconv.Itoa(action), strconv.Itoa(side))))
	return wire.PaymentID("pay_" + base64.RawURLEncoding.EncodeToString(sum[:12]))
}

// Begin begins the payment of an action, or returns the one that was begun: open, being processed or paid. One that was not
// paid is begun anew. ErrClosed, ErrNotFound, ErrNoAccount, ErrFull, ErrGateway, ErrRefused, ErrRequest.
func (s *Service) Begin(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID, seq uint64, r wire.PaymentRequest) (wire.Payment, error) {
	bill, err := s.cfg.Sessions.Bill(ctx, tenant, id, d, seq)
	if err != nil {
		return wire.Payment{}, err
	}
	a, err := action(bill.Overlay, r)
	if err != nil {
		return wire.Payment{}, err
	}
	p := Payment{Tenant: tenant, Session: id, ID: name(id, seq, r.Region, r.Action, bill.Side)}
	old, rev, err := s.payments.Get(ctx, key(p))
	switch {
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return wire.Payment{}, fmt.Errorf("payment: read: %w", err)
	case rev != 0 && !old.over():
		return old.info(true), s.watch(ctx, old, s.cfg.Now().Add(pause(0))) // who began it may have died before
	case old.State == wire.PaymentPaid:
		return old.info(true), nil
	case rev == 0:
		if err := s.room(ctx, tenant, id); err != nil {
			return wire.Payment{}, err
		}
	}
	account, err := s.payee(ctx, tenant, bill.From)
	if err != nil {
		return wire.Payment{}, err
	}
	now := s.cfg.Now()
	p.Attempt, p.Side, p.Payee, p.Device, p.Account = old.Attempt+1, bill.Side, bill.Payee, d, account.Name
	p.Seq, p.Overlay, p.Region, p.Action = seq, bill.Overlay.ID, r.Region, r.Action
	p.Type, p.Item, p.Amount = a.Type, a.Item, *a.Amount
	p.State, p.Begun, p.Expires = wire.PaymentOpen, now, now.Add(OpenFor)
	c, err := s.cfg.Gateway.Open(ctx, account.Key, Order{
		Session: id, Payment: p.ID, Attempt: p.Attempt, Item: p.Item, Amount: p.Amount, Back: s.cfg.Back, Until: p.Expires,
	})
	if err != nil {
		s.cfg.Log.Warn("a payment could not be begun", "account", account.Name, "session", id, "err", err)
		return wire.Payment{}, err
	}
	p.Checkout, p.URL = c.ID, c.URL
	// The address is told when it is sure that somebody will look at what comes of it. If we die before, nobody has it, and
	// the payment server lets the checkout expire.
	if err := s.watch(ctx, p, s.cfg.Now().Add(pause(0))); err != nil {
		return wire.Payment{}, err
	}
	switch _, err = s.payments.Put(ctx, key(p), p, rev); {
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrUncertain): // another touch, whose checkout counts
		if p, _, err = s.payments.Get(ctx, key(p)); err != nil {
			return wire.Payment{}, fmt.Errorf("payment: read: %w", err)
		}
	case err != nil:
		return wire.Payment{}, fmt.Errorf("payment: keep: %w", err)
	default:
		s.begun.Add(1)
	}
	// Again: who looked meanwhile saw the attempt before, which is over, and looks no more.
	if err := s.watch(ctx, p, s.cfg.Now().Add(pause(0))); err != nil {
		return wire.Payment{}, err
	}
	s.signal()
	return p.info(true), nil
}

// action returns the action that is to be paid. ErrNotFound, ErrRequest.
func action(o overlay.Overlay, r wire.PaymentRequest) (overlay.Action, error) {
	i := slices.IndexFunc(o.Regions, func(x overlay.Region) bool { return x.ID == r.Region })
	switch {
	case i < 0, r.Action < 0, r.Action >= len(o.Regions[i].Actions):
		return overlay.Action{}, fmt.Errorf("%w: the overlay has no such region or action", ErrNotFound)
	case o.Regions[i].State == overlay.Disabled:
		return overlay.Action{}, fmt.Errorf("%w: the region is disabled", ErrRequest)
	}
	a := o.Regions[i].Actions[r.Action]
	if a.Type != overlay.Pay && a.Type != overlay.Buy || a.Amount == nil {
		return overlay.Action{}, fmt.Errorf("%w: the action is not pay or buy", ErrRequest)
	}
	return a, nil
}

func (s *Service) room(ctx context.Context, tenant wire.TenantID, id wire.SessionID) error {
	n := 0
	for _, err := range s.payments.Scan(ctx, store.Key(string(tenant), string(id))+"/") {
		if err != nil {
			return fmt.Errorf("payment: list: %w", err)
		}
		if n++; n >= MaxPayments {
			return fmt.Errorf("%w: %d payments in one session", ErrFull, MaxPayments)
		}
	}
	return nil
}

func (s *Service) watch(ctx context.Context, p Payment, next time.Time) error {
	_, err := store.Change(ctx, s.due, key(p), func(w Watch, _ bool) (Watch, bool, error) {
		return Watch{Tenant: p.Tenant, Session: p.Session, ID: p.ID, Next: next}, true, nil
	})
	if err != nil {
		return fmt.Errorf("payment: keep: %w", err)
	}
	return nil
}

// OfDevice lists the payments of a session that a device's side makes; when it is no longer in the session, those that
// the device itself began. Others get an empty list.
func (s *Service) OfDevice(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID) ([]wire.Payment, error) {
	pays, err := s.payer(ctx, tenant, id, d)
	if err != nil {
		return nil, err
	}
	return s.list(ctx, tenant, id, func(p Payment) (wire.Payment, bool) { return p.info(true), pays(p) })
}

// payer says which payments of a session are a device's.
func (s *Service) payer(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID) (func(Payment) bool, error) {
	side, err := s.cfg.Sessions.Side(ctx, tenant, id, d)
	if err != nil && !errors.Is(err, ErrClosed) {
		return nil, fmt.Errorf("payment: session: %w", err)
	}
	return func(p Payment) bool { return p.Device != "" && (p.Device == d || err == nil && p.Side == side) }, nil
}

// OfOwner lists the payments of a session to the accounts of an owner.
func (s *Service) OfOwner(ctx context.Context, by credential.Owner, id wire.SessionID) ([]wire.Payment, error) {
	own, err := s.Accounts(ctx, by)
	if err != nil {
		return nil, err
	}
	return s.list(ctx, by.Tenant, id, func(p Payment) (wire.Payment, bool) {
		return p.info(false), by.All || slices.ContainsFunc(own, func(a Account) bool { return a.Name == p.Account })
	})
}

func (s *Service) list(ctx context.Context, tenant wire.TenantID, id wire.SessionID, show func(Payment) (wire.Payment, bool)) ([]wire.Payment, error) {
	all := []wire.Payment{}
	for item, err := range s.payments.Scan(ctx, store.Key(string(tenant), string(id))+"/") {
		if err != nil {
			return nil, fmt.Errorf("payment: list: %w", err)
		}
		if w, ok := show(item.Value); ok {
			all = append(all, w)
		}
	}
	slices.SortFunc(all, func(a, b wire.Payment) int { return a.Begun.Compare(b.Begun) })
	return all, nil
}

// Cancel gives up a payment of a device's. ErrNotFound, ErrEnded, ErrGateway, ErrRefused.
func (s *Service) Cancel(ctx context.Context, tenant wire.TenantID, session wire.SessionID, d wire.DeviceID, id wire.PaymentID) (wire.Payment, error) {
	pays, err := s.payer(ctx, tenant, session, d)
	if err != nil {
		return wire.Payment{}, err
	}
	p, _, err := s.payments.Get(ctx, store.Key(string(tenant), string(session), string(id)))
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && !pays(p):
		return wire.Payment{}, fmt.Errorf("%w: there is no such payment", ErrNotFound)
	case err != nil:
		return wire.Payment{}, fmt.Errorf("payment: read: %w", err)
	case p.State != wire.PaymentOpen:
		return wire.Payment{}, ErrEnded
	}
	if p, err = s.expire(ctx, p, ByCustomer); err != nil {
		return wire.Payment{}, err
	}
	if p.State != wire.PaymentCancelled {
		return wire.Payment{}, ErrEnded // paid meanwhile
	}
	return p.info(true), nil
}

// Noticed takes a notice of a payment server to one account, and looks at the checkout that it is about. Whether there is
// an account of that name is not told. ErrNotFound, ErrSignature, ErrGateway, ErrRefused.
func (s *Service) Noticed(ctx context.Context, tenant wire.TenantID, account, signature string, body []byte) error {
	a, err := s.Account(ctx, credential.Owner{Tenant: tenant, All: true}, account)
	switch {
	case errors.Is(err, ErrNotFound), err == nil && a.HookSecret == "":
		return ErrSignature
	case err != nil:
		return err
	}
	n, err := s.cfg.Gateway.Notice(a.HookSecret, signature, body)
	if err != nil || n.Payment == "" {
		return err
	}
	p, _, err := s.payments.Get(ctx, store.Key(string(tenant), string(n.Session), string(n.Payment)))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%w: there is no such payment", ErrNotFound)
	case err != nil:
		return fmt.Errorf("payment: read: %w", err)
	case p.Account != a.Name || p.Checkout != n.Checkout || p.over():
		return nil // of an attempt that is over
	}
	_, err = s.look(ctx, p)
	return err
}

// ForgetDevices takes the names of devices off their payments: their party is erased. What was paid stays as long as all payments.
func (s *Service) ForgetDevices(ctx context.Context, tenant wire.TenantID, devices []wire.DeviceID) error {
	for item, err := range s.payments.Scan(ctx, store.Key(string(tenant))+"/") {
		if err != nil {
			return fmt.Errorf("payment: list: %w", err)
		}
		if !slices.Contains(devices, item.Value.Device) {
			continue
		}
		_, err := store.Change(ctx, s.payments, item.Key, func(p Payment, exists bool) (Payment, bool, error) {
			p.Device = ""
			return p, exists, nil
		})
		if err != nil {
			return fmt.Errorf("payment: forget: %w", err)
		}
	}
	return nil
}

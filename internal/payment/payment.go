// Package payment lets customers pay what an overlay asks for (SPEC I6: pay, buy). Who is paid has an
// [Account] with a payment server, behind the port [Gateway]; what a customer enters there, or keeps on the telephone
// for such pages, never comes to Tandem.
//
// What is paid, and how much, is in the overlay that was sent. [Service.Begin] has the payment server make a
// checkout and gives the customer's device its address. What came of it is the payment server's word alone: its signed
// notices ([Service.Noticed]) are a reason to look, and [Service.Run] looks by itself as long as a checkout is open.
// The outcome is a message of the session, as of any other action of an overlay. See docs/adr/0026.
package payment

import (
	"errors"
	"time"

	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

// Errors of this package.
var (
	// ErrNotFound: there is no such account, payment or action for whoever asks.
	ErrNotFound = errors.New("payment: not found")
	// ErrRequest: a field cannot be used as it is.
	ErrRequest = errors.New("payment: unusable request")
	// ErrNumbers: the numbers are not the caller's.
	ErrNumbers = errors.New("payment: not the caller's numbers")
	// ErrFull: there are as many as there may be.
	ErrFull = errors.New("payment: there are too many")
	// ErrNoAccount: nobody takes payments for the overlay's sender.
	ErrNoAccount = errors.New("payment: whoever sent this takes no payments yet")
	// ErrEnded: there is nothing left to be cancelled.
	ErrEnded = errors.New("payment: it has been paid, or has ended")
	// ErrClosed: the session is over, or the caller is not in it.
	ErrClosed = errors.New("payment: not in the session")
	// ErrGateway: the payment server did not answer, or had an error of its own. It may be tried again.
	ErrGateway = errors.New("payment: the payment server does not answer; try again in a moment")
	// ErrRefused: the payment server does not do what it was asked: the account has to be looked at.
	ErrRefused = errors.New("payment: the payment server refuses; the account has to be looked at by whoever set it up")
	// ErrSignature: a notice is not the payment server's.
	ErrSignature = errors.New("payment: the notice has no valid signature for an account of that name; look at the webhook's address and its secret")
)

// Limits.
const (
	MaxAccounts = 100 // of a tenant
	MaxPayments = 200 // of a session
	// OpenFor is how long a checkout may be paid; Stripe allows no less than 30 minutes.
	OpenFor = 35 * time.Minute
	// unknownFor is how long after that it is still asked what came of it; processingFor of one whose money is
	// under way, which banks give two weeks.
	unknownFor    = 24 * time.Hour
	processingFor = 30 * 24 * time.Hour
)

// Reasons of payments that were not made.
const (
	Expired       = "expired"
	ByCustomer    = "by_customer"
	SessionClosed = "session_closed"
	Declined      = "declined"
	Unknown       = "unknown" // the payment server never said
)

// Account takes payments for numbers: table "payment-accounts", key store.Key(tenant, name). Its secrets are kept as
// those of webhooks are, and are never shown.
type Account struct {
	Tenant     wire.TenantID `json:"tenant"`
	Name       string        `json:"name"`
	Numbers    []string      `json:"numbers"`
	Key        string        `json:"key"`
	HookSecret string        `json:"hook_secret,omitempty"`
	Changed    time.Time     `json:"changed"`
}

// Payment is what is kept of one: table "payments", key store.Key(tenant, session, id).
type Payment struct {
	Tenant  wire.TenantID  `json:"tenant"`
	Session wire.SessionID `json:"session"`
	ID      wire.PaymentID `json:"id"`
	// Attempt counts the checkouts; one that was not paid may be begun anew.
	Attempt int `json:"attempt"`
	// Side of the session that pays, from 1: each that got the overlay pays for itself.
	Side int `json:"side"`
	// Payee is the side that is paid; zero where an earlier version has begun or changed it.
	Payee int `json:"payee,omitempty"`
	// Device that pays; empty when its party was erased.
	Device  wire.DeviceID      `json:"device,omitempty"`
	Account string             `json:"account"`
	Seq     uint64             `json:"seq"`
	Overlay string             `json:"overlay"`
	Region  string             `json:"region"`
	Action  int                `json:"action"`
	Type    overlay.ActionType `json:"type"`
	Item    string             `json:"item"`
	Amount  overlay.Amount     `json:"amount"`
	// Checkout is the payment server's name of the attempt, URL its page.
	Checkout string            `json:"checkout"`
	URL      string            `json:"url,omitempty"`
	State    wire.PaymentState `json:"state"`
	Reason   string            `json:"reason,omitempty"`
	// GivenUp is why the payment server was asked to let it expire, kept before it is asked: its notice of that can be
	// here before its answer.
	GivenUp   string    `json:"given_up,omitempty"`
	Reference string    `json:"reference,omitempty"`
	Begun     time.Time `json:"begun"`
	Expires   time.Time `json:"expires"`
	Ended     time.Time `json:"ended,omitzero"`
}

// over reports whether nothing more can come.
func (p Payment) over() bool {
	return p.State == wire.PaymentPaid || p.State == wire.PaymentFailed || p.State == wire.PaymentCancelled
}

// info is the payment as it is told; its page only to those who pay.
func (p Payment) info(payer bool) wire.Payment {
	w := wire.Payment{
		ID: p.ID, Session: p.Session, Seq: p.Seq, Overlay: p.Overlay, Region: p.Region, Action: p.Action,
		Item: p.Item, Amount: p.Amount, State: p.State, Reason: p.Reason, Reference: p.Reference, Begun: p.Begun,
	}
	if p.over() {
		w.Ended = &p.Ended
	} else {
		w.Expires = &p.Expires
	}
	if p.State == wire.PaymentOpen && payer {
		w.URL = p.URL
	}
	return w
}

// Watch says when a payment server is to be asked of a payment next: table "payments-due", key store.Key(tenant,
// session, id). It is there before anybody can pay, and until the outcome has been told.
type Watch struct {
	Tenant  wire.TenantID  `json:"tenant"`
	Session wire.SessionID `json:"session"`
	ID      wire.PaymentID `json:"id"`
	Next    time.Time      `json:"next"`
}

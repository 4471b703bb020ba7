package payment

import (
	"context"
	"time"

	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

// Till is a kind of payment server. Its methods may be called from several goroutines.
type Till interface {
	// Open makes a checkout; the same order makes it once. ErrTill, ErrRefused.
	Open(ctx context.Context, key string, o Order) (Checkout, error)
	// Look says how a checkout is. ErrTill, ErrRefused.
	Look(ctx context.Context, key, checkout string) (Checkout, error)
	// Expire ends a checkout that is not paid yet, and says how it is then. ErrTill, ErrRefused.
	Expire(ctx context.Context, key, checkout string) (Checkout, error)
	// Notice reads a notice, which must have been signed with the secret lately. ErrSignature.
	Notice(secret, signature string, body []byte) (Notice, error)
}

// Order is what a checkout is for.
type Order struct {
	Session wire.SessionID
	Payment wire.PaymentID
	Attempt int
	Item    string
	Amount  overlay.Amount
	// Back is the page that the customer comes back to, paid or not.
	Back string
	// Until it can be paid.
	Until time.Time
}

// Checkout is a page of the payment server's, on which something can be paid.
type Checkout struct {
	ID, URL string
	State   wire.PaymentState // cancelled: it has expired
	// Reference by which the payment server knows what was paid.
	Reference string
}

// Notice says that something has happened to a checkout.
type Notice struct {
	// Session and Payment of the order; empty: it is about something else.
	Session  wire.SessionID
	Payment  wire.PaymentID
	Checkout string
	// Declined: the money of a payment that was being processed does not come.
	Declined bool
}

package payment

import (
	"context"
	"time"

	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

// Gateway is the way to a kind of payment server. Its methods may be called from several goroutines.
type Gateway interface {
	// Open makes a checkout; the same order makes it once. ErrGateway, ErrRefused, ErrRequest.
	Open(ctx context.Context, key string, o Order) (Checkout, error)
	// Look says how a checkout is. ErrGateway, ErrRefused.
	Look(ctx context.Context, key, checkout string) (Checkout, error)
	// Expire ends a checkout that is not paid yet, and says how it is then. ErrGateway, ErrRefused.
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
	// State: cancelled where it has expired, failed where the money of what was processed does not come.
	State wire.PaymentState
	// Reference by which the payment server knows what was paid.
	Reference string
}

// Notice says that something has happened to a checkout: what, is to be looked at.
type Notice struct {
	// Session and Payment of the order; empty: it is about something else.
	Session  wire.SessionID
	Payment  wire.PaymentID
	Checkout string
}

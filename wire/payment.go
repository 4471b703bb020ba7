package wire

import (
	"time"

	"github.com/tandem-call/tandem/overlay"
)

// PaymentID names a payment within its session.
type PaymentID string

// PaymentState is how far a payment is.
type PaymentState string

const (
	// PaymentOpen: the payment server waits for the customer, at the payment's URL.
	PaymentOpen PaymentState = "open"
	// PaymentProcessing: the customer is done, and the payment server does not know yet whether the money
	// comes (a bank transfer, for instance).
	PaymentProcessing PaymentState = "processing"
	// PaymentPaid: the payment server has the money.
	PaymentPaid PaymentState = "paid"
	// PaymentFailed: the money does not come.
	PaymentFailed PaymentState = "failed"
	// PaymentCancelled: given up by the customer, or not paid in time.
	PaymentCancelled PaymentState = "cancelled"
)

// PaymentRequest begins the payment that an action of an overlay asks for (SPEC I6). What is paid and how
// much is in the overlay.
type PaymentRequest struct {
	// Region is the overlay's region that was touched.
	Region string `json:"region" minLength:"1" maxLength:"64"`
	// Action is its place among the region's actions, from 0.
	Action int `json:"action" minimum:"0" maximum:"15"`
}

// Payment is one payment, as whoever pays and whoever is paid see it.
type Payment struct {
	// ID of the payment, the same for every touch of an action.
	ID PaymentID `json:"id"`
	// Session in which it was asked for.
	Session SessionID `json:"session"`
	// Seq of the message with the overlay.
	Seq uint64 `json:"seq"`
	// Overlay is its document's id.
	Overlay string `json:"overlay"`
	// Region that was touched.
	Region string `json:"region"`
	// Action is its place among the region's actions, from 0.
	Action int `json:"action"`
	// Item and Amount as the overlay has them.
	Item   string         `json:"item"`
	Amount overlay.Amount `json:"amount"`
	// State is how far it is.
	State PaymentState `json:"state" enum:"open,processing,paid,failed,cancelled"`
	// Reason of failed (declined, unknown) and cancelled (by_customer, expired, session_closed).
	Reason string `json:"reason,omitempty"`
	// URL of the payment server's page while the payment is open; for the side that pays only.
	URL string `json:"url,omitempty"`
	// Expires is when an open payment is cancelled.
	Expires *time.Time `json:"expires,omitempty"`
	// Reference by which the payment server knows what was paid.
	Reference string `json:"reference,omitempty"`
	// Begun is when this attempt was.
	Begun time.Time `json:"begun"`
	// Ended is when it was paid, failed or cancelled.
	Ended *time.Time `json:"ended,omitempty"`
}

// PaymentList lists payments, the oldest first.
type PaymentList struct {
	Payments []Payment `json:"payments"`
}

// PaymentAccountDraft is an account with a payment server, to which customers pay.
type PaymentAccountDraft struct {
	// Numbers whose overlays are paid to it.
	Numbers []string `json:"numbers" minItems:"1" maxItems:"100" doc:"Numbers and other identities, or beginnings of numbers, whose overlays are paid to this account"`
	// Key with which checkouts are made at the payment server. It is never shown. Absent: the one that is
	// there stays.
	Key string `json:"key,omitempty" maxLength:"512" doc:"Secret key of the payment server's account; a restricted one that may write checkout sessions is enough. Never shown; absent: the one that is there stays"`
	// HookSecret proves that notices come from the payment server. Never shown; absent: as above.
	HookSecret string `json:"hook_secret,omitempty" maxLength:"512" doc:"Secret of the payment server's webhook. Never shown; absent: the one that is there stays"`
}

// PaymentAccount is an account, without its secrets.
type PaymentAccount struct {
	Name    string   `json:"name"`
	Numbers []string `json:"numbers"`
	// HookURL is where the payment server's webhook is to post.
	HookURL string `json:"hook_url"`
	// HookSecretSet: notices can be proved. Without them outcomes are learned by asking, some seconds later.
	HookSecretSet bool      `json:"hook_secret_set"`
	Changed       time.Time `json:"changed"`
}

// PaymentAccountList lists accounts.
type PaymentAccountList struct {
	Accounts []PaymentAccount `json:"accounts"`
}

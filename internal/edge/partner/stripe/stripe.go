// Package stripe takes payments by Stripe's hosted page (Checkout): cards and wallets are entered there, and never
// come to Tandem. [Gateway] implements the port of internal/payment by Stripe's API (https://docs.stripe.com/api/checkout/sessions)
// with Stripe's own library. It makes three requests and takes four events.
package stripe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v85"
	"github.com/stripe/stripe-go/v85/webhook"

	"github.com/tandem-call/tandem/internal/payment"
	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

// Config of a Gateway.
type Config struct {
	// URL of the API; empty: Stripe's own.
	URL string
	// Timeout of one request; 0: 10 s.
	Timeout time.Duration
}

// Gateway implements payment.Gateway. Make it with [New].
type Gateway struct{ backend stripe.Backend }

// New returns a Gateway. It keeps connections; nothing needs closing.
func New(c Config) *Gateway {
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	b := &stripe.BackendConfig{
		HTTPClient:        &http.Client{Timeout: c.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		MaxNetworkRetries: stripe.Int64(1), EnableTelemetry: stripe.Bool(false),
		LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull}, // it would log what is paid
	}
	if c.URL != "" {
		b.URL = stripe.String(strings.TrimSuffix(c.URL, "/"))
	}
	return &Gateway{stripe.GetBackendWithConfig(stripe.APIBackend, b)}
}

// What a checkout says of its order, for notices.
const (
	metaSession = "tandem_session"
	metaPayment = "tandem_payment"
)

// of is Stripe's client of an account.
func (g *Gateway) of(key string) *stripe.Client {
	return stripe.NewClient(key, stripe.WithBackends(&stripe.Backends{API: g.backend}))
}

// Open makes a checkout.
func (g *Gateway) Open(ctx context.Context, key string, o payment.Order) (payment.Checkout, error) {
	amount, err := minor(o.Amount)
	if err != nil {
		return payment.Checkout{}, err
	}
	p := &stripe.CheckoutSessionCreateParams{
		Mode: stripe.String(string(stripe.CheckoutSessionModePayment)),
		LineItems: []*stripe.CheckoutSessionCreateLineItemParams{{
			Quantity: stripe.Int64(1),
			PriceData: &stripe.CheckoutSessionCreateLineItemPriceDataParams{
				Currency:    stripe.String(strings.ToLower(o.Amount.Currency)),
				UnitAmount:  stripe.Int64(amount),
				ProductData: &stripe.CheckoutSessionCreateLineItemPriceDataProductDataParams{Name: stripe.String(o.Item)},
			},
		}},
		SuccessURL: stripe.String(o.Back + "?paid"), CancelURL: stripe.String(o.Back + "?cancelled"),
		ExpiresAt:         stripe.Int64(o.Until.Unix()),
		ClientReferenceID: stripe.String(string(o.Payment)),
	}
	p.AddMetadata(metaSession, string(o.Session))
	p.AddMetadata(metaPayment, string(o.Payment))
	p.SetIdempotencyKey(fmt.Sprintf("%s-%s-%d-%d", o.Session, o.Payment, o.Attempt, o.Until.Unix()))
	s, err := g.of(key).V1CheckoutSessions.Create(ctx, p)
	if err != nil {
		return payment.Checkout{}, failure(err)
	}
	return checkout(s)
}

// Look says how a checkout is.
func (g *Gateway) Look(ctx context.Context, key, id string) (payment.Checkout, error) {
	p := &stripe.CheckoutSessionRetrieveParams{}
	p.AddExpand("payment_intent")
	s, err := g.of(key).V1CheckoutSessions.Retrieve(ctx, id, p)
	if err != nil {
		return payment.Checkout{}, failure(err)
	}
	return checkout(s)
}

// Expire ends a checkout. One that has been paid, or has expired, is only looked at.
func (g *Gateway) Expire(ctx context.Context, key, id string) (payment.Checkout, error) {
	s, err := g.of(key).V1CheckoutSessions.Expire(ctx, id, nil)
	var refused *stripe.Error
	if errors.As(err, &refused) && refused.HTTPStatusCode == http.StatusBadRequest {
		return g.Look(ctx, key, id)
	}
	if err != nil {
		return payment.Checkout{}, failure(err)
	}
	return checkout(s)
}

// checkout reads Stripe's answer.
func checkout(s *stripe.CheckoutSession) (payment.Checkout, error) {
	if s.ID == "" {
		return payment.Checkout{}, fmt.Errorf("%w: %w", payment.ErrGateway, errNoCheckout)
	}
	c := payment.Checkout{ID: s.ID, URL: s.URL, State: wire.PaymentOpen}
	switch {
	case s.Status == stripe.CheckoutSessionStatusExpired:
		c.State = wire.PaymentCancelled
	case s.Status == stripe.CheckoutSessionStatusComplete && s.PaymentStatus == stripe.CheckoutSessionPaymentStatusUnpaid:
		c.State = wire.PaymentProcessing
		// A payment that failed afterwards waits for another way to pay, which the page no longer offers.
		if i := s.PaymentIntent; i != nil && (i.Status == stripe.PaymentIntentStatusRequiresPaymentMethod || i.Status == stripe.PaymentIntentStatusCanceled) {
			c.State = wire.PaymentFailed
		}
	case s.Status == stripe.CheckoutSessionStatusComplete:
		c.State = wire.PaymentPaid
	}
	if s.PaymentIntent != nil {
		c.Reference = s.PaymentIntent.ID
	}
	return c, nil
}

// failure sorts Stripe's errors, whose texts may hold what was sent, into ours.
func failure(err error) error {
	var e *stripe.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%w: %w", payment.ErrGateway, errUnreachable)
	}
	what := "status " + strconv.Itoa(e.HTTPStatusCode)
	for _, s := range []string{string(e.Code), e.Param, e.RequestID} {
		if s != "" {
			what += ", " + s
		}
	}
	if e.HTTPStatusCode >= 500 || e.HTTPStatusCode == http.StatusTooManyRequests || e.HTTPStatusCode == http.StatusConflict {
		return fmt.Errorf("%w (%s)", payment.ErrGateway, what)
	}
	return fmt.Errorf("%w (%s)", payment.ErrRefused, what)
}

var (
	errUnreachable = errors.New("no answer in time")
	errNoCheckout  = errors.New("the answer is none of its own")
)

// Notice reads an event (https://docs.stripe.com/webhooks): its signature is by HMAC-SHA256 and at most five minutes
// old. Events that are not about checkouts of ours have no Payment.
func (g *Gateway) Notice(secret, signature string, body []byte) (payment.Notice, error) {
	e, err := webhook.ConstructEventWithOptions(body, signature, secret, webhook.ConstructEventOptions{
		Tolerance: webhook.DefaultTolerance, IgnoreAPIVersionMismatch: true, // we read three fields, which all versions have
	})
	if err != nil {
		return payment.Notice{}, payment.ErrSignature
	}
	switch e.Type {
	case stripe.EventTypeCheckoutSessionCompleted, stripe.EventTypeCheckoutSessionExpired,
		stripe.EventTypeCheckoutSessionAsyncPaymentSucceeded, stripe.EventTypeCheckoutSessionAsyncPaymentFailed:
	default:
		return payment.Notice{}, nil
	}
	var about struct {
		ID       string            `json:"id"`
		Metadata map[string]string `json:"metadata"`
	}
	if e.Data == nil || json.Unmarshal(e.Data.Raw, &about) != nil {
		return payment.Notice{}, nil
	}
	return payment.Notice{
		Session: wire.SessionID(about.Metadata[metaSession]), Payment: wire.PaymentID(about.Metadata[metaPayment]), Checkout: about.ID,
	}, nil
}

// minor brings an amount in minor units of ISO 4217 into those of Stripe, which has its own for a few currencies
// (https://docs.stripe.com/currencies#special-cases): two decimals, of which both are zero, for two that by ISO 4217 have
// none, and only multiples of ten for those of three decimals. payment.ErrRequest.
func minor(a overlay.Amount) (int64, error) {
	switch a.Currency {
	case "ISK", "UGX":
		return a.Minor * 100, nil
	case "BHD", "JOD", "KWD", "OMR", "TND":
		if a.Minor%10 != 0 {
			return 0, fmt.Errorf("%w: amounts in %s must end in 0: the payment server takes two decimals", payment.ErrRequest, a.Currency)
		}
	}
	return a.Minor, nil
}

package httpapi

import (
	"context"
	"net/http"

	"github.com/tandem-call/tandem/wire"
)

// Payments lets customers pay what overlays ask for (SPEC I6).
type Payments interface {
	PaymentAccounts(ctx context.Context, who Caller) ([]wire.PaymentAccount, error)
	PaymentAccount(ctx context.Context, who Caller, name string) (wire.PaymentAccount, error)
	SetPaymentAccount(ctx context.Context, who Caller, name string, d wire.PaymentAccountDraft) (wire.PaymentAccount, error)
	RemovePaymentAccount(ctx context.Context, who Caller, name string) error

	BeginPayment(ctx context.Context, who Caller, id wire.SessionID, seq uint64, r wire.PaymentRequest) (wire.Payment, error)
	CancelPayment(ctx context.Context, who Caller, session wire.SessionID, id wire.PaymentID) (wire.Payment, error)
	Payments(ctx context.Context, who Caller, id wire.SessionID) ([]wire.Payment, error)

	// PaymentNoticed takes a notice of a payment server.
	PaymentNoticed(ctx context.Context, tenant wire.TenantID, account, signature string, body []byte) error
}

// PaymentAccountPath is the path of an account.
type PaymentAccountPath struct {
	Name string `path:"name" maxLength:"64"`
}

func (a *API) payments() {
	const tag = "payment"
	register(a, Operation{
		ID: "list-payment-accounts", Method: http.MethodGet, Path: "/v1/payment-accounts", Roles: providers, Scope: ScopePayments, Tag: tag,
		Summary: "Accounts to which customers pay, without their secrets; of a provider's key, those whose numbers are in its ranges",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.PaymentAccountList], error) {
		l, err := a.Config.Payments.PaymentAccounts(ctx, who)
		return answer(wire.PaymentAccountList{Accounts: l}, err)
	})
	register(a, Operation{
		ID: "get-payment-account", Method: http.MethodGet, Path: "/v1/payment-accounts/{name}", Roles: providers, Scope: ScopePayments, Tag: tag,
		Summary: "An account, without its secrets", Codes: []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *PaymentAccountPath) (*body[wire.PaymentAccount], error) {
		return answer(a.Config.Payments.PaymentAccount(ctx, who, in.Name))
	})
	type draft struct {
		PaymentAccountPath
		Body wire.PaymentAccountDraft
	}
	register(a, Operation{
		ID: "set-payment-account", Method: http.MethodPut, Path: "/v1/payment-accounts/{name}", Roles: providers, Scope: ScopePayments, Tag: tag,
		Summary: "Make an account, or change it; secrets that are left out stay", Codes: []wire.Code{wire.CodeConflict},
	}, func(ctx context.Context, who Caller, in *draft) (*body[wire.PaymentAccount], error) {
		return answer(a.Config.Payments.SetPaymentAccount(ctx, who, in.Name, in.Body))
	})
	register(a, Operation{
		ID: "remove-payment-account", Method: http.MethodDelete, Path: "/v1/payment-accounts/{name}", Roles: providers, Scope: ScopePayments, Status: http.StatusNoContent, Tag: tag,
		Summary: "Remove an account; what is open at the payment server is not looked at any more", Codes: []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *PaymentAccountPath) (*struct{}, error) {
		return done(a.Config.Payments.RemovePaymentAccount(ctx, who, in.Name))
	})

	type begin struct {
		OverlayMessagePath
		Body wire.PaymentRequest
	}
	register(a, Operation{
		ID: "begin-payment", Method: http.MethodPost, Path: "/v1/sessions/{session}/overlays/{seq}/payments", Roles: devices, Tag: tag,
		Summary: "Begin the payment that an action of an overlay asks for",
		Description: "The answer has the address of the payment server's page. Touching it again returns the same payment; one that was not paid is begun anew. " +
			"What came of it is a message of the session, of kind tandem.overlay.result; this device gets the notice payment instead.",
		Codes: []wire.Code{wire.CodeNotMember, wire.CodeSessionClosed, wire.CodeNotFound, wire.CodeConflict, wire.CodePaymentServer},
	}, func(ctx context.Context, who Caller, in *begin) (*body[wire.Payment], error) {
		return answer(a.Config.Payments.BeginPayment(ctx, who, in.ID, in.Seq, in.Body))
	})
	register(a, Operation{
		ID: "list-payments", Method: http.MethodGet, Path: "/v1/sessions/{session}/payments", Roles: senders, Scope: ScopePayments, Tag: tag,
		Summary: "The payments of a session that the caller makes, or that are paid to its accounts; of others none",
	}, func(ctx context.Context, who Caller, in *SessionPath) (*body[wire.PaymentList], error) {
		l, err := a.Config.Payments.Payments(ctx, who, in.ID)
		return answer(wire.PaymentList{Payments: l}, err)
	})
	type one struct {
		SessionPath
		Payment wire.PaymentID `path:"payment" maxLength:"64"`
	}
	register(a, Operation{
		ID: "cancel-payment", Method: http.MethodDelete, Path: "/v1/sessions/{session}/payments/{payment}", Roles: devices, Tag: tag,
		Summary: "Give up a payment that this device began and that is still open", Codes: []wire.Code{wire.CodeNotFound, wire.CodeConflict, wire.CodePaymentServer},
	}, func(ctx context.Context, who Caller, in *one) (*body[wire.Payment], error) {
		return answer(a.Config.Payments.CancelPayment(ctx, who, in.ID, in.Payment))
	})

	type notice struct {
		Tenant    wire.TenantID `path:"tenant" maxLength:"64"`
		Account   string        `path:"account" maxLength:"64"`
		Signature string        `header:"Stripe-Signature" maxLength:"1024" doc:"As Stripe signs its events: HMAC-SHA256 over time and body, at most five minutes old"`
		RawBody   []byte        `doc:"An event of the payment server's"`
	}
	register(a, Operation{
		ID: "payment-noticed", Method: http.MethodPost, Path: "/v1/payment-hooks/{tenant}/{account}", Status: http.StatusNoContent, Tag: tag,
		Summary:     "For the payment server: something has happened to a checkout",
		Description: "It is only a reason to look: what has become of the checkout is asked of the payment server. Events about anything else are passed over.",
		Codes:       []wire.Code{wire.CodeNotFound, wire.CodeUnauthenticated, wire.CodePaymentServer, wire.CodeTooLarge, wire.CodeUnsupportedType},
	}, func(ctx context.Context, _ Caller, in *notice) (*struct{}, error) {
		return done(a.Config.Payments.PaymentNoticed(ctx, in.Tenant, in.Account, in.Signature, in.RawBody))
	})
}

package httpapi

import (
	"context"
	"net/http"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Webhooks are an operator's endpoints for events.
type Webhooks interface {
	Webhooks(ctx context.Context, who Caller) ([]wire.Webhook, error)
	AddWebhook(ctx context.Context, who Caller, r wire.WebhookRequest) (wire.Webhook, error)
	RemoveWebhook(ctx context.Context, who Caller, id string) error
	// RotateWebhook makes a new secret; the older one signs too for a day.
	RotateWebhook(ctx context.Context, who Caller, id string) (wire.Webhook, error)
	EnableWebhook(ctx context.Context, who Caller, id string) error
	TestWebhook(ctx context.Context, who Caller, id string) (wire.WebhookDelivery, error)
	// Deliveries lists the newest; id and status may be "".
	Deliveries(ctx context.Context, who Caller, id, status string, limit int) ([]wire.WebhookDelivery, error)
	// Replay sends an event again, to one webhook or ("") to each that it was for.
	Replay(ctx context.Context, who Caller, event, id string) error
}

// Bars are an operator's blocks of identities.
type Bars interface {
	Barred(ctx context.Context, who Caller) ([]wire.Barred, error)
	Bar(ctx context.Context, who Caller, id tel.Identity, note string) error
	Unbar(ctx context.Context, who Caller, id tel.Identity) error
}

func (a *API) webhooks() {
	const tag = "operator"
	register(a, Operation{
		ID: "list-webhooks", Method: http.MethodGet, Path: "/v1/operator/webhooks", Roles: operators, Scope: ScopeWebhooks, Tag: tag,
		Summary: "Webhooks, without their secrets",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.WebhookList], error) {
		l, err := a.Config.Webhooks.Webhooks(ctx, who)
		return answer(wire.WebhookList{Webhooks: l}, err)
	})
	type add struct {
		Body wire.WebhookRequest
	}
	register(a, Operation{
		ID: "add-webhook", Method: http.MethodPost, Path: "/v1/operator/webhooks", Roles: operators, Scope: ScopeWebhooks, Status: http.StatusCreated, Tag: tag,
		Summary:     "Send events to an address; the secret is shown this once",
		Description: "Events are CloudEvents 1.0 with the headers of Standard Webhooks. They come at least once, in no promised order.",
		Codes:       []wire.Code{wire.CodeConflict},
	}, func(ctx context.Context, who Caller, in *add) (*body[wire.Webhook], error) {
		return answer(a.Webhooks.AddWebhook(ctx, who, in.Body))
	})
	type byID struct {
		ID string `path:"id" maxLength:"64"`
	}
	register(a, Operation{
		ID: "remove-webhook", Method: http.MethodDelete, Path: "/v1/operator/webhooks/{id}", Roles: operators, Scope: ScopeWebhooks, Status: http.StatusNoContent, Tag: tag,
		Summary: "Remove a webhook, with what is pending for it", Codes: []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *byID) (*struct{}, error) {
		return done(a.Webhooks.RemoveWebhook(ctx, who, in.ID))
	})
	register(a, Operation{
		ID: "rotate-webhook", Method: http.MethodPost, Path: "/v1/operator/webhooks/{id}/secret", Roles: operators, Scope: ScopeWebhooks, Tag: tag,
		Summary: "Make a new secret; for a day events are signed with both", Codes: []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *byID) (*body[wire.Webhook], error) {
		return answer(a.Webhooks.RotateWebhook(ctx, who, in.ID))
	})
	register(a, Operation{
		ID: "enable-webhook", Method: http.MethodPost, Path: "/v1/operator/webhooks/{id}/enable", Roles: operators, Scope: ScopeWebhooks, Status: http.StatusNoContent, Tag: tag,
		Summary: "Let a disabled webhook work again", Codes: []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *byID) (*struct{}, error) {
		return done(a.Webhooks.EnableWebhook(ctx, who, in.ID))
	})
	register(a, Operation{
		ID: "test-webhook", Method: http.MethodPost, Path: "/v1/operator/webhooks/{id}/test", Roles: operators, Scope: ScopeWebhooks, Tag: tag,
		Summary: "Send one event of the type webhook.test, and say what came of it", Codes: []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *byID) (*body[wire.WebhookDelivery], error) {
		return answer(a.Webhooks.TestWebhook(ctx, who, in.ID))
	})
	type list struct {
		Webhook string `query:"webhook" maxLength:"64" doc:"Of this webhook only"`
		Status  string `query:"status" enum:"pending,delivered,failed" doc:"With this status only"`
		Limit   int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	}
	register(a, Operation{
		ID: "list-webhook-deliveries", Method: http.MethodGet, Path: "/v1/operator/webhook-deliveries", Roles: operators, Scope: ScopeWebhooks, Tag: tag,
		Summary: "The log of deliveries, the newest first",
	}, func(ctx context.Context, who Caller, in *list) (*body[wire.WebhookDeliveryList], error) {
		l, err := a.Webhooks.Deliveries(ctx, who, in.Webhook, in.Status, in.Limit)
		return answer(wire.WebhookDeliveryList{Deliveries: l}, err)
	})
	type replay struct {
		Event string `path:"event" maxLength:"64"`
		Body  wire.WebhookReplay
	}
	register(a, Operation{
		ID: "replay-event", Method: http.MethodPost, Path: "/v1/operator/webhook-deliveries/{event}/replay", Roles: operators, Scope: ScopeWebhooks, Status: http.StatusNoContent, Tag: tag,
		Summary: "Send an event again, with the same id", Codes: []wire.Code{wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *replay) (*struct{}, error) {
		return done(a.Webhooks.Replay(ctx, who, in.Event, in.Body.Webhook))
	})
}

func (a *API) bars() {
	const tag = "operator"
	register(a, Operation{
		ID: "list-barred", Method: http.MethodGet, Path: "/v1/operator/barred", Roles: operators, Scope: ScopeParties, Tag: tag,
		Summary: "Numbers, and other identities, that are barred",
	}, func(ctx context.Context, who Caller, _ *struct{}) (*body[wire.BarredList], error) {
		l, err := a.Bars.Barred(ctx, who)
		return answer(wire.BarredList{Barred: l}, err)
	})
	type bar struct {
		Body wire.BarRequest
	}
	register(a, Operation{
		ID: "bar", Method: http.MethodPost, Path: "/v1/operator/barred", Roles: operators, Scope: ScopeParties, Status: http.StatusNoContent, Tag: tag,
		Summary:     "Bar a number: no enrolment, no matches, no sessions; open ones are closed",
		Description: "Whoever tries is not told: answers are those of a number that nobody calls.",
		Codes:       []wire.Code{wire.CodeBadIdentity},
	}, func(ctx context.Context, who Caller, in *bar) (*struct{}, error) {
		return onIdentity(in.Body.Identity, func(id tel.Identity) error { return a.Bars.Bar(ctx, who, id, in.Body.Note) })
	})
	type identity struct {
		Identity string `query:"identity" required:"true" maxLength:"512"`
	}
	register(a, Operation{
		ID: "unbar", Method: http.MethodDelete, Path: "/v1/operator/barred", Roles: operators, Scope: ScopeParties, Status: http.StatusNoContent, Tag: tag,
		Summary: "Take a bar back", Codes: []wire.Code{wire.CodeBadIdentity, wire.CodeNotFound},
	}, func(ctx context.Context, who Caller, in *identity) (*struct{}, error) {
		return onIdentity(in.Identity, func(id tel.Identity) error { return a.Bars.Unbar(ctx, who, id) })
	})
}

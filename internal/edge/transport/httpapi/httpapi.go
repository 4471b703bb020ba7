// Package httpapi is the HTTP API under /v1, with its OpenAPI 3.1 description, and the
// pages about the server itself: health, metrics, schemas, problems.
//
// [New] registers every operation on a mux. An operation decodes, checks who is calling
// ([Caller]) against the roles that may ([Operation]), and hands over to one of the
// ports in port.go; it decides nothing itself. Errors become RFC 9457 problem details.
package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/tandem-call/tandem/wire"
)

// Config of the API.
type Config struct {
	Version string
	// MaxBody is the largest request body, in bytes; files have a limit of their own.
	MaxBody int64

	Auth      Auth
	Enrolment Enrolment
	Devices   Devices
	Calls     Calls
	Couplings Couplings
	Sessions  Sessions
	Operator  Operator
	Webhooks  Webhooks
	Bars      Bars
	Blocks    Blocks
	Tenants   Tenants
	Pushes    Pushes
	Pages     Pages
	Guests    Guests
	Profiles  Profiles
	Places    Places
	Agents    Agents
	Overlays  Overlays
	Payments  Payments

	// Ready returns nil while the server should get requests.
	Ready func(context.Context) error
	// Metrics serves the metrics; operators only.
	Metrics http.Handler
	// Remote returns the client's address, seen through trusted proxies.
	Remote func(*http.Request) netip.Addr
	Logger *slog.Logger
}

// API is the HTTP API.
type API struct {
	Config
	huma huma.API
}

// New registers the API on mux.
func New(mux *http.ServeMux, c Config) *API {
	setUpHuma()
	hc := huma.DefaultConfig("Tandem", c.Version)
	hc.Info.Description = "A data session beside a phone call. Frames on the WebSocket /v1/connect are described by /schemas/asyncapi.json."
	hc.OpenAPIPath, hc.SchemasPath, hc.DocsPath = "/openapi", "", ""
	hc.CreateHooks = nil // no $schema links in the answers
	strict := huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: unmarshal}
	hc.Formats = map[string]huma.Format{"application/json": strict, "json": strict}
	hc.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", Description: "A device's token from /v1/tokens, or an API key made by `tandem token`."},
	}
	a := &API{Config: c, huma: humago.New(mux, hc)}
	a.huma.UseMiddleware(a.authorise)
	a.enrolment()
	a.devices()
	a.calls()
	a.couplings()
	a.sessions()
	a.operator()
	a.webhooks()
	a.bars()
	a.tenants()
	a.pushes()
	a.ownPages()
	a.guests()
	a.profiles()
	a.places()
	a.agents()
	a.storedOverlays()
	a.overlays()
	a.payments()
	a.pages(mux)
	return a
}

// setUpHuma sets what huma keeps for the whole process.
var setUpHuma = sync.OnceFunc(func() {
	huma.ValidateStrictCasing = true
	huma.NewError = newError
	huma.NewErrorWithContext = func(_ huma.Context, status int, msg string, errs ...error) huma.StatusError {
		return newError(status, msg, errs...)
	}
})

// unmarshal reads a body as strictly as a frame. huma reads each body twice: loosely, to
// look for faults by the schema, and then into its type.
func unmarshal(data []byte, v any) error {
	if _, loose := v.(*any); loose {
		return json.Unmarshal(data, v)
	}
	if err := wire.Unmarshal(data, v); err != nil {
		p := wire.ProblemOf(err)
		if p.Code == wire.CodeBadFrame {
			return errors.New(p.Detail)
		}
		return fmt.Errorf("%s: %s", p.Code, p.Detail) // huma keeps the text only: see newError
	}
	return nil
}

// OpenAPI returns the description of every operation.
func (a *API) OpenAPI() *huma.OpenAPI { return a.huma.OpenAPI() }

// Operation describes one operation of the API.
type Operation struct {
	ID, Method, Path, Summary string
	// Description in Markdown; may be empty.
	Description string
	// Roles that may call it; none: anybody.
	Roles []Role
	// Scope that an API key needs, if it is limited; zero: ScopeServer.
	Scope Scope
	// Status of the answer; zero: 200.
	Status int
	Tag    string
	// MaxBody of the request, in bytes; zero: Config.MaxBody.
	MaxBody int64
	// Request describes a body that is no JSON.
	Request *huma.RequestBody
	// Codes of problems to expect, besides those that every operation can give.
	Codes []wire.Code
}

// register adds an operation. f gets the caller that the roles allow.
func register[I, O any](a *API, op Operation, f func(ctx context.Context, who Caller, in *I) (*O, error)) {
	h := huma.Operation{
		OperationID: op.ID, Method: op.Method, Path: op.Path, Summary: op.Summary, Description: op.Description,
		Tags: []string{op.Tag}, DefaultStatus: op.Status, MaxBodyBytes: cmp.Or(op.MaxBody, a.MaxBody), RequestBody: op.Request, BodyReadTimeout: 15 * time.Second,
		Metadata: map[string]any{rolesKey: op.Roles, scopeKey: cmp.Or(op.Scope, ScopeServer)}, Responses: map[string]*huma.Response{},
	}
	statuses := map[int]bool{}
	codes := append([]wire.Code{wire.CodeBadRequest, wire.CodeTooMany, wire.CodeInternal}, op.Codes...)
	if _, ok := reflect.TypeFor[I]().FieldByName("Body"); ok {
		codes = append(codes, wire.CodeTooLarge, wire.CodeUnsupportedType)
	}
	for _, c := range codes {
		statuses[wire.Catalogue[c].Status] = true
	}
	if len(op.Roles) > 0 {
		h.Security = []map[string][]string{{"bearer": {}}}
		statuses[http.StatusUnauthorized], statuses[http.StatusForbidden] = true, true
	}
	for s := range statuses {
		h.Errors = append(h.Errors, s)
	}
	huma.Register(a.huma, h, func(ctx context.Context, in *I) (*O, error) {
		out, err := f(ctx, callerFrom(ctx), in)
		if err != nil {
			return nil, a.refuse(ctx, op.ID, err)
		}
		return out, nil
	})
	// huma adds a status of its own for invalid requests; ours is 400.
	delete(h.Responses, "422")
}

// body wraps an answer for huma.
type body[T any] struct{ Body T }

func answer[T any](v T, err error) (*body[T], error) {
	if err != nil {
		return nil, err
	}
	return &body[T]{v}, nil
}

func done(err error) (*struct{}, error) { return nil, err }

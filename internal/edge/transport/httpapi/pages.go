package httpapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/tandem-call/tandem/wire"
)

// Pages is what the server's own pages ask for.
type Pages interface {
	Page(r *http.Request) wire.Page
	// TrialCode returns the last code made for the phone whose page makes the request, if
	// that page is one of Try it.
	TrialCode(r *http.Request) (wire.TrialCode, error)
}

// whole gives an operation the request itself.
type whole struct{ request *http.Request }

// Resolve implements huma.Resolver.
func (w *whole) Resolve(ctx huma.Context) []error {
	w.request, _ = humago.Unwrap(ctx)
	return nil
}

func (a *API) ownPages() {
	register(a, Operation{
		ID: "page", Method: http.MethodGet, Path: "/v1/page", Tag: "page",
		Summary: "What the server's own pages need to know of it",
	}, func(_ context.Context, _ Caller, in *whole) (*body[wire.Page], error) {
		return answer(a.Pages.Page(in.request), nil)
	})
	register(a, Operation{
		ID: "trial-code", Method: http.MethodPost, Path: "/v1/trial-code", Tag: "page",
		Summary: "The one-time code of a phone of Try it",
		Description: "Only on a development server on this machine, only for the pages of Try it on host names of their own, " +
			"and each gets the code of its own fictional number.",
		Codes: []wire.Code{wire.CodeForbidden, wire.CodeNotFound},
	}, func(_ context.Context, _ Caller, in *whole) (*body[wire.TrialCode], error) {
		return answer(a.Pages.TrialCode(in.request))
	})
}

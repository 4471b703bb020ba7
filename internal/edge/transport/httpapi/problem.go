package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// problem fits a wire.Problem to huma.
type problem struct{ *wire.Problem }

func (p problem) GetStatus() int               { return p.Status }
func (p problem) ContentType(string) string    { return "application/problem+json" }
func (p problem) MarshalJSON() ([]byte, error) { return json.Marshal(p.Problem) }
func (p problem) Unwrap() error                { return p.Problem }

// codes of the errors that huma finds by itself.
var codes = map[int]wire.Code{
	http.StatusBadRequest: wire.CodeBadRequest, http.StatusUnprocessableEntity: wire.CodeBadRequest,
	http.StatusUnauthorized: wire.CodeUnauthenticated, http.StatusForbidden: wire.CodeForbidden,
	http.StatusNotFound: wire.CodeNotFound, http.StatusMethodNotAllowed: wire.CodeMethodNotAllowed,
	http.StatusRequestEntityTooLarge: wire.CodeTooLarge, http.StatusUnsupportedMediaType: wire.CodeUnsupportedType,
	http.StatusRequestTimeout: wire.CodeBadRequest,
}

// newError makes a problem of what huma found wrong in a request.
func newError(status int, msg string, errs ...error) huma.StatusError {
	c, ok := codes[status]
	if !ok {
		c = wire.CodeInternal
	}
	p := wire.NewProblem(c, "%s", msg)
	for _, err := range errs {
		var d *huma.ErrorDetail
		if errors.As(err, &d) {
			code, said, coded := strings.Cut(d.Message, ": ")
			if _, known := wire.Catalogue[wire.Code(code)]; coded && known { // of unmarshal
				return problem{wire.NewProblem(wire.Code(code), "%s", said)}
			}
			p.Errors = append(p.Errors, wire.FieldError{Location: d.Location, Message: d.Message})
		} else if err != nil {
			p.Errors = append(p.Errors, wire.FieldError{Message: err.Error()})
		}
	}
	return problem{p}
}

// problemOf turns an error into what the caller may see; the rest goes to the log.
func (a *API) problemOf(ctx context.Context, operation string, err error) *wire.Problem {
	var p *wire.Problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, tel.ErrNumber):
		return wire.NewProblem(wire.CodeBadNumber, "%s", strings.TrimPrefix(err.Error(), "tel: "))
	case errors.Is(err, tel.ErrIdentity):
		return wire.NewProblem(wire.CodeBadIdentity, "%s", strings.TrimPrefix(err.Error(), "tel: "))
	case ctx.Err() != nil:
		return wire.NewProblem(wire.CodeUncertain, "the request ended before its answer was known")
	}
	fault := wire.NewID("fault_")
	a.Logger.ErrorContext(ctx, "request failed", "fault", fault, "operation", operation, "err", err)
	return wire.NewProblem(wire.CodeInternal, "%s", fault)
}

// refuse gives huma an error of an operation.
func (a *API) refuse(ctx context.Context, operation string, err error) error {
	p := a.problemOf(ctx, operation, err)
	return huma.ErrorWithHeaders(problem{p}, headersOf(p))
}

// headersOf are the headers that go with a problem.
func headersOf(p *wire.Problem) http.Header {
	h := http.Header{}
	if p.RetryAfterSeconds > 0 {
		h.Set("Retry-After", strconv.Itoa(p.RetryAfterSeconds))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="tandem"`)
	}
	return h
}

// WriteProblem answers a plain request with a problem.
func WriteProblem(w http.ResponseWriter, p *wire.Problem) {
	h := w.Header()
	maps.Copy(h, headersOf(p))
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client has gone: nobody to tell
}

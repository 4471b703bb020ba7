package httpapi

import (
	"context"
	"encoding/json"
	"errors"
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
			p.Errors = append(p.Errors, wire.FieldError{Location: d.Location, Message: d.Message})
		} else if err != nil {
			p.Errors = append(p.Errors, wire.FieldError{Message: err.Error()})
		}
	}
	return problem{p}
}

// refuse turns an error into what the caller may see; the rest goes to the log.
func (a *API) refuse(ctx context.Context, operation string, err error) error {
	var p *wire.Problem
	switch {
	case errors.As(err, &p):
	case errors.Is(err, tel.ErrNumber):
		p = wire.NewProblem(wire.CodeBadNumber, "%s", strings.TrimPrefix(err.Error(), "tel: "))
	case errors.Is(err, tel.ErrIdentity):
		p = wire.NewProblem(wire.CodeBadIdentity, "%s", strings.TrimPrefix(err.Error(), "tel: "))
	case ctx.Err() != nil:
		p = wire.NewProblem(wire.CodeUncertain, "the request ended before its answer was known")
	default:
		a.Logger.ErrorContext(ctx, "request failed", "operation", operation, "err", err)
		p = wire.NewProblem(wire.CodeInternal, "the fault is in the server's log under operation %s", operation)
	}
	var out error = problem{p}
	if p.RetryAfterSeconds > 0 {
		out = huma.ErrorWithHeaders(out, http.Header{"Retry-After": {strconv.Itoa(p.RetryAfterSeconds)}})
	}
	return out
}

func writeProblem(ctx huma.Context, p *wire.Problem) {
	ctx.SetHeader("Content-Type", "application/problem+json")
	ctx.SetStatus(p.Status)
	_ = json.NewEncoder(ctx.BodyWriter()).Encode(p) // the client has gone: nobody to tell
}

// WriteProblem answers a plain request with a problem.
func WriteProblem(w http.ResponseWriter, p *wire.Problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	if p.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.RetryAfterSeconds))
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client has gone: nobody to tell
}

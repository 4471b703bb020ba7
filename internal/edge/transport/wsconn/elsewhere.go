package wsconn

import (
	"bytes"
	"context"
	"net/http"

	"github.com/tandem-call/tandem/wire"
)

// Answer is the response to a POST whose stream is on another node.
type Answer struct {
	Status int         `json:"status"`
	Header http.Header `json:"header,omitempty"`
	Body   []byte      `json:"body,omitempty"`
}

func (a Answer) write(w http.ResponseWriter) {
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // the client may be gone
}

// recorder is the ResponseWriter that an Answer comes from.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}

// Has reports whether the device's event stream is here.
func (h *Handler) Has(who Identity, stream string) bool {
	_, ok := h.reg.stream(who, stream)
	return ok
}

// For carries out the frame of a POST that came to another node, for an event stream that is
// here, and returns the response to it.
func (h *Handler) For(ctx context.Context, who Identity, stream string, frame []byte) Answer {
	w := &recorder{header: http.Header{}}
	if p := h.reg.begin(&h.wg); p != nil {
		h.refuse(w, p)
	} else {
		h.forElsewhere(ctx, w, who, stream, frame)
		h.wg.Done()
	}
	return Answer{w.status, w.header, w.body.Bytes()}
}

func (h *Handler) forElsewhere(ctx context.Context, w http.ResponseWriter, who Identity, stream string, frame []byte) {
	s, ok := h.reg.stream(who, stream)
	if !ok {
		h.refuse(w, noStream())
		return
	}
	e, err := wire.Decode(frame)
	if err != nil {
		h.refuse(w, wire.ProblemOf(err))
		return
	}
	s.listen()
	h.carryOut(ctx, w, who, e, &s.outbox)
}

func noStream() *wire.Problem {
	return wire.NewProblem(wire.CodeNotFound, "there is no such event stream of this device; open one at /v1/events")
}

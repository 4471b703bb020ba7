package wsconn

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// streamHeader names the device's event stream in a POST.
const streamHeader = "Tandem-Stream"

// Frames serves POST /v1/frames.
func (h *Handler) Frames(w http.ResponseWriter, r *http.Request) {
	if h.share(w, r, http.MethodPost) {
		return
	}
	if p := h.reg.begin(&h.wg); p != nil {
		h.refuse(w, p)
		return
	}
	defer h.wg.Done()
	who, p := h.bearer(r)
	if p != nil {
		h.refuse(w, p)
		return
	}
	e, p := h.envelope(w, r)
	if p != nil {
		h.refuse(w, p)
		return
	}
	var to *outbox
	if id := r.Header.Get(streamHeader); id != "" {
		s, ok := h.reg.stream(who, id)
		if !ok {
			if h.cfg.Elsewhere != nil {
				if a, ok := h.cfg.Elsewhere(r.Context(), who, id, e.AppendEncode(nil)); ok {
					a.write(w)
					return
				}
			}
			h.refuse(w, noStream())
			return
		}
		s.listen()
		to = &s.outbox
	} else if e.Type == wire.TypeResume {
		h.refuse(w, wire.NewProblem(wire.CodeBadRequest, "a resume needs an event stream: name it in the header %s", streamHeader))
		return
	}
	h.carryOut(r.Context(), w, who, e, to)
}

// carryOut has a request carried out. client ends when nobody waits for the answer any more.
func (h *Handler) carryOut(client context.Context, w http.ResponseWriter, who Identity, e wire.Envelope, to *outbox) {
	if e.Type == wire.TypeResume {
		h.resume(client, w, who, e, to)
		return
	}
	h.ask(client, w, who, e, to)
}

// envelope reads and checks the body of a POST.
func (h *Handler) envelope(w http.ResponseWriter, r *http.Request) (wire.Envelope, *wire.Problem) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return wire.Envelope{}, wire.NewProblem(wire.CodeUnsupportedType, "send one envelope as application/json")
	}
	limit := h.cfg.Limits.FrameBytes
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(limit)))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return wire.Envelope{}, wire.NewProblem(wire.CodeTooLarge, "a frame may have %d bytes", limit)
	case err != nil:
		return wire.Envelope{}, wire.NewProblem(wire.CodeBadRequest, "the body ended early")
	}
	h.count.framesIn.Add(1)
	h.count.bytesIn.Add(uint64(len(data)))
	e, err := wire.Decode(data)
	switch {
	case err != nil:
		return e, wire.ProblemOf(err)
	case e.Type == wire.TypePing, e.Type == wire.TypePong, e.Type == wire.TypeHello:
		return e, wire.NewProblem(wire.CodeBadFrame, "%s has no place here: the token says who you are, and the event stream keeps itself alive", e.Type)
	}
	return e, nil
}

// resume belongs to the stream altogether: to the backend it is a request of that
// connection, and its answer comes there too, in order with what was missed.
func (h *Handler) resume(client context.Context, w http.ResponseWriter, who Identity, e wire.Envelope, to *outbox) {
	if err := guard(func() error {
		h.cfg.Backend.Handle(context.WithoutCancel(client), who, e, to)
		return nil
	}); err != nil {
		h.refuse(w, h.problem("carry out the request", err))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// ask has a request carried out and writes its answer.
func (h *Handler) ask(client context.Context, w http.ResponseWriter, who Identity, e wire.Envelope, to *outbox) {
	q := &question{h: h, id: e.ID, to: to, answer: make(chan []byte, 1)}
	if err := guard(func() error {
		// Not broken off when the client goes: it cannot know how far it came.
		h.cfg.Backend.Handle(context.WithoutCancel(client), who, e, q)
		return nil
	}); err != nil {
		h.refuse(w, h.problem("carry out the request", err))
		return
	}
	if e.Type == wire.TypeSignal { // only a fault is answered, if it is seen at once
		if answer := q.giveUp(); answer != nil {
			reply(h, w, answer)
		} else {
			w.WriteHeader(http.StatusNoContent)
		}
		return
	}
	late := time.NewTimer(h.cfg.RequestTimeout)
	defer late.Stop()
	var answer []byte
	select {
	case answer = <-q.answer:
	case <-late.C:
		answer = q.giveUp()
	case <-client.Done():
		answer = q.giveUp()
	}
	if answer == nil {
		h.refuse(w, wire.NewProblem(wire.CodeUncertain, "there was no answer within %v", h.cfg.RequestTimeout))
		return
	}
	h.count.framesOut.Add(1)
	reply(h, w, answer)
}

// reply writes an answer envelope: an error as its problem.
func reply(h *Handler, w http.ResponseWriter, answer []byte) {
	if e, err := wire.DecodeServer(answer); err == nil && e.Type == wire.TypeError {
		p := new(wire.Problem)
		if err := json.Unmarshal(e.Body, p); err != nil || p.Status < 400 || p.Status > 599 {
			p = h.problem("answer the request", errors.New("wsconn: an error without a problem"))
		}
		h.refuse(w, p)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	_, _ = w.Write(answer) // the client may be gone
}

// question is the Outbox of one POST: it picks the answer out of what is pushed and sends
// the rest to the device's stream.
type question struct {
	h      *Handler
	id     wire.RequestID
	to     *outbox // nil: the POST named no stream
	answer chan []byte

	mu       sync.Mutex
	answered bool // or given up
}

// Push implements Outbox.
func (q *question) Push(frame []byte) bool {
	if e, err := wire.DecodeServer(frame); err == nil && e.ID == q.id {
		switch e.Type {
		case wire.TypeAck, wire.TypeError:
			if q.take(frame) {
				return true
			}
		}
	}
	return q.onward(frame)
}

// take keeps the first answer, while somebody waits for it.
func (q *question) take(frame []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.answered {
		return false
	}
	q.answered = true
	q.answer <- frame // has room for one
	return true
}

// giveUp ends the waiting; an answer that came at the last moment is returned.
func (q *question) giveUp() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.answered = true
	select {
	case a := <-q.answer:
		return a
	default:
		return nil
	}
}

func (q *question) onward(frame []byte) bool {
	if q.to == nil {
		q.h.count.drop(DropNoStream, 1)
		return false
	}
	return q.to.Push(frame)
}

// Close implements Outbox: the request ends with a problem, and the stream is closed.
func (q *question) Close(code wire.CloseCode, reason string) {
	p := wire.NewProblem(wire.CodeInternal, "%s", reason)
	switch code {
	case wire.CloseRate, wire.CloseTooMany, wire.CloseSlow:
		p = wire.NewProblem(wire.CodeTooMany, "%s", reason)
	case wire.CloseRevoked, wire.CloseUnauthentic:
		p = wire.NewProblem(wire.CodeUnauthenticated, "%s", reason)
	case wire.CloseDraining:
		p = wire.NewProblem(wire.CodeDraining, "%s", reason)
	case wire.CloseBadFrame:
		p = wire.NewProblem(wire.CodeBadFrame, "%s", reason)
	}
	q.take(encode(wire.TypeError, q.id, p))
	if q.to != nil {
		q.to.Close(code, reason)
	}
}

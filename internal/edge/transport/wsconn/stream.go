package wsconn

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// stream is one response of server-sent events (HTML standard, 9.2).
type stream struct {
	outbox

	// Fixed after construction.
	w   http.ResponseWriter
	rc  *http.ResponseController
	id  string
	who Identity

	guard    sync.Mutex
	returned bool // the request's handler has: hands off w and rc
}

// Events serves GET /v1/events.
func (h *Handler) Events(w http.ResponseWriter, r *http.Request) {
	if h.share(w, r, http.MethodGet) {
		return
	}
	t, p := h.reg.admit(h.cfg.RemoteAddr(r), &h.cfg)
	if p != nil {
		h.refuse(w, p)
		return
	}
	defer h.reg.leave(t)
	who, p := h.bearer(r)
	if p != nil {
		h.refuse(w, p)
		return
	}
	s := &stream{w: w, rc: http.NewResponseController(w), id: wire.NewID("str_"), who: who}
	s.flushed = make(chan struct{}) // run waits for it from the start
	header := w.Header()            // before anybody can write: the writing is another goroutine's
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store, no-transform")
	header.Set("X-Accel-Buffering", "no") // nginx would collect otherwise
	if r.ProtoMajor == 1 {
		header.Set("Connection", "close") // its write deadline is for this response alone
	}
	if !s.open(h, s) {
		h.refuse(w, wire.NewProblem(wire.CodeDraining, "connect again in a moment"))
		return
	}
	defer h.wg.Done()
	defer h.reg.exit(&s.outbox)
	s.run(r.Context(), t)
}

// run keeps the response open until the device goes or the outbox is closed. Everything
// that touches the response happens before it returns.
func (s *stream) run(gone context.Context, t *ticket) {
	_ = s.rc.SetReadDeadline(time.Time{})  // the HTTP server's, meant for short requests;
	_ = s.rc.SetWriteDeadline(time.Time{}) // where it cannot be changed, it is not set either
	hello, _ := json.Marshal(struct {
		Stream string `json:"stream"`
	}{s.id})
	s.overtake(appendEvent(nil, "stream", hello))

	s.h.reg.publish(s)
	undo, err := s.h.attach(t, s.who, "", &s.outbox)
	if err != nil {
		p := s.h.problem("attach the stream", err)
		s.forget()
		s.Push(encode(wire.TypeError, "", p))
		s.Close(closeCode(p), p.Title)
	}
	select {
	case <-gone.Done():
		s.abort()
		<-s.flushed
	case <-s.flushed: // and the HTTP server ends the response, in what is left of the time
	}
	s.guard.Lock()
	s.returned = true
	s.guard.Unlock()
	s.mu.Lock()
	s.forbear()
	s.mu.Unlock()
	s.h.reg.withdraw(s)
	undo()
}

// bearer authenticates a request over HTTP (RFC 6750 2.1).
func (h *Handler) bearer(r *http.Request) (Identity, *wire.Problem) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return Identity{}, wire.NewProblem(wire.CodeUnauthenticated, "send Authorization: Bearer and the token")
	}
	var who Identity
	err := guard(func() (err error) {
		ctx, cancel := context.WithTimeout(r.Context(), h.cfg.AuthTimeout)
		defer cancel()
		who, err = h.cfg.Backend.Bearer(ctx, strings.TrimSpace(token))
		return err
	})
	if err != nil {
		return who, h.problem("check the token", err)
	}
	return who, nil
}

// appendEvent appends one event; its data is JSON.
func appendEvent(dst []byte, name string, data []byte) []byte {
	dst = append(append(dst, "event: "...), name...)
	dst = append(dst, "\ndata: "...)
	from := len(dst)
	dst = append(dst, data...)
	// A line break would end the data. In JSON it can only be white space.
	for i := from; ; i++ {
		n := bytes.IndexAny(dst[i:], "\r\n")
		if n < 0 {
			break
		}
		i += n
		dst[i] = ' '
	}
	return append(dst, "\n\n"...)
}

// sink

func (s *stream) appendFrame(dst, frame []byte) []byte { return appendEvent(dst, "envelope", frame) }

func (s *stream) appendClose(dst []byte, code uint16, reason string) []byte {
	last, _ := json.Marshal(struct {
		Code   uint16 `json:"code"`
		Reason string `json:"reason,omitempty"`
	}{code, reason})
	return appendEvent(dst, "close", last)
}

func (s *stream) heartbeat() []byte { return []byte(": ping\n\n") }
func (s *stream) hears() bool       { return false }

func (s *stream) write(p []byte) error {
	if _, err := s.w.Write(p); err != nil {
		return err
	}
	return s.rc.Flush()
}

func (s *stream) hurry(t time.Time) {
	s.guard.Lock()
	defer s.guard.Unlock()
	if !s.returned {
		_ = s.rc.SetWriteDeadline(t) // a connection that cannot, breaks with its request
	}
}

func (s *stream) cut() { s.hurry(time.Unix(1, 0)) }

package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// stream is the fallback: frames come as server-sent events (HTML standard, 9.2) and go as
// POSTs, whose answers join the frames that come. Both carry the device's bearer token.
//
// POSTs go one after the other, so that requests keep their order; but a resume, which
// takes as long as there is something to send, goes beside them.
type stream struct {
	// fixed after construction
	api    *API
	ctx    context.Context // ends with the connection
	stop   context.CancelCauseFunc
	body   io.Closer
	frames chan []byte
	silent *time.Timer
	wg     sync.WaitGroup // everything that belongs to the connection

	// set once before the first frame is handed on
	id string // of the stream, for the header Tandem-Stream

	mu       sync.Mutex
	patience time.Duration
}

// streamHeader names the device's stream in a POST.
const streamHeader = "Tandem-Stream"

func (d *Device) dialSSE(ctx context.Context) (link, wire.Welcome, error) {
	var w wire.Welcome
	// The stream outlives the dialling, which only bounds its beginning.
	s := &stream{api: d.api, frames: make(chan []byte, 8), patience: dialTimeout}
	s.ctx, s.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	unhook := context.AfterFunc(ctx, func() { s.stop(context.Cause(ctx)) })
	err := s.open()
	if err == nil {
		err = expect(s.ctx, s, wire.TypeWelcome, &w)
	}
	if !unhook() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		s.Close()
		return nil, w, err
	}
	return s, w, nil
}

func (s *stream) open() error {
	res, err := s.api.send(s.ctx, http.MethodGet, "/v1/events", http.Header{"Accept": {"text/event-stream"}}, nil)
	if err != nil {
		return err
	}
	s.body = res.Body
	s.silent = time.AfterFunc(s.patience, func() { s.stop(errSilence) })
	events := newEventReader(res.Body)
	name, data, err := events.next()
	var hello struct {
		Stream string `json:"stream"`
	}
	switch {
	case err != nil:
		return fmt.Errorf("client: events: %w", err)
	case name != "stream" || json.Unmarshal(data, &hello) != nil || !wire.ValidID(hello.Stream):
		return fmt.Errorf("%w: the events do not begin with the stream's id", ErrProtocol)
	}
	s.id = hello.Stream
	s.wg.Go(func() { s.stop(s.read(events)) })
	return nil
}

// read takes the events off the body until it ends, and returns why.
func (s *stream) read(events *eventReader) error {
	for {
		name, data, err := events.next()
		if err != nil {
			return fmt.Errorf("client: events: %w", err)
		}
		s.mu.Lock()
		s.silent.Reset(s.patience)
		s.mu.Unlock()
		switch name {
		case "envelope":
			if !s.push(data) {
				return s.ctx.Err()
			}
		case "close":
			var c struct {
				Code   wire.CloseCode `json:"code"`
				Reason string         `json:"reason"`
			}
			if err := json.Unmarshal(data, &c); err != nil {
				return fmt.Errorf("%w: close: %w", ErrProtocol, err)
			}
			return closing(c.Code, c.Reason)
		}
	}
}

func (s *stream) push(frame []byte) bool {
	select {
	case s.frames <- frame:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// Read gives what has come before it tells why no more does.
func (s *stream) Read(ctx context.Context) ([]byte, error) {
	select {
	case f := <-s.frames:
		return f, nil
	case <-s.ctx.Done():
		select {
		case f := <-s.frames:
			return f, nil
		default:
			return nil, context.Cause(s.ctx)
		}
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Write posts the frame. Heartbeats are not needed: the server notices by its writes.
func (s *stream) Write(_ context.Context, frame []byte) error {
	e, err := wire.DecodeServer(frame)
	if err != nil {
		return fmt.Errorf("client: frame: %w", err)
	}
	switch e.Type {
	case wire.TypePing, wire.TypePong:
		return nil
	case wire.TypeResume:
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx) // Close may be waiting already
		}
		s.wg.Go(func() {
			if err := s.post(s.ctx, e, frame); err != nil {
				s.stop(err)
			}
		})
		return nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, writeTimeout)
	defer cancel()
	return s.post(ctx, e, frame)
}

// post posts one frame and takes its answer. An error means that the connection is of no
// more use; a refusal of the request is an answer.
func (s *stream) post(ctx context.Context, e wire.Envelope, frame []byte) error {
	header := http.Header{"Content-Type": {"application/json"}, streamHeader: {s.id}}
	res, err := s.api.send(ctx, http.MethodPost, "/v1/frames", header, frame)
	switch p := problemIn(err); {
	case p == nil && err != nil:
		return err
	case p != nil && streamGone(e, p):
		return fmt.Errorf("client: frame: %w", errors.New(p.Error()))
	case p != nil && isCode(p, wire.CodeUnauthenticated, wire.CodeRevoked, wire.CodeBindingExpired, wire.CodeDraining):
		return fmt.Errorf("client: frame: %w", p) // says something of the device, or the server
	case p != nil:
		if e.ID == "" {
			return nil // a signal need not arrive
		}
		body, err := json.Marshal(p)
		if err != nil {
			return fmt.Errorf("client: frame: %w", err)
		}
		s.push(wire.Envelope{Type: wire.TypeError, ID: e.ID, Session: e.Session, Body: body}.AppendEncode(nil))
		return nil
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxFrame))
	if err != nil {
		return fmt.Errorf("client: frame: %w", err)
	}
	// The answer to a resume comes in the stream as well, where it has its place.
	if res.StatusCode == http.StatusOK && e.Type != wire.TypeResume {
		s.push(b)
	}
	return nil
}

// streamGone reports whether a refusal means that the server does not know the stream:
// it was restarted, or is another one. What else may be not found is told apart by the
// request: there are no such invitations.
func streamGone(e wire.Envelope, p *wire.Problem) bool {
	return p.Code == wire.CodeNotFound && e.Type != wire.TypeAnswer && e.Type != wire.TypeConfirm
}

// Answers implements link: each request's own answer says whether the server is there.
func (s *stream) Answers() bool { return false }

func (s *stream) Patience(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.patience = d
	s.silent.Reset(d)
}

func (s *stream) Fail(err error) { s.stop(err) }

func (s *stream) Close() {
	s.mu.Lock()
	s.stop(ErrClosed) // from here on nothing is begun
	s.mu.Unlock()
	if s.body != nil {
		s.silent.Stop()
		s.body.Close()
	}
	s.wg.Wait()
}

// eventReader reads server-sent events.
type eventReader struct{ lines *bufio.Scanner }

func newEventReader(r io.Reader) *eventReader {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxFrame+len("data: \r\n"))
	return &eventReader{lines}
}

// next returns the next event, or an event without a name for a heartbeat. Fields other
// than event and data mean nothing to us.
func (r *eventReader) next() (name string, data []byte, err error) {
	some := false
	for r.lines.Scan() {
		line := r.lines.Bytes()
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case len(line) == 0 && (name != "" || some):
			return name, data, nil
		case len(line) == 0:
		case len(field) == 0:
			if name == "" && !some {
				return "", nil, nil
			}
		case string(field) == "event":
			name = strings.Clone(string(value))
		case string(field) == "data":
			if some {
				data = append(data, '\n')
			}
			data, some = append(data, value...), true
		}
	}
	if err := r.lines.Err(); err != nil {
		return "", nil, err
	}
	return "", nil, io.ErrUnexpectedEOF
}

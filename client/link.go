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
	"time"

	"github.com/coder/websocket"

	"github.com/tandem-call/tandem/wire"
)

const (
	dialTimeout  = 15 * time.Second
	writeTimeout = 15 * time.Second
	maxFrame     = 1 << 20
)

// dial connects and authenticates.
func (d *Device) dial(ctx context.Context) (link, wire.Welcome, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, errors.New("no welcome in time"))
	defer cancel()
	if d.cfg.Transport == SSE {
		return d.dialSSE(ctx)
	}
	l, w, err := d.dialWebSocket(ctx)
	if err != nil && d.cfg.Transport == Auto && blocked(err) {
		d.log.Info("WebSocket is blocked; using server-sent events", "err", err)
		return d.dialSSE(ctx)
	}
	return l, w, err
}

// errBlocked: the WebSocket handshake was answered by something that is not Tandem.
var errBlocked = errors.New("client: the WebSocket handshake was refused on the way")

func blocked(err error) bool { return errors.Is(err, errBlocked) }

type socket struct{ c *websocket.Conn }

func (s socket) Read(ctx context.Context) ([]byte, error) {
	_, b, err := s.c.Read(ctx)
	return b, err
}

func (s socket) Write(ctx context.Context, frame []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return s.c.Write(ctx, websocket.MessageText, frame)
}

func (s socket) Close() error { return s.c.CloseNow() }

func (d *Device) dialWebSocket(ctx context.Context) (link, wire.Welcome, error) {
	var w wire.Welcome
	target, err := d.api.url("/v1/connect")
	if err != nil {
		return nil, w, err
	}
	c, res, err := websocket.Dial(ctx, target, &websocket.DialOptions{HTTPClient: d.cfg.HTTP, Subprotocols: []string{"tandem.v1"}})
	if err != nil {
		if res != nil && res.StatusCode != http.StatusSwitchingProtocols {
			if p := problemOf(res); isProblem(p) {
				return nil, w, p
			}
			return nil, w, fmt.Errorf("%w: %w", errBlocked, err)
		}
		return nil, w, fmt.Errorf("client: connect: %w", err)
	}
	c.SetReadLimit(maxFrame)
	l := socket{c}
	w, err = d.authenticate(ctx, l)
	if err != nil {
		c.CloseNow()
		return nil, w, err
	}
	return l, w, nil
}

func isProblem(err error) bool {
	var p *wire.Problem
	return errors.As(err, &p)
}

// authenticate answers the challenge.
func (d *Device) authenticate(ctx context.Context, l link) (wire.Welcome, error) {
	var w wire.Welcome
	var c wire.Challenge
	if err := expect(ctx, l, wire.TypeChallenge, &c); err != nil {
		return w, err
	}
	assertion, err := d.cfg.Identity.Assert(c.Nonce)
	if err != nil {
		return w, err
	}
	hello, err := encode(wire.Envelope{Type: wire.TypeHello}, wire.Hello{Assertion: assertion, Client: d.cfg.Client})
	if err != nil {
		return w, err
	}
	if err := l.Write(ctx, hello); err != nil {
		return w, fmt.Errorf("client: hello: %w", err)
	}
	return w, expect(ctx, l, wire.TypeWelcome, &w)
}

// expect reads the one frame that must come next.
func expect(ctx context.Context, l link, want wire.Type, body any) error {
	b, err := l.Read(ctx)
	if err != nil {
		return fmt.Errorf("client: waiting for %s: %w", want, err)
	}
	var e wire.Envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return fmt.Errorf("client: waiting for %s: %w", want, err)
	}
	if e.Type == wire.TypeError {
		var p wire.Problem
		if json.Unmarshal(e.Body, &p) == nil {
			return &p
		}
	}
	if e.Type != want {
		return fmt.Errorf("client: the server sent %q where %q was due", e.Type, want)
	}
	if err := json.Unmarshal(e.Body, body); err != nil {
		return fmt.Errorf("client: %s: %w", want, err)
	}
	return nil
}

// stream is the fallback: frames come as server-sent events and go as POSTs, whose
// answers join the frames that come.
type stream struct {
	d      *Device
	id     string // of the stream, for the header Tandem-Stream
	body   io.Closer
	frames chan []byte
	posts  chan []byte
	failed chan error // of two: the reader's and the writer's
	stop   context.CancelFunc
}

func (d *Device) dialSSE(ctx context.Context) (link, wire.Welcome, error) {
	var w wire.Welcome
	// The stream outlives the dialling: it has a context of its own.
	sctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	unhook := context.AfterFunc(ctx, stop)
	s := &stream{d: d, frames: make(chan []byte, 64), posts: make(chan []byte, 64), failed: make(chan error, 2), stop: stop}
	w, err := s.open(sctx, ctx)
	if !unhook() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		stop()
		return nil, w, err
	}
	return s, w, nil
}

func (s *stream) open(sctx, ctx context.Context) (wire.Welcome, error) {
	var w wire.Welcome
	req, err := s.d.api.request(sctx, http.MethodGet, "/v1/events", nil)
	if err != nil {
		return w, err
	}
	req.Header.Set("Accept", "text/event-stream")
	res, err := s.d.api.http.Do(req)
	if err != nil {
		return w, fmt.Errorf("client: events: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		s.d.api.forget()
		return w, problemOf(res)
	}
	s.id, s.body = res.Header.Get("Tandem-Stream"), res.Body
	go s.read(sctx, res.Body)
	go s.write(sctx)
	if err := expect(ctx, s, wire.TypeWelcome, &w); err != nil {
		res.Body.Close()
		return w, err
	}
	return w, nil
}

// read takes the events off the body until it ends.
func (s *stream) read(ctx context.Context, body io.Reader) {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxFrame)
	var data []byte
	for lines.Scan() {
		line := lines.Bytes()
		switch {
		case len(line) == 0 && data != nil:
			if !s.push(ctx, data) {
				return
			}
			data = nil
		case bytes.HasPrefix(line, []byte("data:")):
			data = append(data, bytes.TrimPrefix(line[5:], []byte(" "))...)
		case bytes.HasPrefix(line, []byte(":")): // a heartbeat
			if !s.push(ctx, []byte(`{"type":"pong"}`)) {
				return
			}
		}
	}
	err := lines.Err()
	if err == nil {
		err = io.EOF
	}
	s.failed <- fmt.Errorf("client: events: %w", err)
}

func (s *stream) push(ctx context.Context, frame []byte) bool {
	select {
	case s.frames <- frame:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *stream) Read(ctx context.Context) ([]byte, error) {
	select {
	case f := <-s.frames:
		return f, nil
	default:
	}
	select {
	case f := <-s.frames:
		return f, nil
	case err := <-s.failed:
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Write queues the frame: its answer comes as if it had been read from the stream.
func (s *stream) Write(ctx context.Context, frame []byte) error {
	if bytes.Contains(frame[:min(len(frame), 20)], []byte(`"ping"`)) {
		return nil // the stream's comments are its heartbeat
	}
	select {
	case s.posts <- frame:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write posts the queued frames, one after the other so that they keep their order.
func (s *stream) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case frame := <-s.posts:
			if err := s.post(ctx, frame); err != nil {
				s.failed <- err
				return
			}
		}
	}
}

func (s *stream) post(ctx context.Context, frame []byte) error {
	req, err := s.d.api.request(ctx, http.MethodPost, "/v1/frames", bytes.NewReader(frame))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Tandem-Stream", s.id)
	res, err := s.d.api.http.Do(req)
	if err != nil {
		return fmt.Errorf("client: frame: %w", err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxFrame))
	if err != nil {
		return fmt.Errorf("client: frame: %w", err)
	}
	if res.StatusCode >= 300 {
		var e wire.Envelope
		if err := json.Unmarshal(frame, &e); err != nil {
			return fmt.Errorf("client: frame: %w", err)
		}
		if b, err = json.Marshal(wire.Envelope{Type: wire.TypeError, ID: e.ID, Session: e.Session, Body: b}); err != nil {
			return fmt.Errorf("client: frame: the server answered %s: %w", res.Status, err)
		}
	}
	if len(b) > 0 {
		s.push(ctx, b)
	}
	return nil
}

func (s *stream) Close() error {
	s.stop()
	return s.body.Close()
}

package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/tandem-call/tandem/wire"
)

const subprotocol = "tandem.v1"

// socket is a WebSocket (RFC 6455).
type socket struct {
	c        *websocket.Conn
	patience atomic.Int64 // nanoseconds; zero while the dialling bounds it

	mu     sync.Mutex
	failed error
}

func (d *Device) dialWebSocket(ctx context.Context) (link, wire.Welcome, error) {
	var w wire.Welcome
	target, err := d.api.url("/v1/connect")
	if err != nil {
		return nil, w, err
	}
	first, cancel := context.WithTimeoutCause(ctx, challengeTimeout*time.Duration(1+d.failures), errors.New("no challenge in time"))
	defer cancel()
	c, res, err := websocket.Dial(first, target, &websocket.DialOptions{HTTPClient: d.api.http, Subprotocols: []string{subprotocol}})
	if err != nil {
		if first.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(first), err)
		}
		if res == nil || res.StatusCode == http.StatusSwitchingProtocols {
			return nil, w, fmt.Errorf("client: connect: %w", err)
		}
		if refused := refusal(res); problemIn(refused) != nil {
			return nil, w, refused
		}
		return nil, w, fmt.Errorf("%w: %w", errBlocked, err)
	}
	c.SetReadLimit(maxFrame)
	s := &socket{c: c}
	var challenge wire.Challenge
	if err = expect(first, s, wire.TypeChallenge, &challenge); err == nil {
		w, err = d.authenticate(ctx, s, challenge)
	}
	if err != nil {
		s.Close()
		return nil, w, err
	}
	return s, w, nil
}

// authenticate answers the challenge.
func (d *Device) authenticate(ctx context.Context, l link, c wire.Challenge) (w wire.Welcome, err error) {
	assertion, err := d.cfg.Identity.Assert(c.Nonce)
	if err != nil {
		return w, err
	}
	hello, err := encode(wire.Envelope{Type: wire.TypeHello}, wire.Hello{Assertion: assertion, Client: d.cfg.Client})
	if err != nil {
		return w, err
	}
	if err := l.Write(ctx, hello); err != nil {
		return w, err
	}
	return w, expect(ctx, l, wire.TypeWelcome, &w)
}

func (s *socket) Read(ctx context.Context) ([]byte, error) {
	if p := s.patience.Load(); p > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(p), errSilence)
		defer cancel()
	}
	_, b, err := s.c.Read(ctx)
	if err == nil {
		return b, nil
	}
	var closed websocket.CloseError
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case errors.As(err, &closed):
		return nil, closing(wire.CloseCode(closed.Code), closed.Reason)
	case s.failed != nil:
		return nil, s.failed
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, fmt.Errorf("client: read: %w", err)
}

// closing is the error for a close code; those below 4000 are WebSocket's own and say
// nothing to us.
func closing(code wire.CloseCode, reason string) error {
	if code < 4000 {
		return fmt.Errorf("client: the connection was closed (%d %s)", code, reason)
	}
	return &CloseError{code, reason}
}

func (s *socket) Write(ctx context.Context, frame []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := s.c.Write(ctx, websocket.MessageText, frame); err != nil {
		return fmt.Errorf("client: write: %w", err)
	}
	return nil
}

func (s *socket) Answers() bool { return true }

func (s *socket) Patience(d time.Duration) { s.patience.Store(int64(d)) }

func (s *socket) Fail(err error) {
	s.mu.Lock()
	if s.failed == nil {
		s.failed = err
	}
	s.mu.Unlock()
	s.c.CloseNow() // fails only when it is closed
}

func (s *socket) Close() { s.c.CloseNow() } // as above

package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tandem-call/tandem/wire"
)

const (
	// dialTimeout is how long a connection may take until the welcome.
	dialTimeout = 15 * time.Second
	// challengeTimeout is how long it may take until the challenge, which costs the server nothing: else nobody is
	// there, and another one of a cluster may be. As long again after each failure, for ways that are slow.
	challengeTimeout = 5 * time.Second
	// writeTimeout is how long one frame may take to be written, and over HTTP answered.
	writeTimeout = 20 * time.Second
	// maxFrame is the largest frame taken, in bytes: above any server's limit.
	maxFrame = 1 << 20
)

// errSilence: nothing was heard for too long.
var errSilence = errors.New("client: the connection has gone silent")

// link is one connection, whatever carries it. Read and Write are each for one
// goroutine.
type link interface {
	// Read returns the next frame; a *CloseError when the server has closed.
	Read(ctx context.Context) ([]byte, error)
	// Write writes one frame. What it costs to be answered is not waited for.
	Write(ctx context.Context, frame []byte) error
	// Answers says whether a ping gets an answer.
	Answers() bool
	// Patience sets how long the server may be silent.
	Patience(d time.Duration)
	// Fail ends the connection; Read then returns err, unless it had a better reason.
	Fail(err error)
	// Close ends the connection and waits for what belongs to it.
	Close()
}

// errBlocked: the WebSocket handshake was answered by something that is not Tandem.
var errBlocked = errors.New("client: something on the way does not let WebSockets pass")

// dial connects and authenticates. With Auto, the fallback is tried where WebSocket is
// plainly blocked, where it did not work the last time, and where it has failed twice.
func (d *Device) dial(ctx context.Context) (link, wire.Welcome, error) {
	if d.cfg.Transport == SSE {
		return timed(ctx, dialTimeout, d.dialSSE)
	}
	patience := dialTimeout
	if d.fallback {
		patience /= 3
	}
	l, w, err := timed(ctx, patience, d.dialWebSocket)
	if err == nil {
		d.fallback = false
		return l, w, nil
	}
	try := errors.Is(err, errBlocked) || d.fallback || d.failures > 0
	if d.cfg.Transport != Auto || !try || problemIn(err) != nil || ctx.Err() != nil {
		return nil, w, err
	}
	l, w, serr := timed(ctx, dialTimeout, d.dialSSE)
	if serr != nil {
		return nil, w, errors.Join(err, serr)
	}
	d.log.Info("WebSocket does not work here; using server-sent events", "err", err)
	d.fallback = true
	return l, w, nil
}

// timed bounds the time that dialling takes.
func timed(ctx context.Context, most time.Duration, dial func(context.Context) (link, wire.Welcome, error)) (link, wire.Welcome, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, most, errors.New("no welcome in time"))
	defer cancel()
	l, w, err := dial(ctx)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("client: connect: %w: %w", context.Cause(ctx), err)
	}
	return l, w, err
}

// expect reads the one frame that must come next, and its body.
func expect(ctx context.Context, l link, want wire.Type, body any) error {
	b, err := l.Read(ctx)
	if err != nil {
		return fmt.Errorf("client: waiting for %s: %w", want, err)
	}
	e, err := wire.DecodeServer(b)
	switch {
	case err != nil:
		return fmt.Errorf("%w: waiting for %s: %w", ErrProtocol, want, err)
	case e.Type == wire.TypeError:
		return problemOf(e)
	case e.Type != want:
		return fmt.Errorf("%w: %q came where %q was due", ErrProtocol, e.Type, want)
	}
	if err := json.Unmarshal(e.Body, body); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrProtocol, want, err)
	}
	return nil
}

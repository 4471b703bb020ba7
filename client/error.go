package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// Conditions that callers may branch on. What the server refuses is a *wire.Problem.
var (
	// ErrConfig: a Config cannot be used as it is.
	ErrConfig = errors.New("client: unusable configuration")
	// ErrClosed: the device's Run has ended. The outcome of a request that was under way
	// is not known.
	ErrClosed = errors.New("client: not running")
	// ErrRunning: Run was called for the second time.
	ErrRunning = errors.New("client: started already")
	// ErrPending: a request with the same id is under way.
	ErrPending = errors.New("client: a request with this id is under way")
	// ErrProtocol: what the server sent is not of the protocol.
	ErrProtocol = errors.New("client: the server does not keep to the protocol")
)

// CloseError says that the server closed the connection, and with which code; it is the
// same over a WebSocket and over server-sent events.
type CloseError struct {
	Code   wire.CloseCode
	Reason string
}

// Error names the code as the protocol does.
func (e *CloseError) Error() string {
	name := "unknown"
	for _, c := range wire.CloseCodes {
		if c.Code == e.Code {
			name = c.Name
		}
	}
	if e.Reason == "" {
		return fmt.Sprintf("client: the server closed the connection: %s (%d)", name, e.Code)
	}
	return fmt.Sprintf("client: the server closed the connection: %s (%d): %s", name, e.Code, e.Reason)
}

// Unwrap returns the problem that stands behind a code after which no return helps.
func (e *CloseError) Unwrap() error {
	switch e.Code {
	case wire.CloseRevoked:
		return wire.NewProblem(wire.CodeRevoked, "%s", e.Reason)
	case wire.CloseUnauthentic:
		return wire.NewProblem(wire.CodeUnauthenticated, "%s", e.Reason)
	case wire.CloseBadFrame:
		return wire.NewProblem(wire.CodeBadFrame, "%s", e.Reason)
	}
	return nil
}

// problemIn returns the server's problem in err, or nil.
func problemIn(err error) *wire.Problem {
	var p *wire.Problem
	if errors.As(err, &p) {
		return p
	}
	return nil
}

// isCode reports whether err is the server's problem of one of these codes.
func isCode(err error, codes ...wire.Code) bool {
	p := problemIn(err)
	return p != nil && slices.Contains(codes, p.Code)
}

// retryable reports whether the same request may succeed later: unless the server has
// said that it will not, it may.
func retryable(err error) bool {
	p := problemIn(err)
	return p == nil || wire.Catalogue[p.Code].Retry
}

// reconnect says whether a device should come back after err, and whether only after a
// pause.
func reconnect(err error) (again, pause bool) {
	var c *CloseError
	if errors.As(err, &c) {
		return c.Code.Reconnect()
	}
	return retryable(err), problemIn(err) != nil
}

// backoff returns the pause before attempt n (from 0): at random, up to 0.25 s at first,
// doubling to 30 s, so that many devices do not come back together. A problem's own
// time counts if it is longer.
func backoff(n int, err error) time.Duration {
	most := min(30*time.Second, 250*time.Millisecond<<min(n, 10))
	wait := 20*time.Millisecond + rand.N(most)
	if p := problemIn(err); p != nil {
		wait = max(wait, time.Duration(p.RetryAfterSeconds)*time.Second)
	}
	return wait
}

// pause waits; false: ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

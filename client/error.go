package client

import (
	"errors"

	"github.com/tandem-call/tandem/wire"
)

// ErrClosed: the device's Run has ended.
var ErrClosed = errors.New("client: not running")

// isCode reports whether err is the server's problem of this code.
func isCode(err error, c wire.Code) bool {
	var p *wire.Problem
	return errors.As(err, &p) && p.Code == c
}

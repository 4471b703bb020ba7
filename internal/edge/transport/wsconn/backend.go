package wsconn

import (
	"context"
	"net/netip"

	"github.com/tandem-call/tandem/wire"
)

// Identity is the device at the other end of a connection.
type Identity struct {
	Tenant wire.TenantID
	Device wire.DeviceID
}

// Client is what a connection tells of the other end before it has said who it is.
type Client struct {
	// Addr is its address, seen through trusted proxies.
	Addr netip.Addr
	// Host is the one it asked for, as its request names it.
	Host string
}

// Outbox takes what is to be sent to one connection. Both methods may be called at any
// time, from any goroutine, and return at once.
type Outbox interface {
	// Push queues one encoded envelope, which may be shared and must not be changed
	// afterwards. False: the connection is closed, or was too slow and is being closed.
	Push(frame []byte) bool
	// Close ends the connection with a code, after sending what is queued.
	Close(code wire.CloseCode, reason string)
}

// Backend is what a connection needs from the rest of the server. Errors are, or wrap, a
// *wire.Problem that the device may see; any other is shown as internal.
//
// The contexts end when the server does, not when the connection does, so that a request
// is not broken off half-way; Hello and Bearer have a time limit besides.
type Backend interface {
	// Challenge returns a fresh nonce.
	Challenge() string
	// Hello checks a device's answer to the nonce.
	Hello(ctx context.Context, nonce string, h wire.Hello, from Client) (Identity, error)
	// Bearer checks a token of a request over HTTP.
	Bearer(ctx context.Context, token string) (Identity, error)
	// Attach adds a connection to those that the device's frames go to, and returns what
	// to welcome it with (the transport fills in the heartbeat and the limits). What is
	// pushed meanwhile is sent after the welcome. detach is called once, at the end.
	Attach(ctx context.Context, who Identity, out Outbox) (w wire.Welcome, detach func(), err error)
	// Handle carries out a device's request and pushes its answer, with the same id, to
	// out, now or later. The frames of one connection come one after the other. The body
	// is used again for the next frame: what is to be kept beyond Handle must be copied.
	Handle(ctx context.Context, who Identity, e wire.Envelope, out Outbox)
}

package client

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// Transport says how a device connects.
type Transport string

// Transports.
const (
	// Auto is WebSocket, and server-sent events where something on the way blocks it.
	Auto Transport = ""
	// WebSocket only.
	WebSocket Transport = "websocket"
	// SSE is server-sent events and POST only.
	SSE Transport = "sse"
)

// Config of a device's connection.
type Config struct {
	// Identity of the enrolled device; required.
	Identity *Identity
	// HTTP client for everything; nil for http.DefaultClient. Its Timeout must be zero:
	// a connection lasts.
	HTTP *http.Client
	// Transport; zero: Auto.
	Transport Transport
	// Events are called as things happen; zero: nothing is.
	Events Events
	// From are the places to resume at, kept from an earlier run ([Device.Positions]);
	// nil: every session from its beginning.
	From map[wire.SessionID]Position
	// Client names the software, for the operator's statistics; at most 128 bytes.
	Client string
	// Logger; nil for none.
	Logger *slog.Logger
}

// Position is a place in a session's log: what was up to it has been handed to
// Events.Message. A message stands at Position{e.Epoch, e.Seq}.
type Position struct {
	Epoch uint64 `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// Events are what happens, in order and one at a time; a nil function is not called.
// They must not block for long, since nothing is read meanwhile, and must not wait for
// a request of the same Device.
type Events struct {
	// Connected after each authentication.
	Connected func(wire.Welcome)
	// Disconnected when a connection is lost, or none could be made: each time.
	Disconnected func(error)
	// Session at every change of a session, and once more after each connection. A
	// session that ended while the device was away comes as closed, with its last known
	// state; what was said in it until then is handed to Message before.
	Session func(wire.SessionState)
	// Message once for each message that is for this device, in the order of the session,
	// also those with a kind of the server's own. What this Device has sent itself is left
	// out, unless a Rewind went back behind it; what the same party sent otherwise, from
	// another connection, is not.
	Message func(wire.Envelope)
	// Rewind: messages of the session after seq were never stored, forget them. What
	// follows may have the same sequences, in a later epoch.
	Rewind func(session wire.SessionID, seq uint64)
	// Lost: some messages of the session are no longer to be had.
	Lost func(session wire.SessionID)
	// Signal is a message that is not stored and has no sequence: typing, progress.
	Signal func(wire.Envelope)
	// Invite asks whether to join; answer with Device.Answer.
	Invite func(wire.Invite)
	// Withdrawn: an invitation is no longer open.
	Withdrawn func(wire.Withdrawn)
	// Words to read aloud, or to type with Device.Confirm.
	Words func(wire.Words)
	// Available: a session of the device's party may be joined (API.Join), or no more.
	Available func(wire.Available)
	// Notice is for the user to know, outside any session.
	Notice func(wire.Notice)
}

// Device keeps one connection to the server while Run runs. Its methods are safe for
// use by several goroutines.
type Device struct {
	// fixed after construction
	cfg Config
	api *API
	log *slog.Logger

	// owned by Run
	fallback bool // the last connection was not a WebSocket, since none could be made
	failures int  // in a row

	mu       sync.Mutex
	started  bool
	closed   bool
	out      *queue // of the connection; nil while there is none
	requests map[wire.RequestID]*request
	order    []wire.RequestID // of the requests, as they were made
	sessions map[wire.SessionID]*view
}

// Connect prepares a device; Run connects it. ErrConfig, ErrIdentity.
func Connect(c Config) (*Device, error) {
	switch {
	case c.Identity == nil || c.Identity.Key == nil || c.Identity.Device == "":
		return nil, fmt.Errorf("%w: it is not enrolled", ErrIdentity)
	case c.Transport != Auto && c.Transport != WebSocket && c.Transport != SSE:
		return nil, fmt.Errorf("%w: there is no transport %q", ErrConfig, c.Transport)
	case c.HTTP != nil && c.HTTP.Timeout != 0:
		return nil, fmt.Errorf("%w: an HTTP client with a Timeout would cut every connection", ErrConfig)
	case len(c.Client) > 128:
		return nil, fmt.Errorf("%w: Client has more than 128 bytes", ErrConfig)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Device{cfg: c, api: NewAPI(c.Identity, c.HTTP), log: c.Logger,
		requests: map[wire.RequestID]*request{}, sessions: map[wire.SessionID]*view{}}
	for id, at := range c.From {
		if !wire.ValidID(string(id)) {
			return nil, fmt.Errorf("%w: From names a session %q", ErrConfig, id)
		}
		d.sessions[id] = newView(id)
		d.sessions[id].at = at
	}
	return d, nil
}

// API returns the device's API for single requests.
func (d *Device) API() *API { return d.api }

// wrongAnswers is how often in a row the server may call a device unauthenticated before
// Run believes it. Once may be chance: a server whose clock or keys just changed.
const wrongAnswers = 3

// Run connects, and comes back after every loss, until ctx ends: then it returns nil. Or
// until the server says that coming back is useless, because the device was revoked or
// its binding has expired: then that *wire.Problem. Run can be called once; when it has
// returned, requests that have no answer end with ErrClosed.
func (d *Device) Run(ctx context.Context) error {
	d.mu.Lock()
	if d.started {
		d.mu.Unlock()
		return ErrRunning
	}
	d.started = true
	d.mu.Unlock()
	defer d.shut()
	for wrong := 0; ; {
		sound, err := d.connection(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if d.cfg.Events.Disconnected != nil {
			d.cfg.Events.Disconnected(err)
		}
		again, slowly := reconnect(err)
		if sound {
			d.failures, wrong = 0, 0
		}
		if isCode(err, wire.CodeUnauthenticated) {
			wrong++
			again, slowly = wrong < wrongAnswers, true
		}
		if !again {
			return fmt.Errorf("client: connect: %w", err)
		}
		wait := rand.N(200 * time.Millisecond)
		if slowly || d.failures > 0 {
			wait = backoff(d.failures, err)
		}
		d.failures++
		// What else has passed along the same way may be dead too, without having said so.
		d.api.http.CloseIdleConnections()
		d.log.Info("connection lost; coming back", "in", wait.Round(time.Millisecond), "err", err)
		if !pause(ctx, wait) {
			return nil
		}
	}
}

func (d *Device) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, r := range d.requests {
		close(r.answer)
	}
	clear(d.requests)
	d.order = nil
}

// waits reports whether an answer is due.
func (d *Device) waits() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.order) > 0
}

// Position returns where the device stands in a session; zero if it does not know it, or
// no longer. While Events.Message runs, that message is not included.
func (d *Device) Position(id wire.SessionID) Position {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := d.sessions[id]; v != nil {
		return v.at
	}
	return Position{}
}

// Positions returns where the device stands in each open session: what a program keeps
// to hand it to its next Config.From.
func (d *Device) Positions() map[wire.SessionID]Position {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := make(map[wire.SessionID]Position, len(d.sessions))
	for id, v := range d.sessions {
		m[id] = v.at
	}
	return m
}

// Sessions returns the open sessions as last told, newest first.
func (d *Device) Sessions() []wire.SessionState {
	d.mu.Lock()
	defer d.mu.Unlock()
	var l []wire.SessionState
	for v := range maps.Values(d.sessions) {
		if v.state.ID != "" && v.state.Phase != wire.Closed {
			l = append(l, v.state)
		}
	}
	slices.SortFunc(l, func(a, b wire.SessionState) int { return b.Opened.Compare(a.Opened) })
	return l
}

package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/tandem-call/tandem/wire"
)

// Transport says how a device connects.
type Transport string

// Transports.
const (
	Auto      Transport = ""          // WebSocket, and server-sent events where it is blocked
	WebSocket Transport = "websocket" // only WebSocket
	SSE       Transport = "sse"       // only server-sent events and POST
)

// Config of a device's connection.
type Config struct {
	Identity *Identity
	// HTTP client for everything; nil for http.DefaultClient.
	HTTP      *http.Client
	Transport Transport
	Events    Events
	// From are places to resume at, kept from an earlier run; nil: from the beginning.
	From map[wire.SessionID]Position
	// Client names the software.
	Client string
	// Logger; nil for none.
	Logger *slog.Logger
}

// Position is a place in a session's log: everything up to Seq has been handed to
// Events.Message.
type Position struct {
	Epoch uint64 `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// Events are what happens, in order and one at a time; a nil function is not called.
// They must not block for long, and must not wait for a request of the same Device.
type Events struct {
	Connected    func(wire.Welcome)
	Disconnected func(error)
	// Session at every change of a session.
	Session func(wire.SessionState)
	// Message once for each message that is for this device, in the order of the session;
	// also the party's own, from its other connections.
	Message func(wire.Envelope)
	// Rewind: messages of the session after seq were never stored; forget them.
	Rewind func(session wire.SessionID, seq uint64)
	// Signal is a message that is not stored: typing, progress.
	Signal    func(wire.Envelope)
	Invite    func(wire.Invite)
	Withdrawn func(wire.Withdrawn)
	Words     func(wire.Words)
}

// Device keeps one connection to the server while Run runs.
type Device struct {
	cfg Config
	api *API
	log *slog.Logger

	mu       sync.Mutex
	link     link // nil while not connected
	closed   bool
	requests map[wire.RequestID]*request
	order    []wire.RequestID // of the requests, as they were made
	sessions map[wire.SessionID]*sessionView
}

// request waits for its answer, over as many connections as it takes.
type request struct {
	frame  []byte
	answer chan wire.Envelope // of one
}

// sessionView is what the device knows of one session.
type sessionView struct {
	state wire.SessionState
	at    Position
	// resuming holds back live messages until what was missed has arrived.
	resuming wire.RequestID
	held     []wire.Envelope
}

// link is one connection, whatever carries it.
type link interface {
	Read(ctx context.Context) ([]byte, error)
	Write(ctx context.Context, frame []byte) error
	Close() error
}

// Connect prepares a device; Run connects it.
func Connect(c Config) (*Device, error) {
	if c.Identity == nil || c.Identity.Device == "" {
		return nil, fmt.Errorf("%w: it is not enrolled", ErrIdentity)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Device{cfg: c, api: NewAPI(c.Identity, c.HTTP), log: c.Logger,
		requests: map[wire.RequestID]*request{}, sessions: map[wire.SessionID]*sessionView{}}
	for id, at := range c.From {
		d.sessions[id] = &sessionView{at: at}
	}
	return d, nil
}

// API returns the device's API for single requests.
func (d *Device) API() *API { return d.api }

// Run connects, and comes back after every loss, until ctx ends or the server says that
// coming back is useless (the credential is gone): then it returns that problem.
func (d *Device) Run(ctx context.Context) error {
	defer d.shut()
	for failures := 0; ; {
		connected, err := d.connection(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if d.cfg.Events.Disconnected != nil {
			d.cfg.Events.Disconnected(err)
		}
		again, pause := reconnect(err)
		if !again {
			return err
		}
		if connected {
			failures = 0
		}
		wait := time.Duration(rand.Int64N(int64(200 * time.Millisecond))) // so that not all come back at once
		if pause || failures > 0 {
			wait = backoff(failures)
		}
		failures++
		d.log.Info("connection lost; coming back", "in", wait.Round(time.Millisecond), "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// backoff returns the pause before attempt n (from 0): up to 0.25 s, doubling to 30 s,
// at random over the whole range ("full jitter").
func backoff(n int) time.Duration {
	most := min(30*time.Second, 250*time.Millisecond<<min(n, 10))
	return 50*time.Millisecond + time.Duration(rand.Int64N(int64(most)))
}

// reconnect says whether to come back after err, and whether only after a pause.
func reconnect(err error) (again, pause bool) {
	var c websocket.CloseError
	if errors.As(err, &c) && c.Code >= 4000 {
		return wire.CloseCode(c.Code).Reconnect()
	}
	var p *wire.Problem
	if errors.As(err, &p) {
		return wire.Catalogue[p.Code].Retry, true
	}
	return true, true
}

func (d *Device) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, r := range d.requests {
		close(r.answer)
	}
	clear(d.requests)
}

// connection lives one connection to its end.
func (d *Device) connection(ctx context.Context) (connected bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l, welcome, err := d.dial(ctx)
	if err != nil {
		return false, err
	}
	defer l.Close()
	if d.cfg.Events.Connected != nil {
		d.cfg.Events.Connected(welcome)
	}
	if err := d.begin(ctx, l, welcome); err != nil {
		return true, err
	}
	heartbeat := time.Duration(max(1, welcome.HeartbeatSeconds)) * time.Second
	go pings(ctx, l, heartbeat)
	for {
		// Two heartbeats of silence: nobody is there.
		rctx, done := context.WithTimeout(ctx, 2*heartbeat+heartbeat/2)
		frame, err := l.Read(rctx)
		done()
		if err != nil {
			d.mu.Lock()
			d.link = nil
			d.mu.Unlock()
			return true, err
		}
		if err := d.frame(ctx, l, frame); err != nil {
			return true, err
		}
	}
}

// pings ends with ctx, which ends with the connection.
func pings(ctx context.Context, l link, every time.Duration) {
	ping, _ := json.Marshal(wire.Envelope{Type: wire.TypePing}) // cannot fail
	t := time.NewTicker(every * 3 / 4)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if l.Write(ctx, ping) != nil {
				return // the reader learns it too
			}
		}
	}
}

// begin makes the new connection the one in use: it resumes every session and repeats
// the requests that have no answer yet.
func (d *Device) begin(ctx context.Context, l link, w wire.Welcome) error {
	d.mu.Lock()
	var frames [][]byte
	for _, s := range w.Sessions {
		frames = append(frames, d.resume(s))
	}
	for _, id := range d.order {
		frames = append(frames, d.requests[id].frame)
	}
	d.link = l
	d.mu.Unlock()
	for _, s := range w.Sessions {
		if d.cfg.Events.Session != nil {
			d.cfg.Events.Session(s)
		}
	}
	for _, f := range frames {
		if err := l.Write(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// resume notes the state and returns the request for what was missed. d.mu is held.
func (d *Device) resume(s wire.SessionState) []byte {
	v := d.sessions[s.ID]
	if v == nil {
		v = &sessionView{}
		d.sessions[s.ID] = v
	}
	v.state = s
	v.resuming = wire.RequestID(wire.NewID("r"))
	v.held = nil
	frame, err := encode(wire.Envelope{Type: wire.TypeResume, ID: v.resuming, Session: s.ID}, wire.Resume{Epoch: v.at.Epoch, Seq: v.at.Seq})
	if err != nil {
		panic(err) // two numbers can always be encoded
	}
	return frame
}

// frame takes one frame of the server's.
func (d *Device) frame(ctx context.Context, l link, b []byte) error {
	var e wire.Envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return fmt.Errorf("client: the server sent what is no envelope: %w", err)
	}
	switch e.Type {
	case wire.TypePing:
		pong, _ := json.Marshal(wire.Envelope{Type: wire.TypePong}) // cannot fail
		return l.Write(ctx, pong)
	case wire.TypePong:
	case wire.TypeMessage:
		d.message(e)
	case wire.TypeSession:
		var s wire.SessionState
		if err := json.Unmarshal(e.Body, &s); err != nil {
			return fmt.Errorf("client: session: %w", err)
		}
		return d.session(ctx, l, s)
	case wire.TypeAck, wire.TypeError:
		if d.refusedResume(e) {
			return nil
		}
		d.answer(e)
	case wire.TypeResumed:
		return d.resumed(e)
	case wire.TypeSignal:
		if d.cfg.Events.Signal != nil {
			d.cfg.Events.Signal(e)
		}
	case wire.TypeInvite:
		return tell(e, d.cfg.Events.Invite)
	case wire.TypeWithdrawn:
		return tell(e, d.cfg.Events.Withdrawn)
	case wire.TypeWords:
		return tell(e, d.cfg.Events.Words)
	default:
		d.log.Debug("the server sent a type that this version does not know", "type", e.Type)
	}
	return nil
}

// tell decodes the body and calls f with it.
func tell[T any](e wire.Envelope, f func(T)) error {
	if f == nil {
		return nil
	}
	var v T
	if err := json.Unmarshal(e.Body, &v); err != nil {
		return fmt.Errorf("client: %s: %w", e.Type, err)
	}
	f(v)
	return nil
}

// session takes a change of a session; a session new to this connection is read from
// its beginning, so that nothing said before we were told is missed.
func (d *Device) session(ctx context.Context, l link, s wire.SessionState) error {
	d.mu.Lock()
	var ask []byte
	if v := d.sessions[s.ID]; v == nil {
		ask = d.resume(s)
	} else {
		v.state = s
	}
	d.mu.Unlock()
	if d.cfg.Events.Session != nil {
		d.cfg.Events.Session(s)
	}
	if ask == nil {
		return nil
	}
	return l.Write(ctx, ask)
}

// message hands a live message on, or holds it back while the session is resuming.
func (d *Device) message(e wire.Envelope) {
	d.mu.Lock()
	v := d.sessions[e.Session]
	if v == nil {
		v = &sessionView{}
		d.sessions[e.Session] = v
	}
	if v.resuming != "" {
		v.held = append(v.held, e)
		d.mu.Unlock()
		return
	}
	fresh := v.take(e)
	d.mu.Unlock()
	if fresh && d.cfg.Events.Message != nil {
		d.cfg.Events.Message(e)
	}
}

// take advances the position over e, and reports whether e is new.
func (v *sessionView) take(e wire.Envelope) bool {
	if e.Epoch < v.at.Epoch || e.Epoch == v.at.Epoch && e.Seq <= v.at.Seq {
		return false
	}
	v.at = Position{e.Epoch, e.Seq}
	return true
}

// resumed ends the holding back: what was missed comes first, then what came live
// meanwhile, each once.
func (d *Device) resumed(e wire.Envelope) error {
	var r wire.Resumed
	if err := json.Unmarshal(e.Body, &r); err != nil {
		return fmt.Errorf("client: resumed: %w", err)
	}
	d.mu.Lock()
	v := d.sessions[e.Session]
	if v == nil || v.resuming != e.ID {
		d.mu.Unlock()
		return nil
	}
	if r.RewindTo != nil && *r.RewindTo < v.at.Seq {
		v.at.Seq = *r.RewindTo
	}
	held := v.held
	v.resuming, v.held = "", nil
	slices.SortStableFunc(held, func(a, b wire.Envelope) int { return int(int64(a.Seq) - int64(b.Seq)) })
	fresh := held[:0]
	for _, m := range held {
		if v.take(m) {
			fresh = append(fresh, m)
		}
	}
	d.mu.Unlock()
	if r.RewindTo != nil && d.cfg.Events.Rewind != nil {
		d.cfg.Events.Rewind(e.Session, *r.RewindTo)
	}
	if d.cfg.Events.Message != nil {
		for _, m := range fresh {
			d.cfg.Events.Message(m)
		}
	}
	return nil
}

// refusedResume takes the error that answers a resume: the session is gone.
func (d *Device) refusedResume(e wire.Envelope) bool {
	if e.Type != wire.TypeError {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, v := range d.sessions {
		if v.resuming == e.ID && e.ID != "" {
			delete(d.sessions, id)
			return true
		}
	}
	return false
}

// answer hands an answer to the request that waits for it.
func (d *Device) answer(e wire.Envelope) {
	d.mu.Lock()
	r := d.drop(e.ID)
	d.mu.Unlock()
	if r != nil {
		r.answer <- e
	} else if e.Type == wire.TypeError {
		d.log.Warn("the server refused a frame", "problem", string(e.Body))
	}
}

// drop forgets a request. d.mu is held.
func (d *Device) drop(id wire.RequestID) *request {
	r := d.requests[id]
	if r != nil {
		delete(d.requests, id)
		d.order = slices.DeleteFunc(d.order, func(o wire.RequestID) bool { return o == id })
	}
	return r
}

// Request makes a request and waits for its answer, over as many connections as it
// takes; the server's refusal is a *wire.Problem. An empty e.ID is filled in. When ctx
// ends first the outcome is not known: repeat it with the same ID.
func (d *Device) Request(ctx context.Context, e wire.Envelope, body any) (wire.Envelope, error) {
	if e.ID == "" {
		e.ID = wire.RequestID(wire.NewID("q"))
	}
	frame, err := encode(e, body)
	if err != nil {
		return e, err
	}
	r := &request{frame, make(chan wire.Envelope, 1)}
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return e, ErrClosed
	}
	d.requests[e.ID] = r
	d.order = append(d.order, e.ID)
	l := d.link
	d.mu.Unlock()
	if l != nil {
		if err := l.Write(ctx, frame); err != nil {
			d.log.Debug("write failed; the next connection repeats it", "err", err)
		}
	}
	select {
	case a, ok := <-r.answer:
		switch {
		case !ok:
			return e, ErrClosed
		case a.Type == wire.TypeError:
			var p wire.Problem
			if err := json.Unmarshal(a.Body, &p); err != nil {
				return a, fmt.Errorf("client: problem: %w", err)
			}
			return a, &p
		}
		return a, nil
	case <-ctx.Done():
		d.mu.Lock()
		d.drop(e.ID)
		d.mu.Unlock()
		return e, fmt.Errorf("client: %s %s: %w", e.Type, e.ID, ctx.Err())
	}
}

func encode(e wire.Envelope, body any) ([]byte, error) {
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("client: body: %w", err)
		}
		e.Body = b
	}
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("client: envelope: %w", err)
	}
	return b, nil
}

// Position returns where the device stands in a session.
func (d *Device) Position(id wire.SessionID) Position {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := d.sessions[id]; v != nil {
		return v.at
	}
	return Position{}
}

// Sessions returns the sessions as last told, newest first.
func (d *Device) Sessions() []wire.SessionState {
	d.mu.Lock()
	defer d.mu.Unlock()
	var l []wire.SessionState
	for _, v := range d.sessions {
		if v.state.ID != "" && v.state.Phase != wire.Closed {
			l = append(l, v.state)
		}
	}
	slices.SortFunc(l, func(a, b wire.SessionState) int { return b.Opened.Compare(a.Opened) })
	return l
}

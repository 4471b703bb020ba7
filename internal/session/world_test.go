package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
	"github.com/tandem-call/tandem/internal/party"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

const (
	tenant   = wire.DefaultTenant
	patience = 20 * time.Second
)

var (
	t0    = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	alice = identity("+442079460001")
	bob   = identity("+442079460002")
	carol = identity("+442079460003")
)

func identity(s string) tel.Identity {
	id, err := tel.ParseIdentity(s, "")
	if err != nil {
		panic(err)
	}
	return id
}

// world is an engine with one or more nodes on it, and a clock that the test moves.
type world struct {
	t      testing.TB
	engine store.Engine
	dir    string

	mu   sync.Mutex
	now  time.Time
	gone []string // what the matcher heard
	// dropped are the sessions whose files were dropped.
	dropped []string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), now: t0}
	w.engine = w.open(w.dir)
	return w
}

func (w *world) open(dir string) store.Engine {
	w.t.Helper()
	e, err := pebblestore.Open(pebblestore.Options{Dir: dir, Headroom: 1 << 20})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := e.Close(); err != nil {
			w.t.Errorf("close the engine: %v", err)
		}
	})
	return e
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// Gone makes the world a session.Watcher.
func (w *world) Gone(_ context.Context, _ wire.TenantID, id wire.SessionID, left []tel.Identity, over bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = append(w.gone, fmt.Sprintf("%s %v %v", id, left, over))
	return nil
}

func (w *world) heard() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.gone...)
}

// Dropped makes the world session.Watcher.
func (w *world) Dropped(_ context.Context, tn wire.TenantID, id wire.SessionID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dropped = append(w.dropped, string(tn)+"/"+string(id))
	return nil
}

// blocked reports whether x refuses sessions with y.
func (w *world) blocked(x, y tel.Identity) bool {
	w.t.Helper()
	yes, err := party.New(w.engine, w.clock).Blocked(ctx(w.t), tenant, x, y)
	if err != nil {
		w.t.Fatal(err)
	}
	return yes
}

// Name makes the world session.Names.
func (w *world) Name(_ context.Context, _ wire.TenantID, d wire.DeviceID) (string, error) {
	return "name of " + string(d), nil
}

// node is one Service on the world's engine.
type node struct {
	*session.Service
	w *world
}

func (w *world) config() session.Config {
	e := w.engine
	return session.Config{
		Records:  store.TableOf[session.Record](e, "sessions"),
		ByDevice: store.TableOf[session.Place](e, "session-devices"),
		Alarms:   store.TableOf[session.Alarm](e, "session-alarms"),
		Log:      e, Bus: e, Watcher: w, Names: w, Blocks: party.New(e, w.clock), Now: w.clock,
	}
}

func (w *world) node(change ...func(*session.Config)) *node {
	w.t.Helper()
	c := w.config()
	for _, f := range change {
		f(&c)
	}
	s, err := session.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return &node{s, w}
}

// run runs the node's own goroutines until the test ends.
func (n *node) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	n.w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			n.w.t.Errorf("run: %v", err)
		}
	})
}

// opening of session S between alice (a1, a2) and bob (b1).
func opening() session.Opening {
	return session.Opening{Tenant: tenant, ID: "S", Sides: []session.OpeningSide{
		{Principal: alice, Shown: alice, Devices: []wire.DeviceID{"a1", "a2"}},
		{Principal: bob, Shown: bob, Devices: []wire.DeviceID{"b1"}},
	}}
}

func (n *node) open() {
	n.w.t.Helper()
	if err := n.Open(ctx(n.w.t), opening()); err != nil {
		n.w.t.Fatal(err)
	}
}

func ctx(t testing.TB) context.Context {
	c, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return c
}

// box is an outbox that a test reads.
type box struct {
	t      testing.TB
	frames chan []byte
	closed chan wire.CloseCode
}

func newBox(t testing.TB) *box {
	return &box{t, make(chan []byte, 100_000), make(chan wire.CloseCode, 10)}
}

func (b *box) Push(f []byte) bool                    { b.frames <- f; return true }
func (b *box) Close(code wire.CloseCode, _ string)   { b.closed <- code }
func (b *box) next(types ...wire.Type) wire.Envelope { b.t.Helper(); return b.read(types) }

// read returns the next frame of one of the types, passing over others.
func (b *box) read(types []wire.Type) wire.Envelope {
	b.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case f := <-b.frames:
			e := parse(b.t, f)
			for _, t := range types {
				if e.Type == t {
					return e
				}
			}
		case code := <-b.closed:
			b.t.Fatalf("closed with %d while waiting for %v", code, types)
		case <-timeout:
			b.t.Fatalf("no frame of %v came", types)
		}
	}
}

func parse(t testing.TB, f []byte) wire.Envelope {
	t.Helper()
	var e wire.Envelope
	if err := json.Unmarshal(f, &e); err != nil {
		t.Fatalf("frame %s: %v", f, err)
	}
	return e
}

// text returns the next chat message, passing over changes of state.
func (b *box) text() wire.Envelope {
	b.t.Helper()
	for {
		if e := b.next(wire.TypeMessage); e.Kind != wire.KindState {
			return e
		}
	}
}

func (b *box) state() wire.SessionState {
	b.t.Helper()
	return body[wire.SessionState](b.t, b.next(wire.TypeSession))
}

// quiet fails if a frame of the types is waiting.
func (b *box) quiet(types ...wire.Type) {
	b.t.Helper()
	for {
		select {
		case f := <-b.frames:
			e := parse(b.t, f)
			for _, t := range types {
				if e.Type == t && e.Kind != wire.KindState {
					b.t.Fatalf("unexpected frame %s", f)
				}
			}
		default:
			return
		}
	}
}

func body[T any](t testing.TB, e wire.Envelope) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(e.Body, &v); err != nil {
		t.Fatalf("body %s: %v", e.Body, err)
	}
	return v
}

func (n *node) attach(d wire.DeviceID) (*box, []wire.SessionState) {
	n.w.t.Helper()
	b := newBox(n.w.t)
	st, detach, err := n.Attach(ctx(n.w.t), tenant, d, b)
	if err != nil {
		n.w.t.Fatal(err)
	}
	n.w.t.Cleanup(detach)
	return b, st
}

func text(id, words string, to ...wire.MemberID) wire.Envelope {
	b, err := json.Marshal(wire.Text{Text: words})
	if err != nil {
		panic(err)
	}
	return wire.Envelope{Type: wire.TypeSend, ID: wire.RequestID(id), Session: "S", Kind: wire.KindText, To: to, Body: b}
}

// ask sends and waits for the answer. out may be nil.
func (n *node) ask(d wire.DeviceID, out session.Outbox, e wire.Envelope) wire.Envelope {
	n.w.t.Helper()
	got := make(chan wire.Envelope, 2)
	n.Send(ctx(n.w.t), tenant, d, out, e, func(a wire.Envelope) { got <- a })
	select {
	case a := <-got:
		return a
	case <-time.After(patience):
		n.w.t.Fatalf("no answer to %s of %s", e.ID, d)
		return wire.Envelope{}
	}
}

func (n *node) send(d wire.DeviceID, out session.Outbox, e wire.Envelope) wire.Envelope {
	n.w.t.Helper()
	a := n.ask(d, out, e)
	if a.Type != wire.TypeAck || a.ID != e.ID || a.Session != e.Session {
		n.w.t.Fatalf("answer to %s of %s: %+v, %s", e.ID, d, a, a.Body)
	}
	return a
}

func (n *node) resume(d wire.DeviceID, b *box, epoch, seq uint64) {
	n.w.t.Helper()
	data, err := json.Marshal(wire.Resume{Epoch: epoch, Seq: seq})
	if err == nil {
		err = n.Resume(ctx(n.w.t), tenant, d, b, wire.Envelope{Type: wire.TypeResume, ID: "resume", Session: "S", Body: data})
	}
	if err != nil {
		n.w.t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, code wire.Code) {
	t.Helper()
	var p *wire.Problem
	if !errors.As(err, &p) || p.Code != code {
		t.Errorf("got %v, want the code %s", err, code)
	}
}

func (n *node) refused(d wire.DeviceID, e wire.Envelope, code wire.Code) wire.Problem {
	n.w.t.Helper()
	a := n.ask(d, nil, e)
	p := body[wire.Problem](n.w.t, a)
	if a.Type != wire.TypeError || p.Code != code || a.ID != e.ID {
		n.w.t.Errorf("answer %+v %s, want the code %s", a, a.Body, code)
	}
	return p
}

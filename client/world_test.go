package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

func TestMain(m *testing.M) {
	// The server's upload library keeps one for ten seconds after a request.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/tus/tusd/v2/pkg/handler.newDelayedContext.func1"))
}

const patience = 30 * time.Second

// world is a real server on a directory of its own, behind a proxy whose faults the
// test decides. The server can be stopped and started again.
type world struct {
	t     testing.TB
	ctx   context.Context
	dir   string
	proxy *proxy
	codes chan string
	stop  func()
	cfg   func(*server.Config)
}

func newWorld(t testing.TB, cfg func(*server.Config)) *world {
	ctx, cancel := context.WithCancel(context.Background())
	w := &world{t: t, ctx: ctx, dir: t.TempDir(), codes: make(chan string, 16), cfg: cfg}
	w.proxy = newProxy(t)
	t.Cleanup(func() {
		cancel()
		w.proxy.close()
		w.stop()
	})
	w.start()
	return w
}

// start starts the server on the world's directory.
func (w *world) start() {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(w.t, err)
	cfg := server.Defaults()
	cfg.Data = filepath.Join(w.dir, "data")
	cfg.Listen = l.Addr().String()
	cfg.Engine.HeadroomMiB = 16
	cfg.Limits.MessageBurst = 100_000
	cfg.Limits.MessagesPerSecond = 100_000
	cfg.Limits.PendingPerAddress = 1000
	if w.cfg != nil {
		w.cfg(&cfg)
	}
	s, err := server.New(w.ctx, cfg, server.Options{
		Version: "test", Logger: slog.New(slog.DiscardHandler), Listener: l,
		Show: func(line string) { w.codes <- line },
	})
	check(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.proxy.to(l.Addr().String())
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the server ended: %v", err)
		}
	})
}

// http returns a client with connections of its own, gone with the test.
func (w *world) http() *http.Client {
	tr := &http.Transport{}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// code reads the code that the server has printed.
func (w *world) code(ctx context.Context, _ wire.Enrolment, last error) (string, error) {
	if last != nil {
		return "", last
	}
	select {
	case line := <-w.codes:
		for _, word := range strings.FieldsFunc(line, func(r rune) bool { return r < '0' || r > '9' }) {
			if len(word) == 6 {
				return word, nil
			}
		}
		return "", fmt.Errorf("no code in %q", line)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (w *world) enrol(name, number string) *client.Identity {
	w.t.Helper()
	id, err := client.NewIdentity("http://" + w.proxy.addr())
	check(w.t, err)
	_, err = client.Enrol(w.ctx, id, client.Enrolling{Number: number, Name: name, HTTP: w.http()}, w.code)
	check(w.t, err)
	return id
}

const (
	aliceNumber = "+442079460001"
	bobNumber   = "+442079460002"
)

// device is a running device and what has happened to it.
type device struct {
	*client.Device
	t    testing.TB
	id   *client.Identity
	stop func() error

	mu       sync.Mutex
	change   chan struct{}
	states   map[wire.SessionID]wire.SessionState
	got      []wire.Envelope
	signals  []wire.Envelope
	notices  []wire.Notice
	rewinds  []uint64
	lost     int
	losses   []error
	welcomes int
}

// run starts a device; c may be changed by more.
func (w *world) run(id *client.Identity, more func(*client.Config)) *device {
	w.t.Helper()
	d := &device{t: w.t, id: id, change: make(chan struct{}), states: map[wire.SessionID]wire.SessionState{}}
	c := client.Config{Identity: id, HTTP: w.http(), Client: "test", Events: client.Events{
		Connected:    func(wire.Welcome) { d.event(func() { d.welcomes++ }) },
		Disconnected: func(err error) { d.event(func() { d.losses = append(d.losses, err) }) },
		Session:      func(s wire.SessionState) { d.event(func() { d.states[s.ID] = s }) },
		Message: func(e wire.Envelope) {
			d.event(func() {
				if e.From != "" {
					d.got = append(d.got, e)
				}
			})
		},
		Rewind: func(_ wire.SessionID, seq uint64) { d.event(func() { d.rewinds = append(d.rewinds, seq) }) },
		Lost:   func(wire.SessionID) { d.event(func() { d.lost++ }) },
		Signal: func(e wire.Envelope) { d.event(func() { d.signals = append(d.signals, e) }) },
		Notice: func(n wire.Notice) { d.event(func() { d.notices = append(d.notices, n) }) },
	}}
	if more != nil {
		more(&c)
	}
	var err error
	d.Device, err = client.Connect(c)
	check(w.t, err)
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	d.stop = sync.OnceValue(func() error { cancel(); return <-done })
	w.t.Cleanup(func() { _ = d.stop() })
	return d
}

func (d *device) event(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	close(d.change)
	d.change = make(chan struct{})
}

// until waits until cond, which is called with d.mu held, holds.
func (d *device) until(what string, cond func() bool) {
	d.t.Helper()
	late := time.After(patience)
	for {
		d.mu.Lock()
		ok, change := cond(), d.change
		d.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-change:
		case <-late:
			d.mu.Lock()
			defer d.mu.Unlock()
			d.t.Fatalf("%s waited in vain for %s; %d connections, lost by %v, %d messages", d.id.Name, what, d.welcomes, d.losses, len(d.got))
		}
	}
}

func (d *device) open() wire.SessionID {
	d.t.Helper()
	var id wire.SessionID
	d.until("an open session", func() bool {
		for _, s := range d.states {
			if s.Phase != wire.Closed {
				id = s.ID
			}
		}
		return id != ""
	})
	return id
}

func (d *device) texts() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var l []string
	for _, e := range d.got {
		l = append(l, string(e.Body))
	}
	return l
}

// report reports the state of the one call of the tests.
func (d *device) report(ctx context.Context, number string, dir tel.Direction, s tel.State) {
	d.t.Helper()
	other, err := tel.ParseIdentity(number, "")
	check(d.t, err)
	p := d.id.Details(other, dir, s)
	p.Ref.CallID = "a-call"
	_, err = d.Report(ctx, wire.Report{PartyDetails: p})
	check(d.t, err)
}

// pair is two devices in a session.
func (w *world) pair(more func(*client.Config)) (alice, bob *device, id wire.SessionID) {
	w.t.Helper()
	alice, bob = w.run(w.enrol("alice", aliceNumber), more), w.run(w.enrol("bob", bobNumber), more)
	alice.report(w.ctx, bobNumber, tel.Outgoing, tel.Active)
	bob.report(w.ctx, aliceNumber, tel.Incoming, tel.Active)
	id = alice.open()
	if other := bob.open(); other != id {
		w.t.Fatalf("two sessions: %s and %s", id, other)
	}
	return alice, bob, id
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// proxy passes TCP connections on to a server that may change, with faults.
type proxy struct {
	l  net.Listener
	wg sync.WaitGroup

	mu     sync.Mutex
	target string
	conns  map[*passing]bool
	// after, if set, gives each new connection the bytes after which it is cut.
	after  func() int64
	refuse bool
	closed bool
	count  int
}

// passing is one connection through the proxy.
type passing struct {
	p      *proxy
	client net.Conn
	server net.Conn
	mu     sync.Mutex
	left   int64 // bytes to pass before the cut; negative: no cut
	gate   chan struct{}
}

func newProxy(t testing.TB) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	p := &proxy{l: l, conns: map[*passing]bool{}}
	p.wg.Go(p.accept)
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

func (p *proxy) to(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

func (p *proxy) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target, refuse := p.target, p.refuse
		left := int64(-1)
		if p.after != nil {
			left = p.after()
		}
		p.mu.Unlock()
		s, err := net.Dial("tcp", target)
		if err != nil || refuse {
			c.Close()
			if err == nil {
				s.Close()
			}
			continue
		}
		for _, end := range []net.Conn{c, s} { // little room, so that who is slow is soon noticed
			_ = end.(*net.TCPConn).SetReadBuffer(64 << 10)  // or as the system likes
			_ = end.(*net.TCPConn).SetWriteBuffer(64 << 10) // as above
		}
		x := &passing{p: p, client: c, server: s, left: left}
		p.mu.Lock()
		p.conns[x] = true
		p.count++
		closed := p.closed
		p.mu.Unlock()
		if closed {
			x.cut()
		}
		p.wg.Go(func() { x.pass(s, c) })
		p.wg.Go(func() { x.pass(c, s) })
	}
}

func (x *passing) pass(to, from net.Conn) {
	defer x.cut()
	b := make([]byte, 16<<10)
	for {
		n, err := from.Read(b)
		x.mu.Lock()
		gate := x.gate
		if x.left >= 0 {
			n = int(min(int64(n), x.left))
			x.left -= int64(n)
		}
		over := x.left == 0
		x.mu.Unlock()
		if gate != nil {
			<-gate
		}
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err == io.EOF && !over { // half-closed
			_ = to.(*net.TCPConn).CloseWrite()
			return
		}
		if err != nil || over {
			return
		}
	}
}

func (x *passing) cut() {
	x.client.Close()
	x.server.Close()
	x.p.mu.Lock()
	delete(x.p.conns, x)
	x.p.mu.Unlock()
}

// all returns the connections that are open.
func (p *proxy) all() []*passing {
	p.mu.Lock()
	defer p.mu.Unlock()
	var l []*passing
	for x := range p.conns {
		l = append(l, x)
	}
	return l
}

// cut cuts all connections.
func (p *proxy) cut() {
	for _, x := range p.all() {
		x.cut()
	}
}

// halfClose ends what the server says on every connection, as if it had finished.
func (p *proxy) halfClose() {
	for _, x := range p.all() {
		_ = x.client.(*net.TCPConn).CloseWrite()
	}
}

// stall stops all connections, which stay open, until the returned function is called.
func (p *proxy) stall() (release func()) {
	gate := make(chan struct{})
	l := p.all()
	for _, x := range l {
		x.mu.Lock()
		x.gate = gate
		x.mu.Unlock()
	}
	return sync.OnceFunc(func() {
		for _, x := range l {
			x.mu.Lock()
			x.gate = nil
			x.mu.Unlock()
		}
		close(gate)
	})
}

// dropAfter has every later connection cut after some bytes; nil: none.
func (p *proxy) dropAfter(f func() int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.after = f
}

// down refuses connections, and cuts those that are open.
func (p *proxy) down(yes bool) {
	p.mu.Lock()
	p.refuse = yes
	p.mu.Unlock()
	if yes {
		p.cut()
	}
}

func (p *proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.l.Close()
	p.cut()
	p.wg.Wait()
}

func problemCode(err error) wire.Code {
	var p *wire.Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

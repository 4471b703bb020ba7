package sip

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// memory is one of a test; it may fail for a while.
type memory struct {
	mu    sync.Mutex
	calls map[string]Kept
	at    time.Time
	fails int
	asked chan struct{} // once for each attempt to read
}

func (m *memory) Keep(_ context.Context, id string, c Kept) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls[id] = c
	return nil
}

func (m *memory) Forget(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.calls, id)
	return nil
}

func (m *memory) Seen(_ context.Context, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at = at
	return nil
}

func (m *memory) Kept(context.Context) (map[string]Kept, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case m.asked <- struct{}{}:
	default:
	}
	if m.fails > 0 {
		m.fails--
		return nil, time.Time{}, errors.New("the store is down")
	}
	return maps.Clone(m.calls), m.at, nil
}

// await waits until so many calls are kept.
func (m *memory) await(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		m.mu.Lock()
		got := len(m.calls)
		m.mu.Unlock()
		if got == n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d calls are kept, want %d", got, n)
		}
	}
}

// life is one run of an element, which a test ends and begins anew at the same address.
type life struct {
	*world
	end func()
}

func begin(t *testing.T, m *memory, addr string, change ...func(*Config)) life {
	t.Helper()
	w := &world{t: t, reports: make(chan Report, 1000)}
	cfg := Config{
		Domain: "example.com", Listen: addr, Open: true, Logger: slog.New(slog.DiscardHandler), T1: 100 * time.Millisecond, Memory: m,
		Secret: []byte("0123456789abcdef0123456789abcdef"), Report: func(_ context.Context, r Report) error { w.reports <- r; return nil },
	}
	for _, f := range change {
		f(&cfg)
	}
	e, err := New(cfg)
	w.must(err)
	w.e, w.addr = e, netip.MustParseAddrPort(addr)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	l := life{w, sync.OnceFunc(func() {
		cancel()
		w.must(<-done)
	})}
	t.Cleanup(l.end)
	return l
}

// TestRestart: an element that ends in the middle of calls and is started again carries what
// follows in them, and reports them as if nothing had been.
func TestRestart(t *testing.T) {
	m := &memory{calls: map[string]Kept{}, asked: make(chan struct{}, 1)}
	const addr = "127.88.0.3:5060"
	w := begin(t, m, addr)
	a, b := w.newAgent(alice, "UDP"), w.newAgent(bob, "UDP")
	a.register()
	b.register()
	caller, callee := a.call(b)
	before := w.legs(alice+" outgoing active", bob+" incoming active")
	m.await(t, 1)
	w.end()

	w = begin(t, m, addr)
	again := w.legs(alice+" outgoing active", bob+" incoming active") // picked up
	for s, r := range again {
		if old := before[s]; r.Ref != old.Ref || r.Own != old.Own || r.Other != old.Other || r.Seq <= old.Seq || !r.At.Equal(old.At) {
			t.Errorf("%s: %+v has become %+v", s, old, r)
		}
	}
	hold := caller.ask("INVITE", "Content-Type", "application/sdp")
	hold.Body = []byte(sdp + "a=sendonly\r\n")
	a.tell(hold)
	b.reply(b.request("INVITE"), 200)
	a.answer("INVITE", 200)
	w.legs(alice+" outgoing held", bob+" incoming held")
	w.end()

	// Bob hangs up while the store cannot be read yet: it is carried at once, and told later.
	m.fails = 2
	w = begin(t, m, addr)
	<-m.asked
	b.tell(callee.ask("BYE"))
	a.reply(a.request("BYE"), 200)
	b.answer("BYE", 200)
	w.legs(alice+" outgoing ended", bob+" incoming ended")
	m.await(t, 0)
}

// TestRestartLate: after a time in which a BYE can have been missed, a call is reported again
// only when something is heard of it.
func TestRestartLate(t *testing.T) {
	m := &memory{calls: map[string]Kept{}}
	const addr = "127.88.0.3:5060"
	w := begin(t, m, addr)
	a, b, c := w.newAgent(alice, "UDP"), w.newAgent(bob, "UDP"), w.newAgent(carol, "UDP")
	for _, x := range []*agent{a, b, c} {
		x.register()
	}
	a.call(b)
	caller, _ := a.call(c)
	m.await(t, 2)
	w.end()
	m.at = time.Now().Add(-time.Hour)

	w = begin(t, m, addr, func(c *Config) { c.Lease = 300 * time.Millisecond })
	a.tell(caller.ask("INFO"))
	c.reply(c.request("INFO"), 200)
	a.answer("INFO", 200)
	got := w.legs(alice+" outgoing active", carol+" incoming active")
	m.await(t, 1) // the other one is forgotten
	for len(w.reports) > 0 {
		r := <-w.reports
		got[r.Own.String()] = r
	}
	for _, r := range got {
		if r.Own == identityOf(t, bob) || r.Other == identityOf(t, bob) {
			t.Errorf("a call that may be over is reported: %+v", r)
		}
	}
}

package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/chaos"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/wire"
)

// drip is a connection that can be made to take one byte a second.
type drip struct {
	net.Conn
	slow *atomic.Bool
	stop <-chan struct{}
}

func (d drip) Read(b []byte) (int, error) {
	if !d.slow.Load() || len(b) == 0 {
		return d.Conn.Read(b)
	}
	select {
	case <-d.stop:
	case <-time.After(time.Second):
	}
	return d.Conn.Read(b[:1])
}

// audience is one session with very many members, one of which speaks.
type audience struct {
	*world
	ids  []*client.Identity
	id   wire.SessionID
	slow atomic.Bool // the last tenth of them
	body string

	mu        sync.Mutex
	latencies []time.Duration // of deliveries to the healthy
	delivered atomic.Int64
}

func newAudience(t *testing.T, members, size int) *audience {
	a := &audience{id: "s_audience", body: strings.Repeat("x", size)}
	a.world = newWorld(t, func(c *server.Config) { c.Limits.Members, c.Limits.Heartbeat = members, time.Hour }) // they only listen
	o := session.Opening{Tenant: wire.DefaultTenant, ID: a.id, At: time.Now()}
	for i := range members {
		id := a.enrol(fmt.Sprintf("+44207946%04d", i))
		a.ids = append(a.ids, id)
		o.Sides = append(o.Sides, session.OpeningSide{Principal: id.Number.Identity(), Shown: id.Number.Identity(), Devices: []wire.DeviceID{id.Device}})
	}
	check(t, a.server.Sessions().Open(t.Context(), o))
	return a
}

// healthy is how many listen as they should.
func (a *audience) healthy() int { return len(a.ids) * 9 / 10 }

// sit connects the members but for the speaker, and lets them listen until the test ends.
func (a *audience) sit(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	for i, id := range a.ids[1:] {
		isSlow := i >= a.healthy()
		hc := a.http
		if isSlow {
			dialer := &net.Dialer{}
			tr := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := dialer.DialContext(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				return drip{c, &a.slow, ctx.Done()}, c.(*net.TCPConn).SetReadBuffer(4096)
			}}
			hc = &http.Client{Transport: tr}
		}
		s := a.dialOver(hc)
		s.hello(id)
		s.read(wire.TypeWelcome)
		wg.Go(func() {
			defer s.conn.CloseNow()
			for {
				_, b, err := s.conn.Read(ctx)
				if err != nil {
					return
				}
				now := time.Now()
				// A JSON decoder for each would cost more than the server.
				_, rest, ok := bytes.Cut(b, []byte(`"text":"`))
				head, _, _ := bytes.Cut(rest, []byte(" "))
				sent, err := strconv.ParseInt(string(head), 10, 64)
				if !ok || err != nil || isSlow {
					continue
				}
				a.mu.Lock()
				a.latencies = append(a.latencies, now.Sub(time.Unix(0, sent)))
				a.mu.Unlock()
				a.delivered.Add(1)
			}
		})
	}
}

// speak sends messages at a pace until enough says so, and returns the median of what the
// healthy waited for one.
func (a *audience) speak(prefix string, pace time.Duration, enough func(sent int) bool) (median time.Duration, sent int) {
	a.t.Helper()
	a.mu.Lock()
	a.latencies = nil
	a.mu.Unlock()
	a.delivered.Store(0)
	healthy := int64(a.healthy())
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for ; !enough(sent); sent++ {
		<-tick.C
		text, err := json.Marshal(wire.Text{Text: fmt.Sprint(time.Now().UnixNano(), " ", a.body)})
		check(a.t, err)
		done := make(chan wire.Envelope, 1)
		a.server.Sessions().Send(a.ctx, wire.DefaultTenant, a.ids[0].Device, nil, wire.Envelope{
			Type: wire.TypeSend, ID: wire.RequestID(fmt.Sprint(prefix, sent)), Session: a.id, Kind: wire.KindText, Body: text,
		}, func(e wire.Envelope) { done <- e })
		if e := <-done; e.Type != wire.TypeAck {
			a.t.Fatalf("%s", e.Body)
		}
	}
	a.until("the healthy members have everything", func() bool { return a.delivered.Load() >= healthy*int64(sent) })
	a.mu.Lock()
	defer a.mu.Unlock()
	slices.Sort(a.latencies)
	return a.latencies[len(a.latencies)/2], sent
}

// TestSlowMembers: a tenth of the members of a large session take one byte a second. They are
// closed with a code that says that they may resume, what waits for them is bounded, and
// the others do not notice.
func TestSlowMembers(t *testing.T) {
	members := chaos.Times(40, 1000)
	size, pace := chaos.Times(48<<10, 8<<10), time.Duration(chaos.Times(15, 200))*time.Millisecond
	a := newAudience(t, members, size)
	a.sit(t)
	baseline, _ := a.speak("before", pace, func(sent int) bool { return sent == 100 })
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	a.slow.Store(true)
	closed := func() (n int) {
		for line := range strings.Lines(a.ask("GET", "/metrics", a.op, "").body) {
			if count, ok := strings.CutPrefix(line, `tandem_closed_connections_total{code="4008"} `); ok {
				fmt.Sscan(count, &n)
			}
		}
		return n
	}
	slow := len(a.ids) - 1 - a.healthy()
	began, peak := time.Now(), uint64(0)
	median, sent := a.speak("during", pace, func(sent int) bool {
		if sent%20 == 0 {
			runtime.ReadMemStats(&after)
			peak = max(peak, after.HeapAlloc)
			if closed() >= slow && sent >= 100 {
				return true
			}
		}
		if time.Since(began) > 8*patience {
			t.Fatalf("%d of %d slow members were closed", closed(), slow)
		}
		return false
	})
	if n := closed(); n != slow {
		t.Errorf("%d members were closed as slow, %d are", n, slow)
	}
	if grown := int64(peak) - int64(before.HeapAlloc); grown > int64(slow)<<20+256<<20 {
		t.Errorf("%d MiB grew for %d slow members", grown>>20, slow)
	}
	// One of them comes back, and resumes without a gap.
	s := a.enter(a.ids[len(a.ids)-1])
	s.write(fmt.Sprintf(`{"type":"resume","id":"r","session":%q,"body":{}}`, a.id))
	got := 0
	for {
		_, b, err := s.conn.Read(s.ctx)
		check(t, err)
		e, err := wire.DecodeServer(b)
		check(t, err)
		if e.Type == wire.TypeMessage && e.Kind == wire.KindText {
			got++
		}
		if e.Type == wire.TypeResumed {
			break
		}
	}
	if got != 100+sent {
		t.Errorf("a slow member that came back has %d of %d messages", got, 100+sent)
	}
	if chaos.Times(0, 1) == 1 && median > 2*baseline {
		t.Errorf("the healthy waited %v, before there were slow ones %v", median, baseline)
	}
	chaos.Report(t, fmt.Sprintf("server: %d of %d members of a session read 1 byte/s", slow, members), 1,
		"healthy p50 %.1f ms, before %.1f ms; all slow ones closed as slow (4008), and resumed without a gap; heap grew by at most %d MiB",
		float64(median.Microseconds())/1e3, float64(baseline.Microseconds())/1e3, max(0, int64(peak)-int64(before.HeapAlloc))>>20)
}

package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/chaos"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// usage is what a server uses, by its own metrics.
type usage struct{ heap, goroutines, descriptors float64 }

// usage is the lowest of several looks. The heap is what was live after the last collection, by
// the size at which the next one is due, twice that (GOGC=100).
func (c *child) usage(t *testing.T, looks int, pause time.Duration) usage {
	t.Helper()
	admin := (&world{t: t, dir: c.dir}).admin()
	defer admin.CloseIdleConnections()
	lowest := usage{1e18, 1e18, 1e18}
	for range looks {
		res, err := admin.Get("http://admin/metrics")
		check(t, err)
		b, err := io.ReadAll(res.Body)
		check(t, err)
		check(t, res.Body.Close())
		for line := range strings.Lines(string(b)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				continue
			}
			switch name {
			case "go_memstats_next_gc_bytes":
				lowest.heap = min(lowest.heap, v/2)
			case "go_goroutines":
				lowest.goroutines = min(lowest.goroutines, v)
			case "process_open_fds":
				lowest.descriptors = min(lowest.descriptors, v)
			}
		}
		time.Sleep(pause)
	}
	return lowest
}

// caller is a device of the soak.
type caller struct {
	*client.Device
	id    *client.Identity
	http  *http.Client
	open  chan wire.SessionID
	ended chan wire.SessionID
	got   atomic.Int64
	stop  context.CancelFunc
	over  chan struct{}
}

func (k *caller) connect(t *testing.T) {
	var err error
	k.Device, err = client.Connect(client.Config{Identity: k.id, HTTP: k.http, Transport: client.WebSocket, Events: client.Events{
		Session: func(s wire.SessionState) {
			to := k.open
			if s.Phase == wire.Closed {
				to = k.ended
			} else if s.Phase != wire.InCall {
				return
			}
			select {
			case to <- s.ID:
			default:
			}
		},
		Message: func(wire.Envelope) { k.got.Add(1) },
	}})
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	k.stop, k.over = cancel, make(chan struct{})
	go func() { defer close(k.over); _ = k.Run(ctx) }()
}

func (k *caller) leave() {
	k.stop()
	<-k.over
	k.http.CloseIdleConnections()
}

// call is one call between two devices, with messages, and at times a file. It ends when its
// session is closed.
func (k *caller) call(t *testing.T, o *caller, n int) error {
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	for _, c := range []chan wire.SessionID{k.open, k.ended, o.open, o.ended} {
		for len(c) > 0 {
			<-c
		}
	}
	report := func(x, y *caller, dir tel.Direction, state tel.State) error {
		d := details(x.id, y.id.Number.String(), dir, state)
		d.Ref.CallID = fmt.Sprint("call-", k.id.Number, n)
		_, err := x.Report(ctx, wire.Report{PartyDetails: d})
		return err
	}
	wait := func(c chan wire.SessionID) (id wire.SessionID, err error) {
		select {
		case id = <-c:
		case <-ctx.Done():
			err = ctx.Err()
		}
		return id, err
	}
	if err := report(k, o, tel.Outgoing, tel.Active); err != nil {
		return err
	}
	if err := report(o, k, tel.Incoming, tel.Active); err != nil {
		return err
	}
	id, err := wait(k.open)
	if err == nil {
		_, err = wait(o.open)
	}
	if err != nil {
		return fmt.Errorf("no session: %w", err)
	}
	for i := range 10 {
		x := []*caller{k, o}[i%2]
		if _, err := x.Send(ctx, id, wire.KindText, wire.Text{Text: strings.Repeat("word ", 20)}); err != nil {
			return err
		}
	}
	if n%10 == 0 {
		err := k.API().Upload(ctx, client.Upload{Session: id, Name: "note", Content: bytes.NewReader(make([]byte, 20_000)), Size: 20_000})
		if err != nil {
			return err
		}
	}
	if err := report(k, o, tel.Outgoing, tel.Ended); err != nil {
		return err
	}
	if err := report(o, k, tel.Incoming, tel.Ended); err != nil {
		return err
	}
	if _, err := wait(k.ended); err != nil {
		return fmt.Errorf("the session does not close: %w", err)
	}
	_, err = wait(o.ended)
	return err
}

// TestSoak lets a day of calls pass in minutes: 24 hours of calls with messages, files and
// lost connections. The server's heap, goroutines and descriptors are the same in the end.
func TestSoak(t *testing.T) {
	minutes := 20.0
	if s := os.Getenv("SOAK_MINUTES"); s != "" {
		var err error
		minutes, err = strconv.ParseFloat(s, 64)
		check(t, err)
	}
	hours, pairs, calls := chaos.Times(3, 24), chaos.Times(5, 50), chaos.Times(10, 200)
	hour := time.Duration(chaos.Times(0, 1)) * time.Duration(minutes/24*float64(time.Minute))
	c := &child{t: t, dir: filepath.Join(t.TempDir(), "data"), addr: freeAddress(t), mode: modeSoak}
	c.begin()
	var callers []*caller
	for i := range 2 * pairs {
		k := &caller{
			id: enrol(t, c.url(), fmt.Sprintf("+44207946%04d", i), c.codes), http: clientOf(t, nil),
			open: make(chan wire.SessionID, 10), ended: make(chan wire.SessionID, 10),
		}
		k.connect(t)
		t.Cleanup(k.leave)
		callers = append(callers, k)
	}
	var all []usage
	made := atomic.Int64{}
	for h := range hours {
		end := time.Now().Add(hour * 8 / 10) // and a rest in which what is over is dropped
		var wg sync.WaitGroup
		for p := range pairs {
			wg.Go(func() {
				a, b := callers[2*p], callers[2*p+1]
				for n := range calls / pairs {
					if err := a.call(t, b, h*1000+n); err != nil {
						t.Errorf("hour %d, pair %d: %v", h, p, err)
						return
					}
					made.Add(1)
					if n%2 == 1 { // a device goes and comes back
						a.leave()
						a.connect(t)
					}
					time.Sleep(max(0, time.Until(end)) / time.Duration(calls/pairs-n))
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		all = append(all, c.usage(t, chaos.Times(3, 8), max(hour/50, 200*time.Millisecond)))
		t.Logf("hour %d: %.1f MiB of heap, %.0f goroutines, %.0f descriptors", h+1, all[h].heap/(1<<20), all[h].goroutines, all[h].descriptors)
	}
	// The first hours warm the caches up.
	first, last := worst(all[hours/4:hours/2]), worst(all[hours*3/4:])
	if last.goroutines > first.goroutines*1.1+float64(chaos.Times(80, 20)) || last.descriptors > first.descriptors*1.1+10 {
		t.Errorf("goroutines and descriptors went from %v to %v", first, last)
	}
	if last.heap > first.heap*1.25+16<<20 {
		t.Errorf("the heap went from %.1f MiB to %.1f MiB", first.heap/(1<<20), last.heap/(1<<20))
	}
	chaos.Report(t, fmt.Sprintf("server: soak of %d hours of calls in %.0f s", hours, (hour*time.Duration(hours)).Seconds()), 1,
		"%d calls with %d messages; heap %.0f → %.0f MiB, goroutines %.0f → %.0f, descriptors %.0f → %.0f", made.Load(), made.Load()*10,
		first.heap/(1<<20), last.heap/(1<<20), first.goroutines, last.goroutines, first.descriptors, last.descriptors)
}

// worst is the most of each, which the lowest looks of some hours had.
func worst(l []usage) usage {
	most := func(f func(usage) float64) float64 {
		return f(slices.MaxFunc(l, func(a, b usage) int { return int(f(a) - f(b)) }))
	}
	return usage{most(func(u usage) float64 { return u.heap }), most(func(u usage) float64 { return u.goroutines }), most(func(u usage) float64 { return u.descriptors })}
}

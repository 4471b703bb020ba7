package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
	"github.com/tandem-call/tandem/internal/party"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// reporters of calls at once.
var reporters = []int{16, 256}

// match measures the matcher in this process, everything it decides synced: each call is
// two reports by two devices, between parties that were never in a call before. Once by
// itself, and once with the session that each call opens.
func match(b *bench) (err error) {
	w := &matchWorld{dir: filepath.Join(b.dir, "match")}
	if err := w.open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if b.profiles != "" {
		f, err := os.Create(filepath.Join(b.profiles, "match.pprof"))
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return errors.Join(err, f.Close())
		}
		defer func() {
			pprof.StopCPUProfile()
			err = errors.Join(err, f.Close())
		}()
	}
	for round := range b.rounds {
		for _, n := range reporters {
			for _, m := range []struct {
				name    string
				matcher *call.Matcher
			}{{"match", w.alone}, {"open", w.opening}} {
				cpu, before := ownProcessor(), w.calls.Load()
				perSecond, err := w.callsFor(m.matcher, n, b.time/2)
				if err != nil {
					return err
				}
				spent := micros(ownProcessor()-cpu) / float64(w.calls.Load()-before)
				b.add(fmt.Sprint(m.name, " ", n), perSecond)
				b.add(fmt.Sprint(m.name, " cpu ", n), spent)
				b.progress("round %d, %d reporters, %s: %.0f calls/s, %.0f µs", round+1, n, m.name, perSecond, spent)
			}
		}
	}
	if opened, calls := w.opened.Load()+w.sessions(), w.calls.Load(); opened != calls {
		return fmt.Errorf("%d calls opened %d sessions", calls, opened)
	}
	b.printf("## Matching\n\nIn one process; two reports make one call, and each report has been synced when it is answered.\n\n")
	b.row("reporters at once", "calls/s, the matcher alone", "CPU per call, µs", "calls/s with a session opened for each", "CPU per call, µs")
	for _, n := range reporters {
		b.row(fmt.Sprint(n), b.figure(fmt.Sprint("match ", n), 0), b.figure(fmt.Sprint("match cpu ", n), 0),
			b.figure(fmt.Sprint("open ", n), 0), b.figure(fmt.Sprint("open cpu ", n), 0))
	}
	b.endTable()
	b.printf("Goal: 20,000 calls/s.\n\n")
	return nil
}

// matchWorld is what the matcher needs around it. Every party has one device.
type matchWorld struct {
	*party.Directory
	dir            string
	engine         *pebblestore.Store
	service        *session.Service
	alone, opening *call.Matcher
	stop           context.CancelFunc
	running        sync.WaitGroup
	next           atomic.Int64 // party
	calls          atomic.Int64
	opened         atomic.Int64 // by the matcher alone
	told           atomic.Int64 // by the other one
}

func (w *matchWorld) open() (err error) {
	if w.engine, err = pebblestore.Open(pebblestore.Options{Dir: w.dir}); err != nil {
		return err
	}
	e := w.engine
	w.Directory = party.New(e, nil)
	w.service, err = sessionsOn(e, w.Directory, wire.DefaultLimits)
	if err != nil {
		return errors.Join(err, e.Close())
	}
	matcher := func(prefix string, s call.Sessions) (*call.Matcher, error) {
		return call.New(call.Config{
			Records:   store.TableOf[call.Record](e, prefix+"calls"),
			Index:     store.TableOf[call.IndexEntry](e, prefix+"calls-by-party"),
			Directory: w, Sessions: s, Notifier: nobody{}, Log: slog.New(slog.DiscardHandler),
		})
	}
	var err1, err2 error
	w.alone, err1 = matcher("alone-", counter{&w.opened})
	w.opening, err2 = matcher("opening-", opener{w.service, &w.told})
	if err := errors.Join(err1, err2); err != nil {
		return errors.Join(err, e.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	for _, run := range []func(context.Context) error{w.alone.Run, w.opening.Run, w.service.Run} {
		w.running.Go(func() { _ = run(ctx) }) // ends with ctx
	}
	return nil
}

// sessionsOn is the session core over an engine, with the server's names of its tables.
func sessionsOn(e store.Engine, blocks session.Blocks, l wire.Limits) (*session.Service, error) {
	return session.New(session.Config{
		Records:  store.TableOf[session.Record](e, "sessions"),
		ByDevice: store.TableOf[session.Place](e, "session-devices"),
		Alarms:   store.TableOf[session.Alarm](e, "session-alarms"),
		Blocks:   blocks, Log: e, Bus: e, Limits: l,
	})
}

func (w *matchWorld) close() error {
	w.stop()
	w.running.Wait()
	return w.engine.Close()
}

// sessions counts those that the session core has opened.
func (w *matchWorld) sessions() int64 { return w.told.Load() }

func (w *matchWorld) callsFor(m *call.Matcher, reporters int, d time.Duration) (perSecond float64, err error) {
	var stop atomic.Bool
	var done atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	began := time.Now()
	for range reporters {
		wg.Go(func() {
			for !stop.Load() {
				if err := w.oneCall(m); err != nil {
					failed.Store(&err)
					return
				}
				done.Add(1)
			}
		})
	}
	time.Sleep(d)
	stop.Store(true)
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(done.Load()) / time.Since(began).Seconds(), nil
}

func (w *matchWorld) oneCall(m *call.Matcher) error {
	n := int(w.next.Add(2))
	a, b := numberOf(n-2).Identity(), numberOf(n-1).Identity()
	say := func(own, other tel.Identity, d tel.Direction) (call.Outcome, error) {
		id := deviceOf(own)
		return m.Report(context.Background(), call.Report{
			Tenant:   wire.DefaultTenant,
			Reporter: call.Reporter{Kind: call.ByDevice, ID: string(id), Device: id, Evidence: call.Observed},
			Report:   wire.Report{PartyDetails: tel.PartyDetails{Own: own, Other: other, Direction: d, State: tel.Active}},
		})
	}
	if o, err := say(a, b, tel.Outgoing); err != nil || o.Session != "" {
		return fmt.Errorf("first report: session %q: %w", o.Session, err)
	}
	if o, err := say(b, a, tel.Incoming); err != nil || o.Session == "" {
		return fmt.Errorf("second report: session %q: %w", o.Session, err)
	}
	w.calls.Add(1)
	return nil
}

// deviceOf names the device of a party by its number.
func deviceOf(id tel.Identity) wire.DeviceID {
	n, _ := id.Number()
	return wire.DeviceID("d_" + n.String()[1:])
}

// Devices makes the world a call.Directory.
func (w *matchWorld) Devices(_ context.Context, _ wire.TenantID, principal tel.Identity) ([]wire.DeviceID, error) {
	return []wire.DeviceID{deviceOf(principal)}, nil
}

type nobody struct{}

func (nobody) Tell(context.Context, wire.TenantID, wire.DeviceID, wire.Type, any) error { return nil }

// counter takes the place of the sessions where the matcher is measured by itself.
type counter struct{ n *atomic.Int64 }

func (c counter) Open(context.Context, call.Opening) error {
	c.n.Add(1)
	return nil
}

func (counter) JoinDevices(context.Context, wire.TenantID, wire.SessionID, call.Side) error {
	return nil
}

func (counter) Part(context.Context, wire.TenantID, wire.SessionID, call.Side) error { return nil }

func (counter) CallEnded(context.Context, wire.TenantID, wire.SessionID, time.Time, uint64) error {
	return nil
}

func (counter) CallUp(context.Context, wire.TenantID, wire.SessionID, uint64) (bool, error) {
	return true, nil
}

// opener gives the matcher the real sessions.
type opener struct {
	*session.Service
	n *atomic.Int64
}

func (o opener) Open(ctx context.Context, x call.Opening) error {
	sides := make([]session.OpeningSide, len(x.Sides))
	for i, s := range x.Sides {
		sides[i] = side(s)
	}
	o.n.Add(1)
	return o.Service.Open(ctx, session.Opening{Tenant: x.Tenant, ID: x.ID, Sides: sides, At: x.At})
}

func (o opener) JoinDevices(ctx context.Context, t wire.TenantID, id wire.SessionID, s call.Side) error {
	return o.Service.JoinDevices(ctx, t, id, side(s))
}

func (o opener) Part(ctx context.Context, t wire.TenantID, id wire.SessionID, s call.Side) error {
	return o.Away(ctx, t, id, side(s))
}

func side(s call.Side) session.OpeningSide {
	return session.OpeningSide{Principal: s.Principal, Shown: s.Shown, Devices: s.Devices}
}

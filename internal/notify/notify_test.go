package notify_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
	"github.com/tandem-call/tandem/internal/notify"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// world is a service with one platform, whose answers the test decides.
type world struct {
	t      *testing.T
	engine store.Engine
	s      *notify.Service
	stop   func()

	mu        sync.Mutex
	got       []notify.Push
	at        []time.Time
	answers   []error       // for the next attempts; then nil
	slow      time.Duration // that each attempt takes
	apps      map[wire.DeviceID]wire.App
	connected map[wire.DeviceID]bool
	reminded  []wire.DeviceID
}

func (w *world) Push(ctx context.Context, p notify.Push) error {
	w.mu.Lock()
	w.got, w.at = append(w.got, p), append(w.at, time.Now())
	var err error
	if len(w.answers) > 0 {
		err, w.answers = w.answers[0], w.answers[1:]
	}
	slow := w.slow
	w.mu.Unlock()
	select {
	case <-time.After(slow):
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *world) App(_ context.Context, _ wire.TenantID, id wire.DeviceID) (*wire.App, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a, ok := w.apps[id]
	if !ok {
		return nil, nil
	}
	return &a, nil
}

func (w *world) Drop(_ context.Context, _ wire.TenantID, id wire.DeviceID, dead wire.App) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.apps[id] == dead {
		delete(w.apps, id)
	}
	return nil
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, apps: map[wire.DeviceID]wire.App{"bob": {Platform: "fake", ID: "token"}}, connected: map[wire.DeviceID]bool{}}
	var err error
	if w.engine, err = pebblestore.Open(pebblestore.Options{Dir: t.TempDir(), Headroom: 1, Relaxed: true}); err != nil {
		t.Fatal(err)
	}
	w.start()
	return w
}

func (w *world) start() {
	w.t.Helper()
	s, err := notify.New(notify.Config{
		Engine: w.engine, Secret: []byte("0123456789abcdef"), Devices: w, Pushers: map[string]notify.Pusher{"fake": w},
		Connected: func(_ wire.TenantID, id wire.DeviceID) bool { w.mu.Lock(); defer w.mu.Unlock(); return w.connected[id] },
		Remind: func(_ context.Context, _ wire.TenantID, id wire.DeviceID) error {
			w.reminded = append(w.reminded, id)
			return nil
		},
		Jitter: func() float64 { return 0 },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.s = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
}

func (w *world) end() {
	w.stop()
	if err := w.engine.Close(); err != nil {
		w.t.Error(err)
	}
}

func (w *world) connect(id wire.DeviceID, yes bool) {
	w.mu.Lock()
	w.connected[id] = yes
	w.mu.Unlock()
	if yes {
		w.s.Came(w.t.Context(), "t", id)
	} else {
		w.s.Left("t", id)
	}
}

// pushes waits until nothing moves, and returns what was pushed so far.
func (w *world) pushes() []notify.Push {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.got
}

func invite() notify.Matter {
	return notify.Matter{Tenant: "t", Device: "bob", Ref: "i_1", Push: wire.Push{
		Kind: wire.PushInvite, Until: time.Now().Add(10 * time.Minute), Invite: &wire.Invite{ID: "i_1", Claimant: claimant, Until: time.Now().Add(10 * time.Minute)},
	}}
}

var claimant = func() tel.Identity {
	id, err := tel.ParseIdentity("tel:+442079460001", "")
	if err != nil {
		panic(err)
	}
	return id
}()

func (w *world) wake(m notify.Matter) {
	w.t.Helper()
	if err := w.s.Wake(w.t.Context(), m); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) withdraw(m notify.Matter, reason string) {
	w.t.Helper()
	if err := w.s.Withdraw(w.t.Context(), m, reason); err != nil {
		w.t.Fatal(err)
	}
}

func bubble(t *testing.T, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.end()
		f(t, w)
	})
}

func TestWake(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.wake(invite())
		w.wake(invite()) // repeated: the same push
		got := w.pushes()
		if len(got) != 1 || got[0].App != "token" || got[0].Kind != wire.PushInvite || !got[0].Urgent || got[0].Withdraw || got[0].TTL != 10*time.Minute {
			t.Fatalf("%+v", got)
		}
		about, err := w.s.Get(t.Context(), got[0].ID)
		if err != nil || about.Push.Invite.Claimant != claimant || about.Device != "bob" {
			t.Errorf("%+v, %v", about, err)
		}
		time.Sleep(11 * time.Minute)
		if _, err := w.s.Get(t.Context(), got[0].ID); !errors.Is(err, notify.ErrNotFound) {
			t.Errorf("after it has lapsed: %v", err)
		}
		if n := len(w.pushes()); n != 1 {
			t.Errorf("%d pushes", n)
		}
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		for range w.engine.Scan(t.Context(), "wakes", "") {
			t.Error("its record is still there")
		}
	})
}

func TestNobodyIsWokenWho(t *testing.T) {
	for name, prepare := range map[string]func(*world){
		"is connected":                     func(w *world) { w.connected["bob"] = true },
		"has no application":               func(w *world) { delete(w.apps, "bob") },
		"is of a platform without service": func(w *world) { w.apps["bob"] = wire.App{Platform: "other", ID: "x"} },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				prepare(w)
				w.wake(invite())
				if got := w.pushes(); len(got) != 0 {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

func TestRetries(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		busy := errors.New("busy")
		w.answers = []error{busy, busy, &notify.Later{After: 30 * time.Second, Err: busy}, busy}
		w.wake(invite())
		time.Sleep(2 * time.Minute)
		w.pushes()
		var pauses []time.Duration
		for i := 1; i < len(w.at); i++ {
			pauses = append(pauses, w.at[i].Sub(w.at[i-1]))
		}
		if fmt.Sprint(pauses) != "[1s 2s 30s 8s]" {
			t.Errorf("pauses %v", pauses)
		}
		if st := w.s.Stats(); st.Sent["fake"] != 1 || st.Missed["fake"] != 4 || st.Waiting != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// TestEverybodyWaits: a service that asks us all to wait is left alone.
func TestEverybodyWaits(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.apps["carol"] = wire.App{Platform: "fake", ID: "hers"}
		w.answers = []error{&notify.Later{After: time.Minute, Everyone: true, Err: errors.New("quota")}}
		w.wake(invite())
		w.pushes()
		m := invite()
		m.Device = "carol"
		w.wake(m)
		time.Sleep(59 * time.Second)
		if n := len(w.pushes()); n != 1 {
			t.Fatalf("%d pushes within the minute", n)
		}
		time.Sleep(5 * time.Second)
		if n := len(w.pushes()); n != 3 {
			t.Errorf("%d pushes after it", n)
		}
	})
}

func TestGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.answers = []error{fmt.Errorf("%w: no such topic", notify.ErrRefused)}
		w.wake(invite())
		time.Sleep(time.Hour)
		if n := len(w.pushes()); n != 1 {
			t.Errorf("refused, and tried %d times", n)
		}
		for range 100 {
			w.answers = append(w.answers, errors.New("down"))
		}
		m := invite()
		m.Ref = "i_2"
		w.wake(m)
		time.Sleep(time.Hour)
		w.pushes()
		if last := w.at[len(w.at)-1].Sub(w.at[1]); last >= 10*time.Minute {
			t.Errorf("it was tried for %v, and had lapsed after 10m", last)
		}
	})
}

func TestDeadTokenIsDropped(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.answers = []error{fmt.Errorf("%w: 410", notify.ErrGone)}
		w.wake(invite())
		w.pushes()
		if len(w.apps) != 0 {
			t.Errorf("%v", w.apps)
		}
		if st := w.s.Stats(); st.Gone["fake"] != 1 {
			t.Errorf("%+v", st)
		}
		// The app is installed again: its new token is used.
		w.apps["bob"] = wire.App{Platform: "fake", ID: "new"}
		w.wake(invite())
		if got := w.pushes(); len(got) != 2 || got[1].App != "new" || got[1].ID != got[0].ID {
			t.Errorf("%+v", got)
		}
	})
}

func TestWithdraw(t *testing.T) {
	t.Run("before it was sent", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			w.answers = []error{errors.New("down")}
			w.wake(invite())
			w.pushes()
			w.withdraw(invite(), "call_over")
			time.Sleep(time.Minute)
			if n := len(w.pushes()); n != 1 {
				t.Errorf("%d pushes", n)
			}
		})
	})
	t.Run("after", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			w.wake(invite())
			id := w.pushes()[0].ID
			w.withdraw(invite(), "answered")
			w.withdraw(invite(), "call_over") // too late to matter
			got := w.pushes()
			if len(got) != 2 || !got[1].Withdraw || got[1].ID != id || got[1].Urgent {
				t.Fatalf("%+v", got)
			}
			if about, err := w.s.Get(t.Context(), id); err != nil || about.Push.Withdrawn != "answered" {
				t.Errorf("%+v %v", about, err)
			}
			w.wake(invite()) // an effect that is repeated after a crash
			if n := len(w.pushes()); n != 2 {
				t.Errorf("%d pushes", n)
			}
		})
	})
	t.Run("while it is being sent", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			w.slow = time.Second
			w.wake(invite())
			w.pushes()
			w.withdraw(invite(), "call_over")
			time.Sleep(time.Minute)
			if got := w.pushes(); len(got) != 2 || !got[1].Withdraw {
				t.Errorf("%+v", got)
			}
		})
	})
	t.Run("what was never there", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			w.withdraw(invite(), "call_over")
			if n := len(w.pushes()); n != 0 {
				t.Errorf("%d pushes", n)
			}
		})
	})
}

// TestStopAndStart: what was under way when the process ended is sent by the next.
func TestStopAndStart(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.slow = 5 * time.Second
		w.wake(invite())
		w.pushes()
		w.stop() // cuts the attempt off
		w.slow = 0
		w.start()
		if got := w.pushes(); len(got) != 2 || got[0].ID != got[1].ID || got[0].App != got[1].App {
			t.Errorf("%+v", got)
		}
		if st := w.s.Stats(); st.Sent["fake"] != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// TestTwoNodes: of two services on one store, one sends.
func TestTwoNodes(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		first, stop := w.s, w.stop
		w.start()
		defer stop()
		for i := range 50 {
			m := invite()
			m.Ref = fmt.Sprint(i)
			for _, s := range []*notify.Service{first, w.s} {
				if err := s.Wake(t.Context(), m); err != nil {
					t.Fatal(err)
				}
			}
		}
		seen := map[wire.PushID]int{}
		for _, p := range w.pushes() {
			seen[p.ID]++
		}
		if len(seen) != 50 {
			t.Errorf("%d pushes", len(seen))
		}
		for id, n := range maps.All(seen) {
			if n != 1 {
				t.Errorf("%s was sent %d times", id, n)
			}
		}
	})
}

func TestData(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		data := func(want int, when string) {
			t.Helper()
			w.s.Data("t", "bob", "s_1")
			w.s.Data("t", "bob", "s_1")
			if n := len(w.pushes()); n != want {
				t.Errorf("%s: %d pushes, want %d", when, n, want)
			}
		}
		data(1, "at first")
		if p := w.got[0]; p.Kind != wire.PushData || p.Urgent || p.TTL != 24*time.Hour {
			t.Errorf("%+v", p)
		}
		time.Sleep(time.Minute)
		data(1, "told already")
		w.connect("bob", true)
		w.connect("bob", false)
		data(2, "gone again")
		// Another process does not know whom the first has told, and asks the store.
		w.stop()
		w.start()
		data(2, "after a restart")
	})
}

// TestDataAtTwoNodes: a device that was told by one node that data waits, and has come to another one, is told again of what comes
// when it has gone.
func TestDataAtTwoNodes(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		first, stop := w.s, w.stop
		w.start()
		defer stop()
		for want := 1; want <= 3; want++ {
			first.Data("t", "bob", "s_1")
			if n := len(w.pushes()); n != want {
				t.Fatalf("%d pushes, want %d", n, want)
			}
			time.Sleep(time.Minute)
			w.s.Came(t.Context(), "t", "bob")
			time.Sleep(time.Second)
		}
	})
}

// mute loses what nodes tell each other.
type mute struct{ store.Engine }

func (mute) Publish(context.Context, string, []byte) error { return nil }

// TestDataAtNodesThatDoNotHear: so it is where the node that told it does not hear that it has come, a minute later; and a device that stays at
// another node is not told with each message.
func TestDataAtNodesThatDoNotHear(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.pushes() // it runs
		w.stop()
		w.engine = mute{w.engine}
		w.start()
		first, stop := w.s, w.stop
		w.start()
		defer stop()
		for want := 1; want <= 3; want++ {
			for range 10 {
				first.Data("t", "bob", "s_1")
				if n := len(w.pushes()); n != want {
					t.Fatalf("%d pushes, want %d", n, want)
				}
				time.Sleep(time.Minute)
			}
			w.s.Came(t.Context(), "t", "bob")
			w.s.Served(t.Context(), "t", "bob", []wire.SessionID{"s_1"})
			time.Sleep(2 * time.Minute)
		}
	})
}

func TestLeft(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.connect("bob", true)
		w.connect("bob", false)
		time.Sleep(time.Second)
		w.connect("bob", true) // only changed networks
		time.Sleep(time.Minute)
		if synctest.Wait(); len(w.reminded) != 0 {
			t.Errorf("reminded %v", w.reminded)
		}
		w.connect("bob", false)
		time.Sleep(time.Minute)
		if synctest.Wait(); len(w.reminded) != 1 {
			t.Errorf("reminded %v", w.reminded)
		}
	})
}

func TestForget(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.apps["carol"] = wire.App{Platform: "fake", ID: "hers"}
		w.wake(invite())
		m := invite()
		m.Device, m.Push.Invite.Claimant = "carol", tel.Identity{}
		w.wake(m)
		w.pushes()
		if n, err := w.s.Forget(t.Context(), "other", []wire.DeviceID{"bob"}, []tel.Identity{claimant}); n != 0 || err != nil {
			t.Errorf("of another tenant: %d, %v", n, err)
		}
		if n, err := w.s.Forget(t.Context(), "t", nil, []tel.Identity{claimant}); n != 1 || err != nil {
			t.Errorf("by the claimant: %d, %v", n, err)
		}
		if n, err := w.s.Forget(t.Context(), "t", []wire.DeviceID{"carol"}, nil); n != 1 || err != nil {
			t.Errorf("by the device: %d, %v", n, err)
		}
	})
}

func TestTrial(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.connected["bob"] = true // all the same
		for i, want := range []error{nil, notify.ErrRefused, notify.ErrGone, notify.ErrNoApp} {
			if w.answers = nil; i < 3 {
				w.answers = []error{want}
			}
			if o, err := w.s.Test(t.Context(), "t", "bob"); err != nil || !errors.Is(o.Err, want) {
				t.Errorf("%v, %v, want %v", o, err, want)
			}
		}
		w.apps["bob"] = wire.App{Platform: "other", ID: "x"}
		if o, err := w.s.Test(t.Context(), "t", "bob"); err != nil || !errors.Is(o.Err, notify.ErrNotConfigured) {
			t.Errorf("%v, %v", o, err)
		}
	})
}

package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/internal/webhook"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

const tenant = wire.DefaultTenant

var t0 = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

// world is a service on an engine, a clock that the test moves, and a receiver that
// answers as it is told.
type world struct {
	t   *testing.T
	dir string
	*webhook.Service
	engine store.Engine

	stop func()

	mu     sync.Mutex
	now    time.Time
	answer func(webhook.Post) (webhook.Answer, error)
	posts  []webhook.Post
	came   chan struct{} // closed and replaced at each post
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), now: t0, came: make(chan struct{}), stop: func() {}}
	w.open()
	t.Cleanup(func() { w.close() })
	return w
}

func (w *world) open() {
	w.t.Helper()
	e, err := pebblestore.Open(pebblestore.Options{Dir: w.dir, Headroom: 1 << 20})
	if err != nil {
		w.t.Fatal(err)
	}
	w.engine = e
	w.Service, err = webhook.New(w.t.Context(), webhook.Config{
		Engine: e, Poster: w, Source: "https://tandem.example", Now: w.clock, Jitter: func() float64 { return 0 }, PerEndpoint: 2,
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) close() {
	w.stop()
	if err := w.engine.Close(); err != nil {
		w.t.Errorf("close: %v", err)
	}
}

// run runs the service until stop.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	s := w.Service
	go func() { done <- s.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run: %v", err)
		}
		w.stop = func() {}
	}
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	w.now = w.now.Add(d)
	w.mu.Unlock()
	// Wakes Run as another node's word would.
	if err := w.engine.Publish(w.t.Context(), "webhooks", nil); err != nil {
		w.t.Error(err)
	}
}

// Post makes the world the Poster.
func (w *world) Post(ctx context.Context, p webhook.Post) (webhook.Answer, error) {
	w.mu.Lock()
	w.posts = append(w.posts, p)
	answer := w.answer
	close(w.came)
	w.came = make(chan struct{})
	w.mu.Unlock()
	if answer == nil {
		return webhook.Answer{Status: 204}, nil
	}
	return answer(p)
}

func (w *world) answers(f func(webhook.Post) (webhook.Answer, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = f
}

func status(n int) func(webhook.Post) (webhook.Answer, error) {
	return func(webhook.Post) (webhook.Answer, error) { return webhook.Answer{Status: n}, nil }
}

// got waits until n posts have come in all.
func (w *world) got(n int) []webhook.Post {
	w.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		w.mu.Lock()
		posts, came := w.posts, w.came
		w.mu.Unlock()
		if len(posts) >= n {
			return posts
		}
		select {
		case <-came:
		case <-timeout:
			w.t.Fatalf("%d posts came, not %d", len(posts), n)
		}
	}
}

// until waits until a delivery to the endpoint looks as it should.
func (w *world) until(endpoint string, ok func(webhook.Delivery) bool) webhook.Delivery {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		list, err := w.Deliveries(w.t.Context(), tenant, webhook.Filter{Endpoint: endpoint})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, d := range list {
			if ok(d) {
				return d
			}
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("no such delivery among %+v", list)
		}
		select { // look again soon: the store has nothing to wait on
		case <-w.t.Context().Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (w *world) add(n webhook.NewEndpoint) webhook.Endpoint {
	w.t.Helper()
	n.Tenant = tenant
	if n.URL == "" {
		n.URL = "https://receiver.example/hook"
	}
	e, err := w.Add(w.t.Context(), n)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func (w *world) emit(id string) {
	w.t.Helper()
	if err := w.Emit(w.t.Context(), opened(id)); err != nil {
		w.t.Fatal(err)
	}
}

func opened(id string) webhook.Event {
	alice := identity("+442079460001")
	return webhook.Event{
		Tenant: tenant, ID: id, Type: wire.EventSessionOpened, At: t0, Subject: "s1",
		Data: func(show webhook.Shown) any {
			return wire.SessionEvent{Session: "s1", Parties: []wire.EventParty{{Side: 1, Party: show.Party(alice, alice)}, {Side: 2, Party: show.Party(alice, tel.Identity{})}}}
		},
	}
}

func identity(s string) tel.Identity {
	id, err := tel.ParseIdentity(s, "")
	if err != nil {
		panic(err)
	}
	return id
}

func TestEventIsDeliveredOnceInItsEnvelope(t *testing.T) {
	w := newWorld(t)
	e := w.add(webhook.NewEndpoint{})
	w.run()
	w.emit("evt_1")
	w.emit("evt_1") // as after a crash
	p := w.got(1)[0]
	w.until(e.ID, func(d webhook.Delivery) bool { return d.Status == webhook.Delivered })
	w.emit("evt_1")
	w.emit("evt_2")
	if posts := w.got(2); posts[1].ID != "evt_2" {
		t.Errorf("%s was sent twice", posts[1].ID)
	}
	var ev wire.Event
	if err := json.Unmarshal(p.Body, &ev); err != nil {
		t.Fatal(err)
	}
	if ev.SpecVersion != "1.0" || ev.ID != "evt_1" || ev.Source != "https://tandem.example/tenants/default" ||
		ev.Type != "session.opened" || !ev.Time.Equal(t0) || ev.Subject != "s1" || ev.DataContentType != "application/json" {
		t.Errorf("the envelope is %s", p.Body)
	}
}

func TestPartiesAreMaskedUnlessAskedFor(t *testing.T) {
	w := newWorld(t)
	masked, other, full := w.add(webhook.NewEndpoint{}), w.add(webhook.NewEndpoint{URL: "https://other.example"}), w.add(webhook.NewEndpoint{Identities: webhook.Full, URL: "https://full.example"})
	w.run()
	w.emit("evt_1")
	w.emit("evt_2")
	seen := map[string][]string{} // by address
	for _, p := range w.got(6) {
		var ev struct{ Data wire.SessionEvent }
		if err := json.Unmarshal(p.Body, &ev); err != nil {
			t.Fatal(err)
		}
		seen[p.URL] = append(seen[p.URL], ev.Data.Parties[0].Party)
		if ev.Data.Parties[1].Party != "" {
			t.Errorf("a withheld party is shown as %q", ev.Data.Parties[1].Party)
		}
		if p.URL != full.URL && strings.Contains(string(p.Body), "442079460001") {
			t.Errorf("a masked event holds a number: %s", p.Body)
		}
	}
	m, o, f := seen[masked.URL], seen[other.URL], seen[full.URL]
	if m[0] != m[1] || m[0] == o[0] || !strings.HasPrefix(m[0], "party_") || f[0] != "tel:+442079460001" {
		t.Errorf("masked %v, to another %v, full %v", m, o, f)
	}
}

// TestReplayedMeanwhile: what an operator asks for anew while an attempt is under way is sent anew when that has failed.
func TestReplayedMeanwhile(t *testing.T) {
	w := newWorld(t)
	e := w.add(webhook.NewEndpoint{})
	goOn := make(chan struct{})
	w.answers(func(webhook.Post) (webhook.Answer, error) {
		<-goOn
		return webhook.Answer{Status: 500}, nil
	})
	w.run()
	w.emit("evt_1")
	w.got(1)
	w.pass(time.Second)
	if n, err := w.Replay(t.Context(), tenant, "evt_1", ""); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	w.answers(nil)
	close(goOn)
	w.got(2)
	d := w.until(e.ID, func(d webhook.Delivery) bool { return d.Status == webhook.Delivered })
	if d.Tried != 2 {
		t.Errorf("%+v", d)
	}
}

func TestAttemptsFollowTheSchedule(t *testing.T) {
	w := newWorld(t)
	e := w.add(webhook.NewEndpoint{})
	w.answers(status(500))
	w.run()
	w.emit("evt_1")
	for i, pause := range webhook.Schedule {
		w.got(i + 1)
		d := w.until(e.ID, func(d webhook.Delivery) bool { return d.Tried == i+1 })
		if got := d.Next.Sub(w.clock()); d.Status != webhook.Pending || got != pause {
			t.Errorf("after attempt %d it is %s, and next in %v, not %v", i+1, d.Status, got, pause)
		}
		w.pass(pause - time.Millisecond)
		w.pass(time.Millisecond)
	}
	last := len(webhook.Schedule) + 1
	d := w.until(e.ID, func(d webhook.Delivery) bool { return d.Tried == last })
	if d.Status != webhook.Failed || !d.Next.IsZero() || len(w.got(last)) != last {
		t.Errorf("after all attempts it is %+v", d)
	}
	// Written down first, and counted then.
	for deadline := time.Now().Add(20 * time.Second); w.Stats().Failed != 1 || w.Stats().Missed != uint64(last); {
		if time.Now().After(deadline) {
			t.Fatalf("counted: %+v", w.Stats())
		}
	}
	// an operator sends it again, and it goes through
	w.answers(nil)
	if n, err := w.Replay(t.Context(), tenant, "evt_1", ""); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	posts := w.got(last + 1)
	if posts[last].ID != "evt_1" || string(posts[last].Body) != string(posts[0].Body) {
		t.Error("the event was not sent again as it was")
	}
	w.until(e.ID, func(d webhook.Delivery) bool { return d.Status == webhook.Delivered && d.Tried == last+1 })
}

func TestRetryAfterIsHonoured(t *testing.T) {
	w := newWorld(t)
	e := w.add(webhook.NewEndpoint{})
	w.run()
	for i, c := range []struct{ ask, want time.Duration }{
		{90 * time.Second, 90 * time.Second}, {time.Second, 5 * time.Second}, {365 * 24 * time.Hour, 24 * time.Hour},
	} {
		id := fmt.Sprintf("evt_%d", i)
		w.answers(func(webhook.Post) (webhook.Answer, error) { return webhook.Answer{Status: 429, RetryAfter: c.ask}, nil })
		w.emit(id)
		d := w.until(e.ID, func(d webhook.Delivery) bool { return d.Event == id && d.Tried == 1 })
		if got := d.Next.Sub(w.clock()); got != c.want {
			t.Errorf("asked for %v it waits %v, not %v", c.ask, got, c.want)
		}
	}
}

func TestGoneDisablesTheEndpoint(t *testing.T) {
	w := newWorld(t)
	e := w.add(webhook.NewEndpoint{})
	w.answers(status(410))
	w.run()
	w.emit("evt_1")
	d := w.until(e.ID, func(d webhook.Delivery) bool { return d.Tried == 1 })
	disabled := func() webhook.Endpoint {
		list, err := w.List(t.Context(), tenant)
		if err != nil {
			t.Fatal(err)
		}
		return list[0]
	}
	// Written down first, and looked at then.
	for deadline := time.Now().Add(20 * time.Second); disabled().Disabled.IsZero() || w.Wants(tenant, "session."); {
		if time.Now().After(deadline) {
			t.Fatalf("it is not disabled: %+v", disabled())
		}
	}
	if disabled().DisabledBy != "gone" {
		t.Errorf("%+v", disabled())
	}
	w.emit("evt_2") // for nobody
	w.pass(time.Hour)
	// enabled again, it gets what was pending
	w.answers(nil)
	if _, err := w.Enable(t.Context(), tenant, e.ID); err != nil {
		t.Fatal(err)
	}
	w.until(e.ID, func(x webhook.Delivery) bool { return x.Event == d.Event && x.Status == webhook.Delivered })
	if list, err := w.Deliveries(t.Context(), tenant, webhook.Filter{}); err != nil || len(list) != 1 {
		t.Errorf("%d deliveries, %v", len(list), err)
	}
}

func TestEndpointThatFailsForDaysIsDisabled(t *testing.T) {
	w := newWorld(t)
	e := w.add(webhook.NewEndpoint{})
	w.answers(func(webhook.Post) (webhook.Answer, error) { return webhook.Answer{}, errors.New("no answer") })
	w.run()
	for day := range 5 {
		id := fmt.Sprintf("evt_%d", day)
		w.emit(id)
		w.until(e.ID, func(d webhook.Delivery) bool { return d.Event == id && d.Tried >= 1 })
		if list, err := w.List(t.Context(), tenant); err != nil || !list[0].Disabled.IsZero() {
			t.Fatalf("on day %d: %+v %v", day, list[0], err)
		}
		w.pass(24 * time.Hour)
	}
	w.emit("evt_5")
	for deadline := time.Now().Add(20 * time.Second); w.Stats().Disabled == 0; {
		if time.Now().After(deadline) {
			t.Fatal("it is not disabled after 5 days")
		}
	}
}

// A process that is killed in the middle of everything sends what was pending when it is
// back: the engine closes under it, without a word to the service.
func TestPendingDeliveriesSurviveARestart(t *testing.T) {
	w := newWorld(t)
	e := w.add(webhook.NewEndpoint{})
	for i := range 10 {
		w.emit(fmt.Sprintf("evt_%d", i)) // nothing runs yet
	}
	w.close()
	w.open()
	w.run()
	w.got(10)
	for i := range 10 {
		w.until(e.ID, func(d webhook.Delivery) bool {
			return d.Event == fmt.Sprintf("evt_%d", i) && d.Status == webhook.Delivered
		})
	}
}

// Stopped in the middle of an attempt, it makes the attempt again.
func TestAttemptCutOffIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	e := w.add(webhook.NewEndpoint{})
	hang := make(chan struct{})
	w.answers(func(webhook.Post) (webhook.Answer, error) { <-hang; return webhook.Answer{}, context.Canceled })
	w.run()
	w.emit("evt_1")
	w.got(1)
	stopped := make(chan struct{})
	stop := w.stop
	go func() { stop(); close(stopped) }()
	select {
	case <-stopped:
		t.Fatal("Run ended before its attempt did")
	case <-time.After(20 * time.Millisecond):
	}
	close(hang)
	<-stopped
	w.stop = func() {}
	w.answers(nil)
	w.close()
	w.open()
	w.run()
	w.until(e.ID, func(d webhook.Delivery) bool { return d.Status == webhook.Delivered && d.Tried == 1 })
}

// An endpoint that hangs takes its own places only.
func TestSlowEndpointHoldsUpNoOther(t *testing.T) {
	w := newWorld(t)
	slow, fast := w.add(webhook.NewEndpoint{URL: "https://slow.example"}), w.add(webhook.NewEndpoint{URL: "https://fast.example"})
	hang := make(chan struct{})
	var mu sync.Mutex
	hung := 0
	w.answers(func(p webhook.Post) (webhook.Answer, error) {
		if p.URL == slow.URL {
			mu.Lock()
			hung++
			mu.Unlock()
			<-hang
		}
		return webhook.Answer{Status: 200}, nil
	})
	w.run()
	for i := range 8 {
		w.emit(fmt.Sprintf("evt_%d", i))
	}
	for i := range 8 {
		w.until(fast.ID, func(d webhook.Delivery) bool {
			return d.Event == fmt.Sprintf("evt_%d", i) && d.Status == webhook.Delivered
		})
	}
	mu.Lock()
	if hung != 2 {
		t.Errorf("the slow endpoint has %d attempts at one time, not 2", hung)
	}
	mu.Unlock()
	close(hang)
	for i := range 8 {
		w.until(slow.ID, func(d webhook.Delivery) bool {
			return d.Event == fmt.Sprintf("evt_%d", i) && d.Status == webhook.Delivered
		})
	}
}

func TestTwoNodesShareTheWork(t *testing.T) {
	w := newWorld(t)
	e := w.add(webhook.NewEndpoint{})
	second, err := webhook.New(t.Context(), webhook.Config{Engine: w.engine, Poster: w, Now: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- second.Run(ctx) }()
	w.run()
	const n = 40
	for i := range n {
		w.emit(fmt.Sprintf("evt_%d", i))
	}
	for i := range n {
		w.until(e.ID, func(d webhook.Delivery) bool {
			return d.Event == fmt.Sprintf("evt_%d", i) && d.Status == webhook.Delivered
		})
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	w.stop()
	times := map[string]int{}
	for _, p := range w.posts {
		times[p.ID]++
	}
	for id, k := range times {
		if k != 1 {
			t.Errorf("%s was sent %d times", id, k)
		}
	}
}

// behind is the engine of a node that cannot read which endpoints there are, or that is shown an older state where it asks for no proof.
type behind struct {
	store.Engine
	old bool
}

func (b behind) Scan(ctx context.Context, table, prefix string) iter.Seq2[store.Record, error] {
	switch {
	case table != "webhooks" || b.old && store.MomentOf(ctx) != nil:
		return b.Engine.Scan(ctx, table, prefix)
	case b.old:
		return func(func(store.Record, error) bool) {}
	}
	return func(yield func(store.Record, error) bool) { yield(store.Record{}, store.ErrUncertain) }
}

// TestSweepOfANodeThatIsBehind: a node that has not heard of an endpoint does not remove what is to be delivered to it.
func TestSweepOfANodeThatIsBehind(t *testing.T) {
	for name, old := range map[string]bool{"cannot read": false, "reads what was": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := &behind{w.engine, true}
			second, err := webhook.New(t.Context(), webhook.Config{Engine: b, Poster: w, Now: w.clock})
			if err != nil {
				t.Fatal(err)
			}
			b.old = old
			e := w.add(webhook.NewEndpoint{})
			w.emit("evt_1")
			w.pass(time.Minute)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- second.Run(ctx) }()
			time.Sleep(300 * time.Millisecond) // its sweep, at the start
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			w.run()
			w.until(e.ID, func(d webhook.Delivery) bool { return d.Event == "evt_1" && d.Status == webhook.Delivered })
		})
	}
}

func TestOldDeliveriesGo(t *testing.T) {
	w := newWorld(t)
	e := w.add(webhook.NewEndpoint{})
	w.run()
	w.emit("evt_1")
	w.until(e.ID, func(d webhook.Delivery) bool { return d.Status == webhook.Delivered })
	w.pass(8 * 24 * time.Hour)
	for deadline := time.Now().Add(20 * time.Second); ; {
		list, err := w.Deliveries(t.Context(), tenant, webhook.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("after 8 days it is still there")
		}
	}
}

func TestRemoveLeavesNothing(t *testing.T) {
	w := newWorld(t)
	e := w.add(webhook.NewEndpoint{})
	w.emit("evt_1")
	if err := w.Remove(t.Context(), tenant, e.ID); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"webhooks", "webhook-deliveries", "webhook-due"} {
		for r, err := range w.engine.Scan(t.Context(), table, "") {
			t.Errorf("%s: %s %v", table, r.Key, err)
		}
	}
	if err := w.Remove(t.Context(), tenant, e.ID); !errors.Is(err, webhook.ErrNotFound) {
		t.Error(err)
	}
}

func TestForgetRemovesWhatNamesAParty(t *testing.T) {
	w := newWorld(t)
	w.add(webhook.NewEndpoint{})
	w.add(webhook.NewEndpoint{Identities: webhook.Full})
	w.emit("evt_1")
	if n, err := w.Forget(t.Context(), tenant, []tel.Identity{identity("+442079460009")}); n != 0 || err != nil {
		t.Errorf("somebody else: %d %v", n, err)
	}
	if n, err := w.Forget(t.Context(), tenant, []tel.Identity{identity("+442079460001")}); n != 2 || err != nil {
		t.Errorf("%d %v", n, err)
	}
}

func TestAnnouncedChangeIsRecovered(t *testing.T) {
	w := newWorld(t)
	at := t0.Add(time.Nanosecond)
	done, err := w.Announce(t.Context(), tenant, "dev_1", at)
	if err != nil {
		t.Fatal(err)
	}
	if err := done(func() error { return errors.New("the store is full") }); err == nil {
		t.Fatal("a failure is hidden")
	}
	var seen []string
	recover := func() {
		err := w.Recover(t.Context(), func(_ context.Context, tn wire.TenantID, subject string, when time.Time) error {
			seen = append(seen, fmt.Sprint(tn, " ", subject, " ", when.Equal(at)))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if recover(); len(seen) != 0 {
		t.Error("somebody may still be at it")
	}
	w.pass(2 * time.Minute)
	recover()
	recover()
	if fmt.Sprint(seen) != "[default dev_1 true]" {
		t.Error(seen)
	}
}

func TestUnusableEndpoints(t *testing.T) {
	w := newWorld(t)
	for name, n := range map[string]webhook.NewEndpoint{
		"no TLS":        {URL: "http://receiver.example"},
		"no host":       {URL: "https:///hook"},
		"a file":        {URL: "file:///etc/passwd"},
		"credentials":   {URL: "https://user:secret@receiver.example"},
		"unknown event": {URL: "https://receiver.example", Events: []string{"session.exploded"}},
		"unknown mode":  {URL: "https://receiver.example", Identities: "some"},
	} {
		if _, err := w.Add(t.Context(), n); !errors.Is(err, webhook.ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for range 32 {
		w.add(webhook.NewEndpoint{})
	}
	if _, err := w.Add(t.Context(), webhook.NewEndpoint{Tenant: tenant, URL: "https://receiver.example"}); !errors.Is(err, webhook.ErrTooMany) {
		t.Error(err)
	}
}

func TestTenantsAreApart(t *testing.T) {
	w := newWorld(t)
	e := w.add(webhook.NewEndpoint{})
	w.run()
	ev := opened("evt_1")
	ev.Tenant = "other"
	if err := w.Emit(t.Context(), ev); err != nil {
		t.Fatal(err)
	}
	w.emit("evt_2")
	if p := w.got(1)[0]; p.ID != "evt_2" {
		t.Error("another tenant's event was sent")
	}
	for name, err := range map[string]error{
		"remove": w.Remove(t.Context(), "other", e.ID),
		"rotate": second(w.Rotate(t.Context(), "other", e.ID)),
		"enable": second(w.Enable(t.Context(), "other", e.ID)),
		"test":   second(w.Test(t.Context(), "other", e.ID)),
		"replay": second(w.Replay(t.Context(), "other", "evt_2", "")),
	} {
		if !errors.Is(err, webhook.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

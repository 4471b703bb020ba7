package device_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"pgregory.net/rapid"

	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/store/pebblestore/pebbletest"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

const (
	alice = "+442079460001"
	bob   = "+442079460002"
)

func TestEnrolment(t *testing.T) {
	w := newWorld(t)
	p, n := newPhone(t), number(t, alice)
	q := w.request(p, n)
	q.App = &wire.App{Platform: "fcm", ID: "app-1"}
	e, err := w.registry.Begin(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if e.Via != "sms" || !e.Expires.Equal(w.clock().Add(10*time.Minute)) {
		t.Errorf("enrolment is %+v", e)
	}
	if s := w.sent[0]; s.to != n || len(s.code) != 6 || !strings.Contains(s.text, s.code) {
		t.Errorf("sent %+v", s)
	}
	d, err := w.registry.Confirm(t.Context(), wire.DefaultTenant, e.ID, w.lastCode(), w.sign(p, jwt.MapClaims{"nonce": e.ID, "sub": nil}))
	if err != nil {
		t.Fatal(err)
	}
	if d.Principal != n.Identity() || d.Name != "Alice" || d.App.ID != "app-1" || !wire.ValidID(string(d.ID)) {
		t.Errorf("device is %+v", d)
	}
	if b := d.Bindings; len(b) != 1 || b[0].Number != n || b[0].Kind != device.ProofCode || !b[0].Expires.Equal(w.clock().Add(180*24*time.Hour)) {
		t.Errorf("bindings are %+v", b)
	}
	got, err := w.registry.Get(t.Context(), wire.DefaultTenant, d.ID)
	if err != nil || got.Key != q.Key || got.Principal != d.Principal {
		t.Errorf("read back %+v, %v", got, err)
	}
	again, err := w.registry.Confirm(t.Context(), wire.DefaultTenant, e.ID, w.lastCode(), w.sign(p, jwt.MapClaims{"nonce": e.ID}))
	if err != nil || again.ID != d.ID || len(again.Bindings) != 1 {
		t.Errorf("confirmed again: %+v, %v", again, err)
	}
	if _, err := w.registry.Get(t.Context(), "other", d.ID); !errors.Is(err, device.ErrNotFound) {
		t.Errorf("another tenant sees the device: %v", err)
	}
}

func TestBeginRefuses(t *testing.T) {
	w := newWorld(t)
	good := w.request(newPhone(t), number(t, alice))
	for name, c := range map[string]struct {
		change func(*device.Request)
		err    error
	}{
		"no tenant":        {func(q *device.Request) { q.Tenant = "" }, device.ErrRequest},
		"odd tenant":       {func(q *device.Request) { q.Tenant = "a/b" }, device.ErrRequest},
		"no number":        {func(q *device.Request) { q.Number = tel.Number{} }, device.ErrRequest},
		"other curve":      {func(q *device.Request) { q.Key.CRV = "P-384" }, device.ErrKey},
		"other key type":   {func(q *device.Request) { q.Key.KTY = "oct" }, device.ErrKey},
		"point off curve":  {func(q *device.Request) { q.Key.X, q.Key.Y = q.Key.Y, q.Key.X }, device.ErrKey},
		"short coordinate": {func(q *device.Request) { q.Key.X = q.Key.X[:40] }, device.ErrKey},
		"long name":        {func(q *device.Request) { q.Name = strings.Repeat("x", 65) }, device.ErrRequest},
		"name of lines":    {func(q *device.Request) { q.Name = "a\nb" }, device.ErrRequest},
		"bad client":       {func(q *device.Request) { q.Client = "\xff" }, device.ErrRequest},
		"unknown platform": {func(q *device.Request) { q.App = &wire.App{Platform: "pager", ID: "1"} }, device.ErrRequest},
		"empty app":        {func(q *device.Request) { q.App = &wire.App{Platform: "apns"} }, device.ErrRequest},
	} {
		t.Run(name, func(t *testing.T) {
			q := good
			c.change(&q)
			_, err := w.registry.Begin(t.Context(), q)
			want(t, err, c.err)
		})
	}
	if len(w.sent) != 0 {
		t.Errorf("%d codes were sent", len(w.sent))
	}
}

func TestThreeTries(t *testing.T) {
	w := newWorld(t)
	p := newPhone(t)
	e := w.begin(p, number(t, alice))
	confirm := func(code string) error {
		_, err := w.registry.Confirm(t.Context(), wire.DefaultTenant, e.ID, code, w.sign(p, jwt.MapClaims{"nonce": e.ID}))
		return err
	}
	want(t, confirm(w.wrong()), device.ErrWrongCode)
	want(t, confirm(w.wrong()), device.ErrWrongCode)
	want(t, confirm(w.wrong()), device.ErrCodeExpired)
	want(t, confirm(w.lastCode()), device.ErrCodeExpired)
}

// Guesses that run at once must not get more than three tries between them.
func TestThreeTriesAtOnce(t *testing.T) {
	w := newWorld(t)
	p := newPhone(t)
	e := w.begin(p, number(t, alice))
	assertion := w.sign(p, jwt.MapClaims{"nonce": e.ID})
	var tried atomic.Int32
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			_, err := w.registry.Confirm(t.Context(), wire.DefaultTenant, e.ID, w.wrong(), assertion)
			if errors.Is(err, device.ErrWrongCode) {
				tried.Add(1)
			} else if !errors.Is(err, device.ErrCodeExpired) {
				t.Errorf("got %v", err)
			}
		})
	}
	all.Wait()
	if tried.Load() != 2 { // the third is told that there are none left
		t.Errorf("%d guesses were told that tries are left, want 2", tried.Load())
	}
}

func TestWrongAssertionCostsNoTry(t *testing.T) {
	w := newWorld(t)
	p := newPhone(t)
	e := w.begin(p, number(t, alice))
	for range 5 {
		_, err := w.registry.Confirm(t.Context(), wire.DefaultTenant, e.ID, w.lastCode(), w.sign(newPhone(t), jwt.MapClaims{"nonce": e.ID}))
		want(t, err, device.ErrAssertion) // nobody binds another's key
	}
	if _, err := w.registry.Confirm(t.Context(), wire.DefaultTenant, e.ID, w.lastCode(), w.sign(p, jwt.MapClaims{"nonce": e.ID})); err != nil {
		t.Error(err)
	}
}

func TestCodesExpire(t *testing.T) {
	w := newWorld(t)
	p := newPhone(t)
	e := w.begin(p, number(t, alice))
	w.pass(10 * time.Minute)
	_, err := w.registry.Confirm(t.Context(), wire.DefaultTenant, e.ID, w.lastCode(), w.sign(p, jwt.MapClaims{"nonce": e.ID}))
	want(t, err, device.ErrCodeExpired)
	_, err = w.registry.Confirm(t.Context(), wire.DefaultTenant, "enr_nobody", "123456", w.sign(p, jwt.MapClaims{"nonce": "enr_nobody"}))
	want(t, err, device.ErrCodeExpired)
}

// A code belongs to one enrolment: another's code is wrong, and one of another tenant's is
// not there.
func TestCodeOfAnotherEnrolment(t *testing.T) {
	w := newWorld(t)
	p, thief := newPhone(t), newPhone(t)
	w.begin(p, number(t, alice))
	code := w.lastCode()
	e := w.begin(thief, number(t, alice))
	if code == w.lastCode() { // once in a million runs; not twice
		e = w.begin(thief, number(t, alice))
	}
	_, err := w.registry.Confirm(t.Context(), wire.DefaultTenant, e.ID, code, w.sign(thief, jwt.MapClaims{"nonce": e.ID}))
	want(t, err, device.ErrWrongCode)
	_, err = w.registry.Confirm(t.Context(), "other", e.ID, w.lastCode(), w.sign(thief, jwt.MapClaims{"nonce": e.ID}))
	want(t, err, device.ErrCodeExpired)
}

func TestLimitPerNumber(t *testing.T) {
	w := newWorld(t)
	n := number(t, alice)
	ask := func(host int) error {
		q := w.request(newPhone(t), n)
		q.Remote = netip.AddrFrom4([4]byte{192, 0, 2, byte(host)})
		_, err := w.registry.Begin(t.Context(), q)
		return err
	}
	for i := range 5 {
		if err := ask(i); err != nil {
			t.Fatal(err)
		}
	}
	// Neither another address, nor another key, nor a restart gets a sixth.
	w.restart()
	err := ask(9)
	want(t, err, device.ErrTooMany)
	var tm *device.TooMany
	if !errors.As(err, &tm) || tm.RetryAfter != time.Hour {
		t.Errorf("retry after %+v, want an hour", tm)
	}
	w.pass(time.Hour)
	for i := range 5 {
		if err := ask(10 + i); err != nil {
			t.Fatal(err)
		}
	}
	w.pass(time.Hour)
	want(t, ask(20), device.ErrTooMany) // ten a day
	w.pass(22 * time.Hour)
	if err := ask(21); err != nil {
		t.Errorf("next day: %v", err)
	}
	if len(w.sent) != 11 {
		t.Errorf("%d codes were sent, want 11", len(w.sent))
	}
}

func TestLimitPerAddress(t *testing.T) {
	for name, remote := range map[string]func(i int) netip.Addr{
		"IPv4":        func(int) netip.Addr { return netip.MustParseAddr("192.0.2.7") },
		"IPv4 mapped": func(int) netip.Addr { return netip.MustParseAddr("::ffff:192.0.2.7") },
		"IPv6 /64":    func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("2001:db8:1:2::%x", i+1)) },
		"none":        func(int) netip.Addr { return netip.Addr{} },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ask := func(i int, a netip.Addr) error {
				q := w.request(newPhone(t), number(t, fmt.Sprintf("+4420794601%02d", i)))
				q.Remote = a
				_, err := w.registry.Begin(t.Context(), q)
				return err
			}
			for i := range 20 {
				if err := ask(i, remote(i)); err != nil {
					t.Fatal(err)
				}
			}
			want(t, ask(20, remote(20)), device.ErrTooMany)
			if err := ask(20, netip.MustParseAddr("198.51.100.1")); err != nil {
				t.Errorf("another address: %v", err)
			}
		})
	}
}

// Whatever is asked for in whatever order, nobody gets more codes than the quotas allow.
func TestLimitsHoldInAnyOrder(t *testing.T) {
	numbers := []string{alice, bob, "+442079460003"}
	p := newPhone(t)
	w, runs := newWorld(t), 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++ // each in a tenant of its own: opening an engine for each would take long
		type send struct {
			at     time.Time
			number string
		}
		var sends []send
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			w.pass(time.Duration(rapid.IntRange(0, 3600).Draw(rt, "wait")) * time.Second)
			n := rapid.SampledFrom(numbers).Draw(rt, "number")
			q := w.request(p, number(t, n))
			q.Tenant = wire.TenantID(fmt.Sprint("run", runs))
			q.Remote = netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 3).Draw(rt, "host"))})
			_, err := w.registry.Begin(t.Context(), q)
			switch {
			case err == nil:
				sends = append(sends, send{w.clock(), n})
			case !errors.Is(err, device.ErrTooMany):
				rt.Fatal(err)
			}
		}
		for _, n := range numbers {
			for _, first := range sends {
				day := 0
				for _, s := range sends {
					if since := s.at.Sub(first.at); s.number == n && since >= 0 && since < 24*time.Hour {
						day++
					}
				}
				// A window begins with its first use, so any 24 h overlap two at most.
				if day > 20 {
					rt.Fatalf("%d codes to %s within a day", day, n)
				}
			}
		}
		if len(sends) == 0 {
			rt.Fatal("no code was sent at all")
		}
	})
}

// Known or not, a number gets the same answer in the same form.
func TestAnswerDoesNotDependOnTheNumber(t *testing.T) {
	w := newWorld(t)
	w.enrol(newPhone(t), number(t, alice))
	known := w.begin(newPhone(t), number(t, alice))
	unknown := w.begin(newPhone(t), number(t, bob))
	if known.Via != unknown.Via || !known.Expires.Equal(unknown.Expires) || len(known.ID) != len(unknown.ID) {
		t.Errorf("known %+v, unknown %+v", known, unknown)
	}
	for _, n := range []string{alice, bob} { // the one has a device, the other has not
		e := w.begin(newPhone(t), number(t, n))
		_, err := w.registry.Confirm(t.Context(), wire.DefaultTenant, e.ID, w.wrong(), "x")
		want(t, err, device.ErrAssertion)
	}
}

func TestSenderFails(t *testing.T) {
	w := newWorld(t)
	broken := errors.New("no credit left")
	w.sendErr = broken
	_, err := w.registry.Begin(t.Context(), w.request(newPhone(t), number(t, alice)))
	want(t, err, device.ErrSender)
	want(t, err, broken)
}

func TestRenewalKeepsTheID(t *testing.T) {
	w := newWorld(t)
	p, n := newPhone(t), number(t, alice)
	first := w.enrol(p, n)
	w.pass(100 * 24 * time.Hour)
	second := w.enrol(p, n)
	if first.ID != second.ID || len(second.Bindings) != 1 || !second.Created.Equal(first.Created) {
		t.Errorf("first %+v, then %+v", first, second)
	}
	w.pass(100 * 24 * time.Hour)
	if err := second.Check(w.clock()); err != nil {
		t.Errorf("after 100 days more: %v", err)
	}
	w.pass(80 * 24 * time.Hour)
	want(t, second.Check(w.clock()), device.ErrBindingExpired)
	if all, err := w.registry.OfParty(t.Context(), wire.DefaultTenant, n.Identity()); err != nil || len(all) != 0 {
		t.Errorf("a stale binding still reaches %v, %v", ids(all), err)
	}
	third := w.enrol(p, n)
	if third.ID != first.ID || third.Check(w.clock()) != nil {
		t.Errorf("enrolled again: %+v", third)
	}
	if len(w.alerts) != 0 {
		t.Errorf("a device alone was told of itself: %+v", w.alerts)
	}
}

func TestEarlierDevicesAreTold(t *testing.T) {
	w := newWorld(t)
	n := number(t, alice)
	a := w.enrol(newPhone(t), n)
	p := newPhone(t)
	b := w.enrol(p, n)
	w.enrol(p, n) // renewal: nobody is told
	if len(w.alerts) != 1 || w.alerts[0].added != b.ID || len(w.alerts[0].earlier) != 1 || w.alerts[0].earlier[0] != a.ID {
		t.Errorf("alerts: %+v", w.alerts)
	}
}

func TestAnotherPartysNumberNeedsAnotherKey(t *testing.T) {
	w := newWorld(t)
	p := newPhone(t)
	w.enrol(p, number(t, alice))
	e := w.begin(p, number(t, bob))
	_, err := w.registry.Confirm(t.Context(), wire.DefaultTenant, e.ID, w.lastCode(), w.sign(p, jwt.MapClaims{"nonce": e.ID}))
	want(t, err, device.ErrOtherParty)

	// An operator's link makes them one party's.
	w.link(number(t, bob), number(t, alice))
	d := w.enrol(p, number(t, bob))
	if len(d.Bindings) != 2 || d.Principal != number(t, alice).Identity() {
		t.Errorf("device is %+v", d)
	}
	all, err := w.registry.OfParty(t.Context(), wire.DefaultTenant, number(t, alice).Identity())
	if err != nil || len(all) != 1 {
		t.Errorf("the party's devices are %v, %v", ids(all), err)
	}
}

func TestBind(t *testing.T) {
	w := newWorld(t)
	q := w.request(newPhone(t), number(t, alice))
	d, err := w.registry.Bind(t.Context(), q, device.ProofOperator)
	if err != nil || d.Bindings[0].Kind != device.ProofOperator {
		t.Fatalf("%+v, %v", d, err)
	}
	if d, err = w.registry.Bind(t.Context(), q, device.ProofNetwork); err != nil || len(d.Bindings) != 2 {
		t.Errorf("%+v, %v", d, err)
	}
	_, err = w.registry.Bind(t.Context(), q, "rumour")
	want(t, err, device.ErrRequest)
	if len(w.sent) != 0 {
		t.Error("a code was sent")
	}
}

// dying is an engine that dies after a number of writes: the last is made, but its answer
// is lost.
type dying struct {
	store.Engine
	left int
}

var errDied = errors.New("the node died")

func (d *dying) Put(ctx context.Context, table, key string, v []byte, at store.Rev) (store.Rev, error) {
	if d.left <= 0 {
		return 0, errDied
	}
	if d.left--; d.left == 0 {
		if _, err := d.Engine.Put(ctx, table, key, v, at); err != nil {
			return 0, err
		}
		return 0, errDied
	}
	return d.Engine.Put(ctx, table, key, v, at)
}

// A node may die between any two steps of Confirm: repeated elsewhere, it gets the device,
// and the earlier device is told.
func TestConfirmSurvivesADeathAtEachStep(t *testing.T) {
	for steps := 0; ; steps++ {
		w := newWorld(t)
		n := number(t, alice)
		earlier := w.enrol(newPhone(t), n)
		p := newPhone(t)
		e := w.begin(p, n)
		confirm := func() (device.Device, error) {
			return w.registry.Confirm(t.Context(), wire.DefaultTenant, e.ID, w.lastCode(), w.sign(p, jwt.MapClaims{"nonce": e.ID}))
		}
		w.restart(func(c *device.Config) { c.Engine = &dying{w.engine, steps} })
		_, err := confirm()
		w.restart()
		d, err2 := confirm()
		if err2 != nil {
			t.Fatalf("after %d writes: %v", steps, err2)
		}
		all, err3 := w.registry.OfParty(t.Context(), wire.DefaultTenant, n.Identity())
		if err3 != nil || len(all) != 2 {
			t.Fatalf("after %d writes: the party has %v, %v", steps, ids(all), err3)
		}
		if len(w.alerts) == 0 || w.alerts[0].added != d.ID || w.alerts[0].earlier[0] != earlier.ID {
			t.Fatalf("after %d writes: told %+v", steps, w.alerts)
		}
		if err == nil {
			if steps < 3 {
				t.Fatalf("Confirm needed %d writes only", steps)
			}
			return
		}
	}
}

func TestSweep(t *testing.T) {
	w := newWorld(t)
	p := newPhone(t)
	w.enrol(p, number(t, alice))
	if n, err := w.registry.Sweep(t.Context()); n != 0 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	w.pass(time.Hour)
	if n, err := w.registry.Sweep(t.Context()); n != 2 || err != nil { // enrolment, address
		t.Errorf("after an hour swept %d, %v", n, err)
	}
	w.pass(24 * time.Hour)
	if n, err := w.registry.Sweep(t.Context()); n != 1 || err != nil { // number
		t.Errorf("after a day swept %d, %v", n, err)
	}
	if _, err := w.registry.Get(t.Context(), wire.DefaultTenant, p.id); err != nil {
		t.Error(err)
	}
}

func TestNodesAgreeOnTheSecret(t *testing.T) {
	w := newWorld(t)
	engine := pebbletest.Open(t)
	keys := make([]string, 8)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			r, err := device.New(t.Context(), device.Config{Engine: engine, Parties: w.parties, Sender: w})
			if err != nil {
				t.Error(err)
				return
			}
			keys[i] = string(device.NewAuthenticator(r, 0).TokenKey())
		})
	}
	all.Wait()
	for _, k := range keys {
		if k != keys[0] || len(k) != 32 {
			t.Errorf("a node has another key")
		}
	}
	if keys[0] == string(w.auth.TokenKey()) {
		t.Error("two servers have the same key")
	}
}

func TestConfigIsChecked(t *testing.T) {
	w := newWorld(t)
	for name, cfg := range map[string]device.Config{
		"nothing":        {},
		"no sender":      {Engine: w.engine, Parties: w.parties},
		"negative limit": {Engine: w.engine, Parties: w.parties, Sender: w, Tries: -1},
	} {
		if _, err := device.New(t.Context(), cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

package payment

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/edge/store/pebblestore/pebbletest"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// world is a session with one overlay, and a payment server.
type world struct {
	t      *testing.T
	engine store.Engine
	from   tel.Identity

	mu       sync.Mutex
	now      time.Time
	closed   bool
	told     []string // each request once
	requests map[wire.RequestID]bool
	notified int
	fails    error // of the next Tell

	checkouts map[string]*Checkout
	orders    []Order
	down      error  // what the payment server answers
	opening   func() // called while a checkout is being made
	expiring  func() // called when one has expired, before that is answered
}

const (
	customer wire.DeviceID  = "customer"
	tablet   wire.DeviceID  = "tablet"
	friend   wire.DeviceID  = "friend"
	session  wire.SessionID = "s_1"
)

var (
	operator = credential.Owner{Tenant: "t", All: true}
	request  = wire.PaymentRequest{Region: "tickets"}
)

func newWorld(t *testing.T) (*world, *Service) {
	t.Helper()
	from, err := tel.ParseIdentity("+442079460900", "")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, engine: pebbletest.Open(t), from: from, now: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC),
		requests: map[wire.RequestID]bool{}, checkouts: map[string]*Checkout{},
	}
	s := w.service()
	if _, err := s.SetAccount(t.Context(), operator, "box-office", wire.PaymentAccountDraft{Numbers: []string{"+4420794609"}, Key: "sk", HookSecret: "whsec"}); err != nil {
		t.Fatal(err)
	}
	return w, s
}

// service is another node of the same world.
func (w *world) service() *Service {
	w.t.Helper()
	s, err := New(Config{
		Engine: w.engine, Sessions: w, Gateway: gateway{w}, Now: func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }, Back: "https://tandem.example/paid.html",
		Notify: func(context.Context, wire.TenantID, wire.DeviceID, wire.SessionID) error { w.notified++; return nil },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) Bill(_ context.Context, _ wire.TenantID, id wire.SessionID, d wire.DeviceID, seq uint64) (Bill, error) {
	side, err := w.Side(context.Background(), "t", id, d)
	if err != nil {
		return Bill{}, err
	}
	if seq != 7 {
		return Bill{}, ErrNotFound
	}
	amount := &overlay.Amount{Minor: 1250, Currency: "EUR"}
	return Bill{From: []tel.Identity{w.from}, Side: side, Overlay: overlay.Overlay{ID: "show", Regions: []overlay.Region{
		{ID: "tickets", Actions: []overlay.Action{{Type: overlay.Pay, Item: "2 tickets", Amount: amount}, {Type: overlay.ByEmail, Item: "tickets"}}},
		{ID: "off", State: overlay.Disabled, Actions: []overlay.Action{{Type: overlay.Buy, Item: "x", Amount: amount}}},
	}}}, nil
}

// Side: the customer has a tablet; somebody else in the conference got the overlay, too.
func (w *world) Side(_ context.Context, _ wire.TenantID, id wire.SessionID, d wire.DeviceID) (int, error) {
	side := map[wire.DeviceID]int{customer: 1, tablet: 1, friend: 3}[d]
	if id != session || side == 0 || w.closed {
		return 0, ErrClosed
	}
	return side, nil
}

func (w *world) Tell(_ context.Context, p Payment, id wire.RequestID, r wire.OverlayResult) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.fails; err != nil {
		w.fails = nil
		return err
	}
	if w.closed {
		return ErrClosed
	}
	if !w.requests[id] {
		w.told = append(w.told, fmt.Sprintf("%d %s %s %s %s %s", r.Seq, r.Region, r.Type, r.Outcome, r.Reason, r.Payment.Amount))
	}
	w.requests[id] = true
	return nil
}

func (w *world) Open(context.Context, wire.TenantID, wire.SessionID) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.closed, nil
}

// gateway is the world's payment server.
type gateway struct{ w *world }

func (g gateway) Open(_ context.Context, _ string, o Order) (Checkout, error) {
	w := g.w
	w.mu.Lock()
	f := w.opening
	w.opening = nil
	w.mu.Unlock()
	if f != nil {
		f()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down != nil {
		return Checkout{}, w.down
	}
	w.orders = append(w.orders, o)
	id := fmt.Sprintf("cs_%d", len(w.orders))
	w.checkouts[id] = &Checkout{ID: id, URL: "https://till.example/" + id, State: wire.PaymentOpen}
	return *w.checkouts[id], nil
}

func (g gateway) Look(_ context.Context, key, id string) (Checkout, error) {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	if g.w.down != nil {
		return Checkout{}, g.w.down
	}
	if key != "sk" {
		return Checkout{}, ErrRefused
	}
	return *g.w.checkouts[id], nil
}

func (g gateway) Expire(ctx context.Context, key, id string) (Checkout, error) {
	g.w.mu.Lock()
	if c := g.w.checkouts[id]; c.State == wire.PaymentOpen && g.w.down == nil {
		c.State = wire.PaymentCancelled
	}
	f := g.w.expiring
	g.w.mu.Unlock()
	if f != nil {
		f()
	}
	return g.Look(ctx, key, id)
}

// Notice reads "PAYMENT CHECKOUT".
func (g gateway) Notice(secret, signature string, body []byte) (Notice, error) {
	if signature != "by "+secret {
		return Notice{}, ErrSignature
	}
	f := strings.Fields(string(body))
	if len(f) < 2 {
		return Notice{}, nil
	}
	return Notice{Session: session, Payment: wire.PaymentID(f[0]), Checkout: f[1]}, nil
}

// is brings a checkout into a state.
func (w *world) is(id string, state wire.PaymentState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checkouts[id].State, w.checkouts[id].Reference = state, "pi_"+id
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) begin(s *Service) wire.Payment {
	w.t.Helper()
	p, err := s.Begin(w.t.Context(), "t", session, customer, 7, request)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// work lets a node do what is due, some seconds later.
func (w *world) work(s *Service) {
	w.t.Helper()
	w.pass(6 * time.Minute) // as long as the longest pause
	for range 2 {
		if _, err := s.work(w.t.Context()); err != nil {
			w.t.Error(err)
		}
	}
}

// expect compares what the session was told, and that nothing is left to be looked at.
func (w *world) expect(s *Service, done bool, want ...string) {
	w.t.Helper()
	if fmt.Sprint(w.told) != fmt.Sprint(want) {
		w.t.Errorf("told %q, want %q", w.told, want)
	}
	if open, err := s.work(w.t.Context()); err != nil || open == done {
		w.t.Errorf("left to be looked at: %v, %v", open, err)
	}
}

const paid = "7 tickets pay done  12.50 EUR"

func TestPaid(t *testing.T) {
	w, s := newWorld(t)
	p := w.begin(s)
	if p.State != wire.PaymentOpen || p.URL != "https://till.example/cs_1" || p.Amount.String() != "12.50 EUR" || p.Ended != nil {
		t.Fatalf("%+v", p)
	}
	if again := w.begin(s); again.ID != p.ID || again.URL != p.URL || len(w.orders) != 1 {
		t.Errorf("touched again: %+v, %d orders", again, len(w.orders))
	}
	if o := w.orders[0]; o.Item != "2 tickets" || o.Until.Sub(w.now) != OpenFor || o.Back == "" {
		t.Errorf("%+v", o)
	}
	w.work(s)
	w.expect(s, false)
	w.is("cs_1", wire.PaymentPaid)
	w.work(s)
	w.expect(s, true, paid)
	if again := w.begin(s); again.State != wire.PaymentPaid || again.URL != "" || again.Reference != "pi_cs_1" || len(w.orders) != 1 {
		t.Errorf("paid twice? %+v, %d orders", again, len(w.orders))
	}
	if w.notified != 1 || s.Stats() != (Stats{Begun: 1, Paid: 1}) {
		t.Errorf("%d notices, %+v", w.notified, s.Stats())
	}
	if _, err := s.Cancel(t.Context(), "t", session, customer, p.ID); !errors.Is(err, ErrEnded) {
		t.Errorf("cancelled afterwards: %v", err)
	}
}

func TestRefused(t *testing.T) {
	w, s := newWorld(t)
	for name, c := range map[string]struct {
		device wire.DeviceID
		seq    uint64
		r      wire.PaymentRequest
		want   error
	}{
		"stranger":        {"other", 7, request, ErrClosed},
		"no overlay":      {customer, 8, request, ErrNotFound},
		"no region":       {customer, 7, wire.PaymentRequest{Region: "x"}, ErrNotFound},
		"no action":       {customer, 7, wire.PaymentRequest{Region: "tickets", Action: 2}, ErrNotFound},
		"another action":  {customer, 7, wire.PaymentRequest{Region: "tickets", Action: 1}, ErrRequest},
		"disabled":        {customer, 7, wire.PaymentRequest{Region: "off"}, ErrRequest},
		"negative action": {customer, 7, wire.PaymentRequest{Region: "tickets", Action: -1}, ErrNotFound},
	} {
		if _, err := s.Begin(t.Context(), "t", session, c.device, c.seq, c.r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.down = ErrGateway
	if _, err := s.Begin(t.Context(), "t", session, customer, 7, request); !errors.Is(err, ErrGateway) {
		t.Error(err)
	}
	w.down = nil
	w.begin(s) // nothing stands in its way
	if err := s.RemoveAccount(t.Context(), operator, "box-office"); err != nil {
		t.Fatal(err)
	}
	other, s := newWorld(t)
	other.from = tel.Identity{}
	if _, err := s.Begin(t.Context(), "t", session, customer, 7, request); !errors.Is(err, ErrNoAccount) {
		t.Error(err)
	}
}

// TestEnds: each way in which a payment is not made, and that it may be begun anew.
func TestEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(w *world, s *Service, p wire.Payment)
		want string
	}{
		"by the customer": {func(w *world, s *Service, p wire.Payment) {
			got, err := s.Cancel(t.Context(), "t", session, customer, p.ID)
			if err != nil || got.State != wire.PaymentCancelled || got.Reason != ByCustomer {
				t.Errorf("%+v, %v", got, err)
			}
			w.work(s)
		}, "7 tickets pay cancelled by_customer 12.50 EUR"},
		"by the customer, and the notice of that is here before the answer": {func(w *world, s *Service, p wire.Payment) {
			w.expiring = func() {
				if err := s.Noticed(t.Context(), "t", "box-office", "by whsec", []byte(string(p.ID)+" cs_1")); err != nil {
					t.Error(err)
				}
			}
			got, err := s.Cancel(t.Context(), "t", session, customer, p.ID)
			if err != nil || got.State != wire.PaymentCancelled || got.Reason != ByCustomer {
				t.Errorf("%+v, %v", got, err)
			}
			w.work(s)
		}, "7 tickets pay cancelled by_customer 12.50 EUR"},
		"in time": {func(w *world, s *Service, _ wire.Payment) {
			w.pass(OpenFor)
			w.work(s)
		}, "7 tickets pay cancelled expired 12.50 EUR"},
		"by the payment server": {func(w *world, s *Service, _ wire.Payment) {
			w.is("cs_1", wire.PaymentCancelled)
			w.work(s)
		}, "7 tickets pay cancelled expired 12.50 EUR"},
		"a transfer that does not come": {func(w *world, s *Service, p wire.Payment) {
			w.is("cs_1", wire.PaymentProcessing)
			w.work(s)
			if _, err := s.Cancel(t.Context(), "t", session, customer, p.ID); !errors.Is(err, ErrEnded) {
				t.Errorf("what is being processed was cancelled: %v", err)
			}
			w.is("cs_1", wire.PaymentFailed) // and no notice of it comes
			w.work(s)
		}, "7 tickets pay failed declined 12.50 EUR"},
	} {
		t.Run(name, func(t *testing.T) {
			w, s := newWorld(t)
			c.end(w, s, w.begin(s))
			w.expect(s, true, c.want)
			if p := w.begin(s); p.State != wire.PaymentOpen || p.URL != "https://till.example/cs_2" || w.orders[1].Attempt != 2 {
				t.Errorf("anew: %+v", p)
			}
			w.is("cs_2", wire.PaymentPaid)
			w.work(s)
			w.expect(s, true, c.want, paid)
		})
	}
}

func TestNotices(t *testing.T) {
	w, s := newWorld(t)
	p := w.begin(s)
	about := []byte(string(p.ID) + " cs_1")
	for name, c := range map[string]struct {
		account, signature string
		body               []byte
		want               error
	}{
		"no account":         {"other", "by whsec", about, ErrSignature}, // as another's
		"another's":          {"box-office", "by somebody", about, ErrSignature},
		"of something else":  {"box-office", "by whsec", nil, nil},
		"no such payment":    {"box-office", "by whsec", []byte("pay_x cs_1"), ErrNotFound},
		"of another attempt": {"box-office", "by whsec", []byte(string(p.ID) + " cs_0"), nil},
	} {
		if err := s.Noticed(t.Context(), "t", c.account, c.signature, c.body); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Noticed(t.Context(), "t", "box-office", "by whsec", about); err != nil { // too early: it is not paid
		t.Error(err)
	}
	w.expect(s, false)
	w.is("cs_1", wire.PaymentPaid)
	for range 3 { // repeated
		if err := s.Noticed(t.Context(), "t", "box-office", "by whsec", about); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.work(t.Context()); err != nil { // at once, not when it would have been looked at
		t.Error(err)
	}
	w.expect(s, true, paid)
	if _, err := s.SetAccount(t.Context(), operator, "silent", wire.PaymentAccountDraft{Numbers: []string{"+1"}, Key: "sk"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Noticed(t.Context(), "t", "silent", "by ", about); !errors.Is(err, ErrSignature) {
		t.Errorf("an account without a secret believes notices: %v", err)
	}
}

// TestAnotherNode: a node dies while somebody pays; another one learns of it, and tells once.
func TestAnotherNode(t *testing.T) {
	w, s := newWorld(t)
	w.begin(s)
	w.is("cs_1", wire.PaymentPaid)
	other := w.service()
	w.pass(6 * time.Minute)
	w.fails = errors.New("it died here")
	if _, err := s.work(t.Context()); err == nil {
		t.Fatal("the first node did not die")
	}
	w.work(other)
	w.work(s)
	w.expect(other, true, paid)
}

// TestTouchedTwice: two touches at once, on two nodes, are one payment.
func TestTouchedTwice(t *testing.T) {
	w, s := newWorld(t)
	var second wire.Payment
	w.opening = func() { second = w.begin(w.service()) }
	if first := w.begin(s); first.URL != second.URL || first.ID != second.ID {
		t.Errorf("%+v and %+v", first, second)
	}
	id := strings.TrimPrefix(second.URL, "https://till.example/")
	w.is(id, wire.PaymentPaid)
	w.work(s)
	w.expect(s, true, paid)
}

// stalling calls a function before a payment is stored.
type stalling struct {
	store.Engine
	before func()
}

func (e *stalling) Put(ctx context.Context, table, key string, value []byte, at store.Rev) (store.Rev, error) {
	if f := e.before; table == "payments" && f != nil {
		e.before = nil
		f()
	}
	return e.Engine.Put(ctx, table, key, value, at)
}

// TestLookedAtWhileBeginning: who looks while a further attempt is being begun, and sees the one before, which is over, does not
// keep what comes of the new one from being seen.
func TestLookedAtWhileBeginning(t *testing.T) {
	w, _ := newWorld(t)
	e := &stalling{Engine: w.engine}
	w.engine = e
	s := w.service()
	w.begin(s)
	w.is("cs_1", wire.PaymentCancelled)
	w.work(s)
	e.before = func() { w.work(s) }
	w.begin(s)
	w.is("cs_2", wire.PaymentPaid)
	w.work(s)
	w.expect(s, true, "7 tickets pay cancelled expired 12.50 EUR", paid)
}

// TestDiesWhileBeginning: what was noted for a payment that nobody can pay is passed over.
func TestDiesWhileBeginning(t *testing.T) {
	w, s := newWorld(t)
	p := Payment{Tenant: "t", Session: session, ID: name(session, 7, "tickets", 0, 1)}
	if err := s.watch(t.Context(), p, w.now); err != nil {
		t.Fatal(err)
	}
	if open, err := s.work(t.Context()); err != nil || !open {
		t.Errorf("given up at once: %v", err)
	}
	w.work(s)
	w.expect(s, true)
}

// TestSessionCloses: an open checkout ends with its session; what was paid all the same is kept.
func TestSessionCloses(t *testing.T) {
	for name, c := range map[string]struct {
		till wire.PaymentState
		want wire.PaymentState
	}{"open": {wire.PaymentOpen, wire.PaymentCancelled}, "paid": {wire.PaymentPaid, wire.PaymentPaid}} {
		t.Run(name, func(t *testing.T) {
			w, s := newWorld(t)
			w.begin(s)
			w.is("cs_1", c.till)
			w.closed = true
			w.work(s)
			w.expect(s, true)
			l, err := s.OfOwner(t.Context(), operator, session)
			if err != nil || len(l) != 1 || l[0].State != c.want {
				t.Errorf("%+v, %v", l, err)
			}
		})
	}
}

// TestNeverLearned: a payment server that never answers again.
func TestNeverLearned(t *testing.T) {
	w, s := newWorld(t)
	w.begin(s)
	w.down = ErrGateway
	w.pass(OpenFor + unknownFor + time.Minute)
	if _, err := s.work(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.work(s)
	w.expect(s, true, "7 tickets pay failed unknown 12.50 EUR")
}

// TestMoneyNeverComes: the payment server goes on saying that the money is under way.
func TestMoneyNeverComes(t *testing.T) {
	w, s := newWorld(t)
	w.begin(s)
	w.is("cs_1", wire.PaymentProcessing)
	w.work(s)
	w.pass(14 * 24 * time.Hour)
	w.work(s)
	w.expect(s, false)
	w.pass(processingFor)
	w.work(s)
	w.expect(s, true, "7 tickets pay failed unknown 12.50 EUR")
}

// TestEachSidePays: who else got the overlay pays for itself; devices of one side share a payment.
func TestEachSidePays(t *testing.T) {
	w, s := newWorld(t)
	ctx := t.Context()
	first := w.begin(s)
	same, err := s.Begin(ctx, "t", session, tablet, 7, request)
	if err != nil || same.ID != first.ID || same.URL != first.URL {
		t.Errorf("the customer's tablet: %+v, %v", same, err)
	}
	other, err := s.Begin(ctx, "t", session, friend, 7, request)
	if err != nil || other.ID == first.ID || other.URL == first.URL {
		t.Errorf("the friend: %+v, %v", other, err)
	}
	if l, err := s.OfDevice(ctx, "t", session, tablet); err != nil || len(l) != 1 || l[0].ID != first.ID || l[0].URL == "" {
		t.Errorf("the tablet sees %+v, %v", l, err)
	}
	if _, err := s.Cancel(ctx, "t", session, friend, first.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("the friend gives up the customer's: %v", err)
	}
	if p, err := s.Cancel(ctx, "t", session, tablet, first.ID); err != nil || p.State != wire.PaymentCancelled {
		t.Errorf("%+v, %v", p, err)
	}
	w.is("cs_2", wire.PaymentPaid)
	w.work(s)
	if got, err := s.OfDevice(ctx, "t", session, friend); err != nil || len(got) != 1 || got[0].State != wire.PaymentPaid {
		t.Errorf("%+v, %v", got, err)
	}
	w.closed = true // what one began oneself is still seen
	if l, err := s.OfDevice(ctx, "t", session, customer); err != nil || len(l) != 1 {
		t.Errorf("afterwards: %+v, %v", l, err)
	}
}

func TestAccounts(t *testing.T) {
	_, s := newWorld(t)
	ctx := t.Context()
	own := credential.Owner{Tenant: "t", Ranges: []string{"+4420794608"}}
	draft := func(number, key string) wire.PaymentAccountDraft {
		return wire.PaymentAccountDraft{Numbers: []string{number}, Key: key}
	}
	for name, c := range map[string]struct {
		by   credential.Owner
		name string
		d    wire.PaymentAccountDraft
		want error
	}{
		"name":           {operator, "A b", draft("+44", "sk"), ErrRequest},
		"number":         {operator, "x", draft("none", "sk"), ErrRequest},
		"no numbers":     {operator, "x", wire.PaymentAccountDraft{Key: "sk"}, ErrRequest},
		"no key":         {operator, "x", draft("+44", ""), ErrRequest},
		"line in key":    {operator, "x", draft("+44", "sk\n"), ErrRequest},
		"foreign number": {own, "x", draft("+44", "sk"), ErrNumbers},
		"foreign name":   {own, "box-office", draft("+44207946081", "sk"), ErrRequest},
	} {
		if _, err := s.SetAccount(ctx, c.by, c.name, c.d); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.SetAccount(ctx, own, "own", draft("+44 20 7946 0811", "sk")); err != nil {
		t.Fatal(err)
	}
	if l, err := s.Accounts(ctx, own); err != nil || len(l) != 1 || l[0].Name != "own" {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err := s.Account(ctx, own, "box-office"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if err := s.RemoveAccount(ctx, credential.Owner{Tenant: "u", All: true}, "own"); !errors.Is(err, ErrNotFound) {
		t.Errorf("another tenant: %v", err)
	}
	// What is left out stays.
	if a, err := s.SetAccount(ctx, operator, "box-office", draft("+44207946", "")); err != nil || a.Key != "sk" || a.HookSecret != "whsec" {
		t.Errorf("%+v, %v", a, err)
	}
	// The closest one is paid.
	id, err := tel.ParseIdentity("+442079460811", "")
	if err != nil {
		t.Fatal(err)
	}
	if a, err := s.payee(ctx, "t", []tel.Identity{id}); err != nil || a.Name != "own" {
		t.Errorf("%s, %v", a.Name, err)
	}
	for i := range MaxAccounts - 2 {
		if _, err := s.SetAccount(ctx, operator, fmt.Sprintf("n%d", i), draft("+1", "sk")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.SetAccount(ctx, operator, "more", draft("+1", "sk")); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
}

// TestWhoSees: a payment's page is shown to the device that pays, and nobody else sees it at all.
func TestWhoSees(t *testing.T) {
	w, s := newWorld(t)
	w.begin(s)
	ctx := t.Context()
	if l, err := s.OfDevice(ctx, "t", session, customer); err != nil || len(l) != 1 || l[0].URL == "" {
		t.Errorf("%+v, %v", l, err)
	}
	for name, list := range map[string]func() ([]wire.Payment, error){
		"another device": func() ([]wire.Payment, error) { return s.OfDevice(ctx, "t", session, "agent") },
		"another tenant": func() ([]wire.Payment, error) { return s.OfDevice(ctx, "u", session, customer) },
		"another provider": func() ([]wire.Payment, error) {
			return s.OfOwner(ctx, credential.Owner{Tenant: "t", Ranges: []string{"+1"}}, session)
		},
	} {
		if l, err := list(); err != nil || len(l) != 0 {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
	if l, err := s.OfOwner(ctx, operator, session); err != nil || len(l) != 1 || l[0].URL != "" {
		t.Errorf("the operator: %+v, %v", l, err)
	}
	if err := s.ForgetDevices(ctx, "t", []wire.DeviceID{customer}); err != nil {
		t.Fatal(err)
	}
	if l, err := s.OfDevice(ctx, "t", session, customer); err != nil || len(l) != 0 {
		t.Errorf("after erasure: %+v, %v", l, err)
	}
	w.is("cs_1", wire.PaymentPaid)
	w.work(s)
	w.expect(s, true) // nobody is told in an erased device's name
	w.pass(24 * time.Hour)
	if err := s.sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if l, err := s.OfOwner(ctx, operator, session); err != nil || len(l) != 0 {
		t.Errorf("after retention: %+v, %v", l, err)
	}
}

func TestPause(t *testing.T) {
	for age, want := range map[time.Duration]time.Duration{0: 3 * time.Second, time.Minute: 15 * time.Second, 24 * time.Hour: 5 * time.Minute} {
		if got := pause(age); got != want {
			t.Errorf("%v: %v, want %v", age, got, want)
		}
	}
}

package overlay

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/signed"
	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

var (
	byAgent    = Sender{Tenant: "t", Device: agent}
	byCustomer = Sender{Tenant: "t", Device: customer}
)

func TestSendTemplates(t *testing.T) {
	w, s := newWorld(t)
	ctx := t.Context()
	w.publish(s, "booking", booking())
	w.publish(s, "menu", plain("menu"))
	l, err := s.Templates(ctx, byAgent, "s_1")
	if err != nil || len(l) != 2 || l[0].Name != "booking" || len(l[0].Parameters) != 4 {
		t.Fatalf("%+v, %v", l, err)
	}
	if l, err := s.Templates(ctx, byCustomer, "s_1"); err != nil || len(l) != 0 {
		t.Errorf("the customer's templates: %v, %v", l, err)
	}
	fill := wire.OverlayFill{Template: "booking", Values: Values{"car": {"Golf"}}}
	for name, c := range map[string]struct {
		by     Sender
		id     wire.SessionID
		change func(*wire.OverlayFill)
		want   error
	}{
		"customer":        {byCustomer, "s_1", nil, ErrNotFound},
		"no session":      {byAgent, "s_2", nil, ErrClosed},
		"stranger":        {Sender{Tenant: "t", Device: "other"}, "s_1", nil, ErrClosed},
		"another key":     {Sender{Tenant: "t", Owner: credential.Owner{Tenant: "t", Ranges: []string{"+44207946001"}}}, "s_1", nil, ErrClosed},
		"both sides":      {Sender{Tenant: "t", Owner: credential.Owner{Tenant: "t", Ranges: []string{"+44"}}}, "s_1", nil, ErrClosed},
		"no template":     {byAgent, "s_1", func(f *wire.OverlayFill) { f.Template = "../x" }, ErrNotFound},
		"not its value":   {byAgent, "s_1", func(f *wire.OverlayFill) { f.Values = Values{"price": {"1"}} }, ErrRequest},
		"the customer's":  {byAgent, "s_1", func(f *wire.OverlayFill) { f.Values = Values{"street": {"x"}} }, ErrRequest},
		"nothing of cars": {byAgent, "s_1", func(f *wire.OverlayFill) { f.Values = nil }, overlay.ErrInvalid},
	} {
		f := fill
		if c.change != nil {
			c.change(&f)
		}
		if _, err := s.Preview(ctx, c.by, c.id, f); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The provider's system gives what is the service's.
	system := Sender{Tenant: "t", Owner: credential.Owner{Tenant: "t", Ranges: []string{"+442079460900"}}}
	q := wire.OverlaySend{ID: "q", Template: "booking", Values: Values{"car": {"Golf"}, "price": {"990"}}, To: []wire.MemberID{"1"}}
	for range 2 {
		sent, err := s.Send(ctx, system, "s_1", q)
		if err != nil || sent.Overlay != "booking" || sent.Seq != 1 {
			t.Fatalf("%+v, %v", sent, err)
		}
	}
	if want := []string{"2>[1 2] overlay booking"}; !slices.Equal(w.said(), want) {
		t.Errorf("%v, want %v", w.said(), want)
	}
}

func TestSendDocuments(t *testing.T) {
	w, s := newWorld(t)
	ctx := t.Context()
	system := Sender{Tenant: "t", Owner: credential.Owner{Tenant: "t", Ranges: []string{"+442079460900"}}}
	document := plain("whole").Document
	for name, c := range map[string]struct {
		by   Sender
		q    wire.OverlaySend
		want error
	}{
		"both":              {byAgent, wire.OverlaySend{Template: "x", Document: document}, ErrRequest},
		"neither":           {byAgent, wire.OverlaySend{}, ErrRequest},
		"values":            {byAgent, wire.OverlaySend{Document: document, Values: Values{"x": {"y"}}}, ErrRequest},
		"operator, no side": {Sender{Tenant: "t", Owner: all}, wire.OverlaySend{Document: document}, ErrRequest},
		"not one":           {byAgent, wire.OverlaySend{Document: json.RawMessage(`{"version":1,"onload":"x"}`)}, overlay.ErrInvalid},
	} {
		if _, err := s.Send(ctx, c.by, "s_1", c.q); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, by := range []Sender{byAgent, system} {
		if _, err := s.Send(ctx, by, "s_1", wire.OverlaySend{ID: wire.RequestID("q" + string(by.Device)), Document: document}); err != nil {
			t.Error(err)
		}
	}
	if len(w.said()) != 2 {
		t.Errorf("%v", w.said())
	}
}

// TestConfirmedAndAnswered: the device of the other side says what became of an overlay, and
// nobody else does.
func TestConfirmedAndAnswered(t *testing.T) {
	w, s := newWorld(t)
	ctx := t.Context()
	w.publish(s, "menu", plain("menu"))
	if _, err := s.Send(ctx, byAgent, "s_1", wire.OverlaySend{ID: "q", Template: "menu"}); err != nil {
		t.Fatal(err)
	}
	shown := wire.OverlayShow{State: wire.OverlayIsShown}
	for range 2 {
		if err := s.Shown(ctx, "t", "s_1", customer, 1, shown); err != nil {
			t.Fatal(err)
		}
	}
	yes := wire.OverlayAnswer{ID: "a", Answer: overlay.Answer{Region: "yes", Type: overlay.Choose, Outcome: overlay.Done, Value: "yes"}}
	if err := s.Answered(ctx, "t", "s_1", customer, 1, yes); err != nil {
		t.Fatal(err)
	}
	want := []string{"2>[] overlay menu", "1>[2] tandem.overlay.shown menu", "1>[2] tandem.overlay.result menu"}
	if !slices.Equal(w.said(), want) {
		t.Errorf("%v, want %v", w.said(), want)
	}
	no := yes
	no.Value = "no"
	// Another device has taken the sender's place: it is told.
	own := w.session.Sides[1]
	w.session.Sides[1].Left, w.session.Sides[1].Members = []wire.MemberID{"2"}, []Member{{"3", "second"}}
	yes.ID = "a-2"
	if err := s.Answered(ctx, "t", "s_1", customer, 1, yes); err != nil {
		t.Error(err)
	}
	if said := w.said(); said[len(said)-1] != "1>[3] tandem.overlay.result menu" {
		t.Errorf("%v", said)
	}
	w.session.Sides[1].Members = nil
	yes.ID = "a-3"
	if err := s.Answered(ctx, "t", "s_1", customer, 1, yes); !errors.Is(err, ErrNotFound) {
		t.Errorf("nobody of the side is there: %v", err)
	}
	w.session.Sides[1] = own
	for name, c := range map[string]struct{ got, want error }{
		"the sender confirms": {s.Shown(ctx, "t", "s_1", agent, 1, shown), ErrNotFound},
		"no overlay":          {s.Shown(ctx, "t", "s_1", customer, 2, shown), ErrNotFound},
		"no message":          {s.Shown(ctx, "t", "s_1", customer, 9, shown), ErrNotFound},
		"zero":                {s.Shown(ctx, "t", "s_1", customer, 0, shown), ErrNotFound},
		"no reason":           {s.Shown(ctx, "t", "s_1", customer, 1, wire.OverlayShow{State: wire.OverlayShowFailed}), ErrRequest},
		"stranger":            {s.Shown(ctx, "t", "s_1", "other", 1, shown), ErrClosed},
		"another answer":      {s.Answered(ctx, "t", "s_1", customer, 1, no), overlay.ErrInvalid},
		"its own answer":      {s.Answered(ctx, "t", "s_1", agent, 1, yes), ErrNotFound},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v", name, c.got)
		}
	}
	if _, err := s.Picture(ctx, "t", "s_1", customer, 1, "yes"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a picture of none: %v", err)
	}
}

// TestCustomersData: a template has what the customer sent last, checked like everything else.
func TestCustomersData(t *testing.T) {
	w, s := newWorld(t)
	ctx := t.Context()
	d := booking()
	d.Parameters[3].Default = []string{"1"}
	w.publish(s, "booking", d)
	say := func(from wire.DeviceID, street, outcome string) {
		t.Helper()
		r := wire.OverlayResult{Overlay: "where", Answer: overlay.Answer{Region: "where", Outcome: overlay.Outcome(outcome), Answers: Values{"street": {street}}}}
		if _, err := w.Send(ctx, "t", "s_1", from, nil, wire.RequestID(street), wire.KindOverlayResult, r); err != nil {
			t.Fatal(err)
		}
	}
	say(customer, "Old Street", "done")
	say(customer, "Downing Street", "done")
	say(customer, "Nowhere", "cancelled")
	say(agent, "The agent's", "done")
	filled, err := s.Preview(ctx, byAgent, "s_1", wire.OverlayFill{Template: "booking", Values: Values{"car": {"Golf"}}})
	if err != nil || !strings.Contains(string(filled.Document), "Golf for 1 to Downing Street") {
		t.Errorf("%s, %v", filled.Document, err)
	}
	// After a transfer, what the earlier agent sent is no customer's.
	w.session.Sides[1].Members, w.session.Sides[1].Left = []Member{{"5", "second"}}, []wire.MemberID{"2"}
	second := Sender{Tenant: "t", Device: "second"}
	filled, err = s.Preview(ctx, second, "s_1", wire.OverlayFill{Template: "booking", Values: Values{"car": {"Golf"}}})
	if err != nil || !strings.Contains(string(filled.Document), "to Downing Street") {
		t.Errorf("after a transfer: %s, %v", filled.Document, err)
	}
}

// own is a template whose price the provider's own server knows.
func own() wire.OverlayDraft {
	d := booking()
	d.URL = "https://ajax.example/overlay"
	return d
}

func TestProvidersServer(t *testing.T) {
	w, s := newWorld(t)
	ctx := t.Context()
	w.queue, w.language = "airport", "de-at"
	x := w.publish(s, "own", own())
	preview := func() (string, error) {
		f, err := s.Preview(ctx, byAgent, "s_1", wire.OverlayFill{Template: "own", Values: Values{"car": {"Golf"}}})
		return string(f.Document), err
	}
	w.answer = `{"values": {"price": ["700"]}, "keep_s": 60}`
	if got, err := preview(); err != nil || !strings.Contains(got, `"minor":700`) {
		t.Fatalf("%s, %v", got, err)
	}
	// It is signed with the secret that was shown, and says what the provider may know.
	q := w.asked[0]
	kept, err := s.get(ctx, all, "own")
	if err != nil || x.Secret != signed.Text(kept.Key) || q.Signature != signed.Sign(kept.Key, q.ID, q.Timestamp, q.Body) {
		t.Errorf("signature: %v", err)
	}
	var body wire.OverlayQuestion
	if err := wire.Unmarshal(q.Body, &body); err != nil || body.Queue != "airport" || body.Language != "de-at" || body.Number.String() != "tel:+442079460900" || strings.Contains(string(q.Body), "442079460001") {
		t.Errorf("%s, %v", q.Body, err)
	}
	// While it is away its last answer serves, as long as it said.
	w.noAnswer = errors.New("no route")
	if got, err := preview(); err != nil || !strings.Contains(got, `"minor":700`) {
		t.Errorf("what is kept: %s, %v", got, err)
	}
	w.now = w.now.Add(time.Minute)
	if _, err := preview(); !errors.Is(err, ErrSource) {
		t.Errorf("what has run out: %v", err)
	}
	w.noAnswer = nil
	for name, answer := range map[string]string{
		"nothing":         `{}`,
		"no JSON":         `<html>`,
		"another's value": `{"values": {"car": ["x"], "price": ["1"]}}`,
		"unknown value":   `{"values": {"colour": ["x"], "price": ["1"]}}`,
		"script":          `{"document": {"version": 1, "id": "x", "language": "en", "regions": [{"id": "a", "grid": {"column": 0, "row": 0}, "text": {"en": "x"}, "actions": [{"type": "open_page", "url": "javascript:x"}]}]}}`,
		"beyond bounds":   `{"values": {"price": ["-1"]}}`,
	} {
		w.answer = answer
		if got, err := preview(); !errors.Is(err, ErrSource) {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	w.answer = `{"document": ` + string(plain("theirs").Document) + `}`
	if got, err := preview(); err != nil || !strings.Contains(got, `"id":"theirs"`) {
		t.Errorf("%s, %v", got, err)
	}
}

// run starts the service's loop, until the test ends.
func run(t *testing.T, s *Service) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func (w *world) await() {
	w.t.Helper()
	select {
	case <-w.delivered:
	case <-time.After(time.Minute):
		w.t.Fatal("nothing was sent")
	}
}

// left lists the openings that are not done.
func left(t *testing.T, s *Service) (n int) {
	t.Helper()
	for _, err := range s.openings.Scan(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

func TestPredetermined(t *testing.T) {
	w, s := newWorld(t)
	ctx := t.Context()
	w.publish(s, "welcome", opening(plain("welcome")))
	airport := plain("airport")
	airport.When = &wire.OverlayWhen{Queues: []string{"airport"}}
	w.publish(s, "airport", airport)
	w.publish(s, "menu", plain("menu")) // an agent's
	run(t, s)

	step := func(version uint64, members ...wire.MemberID) {
		t.Helper()
		if err := s.Opened(ctx, "t", "s_1", version, members); err != nil {
			t.Fatal(err)
		}
	}
	step(1)
	w.await()
	w.queue = "airport"
	step(5) // a new call of the same session
	w.await()
	w.mu.Lock()
	w.session.Sides[0].Members = append(w.session.Sides[0].Members, Member{"3", "tablet"})
	w.mu.Unlock()
	step(6, "3")
	w.await()
	want := []string{"2>[1 2] overlay welcome", "2>[1 2] overlay airport", "2>[3 2] overlay airport"}
	if !slices.Equal(w.said(), want) {
		t.Errorf("%v, want %v", w.said(), want)
	}
}

// TestPredeterminedToLatecomers: members that come while it is being sent get it, too, and nobody gets it
// twice.
func TestPredeterminedToLatecomers(t *testing.T) {
	w, s := newWorld(t)
	w.publish(s, "welcome", opening(plain("welcome")))
	comes := func(id wire.MemberID, version uint64, next func()) func() {
		return func() {
			members := w.session.Sides[0].Members
			w.session.Sides[0].Members = append(slices.Clone(members), Member{id, wire.DeviceID("tablet" + id)})
			if err := s.Opened(t.Context(), "t", "s_1", version, []wire.MemberID{id}); err != nil {
				t.Error(err)
			}
			w.sending = next
		}
	}
	w.sending = comes("3", 2, nil)
	if err := s.Opened(t.Context(), "t", "s_1", 1, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.work(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"2>[1 2] overlay welcome", "2>[3 2] overlay welcome"}; !slices.Equal(w.said(), want) {
		t.Fatalf("%v, want %v", w.said(), want)
	}
	if err := s.Opened(t.Context(), "t", "s_1", 3, []wire.MemberID{"3"}); err != nil { // said again
		t.Fatal(err)
	}
	w.requests = map[string]wire.Sent{}
	w.log = nil
	w.sending = comes("4", 4, comes("5", 5, nil))
	for range 3 {
		if err := s.work(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := left(t, s); n != 0 {
		t.Errorf("%d are left", n)
	}
	want := []string{"2>[3 2] overlay welcome", "2>[4 2] overlay welcome", "2>[5 2] overlay welcome"}
	if !slices.Equal(w.said(), want) {
		t.Errorf("%v, want %v", w.said(), want)
	}
}

// TestPredeterminedOnce: what failed is sent later, what was sent before a crash is not sent
// again, and what is over is given up.
func TestPredeterminedOnce(t *testing.T) {
	w, s := newWorld(t)
	ctx := t.Context()
	w.publish(s, "welcome", opening(plain("welcome")))
	if err := s.Opened(ctx, "t", "s_1", 1, nil); err != nil {
		t.Fatal(err)
	}
	w.fails = errors.New("the store is away")
	if err := s.work(ctx); err == nil || left(t, s) != 1 {
		t.Fatalf("it failed, and %d are left: %v", left(t, s), err)
	}
	again := w.service() // after a crash
	if err := again.work(ctx); err != nil || left(t, s) != 0 || len(w.said()) != 1 {
		t.Fatalf("%v; %d are left, sent %v", err, left(t, s), w.said())
	}
	if err := errors.Join(s.Opened(ctx, "t", "s_1", 1, nil), again.work(ctx)); err != nil || len(w.said()) != 1 {
		t.Errorf("noted twice, sent %v: %v", w.said(), err)
	}
	w.closed = true
	if err := errors.Join(s.Opened(ctx, "t", "s_1", 2, nil), again.work(ctx)); err != nil || left(t, s) != 0 {
		t.Errorf("of a session that is over %d are left: %v", left(t, s), err)
	}
	w.closed = false
	if err := s.Opened(ctx, "t", "s_1", 3, nil); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(giveUp)
	w.fails = errors.New("still away")
	if err := s.work(ctx); err != nil || left(t, s) != 0 {
		t.Errorf("too late, and %d are left: %v", left(t, s), err)
	}
}

// TestOtherNodesHear of an overlay that becomes live, or none.
func TestOtherNodesHear(t *testing.T) {
	w, s := newWorld(t)
	other := w.service()
	run(t, other)
	if s.Any("t") {
		t.Error("there is one before any is published")
	}
	// Until the other node listens it hears nothing, so it is said until it has heard.
	w.publish(s, "welcome", opening(plain("welcome")))
	if !s.Any("t") || s.Any("u") {
		t.Error("this node, or another tenant")
	}
	for !other.Any("t") {
		if _, err := s.Publish(t.Context(), all, "welcome"); err != nil {
			t.Fatal(err)
		}
	}
	for other.Any("t") {
		if _, err := s.Rollback(t.Context(), all, "welcome", 0); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWhatWasSaidIsReadOnce: a template that asks for the customer's answers does not read a long log
// again and again, and still has the newest.
func TestWhatWasSaidIsReadOnce(t *testing.T) {
	w, s := newWorld(t)
	asks := booking()
	asks.Parameters = []wire.OverlayParameter{{Field: overlay.Field{ID: "car", Label: overlay.Words{"en": "Car"}, Type: overlay.Line, Max: 40}, From: wire.FromCustomer, Of: "yes"}}
	asks.Document = json.RawMessage(`{"version": 1, "id": "car", "language": "en", "regions": [{"id": "r", "grid": {"column": 0, "row": 0}, "text": {"en": "{{car}}"}}]}`)
	w.publish(s, "car", asks)
	say := func(value string, epoch uint64, chatter int) {
		for range chatter {
			w.log = append(w.log, wire.Envelope{Seq: uint64(len(w.log) + 1), Epoch: epoch, From: "1", Kind: wire.KindText, Body: json.RawMessage(`"x"`)})
		}
		b, err := json.Marshal(wire.OverlayResult{Seq: 1, Overlay: "o", Answer: overlay.Answer{Region: "yes", Type: overlay.Choose, Outcome: overlay.Done, Value: value}})
		if err != nil {
			t.Fatal(err)
		}
		w.log = append(w.log, wire.Envelope{Seq: uint64(len(w.log) + 1), Epoch: epoch, From: "1", Kind: wire.KindOverlayResult, Body: b})
	}
	fill := func(s *Service, want string, reads int) {
		t.Helper()
		w.reads = 0
		f, err := s.Preview(t.Context(), byAgent, "s_1", wire.OverlayFill{Template: "car"})
		if err != nil || !strings.Contains(string(f.Document), want) || w.reads != reads {
			t.Fatalf("%s after %d reads, want %s after %d; %v", f.Document, w.reads, want, reads, err)
		}
	}
	say("Golf", 1, 2500)
	fill(s, "Golf", 2501)
	fill(s, "Golf", 0)
	say("Polo", 1, 3)
	fill(s, "Polo", 4)
	say("Up", 2, 0) // after a crash: some of what was read may be gone
	fill(s, "Up", 1+2506)
	fill(s, "Up", 0)
	fill(w.service(), "Up", 2506) // another node
	// Of the sessions, those that were asked for last are remembered.
	for i := range keptSessions {
		s.said.of(reader{"t", wire.SessionID(strconv.Itoa(i)), agent})
	}
	if len(s.said.all) != keptSessions || len(s.said.order) != keptSessions {
		t.Errorf("%d sessions are remembered, %d in order", len(s.said.all), len(s.said.order))
	}
	fill(s, "Up", 2506)
	w.closed = true
	if _, err := s.Preview(t.Context(), byAgent, "s_1", wire.OverlayFill{Template: "car"}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

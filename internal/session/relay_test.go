package session_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// B10: any member to any other, or to all; several devices of one party.
func TestAnyMemberToAnyOther(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	o := opening()
	o.Sides = append(o.Sides, session.OpeningSide{Principal: carol, Shown: carol, Devices: []wire.DeviceID{"c1"}})
	boxes := map[wire.DeviceID]*box{}
	for _, d := range []wire.DeviceID{"a1", "a2", "b1", "c1"} {
		boxes[d], _ = n.attach(d)
	}
	if err := n.Open(ctx(t), o); err != nil {
		t.Fatal(err)
	}
	for i, d := range []wire.DeviceID{"a1", "a2", "b1", "c1"} {
		st := boxes[d].state()
		if st.You != wire.MemberID(fmt.Sprint(i+1)) || len(st.Members) != 4 || st.Phase != wire.InCall {
			t.Errorf("%s was told %+v", d, st)
		}
		if m := st.Members[0]; m.Side != st.Members[1].Side || m.Identity != alice || m.Name != "name of a1" {
			t.Errorf("member 1 shown as %+v", m)
		}
	}
	again, _ := n.attach("a1") // a second connection of the same device

	ack := n.send("a1", boxes["a1"], text("r1", "to all"))
	for _, b := range []*box{boxes["a2"], boxes["b1"], boxes["c1"], again} {
		e := b.text()
		if e.Seq != ack.Seq || e.Epoch != ack.Epoch || e.From != "1" || e.ID != "r1" || body[wire.Text](t, e).Text != "to all" {
			t.Errorf("got %+v", e)
		}
	}
	n.send("b1", boxes["b1"], text("r2", "to one", "4"))
	n.send("c1", boxes["c1"], text("r3", "to two", "1", "2"))
	if e := boxes["c1"].text(); e.ID != "r2" || !slices.Equal(e.To, []wire.MemberID{"4"}) {
		t.Errorf("got %+v", e)
	}
	for _, b := range []*box{boxes["a1"], again, boxes["a2"]} {
		if e := b.text(); e.ID != "r3" || e.From != "4" {
			t.Errorf("got %+v", e)
		}
	}
	n.send("a2", boxes["a2"], text("r4", "end"))
	for _, b := range []*box{boxes["b1"], boxes["c1"], boxes["a1"]} {
		if e := b.text(); e.ID != "r4" {
			t.Errorf("got %+v before the last message", e)
		}
	}
	boxes["a2"].quiet(wire.TypeMessage)
}

func TestServiceDataPassesAsItIs(t *testing.T) { // C3
	n := newWorld(t).node()
	b, _ := n.attach("b1")
	n.open()
	raw := `{"a":[1,2.50,{"b":null}],"A":"kept", "x":"é"}`
	n.send("a1", nil, wire.Envelope{Type: wire.TypeSend, ID: "r", Session: "S", Kind: "com.example.taxi-1", Body: []byte(raw)})
	if e := b.text(); string(e.Body) != raw || e.Kind != "com.example.taxi-1" {
		t.Errorf("got %s of kind %s", e.Body, e.Kind)
	}
	n.send("a1", nil, wire.Envelope{Type: wire.TypeSend, ID: "r2", Session: "S", Kind: "empty"})
	if e := b.text(); e.Body != nil {
		t.Errorf("body %s", e.Body)
	}
}

func TestRepeatedRequestIsTakenOnce(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	b, _ := n.attach("b1")
	n.open()
	var acks []wire.Envelope
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			a := n.send("a1", nil, text("same", "hello"))
			mu.Lock()
			acks = append(acks, a)
			mu.Unlock()
		})
	}
	wg.Wait()
	for _, a := range acks {
		if a.Seq != acks[0].Seq || a.Epoch != acks[0].Epoch {
			t.Errorf("answers differ: %+v, %+v", acks[0], a)
		}
	}
	// Another device may use the same id, and a node that knows only the log keeps the answer.
	n.send("a2", nil, text("same", "hello"))
	if a := w.node().send("a1", nil, text("same", "hello")); a.Seq != acks[0].Seq || a.Epoch != acks[0].Epoch {
		t.Errorf("after a restart the answer is %+v, was %+v", a, acks[0])
	}
	if e := b.text(); e.From != "1" {
		t.Errorf("got %+v", e)
	}
	if e := b.text(); e.From != "2" {
		t.Errorf("got %+v", e)
	}
	// Also when the session has been closed since.
	if err := n.OperatorClose(ctx(t), tenant, "S"); err != nil {
		t.Fatal(err)
	}
	n.send("a1", nil, text("same", "hello"))
	n.refused("a1", text("new", "hello"), wire.CodeSessionClosed)
	b.quiet(wire.TypeMessage)
}

// TestRepetitionInTheLog: two nodes have both stored a request that a device repeated at the
// second one. Nobody gets it twice.
func TestRepetitionInTheLog(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.open()
	first := n.send("a1", nil, text("same", "hello"))
	const log = "session/default/S"
	stored, err := w.engine.Read(ctx(t), log, first.Seq-1, 1)
	if err != nil || len(stored) != 1 {
		t.Fatal(stored, err)
	}
	p, err := w.engine.Append(ctx(t), log, stored[0].Data, store.DeliverAfter)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(ctx(t)); err != nil {
		t.Fatal(err)
	}
	last := n.send("a1", nil, text("next", "hello again"))
	for name, n := range map[string]*node{"the node": n, "another node": w.node()} {
		list, err := n.Messages(ctx(t), tenant, "b1", "S", 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		var seqs []uint64
		for _, e := range list.Messages {
			if e.Kind == wire.KindText {
				seqs = append(seqs, e.Seq)
			}
		}
		if !slices.Equal(seqs, []uint64{first.Seq, last.Seq}) || list.Head != last.Seq {
			t.Errorf("%s lists %v up to %d, want %d and %d", name, seqs, list.Head, first.Seq, last.Seq)
		}
		if a := n.send("a1", nil, text("same", "hello")); a.Seq != first.Seq {
			t.Errorf("%s acknowledges the repetition as %d, not %d", name, a.Seq, first.Seq)
		}
		b, _ := n.attach("b1")
		n.resume("b1", b, 0, 0)
		if x, y := b.text(), b.text(); x.Seq != first.Seq || y.Seq != last.Seq {
			t.Errorf("%s sends %d and %d", name, x.Seq, y.Seq)
		}
	}
}

func TestSignalsAreNotStored(t *testing.T) {
	w := newWorld(t)
	n, m := w.node(), w.node()
	n.run()
	m.run()
	n.open()
	a, _ := n.attach("a1")
	a2, _ := n.attach("a1")
	b, _ := m.attach("b1")
	n.send("a1", a, text("r1", "stored"))
	before, err := w.engine.Head(ctx(t), "session/default/S")
	if err != nil {
		t.Fatal(err)
	}
	n.Send(ctx(t), tenant, "a1", a, wire.Envelope{Type: wire.TypeSignal, Session: "S", Kind: "typing", Body: []byte(`true`)}, func(e wire.Envelope) {
		t.Errorf("answer to a signal without an id: %+v", e)
	})
	for _, x := range []*box{a2, b} {
		e := x.next(wire.TypeMessage)
		for e.Kind == wire.KindText || e.Kind == wire.KindState {
			e = x.next(wire.TypeMessage)
		}
		if e.From != "1" || e.Kind != "typing" || e.Seq != 0 || string(e.Body) != "true" {
			t.Errorf("got %+v", e)
		}
	}
	n.send("a1", a, wire.Envelope{Type: wire.TypeSignal, ID: "s1", Session: "S", Kind: "typing", To: []wire.MemberID{"3"}})
	b.next(wire.TypeMessage)
	a2.next(wire.TypeMessage) // the sender's other connections see what it says
	a.quiet(wire.TypeMessage)
	if after, err := w.engine.Head(ctx(t), "session/default/S"); err != nil || after != before {
		t.Errorf("the log grew from %+v to %+v, %v", before, after, err)
	}
}

func TestLimits(t *testing.T) {
	w := newWorld(t)
	l := wire.DefaultLimits
	l.MessagesPerSecond, l.MessageBurst, l.Members, l.LogEntries, l.FrameBytes = 2, 12, 3, 6, 1000
	n := w.node(func(c *session.Config) { c.Limits = l })
	n.open()

	// What does not exist and what is not yours look the same.
	p := n.refused("stranger", text("r", "hello"), wire.CodeNotMember)
	e := text("r", "hello")
	e.Session = "none"
	if q := n.refused("a1", e, wire.CodeNotMember); fmt.Sprint(p) != fmt.Sprint(q) {
		t.Errorf("%+v and %+v differ", p, q)
	}
	e.Session = "../S"
	n.refused("a1", e, wire.CodeNotMember)

	bad := func(change func(*wire.Envelope), code wire.Code) {
		t.Helper()
		e := text("r", "hello")
		change(&e)
		n.refused("a2", e, code)
	}
	bad(func(e *wire.Envelope) { e.ID = "" }, wire.CodeBadRequest)
	bad(func(e *wire.Envelope) { e.Kind = "" }, wire.CodeBadRequest)
	bad(func(e *wire.Envelope) { e.Kind = "Text" }, wire.CodeBadRequest)
	bad(func(e *wire.Envelope) { e.Kind = wire.KindState }, wire.CodeBadRequest)
	bad(func(e *wire.Envelope) { e.To = []wire.MemberID{"9"} }, wire.CodeBadRequest)
	bad(func(e *wire.Envelope) { e.To = []wire.MemberID{"01"} }, wire.CodeBadRequest)
	bad(func(e *wire.Envelope) { e.Body = []byte("\"\xff\"") }, wire.CodeBadFrame)
	bad(func(e *wire.Envelope) { e.Body = []byte(`"` + strings.Repeat("x", 1000) + `"`) }, wire.CodeTooLarge)

	err := n.JoinDevices(ctx(t), tenant, "S", session.OpeningSide{Principal: bob, Devices: []wire.DeviceID{"b2"}})
	wantCode(t, err, wire.CodeSessionFull)

	for i := range 5 { // the sixth entry is the change of state
		n.send("b1", nil, text(fmt.Sprint("f", i), "hello"))
	}
	n.refused("b1", text("f5", "hello"), wire.CodeLogFull)

	for i := range 20 {
		p := body[wire.Problem](t, n.ask("a1", nil, text(fmt.Sprint("r", i), "hello")))
		if p.Code == wire.CodeTooMany && p.RetryAfterSeconds == 1 {
			return
		}
	}
	t.Error("no end of what a device may send")
}

func TestPartiesSeeWhatWasSaidSinceTheyCame(t *testing.T) {
	n := newWorld(t).node()
	n.open()
	n.send("a1", nil, text("r1", "between us"))
	if err := n.JoinDevices(ctx(t), tenant, "S", session.OpeningSide{Principal: carol, Shown: carol, Devices: []wire.DeviceID{"c1"}}); err != nil {
		t.Fatal(err)
	}
	if err := n.JoinDevices(ctx(t), tenant, "S", session.OpeningSide{Principal: bob, Devices: []wire.DeviceID{"b2"}}); err != nil {
		t.Fatal(err)
	}
	n.send("a1", nil, text("r2", "welcome"))
	n.send("a1", nil, text("r3", "for carol", "4"))
	for d, want := range map[wire.DeviceID]string{"b1": "r1 r2", "b2": "r1 r2", "c1": "r2 r3", "a1": "r1 r2 r3"} {
		list, err := n.Messages(ctx(t), tenant, d, "S", 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		box, _ := n.attach(d)
		n.resume(d, box, 0, 0)
		var listed, resumed []string
		for _, m := range list.Messages {
			if m.Kind != wire.KindState {
				listed = append(listed, string(m.ID))
			}
		}
		for {
			e := box.next(wire.TypeMessage, wire.TypeResumed)
			if e.Type == wire.TypeResumed {
				break
			}
			if e.Kind != wire.KindState {
				resumed = append(resumed, string(e.ID))
			}
		}
		if strings.Join(listed, " ") != want || strings.Join(resumed, " ") != want {
			t.Errorf("%s read %v and resumed %v, want %s", d, listed, resumed, want)
		}
	}
	if _, err := n.Messages(ctx(t), tenant, "x", "S", 0, 10); err == nil {
		t.Error("a stranger reads")
	} else {
		wantCode(t, err, wire.CodeNotMember)
	}
	page, err := n.Messages(ctx(t), tenant, "a1", "S", 0, 2)
	if err != nil || len(page.Messages) != 2 || page.Head <= page.Messages[1].Seq {
		t.Errorf("page %+v, %v", page, err)
	}
}

// slowRecords holds up Put until it may go on.
type slowRecords struct {
	session.Table[session.Record]
	reached, proceed chan struct{}
}

func (s *slowRecords) Put(ctx context.Context, key string, r session.Record, at store.Rev) (store.Rev, error) {
	if at == 0 {
		close(s.reached)
		<-s.proceed
	}
	return s.Table.Put(ctx, key, r, at)
}

func TestMembersAreToldBeforeTheSync(t *testing.T) { // B1
	w := newWorld(t)
	slow := &slowRecords{reached: make(chan struct{}), proceed: make(chan struct{})}
	n := w.node(func(c *session.Config) { slow.Table = c.Records; c.Records = slow })
	a, _ := n.attach("a1")
	b, _ := n.attach("b1")
	done := make(chan error, 1)
	go func() { done <- n.Open(ctx(t), opening()) }()
	<-slow.reached
	if st := a.state(); st.ID != "S" || st.You != "1" {
		t.Errorf("told %+v", st)
	}
	b.state()
	acked := make(chan wire.Envelope, 1)
	go n.Send(ctx(t), tenant, "a1", a, text("r1", "at once"), func(e wire.Envelope) { acked <- e })
	select {
	case e := <-acked:
		t.Errorf("answered from a record that is not durable: %+v", e)
	case err := <-done:
		t.Errorf("opened without a record: %v", err)
	default:
	}
	close(slow.proceed)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if e := <-acked; e.Type != wire.TypeAck {
		t.Errorf("got %+v %s", e, e.Body)
	}
	if e := b.text(); e.ID != "r1" {
		t.Errorf("got %+v", e)
	}
	a.quiet(wire.TypeSession) // not told twice
	b.quiet(wire.TypeSession)
}

// lostAnswers writes and then says that the outcome is unknown, every time but the last.
type lostAnswers struct {
	session.Table[session.Record]
	mu   sync.Mutex
	lose int
}

func (l *lostAnswers) Put(ctx context.Context, key string, r session.Record, at store.Rev) (store.Rev, error) {
	rev, err := l.Table.Put(ctx, key, r, at)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && l.lose > 0 {
		l.lose--
		return 0, store.ErrUncertain
	}
	return rev, err
}

func TestLostAnswersAreNotLostChanges(t *testing.T) {
	w := newWorld(t)
	lost := &lostAnswers{lose: 1}
	n := w.node(func(c *session.Config) { lost.Table = c.Records; c.Records = lost })
	n.open()
	lost.lose = 1
	if err := n.CallEnded(ctx(t), tenant, "S", w.clock(), 0); err != nil {
		t.Fatal(err)
	}
	lost.lose = 2
	if err := n.Leave(ctx(t), tenant, "a1", "S", wire.Leave{}); err != nil {
		t.Fatal(err)
	}
	r, err := n.Record(ctx(t), tenant, "S")
	if err != nil || r.Version != 3 || r.Phase != wire.Closed || len(r.Due) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if h := w.heard(); len(h) != 1 {
		t.Errorf("the matcher heard %v", h)
	}
}

// Two nodes on one engine: B12 in miniature.
func TestTwoNodes(t *testing.T) {
	w := newWorld(t)
	n, m := w.node(), w.node()
	n.run()
	m.run()
	a, _ := n.attach("a1")
	b, _ := m.attach("b1")
	n.acquaint(m)
	n.open()
	if st := b.state(); st.You != "3" {
		t.Errorf("told %+v", st)
	}
	a.state()
	n.send("a1", a, text("r1", "over there"))
	if e := b.text(); e.ID != "r1" {
		t.Errorf("got %+v", e)
	}
	m.send("b1", b, text("r2", "and back"))
	if e := a.text(); e.ID != "r2" {
		t.Errorf("got %+v", e)
	}
	if err := m.Leave(ctx(t), tenant, "b1", "S", wire.Leave{}); err != nil {
		t.Fatal(err)
	}
	if st := a.state(); st.Phase != wire.Closed || st.Reason != "left" {
		t.Errorf("told %+v", st)
	}
	n.refused("a1", text("r3", "too late"), wire.CodeSessionClosed)
}

// acquaint returns once m hears n's notices: the subscription is made by Run.
func (n *node) acquaint(m *node) {
	t := n.w.t
	t.Helper()
	for i := range 1000 {
		id := wire.SessionID(fmt.Sprint("probe", i))
		probe := wire.DeviceID(fmt.Sprint("p", i))
		b, _ := m.attach(probe)
		o := opening()
		o.ID = id
		o.Sides[0].Devices = []wire.DeviceID{probe}
		o.Sides[1].Devices = nil
		if err := n.Open(ctx(t), o); err != nil {
			t.Fatal(err)
		}
		select {
		case <-b.frames:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Fatal("the nodes do not hear each other")
}

func TestBadConfiguration(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*session.Config){
		"no records":        func(c *session.Config) { c.Records = nil },
		"no bus":            func(c *session.Config) { c.Bus = nil },
		"one member":        func(c *session.Config) { c.Limits = wire.DefaultLimits; c.Limits.Members = 1 },
		"details after log": func(c *session.Config) { c.Keep, c.KeepDetails = time.Minute, time.Hour },
	} {
		c := w.config()
		change(&c)
		if _, err := session.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	n := w.node()
	for _, o := range []session.Opening{
		{Tenant: tenant, ID: "S"},
		{Tenant: tenant, ID: "S/..", Sides: opening().Sides},
		{Tenant: tenant, ID: "S", Sides: []session.OpeningSide{{Principal: alice}, {Principal: alice}}},
	} {
		if err := n.Open(ctx(t), o); err == nil {
			t.Errorf("opened %+v", o)
		}
	}
	if _, err := n.Record(ctx(t), tenant, "S"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

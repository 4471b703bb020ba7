package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

var transports = []client.Transport{client.WebSocket, client.SSE}

func over(tr client.Transport) func(*client.Config) {
	return func(c *client.Config) { c.Transport = tr }
}

// TestMessagesUnderCuts: both sides send to each other while every connection is cut
// after a random number of bytes. Nothing is lost, nothing comes twice, and the order of
// each sender is kept (SPEC B4).
func TestMessagesUnderCuts(t *testing.T) {
	for _, tr := range transports {
		t.Run(string(tr), func(t *testing.T) {
			w := newWorld(t, nil)
			alice, bob, id := w.pair(over(tr))
			// At the least as much as it takes to get in, with some to spare.
			w.proxy.dropAfter(func() int64 { return 3000 + rand.Int64N(12_000) })
			w.proxy.cut()
			const n = 200
			want := map[string][]string{}
			var wg sync.WaitGroup
			for _, d := range []*device{alice, bob} {
				for i := range n / 2 {
					want[d.id.Name] = append(want[d.id.Name], fmt.Sprintf(`{"text":"%s %d"}`, d.id.Name, i))
				}
				wg.Go(func() {
					for i := range n / 2 {
						if _, err := d.Send(w.ctx, id, wire.KindText, wire.Text{Text: fmt.Sprintf("%s %d", d.id.Name, i)}); err != nil {
							t.Errorf("%s sends %d: %v", d.id.Name, i, err)
							return
						}
					}
				})
			}
			wg.Wait()
			w.proxy.dropAfter(nil)
			for _, d := range []*device{alice, bob} {
				d.until("all messages", func() bool { return len(d.got) >= n/2 })
			}
			if got := bob.texts(); !slices.Equal(got, want["alice"]) {
				t.Errorf("bob has %q", got)
			}
			if got := alice.texts(); !slices.Equal(got, want["bob"]) {
				t.Errorf("alice has %q", got)
			}
			if alice.welcomes < 4 || bob.welcomes < 4 {
				t.Errorf("hardly any cut: %d and %d connections", alice.welcomes, bob.welcomes)
			}
			for _, d := range []*device{alice, bob} {
				if !slices.IsSortedFunc(d.got, func(a, b wire.Envelope) int { return int(a.Seq) - int(b.Seq) }) {
					t.Errorf("%s: not in the order of the session", d.id.Name)
				}
			}
		})
	}
}

// TestLongHistoryOverShortConnections: what was missed is more than any one connection
// lives to carry; each brings some of it.
func TestLongHistoryOverShortConnections(t *testing.T) {
	for _, tr := range transports {
		t.Run(string(tr), func(t *testing.T) {
			w := newWorld(t, nil)
			alice, bob, id := w.pair(over(tr))
			check(t, bob.stop())
			const n = 400
			for i := range n {
				_, err := alice.Send(w.ctx, id, "note", i)
				check(t, err)
			}
			check(t, alice.stop())
			w.proxy.dropAfter(func() int64 { return 12_000 })
			again := w.run(bob.id, over(tr))
			again.until("the history", func() bool { return len(again.got) >= n })
			for i, s := range again.texts() {
				if s != fmt.Sprint(i) {
					t.Fatalf("message %d is %s", i, s)
				}
			}
			if again.welcomes < 4 {
				t.Errorf("%d connections were enough", again.welcomes)
			}
		})
	}
}

// TestSendOnce: the answer to a request is lost with the connection, and it is repeated
// with the same id; the message is there once.
func TestSendOnce(t *testing.T) {
	for _, tr := range transports {
		t.Run(string(tr), func(t *testing.T) {
			w := newWorld(t, nil)
			alice, bob, id := w.pair(over(tr))
			check(t, bob.stop())
			release := w.proxy.stall()
			sent := make(chan uint64, 1)
			go func() {
				seq, err := alice.Send(w.ctx, id, wire.KindText, wire.Text{Text: "once"})
				if err != nil {
					t.Error(err)
				}
				sent <- seq
			}()
			w.proxy.cut()
			release()
			first := <-sent
			second, err := alice.Send(w.ctx, id, wire.KindText, wire.Text{Text: "twice"})
			check(t, err)
			if second != first+1 {
				t.Errorf("sequences %d and %d", first, second)
			}
			// The same id again, in a new request, has the same answer.
			e := wire.Envelope{Type: wire.TypeSend, Session: id, Kind: wire.KindText, ID: "mine"}
			a, err := alice.Request(w.ctx, e, wire.Text{Text: "thrice"})
			check(t, err)
			b, err := alice.Request(w.ctx, e, wire.Text{Text: "thrice"})
			check(t, err)
			if a.Seq != b.Seq || a.Seq == 0 {
				t.Errorf("one id at %d and at %d", a.Seq, b.Seq)
			}
			again := w.run(bob.id, over(tr))
			again.until("the messages", func() bool { return len(again.got) >= 3 })
			if got := again.texts(); !slices.Equal(got, []string{`{"text":"once"}`, `{"text":"twice"}`, `{"text":"thrice"}`}) {
				t.Errorf("bob has %q", got)
			}
			if len(alice.got) != 0 {
				t.Errorf("what alice sent came back to her: %q", alice.texts())
			}
		})
	}
}

// TestServerRestart: the server stops and starts again on the same data; devices come
// back by themselves, requests wait for it, and positions hold.
func TestServerRestart(t *testing.T) {
	for _, tr := range append(transports, client.Auto) {
		t.Run("transport "+string(tr), func(t *testing.T) {
			w := newWorld(t, nil)
			alice, bob, id := w.pair(over(tr))
			_, err := alice.Send(w.ctx, id, wire.KindText, wire.Text{Text: "before"})
			check(t, err)
			bob.until("the first message", func() bool { return len(bob.got) == 1 })
			w.stop()
			sent := make(chan error, 1)
			go func() {
				_, err := alice.Send(w.ctx, id, wire.KindText, wire.Text{Text: "meanwhile"})
				sent <- err
			}()
			bob.until("the loss", func() bool { return len(bob.losses) > 0 })
			w.start()
			check(t, <-sent)
			_, err = alice.Send(w.ctx, id, wire.KindText, wire.Text{Text: "after"})
			check(t, err)
			bob.until("the rest", func() bool { return len(bob.got) >= 3 })
			if got := bob.texts(); !slices.Equal(got, []string{`{"text":"before"}`, `{"text":"meanwhile"}`, `{"text":"after"}`}) {
				t.Errorf("bob has %q", got)
			}
			var closed *client.CloseError
			if tr != client.Auto && (!errors.As(bob.losses[0], &closed) || closed.Code != wire.CloseDraining) {
				t.Errorf("bob was told %v, not that the server drains", bob.losses[0])
			}
			if len(bob.rewinds) != 0 {
				t.Errorf("rewound to %v by a stop in good order", bob.rewinds)
			}
		})
	}
}

// TestSilence: the connection stays open but nothing passes; the device gives it up.
func TestSilence(t *testing.T) {
	for _, tr := range transports {
		t.Run(string(tr), func(t *testing.T) {
			w := newWorld(t, func(c *server.Config) { c.Limits.Heartbeat = time.Second })
			alice, bob, id := w.pair(over(tr))
			release := w.proxy.stall()
			defer release()
			alice.until("a new connection", func() bool { return alice.welcomes == 2 })
			bob.until("a new connection", func() bool { return bob.welcomes == 2 })
			_, err := alice.Send(w.ctx, id, wire.KindText, wire.Text{Text: "still there"})
			check(t, err)
			bob.until("the message", func() bool { return len(bob.got) == 1 })
		})
	}
}

// TestSilentAnswer: nothing passes any more while an answer is due. The device asks whether anybody is there long before
// a heartbeat would tell.
func TestSilentAnswer(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Limits.Heartbeat = time.Hour })
	alice, bob, id := w.pair(over(client.WebSocket))
	release := w.proxy.stall()
	defer release()
	_, err := alice.Send(w.ctx, id, wire.KindText, wire.Text{Text: "still there"})
	check(t, err)
	if alice.welcomes != 2 {
		t.Errorf("answered on connection %d", alice.welcomes)
	}
	_, err = bob.Send(w.ctx, id, wire.KindText, wire.Text{Text: "so am I"})
	check(t, err)
	bob.until("the message", func() bool { return len(bob.got) == 1 })
	alice.until("the message", func() bool { return len(alice.got) == 1 })
}

// TestHalfClose: the server's half of the connection ends without a word.
func TestHalfClose(t *testing.T) {
	for _, tr := range transports {
		t.Run(string(tr), func(t *testing.T) {
			w := newWorld(t, nil)
			alice, bob, id := w.pair(over(tr))
			w.proxy.halfClose()
			bob.until("a new connection", func() bool { return bob.welcomes == 2 })
			_, err := alice.Send(w.ctx, id, wire.KindText, wire.Text{Text: "again"})
			check(t, err)
			bob.until("the message", func() bool { return len(bob.got) == 1 })
		})
	}
}

// TestRevoked: a revoked device is cut off, told why, and does not come back.
func TestRevoked(t *testing.T) {
	for _, tr := range transports {
		t.Run(string(tr), func(t *testing.T) {
			w := newWorld(t, nil)
			id := w.enrol("alice", aliceNumber)
			ended := make(chan error, 1)
			d := w.run(id, func(c *client.Config) {
				c.Transport = tr
				c.Events.Disconnected = func(err error) { ended <- err }
			})
			d.until("the connection", func() bool { return d.welcomes == 1 })
			check(t, d.API().Call(w.ctx, "DELETE", "/v1/device", nil, nil))
			if err := <-ended; problemCode(err) != wire.CodeRevoked {
				t.Errorf("told %v", err)
			}
			_, err := d.Report(w.ctx, wire.Report{PartyDetails: id.Details(tel.Identity{}, tel.Outgoing, tel.Active)})
			if !errors.Is(err, client.ErrClosed) {
				t.Errorf("a request afterwards: %v", err)
			}
			if err := d.stop(); problemCode(err) != wire.CodeRevoked {
				t.Errorf("Run returned %v", err)
			}
			// Nor does another program with the same key get in.
			again, err := client.Connect(client.Config{Identity: id, HTTP: w.http(), Transport: tr})
			check(t, err)
			if err := again.Run(w.ctx); problemCode(err) != wire.CodeRevoked {
				t.Errorf("a second Run returned %v", err)
			}
		})
	}
}

// TestTwoConnections: two programs run as one device; each has everything once, also
// what the other sends.
func TestTwoConnections(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob, id := w.pair(nil)
	second := w.run(bob.id, over(client.SSE))
	second.until("the connection", func() bool { return second.welcomes == 1 })
	for i := range 20 {
		_, err := alice.Send(w.ctx, id, wire.KindText, wire.Text{Text: fmt.Sprint("alice ", i)})
		check(t, err)
		_, err = second.Send(w.ctx, id, wire.KindText, wire.Text{Text: fmt.Sprint("second ", i)})
		check(t, err)
	}
	alice.until("what bob's second program sent", func() bool { return len(alice.got) == 20 })
	bob.until("both", func() bool { return len(bob.got) == 40 })
	second.until("what alice sent", func() bool { return len(second.got) == 20 })
	// A third comes late and reads it all from the log: nothing twice there either.
	third := w.run(bob.id, nil)
	third.until("all", func() bool { return len(third.got) == 40 })
	if got := third.texts(); !slices.Equal(got, bob.texts()) {
		t.Errorf("the log reads differently: %q", got)
	}
}

// TestSlowConsumer: a program that does not keep up is cut off, comes back, and misses
// nothing.
func TestSlowConsumer(t *testing.T) {
	for _, tr := range transports {
		t.Run(string(tr), func(t *testing.T) {
			w := newWorld(t, nil)
			gate := make(chan struct{})
			alice, bob, id := w.pair(over(tr))
			check(t, bob.stop())
			var once sync.Once
			entered := make(chan struct{})
			slow := w.run(bob.id, func(c *client.Config) {
				c.Transport = tr
				c.From = bob.Positions()
				took := c.Events.Message
				c.Events.Message = func(e wire.Envelope) {
					once.Do(func() { close(entered); <-gate })
					took(e)
				}
			})
			slow.until("the connection", func() bool { return slow.welcomes == 1 })
			body := make([]byte, 60<<10)
			for i := range body {
				body[i] = 'x'
			}
			const n = 160 // 10 MB: more than the sockets' buffers and the server's queue hold
			for i := range n {
				_, err := alice.Send(w.ctx, id, wire.KindText, wire.Text{Text: fmt.Sprint(i, " ", string(body))})
				check(t, err)
			}
			<-entered
			close(gate)
			slow.until("everything", func() bool { return len(slow.got) >= n })
			for i, s := range slow.texts() {
				var k int
				if _, err := fmt.Sscanf(s, `{"text":"%d`, &k); err != nil || k != i {
					t.Fatalf("message %d is %.20s", i, s)
				}
			}
			if len(slow.losses) == 0 {
				t.Error("it was never cut off: the test is not hard enough")
			}
		})
	}
}

// TestRestartedProgram: a program that keeps its positions does not see again what it
// has seen.
func TestRestartedProgram(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob, id := w.pair(nil)
	for i := range 3 {
		_, err := alice.Send(w.ctx, id, "note", i)
		check(t, err)
	}
	bob.until("three", func() bool { return len(bob.got) == 3 })
	check(t, bob.stop())
	if err := bob.Run(w.ctx); !errors.Is(err, client.ErrRunning) {
		t.Errorf("a second Run: %v", err)
	}
	if p := bob.Position(id); p.Seq != bob.got[2].Seq || p.Epoch == 0 {
		t.Errorf("position %+v after message %d", p, bob.got[2].Seq)
	}
	_, err := alice.Send(w.ctx, id, "note", 3)
	check(t, err)
	again := w.run(bob.id, func(c *client.Config) { c.From = bob.Positions() })
	again.until("the fourth", func() bool { return len(again.got) >= 1 })
	if got := again.texts(); !slices.Equal(got, []string{"3"}) {
		t.Errorf("it has %q", got)
	}
}

// TestUnknownEpoch: the position is from a log that is no more, as after a restore. The
// program is told, and gets everything.
func TestUnknownEpoch(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob, id := w.pair(nil)
	for i := range 3 {
		_, err := alice.Send(w.ctx, id, "note", i)
		check(t, err)
	}
	check(t, bob.stop())
	again := w.run(bob.id, func(c *client.Config) {
		c.From = map[wire.SessionID]client.Position{id: {Epoch: 1 << 50, Seq: 2}}
	})
	again.until("all", func() bool { return len(again.got) >= 3 })
	if !slices.Equal(again.rewinds, []uint64{0}) || !slices.Equal(again.texts(), []string{"0", "1", "2"}) {
		t.Errorf("rewound to %v, messages %q", again.rewinds, again.texts())
	}
}

// TestEndedMeanwhile: the session ends while a device is away. It gets the last words,
// and hears of the end.
func TestEndedMeanwhile(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Sessions.Linger = 0 })
	alice, bob, id := w.pair(nil)
	check(t, bob.stop())
	_, err := alice.Send(w.ctx, id, "note", "bye")
	check(t, err)
	alice.report(w.ctx, bobNumber, tel.Outgoing, tel.Ended)
	alice.until("the end", func() bool { return alice.states[id].Phase == wire.Closed })
	if p := alice.Positions(); len(p) != 0 {
		t.Errorf("positions of closed sessions are kept: %v", p)
	}
	again := w.run(bob.id, func(c *client.Config) { c.From = bob.Positions() })
	again.until("the end", func() bool { return again.states[id].Phase == wire.Closed })
	if got := again.texts(); !slices.Equal(got, []string{`"bye"`}) {
		t.Errorf("it has %q", got)
	}
	// A session that nobody knows any more is told as closed as well.
	stranger := w.run(bob.id, func(c *client.Config) {
		c.From = map[wire.SessionID]client.Position{"s_long_gone": {Epoch: 1, Seq: 1}}
	})
	stranger.until("the end", func() bool { return stranger.states["s_long_gone"].Phase == wire.Closed })
}

// TestNotices: what is not stored, and what belongs to no session, arrives.
func TestNotices(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob, id := w.pair(nil)
	check(t, alice.Signal(id, "typing", true))
	bob.until("the signal", func() bool { return len(bob.signals) == 1 })
	w.enrol("alice's tablet", aliceNumber)
	alice.until("word of the new device", func() bool {
		return len(alice.notices) == 1 && alice.notices[0].Code == wire.NoticeNewDevice && alice.notices[0].Name == "alice's tablet"
	})
}

// TestRequestEnds: a request ends with its context, with Run, and with nonsense.
func TestRequestEnds(t *testing.T) {
	w := newWorld(t, nil)
	alice, _, id := w.pair(nil)
	w.proxy.down(true)
	alice.until("the loss", func() bool { return len(alice.losses) > 0 })
	ctx, cancel := context.WithTimeout(w.ctx, 50*time.Millisecond)
	defer cancel()
	e := wire.Envelope{Type: wire.TypeSend, Session: id, Kind: "note", ID: "one"}
	if _, err := alice.Request(ctx, e, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with its context: %v", err)
	}
	first := make(chan error, 1)
	go func() {
		_, err := alice.Request(w.ctx, e, 1)
		first <- err
	}()
	second := make(chan error, 1)
	go func() {
		_, err := alice.Request(w.ctx, e, 1)
		second <- err
	}()
	var pending, other error
	select {
	case pending = <-first:
	case pending = <-second:
	}
	if !errors.Is(pending, client.ErrPending) {
		t.Errorf("twice at once: %v", pending)
	}
	check(t, alice.stop())
	select {
	case other = <-first:
	case other = <-second:
	}
	if !errors.Is(other, client.ErrClosed) {
		t.Errorf("with Run: %v", other)
	}
	if _, err := alice.Send(w.ctx, id, "no such KIND", nil); err == nil || errors.Is(err, client.ErrClosed) {
		t.Errorf("nonsense: %v", err)
	}
	if _, err := alice.Send(w.ctx, id, "note", make(chan int)); err == nil || errors.Is(err, client.ErrClosed) {
		t.Errorf("what is no JSON: %v", err)
	}
}

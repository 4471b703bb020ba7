package wsconn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// gate is a sink whose writes wait until they are let through.
type gate struct {
	pass   chan struct{}
	closed chan struct{}
	writes []string
}

func newGate() *gate { return &gate{pass: make(chan struct{}), closed: make(chan struct{})} }

func (g *gate) appendFrame(dst, frame []byte) []byte { return append(append(dst, frame...), ' ') }
func (g *gate) appendClose(dst []byte, code uint16, _ string) []byte {
	return fmt.Appendf(dst, "close %d", code)
}
func (g *gate) heartbeat() []byte { return []byte("ping ") }
func (g *gate) hears() bool       { return true }
func (g *gate) hurry(time.Time)   {}
func (g *gate) cut() {
	select {
	case <-g.closed:
	default:
		close(g.closed)
	}
}

func (g *gate) write(p []byte) error {
	select {
	case <-g.pass:
		g.writes = append(g.writes, string(p))
		return nil
	case <-g.closed:
		return context.Canceled
	}
}

type nobody struct{ Backend }

func gated(t *testing.T, cfg Config) (*outbox, *gate) {
	t.Helper()
	cfg.Backend = nobody{}
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	o, g := new(outbox), newGate()
	if !o.open(h, g) {
		t.Fatal("draining")
	}
	t.Cleanup(func() {
		o.abort()
		h.reg.exit(o)
		h.stop()
		h.wg.Done()
		h.wg.Wait()
	})
	return o, g
}

func (g *gate) let(t *testing.T, want string) {
	t.Helper()
	g.pass <- struct{}{}
	synctest.Wait()
	if got := g.writes[len(g.writes)-1]; got != want {
		t.Errorf("wrote %.100q, want %.100q", got, want)
	}
}

func push(o *outbox, frames ...string) (ok bool) {
	for _, f := range frames {
		ok = o.Push([]byte(f))
	}
	return ok
}

func TestManyFramesInOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, g := gated(t, Config{})
		push(o, "a")
		synctest.Wait() // the flusher hangs in the write of a
		push(o, "b", "c", "d")
		o.overtake([]byte("pong "))
		g.let(t, "a ")
		g.let(t, "pong b c d ")
		if o.flushing {
			t.Error("the flusher runs although there is nothing to do")
		}
		if got := o.h.Stats(); got.Writes != 2 || got.FramesOut != 4 {
			t.Errorf("stats %+v", got)
		}
		big := strings.Repeat("x", 40<<10)
		push(o, "e")
		synctest.Wait()
		push(o, big, big)
		g.let(t, "e ")
		g.let(t, big+" ") // at most about 64 KiB at once
		g.let(t, big+" ")
	})
}

func TestHeldFramesFollowTheWelcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, g := gated(t, Config{})
		push(o, "challenge")
		o.hold()
		push(o, "x", "y")
		o.release([]byte("welcome"))
		push(o, "z")
		synctest.Wait()
		g.let(t, "challenge welcome x y z ")
	})
}

func TestClosingFlushes(t *testing.T) {
	for code, want := range map[wire.CloseCode]string{
		wire.CloseDraining: "b c close 4000",
		wire.CloseRevoked:  "close 4004",
		wire.CloseSlow:     "close 4008",
	} {
		synctest.Test(t, func(t *testing.T) {
			o, g := gated(t, Config{})
			push(o, "a")
			synctest.Wait()
			push(o, "b", "c")
			o.Close(code, "")
			if push(o, "d") {
				t.Error("pushed after the end")
			}
			g.let(t, "a ")
			g.let(t, want)
			select {
			case <-o.flushed:
			default:
				t.Error("not flushed")
			}
		})
	}
}

func TestClosingTakesNoLongerThanAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, g := gated(t, Config{CloseTimeout: 3 * time.Second})
		push(o, "a")
		synctest.Wait()
		push(o, "b")
		start := time.Now()
		o.Close(wire.CloseDraining, "")
		<-o.flushed
		if got := time.Since(start); got != 3*time.Second {
			t.Errorf("given up after %v", got)
		}
		<-g.closed
		if got := o.h.Stats().Dropped["broken"]; got != 2 {
			t.Errorf("%d dropped, want the one being written and the one after it", got)
		}
	})
}

func TestQueueBounds(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  Config
		size int
		want int // frames that fit
	}{
		{"frames", Config{QueueFrames: 10}, 1, 10},
		{"bytes", Config{QueueBytes: 100}, 30, 3},
		{"one larger than the bound", Config{QueueBytes: 100}, 1000, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, _ := gated(t, tt.cfg)
				push(o, "first")
				synctest.Wait() // which is no longer in the queue
				n := 0
				for push(o, strings.Repeat("x", tt.size)) {
					n++
				}
				if n != tt.want {
					t.Errorf("%d fitted, want %d", n, tt.want)
				}
				if got := o.h.Stats(); got.SlowClosings != 1 || got.Dropped["slow"] != uint64(n+1) {
					t.Errorf("stats %+v", got)
				}
			})
		})
	}
}

// TestLongResumeToASlowReader: who waits for Drained before each frame never overruns the
// queue, however much there is to send and however slowly it is read; and that the device
// takes what is sent keeps its connection, although nothing is read from it meanwhile.
func TestLongResumeToASlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages = 20_000
		o, g := gated(t, Config{QueueFrames: 1000})
		o.hold()
		o.release([]byte("welcome"))
		sent := make(chan int)
		go func() {
			n := 0
			for ; n < messages; n++ {
				if err := o.Drained(t.Context()); err != nil {
					t.Error(err)
				}
				if !push(o, strings.Repeat("m", 300)) {
					break
				}
			}
			sent <- n
		}()
		began := time.Now()
		for done := false; !done; {
			select {
			case n := <-sent:
				if n != messages {
					t.Errorf("%d of %d were pushed", n, messages)
				}
				done = true
			case <-time.After(10 * time.Second):
				select {
				case g.pass <- struct{}{}:
				default:
				}
			}
		}
		if took := time.Since(began); took < 4*o.h.cfg.Heartbeat {
			t.Errorf("the reader was too fast for this test: %v", took)
		}
		if got := o.h.Stats(); len(got.Closings) > 0 || got.Dropped["slow"] > 0 {
			t.Errorf("stats %+v", got)
		}
	})
}

func TestDrainedEnds(t *testing.T) {
	for name, end := range map[string]func(*outbox, context.CancelFunc) error{
		"by the connection's end": func(o *outbox, _ context.CancelFunc) error { o.abort(); return nil },
		"by its closing":          func(o *outbox, _ context.CancelFunc) error { o.Close(wire.CloseDraining, ""); return nil },
		"with the context":        func(_ *outbox, cancel context.CancelFunc) error { cancel(); return context.Canceled },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, _ := gated(t, Config{QueueFrames: 8})
				push(o, "a")
				synctest.Wait() // the flusher hangs in the write of a
				push(o, "b", "c", "d")
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				over := make(chan error, 1)
				go func() { over <- o.Drained(ctx) }()
				synctest.Wait()
				select {
				case err := <-over:
					t.Fatalf("did not wait: %v", err)
				default:
				}
				want := end(o, cancel)
				if err := <-over; !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			})
		})
	}
}

func TestConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no backend":      {},
		"negative":        {Backend: nobody{}, QueueBytes: -1},
		"short heartbeat": {Backend: nobody{}, Heartbeat: time.Millisecond},
		"any origin":      {Backend: nobody{}, Origins: []string{"*"}},
		"origin as URL":   {Backend: nobody{}, Origins: []string{"https://app.example"}},
		"no frames":       {Backend: nobody{}, Limits: wire.Limits{Members: 3}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestFrameHeaders(t *testing.T) {
	for n, want := range map[int]string{
		0: "8100", 125: "817d", 126: "817e007e", 65535: "817effff", 65536: "817f0000000000010000",
	} {
		got := appendFrame(nil, finText, make([]byte, n))
		if head := fmt.Sprintf("%x", got[:len(got)-n]); head != want {
			t.Errorf("%d bytes: header %s, want %s", n, head, want)
		}
	}
	if got := appendClose(nil, 4000, strings.Repeat("é", 100)); len(got) != 2+2+122 || !bytes.HasSuffix(got, []byte("é")) {
		t.Errorf("close frame of %d bytes", len(got))
	}
}

// The part of closing a connection that a peer's own code decides.
func TestSendable(t *testing.T) {
	for code, want := range map[uint16]uint16{0: 0, 1000: 1000, 1004: 1002, 1005: 1002, 1006: 1002, 1012: 1002, 2999: 1002, 3000: 3000, 4999: 4999, 5000: 1002, 65535: 1002} {
		if got := sendable(code); got != want {
			t.Errorf("%d answered by %d, want %d", code, got, want)
		}
	}
}

// TestNews: a connection knows the newest of what it was told once.
func TestNews(t *testing.T) {
	var o outbox
	for i := range 3 * toldKept {
		if what := fmt.Sprint(i); !o.news(what) || o.news(what) {
			t.Errorf("%s is not told once", what)
		}
	}
	if !o.news("0") || len(o.told) != toldKept {
		t.Errorf("%d are kept", len(o.told))
	}
}

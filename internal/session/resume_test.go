package session_test

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/wire"
)

// fast lets tests send more than a person would.
func fast(c *session.Config) {
	c.Limits = wire.DefaultLimits
	c.Limits.MessagesPerSecond, c.Limits.MessageBurst = 1e6, 1e6
}

// A connection that attaches and resumes in the midst of traffic has every message after
// the place that it names, once, and after resumed in order.
func TestResumeJoinsExactly(t *testing.T) {
	w := newWorld(t)
	n := w.node(fast)
	n.open()
	const senders, each = 3, 400
	kinds := []string{wire.KindText, "after"}
	var wg sync.WaitGroup
	for i, d := range []wire.DeviceID{"a1", "a2", "b1"}[:senders] {
		wg.Go(func() {
			var acks sync.WaitGroup
			for j := range each {
				e := text(fmt.Sprintf("%d-%d", i, j), "x")
				e.Kind = kinds[j%2]
				acks.Add(1)
				n.Send(context.Background(), tenant, d, nil, e, func(a wire.Envelope) {
					if a.Type != wire.TypeAck {
						t.Errorf("answer %+v %s", a, a.Body)
					}
					acks.Done()
				})
				if j%50 == 49 {
					acks.Wait()
				}
			}
			acks.Wait()
		})
	}
	type reader struct {
		b    *box
		from wire.Resume
	}
	var mu sync.Mutex
	var readers []reader
	for i := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			for range 4 {
				b, st := n.attach("b1")
				var from wire.Resume
				if s := st[0]; s.Head > 0 {
					from = wire.Resume{Epoch: s.Epoch, Seq: rnd.Uint64N(s.Head + 1)}
				}
				n.resume("b1", b, from.Epoch, from.Seq)
				mu.Lock()
				readers = append(readers, reader{b, from})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	last := n.send("a1", nil, text("last", "x")) // sent to everybody, after everything
	for i, r := range readers {
		seen := map[uint64]bool{}
		var newest uint64
		resumed := false
		for newest != last.Seq {
			e := r.b.next(wire.TypeMessage, wire.TypeResumed)
			if e.Type == wire.TypeResumed {
				res := body[wire.Resumed](t, e)
				if resumed || !res.Recovered || res.RewindTo != nil || res.Head > 0 && res.Epoch != last.Epoch {
					t.Fatalf("reader %d: %+v", i, res)
				}
				resumed = true
				continue
			}
			if seen[e.Seq] || e.Seq <= r.from.Seq {
				t.Fatalf("reader %d: message %d of epoch %d twice (from %+v, resumed %v)", i, e.Seq, e.Epoch, r.from, resumed)
			}
			seen[e.Seq] = true
			if resumed && e.Seq < newest {
				t.Fatalf("reader %d: message %d after %d", i, e.Seq, newest)
			}
			newest = max(newest, e.Seq)
		}
		if want := int(last.Seq - r.from.Seq); len(seen) != want {
			t.Errorf("reader %d: %d messages after %d, want %d", i, len(seen), r.from.Seq, want)
		}
	}
}

// pacedBox is a connection that reads slowly: the first page of a resume waits.
type pacedBox struct {
	*box
	once           sync.Once
	reached, drain chan struct{}
}

func newPacedBox(t *testing.T) *pacedBox {
	return &pacedBox{box: newBox(t), reached: make(chan struct{}), drain: make(chan struct{})}
}

// resume attaches b1 by out, and resumes until the connection must be waited for; the outcome comes when it has drained.
func (p *pacedBox) resume(n *node, out session.Outbox) <-chan error {
	t := p.t
	_, detach, err := n.Attach(ctx(t), tenant, "b1", out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(detach)
	done := make(chan error, 1)
	go func() {
		done <- n.Resume(ctx(t), tenant, "b1", out, wire.Envelope{ID: "r", Session: "S", Body: []byte(`{}`)})
	}()
	<-p.reached
	return done
}

func (p *pacedBox) Drained(context.Context) error {
	p.once.Do(func() { close(p.reached); <-p.drain })
	return nil
}

// More live messages than can be held come from the log instead.
func TestSlowResumeLosesNothing(t *testing.T) {
	w := newWorld(t)
	n := w.node(fast)
	n.open()
	for i := range 10 {
		n.send("a1", nil, text(fmt.Sprint("before", i), "x"))
	}
	p := newPacedBox(t)
	done := p.resume(n, p)
	err := n.Resume(ctx(t), tenant, "b1", p, wire.Envelope{ID: "r2", Session: "S"})
	wantCode(t, err, wire.CodeConflict)
	const more = session.HeldFrames + 500
	var acks sync.WaitGroup
	acks.Add(more)
	for i := range more {
		n.Send(ctx(t), tenant, "a1", nil, text(fmt.Sprint("during", i), "x"), func(wire.Envelope) { acks.Done() })
	}
	acks.Wait()
	close(p.drain)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	last := n.send("a1", nil, text("last", "x"))
	for want := uint64(1); want <= last.Seq; want++ {
		if e := p.next(wire.TypeMessage); e.Seq != want {
			t.Fatalf("message %d, want %d", e.Seq, want)
		}
	}
	// What this connection has had is not sent again.
	if err := n.Resume(ctx(t), tenant, "b1", p, wire.Envelope{ID: "r3", Session: "S", Body: []byte(`{}`)}); err != nil {
		t.Fatal(err)
	}
	p.quiet(wire.TypeMessage)
}

// TestHeldMessagesArePaced: what was held during a resume is pushed no faster than a slow connection takes it.
func TestHeldMessagesArePaced(t *testing.T) {
	w := newWorld(t)
	n := w.node(fast)
	n.open()
	for i := range 10 {
		n.send("a1", nil, text(fmt.Sprint("before", i), "x"))
	}
	p := &narrowBox{pacedBox: newPacedBox(t)}
	done := p.resume(n, p)
	var last wire.Envelope
	for i := range 100 {
		last = n.send("a1", nil, text(fmt.Sprint("during", i), "x"))
	}
	close(p.drain)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for want := uint64(1); want <= last.Seq; want++ {
		if e := p.next(wire.TypeMessage); e.Seq != want {
			t.Fatalf("message %d, want %d", e.Seq, want)
		}
	}
	if p.most > 4 {
		t.Errorf("%d frames were pushed at once", p.most)
	}
}

// narrowBox is a pacedBox that counts what is pushed between two waits.
type narrowBox struct {
	*pacedBox
	mu          sync.Mutex
	since, most int
}

func (b *narrowBox) Push(f []byte) bool {
	b.mu.Lock()
	b.since++
	b.most = max(b.most, b.since)
	b.mu.Unlock()
	return b.pacedBox.Push(f)
}

func (b *narrowBox) Drained(ctx context.Context) error {
	err := b.pacedBox.Drained(ctx)
	b.mu.Lock()
	b.since = 0
	b.mu.Unlock()
	return err
}

func TestResumeIsForConnectedMembers(t *testing.T) {
	n := newWorld(t).node()
	n.open()
	b, _ := n.attach("stranger")
	wantCode(t, n.Resume(ctx(t), tenant, "stranger", b, wire.Envelope{ID: "r", Session: "S"}), wire.CodeNotMember)
	wantCode(t, n.Resume(ctx(t), tenant, "stranger", b, wire.Envelope{ID: "r", Session: "none"}), wire.CodeNotMember)
	wantCode(t, n.Resume(ctx(t), tenant, "b1", nil, wire.Envelope{ID: "r", Session: "S"}), wire.CodeBadRequest)
	a, _ := n.attach("a1")
	wantCode(t, n.Resume(ctx(t), tenant, "a1", a, wire.Envelope{ID: "r", Session: "S", Body: []byte(`[]`)}), wire.CodeBadRequest)
}

// A closed session can still be read to its end by those who were in it.
func TestResumeAfterClosing(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.open()
	n.send("a1", nil, text("r1", "missed"))
	if err := n.OperatorClose(ctx(t), tenant, "S"); err != nil {
		t.Fatal(err)
	}
	b, st := n.attach("b1")
	if len(st) != 0 {
		t.Errorf("welcomed with %+v", st)
	}
	n.resume("b1", b, 0, 0)
	missed, resumed, closed := false, false, false // the last may come live
	for !missed || !resumed || !closed {
		switch e := b.next(wire.TypeMessage, wire.TypeResumed); {
		case e.Type == wire.TypeResumed:
			resumed = true
		case e.Kind == wire.KindState:
			closed = closed || body[wire.SessionState](t, e).Phase == wire.Closed
		default:
			missed = missed || e.ID == "r1"
		}
	}
}

// After a power cut the numbers of messages that were shown but never stored mean
// nothing: the device is told how far to rewind.
func TestResumeAfterPowerCut(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.open()
	b, _ := n.attach("b1")
	for i := range 3 {
		n.send("a1", nil, text(fmt.Sprint("stored", i), "x"))
	}
	kept := b.text()
	for range 2 {
		kept = b.text()
	}
	// What the disk has now is all that the power cut leaves.
	left := t.TempDir()
	if err := os.CopyFS(left, withoutLock{os.DirFS(w.dir)}); err != nil {
		t.Fatal(err)
	}
	n.send("a1", nil, text("lost0", "x"))
	n.send("a1", nil, text("lost1", "x"))
	b.text()
	shown := b.text()

	w.engine = w.open(left)
	n = w.node()
	b, st := n.attach("b1")
	if len(st) != 1 || st[0].Epoch <= shown.Epoch || st[0].Head != kept.Seq {
		t.Fatalf("welcomed with %+v; seen %d of epoch %d", st, shown.Seq, shown.Epoch)
	}
	// The sender had no answer and repeats; the number that it gets is a new one.
	again := n.send("a1", nil, text("lost0", "x"))
	n.send("a1", nil, text("stored0", "x")) // known from the log
	n.resume("b1", b, shown.Epoch, shown.Seq)
	// The connection was there when the repetition was taken, so that one comes live.
	var e wire.Envelope
	var res wire.Resumed
	for e.ID == "" || res.Epoch == 0 {
		switch f := b.next(wire.TypeMessage, wire.TypeResumed); f.Type {
		case wire.TypeResumed:
			res = body[wire.Resumed](t, f)
		default:
			e = f
		}
	}
	if e.ID != "lost0" || e.Seq != again.Seq || e.Epoch != again.Epoch || e.Epoch == shown.Epoch {
		t.Errorf("got %+v", e)
	}
	if !res.Recovered || res.RewindTo == nil || *res.RewindTo != kept.Seq || res.Epoch != again.Epoch {
		t.Errorf("resumed %+v, want rewind to %d", res, kept.Seq)
	}
	b.quiet(wire.TypeMessage)
}

// withoutLock leaves out lock files, which are not the dead server's to hold.
type withoutLock struct{ fs.FS }

func (w withoutLock) ReadDir(name string) ([]fs.DirEntry, error) {
	all, err := fs.ReadDir(w.FS, name)
	kept := all[:0]
	for _, e := range all {
		// What is being written is renamed at any moment.
		if e.Name() != "LOCK" && filepath.Ext(e.Name()) != ".tmp" {
			kept = append(kept, e)
		}
	}
	return kept, err
}

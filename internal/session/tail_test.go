package session_test

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"testing"

	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// reading notes from where on a log was read.
type reading struct {
	session.Log
	from atomic.Uint64
}

func (l *reading) Read(ctx context.Context, log string, after uint64, limit int) ([]store.Entry, error) {
	for old := l.from.Load(); after < old && !l.from.CompareAndSwap(old, after); old = l.from.Load() {
	}
	return l.Log.Read(ctx, log, after, limit)
}

// TestTail: a node that meets a long session reads its end, and its beginning only when somebody
// looks at it, or sends again what may be there. What is in the log twice is shown once all the same.
func TestTail(t *testing.T) {
	w := newWorld(t)
	old := w.node(fast)
	old.open()
	name := store.Key("session", string(tenant), "S") // of the log
	var acks []wire.Envelope
	for i := range 40 {
		acks = append(acks, old.send("a1", nil, text(fmt.Sprint("m", i), "x")))
		if i == 10 { // as two nodes store it that a device asks at once
			copied, err := w.engine.Read(t.Context(), name, acks[10].Seq-1, 1)
			if err != nil || len(copied) == 0 {
				t.Fatal(copied, err)
			}
			p, err := w.engine.Append(t.Context(), name, copied[0].Data, store.DeliverAfter)
			if err == nil {
				err = p.Wait(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	end := acks[39]
	met := func() (*node, *reading) {
		log := &reading{Log: w.engine}
		log.from.Store(math.MaxUint64)
		return w.node(fast, func(c *session.Config) { c.Log, c.Tail = log, 4 }), log
	}

	n, log := met()
	b, _ := n.attach("b1")
	n.resume("b1", b, end.Epoch, end.Seq)
	fresh := text("new", "x")
	fresh.Fresh = true
	if a := n.send("a1", nil, fresh); a.Seq != end.Seq+1 {
		t.Errorf("a new message is at %d, want %d", a.Seq, end.Seq+1)
	}
	if from := log.from.Load(); from != end.Seq-4 {
		t.Errorf("the log was read after %d, want %d", from, end.Seq-4)
	}
	if a := n.send("a1", nil, text("m3", "x")); a.Seq != acks[3].Seq {
		t.Errorf("m3, sent again, is at %d, want %d", a.Seq, acks[3].Seq)
	}
	if from := log.from.Load(); from != 0 {
		t.Errorf("for what was sent again the log was read after %d, want 0", from)
	}

	again := text("m39", "x") // which is not what it says
	again.Fresh = true
	if a := n.send("a1", nil, again); a.Seq != end.Seq {
		t.Errorf("m39, sent again as fresh, is at %d, want %d", a.Seq, end.Seq)
	}

	n, _ = met()
	b, _ = n.attach("b1")
	n.resume("b1", b, end.Epoch, acks[10].Seq) // right before the copy
	for _, want := range append(acks[11:], wire.Envelope{ID: "new"}) {
		if e := b.text(); e.ID != want.ID {
			t.Fatalf("resumed with %s, want %s", e.ID, want.ID)
		}
	}

	n, _ = met()
	list, err := n.Messages(ctx(t), tenant, "b1", "S", 0, session.MaxList)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[wire.RequestID]int{}
	for _, e := range list.Messages {
		if e.Kind == wire.KindText {
			seen[e.ID]++
		}
	}
	if len(seen) != 41 || seen["m10"] != 1 {
		t.Errorf("%d messages listed, m10 %d times; want 41, once", len(seen), seen["m10"])
	}
}

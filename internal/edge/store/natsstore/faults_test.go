package natsstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tandem-call/tandem/internal/edge/store/natsstore"
	"github.com/tandem-call/tandem/internal/store"
)

// TestLostAnswer loses the answer to a write that was stored: it is neither made twice
// nor reported as failed, whether the server still knows its id or not.
func TestLostAnswer(t *testing.T) {
	for _, forgotten := range []bool{false, true} {
		t.Run(fmt.Sprintf("id forgotten %v", forgotten), func(t *testing.T) {
			srv := serve(t, &server.Options{StoreDir: t.TempDir()})
			p := newProxy(t, srv.Addr().String())
			s := open(t, natsstore.Options{URL: p.url(), Replicas: 1, Timeout: 20 * time.Second})
			first, err := s.Put(t.Context(), "t", "k", []byte("one"), 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Append(t.Context(), "log", []byte("one"), store.DeliverAfter); err != nil {
				t.Fatal(err)
			}
			if forgotten {
				// Shorter than it takes to connect again.
				update(t, srv.ClientURL(), func(c *jetstream.StreamConfig) { c.Duplicates = 100 * time.Millisecond })
			}

			struck := p.losesAnswerTo("second value")
			second, err := s.Put(t.Context(), "t", "k", []byte("second value"), first)
			if err != nil || second <= first {
				t.Fatalf("put with a lost answer: %d, %v", second, err)
			}
			<-struck
			if r, err := s.Get(t.Context(), "t", "k"); err != nil || r.Rev != second || string(r.Value) != "second value" {
				t.Fatalf("get: %q at %d, %v, want revision %d", r.Value, r.Rev, err, second)
			}

			struck = p.losesAnswerTo("second entry")
			a, err := s.Append(t.Context(), "log", []byte("second entry"), store.DeliverAfter)
			if err != nil || a.Seq() != 2 {
				t.Fatalf("append with a lost answer: %v, %v", a, err)
			}
			<-struck
			if _, err := s.Append(t.Context(), "log", []byte("three"), store.DeliverAfter); err != nil {
				t.Fatal(err)
			}
			wantLog(t, s, "log", "one", "second entry", "three")

			struck = p.losesAnswerTo("KV-Operation")
			if err := s.Delete(t.Context(), "t", "k", second); err != nil {
				t.Fatalf("delete with a lost answer: %v", err)
			}
			<-struck
		})
	}
}

// TestRefusedAndStored: a write that was refused by a leader which is none any more, and stored by the one that is, is neither a
// conflict nor made twice.
func TestRefusedAndStored(t *testing.T) {
	srv := serve(t, &server.Options{StoreDir: t.TempDir()})
	p := newProxy(t, srv.Addr().String())
	s := open(t, natsstore.Options{URL: p.url(), Replicas: 1, Timeout: 20 * time.Second})
	first, err := s.Put(t.Context(), "t", "k", []byte("one"), 0)
	if err != nil {
		t.Fatal(err)
	}
	struck := p.refuses("KV_")
	second, err := s.Put(t.Context(), "t", "k", []byte("two"), first)
	if err != nil || second <= first {
		t.Fatalf("put: %d, %v", second, err)
	}
	<-struck
	struck = p.refuses("KV_")
	if err := s.Delete(t.Context(), "t", "k", second); err != nil {
		t.Fatalf("delete: %v", err)
	}
	<-struck
	for i, entry := range []string{"one", "two", "three"} {
		struck = p.refuses("tandem")
		a, err := s.Append(t.Context(), "log", []byte(entry), store.DeliverAfter)
		if err != nil || a.Seq() != uint64(i+1) {
			t.Fatalf("append %s: %v, %v", entry, a, err)
		}
		<-struck
	}
	wantLog(t, s, "log", "one", "two", "three")
}

// operate is a connection of an operator's.
func operate(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// update changes all streams as an operator could.
func update(t *testing.T, url string, change func(*jetstream.StreamConfig)) {
	t.Helper()
	js := operate(t, url)
	streams := js.ListStreams(t.Context())
	for info := range streams.Info() {
		change(&info.Config)
		if _, err := js.UpdateStream(t.Context(), info.Config); err != nil {
			t.Fatal(err)
		}
	}
	if streams.Err() != nil {
		t.Fatal(streams.Err())
	}
}

// TestNoReplicaHelps reads where no replica answers direct gets: all comes from the leader.
func TestNoReplicaHelps(t *testing.T) {
	srv := serve(t, &server.Options{StoreDir: t.TempDir()})
	s := open(t, natsstore.Options{URL: srv.ClientURL(), Replicas: 1})
	for i, v := range []string{"a", "b", "c"} {
		if _, err := s.Append(t.Context(), "log", []byte(v), store.DeliverAfter); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(t.Context(), "t", v, []byte(fmt.Sprint(i)), 0); err != nil {
			t.Fatal(err)
		}
	}
	update(t, srv.ClientURL(), func(c *jetstream.StreamConfig) { c.AllowDirect = false })
	wantLog(t, s, "log", "a", "b", "c")
	var keys []string
	for r, err := range s.Scan(t.Context(), "t", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, r.Key+string(r.Value))
	}
	if got := strings.Join(keys, " "); got != "a0 b1 c2" {
		t.Fatalf("scan: %s", got)
	}
}

// TestRestore raises the streams' epochs as one must after restoring a backup.
func TestRestore(t *testing.T) {
	srv := serve(t, &server.Options{StoreDir: t.TempDir()})
	s := open(t, natsstore.Options{URL: srv.ClientURL(), Replicas: 1})
	before, err := s.Append(t.Context(), "log", []byte("a"), store.DeliverAfter)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	update(t, srv.ClientURL(), func(c *jetstream.StreamConfig) {
		if c.Metadata["tandem-epoch"] != "" {
			c.Metadata["tandem-epoch"] = fmt.Sprint(time.Now().UnixMicro())
		}
	})
	s = open(t, natsstore.Options{URL: srv.ClientURL(), Replicas: 1})
	h, err := s.Head(t.Context(), "log")
	if err != nil || h.Seq != 1 || h.Epoch <= before.Epoch() {
		t.Fatalf("head %+v, %v, before %d", h, err, before.Epoch())
	}
	if to, err := s.Rewind(t.Context(), "log", before.Epoch(), 1); err != nil || to != 0 {
		t.Fatalf("rewind from the epoch before: %d, %v", to, err)
	}
}

// TestLostAnswerOfCounter: an addition has no condition, so it is never repeated.
func TestLostAnswerOfCounter(t *testing.T) {
	srv := serve(t, &server.Options{StoreDir: t.TempDir()})
	p := newProxy(t, srv.Addr().String())
	s := open(t, natsstore.Options{URL: p.url(), Replicas: 1})
	if n, err := s.Add(t.Context(), "c", 5); err != nil || n != 5 {
		t.Fatal(n, err)
	}
	struck := p.losesAnswerTo("Nats-Incr")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := s.Add(ctx, "c", 5); !errors.Is(err, store.ErrUncertain) {
		t.Fatalf("add with a lost answer: %v", err)
	}
	<-struck
	other := open(t, natsstore.Options{URL: srv.ClientURL(), Replicas: 1})
	if n, err := other.Add(t.Context(), "c", 0); err != nil || n != 10 {
		t.Fatalf("counter is %d, %v, want 10", n, err)
	}
}

// TestLostLiveCopy loses the live copy of an entry: the next one shows the gap, and if
// there is none, the recheck finds it.
func TestLostLiveCopy(t *testing.T) {
	for _, last := range []bool{false, true} {
		t.Run(fmt.Sprintf("of the last entry %v", last), func(t *testing.T) {
			srv := serve(t, &server.Options{StoreDir: t.TempDir()})
			p := newProxy(t, srv.Addr().String())
			watcher := open(t, natsstore.Options{URL: p.url(), Replicas: 1, Recheck: 100 * time.Millisecond})
			writer := open(t, natsstore.Options{URL: srv.ClientURL(), Replicas: 1})
			seen := make(chan store.Entry, 10)
			cancel, err := watcher.Watch(t.Context(), "log", func(e store.Entry) { seen <- e })
			if err != nil {
				t.Fatal(err)
			}
			defer cancel()
			struck := p.loses("lost one")
			texts := []string{"lost one"}
			if !last {
				texts = append(texts, "two", "three")
			}
			for _, text := range texts {
				if _, err := writer.Append(t.Context(), "log", []byte(text), store.DeliverAfter); err != nil {
					t.Fatal(err)
				}
			}
			<-struck
			for i, text := range texts {
				if e := wait(t, seen); e.Seq != uint64(i+1) || string(e.Data) != text {
					t.Fatalf("saw %d %q, want %d %q", e.Seq, e.Data, i+1, text)
				}
			}
		})
	}
}

// TestLostLiveCopyOfOwn: who has appended an entry knows that it is there, and does not wait for
// the recheck, which is far off here.
func TestLostLiveCopyOfOwn(t *testing.T) {
	srv := serve(t, &server.Options{StoreDir: t.TempDir()})
	p := newProxy(t, srv.Addr().String())
	s := open(t, natsstore.Options{URL: p.url(), Replicas: 1, Recheck: time.Hour})
	seen := make(chan store.Entry, 10)
	cancel, err := s.Watch(t.Context(), "log", func(e store.Entry) { seen <- e })
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	time.Sleep(1500 * time.Millisecond) // a new watch looks once by itself
	for i, text := range []string{"lost one", "lost two"} {
		struck := p.loses(text)
		if _, err := s.Append(t.Context(), "log", []byte(text), store.DeliverAfter); err != nil {
			t.Fatal(err)
		}
		<-struck
		if e := wait(t, seen); e.Seq != uint64(i+1) || string(e.Data) != text {
			t.Fatalf("saw %d %q, want %d %q", e.Seq, e.Data, i+1, text)
		}
	}
}

// TestRestart stops the server and starts it again: a watch and a log go on.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	srv := serve(t, &server.Options{StoreDir: dir})
	again := &server.Options{StoreDir: dir, Port: srv.Addr().(*net.TCPAddr).Port}
	s := open(t, natsstore.Options{URL: srv.ClientURL(), Replicas: 1, Timeout: 20 * time.Second})
	seen := make(chan store.Entry, 10)
	cancel, err := s.Watch(t.Context(), "log", func(e store.Entry) { seen <- e })
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	one, err := s.Append(t.Context(), "log", []byte("one"), store.DeliverAfter)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, seen)
	stop(srv)
	for s.Err() == nil { // until the node has noticed
		runtime.Gosched()
		if t.Context().Err() != nil {
			t.Fatal("a lost connection is not reported")
		}
	}
	serve(t, again)
	two, err := s.Append(t.Context(), "log", []byte("two"), store.DeliverAfter)
	if err != nil || two.Seq() != 2 || two.Epoch() != one.Epoch() {
		t.Fatalf("append after the restart: %v, %v", two, err)
	}
	if e := wait(t, seen); e.Seq != 2 {
		t.Fatalf("saw %d", e.Seq)
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
}

// TestFull sets a limit as an operator would: writes are refused as ErrFull, nothing old
// is forgotten, and reading goes on.
func TestFull(t *testing.T) {
	srv := serve(t, &server.Options{StoreDir: t.TempDir(), JetStreamMaxStore: 3 << 20})
	s := open(t, natsstore.Options{URL: srv.ClientURL(), Replicas: 1})
	if _, err := s.Put(t.Context(), "t", "k", []byte("v"), 0); err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("x"), 1<<19)
	var n uint64
	var err error
	for size := len(big); size > 0; size /= 2 { // to the last byte: a fence is small
		for range 20 {
			if _, err = s.Append(t.Context(), "log", big[:size], store.DeliverAfter); err != nil {
				break
			}
			n++
		}
	}
	if !errors.Is(err, store.ErrFull) || !errors.Is(s.Err(), store.ErrFull) {
		t.Fatalf("after %d entries: %v, health %v", n, err, s.Err())
	}
	log, err := s.Read(t.Context(), "log", 0, 100)
	if err != nil || uint64(len(log)) != n {
		t.Fatalf("%d of %d entries, %v", len(log), n, err)
	}
	linear := store.Linearizable(t.Context())
	if h, err := s.Head(linear, "log"); err != nil || h.Seq != n {
		t.Errorf("head %d of %d, %v", h.Seq, n, err)
	}
	if r, err := s.Get(linear, "t", "k"); err != nil || string(r.Value) != "v" {
		t.Errorf("get: %q, %v", r.Value, err)
	}
	for r, err := range s.Scan(linear, "t", "") {
		if err != nil || r.Key != "k" {
			t.Errorf("scan: %q, %v", r.Key, err)
		}
	}
	if !errors.Is(s.Err(), store.ErrFull) {
		t.Errorf("health after reading: %v", s.Err())
	}
	if err := s.DropLog(t.Context(), "log"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), "log", []byte("x"), store.DeliverAfter); err != nil || s.Err() != nil {
		t.Fatalf("after making room: %v, health %v", err, s.Err())
	}
}

func wait(t *testing.T, seen <-chan store.Entry) store.Entry {
	t.Helper()
	select {
	case e := <-seen:
		return e
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func wantLog(t *testing.T, s *natsstore.Store, log string, want ...string) {
	t.Helper()
	entries, err := s.Read(t.Context(), log, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, e := range entries {
		if e.Seq != uint64(i+1) {
			t.Fatalf("entry %d has sequence %d", i+1, e.Seq)
		}
		got = append(got, string(e.Data))
	}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Fatalf("log is %q, want %q", got, want)
	}
}

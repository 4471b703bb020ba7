package natsstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"github.com/tandem-call/tandem/internal/edge/store/natsstore"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a NATS server with JetStream on dir until the test ends, or until stop.
func serve(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.NoLog, o.NoSigs, o.JetStream = "127.0.0.1", true, true, true
	if o.Port == 0 {
		o.Port = -1
	}
	srv, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { stop(srv) })
	if !srv.ReadyForConnections(20 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	return srv
}

func stop(srv *server.Server) {
	srv.Shutdown()
	srv.WaitForShutdown()
}

func open(t *testing.T, o natsstore.Options) *natsstore.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := natsstore.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// prefixes gives each directory of the suite its own streams on the shared servers.
type prefixes map[string]string

func (p prefixes) of(dir string) string {
	if p[dir] == "" {
		p[dir] = fmt.Sprintf("t%d", len(p))
	}
	return p[dir]
}

func TestSuite(t *testing.T) {
	srv := serve(t, &server.Options{StoreDir: t.TempDir()})
	p := prefixes{}
	storetest.Run(t, func(t *testing.T, dir string) store.Engine {
		return open(t, natsstore.Options{URL: srv.ClientURL(), Replicas: 1, Prefix: p.of(dir)})
	})
}

// TestReadFromAnywhere reads a log of many pages, which shares its stream with others,
// from every place.
func TestReadFromAnywhere(t *testing.T) {
	srv := serve(t, &server.Options{StoreDir: t.TempDir()})
	s := open(t, natsstore.Options{URL: srv.ClientURL(), Replicas: 1})
	const total = 450
	for i := range total {
		for j := range 9 { // nine logs on eight streams: some share
			if j > 0 && i%3 > 0 {
				continue
			}
			p, err := s.Append(t.Context(), fmt.Sprint("log/", j), []byte(fmt.Sprint(i)), store.DeliverAfter)
			if err != nil {
				t.Fatal(err)
			}
			if want := uint64(i + 1); j == 0 && p.Seq() != want {
				t.Fatalf("sequence %d, want %d", p.Seq(), want)
			}
		}
	}
	for after := range uint64(total + 2) {
		got, err := s.Read(t.Context(), "log/0", after, 3)
		if err != nil {
			t.Fatal(err)
		}
		if want := min(3, max(total-int(after), 0)); len(got) != want {
			t.Fatalf("%d entries after %d, want %d", len(got), after, want)
		}
		for i, e := range got {
			if want := after + 1 + uint64(i); e.Seq != want || string(e.Data) != fmt.Sprint(want-1) {
				t.Fatalf("after %d: entry %d is %d %q", after, i, e.Seq, e.Data)
			}
		}
	}
	all, err := s.Read(t.Context(), "log/0", 0, 1<<62)
	if err != nil || len(all) != total {
		t.Fatalf("%d entries, %v", len(all), err)
	}
}

// TestScanPages scans more records than are fetched at once.
func TestScanPages(t *testing.T) {
	srv := serve(t, &server.Options{StoreDir: t.TempDir()})
	s := open(t, natsstore.Options{URL: srv.ClientURL(), Replicas: 1})
	const total = 300
	for i := range total {
		if _, err := s.Put(t.Context(), "t", fmt.Sprintf("a/%03d", i), []byte(fmt.Sprint(i)), 0); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for r, err := range s.Scan(t.Context(), "t", "a/") {
		if err != nil {
			t.Fatal(err)
		}
		if r.Key != fmt.Sprintf("a/%03d", n) || string(r.Value) != fmt.Sprint(n) {
			t.Fatalf("record %d is %q %q", n, r.Key, r.Value)
		}
		n++
	}
	if n != total {
		t.Fatalf("%d records", n)
	}
}

// TestNodes races three nodes on one server, which all see the same log.
func TestNodes(t *testing.T) {
	srv := serve(t, &server.Options{StoreDir: t.TempDir()})
	var nodes []*natsstore.Store
	for range 3 {
		nodes = append(nodes, open(t, natsstore.Options{URL: srv.ClientURL(), Replicas: 1}))
	}
	race(t, nodes, 100)

	// A log that one node drops begins again for all of them, with a new epoch.
	before, err := nodes[0].Head(t.Context(), "session/x")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan store.Entry, 1)
	cancel, err := nodes[1].Watch(t.Context(), "session/x", func(e store.Entry) { seen <- e })
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	if err := nodes[2].DropLog(t.Context(), "session/x"); err != nil {
		t.Fatal(err)
	}
	p, err := nodes[0].Append(t.Context(), "session/x", []byte("new"), store.DeliverAfter)
	if err != nil || p.Seq() != 1 || p.Epoch() <= before.Epoch {
		t.Fatalf("after a drop by another node: %+v, %v, before %+v", p, err, before)
	}
	if e := wait(t, seen); e.Seq != 1 || e.Epoch != p.Epoch() {
		t.Fatalf("saw %d in epoch %d, want 1 in %d", e.Seq, e.Epoch, p.Epoch())
	}
}

// TestFarNode: a node that is far from the leader of a log has its turn beside one that is near and appends
// one entry after the other.
func TestFarNode(t *testing.T) {
	srv := serve(t, &server.Options{StoreDir: t.TempDir()})
	near := open(t, natsstore.Options{URL: srv.ClientURL(), Replicas: 1})
	far := open(t, natsstore.Options{URL: newFarProxy(t, srv.Addr().String(), 10*time.Millisecond).url(), Replicas: 1})
	ctx, cancel := context.WithCancel(t.Context())
	entries := 0
	flood := make(chan error, 1)
	go func() {
		for {
			if _, err := near.Append(ctx, "log", []byte("near"), store.DeliverAfter); err != nil {
				flood <- err
				return
			}
			entries++
		}
	}()
	for i := range 10 {
		if _, err := far.Append(t.Context(), "log", []byte("far"), store.DeliverAfter); err != nil {
			t.Fatalf("entry %d of the far node: %v", i, err)
		}
	}
	cancel()
	if err := <-flood; !errors.Is(err, context.Canceled) && !errors.Is(err, store.ErrUncertain) {
		t.Error(err)
	}
	if entries < 10 {
		t.Errorf("the near node had %d entries beside 10", entries)
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]natsstore.Options{
		"no server":         {},
		"replicas":          {URL: "nats://127.0.0.1:1", Replicas: 2},
		"prefix":            {URL: "nats://127.0.0.1:1", Prefix: "a.b"},
		"negative duration": {URL: "nats://127.0.0.1:1", Timeout: -1},
		"nobody listens":    {Servers: []string{"nats://127.0.0.1:1"}},
		"credentials":       {URL: "nats://127.0.0.1:1", Credentials: t.TempDir() + "/none"},
	} {
		if s, err := natsstore.Open(t.Context(), o); err == nil {
			s.Close()
			t.Errorf("%s: opened", name)
		}
	}
}

// TestTooFewServers: replicas that the servers cannot give are refused, not reduced.
func TestTooFewServers(t *testing.T) {
	srv := serve(t, &server.Options{StoreDir: t.TempDir()})
	if s, err := natsstore.Open(t.Context(), natsstore.Options{URL: srv.ClientURL()}); err == nil {
		s.Close()
		t.Fatal("opened with three replicas on one server")
	}
	s := open(t, natsstore.Options{URL: srv.ClientURL(), Replicas: 1})
	if d := s.Durability(); !strings.HasPrefix(d, "relaxed") {
		t.Fatalf("one replica is %q", d)
	}
}

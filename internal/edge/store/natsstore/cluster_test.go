package natsstore_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tandem-call/tandem/internal/edge/store/natsstore"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/internal/store/storetest"
	"github.com/tandem-call/tandem/internal/testport"
)

// cluster runs three servers that know each other.
func cluster(t *testing.T) []*server.Server {
	t.Helper()
	var routes []*url.URL
	var ports []int
	port, err := testport.Free(3)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		ports = append(ports, port+i)
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port+i)})
	}
	var servers []*server.Server
	for i := range 3 {
		servers = append(servers, serve(t, &server.Options{
			ServerName: fmt.Sprintf("n%d", i),
			StoreDir:   t.TempDir(),
			Cluster:    server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: ports[i]},
			Routes:     routes,
		}))
	}
	return servers
}

// forget removes the streams of a prefix, so that the servers do not drown in them.
func forget(t *testing.T, url, prefix string) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Error(err)
		return
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	names := js.StreamNames(ctx)
	for name := range names.Name() {
		if strings.HasPrefix(strings.TrimPrefix(name, "KV_"), prefix+"_") {
			if err := js.DeleteStream(ctx, name); err != nil {
				t.Errorf("delete stream %s: %v", name, err)
			}
		}
	}
	if names.Err() != nil {
		t.Error(names.Err())
	}
}

func TestCluster(t *testing.T) {
	servers := cluster(t)

	t.Run("suite", func(t *testing.T) {
		p := prefixes{}
		var opened int
		openNext := func(t *testing.T, dir string) store.Engine {
			at := servers[opened%3].ClientURL() // a reopened engine is on another server
			opened++
			if p[dir] == "" {
				t.Cleanup(func() { forget(t, at, p.of(dir)) })
			}
			return open(t, natsstore.Options{URL: at, Prefix: p.of(dir), Timeout: 20 * time.Second})
		}
		t.Run("Tables", func(t *testing.T) { storetest.Tables(t, openNext) })
		t.Run("Logs", func(t *testing.T) { storetest.Logs(t, openNext) })
		t.Run("Counters", func(t *testing.T) { storetest.Counters(t, openNext) })
		t.Run("Bus", func(t *testing.T) { storetest.Bus(t, openNext) })
		t.Run("Portable", func(t *testing.T) { storetest.Portable(t, openNext) })
	})

	// One node per server: all append to one log, and each sees all of it live.
	t.Run("nodes", func(t *testing.T) {
		const each = 40
		var nodes []*natsstore.Store
		for _, srv := range servers {
			nodes = append(nodes, open(t, natsstore.Options{URL: srv.ClientURL(), Timeout: 20 * time.Second}))
		}
		if got := nodes[0].Durability(); !strings.HasPrefix(got, "quorum of 3") {
			t.Errorf("durability %q", got)
		}
		race(t, nodes, each)
	})
}

// race appends to one log from all nodes at once and checks that every node saw the
// same dense log live, read it, and that nobody's number was given twice.
func race(t *testing.T, nodes []*natsstore.Store, each int) {
	t.Helper()
	total := each * len(nodes)
	seen := make([]chan store.Entry, len(nodes))
	for i, s := range nodes {
		seen[i] = make(chan store.Entry, total)
		cancel, err := s.Watch(t.Context(), "session/x", func(e store.Entry) { seen[i] <- e })
		if err != nil {
			t.Fatal(err)
		}
		defer cancel()
	}
	var mu sync.Mutex
	acked := map[uint64]string{}
	var wg sync.WaitGroup
	for i, s := range nodes {
		wg.Go(func() {
			for j := range each {
				data := fmt.Sprintf("%d-%d", i, j)
				p, err := s.Append(t.Context(), "session/x", []byte(data), store.DeliverAfter)
				if err != nil {
					t.Errorf("append %s: %v", data, err)
					return
				}
				mu.Lock()
				acked[p.Seq()] = data
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for i, s := range nodes {
		log, err := s.Read(t.Context(), "session/x", 0, total+1)
		if err != nil || len(log) != total {
			t.Fatalf("node %d reads %d of %d entries: %v", i, len(log), total, err)
		}
		for n, want := range log {
			if want.Seq != uint64(n+1) || acked[want.Seq] != string(want.Data) {
				t.Fatalf("entry %d is %d %q, acknowledged was %q", n+1, want.Seq, want.Data, acked[want.Seq])
			}
			select {
			case e := <-seen[i]:
				if e.Seq != want.Seq || e.Epoch != want.Epoch || string(e.Data) != string(want.Data) || !e.Time.Equal(want.Time) {
					t.Fatalf("node %d saw %+v live and reads %+v", i, e, want)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("node %d never saw entry %d", i, n+1)
			}
		}
	}
}

package natsstore_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tandem-call/tandem/internal/edge/store/natsstore"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/internal/testport"
)

// partable runs three servers, and returns what parts one of them from the others for good.
func partable(t *testing.T) (servers []*server.Server, part func(i int)) {
	t.Helper()
	port, err := testport.Free(3)
	if err != nil {
		t.Fatal(err)
	}
	ports := [3]int{port, port + 1, port + 2}
	var ways [3][3]*proxy
	for i := range ports {
		for j := range ports {
			if i != j {
				ways[i][j] = newProxy(t, fmt.Sprintf("127.0.0.1:%d", ports[j]))
			}
		}
	}
	for i := range ports {
		var routes []*url.URL
		for _, p := range ways[i] {
			if p != nil {
				routes = append(routes, &url.URL{Scheme: "nats", Host: p.listener.Addr().String()})
			}
		}
		servers = append(servers, serve(t, &server.Options{
			ServerName: fmt.Sprintf("n%d", i),
			StoreDir:   t.TempDir(),
			// Nobody listens at what is advertised: the servers tell each other of it, and would else make
			// themselves a way past the proxies.
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: ports[i], Advertise: "127.0.0.1:1"},
			Routes:  routes,
		}))
	}
	return servers, func(i int) {
		t.Helper()
		var all []*proxy
		for j := range ports {
			if i != j {
				all = append(all, ways[i][j], ways[j][i])
			}
		}
		for _, p := range all {
			p.listener.Close()
		}
		for end := time.Now().Add(10 * time.Second); servers[i].NumRoutes() > 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the parted server still has %d routes", servers[i].NumRoutes())
			}
			for _, p := range all {
				p.cut()
			}
		}
	}
}

// lead has the server of that name lead all streams.
func lead(t *testing.T, at string, name string) {
	t.Helper()
	js := operate(t, at)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for led := false; !led; time.Sleep(100 * time.Millisecond) {
		led = true
		streams := js.ListStreams(ctx)
		for info := range streams.Info() {
			if info.Cluster.Leader != name {
				led = false
				_, _ = js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+info.Config.Name,
					[]byte(fmt.Sprintf(`{"placement":{"preferred":%q}}`, name)))
			}
		}
		if streams.Err() != nil && ctx.Err() != nil {
			t.Fatal(streams.Err())
		}
	}
}

// TestStreamsFromBefore takes streams that were made before there were fences.
func TestStreamsFromBefore(t *testing.T) {
	srv := serve(t, &server.Options{StoreDir: t.TempDir()})
	o := natsstore.Options{URL: srv.ClientURL(), Replicas: 1}
	s := open(t, o)
	a, err := s.Append(t.Context(), "log", []byte("entry"), store.DeliverAfter)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	update(t, o.URL, func(c *jetstream.StreamConfig) { c.AllowRollup = c.AllowRollup && c.RePublish == nil })
	if h, err := open(t, o).Head(store.Linearizable(t.Context()), "log"); err != nil || h.Seq != a.Seq() || h.Epoch != a.Epoch() {
		t.Errorf("head %+v, %v", h, err)
	}
}

// written is how many messages were ever written to the streams of logs.
func written(t *testing.T, at string) (n uint64) {
	t.Helper()
	js := operate(t, at)
	streams := js.ListStreams(t.Context())
	for info := range streams.Info() {
		if strings.HasPrefix(info.Config.Name, "tandem_log_") {
			n += info.State.LastSeq
		}
	}
	if streams.Err() != nil {
		t.Fatal(streams.Err())
	}
	return n
}

// TestOneProof: whatever one request reads is proved once, and knows nothing of what comes later.
func TestOneProof(t *testing.T) {
	srv := serve(t, &server.Options{StoreDir: t.TempDir()})
	s := open(t, natsstore.Options{URL: srv.ClientURL(), Replicas: 1})
	for range 3 {
		if _, err := s.Append(t.Context(), "log", []byte("entry"), store.DeliverAfter); err != nil {
			t.Fatal(err)
		}
	}
	request := store.Linearizable(t.Context())
	h, err := s.Head(request, "log")
	if err != nil || h.Seq != 3 {
		t.Fatalf("head %+v, %v", h, err)
	}
	for after := range uint64(3) {
		if got, err := s.Read(request, "log", after, 1); err != nil || len(got) != 1 {
			t.Errorf("%d entries, %v", len(got), err)
		}
	}
	a, err := s.Append(t.Context(), "log", []byte("entry"), store.DeliverAfter)
	if err != nil {
		t.Fatal(err)
	}
	if n := written(t, srv.ClientURL()); n != 4+1 {
		t.Errorf("%d messages were written for 4 entries and a proof", n)
	}
	if h, err := s.Head(store.Linearizable(t.Context()), "log"); err != nil || h.Seq != a.Seq() {
		t.Errorf("a later request: head %+v, %v", h, err)
	}
}

// leader waits until one of the servers leads the cluster.
func leader(t *testing.T, servers []*server.Server) int {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for i, srv := range servers {
			if srv.JetStreamIsLeader() {
				return i
			}
		}
	}
	t.Fatal("the cluster has no leader")
	return -1
}

// TestTablesOfNoLeader lists the tables while their streams have lost their leader.
func TestTablesOfNoLeader(t *testing.T) {
	servers, part := partable(t)
	old := leader(t, servers)
	s := open(t, natsstore.Options{URL: servers[(old+1)%3].ClientURL(), Timeout: 40 * time.Second})
	want := []string{"a", "b", "c"}
	for _, table := range want {
		if _, err := s.Put(t.Context(), table, "k", []byte("v"), 0); err != nil {
			t.Fatal(err)
		}
	}
	lead(t, servers[old].ClientURL(), servers[old].Name())
	part(old)
	if got, err := s.Tables(t.Context()); err != nil || !slices.Equal(got, want) {
		t.Errorf("tables %q, %v; want %q", got, err, want)
	}
}

// TestPartedLeader reads at a server that led everything and does not know yet that the others have gone
// on without it: a linearizable read, and a rewind, say rather nothing than what was so before.
func TestPartedLeader(t *testing.T) {
	servers, part := partable(t)
	old := leader(t, servers)
	there := open(t, natsstore.Options{URL: servers[old].ClientURL()})
	here := open(t, natsstore.Options{URL: servers[(old+1)%3].ClientURL(), Timeout: 40 * time.Second})
	rev, err := there.Put(t.Context(), "t", "k", []byte("before"), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*natsstore.Store{here, there} {
		if r, err := s.Get(store.Linearizable(t.Context()), "t", "k"); err != nil || string(r.Value) != "before" {
			t.Fatalf("%q, %v", r.Value, err)
		}
		if _, err := s.Append(t.Context(), "log", []byte("entry"), store.DeliverAfter); err != nil {
			t.Fatal(err)
		}
	}
	lead(t, servers[old].ClientURL(), servers[old].Name())

	part(old)
	if rev, err = here.Put(t.Context(), "t", "k", []byte("after"), rev); err != nil {
		t.Fatal(err)
	}
	last, err := here.Append(t.Context(), "log", []byte("entry"), store.DeliverAfter)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := here.Get(store.Linearizable(t.Context()), "t", "k"); err != nil || r.Rev != rev {
		t.Errorf("where the others are: %q, %v", r.Value, err)
	}

	soon, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	r, err := there.Get(soon, "t", "k")
	t.Logf("the parted server says %q, %v", r.Value, err)
	proved := store.Linearizable(soon)
	if r, err := there.Get(proved, "t", "k"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("a linearizable read at the parted server: %q at %d, %v; it is at %d", r.Value, r.Rev, err, rev)
	}
	for r, err := range there.Scan(proved, "t", "") {
		if err == nil {
			t.Errorf("a linearizable scan at the parted server: %q", r.Value)
		}
	}
	soon, cancel = context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if to, err := there.Rewind(soon, "log", last.Epoch(), last.Seq()); err == nil && to != last.Seq() {
		t.Errorf("who has seen %d is sent back to %d", last.Seq(), to)
	}
}

package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/store/natsstore/natstest"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// farm is three nats-server processes, three nodes in processes of their own, a bucket for
// their files, and a balancer in front of the nodes.
type farm struct {
	servers  *natstest.Cluster
	nodes    []*child
	balancer *balancer
}

func newFarm(t *testing.T) *farm {
	return newFarmOn(t, "127.0.0.1", slices.Repeat([]natstest.Place{{Host: "127.0.0.1"}}, 3))
}

// newFarmOn starts a farm with a server and a node at each place, and the rest at this host.
func newFarmOn(t *testing.T, host string, places []natstest.Place) *farm {
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	servers, err := natstest.StartOn(ctx, t.TempDir(), places)
	check(t, err)
	t.Cleanup(func() { check(t, servers.Stop()) })
	f := &farm{servers: servers}
	bucket := s3mem.New()
	check(t, bucket.CreateBucket("files"))
	s3 := httptest.NewUnstartedServer(gofakes3.New(bucket, gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
	s3.Listener = listenOn(t, host)
	s3.Start()
	t.Cleanup(s3.Close)
	for _, p := range places {
		f.nodes = append(f.nodes, newNode(t, servers.URL(), s3.URL, p))
	}
	f.balancer = newBalancer(t, host, f.nodes)
	return f
}

// listenOn listens at a host; the listener is the receiver's to close.
func listenOn(t *testing.T, host string) net.Listener {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	check(t, err)
	return l
}

// balancer passes connections on to a node that is ready, as a load balancer on level 4, and
// ends those of a node that is no longer ready.
type balancer struct {
	listener net.Listener
	nodes    []*balanced
	next     atomic.Uint32
	wg       sync.WaitGroup
	done     chan struct{}
}

// balanced is a node as the balancer sees it.
type balanced struct {
	addr  string
	mu    sync.Mutex
	ready bool
	conns map[net.Conn]struct{}
}

// checkEvery is how often a balancer asks its nodes, and how long each has to answer.
const checkEvery = time.Second

func newBalancer(t *testing.T, host string, nodes []*child) *balancer {
	b := &balancer{listener: listenOn(t, host), done: make(chan struct{})}
	hc := &http.Client{Timeout: checkEvery, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialOf(t)}}
	for _, n := range nodes {
		n := &balanced{addr: n.addr, ready: true, conns: map[net.Conn]struct{}{}}
		b.nodes = append(b.nodes, n)
		b.wg.Go(func() {
			for {
				select {
				case <-b.done:
					n.set(false)
					return
				case <-time.After(checkEvery):
				}
				res, err := hc.Get("http://" + n.addr + "/readyz")
				if err == nil {
					_ = res.Body.Close()
				}
				n.set(err == nil && res.StatusCode == http.StatusOK)
			}
		})
	}
	b.wg.Go(func() {
		for {
			c, err := b.listener.Accept()
			if err != nil {
				return // closed
			}
			b.wg.Go(func() { b.pass(c) })
		}
	})
	t.Cleanup(func() {
		check(t, b.listener.Close())
		close(b.done)
		b.wg.Wait()
	})
	return b
}

func (b *balancer) url() string { return "http://" + b.listener.Addr().String() }

// set notes whether the node is ready; if not, its connections are over.
func (n *balanced) set(ready bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ready = ready
	if !ready {
		for c := range n.conns {
			_ = c.Close()
		}
	}
}

// add takes a connection to the node, unless the node is not ready.
func (n *balanced) add(c net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ready {
		n.conns[c] = struct{}{}
	}
	return n.ready
}

func (n *balanced) remove(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

func (b *balancer) pass(from net.Conn) {
	defer from.Close()
	for range b.nodes {
		n := b.nodes[int(b.next.Add(1))%len(b.nodes)]
		if !n.add(from) {
			continue
		}
		defer n.remove(from)
		to, err := net.DialTimeout("tcp", n.addr, time.Second)
		if err != nil {
			continue
		}
		defer to.Close()
		done := make(chan struct{}, 2)
		for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
			b.wg.Go(func() {
				_, _ = io.Copy(way[0], way[1]) // one end is gone: so is the other
				done <- struct{}{}
			})
		}
		<-done
		return
	}
}

// TestCluster (B12) drives one farm, which takes its time to start.
func TestCluster(t *testing.T) {
	f := newFarm(t)
	t.Run("AcrossNodes", f.acrossNodes)
	t.Run("StreamElsewhere", f.streamElsewhere)
	t.Run("UploadOverNodes", f.uploadOverNodes)
	t.Run("EffectsOfADeadNode", f.effectsOfADeadNode)
	t.Run("NodesKilledUnderLoad", f.nodesKilledUnderLoad)
	t.Run("Linearizable", f.linearizable)
	t.Run("MovedAndBack", f.movedAndBack)
	t.Run("RollingUpgrade", f.rollingUpgrade)
}

// nodesKilledUnderLoad: devices on different nodes of a cluster talk to each other
// while one node after the other is killed and comes back; they go on at another node.
// Nothing that was acknowledged is lost, and everybody has seen the log as it is.
func (f *farm) nodesKilledUnderLoad(t *testing.T) {
	l := newLoad(t, f.nodes[0], loadOf{devices: 8, first: 1000, at: f.balancer.url()})
	for _, n := range f.nodes {
		l.more(100)
		if err := n.end(syscall.SIGKILL); err == nil {
			t.Fatal("it ended in good order")
		}
		l.more(50) // without it
		n.start()
		n.ready()
	}
	l.more(100)
	l.settle()
}

// movedAndBack: one machine's data moves to the cluster and back to one machine. Devices
// talk before, between and after; what each was told of as acknowledged is there in the end,
// once, and everybody has seen the log as it is, which the archives say in all three places.
func (f *farm) movedAndBack(t *testing.T) {
	c := newChild(t)
	l := newLoad(t, c, loadOf{devices: 10, pause: 20 * time.Millisecond})
	l.more(200)
	onDisk := func(dir string) server.Config {
		cfg := server.Defaults()
		cfg.Data = dir
		return cfg
	}
	onCluster := onDisk(filepath.Join(t.TempDir(), "node"))
	onCluster.Engine.NATS, onCluster.Engine.Prefix = f.servers.URL(), "moved"
	onCluster.Files.S3 = server.S3{Endpoint: f.nodes[0].s3, Bucket: "files", Prefix: "moved", Region: "us-east-1", AccessKey: "a", SecretKey: "s"}
	move := func(from, to server.Config) {
		t.Helper()
		if err := c.end(syscall.SIGTERM); err != nil {
			t.Fatalf("not in good order: %v", err)
		}
		begun := time.Now()
		var archived bytes.Buffer
		want, err := server.ExportData(t.Context(), from, &archived)
		check(t, err)
		got, err := server.ImportData(t.Context(), to, &archived)
		check(t, err)
		if got != want || got.Entries == 0 {
			t.Fatalf("imported %+v, exported %+v", got, want)
		}
		if again, err := server.ExportData(t.Context(), to, io.Discard); err != nil || again != want {
			t.Fatalf("exported again: %+v, %v; want %+v", again, err, want)
		}
		t.Logf("%d records and %d entries in %v", got.Records, got.Entries, time.Since(begun).Round(time.Millisecond))
		c.dir, c.nats, c.own, c.s3 = to.Data, to.Engine.NATS, to.Engine.Prefix, to.Files.S3.Endpoint
		c.start()
		c.ready()
		l.more(200)
	}
	back := onDisk(filepath.Join(t.TempDir(), "back"))
	move(onDisk(c.dir), onCluster)
	move(onCluster, back)
	l.settle()
	for i, k := range l.talkers {
		if k.rewound < 2 {
			t.Errorf("device %d began anew %d times", i, k.rewound)
		}
	}
}

// effectsOfADeadNode: a node is killed while it brings two reports together. What
// it has decided and not carried out is completed by the others, once: there is one
// session, both devices are in it, and it works.
func (f *farm) effectsOfADeadNode(t *testing.T) {
	victim, other := f.nodes[0], f.nodes[1]
	for round := range 4 {
		a := enrol(t, other.url(), fmt.Sprintf("+4420794620%02d", 2*round), other.codes)
		b := enrol(t, other.url(), fmt.Sprintf("+4420794620%02d", 2*round+1), other.codes)
		hc := clientOf(t, nil)
		first := client.NewAPI(a, hc)
		var ack wire.Ack
		check(t, first.Call(t.Context(), http.MethodPost, "/v1/reports", wire.Report{PartyDetails: details(a, b.Number.String(), tel.Outgoing, tel.Active)}, &ack))
		// The second report decides; its node is killed somewhere on the way.
		b.Server = victim.url()
		var sent sync.WaitGroup
		second := client.NewAPI(b, hc)
		_, err := second.Bearer(t.Context())
		check(t, err)
		sent.Go(func() {
			var ack wire.Ack
			_ = second.Call(t.Context(), http.MethodPost, "/v1/reports", wire.Report{PartyDetails: details(b, a.Number.String(), tel.Incoming, tel.Active)}, &ack)
		})
		time.Sleep(time.Duration(rand.Int64N(int64(40 * time.Millisecond)))) // where it hits is chance, what must follow is not
		if err := victim.end(syscall.SIGKILL); err == nil {
			t.Fatal("it ended in good order")
		}
		sent.Wait()
		b.Server = other.url()
		last := client.NewAPI(b, hc)
		if !joined(t, first, last, round) {
			// The report itself may not have been stored: then it was not acknowledged, and the
			// device repeats it.
			check(t, last.Call(t.Context(), http.MethodPost, "/v1/reports", wire.Report{PartyDetails: details(b, a.Number.String(), tel.Incoming, tel.Active)}, &ack))
			if !joined(t, first, last, round) {
				t.Fatalf("round %d: the two are not in one session", round)
			}
		}
		victim.start()
		victim.ready()
	}
}

// joined waits until both devices are in one session, the same. False: the second report
// is not known, so that there is nothing to wait for.
func joined(t *testing.T, a, b *client.API, round int) bool {
	t.Helper()
	for end := time.Now().Add(3 * patience); ; time.Sleep(20 * time.Millisecond) {
		var calls wire.CallList
		check(t, b.Call(t.Context(), http.MethodGet, "/v1/calls", nil, &calls))
		if len(calls.Calls) == 0 {
			return false
		}
		var in [2]wire.SessionList
		for i, api := range []*client.API{a, b} {
			check(t, api.Call(t.Context(), http.MethodGet, "/v1/sessions", nil, &in[i]))
		}
		if len(in[0].Sessions) > 1 || len(in[1].Sessions) > 1 {
			t.Fatalf("round %d: more than one session: %+v", round, in)
		}
		if len(in[0].Sessions) == 1 && len(in[1].Sessions) == 1 {
			if x, y := in[0].Sessions[0], in[1].Sessions[0]; x.ID != y.ID || len(x.Members) != 2 {
				t.Fatalf("round %d: not one session of two: %+v", round, in)
			}
			return true
		}
		if time.Now().After(end) {
			t.Fatalf("round %d: a dead node's effects are not completed: %+v, sessions %+v", round, calls, in)
		}
	}
}

// world asks a node.
func (c *child) world(t *testing.T, hc *http.Client) *world {
	return &world{t: t, scheme: "http", ctx: t.Context(), addr: c.addr, http: hc, log: &lines{}}
}

// uploadOverNodes: the node that takes an upload is killed; what it confirmed is known to
// another one, where the upload goes on, and a third gives the file out.
func (f *farm) uploadOverNodes(t *testing.T) {
	hc := clientOf(t, nil)
	at := func(n *child) *world { return n.world(t, hc) }
	a := enrol(t, f.nodes[0].url(), carol, f.nodes[0].codes)
	b := enrol(t, f.nodes[1].url(), dave, f.nodes[1].codes)
	carols, daves := at(f.nodes[0]).token(a), at(f.nodes[1]).token(b)
	for _, r := range []reply{
		at(f.nodes[1]).ask("POST", "/v1/reports", carols, report(dave, "outgoing", "active", "c")),
		at(f.nodes[2]).ask("POST", "/v1/reports", daves, report(carol, "incoming", "active", "c")),
	} {
		if r.status != http.StatusOK {
			t.Fatalf("%+v", r)
		}
	}
	var list wire.SessionList
	w := at(f.nodes[1])
	w.until("the session is there", func() bool {
		check(t, client.NewAPI(b, hc).Call(t.Context(), http.MethodGet, "/v1/sessions", nil, &list))
		return len(list.Sessions) == 1
	})
	content := strings.Repeat("0123456789", 3000)
	const tus = "application/offset+octet-stream"
	send := func(n *child, method, path, body string, header ...string) reply {
		return at(n).ask(method, path, carols, body, append([]string{"Tus-Resumable", "1.0.0"}, header...)...)
	}
	r := send(f.nodes[0], "POST", "/v1/files/", "", "Upload-Length", fmt.Sprint(len(content)),
		"Upload-Metadata", "session "+base64.StdEncoding.EncodeToString([]byte(list.Sessions[0].ID)))
	if r.status != http.StatusCreated {
		t.Fatalf("%+v", r)
	}
	path := "/v1/files/" + filepath.Base(r.header.Get("Location"))
	if r := send(f.nodes[0], "PATCH", path, content[:10_000], "Upload-Offset", "0", "Content-Type", tus); r.status != http.StatusNoContent {
		t.Fatalf("%+v", r)
	}
	if err := f.nodes[0].end(syscall.SIGKILL); err == nil {
		t.Fatal("it ended in good order")
	}
	if r := send(f.nodes[1], "HEAD", path, ""); r.header.Get("Upload-Offset") != "10000" {
		t.Fatalf("another node knows of %q bytes: %+v", r.header.Get("Upload-Offset"), r)
	}
	if r := send(f.nodes[1], "PATCH", path, content[10_000:], "Upload-Offset", "10000", "Content-Type", tus); r.status != http.StatusNoContent {
		t.Fatalf("%+v", r)
	}
	if r := at(f.nodes[2]).ask("GET", path, daves, ""); r.status != http.StatusOK || r.body != content {
		t.Errorf("the other side gets %d bytes: %d", len(r.body), r.status)
	}
	f.nodes[0].start()
	f.nodes[0].ready()
}

// acrossNodes: what one node knows holds on the others: a challenge that was answered
// is not answered again, and a revoked device is disconnected.
func (f *farm) acrossNodes(t *testing.T) {
	id := enrol(t, f.nodes[0].url(), alice, f.nodes[0].codes)
	hc := clientOf(t, nil)
	at := func(n *child) *world { return n.world(t, hc) }

	// The nodes' nonces are signed by one secret, so that any node takes any node's: once.
	var challenge wire.Challenge
	nobody := client.NewKeyAPI(f.nodes[0].url(), "", hc)
	check(t, nobody.Call(t.Context(), http.MethodGet, "/v1/challenge", nil, &challenge))
	assertion, err := id.Assert(challenge.Nonce)
	check(t, err)
	body := fmt.Sprintf(`{"nonce":%q,"assertion":%q}`, challenge.Nonce, assertion)
	if r := at(f.nodes[1]).ask("POST", "/v1/tokens", "", body); r.status != http.StatusOK {
		t.Fatalf("another node's nonce: %+v", r)
	}
	for i, n := range f.nodes {
		if r := at(n).ask("POST", "/v1/tokens", "", body); r.status != http.StatusUnauthorized {
			t.Errorf("node %d takes an answer again: %+v", i, r)
		}
	}

	var sockets []*socket
	for _, n := range f.nodes {
		sockets = append(sockets, at(n).enter(id))
	}
	id.Server = f.nodes[2].url()
	check(t, client.NewAPI(id, hc).Call(t.Context(), http.MethodDelete, "/v1/device", nil, nil))
	for i, s := range sockets {
		if code := s.closed(); code != wire.CloseRevoked {
			t.Errorf("node %d closed the revoked device's connection with %d", i, code)
		}
	}
}

// streamElsewhere: a device's event stream is at one node and its requests come to another.
func (f *farm) streamElsewhere(t *testing.T) {
	hc := clientOf(t, nil)
	at := func(n *child) *world { return n.world(t, hc) }
	id := enrol(t, f.nodes[0].url(), "+442079460905", f.nodes[0].codes)
	other := enrol(t, f.nodes[0].url(), "+442079460906", f.nodes[0].codes)
	token := at(f.nodes[0]).token(id)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.nodes[0].url()+"/v1/events", nil)
	check(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := hc.Do(req)
	check(t, err)
	defer res.Body.Close()
	events := bufio.NewScanner(res.Body)
	next := func(part string) string {
		t.Helper()
		for events.Scan() {
			if data, ok := strings.CutPrefix(events.Text(), "data: "); ok && strings.Contains(data, part) {
				return data
			}
		}
		t.Fatalf("the stream ended without %s: %v", part, events.Err())
		return ""
	}
	var first struct{ Stream string }
	check(t, json.Unmarshal([]byte(next(`"stream"`)), &first))
	next(`"welcome"`)
	post := func(n *child, token, stream, frame string) reply {
		return at(n).ask("POST", "/v1/frames", token, frame, "Tandem-Stream", stream, "Content-Type", "application/json")
	}
	own := fmt.Sprintf(`{"type":"report","id":"r1","body":%s}`, report("+442079460906", "outgoing", "active", "c"))
	if r := post(f.nodes[1], token, first.Stream, own); r.status != http.StatusOK || !strings.Contains(r.body, `"ack"`) {
		t.Errorf("a report at another node: %+v", r)
	}
	if r := post(f.nodes[2], token, first.Stream, `{"type":"resume","id":"r2","session":"s_none","body":{}}`); r.status != http.StatusNoContent {
		t.Errorf("a resume at another node: %+v", r)
	}
	next(`"r2"`) // its answer comes by the stream
	for name, r := range map[string]reply{
		"no such stream":          post(f.nodes[1], token, "str_none", own),
		"another device's stream": post(f.nodes[1], at(f.nodes[0]).token(other), first.Stream, own),
	} {
		if r.status != http.StatusNotFound {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestLapsedIsClosed: a device whose binding has ended by itself does not stay connected, and one
// that has another stays.
func TestLapsedIsClosed(t *testing.T) {
	w := newWorld(t)
	a, b, guest := w.enrol(alice), w.enrol(bob), w.guest(carol)
	lapsed, left, stays := w.enter(a), w.enter(guest), w.enter(b)
	devices := store.TableOf[device.Device](w.server.Engine(), "devices")
	for _, id := range []*client.Identity{a, b, guest} {
		_, err := store.Change(t.Context(), devices, store.Key(string(wire.DefaultTenant), string(id.Device)), func(d device.Device, exists bool) (device.Device, bool, error) {
			over := d.Bindings[0]
			over.Expires = time.Now()
			if id == b {
				d.Bindings = append(d.Bindings, over)
			} else {
				d.Bindings = []wire.Binding{over}
			}
			return d, exists, nil
		})
		check(t, err)
	}
	w.server.CloseGone(t.Context())
	for name, s := range map[string]*socket{"a device": lapsed, "a guest": left} {
		if code := s.closed(); code != wire.CloseUnauthentic {
			t.Errorf("%s: closed with %d", name, code)
		}
	}
	s := w.dial()
	s.hello(a)
	if e := s.read(wire.TypeError); !strings.Contains(string(e.Body), string(wire.CodeBindingExpired)) {
		t.Errorf("its next hello: %s", e.Body)
	}
	if _, p := stays.answer(`{"type":"report","id":"r1","body":` + report(alice, "incoming", "active", "c") + `}`); p.Code != "" {
		t.Errorf("the other device is disturbed: %+v", p)
	}
}

// TestRevokedUnheard: a node that did not hear of a revocation closes the device's
// connections when it looks, and leaves others alone.
func TestRevokedUnheard(t *testing.T) {
	w := newWorld(t)
	a, b := w.enrol(alice), w.enrol(bob)
	gone, stays := w.enter(a), w.enter(b)
	devices := store.TableOf[device.Device](w.server.Engine(), "devices")
	_, err := store.Change(t.Context(), devices, store.Key(string(wire.DefaultTenant), string(a.Device)), func(d device.Device, exists bool) (device.Device, bool, error) {
		d.RevokedAt = time.Now()
		return d, exists, nil
	})
	check(t, err)
	w.server.CloseGone(t.Context())
	if code := gone.closed(); code != wire.CloseRevoked {
		t.Errorf("closed with %d", code)
	}
	if _, p := stays.answer(`{"type":"report","id":"r1","body":` + report(alice, "outgoing", "active", "c") + `}`); p.Code != "" {
		t.Errorf("the other device is disturbed: %+v", p)
	}
}

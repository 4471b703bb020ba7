package server_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/edge/store/natsstore/natstest"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/internal/testport"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// With these in its environment the test's program is a server, to be killed.
const (
	childData   = "TANDEM_TEST_CHILD_DATA"
	childListen = "TANDEM_TEST_CHILD_LISTEN"
	childNATS   = "TANDEM_TEST_CHILD_NATS"
	childS3     = "TANDEM_TEST_CHILD_S3"
	childPrefix = "TANDEM_TEST_CHILD_PREFIX"
	childMode   = "TANDEM_TEST_CHILD_MODE"
)

// Modes of a child.
const (
	modeRelaxed = "relaxed"
	modeSoak    = "soak"
)

func serveAsChild(dir, listen string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	err := func() error {
		l, err := net.Listen("tcp", listen)
		if err != nil {
			return err
		}
		c := settings(dir, l)
		switch os.Getenv(childMode) {
		case modeRelaxed:
			c.Engine.Durability = "relaxed"
		case modeSoak: // what lasts minutes and hours lasts seconds
			c.Sessions.Linger, c.Sessions.LingerMax, c.Sessions.Retention = time.Second, time.Second, 2*time.Second
			c.Calls.Retention = time.Second
		}
		if host, port, _ := net.SplitHostPort(c.Listen); host != "127.0.0.1" {
			// A network of the test's own is as private as loopback.
			c.Listen = net.JoinHostPort("127.0.0.1", port)
			c.TrustedProxies = append(c.TrustedProxies, host+"/24")
		}
		if c.Engine.NATS = os.Getenv(childNATS); c.Engine.NATS != "" {
			c.Engine.Prefix = os.Getenv(childPrefix)
			c.Calls.Rescan = 2 * time.Second
			c.Files.S3 = server.S3{Endpoint: os.Getenv(childS3), Bucket: "files", Prefix: os.Getenv(childPrefix), Region: "us-east-1", AccessKey: "a", SecretKey: "s"}
		}
		s, err := server.New(ctx, c, server.Options{
			Version: "test", Listener: l, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
			Show: func(line string) { fmt.Println(line) },
		})
		if err != nil {
			return err
		}
		return s.Run(ctx)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// child is a server in a process of its own.
type child struct {
	t    testing.TB
	dir  string
	addr string
	on   []string // begins the command that starts it
	nats string   // the cluster's address; empty: the embedded engine
	s3   string   // and its object store's
	own  string   // prefix of its data in the cluster; empty: the usual one
	mode string   // how it differs from others
	// program is what runs; empty: this test's own.
	program string
	codes   chan string
	cmd     *exec.Cmd
	read    chan struct{} // closed when its output is read to the end
}

func newChild(t testing.TB) *child { return newNode(t, "", "", natstest.Place{Host: "127.0.0.1"}) }

// newNode starts a child on a cluster's engine, or on its own.
func newNode(t testing.TB, nats, s3 string, at natstest.Place) *child {
	port, err := testport.Free(1)
	check(t, err)
	c := &child{t: t, dir: filepath.Join(t.TempDir(), "data"), addr: fmt.Sprintf("%s:%d", at.Host, port), on: at.On, nats: nats, s3: s3}
	c.begin()
	return c
}

// begin starts a child for the first time.
func (c *child) begin() {
	c.t.Helper()
	c.codes = make(chan string, 1000)
	c.start()
	c.t.Cleanup(func() { _ = c.end(syscall.SIGKILL) })
	c.ready()
}

// ready waits until requests can come.
func (c *child) ready() {
	t := c.t
	t.Helper()
	hc := clientOf(t, nil)
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if res, err := hc.Get(c.url() + "/readyz"); err == nil {
			check(t, res.Body.Close())
			return
		}
		if time.Now().After(end) {
			t.Fatal("the server does not answer")
		}
	}
}

func (c *child) url() string { return "http://" + c.addr }

func (c *child) start() {
	c.t.Helper()
	self, err := os.Executable()
	check(c.t, err)
	command := append(slices.Clone(c.on), cmp.Or(c.program, self))
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), childData+"="+c.dir, childListen+"="+c.addr, childNATS+"="+c.nats, childS3+"="+c.s3, childPrefix+"="+c.own, childMode+"="+c.mode)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	check(c.t, err)
	check(c.t, cmd.Start())
	c.cmd, c.read = cmd, make(chan struct{})
	go func(read chan struct{}) { scan(out, c.codes); close(read) }(c.read)
}

// end sends a signal and waits; the error is how the process ended.
func (c *child) end(sig os.Signal) error {
	if c.cmd == nil {
		return nil
	}
	if err := c.cmd.Process.Signal(sig); err != nil {
		c.t.Errorf("signal: %v", err)
	}
	return c.wait()
}

// wait waits for the end of a child that has been told to end.
func (c *child) wait() error {
	<-c.read
	err := c.cmd.Wait()
	c.cmd = nil
	return err
}

// talker is a device under load, and its application's view of the session.
type talker struct {
	*client.Device
	id      *client.Identity
	session wire.SessionID

	mu      sync.Mutex
	open    chan wire.SessionID
	got     []wire.Envelope
	acked   []string
	lost    int
	rewound int
	ends    []error
	inside  bool
}

// lateAfter: how many messages waited longer than each for their acknowledgement is counted.
var lateAfter = [...]time.Duration{time.Second, 5 * time.Second, 10 * time.Second}

// load is pairs of devices that talk to each other until it is stopped.
type load struct {
	lossy   bool // see loadOf
	t       *testing.T
	talkers []*talker
	acked   atomic.Int64
	longest atomic.Int64 // time that one message took to be acknowledged, in ns
	late    [len(lateAfter)]atomic.Int64
	files   []string // SHA-256 of the acknowledged uploads of the first device
	quiet   chan struct{}
	wg      sync.WaitGroup // senders
	stop    context.CancelFunc
	running sync.WaitGroup
}

// loadOf says which devices there are and what they do.
type loadOf struct {
	devices int
	first   int           // of their numbers, +44 20 7946 and four digits: no two loads of one farm share one
	at      string        // address that they connect to; empty: the server's
	pause   time.Duration // of each between its messages; zero: none
	// from is how every other pair's connections begin; nil: as usual.
	from func(ctx context.Context, network, addr string) (net.Conn, error)
	// lossy: the server may forget devices and sessions; whoever is told so stops talking.
	lossy bool
}

// newLoad enrols the devices with one server and lets them talk.
func newLoad(t *testing.T, c *child, o loadOf) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{t: t, quiet: make(chan struct{}), stop: cancel, lossy: o.lossy}
	t.Cleanup(func() { cancel(); l.running.Wait() })
	number := func(i int) string { return fmt.Sprintf("+44207946%04d", o.first+i) }
	for i := range o.devices {
		k := &talker{id: enrol(t, c.url(), number(i), c.codes), open: make(chan wire.SessionID, 1)}
		k.id.Server = cmp.Or(o.at, k.id.Server)
		var err error
		hc := clientOf(t, nil)
		if i%4 > 1 && o.from != nil {
			hc.Transport.(withHeader).DialContext = o.from
		}
		k.Device, err = client.Connect(client.Config{Identity: k.id, HTTP: hc, Transport: client.WebSocket, Events: client.Events{
			Connected:    func(wire.Welcome) { k.do(func() { k.inside = true }) },
			Disconnected: func(err error) { k.do(func() { k.ends, k.inside = append(k.ends, err), false }) },
			Lost:         func(wire.SessionID) { k.do(func() { k.lost++ }) },
			Session:      func(s wire.SessionState) { offer(k.open, s.ID) },
			Message: func(e wire.Envelope) {
				if e.Kind == wire.KindText {
					k.do(func() { k.got = append(k.got, e) })
				}
			},
			Rewind: func(_ wire.SessionID, seq uint64) {
				k.do(func() {
					k.rewound++
					k.got = slices.DeleteFunc(k.got, func(e wire.Envelope) bool { return e.Seq > seq })
				})
			},
		}})
		check(t, err)
		l.running.Go(func() {
			if err := k.Run(ctx); err != nil && !l.lossy {
				t.Errorf("device %s ended: %v", number(i), err)
			}
		})
		l.talkers = append(l.talkers, k)
	}
	for i, k := range l.talkers {
		other, dir := l.talkers[i^1], tel.Outgoing
		if i%2 == 1 {
			dir = tel.Incoming
		}
		_, err := k.Report(ctx, wire.Report{PartyDetails: details(k.id, other.id.Number.String(), dir, tel.Active)})
		check(t, err)
	}
	for i, k := range l.talkers {
		select {
		case k.session = <-k.open:
		case <-time.After(patience):
			t.Fatalf("device %d has no session", i)
		}
		l.wg.Go(func() { l.talk(ctx, i, k, o.pause) })
	}
	return l
}

// offer sends what is taken at once, or has room.
func offer[T any](to chan<- T, v T) {
	select {
	case to <- v:
	default:
	}
}

func (k *talker) do(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}

func (l *load) talk(ctx context.Context, i int, k *talker, pause time.Duration) {
	for n := 0; ; n++ {
		select {
		case <-l.quiet:
			return
		case <-time.After(pause):
		}
		text, begun := fmt.Sprintf("%d says %d", i, n), time.Now()
		if _, err := k.Send(ctx, k.session, wire.KindText, wire.Text{Text: text}); err != nil {
			if !l.lossy {
				l.t.Errorf("%s: %v", text, err)
			}
			return
		}
		k.do(func() { k.acked = append(k.acked, text) })
		took := int64(time.Since(begun))
		for i, d := range lateAfter {
			if took > int64(d) {
				l.late[i].Add(1)
			}
		}
		for {
			if old := l.longest.Load(); took <= old || l.longest.CompareAndSwap(old, took) {
				break
			}
		}
		l.acked.Add(1)
	}
}

// back waits until every device is connected, and returns how long that took.
func (l *load) back() time.Duration {
	l.t.Helper()
	began := time.Now()
	for i, k := range l.talkers {
		inside := false
		for end := time.Now().Add(patience); !inside; time.Sleep(2 * time.Millisecond) {
			k.do(func() { inside = k.inside })
			if !inside && time.Now().After(end) {
				l.t.Fatalf("device %d does not come back: %v", i, k.ends)
			}
		}
	}
	return time.Since(began)
}

// more waits until every device is connected and n further messages are acknowledged.
func (l *load) more(n int64) {
	l.t.Helper()
	l.back()
	want := l.acked.Load() + n
	for end := time.Now().Add(2 * patience); l.acked.Load() < want; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			l.t.Fatalf("the load stands still at %d", l.acked.Load())
		}
	}
}

// everybody waits until each device has had two further messages acknowledged.
func (l *load) everybody() {
	l.t.Helper()
	want := make([]int, len(l.talkers))
	for i, k := range l.talkers {
		k.do(func() { want[i] = len(k.acked) + 2 })
	}
	for i, k := range l.talkers {
		for end := time.Now().Add(2 * patience); ; time.Sleep(2 * time.Millisecond) {
			got := 0
			k.do(func() { got = len(k.acked) })
			if got >= want[i] {
				break
			}
			if time.Now().After(end) {
				l.t.Fatalf("device %d has no further message acknowledged: %v", i, k.ends)
			}
		}
	}
}

// stopped ends the talking.
func (l *load) stopped() {
	close(l.quiet)
	l.wg.Wait()
}

// logOf returns what the session of the pair of device i has kept: each message, how often;
// and what came from each of the two, in the order of the log.
func (l *load) logOf(i int) (kept map[string]int, from [2][]string) {
	l.t.Helper()
	return l.logAt(l.talkers[i].API(), i)
}

// logAt is the same, as device i is told at some server.
func (l *load) logAt(api *client.API, i int) (kept map[string]int, from [2][]string) {
	l.t.Helper()
	session := l.talkers[i].session
	kept = map[string]int{}
	for after := uint64(0); ; {
		var page wire.MessageList
		err := api.Call(l.t.Context(), http.MethodGet, fmt.Sprintf("/v1/sessions/%s/messages?limit=1000&after=%d", session, after), nil, &page)
		if err != nil && l.lossy {
			return kept, from // all is lost
		}
		check(l.t, err)
		for _, e := range page.Messages {
			after = e.Seq
			if e.Kind != wire.KindText {
				continue
			}
			text := string(e.Body)
			kept[text]++
			who := 0
			if text[:len(prefix(i))] != prefix(i) {
				who = 1
			}
			from[who] = append(from[who], text)
		}
		if len(page.Messages) == 0 || after >= page.Head {
			return kept, from
		}
	}
}

// settle ends the talking and checks what must hold then: each acknowledged message is in
// its session's log exactly once, and each application has seen what the log has, in order.
func (l *load) settle() {
	l.t.Helper()
	l.stopped()
	total := 0
	for i := 0; i < len(l.talkers); i += 2 {
		pair := l.talkers[i : i+2]
		kept, from := l.logOf(i)
		for n, k := range pair {
			for _, text := range k.acked {
				total++
				if got := kept[body(text)]; got != 1 {
					l.t.Errorf("%q was acknowledged, and is in the log %d times", text, got)
				}
			}
			if len(from[n]) != len(k.acked) {
				l.t.Errorf("device %d: %d messages in the log, %d acknowledged", i+n, len(from[n]), len(k.acked))
			}
		}
		for n, k := range pair {
			want := from[1-n]
			var seen []string
			for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
				seen = seen[:0]
				k.do(func() {
					for _, e := range k.got {
						// What it sent itself comes again to who was sent back behind it.
						if text := string(e.Body); !strings.HasPrefix(text, prefix(i+n)) {
							seen = append(seen, text)
						}
					}
				})
				if len(seen) >= len(want) || time.Now().After(end) {
					break
				}
			}
			if !slices.Equal(seen, want) {
				l.t.Errorf("device %d has seen %d messages, the log has %d for it; not the same", i+n, len(seen), len(want))
			}
			if k.lost > 0 {
				l.t.Errorf("device %d was told of a loss", i+n)
			}
		}
	}
	l.t.Logf("%d messages acknowledged by %d devices", total, len(l.talkers))
}

func body(text string) string  { return fmt.Sprintf(`{"text":%q}`, text) }
func prefix(device int) string { return fmt.Sprintf(`{"text":"%d says`, device) }

// TestDrainedUnderLoad: a server that is told to stop tells its devices to come back,
// keeps what it took, and ends in good order.
func TestDrainedUnderLoad(t *testing.T) {
	c := newChild(t)
	l := newLoad(t, c, loadOf{devices: 10})
	for range 2 {
		l.more(300)
		if err := c.end(syscall.SIGTERM); err != nil {
			t.Fatalf("not in good order: %v", err)
		}
		c.start()
	}
	l.more(300)
	l.settle()
	for i, k := range l.talkers {
		told := 0
		k.do(func() {
			for _, err := range k.ends {
				var closed *client.CloseError
				if errors.As(err, &closed) && closed.Code == wire.CloseDraining {
					told++
				}
			}
		})
		if told != 2 {
			t.Errorf("device %d was told to come back %d times: %v", i, told, k.ends)
		}
	}
}

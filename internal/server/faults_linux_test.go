package server_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/edge/store/natsstore/natstest"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// How much TestClusterFaults does: rounds of all faults, devices under load, milliseconds that each
// lets pass between its messages, and histories of 200 operations during each fault. Without them, one round of some faults for make test (make
// chaos-cluster).
const (
	chaosRounds    = "TANDEM_CHAOS_ROUNDS"
	chaosDevices   = "TANDEM_CHAOS_DEVICES"
	chaosPause     = "TANDEM_CHAOS_PAUSE"
	chaosHistories = "TANDEM_CHAOS_HISTORIES"
	// chaosFaults is a regular expression: only the faults whose names it matches.
	chaosFaults = "TANDEM_CHAOS_FAULTS"
)

// faults is a cluster of three machines, each with a NATS server and a node, in a network
// that can be broken.
type faults struct {
	*farm
	t        *testing.T
	machines []*machine
	phone    *machine // where half of the devices are
	load     *load
	calls    *calls
	orders   *histories
}

// fault is what is done to the cluster, and undone.
type fault struct {
	name  string
	short bool // also in make test
	do    func(f *faults, round int)
}

// last is how long a fault lasts: its length is what is tried.
func last(round int) { time.Sleep(time.Duration(3+round*3%8) * time.Second) }

var allFaults = []fault{
	{"a machine is cut off", false, func(f *faults, round int) {
		m := f.machines[round%3]
		m.cut()
		last(round)
		m.mend()
	}},
	{"the machine of a log's leader is cut off", true, func(f *faults, round int) {
		m := f.leader(round)
		m.cut()
		last(round)
		m.mend()
	}},
	{"a machine hears nothing, and is heard", false, func(f *faults, round int) {
		m := f.leader(round)
		m.deafen()
		last(round)
		m.heal()
	}},
	{"a machine does not reach another one, which reaches it", false, func(f *faults, round int) {
		a, b := f.machines[round%3], f.machines[(round+1)%3]
		a.avoid(b)
		last(round)
		a.seek(b)
	}},
	{"the server that leads a log is stopped for seconds", false, func(f *faults, round int) {
		s, err := f.servers.Leader(f.t.Context(), fmt.Sprintf("tandem_log_%d", round%8))
		check(f.t, err)
		check(f.t, s.Signal(syscall.SIGSTOP))
		last(round)
		check(f.t, s.Signal(syscall.SIGCONT))
	}},
	{"a node is stopped for seconds", false, func(f *faults, round int) {
		n := f.nodes[round%3]
		check(f.t, n.cmd.Process.Signal(syscall.SIGSTOP))
		last(round)
		check(f.t, n.cmd.Process.Signal(syscall.SIGCONT))
	}},
	{"a node and a server are killed, and come back", true, func(f *faults, round int) {
		n, s := f.nodes[round%3], f.servers.Servers[(round+1)%3]
		check(f.t, s.End(syscall.SIGKILL))
		if err := n.end(syscall.SIGKILL); err == nil {
			f.t.Error("the node ended in good order")
		}
		f.load.more(100)
		check(f.t, s.Start())
		n.start()
		n.ready()
	}},
	{"half of the devices get another address", true, func(f *faults, _ int) { f.phone.move() }},
	{"nodes are drained and started, one after the other", true, func(f *faults, _ int) {
		for _, n := range f.nodes {
			if err := n.end(syscall.SIGTERM); err != nil {
				f.t.Errorf("the node did not end in good order: %v", err)
			}
			n.start()
			n.ready()
		}
	}},
	{"servers are stopped and started, one after the other", false, func(f *faults, _ int) {
		for _, s := range f.servers.Servers {
			check(f.t, s.End(syscall.SIGTERM))
			check(f.t, s.Start())
			check(f.t, f.servers.Ready(f.t.Context()))
		}
	}},
}

// leader is the machine of the server that leads a log's stream.
func (f *faults) leader(round int) *machine {
	f.t.Helper()
	s, err := f.servers.Leader(f.t.Context(), fmt.Sprintf("tandem_log_%d", round%8))
	check(f.t, err)
	return f.machines[slices.Index(f.servers.Servers, s)]
}

// TestClusterFaults (B12, B13): devices talk and parties call each other while the cluster's
// network is cut in every way, processes are stopped and killed, and everything is restarted.
// The audit goes by sequence: nothing that was acknowledged is lost, no leg is joined twice.
func TestClusterFaults(t *testing.T) {
	t.Parallel()
	if !inOwnNetwork(t) {
		return
	}
	rounds, devices, pause, each, ops, all := 1, 20, 100, 1, 80, false
	for name, n := range map[string]*int{chaosRounds: &rounds, chaosDevices: &devices, chaosPause: &pause, chaosHistories: &each} {
		if s := os.Getenv(name); s != "" {
			var err error
			*n, err = strconv.Atoi(s)
			check(t, err)
			ops, all = 200, true
		}
	}
	only, err := regexp.Compile(os.Getenv(chaosFaults))
	check(t, err)
	f := &faults{t: t}
	network := newLAN(t)
	var places []natstest.Place
	for range 3 {
		m := network.machine()
		f.machines = append(f.machines, m)
		places = append(places, natstest.Place{Host: m.host, On: m.on()})
	}
	f.farm = newFarmOn(t, here, places)
	f.phone = network.machine()
	f.load = newLoad(t, f.nodes[0], loadOf{devices: devices, first: 1000, at: f.balancer.url(), pause: time.Duration(pause) * time.Millisecond, from: f.phone.dial})
	f.calls, f.orders = &calls{t: t, farm: f.farm}, &histories{t: t, farm: f.farm}
	begun, done := time.Now(), 0
	longest := map[string]time.Duration{}
	for round := range rounds {
		for _, fault := range allFaults {
			if !fault.short && !all || !only.MatchString(fault.name) {
				continue
			}
			f.load.everybody()
			f.load.longest.Store(0)
			before, tooLate := f.load.acked.Load(), f.load.late[2].Load()
			f.calls.begin(2)
			f.orders.begin(each, ops)
			fault.do(f, round)
			check(t, f.servers.Ready(t.Context()))
			f.calls.wait()
			f.orders.wait()
			f.load.everybody()
			gap := time.Duration(f.load.longest.Load()).Round(time.Millisecond)
			longest[fault.name] = max(longest[fault.name], gap)
			t.Logf("round %d, %s: %d acknowledged, the longest wait for one was %v; %d waited for more than %v",
				round, fault.name, f.load.acked.Load()-before, gap, f.load.late[2].Load()-tooLate, lateAfter[2])
			done++
			if t.Failed() {
				t.FailNow()
			}
		}
	}
	f.load.settle()
	t.Logf("%d faults in %v; %d calls, each joined once; %d histories of %d operations, each linearizable",
		done, time.Since(begun).Round(time.Second), f.calls.made, f.orders.made, ops)
	for i, d := range lateAfter {
		t.Logf("%d of %d messages waited for more than %v", f.load.late[i].Load(), f.load.acked.Load(), d)
	}
	for _, name := range slices.Sorted(maps.Keys(longest)) {
		t.Logf("longest wait: %v, %s", longest[name], name)
	}
}

// calls are pairs of parties that report their calls at any node while something is wrong.
type calls struct {
	t    *testing.T
	farm *farm
	made int
	wg   sync.WaitGroup
}

// begin has n pairs enrolled and lets both sides of each report their call at once, again
// and again until they are answered.
func (c *calls) begin(n int) {
	c.t.Helper()
	for range n {
		a, b := c.enrol(2*c.made), c.enrol(2*c.made+1)
		c.made++
		c.wg.Go(func() {
			apis := [2]*client.API{client.NewAPI(a, clientOf(c.t, nil)), client.NewAPI(b, clientOf(c.t, nil))}
			var both sync.WaitGroup
			for i, r := range []wire.Report{
				{PartyDetails: details(a, b.Number.String(), tel.Outgoing, tel.Active)},
				{PartyDetails: details(b, a.Number.String(), tel.Incoming, tel.Active)},
			} {
				both.Go(func() {
					time.Sleep(rand.N(500 * time.Millisecond))
					c.until(apis[i], http.MethodPost, "/v1/reports", r, new(wire.Ack))
				})
			}
			both.Wait()
			c.together(apis)
		})
	}
}

func (c *calls) enrol(i int) *client.Identity {
	id := enrol(c.t, c.farm.nodes[0].url(), fmt.Sprintf("+44207946%04d", 5000+i), c.farm.nodes[0].codes)
	id.Server = c.farm.balancer.url()
	return id
}

// until repeats a request until it is answered.
func (c *calls) until(api *client.API, method, path string, body, answer any) {
	var err error
	for end := time.Now().Add(4 * patience); time.Now().Before(end) && c.t.Context().Err() == nil; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
		err = api.Call(ctx, method, path, body, answer)
		cancel()
		if err == nil {
			return
		}
	}
	c.t.Errorf("%s %s: %v", method, path, err)
}

// together waits until both have one session, which is the same.
func (c *calls) together(apis [2]*client.API) {
	var in [2]wire.SessionList
	for end := time.Now().Add(4 * patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for i, api := range apis {
			in[i] = wire.SessionList{}
			c.until(api, http.MethodGet, "/v1/sessions", nil, &in[i])
		}
		if len(in[0].Sessions) > 1 || len(in[1].Sessions) > 1 {
			break
		}
		if len(in[0].Sessions) == 1 && len(in[1].Sessions) == 1 {
			if x, y := in[0].Sessions[0], in[1].Sessions[0]; x.ID != y.ID || len(x.Members) != 2 {
				break
			}
			return
		}
	}
	c.t.Errorf("not in one session of two: %+v", in)
}

func (c *calls) wait() { c.wg.Wait() }

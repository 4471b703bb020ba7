package simulation

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/chaos"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// outcome of a run.
type outcome struct {
	hash     uint64
	steps    int
	sessions int
	messages int
	kills    int
	wrong    []string
}

// play runs one seed.
func play(t *testing.T, seed uint64, print func(string)) (o outcome) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(seed, print)
		for range 200 + w.rng.IntN(200) {
			w.act(&o)
			for range w.rng.IntN(12) {
				w.one()
			}
		}
		w.heal(&o)
		for _, n := range w.nodes {
			w.mu.Lock()
			n.dead = true
			w.mu.Unlock()
			w.abandon(n)
			n.cancel()
		}
		synctest.Wait()
		o.hash, o.steps, o.wrong = w.sum.Sum64(), w.steps, w.wrong
	})
	return o
}

func newWorld(seed uint64, print func(string)) *world {
	w := &world{scheduler: newScheduler(seed)}
	w.print = print
	w.faults = []int{0, 10, 50, 150}[w.rng.IntN(4)]
	nodes := 1 + w.rng.IntN(3)
	w.scheduler.nodes = func() int { return nodes }
	for i := range 2 + w.rng.IntN(3) {
		id, err := tel.ParseIdentity(fmt.Sprintf("+44207946%04d", i+1), "")
		if err != nil {
			panic(err)
		}
		p := &party{id: id}
		for j := range 1 + w.rng.IntN(2) {
			p.devices = append(p.devices, &device{
				w: w, id: wire.DeviceID(fmt.Sprintf("d%d%c", i, 'a'+j)), party: p,
				said: map[*phoneCall]tel.State{}, views: map[wire.SessionID]*view{},
			})
		}
		w.parties = append(w.parties, p)
	}
	for i := range nodes {
		w.nodes = append(w.nodes, &node{name: fmt.Sprint("n", i), w: w})
		w.nodes[i].start()
	}
	return w
}

func pick[T any](w *world, l []T) T { return l[w.rng.IntN(len(l))] }

// act lets somebody do something.
func (w *world) act(o *outcome) {
	d := pick(w, w.devices())
	n := pick(w, w.nodes)
	switch k := w.rng.IntN(100); {
	case k < 8 && len(w.calls) < 6:
		w.dial()
	case k < 20:
		w.proceed()
	case k < 45:
		w.reportNews(d, n)
	case k < 50:
		if d.invited != nil {
			d.answer(n, d.speaksTo(d.invited.Claimant) && w.rng.IntN(4) > 0)
		}
	case k < 60:
		if d.at == nil {
			w.note("%s comes", d.id)
			d.connect(n)
		}
	case k < 62:
		if d.at != nil {
			w.note("%s is cut", d.id)
			d.cut()
		}
	case k < 72:
		d.resume()
	case k < 90:
		w.talk(d, n)
	case k < 92:
		o.kills++
		w.note("kill %s", n.name)
		w.kill(n)
	default:
		span := pick(w, []time.Duration{time.Millisecond, 50 * time.Millisecond, time.Second, 3 * time.Second, 20 * time.Second})
		w.note("%v pass", span)
		time.Sleep(span)
	}
}

// dial begins a call between two parties that have none with each other.
func (w *world) dial() {
	a, b := pick(w, w.parties), pick(w, w.parties)
	if a == b || slices.ContainsFunc(w.calls, func(c *phoneCall) bool {
		return !c.over() && (c.parties == [2]*party{a, b} || c.parties == [2]*party{b, a})
	}) {
		return
	}
	// A call that has just ended must have been reported, or the next one's reports would be
	// about another call than the first one's.
	for _, d := range w.devices() {
		for _, c := range w.calls {
			if side := slices.Index(c.parties[:], d.party); side >= 0 && c.reports[side] && d.said[c] != c.state[side] {
				return
			}
		}
	}
	c := &phoneCall{
		name: fmt.Sprint("c", len(w.calls)), parties: [2]*party{a, b}, state: [2]tel.State{tel.Ringing, tel.Ringing},
		reports: [2]bool{w.rng.IntN(8) > 0, w.rng.IntN(8) > 0},
	}
	if w.rng.IntN(2) == 0 {
		c.callID = c.name + "@switch"
	}
	w.note("%s: %s calls %s", c.name, a.id, b.id)
	w.calls = append(w.calls, c)
}

// proceed lets a call go on.
func (w *world) proceed() {
	if len(w.calls) == 0 {
		return
	}
	c := pick(w, w.calls)
	side := w.rng.IntN(2)
	next := c.state[side]
	switch c.state[side] {
	case tel.Ringing:
		next = tel.Active
	case tel.Active:
		next = pick(w, []tel.State{tel.Active, tel.Active, tel.Held, tel.Ended})
	case tel.Held:
		next = pick(w, []tel.State{tel.Active, tel.Ended})
	}
	if next != c.state[side] {
		w.note("%s: side %d is %s", c.name, side, next)
		c.state[side] = next
	}
}

// reportNews lets a device say what it has not said yet, or repeat itself.
func (w *world) reportNews(d *device, n *node) {
	if d.reporting {
		return
	}
	for _, c := range w.calls {
		side := slices.Index(c.parties[:], d.party)
		if side < 0 || !c.reports[side] {
			continue
		}
		said, known := d.said[c]
		if said != c.state[side] && !(c.state[side] == tel.Ended && !known) || known && said != tel.Ended && w.rng.IntN(10) == 0 {
			d.report(n, c, side)
			return
		}
	}
}

// talk lets a device send a message, or repeat the one that was not answered.
func (w *world) talk(d *device, n *node) {
	if d.out == nil {
		for _, id := range sortedKeys(d.views) {
			if st := d.views[id].state; st.ID != "" && st.Phase != wire.Closed && w.rng.IntN(2) == 0 {
				d.sent++
				d.out = &outgoing{id: wire.RequestID(fmt.Sprintf("%s-%d", d.id, d.sent)), session: id}
				break
			}
		}
	}
	if d.out != nil && !d.out.trying {
		if d.at != nil && w.rng.IntN(3) > 0 {
			n = d.at
		}
		d.say(n)
	}
}

// settle lets everything come to rest, over some time.
func (w *world) settle(span time.Duration) {
	for end := time.Now().Add(span); ; {
		for range 200_000 {
			if !w.one() {
				break
			}
		}
		if !time.Now().Before(end) {
			return
		}
		time.Sleep(min(500*time.Millisecond, span))
	}
}

// heal lets no more answers be lost, everybody say what is, and looks whether all is well.
func (w *world) heal(o *outcome) {
	w.note("heal")
	w.faults = 0
	everybody := func(what func(d *device)) {
		for _, d := range w.devices() {
			what(d)
			w.settle(0)
		}
	}
	w.settle(3 * time.Second)
	if w.busy() {
		w.fail("somebody waits for ever")
		return
	}
	everybody(func(d *device) { // which renews the leases, too
		for _, c := range w.calls {
			side := slices.Index(c.parties[:], d.party)
			if said, spoke := d.said[c]; side >= 0 && c.reports[side] && (spoke || c.state[side] != tel.Ended) && said != tel.Ended {
				d.report(pick(w, w.nodes), c, side)
				w.settle(0)
			}
		}
	})
	w.settle(time.Minute + 10*time.Second) // longer than nodes take to look after each other
	w.checkSessions()
	everybody(func(d *device) {
		if d.at == nil {
			d.connect(w.nodes[0])
		}
	})
	for range 10 {
		everybody(func(d *device) { d.resume() })
	}
	everybody(func(d *device) {
		for d.out != nil && !d.out.trying {
			d.say(w.nodes[0])
			w.settle(time.Second)
		}
	})
	w.settle(time.Second)
	w.checkMessages(o)
	for _, c := range w.calls {
		c.state = [2]tel.State{tel.Ended, tel.Ended}
	}
	everybody(func(d *device) {
		for _, c := range w.calls {
			if said, ok := d.said[c]; ok && said != tel.Ended {
				d.report(w.nodes[0], c, slices.Index(c.parties[:], d.party))
				w.settle(0)
			}
		}
	})
	for range 90 {
		w.settle(0)
		time.Sleep(time.Minute)
	}
	w.settle(0)
	w.checkEnd(o)
}

func all[T any](w *world, table string) (l []T) {
	for _, key := range sortedKeys(w.disk.tables[table]) {
		v, err := decode[T](w.disk.tables[table][key].Value)
		if err != nil {
			panic(err)
		}
		l = append(l, v)
	}
	return l
}

// checkSessions: where both sides of a call say that it is up, there is one session between
// them, with everybody's devices; where nobody says so, there is none.
func (w *world) checkSessions() {
	recs := all[session.Record](w, "sessions")
	for _, r := range recs {
		for i, x := range r.Sides {
			for _, y := range r.Sides[:i] {
				if x.Principal == y.Principal {
					w.fail("session %s has one party twice", r.ID)
				}
			}
		}
	}
	for i, a := range w.parties {
		for _, b := range w.parties[:i] {
			up, maybe := false, false
			for _, c := range w.calls {
				if c.parties != [2]*party{a, b} && c.parties != [2]*party{b, a} {
					continue
				}
				open := func(s int) bool { return c.state[s] == tel.Active || c.state[s] == tel.Held }
				up = up || c.reports[0] && c.reports[1] && open(0) && open(1)
				maybe = maybe || c.reports[0] && open(0) || c.reports[1] && open(1)
			}
			var inCall []session.Record
			for _, r := range recs {
				if r.Phase == wire.InCall && len(r.Sides) == 2 && between(r, a, b) {
					inCall = append(inCall, r)
				}
			}
			switch {
			case up && len(inCall) != 1:
				w.fail("%s and %s are in a call, and in %d sessions", a.id, b.id, len(inCall))
			case !maybe && len(inCall) > 0:
				w.fail("%s and %s are in no call, and in session %s", a.id, b.id, inCall[0].ID)
			case up:
				for _, d := range slices.Concat(a.devices, b.devices) {
					if !slices.ContainsFunc(inCall[0].Members, func(m session.Member) bool { return m.Device == d.id && m.Left.IsZero() }) {
						w.fail("%s is not in session %s of its call", d.id, inCall[0].ID)
					}
				}
			}
		}
	}
}

func between(r session.Record, a, b *party) bool {
	x, y := r.Sides[0].Principal, r.Sides[1].Principal
	return x == a.id && y == b.id || x == b.id && y == a.id
}

// checkMessages: what was acknowledged is in its log, once, where the acknowledgement said; and
// each device shows what the log has for it, each message once, in order.
func (w *world) checkMessages(o *outcome) {
	for _, r := range all[session.Record](w, "sessions") {
		j := w.disk.logs[store.Key("session", string(tenant), string(r.ID))]
		if j == nil {
			continue
		}
		members := map[wire.DeviceID]bool{}
		for _, m := range r.Members {
			members[m.Device] = m.Left.IsZero()
		}
		stored := map[wire.RequestID][]uint64{}
		var reader *device
		for _, d := range w.devices() {
			if members[d.id] {
				reader = d
			}
		}
		if reader == nil {
			continue
		}
		l := w.messages(reader, r.ID)
		for _, e := range l {
			stored[e.ID] = append(stored[e.ID], e.Seq)
		}
		for _, d := range w.devices() {
			v := d.views[r.ID]
			if v == nil {
				continue
			}
			for _, a := range v.acked {
				o.messages++
				if at := stored[a.ID]; len(at) == 0 {
					w.fail("session %s: %s was acknowledged, and is not in the log", r.ID, a.ID)
				} else if !slices.Contains(at, a.Seq) {
					w.fail("session %s: %s was acknowledged as %d, and is at %v", r.ID, a.ID, a.Seq, at)
				}
			}
			if !members[d.id] || r.Phase == wire.Closed {
				continue
			}
			seen := map[wire.RequestID]int{}
			for _, e := range v.seen {
				if e.Kind != wire.KindText {
					continue
				}
				seen[e.ID]++
				if !slices.Contains(stored[e.ID], e.Seq) {
					w.fail("session %s: %s shows %s at %d, which is not in the log", r.ID, d.id, e.ID, e.Seq)
				}
			}
			for id := range stored {
				if own := slices.ContainsFunc(v.acked, func(a wire.Envelope) bool { return a.ID == id }); !own && seen[id] != 1 {
					w.fail("session %s: %s shows %s %d times", r.ID, d.id, id, seen[id])
				}
			}
			if v.lost {
				w.fail("session %s: %s was told of a loss", r.ID, d.id)
			}
		}
	}
}

// checkEnd: when all calls are over, and some time has passed, nothing is left to be done.
func (w *world) checkEnd(o *outcome) {
	for _, r := range all[session.Record](w, "sessions") {
		o.sessions++
		if r.Phase != wire.Closed {
			w.fail("session %s is still %s", r.ID, r.Phase)
		}
		if len(r.Due) > 0 {
			w.fail("session %s has left %v", r.ID, r.Due)
		}
	}
	for _, r := range all[call.Record](w, "calls") {
		w.fail("the record %s is still there, %s", r.Key, r.Phase(time.Now()))
	}
	for _, key := range sortedKeys(w.disk.tables["calls-by-party"]) {
		w.fail("the index still has %s", key)
	}
}

// TestSimulation runs seeds. Each run that finds something wrong says how to repeat it.
func TestSimulation(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // goroutines that wake at one moment run in their order
	if s := os.Getenv("SIMULATION_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		o := play(t, seed, func(line string) { t.Log(line) })
		t.Logf("seed %d: %d steps, trace %016x", seed, o.steps, o.hash)
		for _, what := range o.wrong {
			t.Error(what)
		}
		return
	}
	times := chaos.Times(100, 10_000)
	base := uint64(1) // the same in every run of the tests; others in make chaos
	if chaos.Times(0, 1) == 1 {
		base = rand.Uint64N(1 << 40)
	}
	var sum outcome
	failed := 0
	for i := range times {
		seed := base + uint64(i)
		o := play(t, seed, nil)
		sum.steps, sum.sessions, sum.messages, sum.kills = sum.steps+o.steps, sum.sessions+o.sessions, sum.messages+o.messages, sum.kills+o.kills
		if len(o.wrong) > 0 {
			failed++
			t.Errorf("SIMULATION_SEED=%d repeats it: %s", seed, o.wrong[0])
		}
		if i%10 == 0 {
			// The runtime may interrupt a goroutine, and two that woke at one moment then run in
			// another order; the more seldom, the less else the machine does. So of a few runs two are the same.
			hashes := map[uint64]bool{o.hash: true}
			for again := false; !again; {
				hash := play(t, seed, nil).hash
				again, hashes[hash] = hashes[hash], true
				if len(hashes) > 7 {
					t.Errorf("seed %d is not the same run twice in %d", seed, len(hashes))
					break
				}
			}
		}
		if failed > 20 {
			t.Fatal("and so on")
		}
	}
	chaos.Report(t, "simulation of the core: seeds of faults, deaths and time", times,
		"%d steps, %d deaths of nodes, %d sessions, %d acknowledged messages; 0 lost, 0 shown twice, 0 calls without their session", sum.steps, sum.kills, sum.sessions, sum.messages)
}

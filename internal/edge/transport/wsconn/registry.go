package wsconn

import (
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/tandem-call/tandem/internal/ipnet"
	"github.com/tandem-call/tandem/wire"
)

// registry knows every connection: the pending ones by address, the others by device.
type registry struct {
	mu       sync.Mutex
	draining bool
	watched  bool // Handler.watch looks after the connections
	pending  int
	perAddr  map[string]int
	all      []*outbox // in no order; each knows its index
	devices  map[Identity][]*outbox
	streams  map[string]*stream
	// revoked remembers the devices closed while connections were pending, which may
	// have been authenticated by what was revoked since; cleared when none is pending.
	revoked map[Identity]revocation
	closes  uint64 // calls of revoke
}

type revocation struct {
	number uint64
	code   wire.CloseCode
}

func newRegistry() registry {
	return registry{
		perAddr: make(map[string]int),
		devices: make(map[Identity][]*outbox),
		streams: make(map[string]*stream),
		revoked: make(map[Identity]revocation),
	}
}

// ticket is a pending connection's place.
type ticket struct {
	source string // as in ipnet
	closes uint64 // registry.closes when it came
	used   bool
}

// admit gives a connection of this address a place among the pending ones.
func (g *registry) admit(addr netip.Addr, cfg *Config) (*ticket, *wire.Problem) {
	source := ipnet.Of(addr)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.draining:
		return nil, wire.NewProblem(wire.CodeDraining, "connect again in a moment")
	case g.pending >= cfg.MaxPending:
		return nil, wire.NewProblem(wire.CodeTooMany, "too many connections are waiting to authenticate themselves")
	case g.perAddr[source] >= cfg.MaxPendingPerAddr:
		return nil, wire.NewProblem(wire.CodeTooMany, "too many connections from this address are waiting to authenticate themselves")
	}
	g.pending++
	g.perAddr[source]++
	return &ticket{source: source, closes: g.closes}, nil
}

// leave gives a pending place back; only the first call counts.
func (g *registry) leave(t *ticket) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leaveLocked(t)
}

func (g *registry) leaveLocked(t *ticket) {
	if t.used {
		return
	}
	t.used = true
	g.pending--
	if g.perAddr[t.source]--; g.perAddr[t.source] == 0 {
		delete(g.perAddr, t.source)
	}
	if g.pending == 0 {
		clear(g.revoked)
	}
}

// join adds an authenticated connection to its device's. What it returns with ok is to be
// closed instead: a connection in whose place the new one comes (nil: none).
func (g *registry) join(t *ticket, who Identity, o *outbox, cfg *Config, now int64) (dead *outbox, refuse wire.CloseCode) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, revoked := g.revoked[who]
	g.leaveLocked(t)
	if revoked && r.number > t.closes {
		return nil, r.code
	}
	if g.draining {
		return nil, wire.CloseDraining
	}
	conns := g.devices[who]
	if len(conns) >= cfg.MaxConnsPerDevice {
		// A device that comes back after losing its network must not find the way blocked
		// by its own dead connections: the longest silent one goes if it missed a heartbeat.
		i := longestSilent(conns)
		if now-conns[i].heard.Load() <= int64(cfg.Heartbeat) {
			return nil, wire.CloseTooMany
		}
		dead = conns[i]
		conns = slices.Delete(conns, i, i+1)
	}
	g.devices[who] = append(conns, o)
	return dead, 0
}

func longestSilent(conns []*outbox) int {
	least := 0
	for i, c := range conns {
		if c.heard.Load() < conns[least].heard.Load() {
			least = i
		}
	}
	return least
}

// part takes a connection from its device's.
func (g *registry) part(who Identity, o *outbox) {
	g.mu.Lock()
	defer g.mu.Unlock()
	conns := g.devices[who]
	if i := slices.Index(conns, o); i >= 0 {
		conns = slices.Delete(conns, i, i+1)
	}
	if len(conns) == 0 {
		delete(g.devices, who)
	} else {
		g.devices[who] = conns
	}
}

// of returns the connections of a device.
func (g *registry) of(who Identity) []*outbox {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.devices[who])
}

// present lists the devices that have a connection.
func (g *registry) present() []Identity {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Keys(g.devices))
}

// revoke returns the connections of a device, to be closed.
func (g *registry) revoke(who Identity, code wire.CloseCode) []*outbox {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closes++
	if g.pending > 0 {
		g.revoked[who] = revocation{g.closes, code}
	}
	return slices.Clone(g.devices[who])
}

// enter and exit keep the set of all connections, also the pending ones. enter reports
// false when the server is draining.
func (g *registry) enter(o *outbox) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.draining {
		return false
	}
	o.index = len(g.all)
	g.all = append(g.all, o)
	o.h.wg.Add(1)
	if !g.watched {
		g.watched = true
		go o.h.watch()
	}
	return true
}

func (g *registry) exit(o *outbox) {
	g.mu.Lock()
	defer g.mu.Unlock()
	last := len(g.all) - 1
	g.all[o.index] = g.all[last]
	g.all[o.index].index = o.index
	g.all[last] = nil
	g.all = g.all[:last]
}

// lookAtOnce is how many connections are looked at while others wait for the registry.
const lookAtOnce = 4096

// due returns the connections that something is due for, of some that come before an index, and before which index to go
// on: who comes or goes meanwhile changes only what has been looked at.
func (g *registry) due(now int64, before int) (list []*outbox, rest int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before = min(before, len(g.all))
	rest = max(before-lookAtOnce, 0)
	for _, o := range g.all[rest:before] {
		if o.due(now) {
			list = append(list, o)
		}
	}
	return list, rest
}

// unwatched notes that Handler.watch ends, if there is no connection.
func (g *registry) unwatched() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watched = len(g.all) > 0
	return !g.watched
}

// drain refuses what comes from now on and returns all connections.
func (g *registry) drain() []*outbox {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.draining = true
	return slices.Clone(g.all)
}

// begin counts a request that drain must wait for.
func (g *registry) begin(wg *sync.WaitGroup) *wire.Problem {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.draining {
		return wire.NewProblem(wire.CodeDraining, "send the request again in a moment")
	}
	wg.Add(1)
	return nil
}

func (g *registry) publish(s *stream) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.streams[s.id] = s
}

func (g *registry) withdraw(s *stream) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.streams, s.id)
}

// stream finds a device's own stream.
func (g *registry) stream(who Identity, id string) (*stream, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s, ok := g.streams[id]
	if !ok || s.who != who {
		return nil, false
	}
	return s, true
}

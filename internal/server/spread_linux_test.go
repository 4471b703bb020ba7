package server_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/chaos"
	"github.com/tandem-call/tandem/internal/edge/store/natsstore/natstest"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// TestSpreadOverPlaces (B12): the machines of a cluster are in three places, far from each other.
// Parties at different places are joined, and lose nothing, also when a place is cut off. What
// the distance costs is said in the log.
func TestSpreadOverPlaces(t *testing.T) {
	t.Parallel()
	if !inOwnNetwork(t) {
		return
	}
	var away atomic.Int64 // from each place to the middle
	network := newLAN(t)
	s := &spread{}
	var places []natstest.Place
	for range 3 {
		m := network.far(&away)
		s.machines = append(s.machines, m)
		places = append(places, natstest.Place{Host: m.host, On: m.on()})
	}
	s.farm = newFarmOn(t, here, places)
	for i, d := range []time.Duration{0, 2500 * time.Microsecond, 5 * time.Millisecond}[:chaos.Times(2, 3)] {
		away.Store(int64(d))
		var took costs
		for n := range 3 {
			s.call(t, 6000+100*i+10*n, n%3, (n+1)%3, &took)
		}
		t.Logf("places %v apart, there and back: %v", 4*d, took)
	}

	l := newLoad(t, s.nodes[0], loadOf{devices: 6, first: 7000, at: s.balancer.url()})
	l.everybody()
	for _, m := range s.machines[:chaos.Times(1, 3)] {
		m.cut()
		l.everybody()
		m.mend()
		check(t, s.servers.Ready(t.Context()))
		l.everybody()
	}
	l.settle()
}

// spread is a farm with a machine at each of its places.
type spread struct {
	*farm
	machines []*machine
}

// costs are what steps of a call took.
type costs struct{ setUp, ack, delivery []time.Duration }

func (c costs) String() string {
	median := func(all []time.Duration) time.Duration {
		slices.Sort(all)
		return all[len(all)/2].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("set-up %v, acknowledgement %v, delivery %v", median(c.setUp), median(c.ack), median(c.delivery))
}

// call lets a party at one place call one at another. Both report, and then they talk in turns.
func (s *spread) call(t *testing.T, number, from, to int, took *costs) {
	t.Helper()
	parties := [2]*resident{s.resident(t, number, from), s.resident(t, number+1, to)}
	var sessions [2]wire.SessionID
	var begun time.Time
	for i, p := range parties {
		begun = time.Now()
		_, err := p.Report(t.Context(), wire.Report{PartyDetails: details(p.id, parties[1-i].id.Number.String(), []tel.Direction{tel.Outgoing, tel.Incoming}[i], tel.Active)})
		check(t, err)
	}
	for i, p := range parties {
		sessions[i] = next(t, p.open)
	}
	took.setUp = append(took.setUp, time.Since(begun))
	if sessions[0] != sessions[1] {
		t.Fatalf("two sessions for one call: %v", sessions)
	}
	for n := range 10 {
		says, hears := parties[n%2], parties[1-n%2]
		text, begun := fmt.Sprintf("message %d", n), time.Now()
		acked := make(chan time.Duration, 1)
		go func() {
			if _, err := says.Send(t.Context(), sessions[0], wire.KindText, wire.Text{Text: text}); err != nil {
				t.Errorf("%s: %v", text, err)
			}
			acked <- time.Since(begun)
		}()
		e := next(t, hears.got)
		took.delivery = append(took.delivery, time.Since(begun))
		if got := string(e.Body); got != body(text) || e.Seq == 0 {
			t.Fatalf("%s came as %d, %q", text, e.Seq, got)
		}
		took.ack = append(took.ack, next(t, acked))
	}
	for i, p := range parties {
		if n := len(p.got); n > 0 {
			t.Errorf("party %d got %d messages more than once", i, n)
		}
	}
}

// resident is a party's device at a place, connected to the node there.
type resident struct {
	*client.Device
	id   *client.Identity
	open chan wire.SessionID
	got  chan wire.Envelope
}

func (s *spread) resident(t *testing.T, number, place int) *resident {
	t.Helper()
	node := s.nodes[place]
	r := &resident{id: enrol(t, node.url(), fmt.Sprintf("+44207946%04d", number), node.codes), open: make(chan wire.SessionID, 1), got: make(chan wire.Envelope, 100)}
	hc := clientOf(t, nil)
	hc.Transport.(withHeader).DialContext = s.machines[place].dial
	connected := make(chan struct{}, 1)
	var err error
	r.Device, err = client.Connect(client.Config{Identity: r.id, HTTP: hc, Transport: client.WebSocket, Events: client.Events{
		Connected: func(wire.Welcome) { offer(connected, struct{}{}) },
		Session:   func(s wire.SessionState) { offer(r.open, s.ID) },
		Message: func(e wire.Envelope) {
			if e.Kind == wire.KindText {
				r.got <- e
			}
		},
	}})
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		check(t, <-ended)
	})
	next(t, connected)
	return r
}

// next is what comes next, within reason.
func next[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatalf("waited in vain for a %T", v)
	}
	return v
}

package wsconn_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-call/tandem/internal/edge/transport/wsconn"
	"github.com/tandem-call/tandem/wire"
)

// inBubble serves in memory, within a synctest bubble: a write blocks until it is read,
// and time passes only when everybody waits.
func inBubble(t *testing.T, cfg wsconn.Config) (*server, *http.Client) {
	t.Helper()
	s := &server{relay: newRelay()}
	p := newPipes()
	srv := &http.Server{Handler: s.mux(t, cfg)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(p) // until it is closed
	}()
	client := p.client()
	t.Cleanup(func() {
		s.drain(t)
		client.CloseIdleConnections()
		srv.Close()
		<-done
	})
	return s, client
}

func TestNoHelloInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, client := inBubble(t, wsconn.Config{AuthTimeout: 7 * time.Second})
		start := time.Now()
		d := s.dial(t, client)
		d.expect(wire.TypeChallenge)
		d.closed(wire.CloseAuthTimeout)
		if got := time.Since(start); got != 7*time.Second {
			t.Errorf("closed after %v", got)
		}
		synctest.Wait()
		if got := s.Stats(); got.Pending != 0 || got.Closings[wire.CloseAuthTimeout] != 1 {
			t.Errorf("stats %+v", got)
		}
	})
}

func TestHelloThatHangsInTheBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, client := inBubble(t, wsconn.Config{})
		s.relay.onHello = func(ctx context.Context, _ wire.DeviceID) error {
			<-ctx.Done()
			return ctx.Err()
		}
		d := s.dial(t, client)
		d.expect(wire.TypeChallenge)
		time.Sleep(9 * time.Second)
		start := time.Now()
		d.send(helloOf("dev_a"))
		d.expect(wire.TypeError)
		d.closed(wire.CloseInternal) // which says "come back": the device was in time
		if got := time.Since(start); got != 10*time.Second {
			t.Errorf("the backend had %v", got)
		}
	})
}

// A device cannot be heard while the server carries out what it has sent: on a cluster
// without a leader that takes seconds, and must not look like the device's silence, nor like
// that of a network that is gone.
func TestBusyBackendIsNotASilentDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, client := inBubble(t, wsconn.Config{})
		s.relay.onHandle = func(wsconn.Identity, wire.Envelope, wsconn.Outbox) bool {
			time.Sleep(5 * time.Minute)
			return false
		}
		d := s.dial(t, client)
		d.hello("dev_a")
		d.send(wire.Envelope{Type: wire.TypeReport, ID: "r"})
		begun := time.Now()
		for last := begun; ; last = time.Now() {
			e, err := d.read()
			if err != nil {
				t.Fatalf("after %v: %v", time.Since(begun), err)
			}
			if silent := time.Since(last); silent > 2*time.Second {
				t.Errorf("silent for %v while at work", silent)
			}
			if e.Type == wire.TypeAck {
				break
			}
		}
		start := time.Now() // and is one again, once nothing is carried out
		d.expect(wire.TypePing)
		d.closed(wire.CloseHeartbeat)
		if got := time.Since(start); got < 50*time.Second || got > 75*time.Second {
			t.Errorf("closed after %v", got)
		}
	})
}

func TestHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, client := inBubble(t, wsconn.Config{})
		d := s.dial(t, client)
		d.hello("dev_a")
		start := time.Now()
		for i := range 5 { // a device that answers stays
			d.expect(wire.TypePing)
			if got, want := time.Since(start), time.Duration(i+1)*25*time.Second; got != want {
				t.Errorf("ping after %v, want %v", got, want)
			}
			d.send(wire.Envelope{Type: wire.TypePong})
		}
		heard := time.Now()
		d.expect(wire.TypePing)
		d.closed(wire.CloseHeartbeat) // one that does not answer goes
		if got := time.Since(heard); got != 50*time.Second {
			t.Errorf("closed after %v of silence", got)
		}
	})
}

func TestNoHeartbeatIntoTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, client := inBubble(t, wsconn.Config{})
		d := s.dial(t, client)
		d.hello("dev_a")
		for range 20 { // both sides speak often enough
			time.Sleep(20 * time.Second)
			d.send(wire.Envelope{Type: wire.TypeReport, ID: "r"})
			d.expect(wire.TypeAck)
		}
	})
}

func TestSilentDeviceIsPingedAlthoughItIsSentTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, client := inBubble(t, wsconn.Config{})
		d := s.dial(t, client)
		d.hello("dev_a")
		pings := 0
		for range 100 {
			time.Sleep(5 * time.Second)
			s.relay.publish(nil, []byte(`{"type":"message"}`))
			for {
				e, err := d.read()
				if err != nil {
					t.Fatal(err)
				}
				if e.Type == wire.TypeMessage {
					break
				}
				pings++
				d.send(wire.Envelope{Type: wire.TypePong})
			}
		}
		if pings < 15 || pings > 20 {
			t.Errorf("%d pings in 500 s", pings)
		}
	})
}

func TestHalfOpenConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, client := inBubble(t, wsconn.Config{})
		start := time.Now()
		s.dial(t, client).hello("dev_a") // and never reads or writes again
		for s.relay.gone() == 0 {
			time.Sleep(time.Second) // of the bubble
		}
		// Two heartbeats of silence, and the time for a close frame that nobody takes.
		if got := time.Since(start); got < 55*time.Second || got > 56*time.Second {
			t.Errorf("gone after %v", got)
		}
		if got := s.Stats(); got.Closings[wire.CloseHeartbeat] != 1 || got.Open() != 0 {
			t.Errorf("stats %+v", got)
		}
	})
}

func TestReaderThatOnlySends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, client := inBubble(t, wsconn.Config{})
		d := s.dial(t, client)
		d.hello("dev_a")
		s.relay.publish(nil, []byte(`{"type":"message"}`))
		start := time.Now()
		for s.Stats().Closings[wire.CloseHeartbeat] == 0 {
			time.Sleep(time.Second)
			d.send(wire.Envelope{Type: wire.TypePong})
		}
		if got := time.Since(start); got > 76*time.Second {
			t.Errorf("closed after %v", got)
		}
	})
}

func TestDeadConnectionMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, client := inBubble(t, wsconn.Config{MaxConnsPerDevice: 2})
		alive := s.dial(t, client)
		alive.hello("dev_a")
		dead := s.dial(t, client)
		dead.hello("dev_a")
		time.Sleep(24 * time.Second)
		alive.send(wire.Envelope{Type: wire.TypeReport, ID: "r"})
		alive.expect(wire.TypeAck)
		time.Sleep(2 * time.Second)
		s.dial(t, client).hello("dev_a") // the network is back
		dead.expect(wire.TypePing)
		dead.closed(wire.CloseTooMany)
		alive.send(wire.Envelope{Type: wire.TypeReport, ID: "r"})
		alive.expect(wire.TypeAck)
	})
}

func TestDrainIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, client := inBubble(t, wsconn.Config{DrainSpread: 10 * time.Second})
		start := time.Now()
		ends := make(chan time.Duration, 5)
		for range cap(ends) {
			d := s.dial(t, client)
			d.hello("dev_a")
			go func() {
				_, _ = d.read()
				ends <- time.Since(start)
			}()
		}
		s.drain(t)
		for i := range cap(ends) {
			if got, want := <-ends, time.Duration(i)*2*time.Second; got != want {
				t.Errorf("end %d after %v, want %v", i, got, want)
			}
		}
	})
}

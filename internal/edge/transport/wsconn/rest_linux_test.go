package wsconn_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/tandem-call/tandem/internal/edge/transport/wsconn"
	"github.com/tandem-call/tandem/wire"
)

// rests waits until so many connections have no goroutine.
func (s *server) rests(t *testing.T, n int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); s.Resting() != n; <-tick.C {
		if time.Since(began) > time.Minute {
			t.Fatalf("%d connections rest, want %d", s.Resting(), n)
		}
	}
}

// TestRest: whatever happens to a connection that rests wakes it, again and again.
func TestRest(t *testing.T) {
	s := serve(t, wsconn.Config{})
	const many = 300
	before := runtime.NumGoroutine()
	var all []*raw
	for i := range many {
		all = append(all, s.raw(t, fmt.Sprint("dev_", i)))
	}
	s.rests(t, many)
	// Those that are left belong to the HTTP server and to this test.
	if n := runtime.NumGoroutine() - before; n > many/10 {
		t.Errorf("%d goroutines for %d connections that rest", n, many)
	}
	for range 2 {
		for _, r := range all { // what the device says
			r.write(finText, []byte(`{"type":"ping"}`))
			r.text(`"pong"`)
			r.write(finPing, []byte("x"))
			r.read(finPong)
		}
		s.rests(t, many)
		s.relay.publish(nil, []byte(`{"type":"message"}`)) // what it is told
		for _, r := range all {
			r.text(`"message"`)
		}
		s.rests(t, many)
	}
	all[0].write(finClose, []byte{0x03, 0xe8}) // it says goodbye
	all[0].read(finClose)
	all[1].nc.Close() // or just goes
	s.CloseDevice(wire.DefaultTenant, "dev_2", wire.CloseRevoked)
	all[2].read(finClose)
	all[2].nc.Close()
	all[3].bytes([]byte{finText, 2, '{', '}'}) // or breaks the rules
	all[3].violated(wire.CodeBadFrame)
	s.rests(t, many-4)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = s.Drain(ctx) // cuts off those that do not answer
	for _, r := range all[4:] {
		if _, err := io.Copy(io.Discard, r.nc); err != nil {
			t.Fatal(err)
		}
	}
	if s.relay.gone() != many || s.Resting() != 0 {
		t.Errorf("%d detached, %d rest", s.relay.gone(), s.Resting())
	}
}

// TestNoRestWithinAMessage: a message whose parts come seconds apart arrives whole.
func TestNoRestWithinAMessage(t *testing.T) {
	s := serve(t, wsconn.Config{})
	idle := s.connect(t, "dev_idle")
	frame := masked(finText, encode(wire.Envelope{Type: wire.TypeSend, ID: "r", Session: "s", Kind: "text", Body: json.RawMessage(`"hello"`)}))
	half, fragment := s.raw(t, "dev_half"), s.raw(t, "dev_fragment")
	half.bytes(frame[:len(frame)/2])
	fragment.write(opText, frame[6:20])
	s.rests(t, 1)
	late := s.connect(t, "dev_late")
	s.rests(t, 2) // so the time of the other two has come as well
	half.bytes(frame[len(frame)/2:])
	half.text(`"ack"`)
	fragment.write(fin, frame[20:])
	for _, d := range []*device{idle, late} {
		d.expect(wire.TypeMessage)
		d.expect(wire.TypeMessage)
	}
}

// TestDescriptorsComeAgain: connections that are cut while they rest give their
// descriptors to new ones, and all come to their end.
func TestDescriptorsComeAgain(t *testing.T) {
	s := serve(t, wsconn.Config{})
	const rounds, many = 3, 50
	for range rounds {
		var all []*raw
		for i := range many {
			all = append(all, s.raw(t, fmt.Sprint("dev_", i)))
		}
		s.rests(t, many)
		for i, r := range all {
			if i%2 == 0 {
				r.nc.(*net.TCPConn).SetLinger(0)
				r.nc.Close()
				continue
			}
			s.CloseDevice(wire.DefaultTenant, wire.DeviceID(fmt.Sprint("dev_", i)), wire.CloseRevoked)
			r.read(finClose)
			r.nc.Close()
		}
		s.rests(t, 0)
	}
	for began := time.Now(); s.relay.gone() != rounds*many; runtime.Gosched() {
		if time.Since(began) > time.Minute {
			t.Fatalf("%d of %d came to their end", s.relay.gone(), rounds*many)
		}
	}
}

// TestLargeMessagesBetweenSmallOnes: the buffer grows for a large message, and only for it.
func TestLargeMessagesBetweenSmallOnes(t *testing.T) {
	s := serve(t, wsconn.Config{})
	a, b := s.connect(t, "dev_a"), s.connect(t, "dev_b")
	b.ws.SetReadLimit(1 << 20)
	for i := range 50 {
		body, _ := json.Marshal(string(bytes.Repeat([]byte{'a' + byte(i%26)}, i%3*30_000)))
		frame := encode(wire.Envelope{Type: wire.TypeSend, ID: "r", Session: "s", Kind: "text", Body: body})
		if err := a.ws.Write(t.Context(), websocket.MessageText, frame); err != nil {
			t.Fatal(err)
		}
		a.expect(wire.TypeAck)
		if e := b.expect(wire.TypeMessage); !bytes.Equal(e.Body, body) {
			t.Fatalf("%d bytes became %d", len(body), len(e.Body))
		}
	}
}

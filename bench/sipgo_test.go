package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/lxzan/gws"
)

// These tests hold what docs/adr/0018-own-sip-transactions.md says of sipgo, at the version in
// go.mod. When one fails since sipgo has changed, the decision is to be looked at anew.

// sipgoServer serves on a loopback address with one of sipgo's Serve functions.
func sipgoServer(t *testing.T, serve func(*sipgo.Server) error) *sipgo.Server {
	t.Helper()
	sip.SetDefaultLogger(slog.New(slog.DiscardHandler))
	ua, err := sipgo.NewUA()
	if err != nil {
		t.Fatal(err)
	}
	s, err := sipgo.NewServer(ua)
	if err != nil {
		t.Fatal(err)
	}
	s.OnOptions(func(req *sip.Request, tx sip.ServerTransaction) {
		_ = tx.Respond(sip.NewResponseFromRequest(req, 200, "OK", nil)) // the test sees whether it came
	})
	done := make(chan struct{})
	go func() { defer close(done); _ = serve(s) }() // ends when it is closed
	t.Cleanup(func() { ua.Close(); <-done })
	return s
}

func sipgoUDP(t *testing.T) (*sipgo.Server, net.Conn) {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := sipgoServer(t, func(s *sipgo.Server) error { return s.ServeUDP(l) })
	t.Cleanup(func() { l.Close() })
	return s, dialed(t, "udp", l.LocalAddr().String())
}

func dialed(t *testing.T, network, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c
}

func sipRequest(method, cseq, transport string, more ...string) string {
	return fmt.Sprintf("%s sip:bob@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/%s 127.0.0.1:5099;branch=z9hG4bK1%s;rport\r\nMax-Forwards: 70\r\n"+
		"From: <sip:alice@127.0.0.1>;tag=a;odd=\"xy\"\r\nTo: <sip:bob@127.0.0.1>\r\nCall-ID: 1\r\nCSeq: %s\r\nContact: <sip:alice@127.0.0.1:5099>\r\n%sContent-Length: 0\r\n\r\n",
		method, transport, strings.Fields(cseq)[0], cseq, strings.Join(more, ""))
}

func sent(t *testing.T, c net.Conn, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if _, err := io.WriteString(c, m); err != nil {
			t.Fatal(err)
		}
	}
}

// received returns the start line and CSeq of the next datagram.
func received(t *testing.T, c net.Conn) string {
	t.Helper()
	b := make([]byte, 65536)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	m, err := sip.ParseMessage(b[:n])
	if err != nil {
		t.Fatal(err)
	}
	res, ok := m.(*sip.Response)
	if !ok {
		t.Fatalf("no response: %s", b[:n])
	}
	return fmt.Sprintf("%d %s", res.StatusCode, res.CSeq().MethodName)
}

// TestSipgoRewrites: methods become capitals, and a Via is spoilt in which a quoted parameter follows
// one without a value.
func TestSipgoRewrites(t *testing.T) {
	const tail = ";rport;odd=\"xy\"\r\n"
	text := strings.Replace(sipRequest("Interesting", "1 Interesting", "UDP"), ";rport\r\n", tail, 1)
	m, err := sip.ParseMessage([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if s := m.String(); strings.HasPrefix(s, "Interesting ") || strings.Contains(s, "z9hG4bK11"+tail) {
		t.Errorf("it keeps what came:\n%s", s)
	}
}

// TestSipgoSilent: to what it cannot parse it says nothing over UDP, and closes over TCP.
func TestSipgoSilent(t *testing.T) {
	_, c := sipgoUDP(t)
	sent(t, c, sipRequest("OPTIONS", "one OPTIONS", "UDP"), sipRequest("OPTIONS", "2 OPTIONS", "UDP"))
	b := make([]byte, 65536)
	n, err := c.Read(b)
	if err != nil || !strings.HasPrefix(string(b[:n]), "SIP/2.0 200") || !strings.Contains(string(b[:n]), "CSeq: 2 OPTIONS") {
		t.Errorf("%v\n%s", err, b[:n])
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sipgoServer(t, func(s *sipgo.Server) error { return s.ServeTCP(l) })
	t.Cleanup(func() { l.Close() })
	c = dialed(t, "tcp", l.Addr().String())
	sent(t, c, sipRequest("OPTIONS", "one OPTIONS", "TCP"))
	if b, err := io.ReadAll(c); len(b) > 0 || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v\n%s", err, b)
	}
}

// TestSipgoCancels: it answers a CANCEL and the INVITE by itself; the handler has said nothing.
func TestSipgoCancels(t *testing.T) {
	s, c := sipgoUDP(t)
	s.OnInvite(func(_ *sip.Request, tx sip.ServerTransaction) { <-tx.Done() })
	sent(t, c, sipRequest("INVITE", "1 INVITE", "UDP"))
	for got := received(t, c); ; got = received(t, c) { // 100 after 200 ms
		if strings.HasPrefix(got, "100") {
			break
		}
	}
	sent(t, c, sipRequest("CANCEL", "1 CANCEL", "UDP"))
	if got := received(t, c); got != "200 CANCEL" {
		t.Error(got)
	}
	if got := received(t, c); got != "487 INVITE" {
		t.Error(got)
	}
}

// TestSipgoEnds: a server transaction ends when the handler returns, so each needs a goroutine that
// waits.
func TestSipgoEnds(t *testing.T) {
	s, c := sipgoUDP(t)
	kept := make(chan sip.ServerTransaction, 1)
	s.OnInvite(func(_ *sip.Request, tx sip.ServerTransaction) { kept <- tx })
	sent(t, c, sipRequest("INVITE", "1 INVITE", "UDP"))
	tx := <-kept
	select {
	case <-tx.Done():
	case <-time.After(time.Minute):
		t.Error("it goes on")
	}
}

// TestSipgoShort: it sends no more than 1300 bytes over UDP, not even an answer.
func TestSipgoShort(t *testing.T) {
	s, c := sipgoUDP(t)
	got := make(chan error, 1)
	s.OnMessage(func(req *sip.Request, tx sip.ServerTransaction) {
		got <- tx.Respond(sip.NewResponseFromRequest(req, 200, "OK", make([]byte, 1400)))
	})
	sent(t, c, sipRequest("MESSAGE", "1 MESSAGE", "UDP"))
	if err := <-got; !errors.Is(err, sip.ErrUDPMTUCongestion) {
		t.Error(err)
	}
}

type sipgoPage struct {
	gws.BuiltinEventHandler
	got chan string
}

func (p *sipgoPage) OnMessage(_ *gws.Conn, m *gws.Message) { p.got <- m.Data.String() }
func (p *sipgoPage) OnClose(*gws.Conn, error)              { close(p.got) }

// TestSipgoPing: after a ping with a payload it reads the payload as the next frame's header.
func TestSipgoPing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sipgoServer(t, func(s *sipgo.Server) error { return s.ServeWS(l) })
	t.Cleanup(func() { l.Close() })
	for _, ping := range []bool{false, true} {
		p := &sipgoPage{got: make(chan string, 10)}
		c, _, err := gws.NewClient(p, &gws.ClientOption{Addr: "ws://" + l.Addr().String(), RequestHeader: http.Header{"Sec-WebSocket-Protocol": {"sip"}}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { defer close(done); c.ReadLoop() }()
		if ping {
			if err := c.WritePing([]byte("still there?")); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.WriteString(sipRequest("OPTIONS", "7 OPTIONS", "WS")); err != nil {
			t.Fatal(err)
		}
		answered := false
		select {
		case m, ok := <-p.got:
			answered = ok && strings.Contains(m, "CSeq: 7 OPTIONS")
		case <-time.After(5 * time.Second): // lost for good
		}
		if answered == ping {
			t.Errorf("with a ping: %v, answered: %v", ping, answered)
		}
		_ = c.NetConn().Close()
		<-done
	}
}

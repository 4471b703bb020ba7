package sip

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/lxzan/gws"
)

// Subprotocol is that of SIP over WebSocket (RFC 7118 4).
const Subprotocol = "sip"

// WebSocket serves a connection of SIP over WebSocket (RFC 7118). The caller has judged
// its origin. It returns when the connection is over.
func (e *Element) WebSocket(w http.ResponseWriter, r *http.Request) {
	remote := e.cfg.Remote(r)
	c, err := e.upgrader.Upgrade(w, r)
	if err != nil {
		e.log.Debug("a WebSocket was not opened", "remote", remote, "err", err)
		return
	}
	transport := "WS"
	if r.TLS != nil {
		transport = "WSS"
	}
	port := netip.AddrPort{}
	if ap, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		port = ap
	}
	if !remote.IsValid() {
		remote = port.Addr()
	}
	own := e.newConn(transport, netip.AddrPortFrom(remote.Unmap(), port.Port()), false, func(b []byte) error {
		if err := c.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
			return err
		}
		return c.WriteMessage(gws.OpcodeText, b)
	}, func() error { return c.NetConn().Close() })
	if own == nil {
		_ = c.WriteClose(1013, []byte("too many connections")) // and if it is gone already, good
		return
	}
	c.Session().Store(connKey, own)
	go own.pump()
	defer e.work.Done()
	defer own.stop()
	c.ReadLoop()
}

const connKey = "conn"

// wsEvents takes what comes over the WebSockets.
type wsEvents struct {
	gws.BuiltinEventHandler
	e *Element
}

func connOf(c *gws.Conn) *conn {
	own, _ := c.Session().Load(connKey)
	k, _ := own.(*conn)
	return k
}

// OnPing answers a ping, which shows that the other side lives.
func (w wsEvents) OnPing(c *gws.Conn, payload []byte) {
	if own := connOf(c); own != nil {
		own.hear()
	}
	_ = c.WritePong(payload) // a connection that is over says so when it is read
}

// OnMessage takes one SIP message, text or binary (RFC 7118 5).
func (w wsEvents) OnMessage(c *gws.Conn, message *gws.Message) {
	defer message.Close()
	own := connOf(c)
	if own == nil {
		return
	}
	own.hear()
	data := message.Bytes()
	if string(data) == "\r\n\r\n" { // RFC 7118 6, RFC 5626 4.4.1
		own.send([]byte("\r\n"))
		return
	}
	if string(data) == "\r\n" {
		return
	}
	m, fault := parseDatagram(data)
	w.e.receive(m, fault, own.flow())
}

func newUpgrader(e *Element) *gws.Upgrader {
	return gws.NewUpgrader(wsEvents{e: e}, &gws.ServerOption{
		ReadMaxPayloadSize: maxMessage, ParallelGolimit: 1, SubProtocols: []string{Subprotocol}, HandshakeTimeout: 10 * time.Second,
		Logger: gwsSilence{},
	})
}

// gwsSilence: what gws would log is the other side's fault, and comes back as an error.
type gwsSilence struct{}

func (gwsSilence) Error(...any) {}

package sip

import (
	"context"
	"encoding/binary"
	"net/netip"
	"strings"
)

// flow is a way to a peer: an address as a UDP socket sees it, or a connection (RFC 5626 2).
type flow struct {
	transport string // as in Via: UDP, TCP, TLS, WS, WSS
	remote    netip.AddrPort
	udp       *udpSocket // or
	conn      *conn
}

func (f *flow) reliable() bool { return f.conn != nil }

// send sends a message; false: it is not on its way, for the connection is over.
func (f *flow) send(b []byte) bool {
	if f.conn != nil {
		return f.conn.send(b)
	}
	return f.udp.send(b, f.remote)
}

// same: both lead to the same place by the same way.
func (f *flow) same(g *flow) bool { return f.conn == g.conn && (f.conn != nil || f.remote == g.remote) }

// alive: something can be sent by it.
func (f *flow) alive() bool { return f.conn == nil || !f.conn.over() }

// final: when the connection is over, nothing more comes from the other side. Of a WebSocket
// that is so (RFC 7118 5), while others may connect anew to answer (RFC 3261 18.2.2).
func (f *flow) final() bool { return f.transport == "WS" || f.transport == "WSS" }

// whenOver calls then, in the shard, when the connection of a flow ends. It is forgotten by stop.
func (s *shard) whenOver(f *flow, then func()) (stop func() bool) {
	if f.conn == nil {
		return func() bool { return false }
	}
	return context.AfterFunc(f.conn.ended, func() { s.do(then) })
}

// backTo is the flow for answers to a request with this Via on top: where it came from;
// over UDP, without rport, at the port that Via says (RFC 3261 18.2.2, RFC 3581 4).
func (f *flow) backTo(v via) *flow {
	if f.conn != nil {
		return f
	}
	if _, ok := v.params.get("rport"); ok {
		return f
	}
	port := v.port
	if port == 0 {
		port = 5060
	}
	if port == f.remote.Port() {
		return f
	}
	return &flow{transport: f.transport, udp: f.udp, remote: netip.AddrPortFrom(f.remote.Addr(), port)}
}

// stamp notes in the topmost Via where a request came from (RFC 3261 18.2.1, RFC 3581 4).
func (f *flow) stamp(m *Message) {
	v := m.topVia()
	_, rport := v.params.get("rport")
	source := f.remote.Addr().String()
	if !rport && v.host == source {
		return
	}
	v.params = v.params.set("received", source)
	if rport {
		v.params = v.params.set("rport", strings.TrimPrefix(hostPort("", f.remote.Port()), ":"))
	}
	m.Pop(Via)
	m.Push(Via, v.String())
}

// The bytes of a flow in a token. Those of a connection hold until it, or the server, ends.
const (
	flowUDP  = 'u'
	flowConn = 'c'
	flowNone = 'n' // the Request-URI says where to
)

func (f *flow) encode() []byte {
	switch {
	case f == nil:
		return []byte{flowNone}
	case f.conn != nil:
		return binary.BigEndian.AppendUint64([]byte{flowConn}, f.conn.id)
	}
	b, _ := f.remote.MarshalBinary() // never fails
	return append([]byte{flowUDP}, b...)
}

// decodeFlow returns the flow of a token, nil if it says none or is over. gone: it was a
// connection that is no more.
func (e *Element) decodeFlow(b []byte) (f *flow, gone bool) {
	if len(b) == 0 {
		return nil, false
	}
	switch b[0] {
	case flowUDP:
		var a netip.AddrPort
		if a.UnmarshalBinary(b[1:]) == nil && e.udp != nil {
			return &flow{transport: "UDP", udp: e.udp, remote: a}, false
		}
	case flowConn:
		if len(b) == 9 {
			if c := e.conns.byID(binary.BigEndian.Uint64(b[1:])); c != nil {
				return c.flow(), false
			}
		}
		return nil, true
	}
	return nil, false
}

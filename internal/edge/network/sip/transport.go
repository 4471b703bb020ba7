package sip

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/tandem-call/tandem/internal/ipnet"
)

// The bounds of connections.
const (
	// idle is how long a connection may be silent that neither a call nor a registration needs. (A peer that is gone
	// is found by TCP's keep-alive, which Go turns on.) It is looked after at each silenceEvery.
	idle, silenceEvery = 10 * time.Minute, time.Minute
	// unwritten messages wait for a slow peer; then the connection is closed.
	unwritten = 256
	// refusalsEvery is how often it is logged that connections are refused.
	refusalsEvery = time.Minute
	// dialTime bounds the making of a connection, writeTime one write.
	dialTime, writeTime = 5 * time.Second, 10 * time.Second
)

// udpSocket receives and sends datagrams.
type udpSocket struct {
	*net.UDPConn
	e *Element
}

func (u *udpSocket) send(b []byte, to netip.AddrPort) bool {
	_, err := u.WriteToUDPAddrPort(b, to)
	if err != nil {
		u.e.stats.Unsent.Add(1)
	}
	return err == nil
}

func (u *udpSocket) read() error {
	buf := make([]byte, maxMessage+1)
	for {
		n, from, err := u.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			continue // one datagram's fault: ICMP, or one too large
		}
		data := buf[:n]
		f := &flow{transport: "UDP", udp: u, remote: netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}
		if len(bytes.Trim(data, "\r\n\x00")) == 0 {
			continue // keeps a NAT open (RFC 5626 4.4.2 uses STUN, phones do this)
		}
		m, fault := parseDatagram(data)
		u.e.receive(m, fault, f)
	}
}

// conn is a connection: TCP, TLS or WebSocket.
type conn struct {
	e         *Element
	id        uint64
	transport string
	remote    netip.AddrPort
	ours      bool // we have connected
	out       chan []byte
	ended     context.Context // done when the connection is over
	end       context.CancelFunc
	once      sync.Once
	heard     atomic.Int64       // when something came last, in nanoseconds
	calls     atomic.Int64       // that go by it
	proof     *x509.Certificate  // of a TLS peer, checked; nil: it has shown none
	write     func([]byte) error // one message
	close     func() error
}

func (c *conn) flow() *flow { return &flow{transport: c.transport, remote: c.remote, conn: c} }

func (c *conn) over() bool { return c.ended.Err() != nil }

// hear notes that something has come.
func (c *conn) hear() { c.heard.Store(time.Now().UnixNano()) }

// send queues a message. A peer that reads too slowly loses its connection.
func (c *conn) send(b []byte) bool {
	if c.over() {
		return false
	}
	select {
	case c.out <- b:
		return true
	default:
		c.e.stats.Unsent.Add(1)
		c.stop()
		return false
	}
}

func (c *conn) stop() {
	c.once.Do(func() {
		c.end()
		_ = c.close() // it is over either way
		c.e.conns.remove(c)
		c.e.location.dropFlow(c)
	})
}

// finish closes the connection when what is queued is written.
func (c *conn) finish() {
	select {
	case c.out <- nil:
		select {
		case <-c.ended.Done():
		case <-time.After(writeTime):
		}
	default:
	}
	c.stop()
}

// pump writes what is queued; nil is the end.
func (c *conn) pump() {
	defer c.e.work.Done()
	for {
		select {
		case <-c.ended.Done():
			return
		case b := <-c.out:
			if b == nil {
				c.stop()
				return
			}
			if err := c.write(b); err != nil {
				c.stop()
				return
			}
		}
	}
}

// conns are the connections that are open.
type conns struct {
	mu       sync.Mutex
	all      map[uint64]*conn
	byRemote map[remoteKey]*conn
	perAddr  map[string]int // that came in
	shut     bool
	refused  rate.Sometimes // is logged
}

type remoteKey struct {
	transport string
	remote    netip.AddrPort
}

// newConn keeps a connection, whether it came in or is ours; nil if there are too many. The caller starts its
// pump, and says that it has done reading.
func (e *Element) newConn(transport string, remote netip.AddrPort, ours bool, write func([]byte) error, shut func() error) *conn {
	c := &conn{e: e, id: rand.Uint64(), transport: transport, remote: remote, ours: ours, out: make(chan []byte, unwritten), write: write, close: shut}
	c.ended, c.end = context.WithCancel(context.Background())
	c.hear()
	k := &e.conns
	k.mu.Lock()
	defer k.mu.Unlock()
	tooMany := !ours && k.perAddr[ipnet.Of(remote.Addr())] >= e.cfg.MaxPerAddress && !remote.Addr().IsLoopback()
	if k.shut || len(k.all) >= e.cfg.MaxConnections || tooMany {
		e.stats.RefusedConns.Add(1)
		if !k.shut {
			k.refused.Do(func() {
				e.log.Warn("SIP connections are refused", "remote", remote, "too many of the address", tooMany, "connections", len(k.all))
			})
		}
		c.end()
		return nil
	}
	k.all[c.id] = c
	k.byRemote[remoteKey{transport, remote}] = c
	if !ours {
		k.perAddr[ipnet.Of(remote.Addr())]++
	}
	e.work.Add(2) // pump, and whoever reads
	return c
}

func (k *conns) remove(c *conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.all, c.id)
	if key := (remoteKey{c.transport, c.remote}); k.byRemote[key] == c {
		delete(k.byRemote, key)
	}
	if c.ours {
		return
	}
	n := ipnet.Of(c.remote.Addr())
	if k.perAddr[n]--; k.perAddr[n] <= 0 {
		delete(k.perAddr, n)
	}
}

func (k *conns) byID(id uint64) *conn {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.all[id]
}

// to returns a connection to an address that leads to the host, as a URI names it; nil if there is none.
func (k *conns) to(transport string, remote netip.AddrPort, host string) *conn {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c := k.byRemote[remoteKey{transport, remote}]; c != nil && !c.over() && c.proved(host) {
		return c
	}
	return nil
}

func (k *conns) len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.all)
}

// stop closes all of them and takes no more.
func (k *conns) stop() {
	k.mu.Lock()
	k.shut = true
	k.mu.Unlock()
	for _, c := range k.open() {
		c.stop()
	}
}

func (k *conns) open() []*conn {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Collect(maps.Values(k.all))
}

// silence ends connections that are silent.
func (e *Element) silence(ctx context.Context) error {
	t := time.NewTicker(silenceEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			e.endSilent(now)
		}
	}
}

// endSilent ends the connections by which nothing has come for too long, unless a call goes by them or a telephone has
// registered by them: within both, others must reach who is at the other end.
func (e *Element) endSilent(now time.Time) {
	registered := e.location.conns(now)
	for _, c := range e.conns.open() {
		if now.Sub(time.Unix(0, c.heard.Load())) >= idle && c.calls.Load() == 0 && !registered[c] {
			c.stop()
		}
	}
}

// accept takes connections until the listener closes.
func (e *Element) accept(l net.Listener, transport string) error {
	for {
		nc, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			time.Sleep(10 * time.Millisecond) // out of file descriptors, and the like
			continue
		}
		if c := e.streamConn(nc, transport, false); c == nil {
			_ = nc.Close() // refused
		}
	}
}

// streamConn serves a connection of TCP or TLS, that came in or is ours; nil if there are too many.
func (e *Element) streamConn(nc net.Conn, transport string, ours bool) *conn {
	remote, err := netip.ParseAddrPort(nc.RemoteAddr().String())
	if err != nil {
		return nil
	}
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	c := e.newConn(transport, remote, ours, func(b []byte) error {
		if err := nc.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
			return err
		}
		_, err := nc.Write(b)
		return err
	}, nc.Close)
	if c == nil {
		return nil
	}
	if t, ok := nc.(*tls.Conn); ok && t.ConnectionState().HandshakeComplete { // we have connected
		e.conns.prove(c, t.ConnectionState())
	}
	go c.pump()
	go func() {
		defer e.work.Done()
		defer c.stop()
		if e.shake(nc, c) {
			e.readStream(nc, c)
		}
	}()
	return c
}

// readStream reads messages one after the other (RFC 3261 18.3).
func (e *Element) readStream(nc net.Conn, c *conn) {
	r := bufio.NewReaderSize(nc, 8<<10)
	for {
		if err := nc.SetReadDeadline(time.Time{}); err != nil {
			return
		}
		first, err := r.ReadByte()
		if err != nil {
			return
		}
		c.hear()
		if first == '\r' || first == '\n' { // before a message, or a keep-alive
			if b, err := r.Peek(3); first == '\r' && err == nil && string(b) == "\n\r\n" {
				if _, err := r.Discard(3); err != nil || !c.send([]byte("\r\n")) { // RFC 5626 4.4.1
					return
				}
			}
			continue
		}
		_ = r.UnreadByte() // it was just read
		// A message that has begun comes whole, or the connection is of no use.
		if err := nc.SetReadDeadline(time.Now().Add(e.times.patience())); err != nil {
			return
		}
		m, fault := readMessage(r)
		if m == nil && fault == nil {
			return
		}
		e.receive(m, fault, c.flow())
		if m == nil || fault != nil && fault.Lost {
			c.finish()
			return
		}
	}
}

// readMessage reads one message of a stream. Nil and nil: the stream is over.
func readMessage(r *bufio.Reader) (*Message, *Fault) {
	var head []byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		line, err := r.ReadSlice('\n')
		if len(head)+len(line) > maxMessage {
			return nil, lost(&Fault{Status: 513, Reason: reasons[513], Why: "the header fields are too large"})
		}
		head = append(head, line...)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, nil
		}
	}
	m, length, fault := parseHead(head[:len(head)-2])
	if m == nil || fault != nil && fault.Lost {
		return m, fault
	}
	if length < 0 { // RFC 3261 20.14: it must be there
		return m, lost(bad("Content-Length is missing"))
	}
	if length > 0 {
		m.Body = make([]byte, length)
		if _, err := io.ReadFull(r, m.Body); err != nil {
			return nil, nil
		}
	}
	if fault == nil {
		fault = validate(m)
	}
	return m, fault
}

// dial finds or makes a connection, away from any shard. Calls that want the same one at once share it.
func (e *Element) dial(ctx context.Context, transport string, to netip.AddrPort, name string) (*flow, error) {
	f, err, _ := e.dials.Do(transport+" "+to.String()+" "+name, func() (any, error) { return e.dialNow(ctx, transport, to, name) })
	if err != nil {
		return nil, err
	}
	return f.(*flow), nil
}

func (e *Element) dialNow(ctx context.Context, transport string, to netip.AddrPort, name string) (*flow, error) {
	if c := e.conns.to(transport, to, name); c != nil {
		return c.flow(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, fmt.Errorf("sip: connect: %w", err)
	}
	if transport == "TLS" {
		tc := tls.Client(nc, e.clientTLS(name, nc))
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("sip: TLS: %w", err), nc.Close())
		}
		nc = tc
	}
	c := e.streamConn(nc, transport, true)
	if c == nil {
		return nil, errors.Join(errors.New("sip: too many connections"), nc.Close())
	}
	return c.flow(), nil
}

package wsconn

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/lxzan/gws"
	"github.com/tandem-call/tandem/wire"
)

const (
	subprotocol = "tandem.v1"
	// readBuffer is small: it is what an idle connection holds.
	readBuffer = 512
	// badFrames in a row end a connection.
	badFrames = 10
	// rest is the silence after which a frame counts as one of an idle device.
	rest = time.Second
)

// socket is one WebSocket. gws reads it: framing, fragments, masking, UTF-8. It never
// writes: everything that goes out after the handshake is the outbox's.
type socket struct {
	outbox

	// Fixed after construction.
	nc     net.Conn
	from   Client // zero once it is authenticated
	ticket *ticket
	nonce  string
	below  under

	// Owned by the read loop.
	who    Identity
	joined bool
	undo   func()
	bad    int     // malformed frames in a row
	tokens float64 // of the flood protection
	filled int64   // when tokens were counted; see Handler.mark
	ended  error   // why the read loop ended
}

// under is the connection as gws sees it.
type under struct {
	net.Conn
	owner  *socket
	early  []byte // what was read already: by the HTTP server, or ahead
	raised bool   // the handshake is done: gws writes no more
	failed error  // of the last read
	// ahead is early's memory while much arrives at once, else nil.
	ahead *[]byte
	full  bool // the last read filled its memory, so there is probably more
}

// aheads are for those connections from which more arrives than readBuffer holds.
var aheads = sync.Pool{New: func() any { b := make([]byte, 8<<10); return &b }}

func (u *under) Read(p []byte) (int, error) {
	if len(u.early) == 0 && u.full && len(p) > 0 {
		if u.ahead == nil {
			u.ahead = aheads.Get().(*[]byte)
		}
		n, err := u.read(*u.ahead)
		if err != nil {
			u.spare()
			return 0, err
		}
		u.early = (*u.ahead)[:n]
	}
	if len(u.early) > 0 {
		n := copy(p, u.early)
		if u.early = u.early[n:]; len(u.early) == 0 {
			u.early = nil
			if !u.full {
				u.spare()
			}
		}
		return n, nil
	}
	return u.read(p)
}

func (u *under) read(p []byte) (int, error) {
	n, err := u.Conn.Read(p)
	u.full = n == len(p) && n >= readBuffer
	if n > 0 {
		return n, nil // an error shows again, after what was read
	}
	u.failed = err
	return 0, err
}

// spare gives the memory for reading ahead back.
func (u *under) spare() {
	if u.ahead != nil {
		aheads.Put(u.ahead)
		u.ahead = nil
	}
}

func (u *under) Write(p []byte) (int, error) {
	if u.raised {
		return len(p), nil // a close frame: socket.run sends its own, in order
	}
	return u.Conn.Write(p)
}

func (u *under) Close() error { return nil } // socket.run does

// Connect serves GET /v1/connect.
func (h *Handler) Connect(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Vary", "Origin")
	if _, _, p := h.origins.check(r); p != nil {
		h.refuse(w, p)
		return
	}
	if p := upgradable(w, r); p != nil {
		h.refuse(w, p)
		return
	}
	remote := h.cfg.RemoteAddr(r)
	t, p := h.reg.admit(remote, &h.cfg)
	if p != nil {
		h.refuse(w, p)
		return
	}
	nonce := h.cfg.Backend.Challenge()
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		h.reg.leave(t)
		h.refuse(w, wire.NewProblem(wire.CodeBadRequest, "a WebSocket needs HTTP/1.1"))
		return
	}
	c := &socket{nc: nc, from: Client{remote, strings.Clone(r.Host)}, ticket: t, nonce: nonce, filled: h.mark(), tokens: float64(h.cfg.FloodBurst)}
	c.below.Conn, c.below.owner = nc, c
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Reader.Peek(n) // it is in the buffer: no error
		c.below.early = bytes.Clone(early)
	}
	_ = nc.SetDeadline(time.Time{}) // the HTTP server's own; a broken connection shows in the handshake
	ws, err := h.gws.UpgradeFromConn(&c.below, bufio.NewReaderSize(&c.below, readBuffer), r)
	if err != nil {
		h.reg.leave(t)
		nc.Close()
		return
	}
	c.below.raised = true
	if !c.open(h, c) {
		h.reg.leave(t)
		nc.Close()
		return
	}
	c.Push(encode(wire.TypeChallenge, "", wire.Challenge{Nonce: c.nonce, TimeoutSeconds: int(h.cfg.AuthTimeout / time.Second)}))
	go c.run(ws) // not on this goroutine, whose stack and request would stay
}

// upgradable checks the handshake (RFC 6455 4.2.1) before it is too late for a clear
// answer, and leaves only our subprotocol in the request.
func upgradable(w http.ResponseWriter, r *http.Request) *wire.Problem {
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		return wire.NewProblem(wire.CodeMethodNotAllowed, "use GET, with Upgrade: websocket")
	case !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket"):
		w.Header().Set("Upgrade", "websocket")
		return wire.NewProblem(wire.CodeBadRequest, "this address speaks WebSocket only; without it use /v1/events and /v1/frames")
	case r.Header.Get("Sec-Websocket-Version") != "13":
		w.Header().Set("Sec-WebSocket-Version", "13")
		return wire.NewProblem(wire.CodeBadRequest, "this server speaks version 13 of WebSocket")
	case !hasToken(r.Header, "Sec-Websocket-Protocol", subprotocol):
		return wire.NewProblem(wire.CodeBadRequest, "name the subprotocol %s", subprotocol)
	}
	if key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-Websocket-Key")); err != nil || len(key) != 16 {
		return wire.NewProblem(wire.CodeBadRequest, "Sec-WebSocket-Key is not 16 bytes in base64")
	}
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("Sec-Websocket-Protocol", subprotocol)
	return nil
}

func hasToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for t := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// run reads until the connection ends, and then ends it properly (RFC 6455 7.1).
func (c *socket) run(ws *gws.Conn) {
	defer c.h.wg.Done()
	defer c.h.reg.exit(&c.outbox)
	fault := c.read(ws)
	defer c.below.spare()
	var bye *gws.CloseError
	switch {
	case c.below.failed != nil: // gone without a word, or cut off by us
		c.abort()
	case errors.As(c.ended, &bye):
		c.closeWith(sendable(bye.Code), "")
		<-c.flushed
	default:
		c.violated(fault)
		// Closing with unread bytes would reset the connection and might destroy what was
		// just sent. So read on, until the peer hangs up or the closing takes too long.
		_, _ = io.Copy(io.Discard, c.nc)
	}
	c.abort()
	<-c.flushed
	c.h.reg.leave(c.ticket)
	if c.undo != nil {
		c.undo()
	}
}

// read runs the read loop. What gws panics at is the peer's fault: a length of 2^63 or
// more, which RFC 6455 5.2 forbids and gws takes for a negative number.
func (c *socket) read(ws *gws.Conn) (fault string) {
	defer func() {
		if v := recover(); v != nil {
			fault = "impossible frame length"
		}
	}()
	ws.ReadLoop()
	if c.ended != nil {
		return strings.TrimPrefix(c.ended.Error(), "gws: ")
	}
	return ""
}

// violated answers what gws refused to read.
func (c *socket) violated(fault string) {
	p := wire.NewProblem(wire.CodeBadFrame, "not proper WebSocket: %s", fault)
	if s, ok := c.ended.(interface{ Uint16() uint16 }); ok && s.Uint16() == 1009 { // RFC 6455 7.4.1
		p = wire.NewProblem(wire.CodeTooLarge, "a frame may have %d bytes", c.h.cfg.Limits.FrameBytes)
	}
	c.Push(encode(wire.TypeError, "", p))
	c.Close(wire.CloseBadFrame, p.Title)
}

// message carries out one text or binary message. What that takes of the stack would stay
// with the connection, also with an idle one; so the hello, and what comes after a rest,
// such as a heartbeat, is carried out on a goroutine of its own.
func (c *socket) message(m *gws.Message) {
	defer m.Close()
	now := c.h.mark()
	if c.over() || !c.within(now) {
		return
	}
	rested := now-c.heard.Load() > int64(rest)
	c.heard.Store(now)
	if c.joined && !rested {
		c.carryOut(m)
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.carryOut(m)
	}()
	<-done
}

// carryOut ends the connection, and it alone, if there is a bug in what it leads to.
func (c *socket) carryOut(m *gws.Message) {
	if err := guard(func() error {
		c.frame(m)
		return nil
	}); err != nil {
		c.fail("", "read a frame", err)
	}
}

func (c *socket) frame(m *gws.Message) {
	c.h.count.framesIn.Add(1)
	c.h.count.bytesIn.Add(uint64(len(m.Bytes())))
	if m.Opcode != gws.OpcodeText {
		c.Push(encode(wire.TypeError, "", wire.NewProblem(wire.CodeBadFrame, "binary frames are not accepted")))
		c.Close(wire.CloseBadFrame, "binary frames are not accepted")
		return
	}
	e, err := wire.Decode(m.Bytes())
	if err != nil {
		c.malformed(e.ID, wire.ProblemOf(err))
		return
	}
	if !c.joined {
		c.hello(e)
		return
	}
	switch e.Type {
	case wire.TypePing:
		c.bad = 0
		c.Push(encode(wire.TypePong, e.ID, nil))
	case wire.TypePong:
		c.bad = 0
	case wire.TypeHello:
		c.malformed(e.ID, wire.NewProblem(wire.CodeBadFrame, "hello was said already"))
	default:
		c.bad = 0
		if err := guard(func() error {
			c.h.cfg.Backend.Handle(c.h.ctx, c.who, e, &c.outbox)
			return nil
		}); err != nil {
			c.fail(e.ID, "carry out the request", err)
		}
	}
}

// malformed answers a frame that is none; too many end the connection, and before the
// hello the first one does.
func (c *socket) malformed(id wire.RequestID, p *wire.Problem) {
	c.Push(encode(wire.TypeError, id, p))
	if c.bad++; c.bad >= badFrames || !c.joined {
		c.Close(wire.CloseBadFrame, "malformed frames")
	}
}

// hello authenticates the device.
func (c *socket) hello(e wire.Envelope) {
	if e.Type != wire.TypeHello {
		c.malformed(e.ID, wire.NewProblem(wire.CodeBadFrame, "the first frame must be hello"))
		return
	}
	hello, err := wire.DecodeBody[wire.Hello](e)
	if err != nil {
		c.malformed(e.ID, wire.ProblemOf(err))
		return
	}
	const doing = "authenticate the device"
	ctx, cancel := context.WithTimeout(c.h.ctx, c.h.cfg.AuthTimeout)
	defer cancel()
	err = guard(func() (err error) {
		c.who, err = c.h.cfg.Backend.Hello(ctx, c.nonce, hello, c.from)
		c.from = Client{}
		return err
	})
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return // the outbox's timer is due as well and says so
	}
	if err == nil {
		c.joined = true
		c.undo, err = c.h.attach(c.ticket, c.who, e.ID, &c.outbox)
	}
	if err != nil {
		c.fail(e.ID, doing, err)
	}
}

// fail answers with an error and closes.
func (c *socket) fail(id wire.RequestID, doing string, err error) {
	p := c.h.problem(doing, err)
	c.forget()
	c.Push(encode(wire.TypeError, id, p))
	c.Close(closeCode(p), p.Title)
}

// closeCode is the code that ends a connection for a problem of the hello.
func closeCode(p *wire.Problem) wire.CloseCode {
	switch {
	case p.Code == wire.CodeDraining:
		return wire.CloseDraining
	case p.Status >= 500:
		return wire.CloseInternal
	case p.Code == wire.CodeTooMany:
		return wire.CloseRate
	case p.Code == wire.CodeRevoked:
		return wire.CloseRevoked
	}
	return wire.CloseUnauthentic
}

// within is the flood protection: a token for every frame, of whatever kind.
func (c *socket) within(now int64) bool {
	c.tokens += time.Duration(now-c.filled).Seconds() * float64(c.h.cfg.FloodPerSecond)
	c.tokens = min(c.tokens, float64(c.h.cfg.FloodBurst))
	c.filled = now
	if c.tokens < 1 {
		c.Close(wire.CloseRate, "far too many frames")
		return false
	}
	c.tokens--
	return true
}

// sink

func (c *socket) appendFrame(dst, frame []byte) []byte { return appendFrame(dst, finText, frame) }

func (c *socket) appendClose(dst []byte, code uint16, reason string) []byte {
	return appendClose(dst, code, reason)
}

var pingFrame = appendFrame(nil, finText, encode(wire.TypePing, "", nil))

func (c *socket) heartbeat() []byte { return pingFrame }
func (c *socket) hears() bool       { return true }

func (c *socket) write(p []byte) error {
	_, err := c.nc.Write(p)
	return err
}

func (c *socket) hurry(t time.Time) { _ = c.nc.SetWriteDeadline(t) } // fails only when closed

func (c *socket) cut() { _ = c.nc.Close() }

// events leads gws's calls, all from the read loop, to the socket they are for.
type events struct{}

func socketOf(ws *gws.Conn) *socket { return ws.NetConn().(*under).owner }

func (events) OnOpen(*gws.Conn) {}

func (events) OnClose(ws *gws.Conn, err error) { socketOf(ws).ended = err }

func (events) OnPing(ws *gws.Conn, payload []byte) {
	c := socketOf(ws)
	if now := c.h.mark(); !c.over() && c.within(now) {
		c.heard.Store(now)
		c.overtake(appendFrame(nil, finPong, payload))
	}
}

func (events) OnPong(ws *gws.Conn, _ []byte) {
	c := socketOf(ws)
	if now := c.h.mark(); !c.over() && c.within(now) {
		c.heard.Store(now)
	}
}

func (events) OnMessage(ws *gws.Conn, m *gws.Message) { socketOf(ws).message(m) }

package wsconn

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/tandem-call/tandem/wire"
)

const (
	subprotocol = "tandem.v1"
	// badFrames in a row end a connection.
	badFrames = 10
	// rest is the silence after which a connection gives its goroutine and buffer back.
	rest = time.Second
)

// socket is one WebSocket. Everything that goes out after the handshake is the outbox's.
type socket struct {
	outbox

	// Fixed after construction.
	nc  net.Conn
	raw syscall.RawConn // of nc; nil where it cannot rest, as with TLS

	seat seat // the lounge's

	// Owned by the goroutine that reads, while there is one.
	in        reader
	who       Identity
	joined    bool
	*newcomer // nil once joined
	undo      func()
	bad       int     // malformed frames in a row
	tokens    float64 // of the flood protection
	filled    int64   // when tokens were counted; see Handler.mark
}

// newcomer is what is known of a connection before its hello.
type newcomer struct {
	from   Client
	ticket *ticket
	nonce  string
}

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
	c := &socket{nc: nc, newcomer: &newcomer{Client{remote, strings.Clone(r.Host)}, t, nonce}, filled: h.mark(), tokens: float64(h.cfg.FloodBurst)}
	c.in = reader{limit: h.cfg.Limits.FrameBytes, small: true}
	if sc, ok := nc.(syscall.Conn); ok {
		c.raw, err = sc.SyscallConn()
		c.in.small = err != nil
	}
	early, _ := rw.Reader.Peek(rw.Reader.Buffered()) // it is in the buffer: no error
	c.in.feed(early)
	_ = nc.SetDeadline(time.Time{}) // the HTTP server's own; a broken connection shows in the handshake
	if _, err := io.WriteString(nc, switching(r.Header.Get("Sec-Websocket-Key"))); err != nil {
		h.reg.leave(t)
		nc.Close()
		return
	}
	if !c.open(h, c) {
		h.reg.leave(t)
		nc.Close()
		return
	}
	c.Push(encode(wire.TypeChallenge, "", wire.Challenge{Nonce: c.nonce, TimeoutSeconds: int(h.cfg.AuthTimeout / time.Second)}))
	go c.run() // not on this goroutine, whose stack and request would stay
}

// switching is the answer to a proper handshake (RFC 6455 4.2.2).
func switching(key string) string {
	accept := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(accept[:]) + "\r\n" +
		"Sec-WebSocket-Protocol: " + subprotocol + "\r\n\r\n"
}

// upgradable checks the handshake (RFC 6455 4.2.1).
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

// run reads until the connection rests, or ends; then it ends it properly (RFC 6455 7.1).
func (c *socket) run() {
	c.h.lounge.wake(c)
	why := c.read()
	for errors.Is(why, errSilent) {
		if c.h.lounge.enter(c) {
			return
		}
		why = c.read()
	}
	defer c.h.wg.Done()
	defer c.h.reg.exit(&c.outbox)
	c.h.lounge.leave(c)
	var bye closed
	switch {
	case errors.As(why, &bye):
		c.closeWith(sendable(uint16(bye)), "")
		<-c.flushed
	case c.violated(why):
		// Closing with unread bytes would reset the connection and might destroy what was
		// just sent. So read on, until the peer hangs up or the closing takes too long.
		for err := os.ErrDeadlineExceeded; errors.Is(err, os.ErrDeadlineExceeded); {
			_ = c.nc.SetReadDeadline(time.Time{}) // the lounge may have set one
			_, err = io.Copy(io.Discard, c.nc)
		}
	}
	c.abort()
	<-c.flushed
	c.in.release()
	if c.newcomer != nil {
		c.h.reg.leave(c.ticket)
	}
	if c.undo != nil {
		c.undo()
	}
}

// errSilent: nothing has come for a while, and nothing that came is left.
var errSilent = errors.New("wsconn: silent")

// closed is the error for a close frame of the peer, with its code.
type closed uint16

func (c closed) Error() string { return fmt.Sprintf("wsconn: closed with %d", uint16(c)) }

// read carries out what comes, until there is a reason to stop.
func (c *socket) read() error {
	for {
		opcode, payload, err := c.in.next()
		if errors.Is(err, errShort) {
			err = c.in.fill(c.nc)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				_ = c.nc.SetReadDeadline(time.Time{}) // fails only when closed
				if err = nil; c.in.empty() {
					c.in.release()
					return errSilent
				}
			}
			if err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if opcode == opClose {
			return closed(closeCodeOf(payload))
		}
		now := c.h.mark()
		if c.over() || !c.within(now) {
			continue
		}
		c.heard.Store(now)
		switch opcode {
		case opPing:
			c.overtake(appendFrame(nil, finPong, payload))
		case opText, opBinary:
			c.busy.Store(true)
			c.carryOut(opcode, payload)
			c.heard.Store(c.h.mark())
			c.busy.Store(false)
		}
	}
}

// violated answers what the peer must not send; false if it was something else that ended
// the reading.
func (c *socket) violated(why error) bool {
	var v violation
	var p *wire.Problem
	switch {
	case errors.As(why, &v):
		p = wire.NewProblem(wire.CodeBadFrame, "not proper WebSocket: %s", v)
	case errors.Is(why, errTooLarge):
		p = wire.NewProblem(wire.CodeTooLarge, "a frame may have %d bytes", c.h.cfg.Limits.FrameBytes)
	default:
		return false
	}
	c.Push(encode(wire.TypeError, "", p))
	c.Close(wire.CloseBadFrame, p.Title)
	return true
}

// carryOut ends the connection, and it alone, if there is a bug in what it leads to.
func (c *socket) carryOut(opcode byte, payload []byte) {
	if err := guard(func() error {
		c.frame(opcode, payload)
		return nil
	}); err != nil {
		c.fail("", "read a frame", err)
	}
}

func (c *socket) frame(opcode byte, payload []byte) {
	c.h.count.framesIn.Add(1)
	c.h.count.bytesIn.Add(uint64(len(payload)))
	if opcode != opText {
		c.Push(encode(wire.TypeError, "", wire.NewProblem(wire.CodeBadFrame, "binary frames are not accepted")))
		c.Close(wire.CloseBadFrame, "binary frames are not accepted")
		return
	}
	e, err := wire.Decode(payload)
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
		return err
	})
	if err == nil {
		c.undo, err = c.h.attach(c.ticket, c.who, e.ID, &c.outbox)
		c.newcomer, c.joined = nil, true
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

func (c *socket) cut() {
	_ = c.nc.Close()
	c.h.lounge.disturb(c)
}

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"

	"github.com/lxzan/gws"
)

// The limit is the least that a relay can do: take a message from one connection, hand
// it to its partner and acknowledge it, all in memory, no names, no rights, no store. It
// gathers what goes to one connection into one write while the last one is under way.
//
// A message is a binary frame of 128 bytes that begins with 'm' and its number in 8
// bytes; its acknowledgement is 'a' and the number.

type limitServer struct {
	gws.BuiltinEventHandler
	mu    sync.Mutex
	pairs map[int][2]*limitConn
}

type limitConn struct {
	nc      net.Conn
	partner *limitConn

	mu       sync.Mutex
	out      []byte // frames to be written
	spare    []byte
	flushing bool
}

func serveLimit(ctx context.Context, _ string, ready func(string)) error {
	s := &limitServer{pairs: map[int][2]*limitConn{}}
	up := gws.NewUpgrader(s, &gws.ServerOption{ParallelEnabled: false, Logger: quiet{}})
	return serveHTTP(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pair, _ := strconv.Atoi(r.URL.Query().Get("pair"))
		ws, err := up.Upgrade(w, r)
		if err != nil {
			return
		}
		c := &limitConn{nc: ws.NetConn()}
		s.mu.Lock()
		p := s.pairs[pair]
		if p[0] == nil {
			p[0] = c
		} else {
			p[1] = c
			p[0].partner, p[1].partner = p[1], p[0]
		}
		s.pairs[pair] = p
		s.mu.Unlock()
		ws.Session().Store("conn", c)
		_, _ = c.nc.Write([]byte{binmsg, 1, 'w'}) // welcome: the pair is told by its second member
		go ws.ReadLoop()
	}), ready)
}

type quiet struct{}

func (quiet) Error(...any) {}

// serveHTTP serves until ctx ends.
func serveHTTP(ctx context.Context, h http.Handler, ready func(string)) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	srv := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	ready(l.Addr().String())
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *limitServer) OnMessage(ws *gws.Conn, m *gws.Message) {
	defer m.Close()
	v, _ := ws.Session().Load("conn")
	c := v.(*limitConn)
	b := m.Bytes()
	c.partner.push(b)
	var ack [9]byte
	ack[0] = 'a'
	copy(ack[1:], b[1:9])
	c.push(ack[:])
}

func (c *limitConn) push(payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(payload); n <= 125 {
		c.out = append(c.out, binmsg, byte(n))
	} else {
		c.out = append(c.out, binmsg, 126, byte(n>>8), byte(n))
	}
	c.out = append(c.out, payload...)
	if !c.flushing {
		c.flushing = true
		go c.flush()
	}
}

func (c *limitConn) flush() {
	for {
		c.mu.Lock()
		b := c.out
		if len(b) == 0 {
			c.flushing = false
			c.mu.Unlock()
			return
		}
		c.out = c.spare[:0]
		c.mu.Unlock()
		if _, err := c.nc.Write(b); err != nil {
			return // and leaves flushing set: nothing more goes out
		}
		c.spare = b
	}
}

// limitPeer is the limit as the load sees it.
type limitPeer struct{ *child }

func newLimit(string, int) (peer, error) {
	c, err := startChild("limit", "-")
	return limitPeer{c}, err
}

func (p limitPeer) server() *child { return p.child }

func (p limitPeer) connect(pair int) (tx, rx *socket, err error) {
	for _, s := range []**socket{&tx, &rx} {
		if *s, err = dial(p.addr, "/?pair="+strconv.Itoa(pair), "", readBuffer); err != nil {
			return nil, nil, err
		}
		if _, err := (*s).read(); err != nil {
			return nil, nil, err
		}
	}
	return tx, rx, nil
}

func (p limitPeer) appendMessage(dst []byte, _ int, n uint64) []byte {
	var m [messageBytes]byte
	m[0] = 'm'
	binary.BigEndian.PutUint64(m[1:], n)
	return appendFrame(dst, binmsg, m[:])
}

func (p limitPeer) parse(frame []byte) (kind rune, n uint64, rest []byte, err error) {
	if len(frame) < 9 || frame[0] != 'm' && frame[0] != 'a' {
		return 0, 0, nil, io.ErrUnexpectedEOF
	}
	return rune(frame[0]), binary.BigEndian.Uint64(frame[1:]), nil, nil
}

package main

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// socket is the client's side of a WebSocket (RFC 6455), with as little work per frame
// as possible, so that the two cores are the server's. Its masking key is zero: masked,
// but nothing to compute.
type socket struct {
	nc    net.Conn
	r     *bufio.Reader
	large []byte // a frame that does not fit into r
}

// Opcodes with the FIN bit.
const (
	text   = 0x81
	binmsg = 0x82
)

// dial connects; buffer is the size of the read buffer in bytes.
func dial(addr, path, protocol string, buffer int) (*socket, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	return upgrade(nc, addr, path, protocol, buffer)
}

// upgrade makes a WebSocket of a connection, and closes it if that fails.
func upgrade(nc net.Conn, addr, path, protocol string, buffer int) (*socket, error) {
	key := base64.StdEncoding.EncodeToString([]byte("0123456789abcdef"))
	req := "GET " + path + " HTTP/1.1\r\nHost: " + addr + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\n"
	if protocol != "" {
		req += "Sec-WebSocket-Protocol: " + protocol + "\r\n"
	}
	s := &socket{nc: nc, r: bufio.NewReaderSize(nc, buffer)}
	if _, err := io.WriteString(nc, req+"\r\n"); err != nil {
		nc.Close()
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	res, err := http.ReadResponse(s.r, nil)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		nc.Close()
		return nil, fmt.Errorf("upgrade %s%s: %s", addr, path, res.Status)
	}
	return s, nil
}

// appendFrame appends a masked frame with this opcode.
func appendFrame(dst []byte, op byte, payload []byte) []byte {
	if n := len(payload); n <= 125 {
		dst = append(dst, op, 0x80|byte(n), 0, 0, 0, 0)
	} else {
		dst = append(dst, op, 0x80|126, byte(n>>8), byte(n), 0, 0, 0, 0)
	}
	return append(dst, payload...)
}

func (s *socket) send(op byte, payload []byte) error {
	_, err := s.nc.Write(appendFrame(nil, op, payload))
	return err
}

var errClosed = errors.New("the server closed the connection")

// read returns the payload of the next data frame, valid until the next call.
func (s *socket) read() ([]byte, error) {
	for {
		h, err := s.r.Peek(2)
		if err != nil {
			return nil, err
		}
		op, n, head := h[0]&0x0f, int(h[1]), 2
		switch n {
		case 126:
			if h, err = s.r.Peek(4); err != nil {
				return nil, err
			}
			n, head = int(binary.BigEndian.Uint16(h[2:])), 4
		case 127:
			if h, err = s.r.Peek(10); err != nil {
				return nil, err
			}
			n, head = int(binary.BigEndian.Uint64(h[2:])), 10
		}
		var p []byte
		if head+n <= s.r.Size() {
			if p, err = s.r.Peek(head + n); err != nil {
				return nil, err
			}
			p = p[head:]
			_, _ = s.r.Discard(head + n) // they are buffered
		} else {
			_, _ = s.r.Discard(head)
			s.large = append(s.large[:0], make([]byte, n)...)
			if _, err := io.ReadFull(s.r, s.large); err != nil {
				return nil, err
			}
			p = s.large
		}
		switch op {
		case 1, 2:
			return p, nil
		case 8:
			return nil, fmt.Errorf("%w: %q", errClosed, p)
		}
	}
}

// more reports whether a further frame has begun to arrive.
func (s *socket) more() bool { return s.r.Buffered() > 0 }

// within gives up on reads after a time; zero: never.
func (s *socket) within(d time.Duration) {
	var t time.Time
	if d > 0 {
		t = time.Now().Add(d)
	}
	_ = s.nc.SetReadDeadline(t) // fails only when closed
}

func (s *socket) close() { s.nc.Close() }

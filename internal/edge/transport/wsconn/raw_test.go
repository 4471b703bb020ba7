package wsconn_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/internal/edge/transport/wsconn"
	"github.com/tandem-call/tandem/wire"
)

// First bytes of frames (RFC 6455 5.2).
const (
	fin      = 0x80
	opText   = 0x1
	finText  = fin | opText
	finClose = fin | 0x8
	finPing  = fin | 0x9
	finPong  = fin | 0xa
)

// raw is a client that writes frames byte by byte, also wrong ones.
type raw struct {
	t  testing.TB
	nc net.Conn
	br *bufio.Reader
}

func dialRaw(t testing.TB, addr string) *raw {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return handshakeRaw(t, nc)
}

const upgrade = "GET /v1/connect HTTP/1.1\r\nHost: tandem.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: tandem.v1\r\n\r\n"

func handshakeRaw(t testing.TB, nc net.Conn) *raw {
	t.Helper()
	if _, err := io.WriteString(nc, upgrade); err != nil {
		t.Fatal(err)
	}
	r := &raw{t, nc, bufio.NewReaderSize(nc, 512)}
	resp, err := http.ReadResponse(r.br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %v %v", resp, err)
	}
	return r
}

// masked is a client's frame; the mask is zero, so that the payload can be read.
func masked(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

func (r *raw) write(first byte, payload []byte) { r.bytes(masked(first, payload)) }

func (r *raw) bytes(b []byte) {
	r.t.Helper()
	if _, err := r.nc.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// read expects a frame with this first byte and returns its payload.
func (r *raw) read(first byte) []byte {
	r.t.Helper()
	got, payload, err := r.frame()
	if err != nil || got != first {
		r.t.Fatalf("got frame %x %q %v, want %x", got, payload, err, first)
	}
	return payload
}

func (r *raw) frame() (first byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r.br, head[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(head[1])
	switch n {
	case 126:
		var b [2]byte
		if _, err := io.ReadFull(r.br, b[:]); err != nil {
			return 0, nil, err
		}
		n = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		if _, err := io.ReadFull(r.br, b[:]); err != nil {
			return 0, nil, err
		}
		n = binary.BigEndian.Uint64(b[:])
	}
	if n > 64<<20 {
		return 0, nil, fmt.Errorf("a frame of %d bytes, or masked", n)
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(r.br, payload)
	return head[0], payload, err
}

// text expects a text frame that contains this.
func (r *raw) text(want string) {
	r.t.Helper()
	if got := r.read(finText); !strings.Contains(string(got), want) {
		r.t.Fatalf("got %s, want %s", got, want)
	}
}

func (r *raw) hello(name string) {
	r.t.Helper()
	r.text(`"challenge"`)
	r.write(finText, encode(helloOf(name)))
	r.text(`"welcome"`)
}

// violated expects an error frame, the close with CloseBadFrame, and the end.
func (r *raw) violated(code wire.Code) {
	r.t.Helper()
	r.text(`"code":"` + string(code) + `"`)
	if got := r.read(finClose); len(got) < 2 || binary.BigEndian.Uint16(got) != uint16(wire.CloseBadFrame) {
		r.t.Fatalf("closed with %q", got)
	}
	r.nc.(*net.TCPConn).CloseWrite() // hang up
	if rest, err := io.ReadAll(r.br); err != nil || len(rest) > 0 {
		r.t.Fatalf("after the close %q %v", rest, err)
	}
}

func (s *server) raw(t testing.TB, name string) *raw {
	t.Helper()
	r := dialRaw(t, s.http.Listener.Addr().String())
	r.hello(name)
	return r
}

func TestFramesThatNoCorrectClientSends(t *testing.T) {
	header := func(first, second byte, rest ...byte) []byte { return append([]byte{first, second}, rest...) }
	for _, tt := range []struct {
		name  string
		bytes []byte
		code  wire.Code
	}{
		{"bad UTF-8", masked(finText, []byte("{\"type\":\"\xc0\xaf\"}")), wire.CodeBadFrame},
		{"bad UTF-8 across fragments", append(masked(opText, []byte("\xe2\x82")), masked(fin, []byte("\x28"))...), wire.CodeBadFrame},
		{"not masked", header(finText, 2, '{', '}'), wire.CodeBadFrame},
		{"reserved bit", masked(finText|0x40, []byte("{}")), wire.CodeBadFrame},
		{"reserved opcode", masked(fin|0x3, []byte("{}")), wire.CodeBadFrame},
		{"reserved control opcode", masked(fin|0xb, []byte("{}")), wire.CodeBadFrame},
		{"continues nothing", masked(fin, []byte("{}")), wire.CodeBadFrame},
		{"new message inside another", append(masked(opText, []byte("{")), masked(finText, []byte("{}"))...), wire.CodeBadFrame},
		{"fragmented ping", masked(0x9, nil), wire.CodeBadFrame},
		{"long ping", masked(finPing, make([]byte, 126)), wire.CodeBadFrame},
		{"length above 2^63", header(finText, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), wire.CodeBadFrame},
		{"length of all ones", header(finText, 0xff, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0), wire.CodeBadFrame},
		{"length of 2^62", header(finText, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), wire.CodeTooLarge},
		{"too large in fragments", append(masked(opText, make([]byte, 40<<10)), masked(0, make([]byte, 40<<10))...), wire.CodeTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, wsconn.Config{})
			r := s.raw(t, "dev_a")
			r.bytes(tt.bytes)
			r.violated(tt.code)
		})
	}
}

func TestFragmentsAndPings(t *testing.T) {
	s := serve(t, wsconn.Config{})
	r := s.raw(t, "dev_a")
	frame := encode(wire.Envelope{Type: wire.TypeSend, ID: "r", Session: "s", Kind: "text", Body: json.RawMessage(`"€"`)})
	for i, c := range frame { // each byte a fragment, also within a character
		switch {
		case i == 0:
			r.write(opText, []byte{c})
		case i < len(frame)-1:
			r.write(0, []byte{c})
		default:
			r.write(fin, []byte{c})
		}
		if i%10 == 5 { // control frames come in between
			r.write(finPing, []byte{byte(i)})
			if got := r.read(finPong); len(got) != 1 || got[0] != byte(i) {
				t.Fatalf("pong %x", got)
			}
		}
	}
	r.text(`"ack"`)
	r.write(finPong, nil) // nobody asked; allowed
	r.write(finPing, make([]byte, 125))
	if got := r.read(finPong); len(got) != 125 {
		t.Errorf("pong of %d bytes", len(got))
	}
}

func TestCloseCodesAreAnswered(t *testing.T) {
	code := func(c uint16) []byte { return binary.BigEndian.AppendUint16(nil, c) }
	for _, tt := range []struct {
		name       string
		sent, want []byte
	}{
		{"none", nil, nil},
		{"normal", append(code(1000), "bye"...), code(1000)},
		{"ours", code(4321), code(4321)},
		{"reserved", code(1005), code(1002)},
		{"one byte", []byte{3}, code(1002)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, wsconn.Config{})
			r := s.raw(t, "dev_a")
			r.write(finClose, tt.sent)
			if got := r.read(finClose); string(got) != string(tt.want) {
				t.Errorf("answered by %x, want %x", got, tt.want)
			}
			if _, err := r.br.ReadByte(); err != io.EOF {
				t.Errorf("after the close: %v", err)
			}
		})
	}
}

func TestHelloTogetherWithTheHandshake(t *testing.T) {
	s := serve(t, wsconn.Config{})
	nc, err := net.Dial("tcp", s.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	// A client may know the nonce from elsewhere; what it sends early must not be lost.
	if _, err := nc.Write(append([]byte(upgrade), masked(finText, encode(helloOf("dev_a")))...)); err != nil {
		t.Fatal(err)
	}
	r := &raw{t, nc, bufio.NewReader(nc)}
	if _, err := http.ReadResponse(r.br, nil); err != nil {
		t.Fatal(err)
	}
	r.text(`"challenge"`)
	r.text(`"welcome"`)
}

package wsconn_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"testing"

	"github.com/tandem-call/tandem/internal/edge/transport/wsconn"
	"github.com/tandem-call/tandem/wire"
)

// malformed is something that no correct client sends (RFC 6455), and how it is answered.
type malformed struct {
	name  string
	bytes []byte
	code  wire.Code // of the error frame before the close with CloseBadFrame
}

// header begins a frame with a length in one of its three forms (RFC 6455 5.2): 7, 16, 64 bits.
func header(first byte, mask bool, form int, length uint64) []byte {
	m := byte(0)
	if mask {
		m = 0x80
	}
	b := []byte{first}
	switch form {
	case 7:
		b = append(b, m|byte(length))
	case 16:
		b = binary.BigEndian.AppendUint16(append(b, m|126), uint16(length))
	default:
		b = binary.BigEndian.AppendUint64(append(b, m|127), length)
	}
	if mask {
		b = append(b, 0, 0, 0, 0)
	}
	return b
}

// badText are byte sequences that are not UTF-8 (RFC 3629), after Markus Kuhn's
// "UTF-8 decoder capability and stress test".
var badText = []string{
	"\x80", "\xbf", "\x80\xbf", "\x80\xbf\x80", "\xc0", "\xc1", "\xf5", "\xf8", "\xfc", "\xfe", "\xff", "\xfe\xfe\xff\xff", // impossible, or alone
	"\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xe2(\xa1", "\xf0(\x8c\xbc", "\xc3(", "\xe2\x82(", // cut short
	"\xc0\x80", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x80\xaf", "\xe0\x9f\xbf", "\xf0\x80\x80\x80", "\xf0\x80\x80\xaf", "\xf0\x8f\xbf\xbf", // longer than needed
	"\xed\xa0\x80", "\xed\xad\xbf", "\xed\xae\x80", "\xed\xbf\xbf", "\xed\xa0\x80\xed\xb0\x80", // surrogates
	"\xf4\x90\x80\x80", "\xf7\xbf\xbf\xbf", "\xf8\x88\x80\x80\x80", "\xfb\xbf\xbf\xbf\xbf", "\xfc\x84\x80\x80\x80\x80", // above U+10FFFF
}

func malformedFrames() (l []malformed) {
	add := func(code wire.Code, b []byte, name string, args ...any) {
		l = append(l, malformed{fmt.Sprintf(name, args...), b, code})
	}
	known := []byte{0x0, 0x1, 0x2, 0x8, 0x9, 0xa}
	for reserved := byte(1); reserved < 8; reserved++ {
		for _, op := range known {
			add(wire.CodeBadFrame, masked(fin|reserved<<4|op, []byte("{}")), "reserved bits %03b, opcode %x", reserved, op)
		}
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf} {
		for _, n := range []int{0, 1, 125} {
			add(wire.CodeBadFrame, masked(fin|op, make([]byte, n)), "opcode %x that does not exist, %d bytes", op, n)
		}
		add(wire.CodeBadFrame, append(masked(opText, []byte("{")), masked(fin|op, nil)...), "opcode %x that does not exist, within a message", op)
	}
	for _, op := range known {
		for _, n := range []uint64{0, 1, 125} {
			add(wire.CodeBadFrame, append(header(fin|op, false, 7, n), make([]byte, n)...), "opcode %x not masked, %d bytes", op, n)
		}
	}
	for _, op := range []byte{0x1, 0x2} {
		add(wire.CodeBadFrame, header(fin|op, false, 16, 200), "opcode %x not masked, 16 bits of length", op)
		add(wire.CodeBadFrame, header(fin|op, false, 64, 70_000), "opcode %x not masked, 64 bits of length", op)
	}
	for _, op := range []byte{0x8, 0x9, 0xa} {
		for _, n := range []int{0, 1, 125} {
			add(wire.CodeBadFrame, masked(op, make([]byte, n)), "control frame %x in fragments, %d bytes", op, n)
		}
		for _, n := range []uint64{0, 5, 126, 127, 1000, math.MaxUint16} {
			add(wire.CodeBadFrame, header(fin|op, true, 16, n), "control frame %x, %d bytes in 16 bits of length", op, n)
		}
		for _, n := range []uint64{0, 5, 126, 70_000, 1 << 40, math.MaxUint64} {
			add(wire.CodeBadFrame, header(fin|op, true, 64, n), "control frame %x, %d bytes in 64 bits of length", op, n)
		}
	}
	for _, first := range []byte{fin | 0x1, 0x1, fin | 0x2, 0x2} {
		for _, n := range []uint64{1 << 63, 1<<63 + 1, math.MaxUint64 - 1, math.MaxUint64} {
			add(wire.CodeBadFrame, header(first, true, 64, n), "first byte %x, impossible length %d", first, n)
		}
		for _, n := range []uint64{1 << 20, 1<<31 - 1, 1 << 31, 1 << 32, 1<<32 + 2, 1 << 62, 1<<63 - 1} {
			add(wire.CodeTooLarge, header(first, true, 64, n), "first byte %x, length %d", first, n)
		}
	}
	for _, n := range []uint64{1 << 20, 1 << 32, 1<<63 - 1} {
		add(wire.CodeTooLarge, append(masked(opText, []byte("{")), header(fin, true, 64, n)...), "a last fragment of %d bytes", n)
	}
	for _, n := range []int{2, 4, 64} {
		part := make([]byte, (64<<10)/n+1)
		b := masked(opText, part)
		for range n - 1 {
			b = append(b, masked(0, part)...)
		}
		add(wire.CodeTooLarge, b, "too large in %d fragments", n)
	}
	for _, first := range []byte{0, fin} {
		for _, n := range []int{0, 1, 200} {
			add(wire.CodeBadFrame, masked(first, make([]byte, n)), "continues nothing, first byte %x, %d bytes", first, n)
		}
		add(wire.CodeBadFrame, append(masked(finPong, nil), masked(first, nil)...), "continues nothing, after a pong, first byte %x", first)
	}
	for _, begun := range []byte{0x1, 0x2} {
		for _, first := range []byte{0x1, 0x2, fin | 0x1, fin | 0x2} {
			add(wire.CodeBadFrame, append(masked(begun, []byte("{")), masked(first, []byte("}"))...), "message %x within a message %x", first, begun)
			b := append(masked(begun, []byte("{")), masked(0, []byte(" "))...)
			add(wire.CodeBadFrame, append(b, masked(first, []byte("}"))...), "message %x after a fragment of a message %x", first, begun)
		}
	}
	for _, s := range badText {
		whole := []byte(`{"type":"` + s + `"}`)
		add(wire.CodeBadFrame, masked(finText, whole), "text with %x", s)
		cut := 9 + (len(s)+1)/2
		add(wire.CodeBadFrame, append(masked(opText, whole[:cut]), masked(fin, whole[cut:])...), "text with %x in two fragments", s)
	}
	return l
}

// badCloses are close frames that are answered with another code than their own (RFC 6455 7.4).
func badCloses() (l []struct {
	name    string
	payload []byte
	want    uint16
}) {
	add := func(payload []byte, want uint16, name string, args ...any) {
		l = append(l, struct {
			name    string
			payload []byte
			want    uint16
		}{fmt.Sprintf(name, args...), payload, want})
	}
	for _, c := range []uint16{0, 1, 100, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 9999, 65535} {
		b := binary.BigEndian.AppendUint16(nil, c)
		add(b, 1002, "code %d", c)
		add(append(b, "why"...), 1002, "code %d with a reason", c)
	}
	add([]byte{3}, 1002, "one byte")
	for _, s := range badText {
		add(append([]byte{0x03, 0xe8}, s...), 1007, "reason %x", s)
	}
	return l
}

// TestMalformed sends what no correct client sends, in one piece and byte by byte. Each is
// answered with its error and close code, and nobody else notices.
func TestMalformed(t *testing.T) {
	s := serve(t, wsconn.Config{})
	witness := s.raw(t, "dev_b")
	frames, closes := malformedFrames(), badCloses()
	t.Logf("%d malformed frames, %d malformed closes", len(frames), len(closes))
	if len(frames)+len(closes) < 300 {
		t.Errorf("only %d cases", len(frames)+len(closes))
	}
	for i, tt := range frames {
		t.Run(tt.name, func(t *testing.T) {
			r := s.raw(t, "dev_a")
			if i%2 == 1 && len(tt.bytes) < 300 {
				for _, b := range tt.bytes {
					// The server may have answered, and stopped listening, before the last byte.
					if _, err := r.nc.Write([]byte{b}); err != nil {
						break
					}
				}
			} else {
				r.bytes(tt.bytes)
			}
			r.violated(tt.code)
		})
	}
	for _, tt := range closes {
		t.Run("close with "+tt.name, func(t *testing.T) {
			r := s.raw(t, "dev_a")
			r.write(finClose, tt.payload)
			if got := r.read(finClose); len(got) < 2 || binary.BigEndian.Uint16(got) != tt.want {
				t.Errorf("answered by %x, want %d", got, tt.want)
			}
			if _, err := r.br.ReadByte(); err != io.EOF {
				t.Errorf("after the close: %v", err)
			}
		})
	}
	witness.write(finPing, []byte("still there"))
	if got := witness.read(finPong); string(got) != "still there" {
		t.Errorf("another connection was answered %q", got)
	}
}

package wsconn

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"unicode/utf8"
)

// Opcodes (RFC 6455 5.2).
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

const (
	readBuffer = 8 << 10
	// smallBuffer is for connections that keep theirs while they are idle.
	smallBuffer = 1 << 10
)

var readBuffers = sync.Pool{New: func() any { return new([readBuffer]byte) }}

// violation is an error about what a client must not send.
type violation string

func (v violation) Error() string { return string(v) }

var (
	errTooLarge = errors.New("wsconn: the message is too large")
	errShort    = errors.New("wsconn: there is no whole frame yet")
)

// reader takes a client's messages and control frames (RFC 6455 5) out of what was read.
type reader struct {
	limit int  // of a message, in bytes
	small bool // the buffer is kept while the connection is idle

	pooled   *[readBuffer]byte
	buf      []byte // nil while nothing is read
	from, to int    // what was read and not taken yet

	opcode    byte // of the message whose fragments come; zero: none
	fragments []byte
}

// feed makes b what was read first.
func (r *reader) feed(b []byte) {
	r.buf, r.to = append(r.buf, b...), len(b)
}

// empty reports whether all that was read has been taken.
func (r *reader) empty() bool { return r.from == r.to && r.opcode == 0 }

// release gives the memory back that an idle connection does not need.
func (r *reader) release() {
	if r.pooled != nil {
		readBuffers.Put(r.pooled)
	}
	r.pooled, r.buf, r.from, r.to = nil, nil, 0, 0
}

// fill reads more, once.
func (r *reader) fill(from io.Reader) error {
	size := readBuffer
	if r.small {
		size = smallBuffer
	}
	r.from, r.to = 0, copy(r.buf, r.buf[r.from:r.to])
	switch {
	case r.to == 0 && len(r.buf) != size:
		r.release()
		if r.small {
			r.buf = make([]byte, smallBuffer)
		} else {
			r.pooled = readBuffers.Get().(*[readBuffer]byte)
			r.buf = r.pooled[:]
		}
	case r.to == len(r.buf): // a large frame: next sees to it that it is not too large
		larger := make([]byte, 2*len(r.buf))
		n := copy(larger, r.buf)
		r.release()
		r.buf, r.to = larger, n
	}
	n, err := from.Read(r.buf[r.to:])
	r.to += n
	if n > 0 {
		return nil // an error shows again, after what was read
	}
	return err
}

// next takes a message or a control frame; its payload is valid until the next fill. The
// error is errShort, errTooLarge or a violation.
func (r *reader) next() (opcode byte, payload []byte, err error) {
	for {
		first, payload, err := r.frame()
		if err != nil {
			return 0, nil, err
		}
		fin, opcode := first&0x80 != 0, first&0x0f
		switch {
		case opcode >= opClose:
			return opcode, payload, nil
		case opcode == opContinuation && r.opcode == 0:
			return 0, nil, violation("a continuation of nothing")
		case opcode != opContinuation && r.opcode != 0:
			return 0, nil, violation("a new message within another")
		case len(r.fragments)+len(payload) > r.limit:
			return 0, nil, errTooLarge
		case !fin:
			if opcode != opContinuation {
				r.opcode = opcode
			}
			r.fragments = append(r.fragments, payload...)
			continue
		case opcode == opContinuation:
			opcode, payload = r.opcode, append(r.fragments, payload...)
			r.opcode, r.fragments = 0, nil
		}
		if opcode == opText && !utf8.Valid(payload) {
			return 0, nil, violation("text that is not UTF-8")
		}
		return opcode, payload, nil
	}
}

// frame takes one frame and unmasks it (RFC 6455 5.2).
func (r *reader) frame() (first byte, payload []byte, err error) {
	b := r.buf[r.from:r.to]
	if len(b) < 2 {
		return 0, nil, errShort
	}
	first = b[0]
	opcode, n, head := first&0x0f, uint64(b[1]&0x7f), 2
	switch {
	case first&0x70 != 0:
		return 0, nil, violation("a reserved bit is set")
	case opcode > opBinary && opcode < opClose || opcode > opPong:
		return 0, nil, violation("an opcode that does not exist")
	case opcode >= opClose && (first&0x80 == 0 || n > maxControl):
		return 0, nil, violation("a control frame that is long or fragmented")
	case b[1]&0x80 == 0:
		return 0, nil, violation("a frame that is not masked")
	case n == 126:
		if head = 4; len(b) < head {
			return 0, nil, errShort
		}
		n = uint64(binary.BigEndian.Uint16(b[2:]))
	case n == 127:
		if head = 10; len(b) < head {
			return 0, nil, errShort
		}
		if n = binary.BigEndian.Uint64(b[2:]); n >= 1<<63 {
			return 0, nil, violation("an impossible length")
		}
	}
	if n > uint64(r.limit) && opcode < opClose {
		return 0, nil, errTooLarge
	}
	whole := head + 4 + int(n)
	if len(b) < whole {
		return 0, nil, errShort
	}
	payload = b[head+4 : whole : whole]
	unmask(payload, binary.LittleEndian.Uint32(b[head:]))
	r.from += whole
	return first, payload, nil
}

func unmask(p []byte, key uint32) {
	for twice := uint64(key)<<32 | uint64(key); len(p) >= 8; p = p[8:] {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^twice)
	}
	for i := range p {
		p[i] ^= byte(key >> (8 * (i % 4)))
	}
}

// closeCode reads the code of a close frame (RFC 6455 5.5.1); zero: there was none.
func closeCodeOf(payload []byte) uint16 {
	switch {
	case len(payload) == 0:
		return 0
	case len(payload) == 1:
		return 1002
	case !utf8.Valid(payload[2:]):
		return 1007
	}
	// Zero is no code; here it would mean that there was none.
	return max(binary.BigEndian.Uint16(payload), 1)
}

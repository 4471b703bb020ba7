package wsconn

import (
	"encoding/binary"
	"unicode/utf8"
)

// Opcodes with the FIN bit (RFC 6455 5.2): the server never fragments.
const (
	finText  = 0x81
	finClose = 0x88
	finPong  = 0x8a
)

// maxControl is the largest payload of a control frame (RFC 6455 5.5).
const maxControl = 125

// appendFrame appends one unmasked frame (RFC 6455 5.2).
func appendFrame(dst []byte, first byte, payload []byte) []byte {
	switch n := len(payload); {
	case n <= 125:
		dst = append(dst, first, byte(n))
	case n <= 0xffff:
		dst = append(dst, first, 126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	default:
		dst = append(dst, first, 127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	return append(dst, payload...)
}

// appendClose appends a close frame; code 0 sends none (RFC 6455 5.5.1).
func appendClose(dst []byte, code uint16, reason string) []byte {
	if code == 0 {
		return appendFrame(dst, finClose, nil)
	}
	for len(reason) > maxControl-2 {
		_, n := utf8.DecodeLastRuneInString(reason)
		reason = reason[:len(reason)-n]
	}
	return appendFrame(dst, finClose, append(binary.BigEndian.AppendUint16(nil, code), reason...))
}

// sendable returns the code with which a peer's close frame is answered: its own, if that
// may appear in a frame (RFC 6455 7.4), else 1002.
func sendable(code uint16) uint16 {
	switch {
	case code == 0, code == 1000, code == 1001, code == 1002, code == 1003,
		code >= 1007 && code <= 1011, code >= 3000 && code <= 4999:
		return code
	}
	return 1002
}

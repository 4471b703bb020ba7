package baresip

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// maxMessage is the largest netstring taken, in bytes: far above any event.
const maxMessage = 1 << 20

// maxDigits of a netstring's length.
const maxDigits = 7

// readNetstring reads one netstring: LENGTH ":" BYTES "," (cr.yp.to/proto/netstrings.txt).
// ErrProtocol when it is none; io.EOF only where one could have begun.
func readNetstring(r *bufio.Reader) ([]byte, error) {
	n, digits := 0, 0
	for {
		c, err := r.ReadByte()
		if err != nil {
			if digits > 0 {
				err = unexpected(err)
			}
			return nil, err
		}
		if c == ':' && digits > 0 {
			break
		}
		if c < '0' || c > '9' || digits == maxDigits || digits > 0 && n == 0 {
			return nil, fmt.Errorf("%w: a message does not begin with its length", ErrProtocol)
		}
		n, digits = 10*n+int(c-'0'), digits+1
	}
	if n > maxMessage {
		return nil, fmt.Errorf("%w: a message of %d bytes", ErrProtocol, n)
	}
	b := make([]byte, n+1)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, unexpected(err)
	}
	if b[n] != ',' {
		return nil, fmt.Errorf("%w: a message does not end where it should", ErrProtocol)
	}
	return b[:n], nil
}

// unexpected is the error of a stream that ends within a message.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func appendNetstring(dst, b []byte) []byte {
	dst = append(strconv.AppendInt(dst, int64(len(b)), 10), ':')
	return append(append(dst, b...), ',')
}

package wsconn

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// readAll takes everything out of a reader, as a connection does.
func readAll(from io.Reader, limit int) (got []byte, err error) {
	r := reader{limit: limit}
	defer r.release()
	for {
		opcode, payload, err := r.next()
		if errors.Is(err, errShort) {
			if err = r.fill(from); err != nil {
				return got, err
			}
			continue
		}
		if err != nil {
			return got, err
		}
		if len(payload) > limit && opcode < opClose || len(payload) > maxControl && opcode >= opClose {
			return got, errors.New("a payload above the limit")
		}
		got = append(append(got, opcode, byte(len(payload))), payload...)
	}
}

// FuzzReader: whatever a client sends, the reader ends or refuses; and how the bytes were cut
// on their way makes no difference.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"", "\x81\x80\x00\x00\x00\x00", "\x81\x82\x01\x02\x03\x04zz", "\x01\x81\x00\x00\x00\x00{\x89\x80\x00\x00\x00\x00\x80\x81\x00\x00\x00\x00}",
		"\x88\x82\x00\x00\x00\x00\x03\xe8", "\x81\xfe\x00\x7e\x00\x00\x00\x00", "\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00",
		"\xc1\x80\x00\x00\x00\x00", "\x83\x80\x00\x00\x00\x00", "\x81\x02{}", "\x80\x80\x00\x00\x00\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 20_000
		whole, how := readAll(bytes.NewReader(bytes.Clone(b)), limit)
		bits, how2 := readAll(iotest.OneByteReader(bytes.NewReader(bytes.Clone(b))), limit)
		if !bytes.Equal(whole, bits) || !errors.Is(how2, how) {
			t.Errorf("in one piece %x, %v; byte by byte %x, %v", whole, how, bits, how2)
		}
		if how == nil || errors.Is(how, io.ErrUnexpectedEOF) {
			t.Errorf("it ended with %v", how)
		}
	})
}

package wire

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// ErrFrame: the bytes are not a frame that this side may be sent, or its body is not one
// of its type. The text says what is wrong; [ProblemOf] gives it the form for a client.
var ErrFrame = errors.New("wire: not a valid frame")

func fault(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFrame, fmt.Sprintf(format, args...))
}

// MaxDepth is how deep the arrays and objects of a body may be nested.
const MaxDepth = 32

// scanner reads JSON (RFC 8259) strictly and without allocating. It exists because
// encoding/json takes keys that differ in case or come twice, the last one winning: two
// readers of one frame could see different things in it.
type scanner struct {
	data []byte
	pos  int
}

// newScanner checks the encoding of all data at once.
func newScanner(data []byte) (scanner, error) {
	if !utf8.Valid(data) {
		return scanner{}, fault("it is not UTF-8")
	}
	return scanner{data: data}, nil
}

// next skips white space and returns the next byte without taking it; 0 at the end.
func (s *scanner) next() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// take skips white space and takes c if it comes next.
func (s *scanner) take(c byte) bool {
	if s.next() != c || s.pos == len(s.data) {
		return false
	}
	s.pos++
	return true
}

// unexpected is the fault at the present place.
func (s *scanner) unexpected(want string) error {
	if s.next(); s.pos >= len(s.data) {
		return fault("it ends where %s should come", want)
	}
	r, _ := utf8.DecodeRune(s.data[s.pos:])
	return fault("at byte %d: %+q where %s should come", s.pos, r, want)
}

// end demands that nothing but white space is left.
func (s *scanner) end() error {
	if s.next(); s.pos < len(s.data) {
		return fault("at byte %d: something follows the end", s.pos)
	}
	return nil
}

// value takes one value, in which depth more levels may be nested, and returns its bytes.
func (s *scanner) value(depth int) ([]byte, error) {
	c := s.next()
	start := s.pos
	var err error
	switch {
	case c == '{' || c == '[':
		if depth == 0 {
			return nil, fault("at byte %d: nested deeper than %d levels", s.pos, MaxDepth)
		}
		if c == '[' {
			err = s.array(func() error { _, err := s.value(depth - 1); return err })
		} else {
			err = s.object(func([]byte) error { _, err := s.value(depth - 1); return err })
		}
	case c == '"':
		_, err = s.str()
	case c == 't':
		err = s.literal("true")
	case c == 'f':
		err = s.literal("false")
	case c == 'n':
		err = s.literal("null")
	case c == '-' || c >= '0' && c <= '9':
		err = s.number()
	default:
		err = s.unexpected("a value")
	}
	return s.data[start:s.pos], err
}

// object takes an object; member is called after each key and colon, with the key as it
// is written, and takes the value.
func (s *scanner) object(member func(key []byte) error) error {
	if !s.take('{') {
		return s.unexpected("an object")
	}
	if s.take('}') {
		return nil
	}
	for {
		if s.next() != '"' {
			return s.unexpected("a key")
		}
		key, err := s.str()
		if err != nil {
			return err
		}
		if !s.take(':') {
			return s.unexpected("a colon")
		}
		if err := member(key); err != nil {
			return err
		}
		if s.take('}') {
			return nil
		}
		if !s.take(',') {
			return s.unexpected("a comma or the object's end")
		}
	}
}

// array takes an array; element takes each element.
func (s *scanner) array(element func() error) error {
	if !s.take('[') {
		return s.unexpected("an array")
	}
	if s.take(']') {
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if s.take(']') {
			return nil
		}
		if !s.take(',') {
			return s.unexpected("a comma or the array's end")
		}
	}
}

// plain marks the bytes that stand for themselves in a string.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return t
}()

// str takes a string and returns what stands between the quotes, escapes and all.
func (s *scanner) str() ([]byte, error) {
	if !s.take('"') {
		return nil, s.unexpected("a string")
	}
	start := s.pos
	for {
		data, i := s.data, s.pos // in registers: nearly all of a frame passes here
		for i < len(data) && plain[data[i]] {
			i++
		}
		s.pos = i
		switch {
		case i == len(data):
			return nil, fault("it ends within a string")
		case data[i] == '"':
			s.pos++
			return data[start:i], nil
		case data[i] != '\\':
			return nil, fault("at byte %d: a control character in a string must be escaped", i)
		}
		if err := s.escape(); err != nil {
			return nil, err
		}
	}
}

// escape takes an escape. Half a surrogate pair is refused: readers differ about it
// (RFC 8259 8.2).
func (s *scanner) escape() error {
	at := s.pos
	if r, n := unescapeRune(s.data[at:]); n > 0 {
		switch {
		case r >= 0xD800 && r < 0xDC00: // first half
			if low, m := unescapeRune(s.data[at+n:]); m == n && low >= 0xDC00 && low < 0xE000 {
				s.pos += n + m
				return nil
			}
		case r < 0xDC00 || r >= 0xE000:
			s.pos += n
			return nil
		}
	}
	return fault("at byte %d: an escape that stands for no character", at)
}

// unescapeRune reads the escape that b begins with, and its length; 0 if there is none.
func unescapeRune(b []byte) (rune, int) {
	if len(b) < 2 || b[0] != '\\' {
		return 0, 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return ' ', 2
	case 'u':
		if len(b) < 6 {
			return 0, 0
		}
		var r rune
		for _, c := range b[2:6] {
			switch {
			case c >= '0' && c <= '9':
				c -= '0'
			case c|0x20 >= 'a' && c|0x20 <= 'f':
				c = c | 0x20 - 'a' + 10
			default:
				return 0, 0
			}
			r = r<<4 | rune(c)
		}
		return r, 6
	}
	return 0, 0
}

func (s *scanner) literal(word string) error {
	if len(s.data)-s.pos < len(word) || string(s.data[s.pos:s.pos+len(word)]) != word {
		return s.unexpected("a value")
	}
	s.pos += len(word)
	return nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) oneOf(a, b byte) bool {
	if s.pos < len(s.data) && (s.data[s.pos] == a || s.data[s.pos] == b) {
		s.pos++
		return true
	}
	return false
}

// number takes a number: RFC 8259 section 6.
func (s *scanner) number() error {
	start := s.pos
	s.oneOf('-', '-')
	ok := s.oneOf('0', '0') || s.digits()
	if ok && s.oneOf('.', '.') {
		ok = s.digits()
	}
	if ok && s.oneOf('e', 'E') {
		s.oneOf('+', '-')
		ok = s.digits()
	}
	if !ok {
		return fault("at byte %d: not a number", start)
	}
	return nil
}

// bool takes true or false.
func (s *scanner) bool() (bool, error) {
	c := s.next()
	at, is := s.pos, c == 't'
	err := s.literal(strconv.FormatBool(is))
	if err != nil {
		err = fault("at byte %d: neither true nor false", at)
	}
	return is, err
}

// uint takes a whole number from 0 that JavaScript can hold, too: below 2^53.
func (s *scanner) uint() (uint64, error) {
	s.next()
	start := s.pos
	var v uint64
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		v = v*10 + uint64(s.data[s.pos]-'0')
		s.pos++
		if bits.Len64(v) > 53 {
			return 0, fault("at byte %d: the number is too large", start)
		}
	}
	if n := s.pos - start; n == 0 || n > 1 && s.data[start] == '0' {
		return 0, fault("at byte %d: not a whole number from 0", start)
	}
	return v, nil
}

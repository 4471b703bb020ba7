package tel

import (
	"encoding"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/nyaruka/phonenumbers"
)

// ErrNumber: the text is not a telephone number that could exist.
var ErrNumber = errors.New("tel: not a telephone number")

// Number is a telephone number in E.164 form: a plus sign and at most 15 digits. It is
// comparable; the zero Number is no number. It masks itself in logs.
type Number struct{ digits string }

var (
	_ encoding.TextMarshaler = Number{}
	_ slog.LogValuer         = Number{}
)

// ParseNumber reads a number as a person or a network writes it: "+44 20 7946 0001",
// "tel:+44-20-7946-0001" (RFC 3966), or, when region (ISO 3166-1 alpha-2, "GB") is
// given, in national form, "020 7946 0001". ErrNumber.
func ParseNumber(raw, region string) (Number, error) {
	s := strings.TrimSpace(raw)
	if len(s) > 64 {
		return Number{}, fmt.Errorf("%w: longer than 64 characters", ErrNumber)
	}
	n, err := phonenumbers.Parse(s, strings.ToUpper(region))
	if err != nil {
		if region == "" && !strings.Contains(s, "+") {
			return Number{}, fmt.Errorf("%w: %q has no country code; write it as +44…", ErrNumber, raw)
		}
		return Number{}, fmt.Errorf("%w: %q: %v", ErrNumber, raw, err)
	}
	if !phonenumbers.IsPossibleNumber(n) {
		return Number{}, fmt.Errorf("%w: %q has the wrong length for its country", ErrNumber, raw)
	}
	return Number{phonenumbers.Format(n, phonenumbers.E164)[1:]}, nil
}

// IsZero reports whether n is no number.
func (n Number) IsZero() bool { return n.digits == "" }

// String returns the E.164 form, "+442079460001".
func (n Number) String() string {
	if n.digits == "" {
		return ""
	}
	return "+" + n.digits
}

// Mask returns the number with its middle hidden, for logs: "+44…0001" keeps the first
// two and the last two digits: "+44…01".
func (n Number) Mask() string {
	if len(n.digits) < 6 {
		return "+…"
	}
	return "+" + n.digits[:2] + "…" + n.digits[len(n.digits)-2:]
}

// LogValue masks the number.
func (n Number) LogValue() slog.Value { return slog.StringValue(n.Mask()) }

// MarshalText gives the E.164 form.
func (n Number) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText takes any international form; the empty text is the zero Number.
func (n *Number) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*n = Number{}
		return nil
	}
	p, err := ParseNumber(string(b), "")
	if err == nil {
		*n = p
	}
	return err
}

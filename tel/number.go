package tel

import (
	"encoding"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"github.com/nyaruka/phonenumbers"
)

// ErrNumber: the text is not a telephone number that could exist.
var ErrNumber = errors.New("tel: not a telephone number")

// maxDigits of an E.164 number (ITU-T E.164 6.1), without the plus sign.
const maxDigits = 15

// Number is a telephone number in E.164 form: a plus sign and at most 15 digits. Two
// numbers are the same number if and only if they are equal with ==. The zero Number is
// no number. It masks itself in logs.
type Number struct{ e164 string }

var (
	_ encoding.TextMarshaler   = Number{}
	_ encoding.TextUnmarshaler = (*Number)(nil)
	_ slog.LogValuer           = Number{}
)

// ParseNumber reads a number as a person or a network writes it: "+44 20 7946 0001",
// "tel:+44-20-7946-0001" (RFC 3966; see [ParseURI]), or, when region (ISO 3166-1
// alpha-2, "GB") is given, in national form, "020 7946 0001". Visual separators and
// the invisible marks that address books add are skipped; letters are refused, so that
// no number is ever found within other text. Whether the number is in use is unknown;
// its length fits its country. ErrNumber.
func ParseNumber(raw, region string) (Number, error) {
	if n, ok := remembered(raw); ok {
		return n, nil
	}
	s := strings.TrimSpace(raw)
	if hasScheme(s, "tel") {
		u, err := ParseURI(s)
		return u.Number, err
	}
	s, err := stripSeparators(s)
	if err != nil {
		return Number{}, err
	}
	region = strings.ToUpper(region)
	switch {
	case strings.HasPrefix(s, "+"):
		region = ""
	case region == "":
		return Number{}, fmt.Errorf("%w: %s has no country code; write it as +44…, or give a region", ErrNumber, quote(raw))
	case !phonenumbers.GetSupportedRegions()[region]:
		return Number{}, fmt.Errorf("%w: unknown region %s; use two letters as in GB", ErrNumber, quote(region))
	}
	return parseDigits(s, region)
}

// parseDigits reads digits, with a plus sign or in the national form of a region.
func parseDigits(s, region string) (Number, error) {
	p, err := phonenumbers.Parse(s, region)
	switch {
	case errors.Is(err, phonenumbers.ErrInvalidCountryCode):
		return Number{}, fmt.Errorf("%w: no country has the code that %s begins with", ErrNumber, quote(s))
	case err != nil:
		return Number{}, fmt.Errorf("%w: %s has too few or too many digits", ErrNumber, quote(s))
	}
	// Less than IS_POSSIBLE includes what can be dialled within one town only.
	if phonenumbers.IsPossibleNumberWithReason(p) != phonenumbers.IS_POSSIBLE {
		return Number{}, fmt.Errorf("%w: %s has the wrong length for its country", ErrNumber, quote(s))
	}
	e164 := phonenumbers.Format(p, phonenumbers.E164)
	if len(e164) > 1+maxDigits {
		return Number{}, fmt.Errorf("%w: %s has more than %d digits", ErrNumber, quote(s), maxDigits)
	}
	// A national prefix repeated after the country code would vanish digit by digit at
	// each reading; what does not read as itself has no canonical form.
	if e164 != s {
		if again, err := parseDigits(e164, ""); err != nil || again.e164 != e164 {
			return Number{}, fmt.Errorf("%w: %s repeats its prefix", ErrNumber, quote(s))
		}
	}
	n := Number{e164}
	remember(n)
	return n, nil
}

// The numbers read last, by their canonical form: reading one costs several µs, and the
// same few come with every report and every stored record. The slot of a number is that
// of its hash; a newer number takes the slot over.
var (
	memory     [1 << 13]atomic.Pointer[string]
	memorySeed = maphash.MakeSeed()
)

func slot(s string) *atomic.Pointer[string] {
	return &memory[maphash.String(memorySeed, s)%uint64(len(memory))]
}

func remembered(s string) (Number, bool) {
	if s == "" || s[0] != '+' {
		return Number{}, false
	}
	p := slot(s).Load()
	if p == nil || *p != s {
		return Number{}, false
	}
	return Number{*p}, true
}

func remember(n Number) { slot(n.e164).Store(&n.e164) }

// stripSeparators leaves the digits, in ASCII, and a leading plus sign of a number.
func stripSeparators(raw string) (string, error) {
	if len(raw) > 64 {
		return "", fmt.Errorf("%w: longer than 64 characters", ErrNumber)
	}
	if !utf8.ValidString(raw) {
		return "", fmt.Errorf("%w: %s is not UTF-8", ErrNumber, quote(raw))
	}
	var b strings.Builder
	for _, r := range raw {
		switch {
		case r >= '0' && r <= '9':
			b.WriteRune(r)
		case (r == '+' || r == '＋') && b.Len() == 0:
			b.WriteByte('+')
		case unicode.IsDigit(r): // of another script
			d := phonenumbers.NormalizeDigitsOnly(string(r))
			if d == "" {
				return "", fmt.Errorf("%w: %s: write its digits as 0 to 9", ErrNumber, quote(raw))
			}
			b.WriteString(d)
		case isSeparator(r):
		case unicode.IsLetter(r):
			return "", fmt.Errorf("%w: %s holds letters; an extension goes in a field of its own", ErrNumber, quote(raw))
		default:
			return "", fmt.Errorf("%w: %s holds %+q, which no number does", ErrNumber, quote(raw), r)
		}
	}
	return b.String(), nil
}

// isSeparator: spaces, dashes, points, brackets and strokes as printed (ITU-T E.123),
// and the format characters that come along when a number is copied.
func isSeparator(r rune) bool {
	return strings.ContainsRune(" .()[]/~·•", r) || unicode.In(r, unicode.Pd, unicode.Zs, unicode.Cf) || r == '−'
}

// IsZero reports whether n is no number.
func (n Number) IsZero() bool { return n.e164 == "" }

// String returns the E.164 form, "+442079460001"; "" for the zero Number.
func (n Number) String() string { return n.e164 }

// Region returns the country (ISO 3166-1 alpha-2, "GB") in whose plan the number is, to
// read national numbers in the same way. It is "" where that is unknown or the number
// belongs to no country.
func (n Number) Region() string {
	p, err := phonenumbers.Parse(n.e164, "")
	if err != nil {
		return ""
	}
	region := phonenumbers.GetRegionCodeForNumber(p)
	if region == "" { // unassigned, but the country code may name one country only
		if all := phonenumbers.GetRegionCodesForCountryCode(int(p.GetCountryCode())); len(all) == 1 {
			region = all[0]
		}
	}
	if region == phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY || region == phonenumbers.UNKNOWN_REGION {
		return ""
	}
	return region
}

// Mask returns the number for logs: its first two and last two digits, "+44…01"; only
// the first two of a number with fewer than 10 digits.
func (n Number) Mask() string {
	switch {
	case n.IsZero():
		return "none"
	case len(n.e164) < 1+10:
		return n.e164[:3] + "…"
	}
	return n.e164[:3] + "…" + n.e164[len(n.e164)-2:]
}

// LogValue masks the number.
func (n Number) LogValue() slog.Value { return slog.StringValue(n.Mask()) }

// MarshalText gives the E.164 form; the empty text for the zero Number.
func (n Number) MarshalText() ([]byte, error) { return []byte(n.e164), nil }

// UnmarshalText takes any international form; the empty text is the zero Number.
// ErrNumber.
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

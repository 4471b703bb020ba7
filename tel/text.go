package tel

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
)

// Alphabets of the URI grammars.
const (
	decimal    = "0123456789"
	lower      = "abcdefghijklmnopqrstuvwxyz"
	alnum      = decimal + lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	unreserved = alnum + "-._~"                  // RFC 3986 2.3
	subDelims  = "!$&'()*+,;="                   // RFC 3986 2.2
	uric       = alnum + "-_.!~*'()%[]/:&+$,?@=" // RFC 3966 section 3, uric and paramchar
)

// hasScheme reports whether s begins with the scheme and a colon, in any case.
func hasScheme(s, scheme string) bool {
	return len(s) > len(scheme) && s[len(scheme)] == ':' && strings.EqualFold(s[:len(scheme)], scheme)
}

// canonEscapes gives percent-escapes one form: those of characters in decode become the
// characters, all others get upper-case digits. Characters outside raw must not stand
// for themselves; false if one does, or an escape is broken.
func canonEscapes(s, raw, decode string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '%' {
			if strings.IndexByte(raw, c) < 0 {
				return "", false
			}
			b.WriteByte(c)
			continue
		}
		c, ok := unhex(s[i+1:])
		if !ok {
			return "", false
		}
		i += 2
		if strings.IndexByte(decode, c) >= 0 {
			b.WriteByte(c)
		} else {
			writeEscape(&b, c)
		}
	}
	return b.String(), true
}

// unescape resolves all percent-escapes; false if one is broken.
func unescape(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			var ok bool
			if c, ok = unhex(s[i+1:]); !ok {
				return "", false
			}
			i += 2
		}
		b.WriteByte(c)
	}
	return b.String(), true
}

// escape writes everything outside the alphabet as percent-escapes.
func escape(s, alphabet string) string {
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(alphabet, s[i]) >= 0 {
			b.WriteByte(s[i])
		} else {
			writeEscape(&b, s[i])
		}
	}
	return b.String()
}

func writeEscape(b *strings.Builder, c byte) {
	const hex = "0123456789ABCDEF"
	b.Write([]byte{'%', hex[c>>4], hex[c&15]})
}

func unhex(s string) (byte, bool) {
	if len(s) < 2 || strings.Trim(s[:2], "0123456789abcdefABCDEF") != "" {
		return 0, false
	}
	v, err := strconv.ParseUint(s[:2], 16, 8)
	return byte(v), err == nil
}

// canonHost gives a host its one form: names in lower case and in ASCII (RFC 5891), with
// no dot at the end; addresses as RFC 5952 writes them. False if it is no host.
func canonHost(s string) (string, bool) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		if !ok || err != nil || !a.Is6() || a.Zone() != "" {
			return "", false
		}
		return "[" + a.String() + "]", true
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
		return s, true
	}
	return canonDomain(s)
}

func canonDomain(s string) (string, bool) {
	if strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) >= 0 {
		a, err := idna.Lookup.ToASCII(s)
		if err != nil {
			return "", false
		}
		s = a
	}
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	if s == "" || len(s) > 253 {
		return "", false
	}
	var label string
	for label = range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.Trim(label, lower+decimal+"-") != "" {
			return "", false
		}
	}
	// RFC 3261 toplabel: so that 1.2.3.04 or 10.1 is not taken for a name.
	return s, label[0] < '0' || label[0] > '9'
}

// quote shows text from outside in an error: enough to know it again, too little to put
// a number or a name into a log. Letters and digits other than the first two, and the
// last two of ten or more, become x; the rest is escaped to ASCII, and what is long is cut.
func quote(s string) string {
	const longest = 48
	named := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	total, cut := 0, false
	var shown []rune
	for _, r := range s {
		if len(shown) == longest {
			cut = true
			break
		}
		if named(r) {
			total++
		}
		shown = append(shown, r)
	}
	at := 0
	for i, r := range shown {
		if !named(r) {
			continue
		}
		if at++; at > 2 && (total < 10 || at <= total-2 || cut) {
			shown[i] = 'x'
		}
	}
	q := strconv.QuoteToASCII(string(shown))
	if cut {
		q += "…"
	}
	return q
}

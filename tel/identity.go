package tel

import (
	"encoding"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"unicode/utf8"
)

// ErrIdentity: the text names no party in a form that Tandem knows.
var ErrIdentity = errors.New("tel: not an identity")

// Kind says what sort of identity it is (SPEC "identity", A9).
type Kind string

// The kinds of identity, each with the URI scheme that writes it.
const (
	KindNumber    Kind = "number" // tel:+442079460001 (RFC 3966)
	KindSIP       Kind = "sip"    // sip:alice@example.com (RFC 3261)
	KindEmail     Kind = "email"  // mailto:alice@example.com (RFC 6068)
	KindUser      Kind = "user"   // user:alice, a name in the operator's own directory
	KindSocial    Kind = "social" // acct:alice@social.example (RFC 7565)
	KindAllocated Kind = "id"     // id:01J8…, allocated by the server
)

// Identity names a party in canonical form: two identities name the same thing in the
// same way if and only if they are equal with ==. The zero Identity names nobody, as
// where a number is withheld. It masks itself in logs.
type Identity struct{ uri string }

var (
	_ encoding.TextMarshaler   = Identity{}
	_ encoding.TextUnmarshaler = (*Identity)(nil)
	_ slog.LogValuer           = Identity{}
)

// maxIdentity is the longest text of an identity that is read, in bytes.
const maxIdentity = 512

// ParseIdentity reads an identity: a URI of a scheme above, or, without a scheme, a
// telephone number (national form with region, see [ParseNumber]) or, with an @, an
// e-mail address. A SIP URI with user=phone and a global number becomes that number; a
// number is never guessed from another SIP user name (use [SIPNumber] for elements
// configured so). What a URI says beyond the name is dropped: passwords, parameters,
// extensions ([ParseURI] keeps them). ErrIdentity, ErrNumber.
func ParseIdentity(raw, region string) (Identity, error) {
	s := strings.TrimSpace(raw)
	if s == "" {
		return Identity{}, fmt.Errorf("%w: it is empty", ErrIdentity)
	}
	if len(s) > maxIdentity {
		return Identity{}, fmt.Errorf("%w: longer than %d characters", ErrIdentity, maxIdentity)
	}
	scheme, rest, found := strings.Cut(s, ":")
	if !found {
		if strings.Contains(s, "@") {
			return parseEmail(s)
		}
		return numberIdentity(s, region)
	}
	switch strings.ToLower(scheme) {
	case "tel":
		if strings.HasPrefix(s, "tel:") {
			if n, ok := remembered(rest); ok {
				return n.Identity(), nil
			}
		}
		return numberIdentity(s, region)
	case "sip", "sips":
		return parseSIP(s)
	case "mailto":
		return parseMailto(rest)
	case "user":
		return parseName("user", strings.ToLower(rest))
	case "id":
		return parseName("id", rest)
	case "acct":
		return parseAcct(rest)
	}
	return Identity{}, fmt.Errorf("%w: %s: unknown scheme; known are tel, sip, sips, mailto, user, acct and id", ErrIdentity, quote(s))
}

func numberIdentity(s, region string) (Identity, error) {
	n, err := ParseNumber(s, region)
	if err != nil {
		return Identity{}, err
	}
	return n.Identity(), nil
}

// Identity returns the number as an identity; the zero Number gives the zero Identity.
func (n Number) Identity() Identity {
	if n.IsZero() {
		return Identity{}
	}
	return Identity{"tel:" + n.String()}
}

// IsZero reports whether id names nobody.
func (id Identity) IsZero() bool { return id.uri == "" }

// String returns the canonical URI.
func (id Identity) String() string { return id.uri }

// Kind returns the kind; "" for the zero Identity.
func (id Identity) Kind() Kind {
	scheme, _, _ := strings.Cut(id.uri, ":")
	switch scheme {
	case "tel":
		return KindNumber
	case "sip", "sips":
		return KindSIP
	case "mailto":
		return KindEmail
	case "user":
		return KindUser
	case "acct":
		return KindSocial
	case "id":
		return KindAllocated
	}
	return ""
}

// Number returns the telephone number, and whether the identity is one.
func (id Identity) Number() (Number, bool) {
	n, ok := strings.CutPrefix(id.uri, "tel:")
	if !ok {
		return Number{}, false
	}
	return Number{n}, true
}

// Email returns the e-mail address of an identity of that kind, as it is written in a message.
func (id Identity) Email() (string, bool) {
	addr, ok := strings.CutPrefix(id.uri, "mailto:")
	i := strings.LastIndexByte(addr, '@')
	if !ok || i < 0 {
		return "", false
	}
	local, ok := unescape(addr[:i])
	return local + addr[i:], ok
}

// Mask returns the identity for logs: a number as [Number.Mask], of others the scheme
// and the first character, "sip:a…"; "withheld" for the zero Identity.
func (id Identity) Mask() string {
	if n, ok := id.Number(); ok {
		return n.Mask()
	}
	if id.IsZero() {
		return "withheld"
	}
	scheme, rest, _ := strings.Cut(id.uri, ":")
	_, size := utf8.DecodeRuneInString(rest)
	return scheme + ":" + rest[:size] + "…"
}

// LogValue masks the identity.
func (id Identity) LogValue() slog.Value { return slog.StringValue(id.Mask()) }

// MarshalText gives the canonical URI.
func (id Identity) MarshalText() ([]byte, error) { return []byte(id.uri), nil }

// UnmarshalText takes what ParseIdentity takes, without a region; the empty text is
// the zero Identity. ErrIdentity, ErrNumber.
func (id *Identity) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*id = Identity{}
		return nil
	}
	p, err := ParseIdentity(string(b), "")
	if err == nil {
		*id = p
	}
	return err
}

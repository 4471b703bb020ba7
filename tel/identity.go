package tel

import (
	"errors"
	"fmt"
	"log/slog"
	"net/mail"
	"strings"
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

// Identity names a party in canonical form: two identities of the same form are equal
// with ==. The zero Identity names nobody, as where a number is withheld.
type Identity struct{ uri string }

// ParseIdentity reads an identity: a URI of a scheme above, or, without a scheme, a
// telephone number (national form with region) or, with an @, an e-mail address. A SIP
// URI with user=phone and a global number becomes that number; a number is never
// guessed from another SIP user name (use [SIPNumber] for elements configured so).
// ErrIdentity, ErrNumber.
func ParseIdentity(raw, region string) (Identity, error) {
	s := strings.TrimSpace(raw)
	if s == "" {
		return Identity{}, fmt.Errorf("%w: it is empty", ErrIdentity)
	}
	if len(s) > 512 {
		return Identity{}, fmt.Errorf("%w: longer than 512 characters", ErrIdentity)
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
		return numberIdentity(s, region)
	case "sip", "sips":
		return parseSIP(s)
	case "mailto":
		return parseEmail(rest)
	case "user", "id":
		if !isName(rest) {
			return Identity{}, fmt.Errorf("%w: %q: a name has 1 to 128 letters, digits or . _ - characters", ErrIdentity, raw)
		}
		if scheme = strings.ToLower(scheme); scheme == "user" {
			rest = strings.ToLower(rest)
		}
		return Identity{scheme + ":" + rest}, nil
	case "acct":
		user, host, ok := strings.Cut(rest, "@")
		if !ok || user == "" || host == "" {
			return Identity{}, fmt.Errorf("%w: %q: a social account is written acct:name@host", ErrIdentity, raw)
		}
		return Identity{"acct:" + user + "@" + strings.ToLower(host)}, nil
	}
	return Identity{}, fmt.Errorf("%w: %q: unknown scheme; use tel:, sip:, mailto:, user:, acct: or id:", ErrIdentity, raw)
}

func numberIdentity(s, region string) (Identity, error) {
	n, err := ParseNumber(s, region)
	if err != nil {
		return Identity{}, err
	}
	return n.Identity(), nil
}

func parseEmail(s string) (Identity, error) {
	a, err := mail.ParseAddress(s)
	if err != nil || a.Name != "" {
		return Identity{}, fmt.Errorf("%w: %q is not an e-mail address", ErrIdentity, s)
	}
	user, host, _ := strings.Cut(a.Address, "@")
	return Identity{"mailto:" + user + "@" + strings.ToLower(host)}, nil
}

func isName(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for _, c := range s {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._-", c)) {
			return false
		}
	}
	return true
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
	d, ok := strings.CutPrefix(id.uri, "tel:+")
	return Number{d}, ok
}

// Mask returns the identity for logs, without what would name the person.
func (id Identity) Mask() string {
	if n, ok := id.Number(); ok {
		return n.Mask()
	}
	if id.IsZero() {
		return "withheld"
	}
	scheme, rest, _ := strings.Cut(id.uri, ":")
	first := ""
	for _, c := range rest {
		first = string(c)
		break
	}
	return scheme + ":" + first + "…"
}

// LogValue masks the identity.
func (id Identity) LogValue() slog.Value { return slog.StringValue(id.Mask()) }

// MarshalText gives the canonical URI.
func (id Identity) MarshalText() ([]byte, error) { return []byte(id.uri), nil }

// UnmarshalText takes what ParseIdentity takes, without a region; the empty text is
// the zero Identity.
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

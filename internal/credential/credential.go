// Package credential keeps the API keys of those who are no devices: operators, network
// elements, providers and their agents.
//
// A [Credential] has a role and, for those who report calls, ranges of identities that it
// may speak for (DESIGN section 5). Its key, "tdm_<id>_<secret>", is shown once, by
// [Store.Create]; kept is only a hash of the secret. [Store.Verify] turns a key back into
// its credential.
package credential

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Errors of credentials.
var (
	// ErrInvalid: the key is none of this server's.
	ErrInvalid = errors.New("credential: not a valid key")
	// ErrExpired: the key was valid until a moment ago or longer.
	ErrExpired = errors.New("credential: the key has expired")
	// ErrRevoked: the key was revoked.
	ErrRevoked = errors.New("credential: the key was revoked")
	// ErrNotFound: there is no such credential in this tenant.
	ErrNotFound = errors.New("credential: not found")
	// ErrRequest: a field cannot be used as it is.
	ErrRequest = errors.New("credential: unusable request")
)

// Role says what a credential is for.
type Role string

// Roles.
const (
	Operator Role = "operator" // runs the server for a tenant
	Element  Role = "element"  // a network element that reports calls (A3 to A5)
	Provider Role = "provider" // a service provider's contact centre (A7, I)
	Agent    Role = "agent"    // a person in a contact centre
)

// Credential is what is kept of a key.
type Credential struct {
	ID     string        `json:"id"`
	Tenant wire.TenantID `json:"tenant"`
	Role   Role          `json:"role"`
	// Name for the operator.
	Name string `json:"name"`
	// Scopes narrow the role down; empty: all that the role can do.
	Scopes []string `json:"scopes,omitempty"`
	// Speaks lists the identities it may speak for, each written as a number's beginning
	// ("+44207946"), a host of SIP and e-mail addresses ("@pbx.example"), or one identity
	// ("sip:ivr@pbx.example"). Empty: none.
	Speaks  []string  `json:"speaks,omitempty"`
	Created time.Time `json:"created"`
	// Expires; zero: never.
	Expires   time.Time `json:"expires,omitzero"`
	RevokedAt time.Time `json:"revoked_at,omitzero"`
	// Certificate is the SHA-256 of the TLS client certificate (DER) with which alone the
	// key is valid (RFC 8705 section 3); empty: it needs none.
	Certificate []byte `json:"certificate,omitempty"`
	// SecretSHA256 is the hash of the key's secret part, which has 130 random bits.
	SecretSHA256 []byte `json:"secret_sha256"`
}

// MaySpeakFor reports whether the credential's ranges cover the identity.
func (c Credential) MaySpeakFor(id tel.Identity) bool {
	return Covers(c.Speaks, id)
}

// Covers reports whether one of the ranges, as [ParseRange] writes them, has the identity in it.
func Covers(ranges []string, id tel.Identity) bool {
	return !id.IsZero() && slices.ContainsFunc(ranges, func(r string) bool { return covers(r, id) })
}

// Within reports whether a range, as [ParseRange] writes it, lies in one of the ranges.
func Within(r string, ranges []string) bool {
	return slices.ContainsFunc(ranges, func(wide string) bool {
		switch {
		case strings.HasPrefix(wide, "+"):
			return strings.HasPrefix(r, wide)
		case strings.HasPrefix(wide, "@") && (strings.HasPrefix(r, "sip:") || strings.HasPrefix(r, "mailto:")):
			return strings.HasSuffix(r, wide)
		}
		return r == wide
	})
}

// check returns why the credential cannot be used now, or nil.
func (c Credential) check(now time.Time) error {
	switch {
	case !c.RevokedAt.IsZero():
		return ErrRevoked
	case !c.Expires.IsZero() && !now.Before(c.Expires):
		return ErrExpired
	}
	return nil
}

func covers(r string, id tel.Identity) bool {
	if strings.HasPrefix(r, "+") {
		n, ok := id.Number()
		return ok && strings.HasPrefix(n.String(), r)
	}
	if strings.HasPrefix(r, "@") {
		kind := id.Kind()
		if kind != tel.KindSIP && kind != tel.KindEmail {
			return false
		}
		s := id.String()
		return s[strings.LastIndexByte(s, '@'):] == r
	}
	return id.String() == r
}

// ParseRange brings a range into canonical form: a number's beginning loses spaces, dashes
// and a trailing "…" or "*"; "+" alone means all numbers. ErrRequest.
func ParseRange(s string) (string, error) {
	s = strings.TrimSpace(s)
	switch {
	case strings.HasPrefix(s, "+"):
		digits := strings.NewReplacer(" ", "", "-", "", "(", "", ")", "", ".", "").Replace(s[1:])
		digits = strings.TrimSuffix(strings.TrimSuffix(digits, "…"), "*")
		if len(digits) > 15 || strings.ContainsFunc(digits, func(c rune) bool { return c < '0' || c > '9' }) {
			return "", fmt.Errorf("%w: %q is not the beginning of a number, like +44207946", ErrRequest, s)
		}
		return "+" + digits, nil
	case strings.HasPrefix(s, "@"):
		// A host is what an address keeps of it when it is parsed.
		id, err := tel.ParseIdentity("sip:x"+s, "")
		if err != nil || strings.ContainsAny(s, ";?/ ") || strings.Count(s, "@") != 1 {
			return "", fmt.Errorf("%w: %q is not a host, like @pbx.example", ErrRequest, s)
		}
		return strings.TrimPrefix(id.String(), "sip:x"), nil
	}
	id, err := tel.ParseIdentity(s, "")
	if err != nil {
		return "", fmt.Errorf("%w: range: %w", ErrRequest, err)
	}
	if n, ok := id.Number(); ok {
		return n.String(), nil
	}
	return id.String(), nil
}

// New describes a credential to be made.
type New struct {
	// ID of the key, from [NewID]; "": a fresh one.
	ID     string
	Tenant wire.TenantID
	Role   Role
	Name   string
	Scopes []string
	// Speaks in any form that [ParseRange] takes.
	Speaks []string
	// Expires; zero: never.
	Expires time.Time
	// Certificate to bind it to; nil: none.
	Certificate []byte
}

func (n *New) check(now time.Time) error {
	if !wire.ValidID(string(n.Tenant)) {
		return fmt.Errorf("%w: no tenant", ErrRequest)
	}
	if !slices.Contains([]Role{Operator, Element, Provider, Agent}, n.Role) {
		return fmt.Errorf("%w: unknown role %q; use operator, element, provider or agent", ErrRequest, n.Role)
	}
	if n.Name == "" || len(n.Name) > 128 || !utf8.ValidString(n.Name) {
		return fmt.Errorf("%w: a name has 1 to 128 bytes of text", ErrRequest)
	}
	if !n.Expires.IsZero() && !n.Expires.After(now) {
		return fmt.Errorf("%w: it would expire in the past", ErrRequest)
	}
	if n.Certificate != nil && len(n.Certificate) != sha256.Size {
		return fmt.Errorf("%w: a certificate is named by its SHA-256", ErrRequest)
	}
	if len(n.Speaks) > 1000 || len(n.Scopes) > 100 {
		return fmt.Errorf("%w: more than 1000 ranges or 100 scopes", ErrRequest)
	}
	speaks := make([]string, 0, len(n.Speaks))
	for _, s := range n.Speaks {
		r, err := ParseRange(s)
		if err != nil {
			return err
		}
		if !slices.Contains(speaks, r) {
			speaks = append(speaks, r)
		}
	}
	n.Speaks = speaks
	for _, s := range n.Scopes {
		if !wire.ValidID(strings.NewReplacer(":", "", ".", "").Replace(s)) {
			return fmt.Errorf("%w: %q is not a scope", ErrRequest, s)
		}
	}
	return nil
}

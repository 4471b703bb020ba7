package tel

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Characters of an e-mail address's local part besides letters, digits and the dot
// (RFC 5322 3.2.3, atext), and those of them that mailto writes without an escape
// (RFC 6068 section 2).
const (
	atext      = alnum + "!#$%&'*+-/=?^_`{|}~"
	mailtoOpen = unreserved + "!$'*+"
)

// parseMailto reads a mailto URI with one address (RFC 6068); subject and the like are
// dropped.
func parseMailto(s string) (Identity, error) {
	addr, _, _ := strings.Cut(s, "?")
	local, host, ok := strings.Cut(addr, "@")
	if ok {
		local, ok = unescape(local)
	}
	if !ok {
		return Identity{}, fmt.Errorf("%w: %s is not an e-mail address", ErrIdentity, quote(s))
	}
	return emailIdentity(local, host, s)
}

// parseEmail reads a bare address, alice@example.com.
func parseEmail(s string) (Identity, error) {
	i := strings.LastIndexByte(s, '@')
	return emailIdentity(s[:i], s[i+1:], s)
}

// emailIdentity keeps the local part as it is, for its case may matter (RFC 5321 2.4),
// and gives the host its canonical form.
func emailIdentity(local, host, raw string) (Identity, error) {
	local = norm.NFC.String(local)
	domain, ok := canonDomain(host)
	if !ok || !isDotAtom(local) {
		return Identity{}, fmt.Errorf("%w: %s is not an e-mail address; write only name@host", ErrIdentity, quote(raw))
	}
	return Identity{"mailto:" + escape(local, mailtoOpen) + "@" + domain}, nil
}

// isDotAtom: RFC 5322 3.2.3, with the letters of other scripts (RFC 6532). Quoted local
// parts are not taken.
func isDotAtom(s string) bool {
	if len(s) > 64 || !utf8.ValidString(s) {
		return false
	}
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" {
			return false
		}
		for _, r := range atom {
			if r < 0x80 && strings.IndexByte(atext, byte(r)) < 0 || r >= 0x80 && (!unicode.IsGraphic(r) || unicode.IsSpace(r)) {
				return false
			}
		}
	}
	return true
}

// parseAcct reads an account at a host, "acct:alice@social.example" (RFC 7565).
func parseAcct(s string) (Identity, error) {
	user, host, ok := strings.Cut(s, "@")
	if ok {
		host, ok = canonHost(host)
	}
	if ok {
		user, ok = canonEscapes(user, unreserved+subDelims, unreserved)
	}
	if !ok || user == "" {
		return Identity{}, fmt.Errorf("%w: %s: a social account is written acct:name@host", ErrIdentity, quote(s))
	}
	return Identity{"acct:" + user + "@" + host}, nil
}

// parseName reads a name without structure: user:alice, id:01J8….
func parseName(scheme, s string) (Identity, error) {
	if s == "" || len(s) > 128 || strings.Trim(s, alnum+"._-") != "" {
		return Identity{}, fmt.Errorf("%w: %s: a name has 1 to 128 letters, digits or . _ - characters", ErrIdentity, quote(s))
	}
	return Identity{scheme + ":" + s}, nil
}

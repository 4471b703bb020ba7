package tel

import (
	"fmt"
	"strconv"
	"strings"
)

// Characters that stand for themselves in the user part of a SIP URI (RFC 3261 25.1).
const (
	sipUnreserved = alnum + "-_.!~*'()"
	sipUser       = sipUnreserved + "&=+$,;?/"
	sipPassword   = sipUnreserved + "&=+$,"
	sipParam      = sipUnreserved + "%[]/:&+$"
	sipHeader     = sipParam + "?="
)

// sipURI is a SIP or SIPS URI taken apart (RFC 3261 19.1.1), each part in canonical form.
type sipURI struct {
	scheme string // "sip" or "sips"
	user   string // with the escapes that RFC 3261 19.1.4 tells apart
	host   string
	port   string // "" for the scheme's and transport's default
	phone  bool   // user=phone
}

// parseSIPURI reads a SIP URI. ErrIdentity.
func parseSIPURI(s string) (sipURI, error) {
	fail := func(why string) (sipURI, error) {
		return sipURI{}, fmt.Errorf("%w: %s: %s", ErrIdentity, quote(s), why)
	}
	scheme, rest, _ := strings.Cut(s, ":")
	u := sipURI{scheme: strings.ToLower(scheme)}
	// Neither host, parameters nor headers can hold an @ (RFC 3261 25.1); the user part may
	// hold ; and ?, so it must be split off first.
	user, rest, ok := strings.Cut(rest, "@")
	if !ok || user == "" {
		return fail("a SIP address names a user: sip:user@host")
	}
	user, password, _ := strings.Cut(user, ":")
	if u.user, ok = canonEscapes(user, sipUser, sipUnreserved); !ok || u.user == "" {
		return fail("the user part holds what must be escaped, or a broken escape")
	}
	if _, ok := canonEscapes(password, sipPassword, ""); !ok {
		return fail("the password holds what must be escaped, or a broken escape")
	}
	rest, headers, _ := strings.Cut(rest, "?")
	if strings.Trim(headers, sipHeader) != "" {
		return fail("a header holds what must be escaped")
	}
	hostport, params, _ := strings.Cut(rest, ";")
	host, port := splitPort(hostport)
	if u.host, ok = canonHost(host); !ok {
		return fail("the host is neither a name nor an address")
	}
	transport, err := u.readParams(params)
	if err != "" {
		return fail(err)
	}
	if port == "" {
		return u, nil
	}
	n, perr := strconv.ParseUint(strings.TrimPrefix(port, ":"), 10, 16)
	if perr != nil || n == 0 || strings.Trim(port, ":"+decimal) != "" {
		return fail("the port is not a number from 1 to 65535")
	}
	// The default ports, RFC 3261 19.1.2. The transport itself is not part of the name, so
	// sip: drops 5060 beside every transport.
	isDefault := n == 5060 && u.scheme == "sip" || n == 5061 && (u.scheme == "sips" || transport == "tls")
	if !isDefault {
		u.port = strconv.FormatUint(n, 10)
	}
	return u, nil
}

// readParams notes user=phone and returns the transport, and what is wrong if anything.
func (u *sipURI) readParams(params string) (transport, fault string) {
	seen := map[string]bool{}
	for params != "" {
		var p string
		p, params, _ = strings.Cut(params, ";")
		name, value, _ := strings.Cut(p, "=")
		if name = strings.ToLower(name); name == "" || strings.Trim(name+value, sipParam) != "" {
			return "", "a parameter holds what must be escaped, or has no name"
		}
		if seen[name] {
			return "", "a parameter is there twice"
		}
		seen[name] = true
		switch name {
		case "user":
			u.phone = strings.EqualFold(value, "phone")
		case "transport":
			transport = strings.ToLower(value)
		}
	}
	return transport, ""
}

// splitPort splits "host:port"; the port keeps its colon, "" if there is none.
func splitPort(s string) (host, port string) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || i < strings.LastIndexByte(s, ']') {
		return s, ""
	}
	return s[:i], s[i:]
}

// parseSIP reduces a SIP URI to what names the party, as a registrar does with an
// address of record (RFC 3261 10.3 step 5): scheme, user, host, and a port that is not
// the default. Passwords, parameters and headers say how to reach it and are dropped.
// Escapes are compared as in 19.1.4: those of reserved characters remain.
func parseSIP(s string) (Identity, error) {
	u, err := parseSIPURI(s)
	if err != nil {
		return Identity{}, err
	}
	if u.phone {
		// RFC 3261 19.1.6: the user part is a telephone-subscriber. A local number that
		// nothing makes global remains a user of its host.
		user, _ := unescape(u.user)
		n, err := parseSubscriber(user)
		if err == nil {
			return n.Number.Identity(), nil
		}
		if strings.HasPrefix(user, "+") {
			return Identity{}, err
		}
	}
	uri := u.scheme + ":" + u.user + "@" + u.host
	if u.port != "" {
		uri += ":" + u.port
	}
	return Identity{uri}, nil
}

// SIPNumber reads the user part of a SIP URI as a telephone number, for network
// elements configured to mean it so (DESIGN section 3: never guessed otherwise).
// National numbers are read with region. ErrIdentity, ErrNumber.
func SIPNumber(uri, region string) (Number, error) {
	s := strings.TrimSpace(uri)
	if len(s) > maxIdentity || !hasScheme(s, "sip") && !hasScheme(s, "sips") {
		return Number{}, fmt.Errorf("%w: %s is not a SIP address", ErrIdentity, quote(uri))
	}
	u, err := parseSIPURI(s)
	if err != nil {
		return Number{}, err
	}
	user, _ := unescape(u.user)
	if n, err := parseSubscriber(user); err == nil {
		return n.Number, nil
	}
	user, _, _ = strings.Cut(user, ";")
	return ParseNumber(user, region)
}

package sip

import (
	"net/netip"
	"strconv"
	"strings"
)

// uri is a SIP or SIPS URI (RFC 3261 19.1), or the scheme and the rest of another one.
type uri struct {
	scheme string // in lower case
	// rest of a URI that is neither sip nor sips.
	rest string

	user, password string // as they stand, with escapes
	host           string // an IPv6 address without brackets
	port           uint16 // 0: none
	params         params
	headers        string // behind the ?
}

func (u uri) isSIP() bool { return u.scheme == "sip" || u.scheme == "sips" }

// parseURI reads a URI. False: it is not well formed.
func parseURI(s string) (u uri, ok bool) {
	scheme, rest, found := strings.Cut(s, ":")
	if !found || scheme == "" || !schemeChars.in(scheme) || !('a' <= scheme[0]|0x20 && scheme[0]|0x20 <= 'z') {
		return u, false
	}
	u.scheme = strings.ToLower(scheme)
	if !u.isSIP() {
		u.rest = rest
		return u, rest != "" && !strings.ContainsAny(rest, " \t<>\"")
	}
	// A user part may hold ; and ?, so the first @ decides.
	if i := strings.IndexByte(rest, '@'); i >= 0 {
		var info string
		info, rest = rest[:i], rest[i+1:]
		u.user, u.password, _ = strings.Cut(info, ":")
		if u.user == "" || !userChars.escaped(u.user) || !userChars.escaped(u.password) {
			return u, false
		}
	}
	end := strings.IndexAny(rest, ";?")
	if end < 0 {
		end = len(rest)
	}
	if u.host, u.port, ok = parseHostPort(rest[:end]); !ok {
		return u, false
	}
	rest = rest[end:]
	if i := strings.IndexByte(rest, '?'); i >= 0 {
		u.headers = rest[i+1:]
		rest = rest[:i]
		if u.headers == "" || !uheadChars.escaped(u.headers) {
			return u, false
		}
	}
	for rest != "" {
		end := strings.IndexByte(rest[1:], ';') + 1
		if end == 0 {
			end = len(rest)
		}
		name, value, _ := strings.Cut(rest[1:end], "=")
		if name == "" || !paramChars.escaped(name) || !paramChars.escaped(value) {
			return u, false
		}
		u.params = append(u.params, param{name, value})
		rest = rest[end:]
	}
	return u, true
}

// parseHostPort reads "host", "host:port" or "[v6]:port".
func parseHostPort(s string) (host string, port uint16, ok bool) {
	if strings.HasPrefix(s, "[") {
		i := strings.IndexByte(s, ']')
		if i < 0 {
			return "", 0, false
		}
		host, s = s[1:i], s[i+1:]
		if a, err := netip.ParseAddr(host); err != nil || !a.Is6() {
			return "", 0, false
		}
	} else {
		i := strings.IndexByte(s, ':')
		if i < 0 {
			i = len(s)
		}
		host, s = s[:i], s[i:]
		if host == "" || !hostChars.in(host) {
			return "", 0, false
		}
	}
	if s == "" {
		return host, 0, true
	}
	n, err := strconv.ParseUint(s[1:], 10, 16)
	if s[0] != ':' || err != nil || n == 0 {
		return "", 0, false
	}
	return host, uint16(n), true
}

// param of the URI, in lower case; "" if there is none.
func (u uri) param(name string) string {
	v, _ := u.params.get(name)
	return strings.ToLower(v)
}

func (u uri) String() string {
	var b strings.Builder
	b.WriteString(u.scheme + ":")
	if !u.isSIP() {
		b.WriteString(u.rest)
		return b.String()
	}
	if u.user != "" {
		b.WriteString(u.user)
		if u.password != "" {
			b.WriteString(":" + u.password)
		}
		b.WriteByte('@')
	}
	b.WriteString(hostPort(u.host, u.port))
	b.WriteString(u.params.String())
	if u.headers != "" {
		b.WriteString("?" + u.headers)
	}
	return b.String()
}

// hostPort joins a host with a port, of which 0 stands for none.
func hostPort(host string, port uint16) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != 0 {
		host += ":" + strconv.Itoa(int(port))
	}
	return host
}

// unescape takes the %XX out of a part of a URI that was parsed.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

package sip

import (
	"strconv"
	"strings"
)

// address is what From, To, Contact, Route and their kin hold: a URI, a name before it, and
// parameters behind it (RFC 3261 20.10).
type address struct {
	name   string // as it stands
	uri    uri
	params params
}

// parseAddress reads one value. False: it is not well formed.
func parseAddress(s string) (a address, ok bool) {
	s = strings.Trim(s, " \t")
	at := 0
	if strings.HasPrefix(s, `"`) {
		if at = quotedEnd(s, 0); at == len(s) || s[at-1] != '"' {
			return a, false
		}
	}
	open := strings.IndexByte(s[at:], '<')
	if open < 0 {
		if at > 0 {
			return a, false // a name needs brackets
		}
		// Without brackets, parameters are those of the header field, and the URI must not
		// hold a comma, question mark or semicolon (RFC 3261 20).
		spec, rest := s, ""
		if i := strings.IndexByte(s, ';'); i >= 0 {
			spec, rest = s[:i], s[i:]
		}
		spec = strings.Trim(spec, " \t")
		if strings.ContainsAny(spec, " \t?,") {
			return a, false
		}
		if a.uri, ok = parseURI(spec); !ok {
			return a, false
		}
		a.params, ok = parseParams(rest)
		return a, ok
	}
	open += at
	shut := strings.IndexByte(s[open:], '>')
	if shut < 0 {
		return a, false
	}
	shut += open
	a.name = strings.Trim(s[:open], " \t")
	if at > 0 {
		if strings.Trim(s[at:open], " \t") != "" {
			return a, false
		}
	} else {
		for word := range strings.FieldsSeq(a.name) { // a name without quotes has tokens only
			if !isToken(word) {
				return a, false
			}
		}
	}
	if a.uri, ok = parseURI(s[open+1 : shut]); !ok {
		return a, false
	}
	a.params, ok = parseParams(s[shut+1:])
	return a, ok
}

func (a address) String() string {
	s := "<" + a.uri.String() + ">" + a.params.String()
	if a.name != "" {
		s = a.name + " " + s
	}
	return s
}

// tag of a From or To.
func tagOf(value string) string {
	a, ok := parseAddress(value)
	if !ok {
		return ""
	}
	t, _ := a.params.get("tag")
	return t
}

// via is one value of Via (RFC 3261 20.42).
type via struct {
	transport string // in upper case: UDP, TCP, TLS, WS, WSS
	host      string
	port      uint16 // 0: none
	params    params
}

// parseVia reads one value, in which white space may stand around the strokes and the colon.
func parseVia(s string) (v via, ok bool) {
	name, rest, ok := strings.Cut(s, "/")
	if !ok || !isToken(strings.Trim(name, " \t")) {
		return v, false
	}
	version, rest, ok := strings.Cut(rest, "/")
	if !ok || !strings.EqualFold(strings.Trim(name, " \t"), "SIP") || strings.Trim(version, " \t") != "2.0" {
		return v, false
	}
	rest = strings.TrimLeft(rest, " \t")
	end := strings.IndexAny(rest, " \t")
	if end <= 0 || !isToken(rest[:end]) {
		return v, false
	}
	v.transport = strings.ToUpper(rest[:end])
	rest = strings.TrimLeft(rest[end:], " \t")
	sentBy := rest
	if i := strings.IndexByte(rest, ';'); i >= 0 {
		sentBy, rest = rest[:i], rest[i:]
	} else {
		rest = ""
	}
	sentBy = strings.NewReplacer(" ", "", "\t", "").Replace(sentBy)
	if v.host, v.port, ok = parseHostPort(sentBy); !ok {
		return v, false
	}
	v.params, ok = parseParams(rest)
	return v, ok
}

func (v via) String() string {
	return "SIP/2.0/" + v.transport + " " + hostPort(v.host, v.port) + v.params.String()
}

func (v via) branch() string {
	b, _ := v.params.get("branch")
	return b
}

// topVia of a message that was parsed.
func (m *Message) topVia() via {
	v, _ := parseVia(m.Top(Via))
	return v
}

// cookie begins the branches that are unique (RFC 3261 8.1.1.7).
const cookie = "z9hG4bK"

// number reads a decimal number as the lengths and times of SIP are: false where it is none,
// and the greatest that fits where it is larger.
func number(s string, most uint64) (uint64, bool) {
	if s == "" || strings.Trim(s, digits) != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > most {
		return most, true
	}
	return n, true
}

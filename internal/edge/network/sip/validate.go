package sip

import "strings"

// single are the header fields of which a message has one at most (RFC 3261 7.3.1, table 2).
var single = []HeaderID{From, To, CallID, CSeq, MaxForwards, ContentType, Expires, Date, Event, ReferTo, Replaces, SessionExpires}

// needed are those without which no request can be handled (RFC 3261 8.1.1). Max-Forwards
// may be missing (16.3 step 3).
var needed = []HeaderID{Via, From, To, CallID, CSeq}

// validate judges a message as RFC 3261 16.3 and RFC 4475 ask: what the element relies on
// must be well formed. What it only forwards is not its business.
func validate(m *Message) *Fault {
	for _, id := range needed {
		if m.Get(id) == "" {
			return bad("%s is missing", headerNames[id])
		}
	}
	for _, id := range single {
		if len(m.Raw(id)) > 1 {
			return bad("%s is there twice", headerNames[id])
		}
	}
	for _, id := range []HeaderID{From, To} {
		value := m.Get(id)
		if !closed(value) {
			return bad("%s has a quoted string without end", headerNames[id])
		}
		if _, ok := parseAddress(value); !ok {
			return bad("%s is not well formed", headerNames[id])
		}
	}
	if fault := validateVia(m); fault != nil {
		return fault
	}
	_, method := m.cseq()
	if method == "" || !isToken(method) {
		return bad("CSeq is not a number below 2**31 and a method")
	}
	if id := m.Get(CallID); len(id) > 1024 || !wordChars.in(strings.Replace(id, "@", "", 1)) {
		return bad("Call-ID is not well formed")
	}
	if !m.IsRequest() {
		return nil
	}
	if method != m.Method {
		return bad("CSeq names another method")
	}
	return validateRequest(m)
}

func validateVia(m *Message) *Fault {
	vias := 0
	for _, value := range m.Raw(Via) {
		for rest := value; ; {
			var first string
			first, rest = cutList(rest)
			if _, ok := parseVia(first); !ok {
				return bad("Via is not well formed")
			}
			if vias++; vias > maxVias {
				return &Fault{Status: 483, Reason: reasons[483], Why: "it has come through too many elements"}
			}
			if rest == "" {
				break
			}
		}
	}
	return nil
}

func validateRequest(m *Message) *Fault {
	u, ok := parseURI(m.URI)
	switch {
	case !ok:
		return bad("the Request-URI is not well formed")
	case u.headers != "":
		return bad("the Request-URI has header fields") // RFC 3261 19.1.1, table 1
	}
	if v := m.Get(MaxForwards); m.Has(MaxForwards) {
		if n, ok := number(v, 256); !ok || n > 255 {
			return bad("Max-Forwards is not a number up to 255")
		}
	}
	for _, id := range []HeaderID{Route, RecordRoute, Path} {
		for _, value := range m.All(id) {
			if a, ok := parseAddress(value); !ok || !a.uri.isSIP() {
				return bad("%s is not well formed", headerNames[id])
			}
		}
	}
	for _, value := range m.Raw(Contact) {
		if value == "*" {
			continue
		}
		if !closed(value) || strings.HasPrefix(value, ",") || strings.HasSuffix(value, ",") {
			return bad("Contact is not well formed")
		}
		for _, one := range splitList(value) {
			if _, ok := parseAddress(one); !ok {
				return bad("Contact is not well formed")
			}
		}
	}
	return nil
}

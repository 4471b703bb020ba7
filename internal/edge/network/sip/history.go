package sip

import (
	"slices"
	"strings"
)

// A call that was diverted says where it comes from in History-Info (RFC 7044) or Diversion (RFC
// 5806). They are taken from trusted elements only, like P-Asserted-Identity, and what is private in
// them goes to trusted elements only. The element itself diverts no call: a 3xx goes back
// to the caller as it is.

// dialledFirst returns the user that the caller dialled, by the first entry of History-Info, or else the
// last of Diversion, which is the oldest (RFC 5806 4); "" where neither tells it.
func dialledFirst(m *Message) string {
	oldest, index := "", ""
	for _, value := range m.All(HistoryInfo) {
		a, ok := parseAddress(value)
		i, _ := a.params.get("index")
		if ok && (index == "" || len(i) < len(index)) {
			oldest, index = userOf(a.uri), i
			if strings.EqualFold(a.uri.host, "anonymous.invalid") {
				oldest = ""
			}
		}
	}
	if oldest != "" {
		return oldest
	}
	all := m.All(Diversion)
	if len(all) == 0 {
		return ""
	}
	a, ok := parseAddress(all[len(all)-1])
	if !ok || strings.EqualFold(a.uri.host, "anonymous.invalid") {
		return ""
	}
	return userOf(a.uri)
}

// confide takes off what only trusted elements may know of who speaks and who was called before.
func (m *Message) confide() {
	if hasPrivacy(m.Get(Privacy), "id") { // RFC 3325 7
		m.Remove(PAssertedIdentity)
	}
	if !m.Has(HistoryInfo) && !m.Has(Diversion) {
		return
	}
	all := slices.ContainsFunc([]string{"history", "header", "session"}, func(v string) bool { return hasPrivacy(m.Get(Privacy), v) })
	history := m.All(HistoryInfo)
	m.Remove(HistoryInfo)
	for _, value := range history {
		a, ok := parseAddress(value)
		switch {
		case !ok:
			continue
		case all || a.uri.private(): // RFC 7044 10.1.2
			a.name, a.uri = "", uri{scheme: "sip", user: "anonymous", host: "anonymous.invalid"}
			value = a.String()
		}
		m.Add(HistoryInfo, value)
	}
	diversion := m.All(Diversion)
	m.Remove(Diversion)
	for _, value := range diversion {
		a, ok := parseAddress(value)
		if p, _ := a.params.get("privacy"); ok && !all && (p == "" || strings.EqualFold(unquote(p), "off")) {
			m.Add(Diversion, value)
		}
	}
}

// private: the URI of an entry of History-Info says that it may be shown to nobody.
func (u uri) private() bool {
	for h := range strings.SplitSeq(u.headers, "&") {
		name, value, _ := strings.Cut(h, "=")
		if strings.EqualFold(unescape(name), "Privacy") && hasPrivacy(unescape(value), "history") {
			return true
		}
	}
	return false
}

// hasPrivacy: the value of a Privacy header field (RFC 3323 4.2) has this one among its values.
func hasPrivacy(value, want string) bool {
	for v := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ';' || r == ',' }) {
		if strings.EqualFold(strings.TrimSpace(v), want) {
			return true
		}
	}
	return false
}

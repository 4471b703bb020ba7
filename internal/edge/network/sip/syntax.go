package sip

import "strings"

// The character classes of RFC 3261 25.1.
const (
	alnum  = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	digits = "0123456789"
)

// set is a set of ASCII characters.
type set [128]bool

func setOf(chars string) *set {
	var s set
	for i := range len(chars) {
		s[chars[i]] = true
	}
	return &s
}

var (
	tokenChars  = setOf(alnum + "-.!%*_+`'~")
	userChars   = setOf(alnum + "-_.!~*'()" + "&=+$,;?/")
	hostChars   = setOf(alnum + "-._")
	paramChars  = setOf(alnum + "-_.!~*'()" + "[]/:&+$")
	uheadChars  = setOf(alnum + "-_.!~*'()" + "[]/?:+$=&")
	wordChars   = setOf(alnum + "-.!%*_+`'~()<>:\\\"/[]?{}") // RFC 3261 25.1, word
	schemeChars = setOf(alnum + "+-.")
	pvalueChars = setOf(alnum + "-.!%*_+`'~" + "[]:/@&=$?,") // what parameters hold in practice
)

// in reports whether s holds nothing but characters of the set.
func (c *set) in(s string) bool {
	for i := range len(s) {
		if s[i] >= 128 || !c[s[i]] {
			return false
		}
	}
	return true
}

// escaped: as in, and %XX as well.
func (c *set) escaped(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' {
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return false
			}
			i += 2
			continue
		}
		if s[i] >= 128 || !c[s[i]] {
			return false
		}
	}
	return true
}

func isToken(s string) bool { return s != "" && tokenChars.in(s) }

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// cutList returns the first value of a list with commas and what follows it. Commas in
// quoted strings and in angle brackets belong to the value.
func cutList(s string) (first, rest string) {
	angle := false
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			if !angle {
				i = quotedEnd(s, i) - 1
			}
		case '<':
			angle = true
		case '>':
			angle = false
		case ',':
			if !angle {
				return strings.Trim(s[:i], " \t"), strings.Trim(s[i+1:], " \t")
			}
		}
	}
	return strings.Trim(s, " \t"), ""
}

// splitList takes a list apart; empty values are left out.
func splitList(s string) []string {
	var all []string
	for s != "" {
		var first string
		if first, s = cutList(s); first != "" {
			all = append(all, first)
		}
	}
	return all
}

// quotedEnd returns where the quoted string that begins at i ends, behind its closing
// quote; len(s) if it is not closed.
func quotedEnd(s string, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

// closed reports whether every quoted string is, outside of angle brackets.
func closed(s string) bool {
	angle := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '<':
			angle = true
		case s[i] == '>':
			angle = false
		case s[i] == '"' && !angle:
			end := quotedEnd(s, i)
			if s[end-1] != '"' || end-1 == i {
				return false
			}
			i = end - 1
		}
	}
	return true
}

// params are what follows a value, each after a semicolon.
type params []param

type param struct{ name, value string }

// parseParams reads ";a=1;b" (RFC 3261 25.1, generic-param). Quotes around values are
// kept. False: it is not well formed.
func parseParams(s string) (params, bool) {
	var all params
	for s = strings.Trim(s, " \t"); s != ""; {
		if s[0] != ';' {
			return all, false
		}
		s = strings.TrimLeft(s[1:], " \t")
		end := 0
		for end < len(s) && s[end] != ';' {
			if s[end] == '"' {
				end = quotedEnd(s, end)
			} else {
				end++
			}
		}
		name, value, _ := strings.Cut(s[:end], "=")
		name, value = strings.Trim(name, " \t"), strings.Trim(value, " \t")
		if !isToken(name) || value != "" && value[0] != '"' && !pvalueChars.in(value) {
			return all, false
		}
		all = append(all, param{name, value})
		s = s[end:]
	}
	return all, true
}

// get returns a parameter, its quotes taken off.
func (p params) get(name string) (value string, ok bool) {
	for _, q := range p {
		if strings.EqualFold(q.name, name) {
			return unquote(q.value), true
		}
	}
	return "", false
}

// set replaces or adds a parameter.
func (p params) set(name, value string) params {
	for i := range p {
		if strings.EqualFold(p[i].name, name) {
			p[i].value = value
			return p
		}
	}
	return append(p, param{name, value})
}

func (p params) String() string {
	var b strings.Builder
	for _, q := range p {
		b.WriteString(";" + q.name)
		if q.value != "" {
			b.WriteString("=" + q.value)
		}
	}
	return b.String()
}

// unquote takes the quotes off a quoted string, and the escapes out of it.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' {
		return s
	}
	s = s[1 : len(s)-1]
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// quote makes a quoted string.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

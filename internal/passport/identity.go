package passport

import (
	"slices"
	"strings"
)

// header reads the value of an Identity header field (RFC 8224 4):
//
//	Identity: signed-identity-digest *(SEMI ident-info-params)
//	ident-info = "info=" LAQUOT absoluteURI RAQUOT
//
// It returns the digest and the parameters info, alg and ppt without their quotes. The
// field's own name may stand before it, as elements copy it.
func header(s string) (jws string, params map[string]string, err error) {
	s = strings.TrimSpace(s)
	if name, value, ok := strings.Cut(s, ":"); ok && (strings.EqualFold(name, "identity") || name == "y") {
		s = strings.TrimSpace(value)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' }) {
		return "", nil, form("it holds other than printable ASCII")
	}
	jws, rest, more := strings.Cut(s, ";")
	jws, params = strings.TrimSpace(jws), map[string]string{}
	for more {
		var p string
		if p, rest, more, err = parameter(rest); err != nil {
			return "", nil, err
		}
		name, value, _ := strings.Cut(p, "=")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if !slices.Contains([]string{"info", "alg", "ppt"}, name) {
			continue // ident-info-extension
		}
		if _, twice := params[name]; twice {
			return "", nil, form("%s comes twice", name)
		}
		if name == "info" {
			if len(value) < 2 || value[0] != '<' || value[len(value)-1] != '>' {
				return "", nil, form("info is not an address in angle brackets")
			}
			value = value[1 : len(value)-1]
		} else {
			value = strings.Trim(value, `"`)
		}
		params[name] = value
	}
	if alg, ok := params["alg"]; ok && alg != "ES256" {
		return "", nil, form("alg is not ES256")
	}
	return jws, params, nil
}

// parameter cuts off the first parameter: a semicolon in angle brackets does not end it.
func parameter(s string) (first, rest string, more bool, err error) {
	from := 0
	if open := strings.IndexByte(s, '<'); open >= 0 && open < endOf(s) {
		end := strings.IndexByte(s, '>')
		if end < open {
			return "", "", false, form("an angle bracket is not closed")
		}
		from = end
	}
	i := strings.IndexByte(s[from:], ';')
	if i < 0 {
		return s, "", false, nil
	}
	return s[:from+i], s[from+i+1:], true, nil
}

func endOf(s string) int {
	if i := strings.IndexByte(s, ';'); i >= 0 {
		return i
	}
	return len(s)
}

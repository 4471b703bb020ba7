package files

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName is the longest file name, in bytes: common file systems take 255, and a
// receiver may have to add something.
const maxName = 200

// CleanName makes of a name from outside one that can be shown and saved under: the
// last part of a path, without control characters, without those that turn the direction
// of text (a name that reads "gpj.exe" backwards), without what file systems or HTML
// give a meaning, at most 200 bytes with the extension kept. It never returns "".
func CleanName(raw string) string {
	s := strings.ToValidUTF8(raw, "_")
	if i := strings.LastIndexAny(s, `/\`); i >= 0 {
		s = s[i+1:]
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Cc, r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Co, r), r == '\u2028', r == '\u2029':
			return -1
		case strings.ContainsRune(`<>:"|?*&`, r):
			return '_'
		case unicode.IsSpace(r):
			return ' '
		}
		return r
	}, s)
	s = strings.Trim(s, " .")
	stem, _, _ := strings.Cut(s, ".")
	if reserved[strings.ToUpper(strings.TrimSpace(stem))] {
		s = "_" + s
	}
	if len(s) > maxName {
		ext := ""
		if i := strings.LastIndexByte(s, '.'); i > 0 && len(s)-i <= 16 {
			ext = s[i:]
		}
		stem := s[:maxName-len(ext)]
		for !utf8.ValidString(stem) {
			stem = stem[:len(stem)-1]
		}
		s = strings.TrimRight(stem, " .") + ext
	}
	if s == "" {
		return "file"
	}
	return s
}

// reserved are names that Windows gives to devices.
var reserved = func() map[string]bool {
	m := map[string]bool{"CON": true, "PRN": true, "AUX": true, "NUL": true}
	for _, n := range "0123456789" {
		m["COM"+string(n)], m["LPT"+string(n)] = true, true
	}
	return m
}()

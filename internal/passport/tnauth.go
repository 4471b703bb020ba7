package passport

import (
	"encoding/asn1"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/tandem-call/tandem/tel"
)

// TNAuthList says for whom a certificate speaks (RFC 8226 9).
type TNAuthList struct {
	// Codes of service providers: the certificate speaks for all numbers of these, and
	// which those are, only the roots' policy knows.
	Codes   []string
	Ranges  []Range
	Numbers []string
}

// Range is Count numbers from Start, both inclusive of the first.
type Range struct {
	Start string
	Count uint64
}

// oidTNAuthList is id-pe-TNAuthList.
var oidTNAuthList = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 26}

var errTNAuthList = errors.New("the TNAuthList is not as RFC 8226 has it")

// maxEntries of a list, well above what certificates hold.
const maxEntries = 10000

// ParseTNAuthList reads the value of the certificate extension: a sequence of explicitly
// tagged entries, [0] a service provider's code, [1] a range, [2] one number.
func ParseTNAuthList(der []byte) (TNAuthList, error) {
	var l TNAuthList
	entries, err := elements(der, maxEntries)
	if err != nil || len(entries) == 0 {
		return l, errTNAuthList
	}
	for _, e := range entries {
		if e.Class != asn1.ClassContextSpecific || !e.IsCompound {
			return l, errTNAuthList
		}
		switch e.Tag {
		case 0:
			code, err := ia5(e.Bytes)
			if err != nil || code == "" {
				return l, errTNAuthList
			}
			l.Codes = append(l.Codes, code)
		case 1:
			r, err := parseRange(e.Bytes)
			if err != nil {
				return l, err
			}
			l.Ranges = append(l.Ranges, r)
		case 2:
			n, err := ia5(e.Bytes)
			if err != nil || !telephoneNumber(n) {
				return l, errTNAuthList
			}
			l.Numbers = append(l.Numbers, n)
		default:
			return l, errTNAuthList
		}
	}
	return l, nil
}

// parseRange reads TelephoneNumberRange, which may be extended.
func parseRange(der []byte) (Range, error) {
	parts, err := elements(der, 16)
	if err != nil || len(parts) < 2 {
		return Range{}, errTNAuthList
	}
	start, err := ia5(parts[0].FullBytes)
	if err != nil || !telephoneNumber(start) {
		return Range{}, errTNAuthList
	}
	var count int64
	if rest, err := asn1.Unmarshal(parts[1].FullBytes, &count); err != nil || len(rest) > 0 || count < 2 {
		return Range{}, errTNAuthList
	}
	return Range{start, uint64(count)}, nil
}

// elements returns what a sequence holds.
func elements(der []byte, most int) ([]asn1.RawValue, error) {
	var seq asn1.RawValue
	rest, err := asn1.Unmarshal(der, &seq)
	if err != nil || len(rest) > 0 || seq.Class != asn1.ClassUniversal || seq.Tag != asn1.TagSequence || !seq.IsCompound {
		return nil, errTNAuthList
	}
	var list []asn1.RawValue
	for data := seq.Bytes; len(data) > 0; {
		var e asn1.RawValue
		if data, err = asn1.Unmarshal(data, &e); err != nil || len(list) == most {
			return nil, errTNAuthList
		}
		list = append(list, e)
	}
	return list, nil
}

func ia5(der []byte) (string, error) {
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(der, &v)
	if err != nil || len(rest) > 0 || v.Class != asn1.ClassUniversal || v.Tag != asn1.TagIA5String || v.IsCompound ||
		slices.ContainsFunc(v.Bytes, func(b byte) bool { return b > '~' }) {
		return "", errTNAuthList
	}
	return string(v.Bytes), nil
}

// telephoneNumber: 1 to 15 of 0 to 9, # and *.
func telephoneNumber(s string) bool {
	return s != "" && len(s) <= 15 && strings.Trim(s, "0123456789#*") == ""
}

// Covers reports whether the list speaks for a number: it names it, or names a service
// provider, whose numbers are the business of whoever gave the certificate.
func (l TNAuthList) Covers(n tel.Number) bool {
	if n.IsZero() {
		return false
	}
	if len(l.Codes) > 0 {
		return true
	}
	digits := n.String()[1:]
	for _, one := range l.Numbers {
		if one == digits {
			return true
		}
	}
	for _, r := range l.Ranges {
		if r.holds(digits) {
			return true
		}
	}
	return false
}

func (r Range) holds(digits string) bool {
	if len(r.Start) != len(digits) {
		return false
	}
	start, err := strconv.ParseUint(r.Start, 10, 64)
	if err != nil {
		return false // with # or *: no international number
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return err == nil && n >= start && n-start < r.Count
}

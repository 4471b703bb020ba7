package tel

import (
	"fmt"
	"strings"

	"github.com/nyaruka/phonenumbers"
)

// URI is what a tel URI says (RFC 3966), as far as a call needs it.
type URI struct {
	Number Number
	// Extension behind the number; "" if none. Visual separators are removed.
	Extension string
	// Subaddress is the ISDN subaddress, in its escaped form; "" if none.
	Subaddress string
}

// ParseURI reads a tel URI, "tel:+44-20-7946-0001;ext=4711". A local number ("tel:7042")
// names a telephone only where it is dialled, so it is refused, unless its phone-context
// is the beginning of a global number and the two make one number that can exist:
// "tel:7946-0001;phone-context=+44-20". Other parameters are ignored. ErrNumber.
func ParseURI(raw string) (URI, error) {
	if len(raw) > maxIdentity {
		return URI{}, fmt.Errorf("%w: longer than %d characters", ErrNumber, maxIdentity)
	}
	if !hasScheme(raw, "tel") {
		return URI{}, fmt.Errorf("%w: %s does not begin with tel: as it must", ErrNumber, quote(raw))
	}
	return parseSubscriber(raw[len("tel:"):])
}

// parseSubscriber reads the rule telephone-subscriber of RFC 3966 section 3, which is
// also the user part of a SIP URI with user=phone (RFC 3261 19.1.6).
func parseSubscriber(s string) (URI, error) {
	fail := func(format string, args ...any) (URI, error) {
		return URI{}, fmt.Errorf("%w: %s: %s", ErrNumber, quote(s), fmt.Sprintf(format, args...))
	}
	digits, params, _ := strings.Cut(s, ";")
	var u URI
	var context string
	seen := map[string]bool{}
	for params != "" {
		var p string
		p, params, _ = strings.Cut(params, ";")
		name, value, hasValue := strings.Cut(p, "=")
		name = strings.ToLower(name)
		switch {
		case name == "" || strings.Trim(name, lower+decimal+"-") != "":
			return fail("a parameter's name has letters, digits and - only")
		case seen[name]:
			return fail("the parameter %s is there twice", parameter(name))
		case hasValue && (value == "" || strings.Trim(value, uric) != ""):
			return fail("the value of %s holds what must be escaped, or nothing", parameter(name))
		}
		seen[name] = true
		switch name {
		case "ext":
			ext, ok := onlyDigits(value, decimal)
			if !ok {
				return fail("an extension has digits only")
			}
			u.Extension = ext
		case "isub":
			if u.Subaddress = value; value == "" {
				return fail("the subaddress is empty")
			}
		case "phone-context":
			if context = value; value == "" {
				return fail("phone-context is empty")
			}
		}
	}
	if rest, global := strings.CutPrefix(digits, "+"); global {
		d, ok := onlyDigits(rest, decimal)
		if !ok {
			return fail("a global number has digits and the separators - . ( ) only")
		}
		n, ok := remembered("+" + d)
		if !ok {
			var err error
			if n, err = parseDigits("+"+d, ""); err != nil {
				return URI{}, err
			}
		}
		u.Number = n
		return u, nil
	}
	local, ok := onlyDigits(digits, decimal+"abcdefABCDEF*#")
	if !ok {
		return fail("a number has digits and the separators - . ( ) only")
	}
	if context == "" {
		return fail("it is a local number; write it as tel:+44…, or add ;phone-context=+44")
	}
	prefix, ok := onlyDigits(strings.TrimPrefix(context, "+"), decimal)
	if !ok || context[0] != '+' {
		return fail("it is a number within a private network; only a phone-context such as +44 makes it global")
	}
	n, ok := inContext(local, prefix)
	if !ok {
		return fail("it makes no global number together with its phone-context")
	}
	u.Number = n
	return u, nil
}

// inContext completes a local number by the first digits of a global one. RFC 3966 5.1.5
// warns that simply adding them need not give a number ("911" is valid within +1), so the
// outcome must be in the country's plan. What counts is the country's national form
// first, then the two put together.
func inContext(local, prefix string) (Number, bool) {
	if strings.Trim(local, decimal) != "" {
		return Number{}, false // dialling strings with * # or letters are for one network
	}
	var cc int
	for i := 1; i <= 3 && i <= len(prefix); i++ {
		cc = cc*10 + int(prefix[i-1]-'0')
		region := phonenumbers.GetRegionCodeForCountryCode(cc)
		if region == phonenumbers.UNKNOWN_REGION {
			continue
		}
		if p, err := phonenumbers.Parse(local, region); err == nil && phonenumbers.IsValidNumber(p) {
			e164 := phonenumbers.Format(p, phonenumbers.E164)
			if strings.HasPrefix(e164, "+"+prefix) {
				n, err := parseDigits(e164, "")
				return n, err == nil
			}
		}
		break
	}
	if p, err := phonenumbers.Parse("+"+prefix+local, ""); err != nil || !phonenumbers.IsValidNumber(p) {
		return Number{}, false
	}
	n, err := parseDigits("+"+prefix+local, "")
	return n, err == nil && strings.HasPrefix(n.e164, "+"+prefix)
}

// onlyDigits removes the visual separators of RFC 3966; false if anything is left that
// is not in the alphabet, or nothing.
func onlyDigits(s, alphabet string) (string, bool) {
	clean := true
	for i := range len(s) {
		if strings.IndexByte("-.()", s[i]) >= 0 {
			clean = false
		} else if strings.IndexByte(alphabet, s[i]) < 0 {
			return "", false
		}
	}
	if !clean {
		s = strings.NewReplacer("-", "", ".", "", "(", "", ")", "").Replace(s)
	}
	return s, s != ""
}

// parameter shows a parameter's name in an error; one with digits in it may be half a number.
func parameter(name string) string {
	if strings.ContainsAny(name, "0123456789") {
		return quote(name)
	}
	return name
}

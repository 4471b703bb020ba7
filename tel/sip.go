package tel

import (
	"fmt"
	"strings"
)

// parseSIP reduces a SIP URI to what names the party (RFC 3261 19.1.4): user and host;
// host in lower case, default port dropped, parameters and headers dropped.
func parseSIP(s string) (Identity, error) {
	scheme, rest, _ := strings.Cut(s, ":")
	rest, params, _ := strings.Cut(rest, ";")
	rest, _, _ = strings.Cut(rest, "?")
	user, host, ok := strings.Cut(rest, "@")
	if !ok || user == "" || host == "" || strings.ContainsAny(rest, " \t\r\n<>\"") {
		return Identity{}, fmt.Errorf("%w: %q: a SIP address is written sip:user@host", ErrIdentity, s)
	}
	user, _, _ = strings.Cut(user, ":")
	for p := range strings.SplitSeq(params, ";") {
		if strings.EqualFold(p, "user=phone") && strings.HasPrefix(user, "+") {
			return numberIdentity(user, "")
		}
	}
	return Identity{strings.ToLower(scheme) + ":" + user + "@" + strings.ToLower(host)}, nil
}

// SIPNumber reads the user part of a SIP URI as a telephone number, for network
// elements configured to mean it so (DESIGN section 3: never guessed otherwise).
func SIPNumber(uri, region string) (Number, error) {
	_, rest, ok := strings.Cut(uri, ":")
	if !ok {
		return Number{}, fmt.Errorf("%w: %q is not a SIP address", ErrNumber, uri)
	}
	user, _, _ := strings.Cut(rest, "@")
	user, _, _ = strings.Cut(user, ";")
	return ParseNumber(user, region)
}

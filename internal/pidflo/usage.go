package pidflo

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Usage is what whoever receives a place may do with it (RFC 4119 2.2.2).
type Usage struct {
	// Retransmit: it may be passed on. No, where nothing is said.
	Retransmit bool
	// Until it may be kept; zero: nothing is said, which means for a day.
	Until time.Time
}

// rules by the schema of RFC 4119, and by its examples, which have the elements in the object's namespace.
type rules struct {
	Retransmission string    `xml:"urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy retransmission-allowed"`
	Expiry         time.Time `xml:"urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy retention-expiry"`
	OldRetransmit  string    `xml:"urn:ietf:params:xml:ns:pidf:geopriv10 retransmission-allowed"`
	OldExpiry      time.Time `xml:"urn:ietf:params:xml:ns:pidf:geopriv10 retention-expiry"`
}

// usage of the object. The text of RFC 4119 has yes and no, its schema a boolean.
func (r rules) usage() Usage {
	said := strings.ToLower(strings.TrimSpace(cmp.Or(r.Retransmission, r.OldRetransmit)))
	u := Usage{Retransmit: slices.Contains([]string{"yes", "true", "1"}, said), Until: r.Expiry}
	if u.Until.IsZero() {
		u.Until = r.OldExpiry
	}
	return u
}

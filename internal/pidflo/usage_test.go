package pidflo_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/pidflo"
)

// TestUsage: what may be done with a place, in the namespace of RFC 4119's schema and in that of its
// examples; where nothing is said, it may not be passed on.
func TestUsage(t *testing.T) {
	expiry := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for rules, want := range map[string]pidflo.Usage{
		``:                  {},
		`<gp:usage-rules/>`: {},
		`<gp:usage-rules><b:retransmission-allowed>no</b:retransmission-allowed></gp:usage-rules>`:                                                                        {},
		`<gp:usage-rules><b:retransmission-allowed> Yes </b:retransmission-allowed></gp:usage-rules>`:                                                                     {Retransmit: true},
		`<gp:usage-rules><b:retransmission-allowed>true</b:retransmission-allowed><b:retention-expiry>2026-11-26T12:00:00Z</b:retention-expiry></gp:usage-rules>`:         {Retransmit: true, Until: expiry},
		`<gp:usage-rules><gp:retransmission-allowed>yes</gp:retransmission-allowed><gp:retention-expiry>2026-11-26T13:00:00+01:00</gp:retention-expiry></gp:usage-rules>`: {Retransmit: true, Until: expiry},
	} {
		doc := strings.Replace(around, "%", `<gml:Point srsName="urn:ogc:def:crs:EPSG::4326"><gml:pos>1 2</gml:pos></gml:Point>`, 1)
		doc = strings.Replace(doc, "</gp:geopriv>", rules+"</gp:geopriv>", 1)
		doc = strings.Replace(doc, "<presence ", `<presence xmlns:b="urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy" `, 1)
		_, got, err := pidflo.ParseWithUsage([]byte(doc))
		if err != nil || got.Retransmit != want.Retransmit || !got.Until.Equal(want.Until) {
			t.Errorf("%s: %+v, %v; want %+v", rules, got, err, want)
		}
	}
}

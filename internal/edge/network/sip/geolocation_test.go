package sip

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/internal/place"
)

// pidfAt is a PIDF-LO document of a circle, as RFC 5491 has it.
func pidfAt(lat, lon float64, retransmit string) string {
	return fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10"
 xmlns:gbp="urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy" xmlns:gml="http://www.opengis.net/gml" xmlns:gs="http://www.opengis.net/pidflo/1.0"
 entity="pres:alice@example.com">
 <dm:device id="cell"><gp:geopriv>
  <gp:location-info><gs:Circle srsName="urn:ogc:def:crs:EPSG::4326"><gml:pos>%g %g</gml:pos><gs:radius uom="urn:ogc:def:uom:EPSG::9001">30</gs:radius></gs:Circle></gp:location-info>
  <gp:usage-rules><gbp:retransmission-allowed>%s</gbp:retransmission-allowed></gp:usage-rules>
 </gp:geopriv></dm:device>
</presence>`, lat, lon, retransmit)
}

const sdpBody = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 0\r\n"

// withBody adds a body of an SDP and what else is given, each with its header fields.
func withBody(m *Message, sdp string, parts ...string) *Message {
	m.Add(ContentType, `multipart/mixed; boundary="=b 1"`)
	m.Headers = append(m.Headers, Header{Name: "MIME-Version", Value: "1.0"})
	var b strings.Builder
	for _, p := range append([]string{"Content-Type: application/sdp\r\n\r\n" + sdp}, parts...) {
		b.WriteString("--=b 1\r\n" + p + "\r\n")
	}
	m.Body = []byte(b.String() + "--=b 1--\r\n")
	return m
}

func partOf(id, doc string) string {
	return "Content-Type: application/pidf+xml\r\nContent-ID: <" + id + ">\r\n\r\n" + doc
}

// placing is an element that believes 127.0.0.2, and reads places as the server does.
func placing(c *Config) {
	c.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}
	c.Place = func(doc []byte) (Place, error) {
		where, until, err := place.Reported(nil, string(doc))
		return Place{where, until}, err
	}
}

// TestGeolocation: where a caller is, is reported as a trusted element says, and by nobody else's word; whatever comes
// of it, the call goes on, with all that was said.
func TestGeolocation(t *testing.T) {
	good := partOf("place.1@ims.example", pidfAt(51.5, -0.12, "yes"))
	yes := []string{"Geolocation", "<cid:place.1@ims.example>", "Geolocation-Routing", "yes"}
	for _, c := range []struct {
		name    string
		at      string // the trusted element, or a telephone
		headers []string
		parts   []string
		outcome string
	}{
		{"a part of the body", "127.0.0.2:0", yes, []string{good}, "taken"},
		{"among others", "127.0.0.2:0", []string{"geolocation", "<https://lis.example/a,b>;x=y , <CID:place%2E1@ims.example>", "geolocation-routing", "YES"},
			[]string{partOf("place.2@ims.example", pidfAt(1, 2, "yes")), good}, "taken"},
		{"within another part", "127.0.0.2:0", yes, []string{"Content-Type: multipart/related; boundary=in\r\n\r\n--in\r\n" + good + "\r\n--in--"}, "taken"},
		{"a telephone's", "127.0.0.1:0", yes, []string{good}, "not by a trusted element"},
		{"not for those on the way", "127.0.0.2:0", []string{"Geolocation", "<cid:place.1@ims.example>", "Geolocation-Routing", "no"}, []string{good}, "without Geolocation-Routing: yes"},
		{"nothing is said of that", "127.0.0.2:0", yes[:2], []string{good}, "without Geolocation-Routing: yes"},
		{"both are said of that", "127.0.0.2:0", append([]string{"Geolocation-Routing", "no"}, yes...), []string{good}, "without Geolocation-Routing: yes"},
		{"an address", "127.0.0.2:0", []string{"Geolocation", "<https://lis.example/place>", "Geolocation-Routing", "yes"}, []string{good}, "by reference"},
		{"malformed", "127.0.0.2:0", []string{"Geolocation", "<cid:%zz", "Geolocation-Routing", "yes"}, []string{good}, "by reference"},
		{"no part", "127.0.0.2:0", yes, nil, "no such part"},
		{"another part", "127.0.0.2:0", yes, []string{strings.Replace(good, "place.1", "place.11", 1)}, "no such part"},
		{"another type", "127.0.0.2:0", yes, []string{strings.Replace(good, "pidf+xml", "xml", 1)}, "no such part"},
		{"many parts", "127.0.0.2:0", yes, append(strings.Split(strings.Repeat("Content-Type: text/plain\r\n\r\n.|", maxParts), "|")[:maxParts], good), "no such part"},
		{"large", "127.0.0.2:0", yes, []string{partOf("place.1@ims.example", pidfAt(51.5, -0.12, "yes")+strings.Repeat(" ", maxPlace)+"<!-- -->")}, "too large"},
		{"no place", "127.0.0.2:0", yes, []string{partOf("place.1@ims.example", "<presence/>")}, "unusable"},
		{"another element's entities", "127.0.0.2:0", yes, []string{partOf("place.1@ims.example", `<!DOCTYPE p [<!ENTITY a SYSTEM "file:///etc/passwd">]><presence xmlns="urn:ietf:params:xml:ns:pidf">&a;</presence>`)}, "unusable"},
		{"not to be passed on", "127.0.0.2:0", yes, []string{partOf("place.1@ims.example", pidfAt(51.5, -0.12, "no"))}, "unusable"},
		{"nowhere", "127.0.0.2:0", yes, []string{partOf("place.1@ims.example", pidfAt(151.5, -0.12, "yes"))}, "unusable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, placing)
			a, b := w.newAgentAt(alice, "UDP", c.at), w.newAgent(bob, "TCP")
			b.register()
			asked := a.tell(withBody(a.ask("INVITE", "sip:"+bob+"@example.com", b.aor(), c.headers...), sdpBody, c.parts...))
			got := b.request("INVITE")
			if string(got.Body) != string(asked.Body) || strings.Join(got.Raw(Geolocation), ",") != strings.Join(asked.Raw(Geolocation), ",") ||
				strings.Join(got.Raw(GeolocationRouting), ",") != strings.Join(asked.Raw(GeolocationRouting), ",") {
				t.Errorf("the other side is told something else:\n%s", got.Encode())
			}
			b.reply(got, 200)
			a.answer("INVITE", 200)
			legs := w.legs(alice+" outgoing active", bob+" incoming active")
			if p := legs[bob+" incoming active"].Place; p != nil {
				t.Errorf("the place is said to be that of the one who is called: %+v", p)
			}
			p := legs[alice+" outgoing active"].Place
			if (p != nil) != (c.outcome == "taken") || p != nil && place.URI(p.Where) != "geo:51.5,-0.12;u=30" {
				t.Errorf("reported: %+v", p)
			}
			for outcome, n := range w.e.Stats().Places {
				if (n == 1) != (outcome == c.outcome) {
					t.Errorf("%s: %d", outcome, n)
				}
			}
		})
	}
}

// TestMoved: a place that a request in the call brings is that of the side which makes the request, and is repeated with its
// leg; a later one that cannot be used changes nothing.
func TestMoved(t *testing.T) {
	w := newWorld(t, placing, func(c *Config) { c.Lease = patience / 20 })
	a, b := w.newAgentAt(alice, "UDP", "127.0.0.2:0"), w.newAgent(bob, "TCP")
	b.register()
	caller, callee := a.call(b)
	w.legs(alice+" outgoing active", bob+" incoming active")
	update := func(by *dialog, other *agent, doc string) {
		m := by.ask("UPDATE", "Geolocation", "<cid:only@ims.example>", "Geolocation-Routing", "yes")
		m.Add(ContentType, "application/pidf+xml") // alone, as RFC 8262 has it
		m.Add(ContentID, "<only@ims.example>")
		m.Body = []byte(doc)
		by.a.tell(m)
		other.reply(other.request("UPDATE"), 200)
		by.a.answer("UPDATE", 200)
	}
	// until waits for a report of Alice's leg with a place, or for another's that should not have one.
	until := func(uri string) {
		t.Helper()
		for {
			legs := w.legs(alice+" outgoing active", bob+" incoming active")
			if p := legs[bob+" incoming active"].Place; p != nil {
				t.Fatalf("a telephone's word of where it is was believed: %+v", p)
			}
			if p := legs[alice+" outgoing active"].Place; p != nil && place.URI(p.Where) == uri {
				return
			}
		}
	}
	update(caller, b, pidfAt(51.5, -0.12, "yes"))
	until("geo:51.5,-0.12;u=30")
	update(callee, a, pidfAt(1, 2, "yes")) // a telephone's
	update(caller, b, "<presence/>")
	until("geo:51.5,-0.12;u=30") // said again
	update(caller, b, pidfAt(51.6, -0.12, "yes"))
	until("geo:51.6,-0.12;u=30")

	// A call is held by a description that is one part of several.
	hold := withBody(caller.ask("INVITE", yesOf("held@ims.example")...), sdpBody+"a=sendonly\r\n", partOf("held@ims.example", pidfAt(51.7, -0.12, "yes")))
	a.tell(hold)
	b.reply(b.request("INVITE"), 200)
	a.answer("INVITE", 200)
	if p := w.legs(alice + " outgoing held")[alice+" outgoing held"].Place; p == nil || place.URI(p.Where) != "geo:51.7,-0.12;u=30" {
		t.Errorf("held: %+v", p)
	}
}

func yesOf(id string) []string {
	return []string{"Geolocation", "<cid:" + id + ">", "Geolocation-Routing", "yes"}
}

// FuzzBody: no body makes the element stumble.
func FuzzBody(f *testing.F) {
	m := withBody(&Message{}, sdpBody, partOf("a@b", pidfAt(1, 2, "yes")))
	f.Add(m.Get(ContentType), m.Body)
	f.Add("multipart/mixed; boundary=a", []byte("--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n--a--\r\n--a--"))
	f.Add("application/sdp", []byte(sdpBody))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		m := &Message{Body: body}
		m.Add(ContentType, contentType)
		if all := m.parts(); len(all) > maxParts {
			t.Errorf("%d parts", len(all))
		}
		sdpOf(m)
	})
}

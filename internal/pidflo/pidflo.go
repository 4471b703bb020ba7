// Package pidflo reads and writes places as networks and emergency services have them: PIDF
// Location Objects (RFC 4119), with the shapes of RFC 5491, movement after RFC 5962 and
// civic addresses after RFC 5139.
//
// [Parse] reads the first place of a document into a [wire.Place], [Render] writes one. A place
// here is a point with a radius, so an area is read as the circle that covers it.
package pidflo

import (
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// Type of the content (RFC 4119 2.1).
const Type = "application/pidf+xml"

// MaxBytes of a document.
const MaxBytes = 64 << 10

// Errors of Parse.
var (
	// ErrDocument: it is no PIDF-LO, or not well-formed.
	ErrDocument = errors.New("pidflo: unusable document")
	// ErrNoPlace: it holds no place by coordinates.
	ErrNoPlace = errors.New("pidflo: no place by coordinates")
)

// Coordinate systems: latitude, longitude and altitude in WGS 84 (RFC 5491 5).
const (
	flat  = "urn:ogc:def:crs:EPSG::4326"
	solid = "urn:ogc:def:crs:EPSG::4979"
	metre = "urn:ogc:def:uom:EPSG::9001"
)

const (
	pidf      = "urn:ietf:params:xml:ns:pidf"
	dataModel = "urn:ietf:params:xml:ns:pidf:data-model"
	geopriv   = "urn:ietf:params:xml:ns:pidf:geopriv10"
	civicNS   = "urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr"
	dynamic   = "urn:ietf:params:xml:ns:pidf:geopriv10:dynamic"
	gml       = "http://www.opengis.net/gml"
	shapes    = "http://www.opengis.net/pidflo/1.0"
)

type presence struct {
	XMLName xml.Name `xml:"urn:ietf:params:xml:ns:pidf presence"`
	Devices []holder `xml:"urn:ietf:params:xml:ns:pidf:data-model device"`
	Tuples  []struct {
		Status    holder    `xml:"urn:ietf:params:xml:ns:pidf status"`
		Timestamp time.Time `xml:"urn:ietf:params:xml:ns:pidf timestamp"`
	} `xml:"urn:ietf:params:xml:ns:pidf tuple"`
	Persons []holder `xml:"urn:ietf:params:xml:ns:pidf:data-model person"`
}

type holder struct {
	Geopriv   []object  `xml:"urn:ietf:params:xml:ns:pidf:geopriv10 geopriv"`
	Timestamp time.Time `xml:"urn:ietf:params:xml:ns:pidf:data-model timestamp"`
}

type object struct {
	Info struct {
		Point   *shape `xml:"http://www.opengis.net/gml Point"`
		Circle  *shape `xml:"http://www.opengis.net/pidflo/1.0 Circle"`
		Sphere  *shape `xml:"http://www.opengis.net/pidflo/1.0 Sphere"`
		Ellipse *shape `xml:"http://www.opengis.net/pidflo/1.0 Ellipse"`
		Arc     *shape `xml:"http://www.opengis.net/pidflo/1.0 ArcBand"`
		Polygon *shape `xml:"http://www.opengis.net/gml Polygon"`
		Civic   *civic `xml:"urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr civicAddress"`
		Dynamic *struct {
			Speed   *float64 `xml:"urn:ietf:params:xml:ns:pidf:geopriv10:dynamic speed"`
			Heading string   `xml:"urn:ietf:params:xml:ns:pidf:geopriv10:dynamic heading"`
		} `xml:"urn:ietf:params:xml:ns:pidf:geopriv10:dynamic Dynamic"`
	} `xml:"urn:ietf:params:xml:ns:pidf:geopriv10 location-info"`
	Rules rules `xml:"urn:ietf:params:xml:ns:pidf:geopriv10 usage-rules"`
}

type length struct {
	Unit  string  `xml:"uom,attr"`
	Value float64 `xml:",chardata"`
}

// shape is any of those of RFC 5491 5.2 that lie on the ground, and the sphere.
type shape struct {
	System    string   `xml:"srsName,attr"`
	Position  string   `xml:"http://www.opengis.net/gml pos"`
	Radius    *length  `xml:"http://www.opengis.net/pidflo/1.0 radius"`
	SemiMajor *length  `xml:"http://www.opengis.net/pidflo/1.0 semiMajorAxis"`
	Outer     *length  `xml:"http://www.opengis.net/pidflo/1.0 outerRadius"`
	Corners   []string `xml:"http://www.opengis.net/gml exterior>LinearRing>pos"`
	List      string   `xml:"http://www.opengis.net/gml exterior>LinearRing>posList"`
}

type civic struct {
	Parts []struct {
		XMLName xml.Name
		Text    string `xml:",chardata"`
	} `xml:",any"`
}

// Parse reads the first place of a document that has coordinates: of a device, else of a tuple,
// else of a person (RFC 5491 3.4). ErrDocument, ErrNoPlace.
func Parse(doc []byte) (wire.Place, error) {
	where, _, err := ParseWithUsage(doc)
	return where, err
}

// ParseWithUsage is Parse, and what may be done with the place.
func ParseWithUsage(doc []byte) (wire.Place, Usage, error) {
	if len(doc) > MaxBytes {
		return wire.Place{}, Usage{}, fmt.Errorf("%w: more than %d bytes", ErrDocument, MaxBytes)
	}
	var p presence
	if err := xml.Unmarshal(doc, &p); err != nil {
		return wire.Place{}, Usage{}, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	all := p.Devices
	for _, t := range p.Tuples {
		t.Status.Timestamp = t.Timestamp
		all = append(all, t.Status)
	}
	for _, h := range append(all, p.Persons...) {
		for _, o := range h.Geopriv {
			where, err := o.place()
			if errors.Is(err, ErrNoPlace) {
				continue
			}
			where.Properties.Time = h.Timestamp
			return where, o.Rules.usage(), err
		}
	}
	return wire.Place{}, Usage{}, ErrNoPlace
}

// place is the object's, by its first shape. ErrNoPlace, ErrDocument.
func (o object) place() (wire.Place, error) {
	i := o.Info
	where := wire.Place{Type: "Feature", Geometry: wire.PlacePoint{Type: "Point"}}
	var err error
	at := func(s *shape, radius *length) {
		where.Geometry.Coordinates, err = s.position(s.Position)
		if err == nil && radius != nil {
			where.Properties.Accuracy, err = radius.metres()
		}
	}
	switch {
	case i.Circle != nil:
		at(i.Circle, i.Circle.Radius)
	case i.Sphere != nil:
		at(i.Sphere, i.Sphere.Radius)
	case i.Ellipse != nil:
		at(i.Ellipse, i.Ellipse.SemiMajor)
	case i.Arc != nil: // a sector of the circle around the position
		at(i.Arc, i.Arc.Outer)
	case i.Polygon != nil:
		where.Geometry.Coordinates, where.Properties.Accuracy, err = i.Polygon.covered()
	case i.Point != nil:
		at(i.Point, nil)
	default:
		return where, ErrNoPlace
	}
	if err != nil {
		return where, err
	}
	if i.Civic != nil {
		where.Properties.Address = i.Civic.String()
	}
	if d := i.Dynamic; d != nil {
		if d.Speed != nil && *d.Speed >= 0 && !math.IsInf(*d.Speed, 0) {
			where.Properties.Speed = d.Speed
		}
		// An angle to true north, or that and one to the horizon (RFC 5962 3).
		if f := strings.Fields(d.Heading); len(f) > 0 {
			if h, err := strconv.ParseFloat(f[0], 64); err == nil && h >= 0 && h <= 360 {
				where.Properties.Heading = &h
			}
		}
	}
	return where, nil
}

// position reads latitude, longitude and perhaps the altitude, and returns GeoJSON's order.
func (s *shape) position(text string) ([]float64, error) {
	if s.System != flat && s.System != solid {
		return nil, fmt.Errorf("%w: coordinate system %.60q; WGS 84 is read, %s", ErrDocument, s.System, flat)
	}
	f := strings.Fields(text)
	if len(f) < 2 || len(f) > 3 {
		return nil, fmt.Errorf("%w: a position has latitude, longitude and perhaps an altitude", ErrDocument)
	}
	n := make([]float64, len(f))
	for i := range f {
		var err error
		if n[i], err = strconv.ParseFloat(f[i], 64); err != nil || math.IsNaN(n[i]) || math.IsInf(n[i], 0) {
			return nil, fmt.Errorf("%w: a position is of decimal numbers", ErrDocument)
		}
	}
	if math.Abs(n[0]) > 90 || math.Abs(n[1]) > 180 {
		return nil, fmt.Errorf("%w: latitude comes first, -90 to 90, then longitude, -180 to 180", ErrDocument)
	}
	n[0], n[1] = n[1], n[0]
	return n, nil
}

func (l length) metres() (float64, error) {
	if l.Unit != metre {
		return 0, fmt.Errorf("%w: lengths are in metres, %s", ErrDocument, metre)
	}
	if !(l.Value >= 0) || math.IsInf(l.Value, 0) {
		return 0, fmt.Errorf("%w: a length is not negative", ErrDocument)
	}
	return l.Value, nil
}

// covered is the middle of a polygon's corners, and the radius that reaches them all.
func (s *shape) covered() ([]float64, float64, error) {
	corners := s.Corners
	if f := strings.Fields(s.List); len(corners) == 0 {
		per := 2
		if s.System == solid {
			per = 3
		}
		for ; len(f) >= per; f = f[per:] {
			corners = append(corners, strings.Join(f[:per], " "))
		}
	}
	if len(corners) < 4 { // the first one again at the end
		return nil, 0, fmt.Errorf("%w: a polygon has at least three corners", ErrDocument)
	}
	var all [][]float64
	var middle [2]float64
	for _, c := range corners[1:] {
		p, err := s.position(c)
		if err != nil {
			return nil, 0, err
		}
		if len(all) > 0 { // across the date line, count on
			p[0] = all[0][0] + math.Remainder(p[0]-all[0][0], 360)
		}
		all = append(all, p)
		middle[0] += p[0] / float64(len(corners)-1)
		middle[1] += p[1] / float64(len(corners)-1)
	}
	radius := 0.0
	for _, p := range all {
		const perDegree = 111_320 // metres
		east := (p[0] - middle[0]) * math.Cos(middle[1]*math.Pi/180)
		radius = max(radius, perDegree*math.Hypot(east, p[1]-middle[1]))
	}
	return []float64{math.Remainder(middle[0], 360), middle[1]}, radius, nil
}

// String is the address in words, from what is near to what is far: the order of letters.
func (c civic) String() string {
	got := map[string]string{}
	for _, p := range c.Parts {
		if p.XMLName.Space == civicNS {
			got[p.XMLName.Local] = strings.Join(strings.Fields(p.Text), " ")
		}
	}
	join := func(sep string, names ...string) string {
		var parts []string
		for _, n := range names {
			if got[n] != "" {
				parts = append(parts, got[n])
			}
		}
		return strings.Join(parts, sep)
	}
	lines := []string{
		join(", ", "NAM", "LOC", "BLD", "UNIT", "ROOM", "FLR"),
		join(" ", "PRD", "RD", "STS", "POD", "HNO", "HNS"),
		join(" ", "PC", "A3"), join(", ", "A2", "A1"), got["country"],
	}
	text := ""
	for _, l := range lines {
		if l == "" {
			continue
		}
		if text != "" {
			text += ", "
		}
		text += l
	}
	if r := []rune(text); len(r) > wire.MaxPlaceAddress {
		text = string(r[:wire.MaxPlaceAddress])
	}
	return text
}

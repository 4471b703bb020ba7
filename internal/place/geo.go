package place

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tandem-call/tandem/internal/pidflo"
	"github.com/tandem-call/tandem/wire"
)

// Read returns the place that is shared, in whichever form it comes. ErrRequest.
func Read(q wire.PlaceShare) (wire.Place, error) {
	forms := 0
	for _, given := range []bool{q.Place != nil, q.URI != "", q.PIDFLO != ""} {
		if given {
			forms++
		}
	}
	switch {
	case forms != 1:
		return wire.Place{}, fmt.Errorf("%w: give place, uri or pidf_lo", ErrRequest)
	case q.Place != nil:
		return *q.Place, valid(*q.Place)
	case q.PIDFLO != "":
		p, err := pidflo.Parse([]byte(q.PIDFLO))
		if err != nil {
			return p, fmt.Errorf("%w: %w", ErrRequest, err)
		}
		return p, valid(p)
	}
	return ParseURI(q.URI)
}

// valid holds a place to its form. ErrRequest.
func valid(p wire.Place) error {
	c := p.Geometry.Coordinates
	if p.Type != "Feature" || p.Geometry.Type != "Point" || len(c) < 2 || len(c) > 3 {
		return fmt.Errorf("%w: a place is a GeoJSON Feature with a Point", ErrRequest)
	}
	for _, x := range c {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return fmt.Errorf("%w: coordinates are numbers", ErrRequest)
		}
	}
	if utf8.RuneCountInString(p.Properties.Address) > wire.MaxPlaceAddress {
		return fmt.Errorf("%w: an address has at most %d characters", ErrRequest, wire.MaxPlaceAddress)
	}
	if math.Abs(c[0]) > 180 || math.Abs(c[1]) > 90 {
		return fmt.Errorf("%w: longitude comes first, -180 to 180, then latitude, -90 to 90", ErrRequest)
	}
	return nil
}

// point is a place at a latitude and longitude in degrees.
func point(lat, lon float64, more ...float64) wire.Place {
	return wire.Place{Type: "Feature", Geometry: wire.PlacePoint{Type: "Point", Coordinates: append([]float64{lon, lat}, more...)}}
}

// ParseURI reads a geo: URI in WGS 84 (RFC 5870). ErrRequest.
func ParseURI(s string) (wire.Place, error) {
	wrong := func(what string) (wire.Place, error) {
		return wire.Place{}, fmt.Errorf("%w: geo URI: %s, as in geo:51.5,-0.12;u=35", ErrRequest, what)
	}
	rest, ok := cutFold(s, "geo:")
	if !ok {
		return wrong("it begins with geo:")
	}
	coords, params, _ := strings.Cut(rest, ";")
	parts := strings.Split(coords, ",")
	if len(parts) < 2 || len(parts) > 3 {
		return wrong("latitude and longitude, with a comma")
	}
	var n [3]float64
	for i, p := range parts {
		var err error
		if n[i], err = strconv.ParseFloat(p, 64); err != nil || strings.ContainsAny(p, "eExXpP_+") {
			return wrong("coordinates are decimal numbers")
		}
	}
	p := point(n[0], n[1], n[2:len(parts)]...)
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		switch strings.ToLower(name) {
		case "crs":
			if !strings.EqualFold(value, "wgs84") {
				return wrong("only WGS 84 is read")
			}
		case "u":
			u, err := strconv.ParseFloat(value, 64)
			if err != nil || !(u >= 0) || math.IsInf(u, 0) {
				return wrong("u is a number of metres")
			}
			p.Properties.Accuracy = u
		}
	}
	return p, valid(p)
}

func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

func number(x float64, digits int) string {
	s := strconv.FormatFloat(x, 'f', digits, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if s == "-0" {
		return "0"
	}
	return s
}

// URI writes a place as a geo: URI.
func URI(p wire.Place) string {
	c := p.Geometry.Coordinates
	s := "geo:" + number(c[1], 6) + "," + number(c[0], 6)
	if len(c) == 3 {
		s += "," + number(c[2], 1)
	}
	if u := p.Properties.Accuracy; u > 0 {
		s += ";u=" + number(u, 1)
	}
	return s
}

// Words say a place: 51.5074° N, 0.1278° W, within 35 m; after its address, if that is known.
func Words(p wire.Place) string {
	c := p.Geometry.Coordinates
	ns, ew := "N", "E"
	if c[1] < 0 {
		ns = "S"
	}
	if c[0] < 0 {
		ew = "W"
	}
	s := fmt.Sprintf("%s° %s, %s° %s", number(math.Abs(c[1]), 4), ns, number(math.Abs(c[0]), 4), ew)
	switch u := p.Properties.Accuracy; {
	case u >= 1000:
		s += ", within " + number(u/1000, 1) + " km"
	case u > 0:
		s += ", within " + number(math.Ceil(u), 0) + " m"
	}
	if p.Properties.Address != "" {
		s = p.Properties.Address + " (" + s + ")"
	}
	return s
}

// Coarse makes a place inexact: the middle of a square of two hundredths of a degree, with
// neither altitude, speed nor heading. The grid is fixed, so that many places say no
// more than one.
func Coarse(p wire.Place) wire.Place {
	const step = 0.02
	c := p.Geometry.Coordinates
	middle := func(x, most float64) float64 {
		return math.Round(min(most, max(-most, (math.Floor(x/step)+0.5)*step))*1e4) / 1e4
	}
	out := point(middle(c[1], 90), middle(c[0], 180))
	out.Properties.Accuracy, out.Properties.Time = max(wire.CoarseMeters, p.Properties.Accuracy), p.Properties.Time
	return out
}

// Link shows a place at a mapping service: pattern has {lat} and {lon} where they go.
func Link(pattern string, p wire.Place) string {
	c := p.Geometry.Coordinates
	return strings.NewReplacer("{lat}", number(c[1], 6), "{lon}", number(c[0], 6)).Replace(pattern)
}

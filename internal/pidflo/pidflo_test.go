package pidflo_test

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/pidflo"
	"github.com/tandem-call/tandem/wire"
)

// TestParse reads documents as RFCs show them, and as networks send them.
func TestParse(t *testing.T) {
	for name, want := range map[string]string{
		"rfc5491-circle":  `{"type":"Feature","geometry":{"type":"Point","coordinates":[-73.2512,42.5463]},"properties":{"accuracy_m":850.24,"time":"2003-06-22T20:57:29Z"}}`,
		"rfc5491-sphere":  `{"type":"Feature","geometry":{"type":"Point","coordinates":[-73.2512,42.5463,26.3]},"properties":{"accuracy_m":850.24,"time":"2003-06-22T20:57:29Z"}}`,
		"rfc5491-ellipse": `{"type":"Feature","geometry":{"type":"Point","coordinates":[-73.2512,42.5463]},"properties":{"accuracy_m":1275}}`,
		"rfc5491-arcband": `{"type":"Feature","geometry":{"type":"Point","coordinates":[-73.2512,42.5463]},"properties":{"accuracy_m":3594}}`,
		"rfc5962-dynamic": `{"type":"Feature","geometry":{"type":"Point","coordinates":[150.893,-34.407]},"properties":{"speed_mps":24,"heading_deg":34.1}}`,
		"tuple-and-civic": `{"type":"Feature","geometry":{"type":"Point","coordinates":[16.3738,48.2082]},"properties":{"time":"2026-11-26T12:00:00Z","address":"Café, Hauptstraße 1 a, 1010 Wien, Österreich, AT"}}`,
	} {
		doc, err := os.ReadFile(filepath.Join("testdata", name+".xml"))
		if err != nil {
			t.Fatal(err)
		}
		p, err := pidflo.Parse(doc)
		got, _ := json.Marshal(p)
		if err != nil || string(got) != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, want)
		}
	}
	doc, err := os.ReadFile("testdata/rfc5491-polygon.xml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := pidflo.Parse(doc)
	if c := p.Geometry.Coordinates; err != nil || math.Abs(c[0]+73.2512) > 1e-6 || math.Abs(c[1]-42.5463) > 1e-6 || math.Abs(p.Properties.Accuracy-1200) > 1 {
		t.Errorf("polygon: %+v, %v", p, err)
	}
}

const around = `<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10" xmlns:gml="http://www.opengis.net/gml" xmlns:gs="http://www.opengis.net/pidflo/1.0"><dm:device id="a"><gp:geopriv><gp:location-info>%</gp:location-info></gp:geopriv></dm:device></presence>`

func TestRefused(t *testing.T) {
	point := func(system, pos string) string {
		return strings.Replace(around, "%", `<gml:Point srsName="`+system+`"><gml:pos>`+pos+`</gml:pos></gml:Point>`, 1)
	}
	const wgs = "urn:ogc:def:crs:EPSG::4326"
	if _, err := pidflo.Parse([]byte(point(wgs, "1 2"))); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		doc  string
		want error
	}{
		"nothing":       {"", pidflo.ErrDocument},
		"other XML":     {"<a/>", pidflo.ErrDocument},
		"no place":      {strings.Replace(around, "%", "", 1), pidflo.ErrNoPlace},
		"other system":  {point("urn:ogc:def:crs:EPSG::27700", "1 2"), pidflo.ErrDocument},
		"swapped":       {point(wgs, "-173.2 42.5"), pidflo.ErrDocument},
		"no numbers":    {point(wgs, "NaN 2"), pidflo.ErrDocument},
		"too few":       {point(wgs, "1"), pidflo.ErrDocument},
		"feet":          {strings.Replace(around, "%", `<gs:Circle srsName="`+wgs+`"><gml:pos>1 2</gml:pos><gs:radius uom="urn:ogc:def:uom:EPSG::9002">3</gs:radius></gs:Circle>`, 1), pidflo.ErrDocument},
		"two corners":   {strings.Replace(around, "%", `<gml:Polygon srsName="`+wgs+`"><gml:exterior><gml:LinearRing><gml:pos>1 2</gml:pos><gml:pos>1 3</gml:pos><gml:pos>1 2</gml:pos></gml:LinearRing></gml:exterior></gml:Polygon>`, 1), pidflo.ErrDocument},
		"very long":     {point(wgs, strings.Repeat(" ", pidflo.MaxBytes)), pidflo.ErrDocument},
		"entities":      {`<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>` + point(wgs, "&x; 2"), pidflo.ErrDocument},
		"not finished":  {point(wgs, "1 2")[:300], pidflo.ErrDocument},
		"bad timestamp": {strings.Replace(point(wgs, "1 2"), "</dm:device>", "<dm:timestamp>x</dm:timestamp></dm:device>", 1), pidflo.ErrDocument},
	} {
		if p, err := pidflo.Parse([]byte(c.doc)); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func f(x float64) *float64 { return &x }

var places = map[string]wire.Place{
	"point":  {Type: "Feature", Geometry: wire.PlacePoint{Type: "Point", Coordinates: []float64{16.3738, 48.2082}}},
	"circle": {Type: "Feature", Geometry: wire.PlacePoint{Type: "Point", Coordinates: []float64{-0.1278, 51.5074}}, Properties: wire.PlaceProperties{Accuracy: 35, Time: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)}},
	"sphere": {Type: "Feature", Geometry: wire.PlacePoint{Type: "Point", Coordinates: []float64{151.2153, -33.8568, 11}}, Properties: wire.PlaceProperties{Accuracy: 5.5, Speed: f(1.5), Heading: f(90)}},
}

// TestRender: what is written is read as the same place, and is what the schemas ask for, as an
// independent program sees it (xmllint of libxml2).
func TestRender(t *testing.T) {
	for name, p := range places {
		doc := pidflo.Render(p, `sip:a&b"@example.com`)
		again, err := pidflo.Parse(doc)
		a, _ := json.Marshal(p)
		b, _ := json.Marshal(again)
		if err != nil || string(a) != string(b) {
			t.Errorf("%s: %v\n%s\n%s\n%s", name, err, a, b, doc)
		}
		file := filepath.Join(t.TempDir(), name+".xml")
		if err := os.WriteFile(file, doc, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("xmllint", "--noout", "--nonet", "--schema", "testdata/schema/pidf.xsd", file).CombinedOutput()
		if err != nil {
			t.Errorf("%s: xmllint (scripts/test-deps installs it): %v\n%s\n%s", name, err, out, doc)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.xml")
	if err != nil || len(files) == 0 {
		f.Fatal("no documents", err)
	}
	for _, name := range files {
		doc, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		p, err := pidflo.Parse(doc)
		if err != nil {
			return
		}
		c := p.Geometry.Coordinates
		if math.Abs(c[0]) > 180 || math.Abs(c[1]) > 90 || !(p.Properties.Accuracy >= 0) {
			t.Fatalf("%+v", p)
		}
		again, err := pidflo.Parse(pidflo.Render(p, ""))
		if err != nil || math.Abs(again.Geometry.Coordinates[0]-c[0]) > 1e-6 || math.Abs(again.Geometry.Coordinates[1]-c[1]) > 1e-6 {
			t.Fatalf("%+v is read again as %+v: %v", p, again, err)
		}
	})
}

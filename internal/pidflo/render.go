package pidflo

import (
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// Render writes a place as the place of a device (RFC 5491 3.3): a point, or, with an accuracy,
// a circle, or a sphere if the altitude is known. entity names whose place it is, as a URI; empty
// for somebody unnamed. It is not to be passed on, and to be forgotten after a day, as
// RFC 4119 2.2.2 takes for granted where nothing is said.
func Render(p wire.Place, entity string) []byte {
	if entity == "" {
		entity = "pres:anonymous@anonymous.invalid" // RFC 3323 4.1.1.3's way to name nobody
	}
	var b strings.Builder
	line := func(format string, values ...any) {
		for i, v := range values {
			if s, ok := v.(string); ok {
				values[i] = escaped(s)
			}
		}
		fmt.Fprintf(&b, format+"\n", values...)
	}
	line(`<?xml version="1.0" encoding="UTF-8"?>`)
	line(`<presence xmlns="%s" xmlns:dm="%s" xmlns:gp="%s" xmlns:gml="%s" xmlns:gs="%s" xmlns:dyn="%s" entity="%s">`,
		pidf, dataModel, geopriv, gml, shapes, dynamic, entity)
	line(`  <dm:device id="device">`)
	line(`    <gp:geopriv>`)
	line(`      <gp:location-info>`)
	c := p.Geometry.Coordinates
	system, position, name := flat, decimal(c[1])+" "+decimal(c[0]), "Circle"
	if len(c) == 3 {
		system, position, name = solid, position+" "+decimal(c[2]), "Sphere"
	}
	if u := p.Properties.Accuracy; u > 0 {
		line(`        <gs:%s srsName="%s">`, name, system)
		line(`          <gml:pos>%s</gml:pos>`, position)
		line(`          <gs:radius uom="%s">%s</gs:radius>`, metre, decimal(u))
		line(`        </gs:%s>`, name)
	} else {
		line(`        <gml:Point srsName="%s"><gml:pos>%s</gml:pos></gml:Point>`, system, position)
	}
	if s, h := p.Properties.Speed, p.Properties.Heading; s != nil || h != nil {
		line(`        <dyn:Dynamic>`)
		if s != nil {
			line(`          <dyn:speed>%s</dyn:speed>`, decimal(*s))
		}
		if h != nil {
			line(`          <dyn:heading>%s</dyn:heading>`, decimal(*h))
		}
		line(`        </dyn:Dynamic>`)
	}
	line(`      </gp:location-info>`)
	line(`      <gp:usage-rules/>`)
	line(`    </gp:geopriv>`)
	line(`    <dm:deviceID>urn:device:tandem</dm:deviceID>`)
	if t := p.Properties.Time; !t.IsZero() {
		line(`    <dm:timestamp>%s</dm:timestamp>`, t.UTC().Format(time.RFC3339))
	}
	line(`  </dm:device>`)
	b.WriteString("</presence>\n")
	return []byte(b.String())
}

func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // into memory
	return b.String()
}

// decimal writes seven places behind the point: a centimetre, in degrees.
func decimal(x float64) string {
	return strconv.FormatFloat(math.Round(x*1e7)/1e7, 'f', -1, 64)
}

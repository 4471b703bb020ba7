package main

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// draw writes the plots of what was measured.
func (b *bench) draw() error {
	if len(b.figures["tandem acked"]) > 0 {
		for _, p := range []struct{ file, title, figure string }{
			{"throughput.svg", "messages acknowledged per second", "acked"},
			{"processor.svg", "processor time per message, µs", "cpu"},
		} {
			if err := b.drawBars(p.file, p.title, p.figure); err != nil {
				return err
			}
		}
	}
	if len(b.growth) > 0 {
		return b.drawGrowth()
	}
	return nil
}

const svgHead = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 %d" font-family="sans-serif" font-size="13" role="img" aria-label="%s">
<rect width="640" height="%d" fill="#fff"/>
<text x="16" y="26" font-size="15" font-weight="bold">%s</text>
`

// drawBars draws the medians of the relays, with the range over the rounds.
func (b *bench) drawBars(file, title, figure string) error {
	height := 50 + 44*len(relayed)
	var s strings.Builder
	fmt.Fprintf(&s, svgHead, height, title, height, title)
	most := 0.0
	for _, r := range relayed {
		most = max(most, slices.Max(b.figures[r.name+" "+figure]))
	}
	for i, r := range relayed {
		l := slices.Sorted(slices.Values(b.figures[r.name+" "+figure]))
		width := func(v float64) float64 { return 330 * v / most }
		y := 46 + 44*i
		colour := "#9aa5b1"
		if r.name == "tandem" {
			colour = "#0b6e99"
		}
		median := l[len(l)/2]
		fmt.Fprintf(&s, "<text x=\"16\" y=\"%d\">%s</text>\n", y+18, r.title)
		fmt.Fprintf(&s, "<rect x=\"275\" y=\"%d\" width=\"%.0f\" height=\"26\" fill=\"%s\"/>\n", y, width(median), colour)
		fmt.Fprintf(&s, "<path d=\"M%.0f %dH%.0f\" stroke=\"#222\" stroke-width=\"2\"/>\n", 275+width(l[0]), y+13, 275+width(l[len(l)-1]))
		decimals := 0
		if median < 100 {
			decimals = 1
		}
		fmt.Fprintf(&s, "<text x=\"281\" y=\"%d\" font-size=\"11\" fill=\"#fff\">%s</text>\n", y+10, number(median, decimals))
	}
	s.WriteString("</svg>\n")
	return os.WriteFile(filepath.Join(b.plots, file), []byte(s.String()), 0o644)
}

// drawGrowth draws each figure as a multiple of what it is in the first step.
func (b *bench) drawGrowth() error {
	title := "the same work among more stored parties; first step = 1"
	var s strings.Builder
	fmt.Fprintf(&s, svgHead, 330, title, 330, title)
	lines := []struct {
		name, colour string
		of           func(growthFigures) float64
	}{
		{"start", "#b45309", func(g growthFigures) float64 { return g.start }},
		{"a device comes", "#0b6e99", func(g growthFigures) float64 { return g.comes }},
		{"set-up", "#6d28d9", func(g growthFigures) float64 { return g.setup }},
		{"CPU per message", "#15803d", func(g growthFigures) float64 { return g.cpu }},
	}
	most := 2.0
	for _, l := range lines {
		for _, g := range b.growth {
			most = max(most, l.of(g)/cmp.Or(l.of(b.growth[0]), 1))
		}
	}
	x := func(i int) float64 { return 60 + 400*float64(i)/float64(max(1, len(b.growth)-1)) }
	y := func(v float64) float64 { return 290 - 235*v/most }
	for v := 0.0; v <= most; v += math.Ceil(most / 5) {
		fmt.Fprintf(&s, "<path d=\"M60 %.0fH460\" stroke=\"#ddd\"/><text x=\"36\" y=\"%.0f\">%.0f</text>\n", y(v), y(v)+4, v)
	}
	for i, g := range b.growth {
		fmt.Fprintf(&s, "<text x=\"%.0f\" y=\"312\" text-anchor=\"middle\">%s</text>\n", x(i), number(g.parties, 0))
	}
	for n, l := range lines {
		var points []string
		for i, g := range b.growth {
			points = append(points, fmt.Sprintf("%.0f,%.0f", x(i), y(l.of(g)/cmp.Or(l.of(b.growth[0]), 1))))
		}
		fmt.Fprintf(&s, "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n", strings.Join(points, " "), l.colour)
		fmt.Fprintf(&s, "<text x=\"480\" y=\"%d\" fill=\"%s\">%s</text>\n", 70+22*n, l.colour, l.name)
	}
	s.WriteString("</svg>\n")
	return os.WriteFile(filepath.Join(b.plots, "growth.svg"), []byte(s.String()), 0o644)
}

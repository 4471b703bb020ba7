package atlas

import (
	"image"
	"image/color"
	"math"

	"golang.org/x/image/vector"
)

// margin around a picture beyond which nothing is drawn, so that the numbers stay small.
const margin = 64

// fill fills rings; a ring in another, wound the other way round, is a hole.
func fill(img *image.RGBA, rings [][]point, at func(point) point, c color.RGBA) {
	b := img.Bounds()
	r := vector.NewRasterizer(b.Dx(), b.Dy())
	for _, ring := range rings {
		low, high := point{math.Inf(1), math.Inf(1)}, point{math.Inf(-1), math.Inf(-1)}
		placed := make([]point, len(ring))
		for i, p := range ring {
			p = at(p)
			placed[i] = p
			low, high = point{min(low.x, p.x), min(low.y, p.y)}, point{max(high.x, p.x), max(high.y, p.y)}
		}
		if high.x < 0 || low.x > float64(b.Dx()) || high.y < 0 || low.y > float64(b.Dy()) {
			continue
		}
		for i, p := range placed {
			if i == 0 {
				r.MoveTo(float32(p.x), float32(p.y))
			} else {
				r.LineTo(float32(p.x), float32(p.y))
			}
		}
		r.ClosePath()
	}
	r.Draw(img, b, image.NewUniform(c), image.Point{})
}

// strokes draws lines of a width in pixels.
func strokes(img *image.RGBA, lines [][]point, at func(point) point, width float64, c color.RGBA) {
	b := img.Bounds()
	r := vector.NewRasterizer(b.Dx(), b.Dy())
	visible := func(p point) bool {
		return p.x > -margin && p.y > -margin && p.x < float64(b.Dx()+margin) && p.y < float64(b.Dy()+margin)
	}
	for _, line := range lines {
		for i := 1; i < len(line); i++ {
			p, q := at(line[i-1]), at(line[i])
			length := math.Hypot(q.x-p.x, q.y-p.y)
			if length == 0 || !visible(p) && !visible(q) {
				continue
			}
			dx, dy := (q.y-p.y)/length*width/2, (p.x-q.x)/length*width/2
			r.MoveTo(float32(p.x+dx), float32(p.y+dy))
			r.LineTo(float32(q.x+dx), float32(q.y+dy))
			r.LineTo(float32(q.x-dx), float32(q.y-dy))
			r.LineTo(float32(p.x-dx), float32(p.y-dy))
			r.ClosePath()
		}
	}
	r.Draw(img, b, image.NewUniform(c), image.Point{})
}

// circle has as many corners as it needs to look round.
func circle(x, y, radius float64) []point {
	n := 24 + int(radius)
	ring := make([]point, n+1)
	for i := range ring {
		s, c := math.Sincos(2 * math.Pi * float64(i) / float64(n))
		ring[i] = point{x + radius*c, y + radius*s}
	}
	return ring
}

func asIs(p point) point { return p }

func disc(img *image.RGBA, x, y, radius float64, c color.RGBA) {
	fill(img, [][]point{circle(x, y, radius)}, asIs, c)
}

func ring(img *image.RGBA, x, y, radius float64, c color.RGBA) {
	strokes(img, [][]point{circle(x, y, radius)}, asIs, 1.5, c)
}

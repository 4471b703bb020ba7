package atlas

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"

	"golang.org/x/image/font"
	"golang.org/x/image/math/fixed"

	"github.com/tandem-call/tandem/wire"
)

// Size of a picture in pixels.
const (
	Width  = 480
	Height = 320
)

// Zoom levels: at z, the world is 256·2^z pixels wide.
const (
	outlineZoom = 4  // the outline shows no more than coasts and borders
	mostZoom    = 16 // streets
)

var (
	sea    = color.RGBA{0xd5, 0xe5, 0xee, 0xff}
	ground = color.RGBA{0xf6, 0xf3, 0xea, 0xff}
	coast  = color.RGBA{0x7b, 0x93, 0xa1, 0xff}
	border = color.RGBA{0xb9, 0xae, 0xa2, 0xff}
	ink    = color.RGBA{0x1c, 0x24, 0x2b, 0xff}
	paper  = color.RGBA{0xff, 0xff, 0xff, 0xff}
	here   = color.RGBA{0xb3, 0x1d, 0x3a, 0xff}
	around = color.RGBA{0x2c, 0x07, 0x0e, 0x40} // with its alpha multiplied in
)

// drawable is the latitude that is nearest on the map.
func drawable(lat float64) float64 { return min(85, max(-85, lat)) }

// view is what a picture shows: its middle in pixels at the zoom level, and the radius of
// the circle around it.
type view struct{ x, y, zoom, radius int }

// scale is how many metres a pixel is at a latitude.
func scale(lat float64, zoom int) float64 {
	const around = 40_075_016.686 // metres, of the equator
	return around * math.Cos(lat*math.Pi/180) / (256 * math.Exp2(float64(zoom)))
}

// viewOf a place: at the zoom level, or as far out as its accuracy needs.
func viewOf(p wire.Place, zoom int) view {
	lon, lat := p.Geometry.Coordinates[0], drawable(p.Geometry.Coordinates[1])
	radius := p.Properties.Accuracy
	for zoom > 0 && radius/scale(lat, zoom) > Height/3 {
		zoom--
	}
	size, m := 256*math.Exp2(float64(zoom)), mercator(lon, lat)
	return view{int(math.Round(m.x * size)), int(math.Round(m.y * size)), zoom, int(min(Width, radius/scale(lat, zoom)))}
}

// Picture draws a place as a PNG of [Width] by [Height] pixels: the operator's tiles, or the
// outline of the world; the place and how exact it is; a scale and the attribution. North is up.
// What was drawn lately is remembered. Where no tiles come, the outline is drawn.
func (a *Atlas) Picture(ctx context.Context, p wire.Place) ([]byte, error) {
	v := viewOf(p, outlineZoom)
	if a.cfg.Tiles != "" {
		v = viewOf(p, mostZoom)
	}
	if drawn, ok := a.pictures.Get(v); ok {
		return drawn, nil
	}
	select {
	case a.turns <- struct{}{}:
		defer func() { <-a.turns }()
	case <-ctx.Done():
		return nil, fmt.Errorf("atlas: picture: %w", ctx.Err())
	}
	img := image.NewRGBA(image.Rect(0, 0, Width, Height))
	by, whole := outlineBy, true
	if a.cfg.Tiles != "" {
		by = a.cfg.Attribution
		if whole = a.drawTiles(ctx, img, v); !whole {
			by, v = outlineBy, viewOf(p, outlineZoom)
			a.drawOutline(img, v)
		}
	} else {
		a.drawOutline(img, v)
	}
	disc(img, Width/2, Height/2, float64(v.radius), around)
	ring(img, Width/2, Height/2, float64(v.radius), here)
	disc(img, Width/2, Height/2, 9, paper)
	disc(img, Width/2, Height/2, 6.5, here)
	a.drawScale(img, scale(drawable(p.Geometry.Coordinates[1]), v.zoom))
	a.label(img, Width-8-a.width(by), Height-8, by)
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, img); err != nil {
		return nil, fmt.Errorf("atlas: picture: %w", err)
	}
	if whole { // otherwise tiles may come the next time
		a.pictures.Add(v, out.Bytes())
	}
	return out.Bytes(), nil
}

func (a *Atlas) drawOutline(img *image.RGBA, v view) {
	draw.Draw(img, img.Bounds(), image.NewUniform(sea), image.Point{}, draw.Src)
	size := 256 * math.Exp2(float64(v.zoom))
	at := func(shift float64) func(point) point {
		return func(p point) point {
			return point{(p.x+shift)*size - float64(v.x) + Width/2, p.y*size - float64(v.y) + Height/2}
		}
	}
	for _, shift := range []float64{-1, 0, 1} { // the world goes on beyond the date line
		fill(img, a.outline.land, at(shift), ground)
		strokes(img, a.outline.borders, at(shift), 1, border)
		strokes(img, a.outline.coasts, at(shift), 1.2, coast)
	}
}

// drawScale draws a bar of a round number of metres.
func (a *Atlas) drawScale(img *image.RGBA, metres float64) {
	const most = 120
	length := math.Pow(10, math.Floor(math.Log10(most*metres)))
	for _, f := range []float64{5, 2} {
		if f*length <= most*metres {
			length *= f
			break
		}
	}
	text := fmt.Sprintf("%g m", length)
	if length >= 1000 {
		text = fmt.Sprintf("%g km", length/1000)
	}
	pixels := int(math.Round(length / metres))
	plate := image.Rect(4, Height-30, 12+max(pixels, a.width(text))+4, Height-4)
	draw.Draw(img, plate, image.NewUniform(paper), image.Point{}, draw.Src)
	a.text(img, 10, Height-16, text)
	bar := image.Rect(10, Height-10, 10+pixels, Height-8)
	draw.Draw(img, bar, image.NewUniform(ink), image.Point{}, draw.Src)
	for _, x := range []int{10, 8 + pixels} {
		draw.Draw(img, image.Rect(x, Height-13, x+2, Height-8), image.NewUniform(ink), image.Point{}, draw.Src)
	}
}

// label writes on a plate.
func (a *Atlas) label(img *image.RGBA, x, y int, s string) {
	draw.Draw(img, image.Rect(x-4, y-12, x+a.width(s)+4, y+4), image.NewUniform(paper), image.Point{}, draw.Src)
	a.text(img, x, y, s)
}

func (a *Atlas) width(s string) int {
	a.face.Lock()
	defer a.face.Unlock()
	return font.MeasureString(a.font, s).Ceil()
}

func (a *Atlas) text(img *image.RGBA, x, y int, s string) {
	a.face.Lock()
	defer a.face.Unlock()
	d := font.Drawer{Dst: img, Src: image.NewUniform(ink), Face: a.font, Dot: fixed.P(x, y)}
	d.DrawString(s)
}

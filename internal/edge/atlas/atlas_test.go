package atlas_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tandem-call/tandem/internal/edge/atlas"
	"github.com/tandem-call/tandem/internal/edge/fetch"
	"github.com/tandem-call/tandem/wire"
)

func at(lat, lon, accuracy float64) wire.Place {
	return wire.Place{
		Type: "Feature", Geometry: wire.PlacePoint{Type: "Point", Coordinates: []float64{lon, lat}},
		Properties: wire.PlaceProperties{Accuracy: accuracy},
	}
}

func picture(t *testing.T, a *atlas.Atlas, p wire.Place) image.Image {
	t.Helper()
	b, err := a.Picture(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if s := img.Bounds().Size(); s.X != atlas.Width || s.Y != atlas.Height {
		t.Fatalf("size %v", s)
	}
	if dir := os.Getenv("ATLAS_PICTURES"); dir != "" { // to look at them
		name := strings.NewReplacer("/", "-").Replace(t.Name()) + fmt.Sprint(p.Geometry.Coordinates) + ".png"
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

var (
	sea    = color.RGBA{0xd5, 0xe5, 0xee, 0xff}
	ground = color.RGBA{0xf6, 0xf3, 0xea, 0xff}
	here   = color.RGBA{0xb3, 0x1d, 0x3a, 0xff}
)

func colour(img image.Image, x, y int) color.RGBA {
	c, _ := color.RGBAModel.Convert(img.At(x, y)).(color.RGBA)
	return c
}

// TestPicture: the place is in the middle, on land or sea as it is on Earth, also beyond the date line and
// near the poles, with its accuracy around it.
func TestPicture(t *testing.T) {
	a, err := atlas.New(atlas.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		p      wire.Place
		dx, dy int // beside the marker
		want   color.RGBA
	}{
		"London is on land":         {at(51.5074, -0.1278, 20), -14, 0, ground},
		"the Atlantic is a sea":     {at(45, -30, 0), 60, 0, sea},
		"Australia is land":         {at(-25, 134, 0), 60, 40, ground},
		"the Caspian is no land":    {at(41.5, 51, 0), 0, 12, sea},
		"west of the date line":     {at(66.5, 179.5, 0), -30, 0, ground}, // Chukotka
		"east of it, to the west":   {at(66.5, -179.9, 0), -30, 0, ground},
		"the South Pole is on land": {at(-90, 0, 0), 50, -60, ground},
	} {
		img := picture(t, a, c.p)
		if got := colour(img, atlas.Width/2, atlas.Height/2); got != here {
			t.Errorf("%s: no marker: %v", name, got)
		}
		if got := colour(img, atlas.Width/2+c.dx, atlas.Height/2+c.dy); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	// A circle of 500 km is 64 pixels at this latitude and zoom level; it covers what is below it.
	wide := picture(t, a, at(45, -30, 500_000))
	radius := 500_000 / (40_075_016.686 * math.Cos(math.Pi/4) / 4096)
	in, out := colour(wide, atlas.Width/2+int(radius)-8, atlas.Height/2), colour(wide, atlas.Width/2+int(radius)+8, atlas.Height/2)
	if in == sea || out != sea {
		t.Errorf("the circle: inside %v, outside %v", in, out)
	}
	// A scale and words are there.
	if colour(wide, 11, atlas.Height-9) == sea || colour(wide, atlas.Width-6, atlas.Height-8) == sea {
		t.Error("no scale, or no attribution")
	}
}

// tiles is an operator's service in miniature, whose tiles are of one colour each.
func tiles(t *testing.T, broken *atomic.Bool) (pattern string, asked *atomic.Int64) {
	t.Helper()
	asked = &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var z, x, y int
		if _, err := fmt.Sscanf(r.URL.Path, "/%d/%d/%d.png", &z, &x, &y); err != nil || broken.Load() {
			http.NotFound(w, r)
			return
		}
		img := image.NewPaletted(image.Rect(0, 0, 256, 256), color.Palette{color.RGBA{uint8(z), uint8(x), uint8(y), 0xff}})
		w.Header().Set("Content-Type", "image/png")
		_ = png.Encode(w, img) // the client has gone
	}))
	t.Cleanup(s.Close)
	return s.URL + "/{z}/{x}/{y}.png", asked
}

// TestTiles: the operator's tiles are fetched, where they belong, once; without them, the outline is drawn.
func TestTiles(t *testing.T) {
	var broken atomic.Bool
	pattern, asked := tiles(t, &broken)
	out, err := fetch.New(fetch.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := atlas.New(atlas.Config{Tiles: pattern, Attribution: "© somebody", Fetcher: out})
	if err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	if got := colour(picture(t, a, at(45, -30, 20)), 300, 100); got != sea {
		t.Errorf("without tiles: %v", got)
	}
	broken.Store(false)
	// The tile of a point, as slippy maps number them.
	const lat, lon, z = 51.5074, -0.1278, 16
	x := int(math.Floor((lon + 180) / 360 * (1 << z)))
	y := int((1 - math.Asinh(math.Tan(lat*math.Pi/180))/math.Pi) / 2 * (1 << z))
	img := picture(t, a, at(lat, lon, 20))
	if got, want := colour(img, atlas.Width/2+40, atlas.Height/2), (color.RGBA{z, uint8(x % 256), uint8(y % 256), 0xff}); got != want {
		t.Errorf("the tile in the middle: %v, want %v", got, want)
	}
	before := asked.Load()
	picture(t, a, at(lat, lon, 20))
	picture(t, a, at(lat+1e-5, lon, 30)) // other pixels of the same tiles
	if now := asked.Load(); now != before || before == 0 {
		t.Errorf("%d tiles were asked for again", now-before)
	}
}

// TestServed: the outline for everybody, the file by ranges.
func TestServed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "world.pmtiles")
	content := []byte("PMTiles\x03" + strings.Repeat("x", 1000))
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := atlas.New(atlas.Config{File: file, Attribution: "© somebody"})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	a.Mount(mux)
	get := func(path string, headers ...string) *http.Response {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w.Result()
	}
	zipped, err := gzip.NewReader(get(atlas.OutlinePath, "Accept-Encoding", "gzip").Body)
	if err != nil {
		t.Fatal(err)
	}
	one, err := io.ReadAll(zipped)
	if err != nil {
		t.Fatal(err)
	}
	two, err := io.ReadAll(get(atlas.OutlinePath).Body)
	if err != nil || !bytes.Equal(one, two) || !json.Valid(one) {
		t.Errorf("the outline: %v, %d and %d bytes", err, len(one), len(two))
	}
	r := get(atlas.TilesPath, "Range", "bytes=0-6")
	b, _ := io.ReadAll(r.Body)
	if r.StatusCode != http.StatusPartialContent || string(b) != "PMTiles" || r.Header.Get("Content-Range") != "bytes 0-6/1008" {
		t.Errorf("%d %q %v", r.StatusCode, b, r.Header)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if r := get(atlas.TilesPath); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a file that has gone: %d", r.StatusCode)
	}
	if r := get("/maps/other"); r.StatusCode != http.StatusNotFound {
		t.Errorf("%d", r.StatusCode)
	}
}

func TestConfig(t *testing.T) {
	out, err := fetch.New(fetch.Config{})
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	vectors := filepath.Join(t.TempDir(), "vectors")
	if err := os.WriteFile(vectors, []byte("PMTiles\x03"+strings.Repeat("\x01", 200)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]atlas.Config{
		"vector tiles":   {File: vectors, Attribution: "©"},
		"no attribution": {Tiles: "https://tiles.example/{z}/{x}/{y}.png", Fetcher: out},
		"no fetcher":     {Tiles: "https://tiles.example/{z}/{x}/{y}.png", Attribution: "©"},
		"no {z}":         {Tiles: "https://tiles.example/{x}/{y}.png", Attribution: "©", Fetcher: out},
		"a password":     {Tiles: "https://a:b@tiles.example/{z}/{x}/{y}.png", Attribution: "©", Fetcher: out},
		"no address":     {Tiles: "{z}/{x}/{y}", Attribution: "©", Fetcher: out},
		"no file":        {File: other + "2", Attribution: "©"},
		"another file":   {File: other, Attribution: "©"},
	} {
		if _, err := atlas.New(c); err == nil || !strings.HasPrefix(err.Error(), "atlas: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if o, err := atlas.Origin("https://tiles.example:8443/a/{z}/{x}/{y}.png?key=1"); err != nil || o != "https://tiles.example:8443" {
		t.Error(o, err)
	}
}

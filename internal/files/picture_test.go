package files

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"testing"
)

const pixels = 50_000_000

func TestPreviewIsSmallAndClean(t *testing.T) {
	p, small, err := preview("image/jpeg", bytes.NewReader(withSecrets(jpegOf(t, gradient(800, 600)), 1)), pixels)
	if err != nil {
		t.Fatal(err)
	}
	if p.width != 800 || p.height != 600 || p.preview != "image/jpeg" {
		t.Errorf("%+v", p)
	}
	m, err := jpeg.Decode(bytes.NewReader(small))
	if err != nil {
		t.Fatal(err)
	}
	if m.Bounds() != image.Rect(0, 0, 320, 240) {
		t.Errorf("preview is %v", m.Bounds())
	}
	if bytes.Contains(small, []byte("SECRET")) || bytes.Contains(small, exifHeader) {
		t.Error("preview has metadata")
	}
}

func TestPreviewOrientation(t *testing.T) {
	// Which corner of the stored picture is seen at the top left, top right, bottom left
	// and bottom right (Exif 2.32, 4.6.4 A).
	for o, want := range map[int]string{1: "RGBW", 2: "GRWB", 3: "WBGR", 4: "BWRG", 5: "RBGW", 6: "BRWG", 7: "WGBR", 8: "GWRB"} {
		p, small, err := preview("image/jpeg", bytes.NewReader(withSecrets(jpegOf(t, gradient(64, 32)), o)), pixels)
		if err != nil {
			t.Fatal(err)
		}
		m, err := jpeg.Decode(bytes.NewReader(small))
		if err != nil {
			t.Fatal(err)
		}
		w, h := m.Bounds().Dx(), m.Bounds().Dy()
		if side := o >= 5; side && (w != 32 || p.width != 32) || !side && (w != 64 || p.width != 64) {
			t.Errorf("orientation %d: %d×%d, said %d×%d", o, w, h, p.width, p.height)
		}
		got := name(m.At(4, 4)) + name(m.At(w-5, 4)) + name(m.At(4, h-5)) + name(m.At(w-5, h-5))
		if got != want {
			t.Errorf("orientation %d: corners %s, want %s", o, got, want)
		}
	}
}

func name(c color.Color) string {
	r, g, b, _ := c.RGBA()
	switch hi := uint32(0x8000); {
	case r > hi && g > hi && b > hi:
		return "W"
	case r > hi:
		return "R"
	case g > hi:
		return "G"
	}
	return "B"
}

func TestPreviewOfEachKind(t *testing.T) {
	var g bytes.Buffer
	if err := gif.Encode(&g, gradient(400, 100), nil); err != nil {
		t.Fatal(err)
	}
	clear := gradient(400, 100)
	clear.SetRGBA(1, 1, color.RGBA{})
	// A WebP of one pixel.
	webp, err := base64.StdEncoding.DecodeString("UklGRiQAAABXRUJQVlA4IBgAAAAwAQCdASoBAAEAAwA0JaQAA3AA/vuUAAA=")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind string
		raw  []byte
		want picture
	}{
		{"image/jpeg", jpegOf(t, gradient(400, 100)), picture{400, 100, "image/jpeg"}},
		{"image/png", pngOf(t, gradient(400, 100)), picture{400, 100, "image/jpeg"}},
		{"image/png", pngOf(t, clear), picture{400, 100, "image/png"}},
		{"image/gif", g.Bytes(), picture{400, 100, "image/jpeg"}},
		{"image/webp", webp, picture{1, 1, "image/jpeg"}},
	} {
		kind, err := sniff(bytes.NewReader(c.raw))
		if err != nil || kind != c.kind {
			t.Errorf("recognised %s, want %s (%v)", kind, c.kind, err)
		}
		p, small, err := preview(c.kind, bytes.NewReader(c.raw), pixels)
		if err != nil || p != c.want || len(small) == 0 {
			t.Errorf("%s: %+v, %d bytes, %v; want %+v", c.kind, p, len(small), err, c.want)
		}
	}
}

// bomb is a PNG that says it is w by h and has no picture in it.
func bomb(w, h uint32) []byte {
	b := append([]byte{}, pngSignature...)
	ihdr := binary.BigEndian.AppendUint32([]byte("IHDR"), w)
	ihdr = append(binary.BigEndian.AppendUint32(ihdr, h), 8, 6, 0, 0, 0)
	b = append(binary.BigEndian.AppendUint32(b, 13), ihdr...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(ihdr))
}

func TestBombsAreMeasuredNotDecoded(t *testing.T) {
	for _, size := range [][2]uint32{{50_000, 50_000}, {1, 1 << 30}, {70_000, 1}, {1<<31 - 1, 1<<31 - 1}} {
		raw := bomb(size[0], size[1])
		var err error
		allocated := testing.AllocsPerRun(1, func() { _, _, err = preview("image/png", bytes.NewReader(raw), pixels) })
		if err == nil {
			t.Errorf("%v: has a preview", size)
		}
		if allocated > 100 {
			t.Errorf("%v: %v allocations", size, allocated)
		}
	}
	p, _, err := preview("image/png", bytes.NewReader(bomb(50_000, 50_000)), pixels)
	if !errors.Is(err, errPixels) || p.width != 50_000 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, _, err := preview("image/png", bytes.NewReader(pngOf(t, gradient(11, 10))), 100); !errors.Is(err, errPixels) {
		t.Errorf("110 pixels where 100 are allowed: %v", err)
	}
}

func TestPreviewOfBrokenPicture(t *testing.T) {
	raw := pngOf(t, gradient(64, 64))
	if p, small, err := preview("image/png", bytes.NewReader(raw[:len(raw)/2]), pixels); err == nil || p.preview != "" || small != nil {
		t.Errorf("%+v %d %v", p, len(small), err)
	}
	if _, err := png.Decode(bytes.NewReader(raw)); err != nil {
		t.Fatal(err)
	}
}

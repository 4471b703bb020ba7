package files

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"strings"
	"testing"
)

// gradient is a picture whose corners differ: red, green, blue, white.
func gradient(w, h int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.RGBA{A: 255}
			switch left, top := x < w/2, y < h/2; {
			case left && top:
				c.R = 255
			case top:
				c.G = 255
			case left:
				c.B = 255
			default:
				c.R, c.G, c.B = 255, 255, 255
			}
			m.SetRGBA(x, y, c)
		}
	}
	return m
}

func jpegOf(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 95}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pngOf(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func seg(marker byte, data string) string {
	n := len(data) + 2
	return string([]byte{0xFF, marker, byte(n >> 8), byte(n)}) + data
}

// exif is a little-endian TIFF with an orientation, a GPS pointer and a secret.
func exif(o int) string {
	b := []byte("II*\x00\x08\x00\x00\x00\x02\x00")
	b = binary.LittleEndian.AppendUint16(b, tagOrientation)
	b = append(b, 3, 0, 1, 0, 0, 0, byte(o), 0, 0, 0)
	b = binary.LittleEndian.AppendUint16(b, 0x8825)
	b = append(b, 4, 0, 1, 0, 0, 0, 38, 0, 0, 0, 0, 0, 0, 0)
	return string(b) + "SECRET-GPS"
}

// withSecrets puts metadata of every sort in a JPEG, behind its start and its end.
func withSecrets(raw []byte, o int) []byte {
	var b bytes.Buffer
	b.Write(raw[:2])
	b.WriteString(seg(mAPP0, "JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"))
	b.WriteString(seg(mAPP0, "JFXX\x00SECRET-thumbnail"))
	b.WriteString(seg(mAPP1, "Exif\x00\x00"+exif(o)))
	b.WriteString(seg(mAPP1, "http://ns.adobe.com/xap/1.0/\x00SECRET-xmp"))
	b.WriteString(seg(mAPP2, "ICC_PROFILE\x00\x01\x01profile"))
	b.WriteString(seg(mAPP2, "MPF\x00SECRET-mpf"))
	b.WriteString(seg(0xED, "Photoshop 3.0\x00SECRET-iptc"))
	b.WriteString(seg(mCOM, "SECRET-comment"))
	b.Write(raw[2:])
	b.WriteString("SECRET-second-picture")
	return b.Bytes()
}

func TestStripJPEG(t *testing.T) {
	raw := jpegOf(t, gradient(64, 48))
	var out bytes.Buffer
	if err := stripJPEG(&out, bytes.NewReader(withSecrets(raw, 6))); err != nil {
		t.Fatal(err)
	}
	if i := bytes.Index(out.Bytes(), []byte("SECRET")); i >= 0 {
		t.Errorf("still there: %q", out.Bytes()[i:min(i+30, out.Len())])
	}
	for _, want := range []string{"JFIF\x00", "ICC_PROFILE\x00"} {
		if !bytes.Contains(out.Bytes(), []byte(want)) {
			t.Errorf("%q has gone", want)
		}
	}
	if o := orientationOf("image/jpeg", bytes.NewReader(out.Bytes())); o != 6 {
		t.Errorf("orientation %d, want 6", o)
	}
	samePixels(t, jpeg.Decode, raw, out.Bytes())
	var twice bytes.Buffer
	if err := stripJPEG(&twice, bytes.NewReader(out.Bytes())); err != nil || !bytes.Equal(twice.Bytes(), out.Bytes()) {
		t.Errorf("stripping twice changes it, or fails: %v", err)
	}
}

func samePixels(t *testing.T, decode func(io.Reader) (image.Image, error), a, b []byte) {
	t.Helper()
	ma, err := decode(bytes.NewReader(a))
	if err != nil {
		t.Fatal(err)
	}
	mb, err := decode(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("the result cannot be decoded: %v", err)
	}
	for y := range ma.Bounds().Dy() {
		for x := range ma.Bounds().Dx() {
			if ma.At(x, y) != mb.At(x, y) {
				t.Fatalf("pixel %d,%d: %v, was %v", x, y, mb.At(x, y), ma.At(x, y))
			}
		}
	}
}

func TestStripJPEGUprightLeavesNoExif(t *testing.T) {
	var out bytes.Buffer
	if err := stripJPEG(&out, bytes.NewReader(withSecrets(jpegOf(t, gradient(8, 8)), 1))); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(out.Bytes(), exifHeader) {
		t.Error("an Exif segment is left")
	}
}

func TestStripJPEGBetweenScans(t *testing.T) {
	// A comment after the first scan, as a progressive file may have it.
	raw := jpegOf(t, gradient(16, 16))
	raw = append(raw[:len(raw)-2], seg(mCOM, "SECRET")+"\xFF\xD9"...)
	var out bytes.Buffer
	if err := stripJPEG(&out, bytes.NewReader(raw)); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(out.Bytes(), []byte("SECRET")) {
		t.Error("the comment is still there")
	}
}

func TestStripJPEGCutShort(t *testing.T) {
	raw := withSecrets(jpegOf(t, gradient(64, 48)), 3)
	scan := bytes.Index(raw, []byte{0xFF, mSOS})
	for n := range scan {
		if err := stripJPEG(io.Discard, bytes.NewReader(raw[:n])); !errors.Is(err, ErrDamagedPicture) {
			t.Fatalf("%d bytes of the head: %v", n, err)
		}
	}
	var out bytes.Buffer
	if err := stripJPEG(&out, bytes.NewReader(raw[:scan+100])); err != nil {
		t.Fatalf("cut in the scan: %v", err)
	}
	if !bytes.HasSuffix(out.Bytes(), []byte{0xFF, mEOI}) {
		t.Error("no end of image")
	}
}

func TestStripPNG(t *testing.T) {
	raw := pngOf(t, gradient(40, 30))
	var dirty bytes.Buffer
	const ihdr = 8 + 25
	dirty.Write(raw[:ihdr])
	writeChunk(&dirty, "tEXt", []byte("Author\x00SECRET"))
	writeChunk(&dirty, "iTXt", []byte("XML:com.adobe.xmp\x00\x00\x00\x00\x00SECRET"))
	writeChunk(&dirty, "eXIf", []byte(exif(8)))
	writeChunk(&dirty, "prVt", []byte("SECRET"))
	writeChunk(&dirty, "pHYs", []byte{0, 0, 0, 1, 0, 0, 0, 1, 0})
	dirty.Write(raw[ihdr:])
	dirty.WriteString("SECRET")
	var out bytes.Buffer
	if err := stripPNG(&out, bytes.NewReader(dirty.Bytes())); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(out.Bytes(), []byte("SECRET")) {
		t.Error("metadata is still there")
	}
	if !bytes.Contains(out.Bytes(), []byte("pHYs")) {
		t.Error("pHYs has gone")
	}
	if o := orientationOf("image/png", bytes.NewReader(out.Bytes())); o != 8 {
		t.Errorf("orientation %d, want 8", o)
	}
	samePixels(t, png.Decode, raw, out.Bytes())
	for n := 0; n < dirty.Len()-len("SECRET"); n += 7 {
		if err := stripPNG(io.Discard, bytes.NewReader(dirty.Bytes()[:n])); !errors.Is(err, ErrDamagedPicture) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

func TestOrientationOfBrokenTIFF(t *testing.T) {
	whole := exif(6)
	if o := orientation([]byte(whole)); o != 6 {
		t.Fatalf("orientation %d, want 6", o)
	}
	for n := range strings.Index(whole, "SECRET") {
		if o := orientation([]byte(whole[:n])); o != 1 && o != 6 {
			t.Errorf("%d bytes: orientation %d", n, o)
		}
	}
	for _, bad := range []string{"", "II*\x00\xff\xff\xff\xff", "MM\x00*\x00\x00\x00\x08\xff\xff", "II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x09\x00\x00\x00"} {
		if o := orientation([]byte(bad)); o != 1 {
			t.Errorf("%q: orientation %d", bad, o)
		}
	}
}

func FuzzStrip(f *testing.F) {
	f.Add(withSecrets(jpegOf(f, gradient(8, 8)), 6))
	f.Add(pngOf(f, gradient(8, 8)))
	f.Add([]byte(riff("RIFF", "WEBP", riff("VP8X", strings.Repeat("\x0C", 10)), riff("ANMF", strings.Repeat("x", 16), riff("VP8 ", "x")), riff("EXIF", exif(6)))))
	f.Add([]byte("GIF89a\x01\x00\x01\x00\x80\x00\x00......!\xFE\x01x\x00,........\x00\x02\x01x\x00;"))
	f.Add([]byte(bmff("ftyp", "heic") + bmff("meta", "....", bmff("iinf", "\x00...\x00\x01", bmff("infe", "\x02...\x00\x01..Exif")), bmff("iloc", "\x01...\x44\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x09"))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for kind, strip := range strippers {
			var once, twice bytes.Buffer
			if strip(&once, bytes.NewReader(raw)) != nil {
				continue
			}
			if err := strip(&twice, bytes.NewReader(once.Bytes())); err != nil || !bytes.Equal(once.Bytes(), twice.Bytes()) {
				t.Errorf("%s: what was stripped is not stable: %v", kind, err)
			}
			orientationOf(kind, bytes.NewReader(raw))
		}
	})
}

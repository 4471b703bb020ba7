package files

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"image/gif"
	"io"
	"strings"
	"testing"

	"golang.org/x/image/webp"
)

// stripped removes metadata, and sees that no secret is left.
func stripped(t *testing.T, kind string, dirty []byte) []byte {
	t.Helper()
	if got, err := sniff(bytes.NewReader(dirty)); err != nil || got != kind {
		t.Fatalf("recognised %s, want %s (%v)", got, kind, err)
	}
	var out bytes.Buffer
	if err := strippers[kind](&out, bytes.NewReader(dirty)); err != nil {
		t.Fatal(err)
	}
	if i := bytes.Index(out.Bytes(), []byte("SECRET")); i >= 0 {
		t.Errorf("still there: %q", out.Bytes()[i:min(i+30, out.Len())])
	}
	for n := range dirty { // whatever is cut off, nothing comes out that was to be removed
		var part bytes.Buffer
		err := strippers[kind](&part, bytes.NewReader(dirty[:n]))
		if err != nil && !errors.Is(err, ErrDamagedPicture) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if err == nil && bytes.Contains(part.Bytes(), []byte("SECRET")) {
			t.Fatalf("%d bytes: a secret is left", n)
		}
	}
	return out.Bytes()
}

func TestStripGIF(t *testing.T) {
	var raw bytes.Buffer
	if err := gif.Encode(&raw, gradient(40, 30), nil); err != nil {
		t.Fatal(err)
	}
	head := 13 + 3<<(raw.Bytes()[10]&7+1)*int(raw.Bytes()[10]>>7)
	dirty := bytes.Clone(raw.Bytes()[:head])
	repeat := "!\xFF\x0BNETSCAPE2.0\x03\x01\x00\x00\x00"
	dirty = append(dirty, repeat+"!\xFE\x0ESECRET-comment\x00!\xFF\x0BXMP DataXMP\x0ASECRET-xmp\x00!\x01\x06SECRET\x00"...)
	dirty = append(dirty, raw.Bytes()[head:]...)
	dirty = append(dirty, "SECRET-behind"...)
	out := stripped(t, "image/gif", dirty)
	if !bytes.Contains(out, []byte(repeat)) {
		t.Error("it does not repeat any more")
	}
	samePixels(t, gif.Decode, raw.Bytes(), out)
}

func riff(kind string, data ...string) string {
	all := strings.Join(data, "")
	b := binary.LittleEndian.AppendUint32([]byte(kind), uint32(len(all)))
	if len(all)%2 == 1 {
		all += "\x00"
	}
	return string(b) + all
}

func TestStripWebP(t *testing.T) {
	// One of one pixel.
	raw, err := base64.StdEncoding.DecodeString("UklGRiQAAABXRUJQVlA4IBgAAAAwAQCdASoBAAEAAwA0JaQAA3AA/vuUAAA=")
	if err != nil {
		t.Fatal(err)
	}
	pixels := string(raw[12:])
	head := func(flags string) string { return riff("VP8X", flags+"\x00\x00\x00"+"\x00\x00\x00"+"\x00\x00\x00") }
	frame := strings.Repeat("\x00", webpFrame)
	dirty := riff("RIFF", "WEBP", head("\x0C"), riff("odd?", "SECRET!"), riff("ANMF", frame, riff("note", "SECRET"), pixels),
		pixels, riff("EXIF", "Exif\x00\x00"+exif(6)), riff("XMP ", "SECRET-xmp")) + "SECRET-behind"
	out := stripped(t, "image/webp", []byte(dirty))
	want := riff("RIFF", "WEBP", head("\x08"), riff("ANMF", frame, pixels), pixels, riff("EXIF", string(orientationTIFF(6))))
	if string(out) != want {
		t.Errorf("%q, want %q", out, want)
	}
	if o := orientationOf("image/webp", bytes.NewReader(out)); o != 6 {
		t.Errorf("orientation %d, want 6", o)
	}
	upright := stripped(t, "image/webp", []byte(riff("RIFF", "WEBP", head("\x0C"), pixels, riff("EXIF", exif(1)))))
	if string(upright) != riff("RIFF", "WEBP", head("\x00"), pixels) {
		t.Errorf("%q", upright)
	}
	samePixels(t, webp.Decode, raw, upright)
}

func bmff(kind string, data ...string) string {
	all := strings.Join(data, "")
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(all)+8))) + kind + all
}

// TestStripHEIF: what draws the picture stays where it is; Exif data and XMP, in the file or in
// the meta box, and unknown boxes are gone.
func TestStripHEIF(t *testing.T) {
	for kind, brand := range map[string]string{"image/heic": "heic", "image/avif": "avif"} {
		const pixels, secret, xmp = "the pixels of the picture", "\x00\x00\x00\x06Exif\x00\x00SECRET-GPS", "SECRET-xmp"
		entry := func(id, kind string) string { return bmff("infe", "\x02\x00\x00\x00\x00"+id+"\x00\x00"+kind+"\x00") }
		file := func(at uint32) string { // where mdat's contents begin
			u32 := func(v uint32) string { return string(binary.BigEndian.AppendUint32(nil, v)) }
			place := func(id, method string, offset, length int) string {
				return "\x00" + id + "\x00" + method + "\x00\x00\x00\x01" + u32(uint32(offset)) + u32(uint32(length))
			}
			return bmff("ftyp", brand+"\x00\x00\x00\x00mif1"+brand) +
				bmff("meta", "\x00\x00\x00\x00", bmff("hdlr", "\x00\x00\x00\x00\x00\x00\x00\x00pict"),
					bmff("iinf", "\x00\x00\x00\x00\x00\x03", entry("\x01", "hvc1"), entry("\x02", "Exif"), entry("\x03", "mime")),
					bmff("iloc", "\x01\x00\x00\x00\x44\x00\x00\x03", place("\x01", "\x00", int(at), len(pixels)),
						place("\x02", "\x00", int(at)+len(pixels), len(secret)), place("\x03", "\x01", 2, len(xmp))),
					bmff("idat", "??"+xmp+"??"), bmff("xml ", "SECRET-xml")) +
				bmff("uuid", "SECRET-uuid") +
				bmff("moov", bmff("mvhd", "\x00\x00\x00\x00SECRETS!rate"), bmff("trak", bmff("udta", "SECRET-track"))) +
				bmff("mdat", pixels+secret+"rest")
		}
		at := strings.Index(file(0), pixels)
		out := stripped(t, kind, []byte(file(uint32(at))))
		for _, kept := range []string{pixels, "rest", "rate", "??"} {
			if i := strings.Index(file(0), kept); i < 0 || string(out[i:i+len(kept)]) != kept {
				t.Errorf("%s: %q has gone", kind, kept)
			}
		}
		if len(out) != len(file(0)) {
			t.Errorf("%s: %d bytes, were %d", kind, len(out), len(file(0)))
		}
	}
}

// TestStripRefuses: what cannot be cleaned is not taken.
func TestStripRefuses(t *testing.T) {
	ftyp := bmff("ftyp", "heic\x00\x00\x00\x00")
	for name, c := range map[string]struct{ kind, raw string }{
		"a box that is too long":         {"image/heic", ftyp + "\xff\xff\xff\xffmeta"},
		"a box within itself":            {"image/heic", ftyp + "\x00\x00\x00\x04meta"},
		"items of an unknown version":    {"image/heic", ftyp + bmff("meta", "\x00\x00\x00\x00", bmff("iinf", "\x00\x00\x00\x00\x00\x01", bmff("infe", "\x07\x00\x00\x00\x00\x01\x00\x00Exif")), bmff("iloc", "\x00\x00\x00\x00\x00\x00\x00\x00"))},
		"no type":                        {"image/heic", bmff("mdat", "x")},
		"a WebP chunk that is too long":  {"image/webp", "RIFF\x20\x00\x00\x00WEBPEXIF\xff\xff\xff\x7f"},
		"a GIF block that is none":       {"image/gif", "GIF89a\x01\x00\x01\x00\x00\x00\x00?"},
		"a GIF with half an application": {"image/gif", "GIF89a\x01\x00\x01\x00\x00\x00\x00!\xFF\x0BXMP"},
	} {
		if err := strippers[c.kind](io.Discard, strings.NewReader(c.raw)); !errors.Is(err, ErrDamagedPicture) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

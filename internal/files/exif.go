package files

import (
	"bytes"
	"encoding/binary"
	"image"
	"io"
)

// tagOrientation of IFD0 (TIFF 6.0, "Orientation"; Exif 2.32, 4.6.4): 1 to 8, how the
// picture must be turned to stand upright.
const tagOrientation = 0x0112

// orientation reads it from a TIFF structure; 1 (upright) where it is absent or broken.
func orientation(tiff []byte) int {
	if len(tiff) < 8 {
		return 1
	}
	var order binary.ByteOrder
	switch string(tiff[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return 1
	}
	at := int64(order.Uint32(tiff[4:]))
	if at+2 > int64(len(tiff)) {
		return 1
	}
	n := int(order.Uint16(tiff[at:]))
	for rest := tiff[at+2:]; n > 0 && len(rest) >= 12; n, rest = n-1, rest[12:] {
		if order.Uint16(rest) != tagOrientation {
			continue
		}
		if o := int(order.Uint16(rest[8:])); order.Uint16(rest[2:]) == 3 && o >= 1 && o <= 8 {
			return o
		}
		return 1
	}
	return 1
}

// orientationTIFF is a TIFF structure that holds an orientation and nothing else.
func orientationTIFF(o int) []byte {
	b := []byte("MM\x00*\x00\x00\x00\x08\x00\x01")
	b = binary.BigEndian.AppendUint16(b, tagOrientation)
	b = append(b, 0, 3, 0, 0, 0, 1, 0, byte(o), 0, 0)
	return append(b, 0, 0, 0, 0) // no further IFD
}

// orientationOf finds the orientation of a JPEG or PNG, or of a WebP (RIFF chunk EXIF).
func orientationOf(kind string, r io.ReaderAt) int {
	in := io.NewSectionReader(r, 0, 1<<62)
	var head [12]byte
	switch kind {
	case "image/jpeg":
		at := int64(2)
		for range 64 { // segments before the picture
			if _, err := in.ReadAt(head[:4], at); err != nil || head[0] != 0xFF || head[1] == mSOS {
				return 1
			}
			size := int64(binary.BigEndian.Uint16(head[2:]))
			if head[1] == mAPP1 && size >= 8 {
				seg := make([]byte, size-2)
				if _, err := in.ReadAt(seg, at+4); err != nil {
					return 1
				}
				if tiff, ok := bytes.CutPrefix(seg, exifHeader); ok {
					return orientation(tiff)
				}
			}
			at += 2 + size
		}
	case "image/png", "image/vnd.mozilla.apng":
		return chunkOrientation(in, 8, "eXIf", true)
	case "image/webp":
		return chunkOrientation(in, 12, "EXIF", false)
	}
	return 1
}

// chunkOrientation walks PNG or RIFF chunks for the one that holds Exif data.
func chunkOrientation(in io.ReaderAt, at int64, want string, png bool) int {
	var head [8]byte
	for range 4096 {
		if _, err := in.ReadAt(head[:], at); err != nil {
			return 1
		}
		name, size, next := string(head[:4]), int64(binary.LittleEndian.Uint32(head[4:])), int64(0)
		if png {
			name, size = string(head[4:]), int64(binary.BigEndian.Uint32(head[:4]))
			next = size + 4 // CRC
		} else {
			next = size + size&1 // padding
		}
		if name == want {
			if size > 1<<20 {
				return 1
			}
			tiff := make([]byte, size)
			if _, err := in.ReadAt(tiff, at+8); err != nil {
				return 1
			}
			return orientation(bytes.TrimPrefix(tiff, exifHeader))
		}
		at += 8 + next
	}
	return 1
}

// upright turns a picture as its orientation asks.
func upright(m *image.RGBA, o int) *image.RGBA {
	if o <= 1 {
		return m
	}
	w, h := m.Bounds().Dx(), m.Bounds().Dy()
	to := image.Rect(0, 0, w, h)
	if o >= 5 {
		to = image.Rect(0, 0, h, w)
	}
	out := image.NewRGBA(to)
	for y := range h {
		for x := range w {
			var tx, ty int
			switch o {
			case 2: // mirrored
				tx, ty = w-1-x, y
			case 3: // upside down
				tx, ty = w-1-x, h-1-y
			case 4: // upside down, mirrored
				tx, ty = x, h-1-y
			case 5: // on its side, mirrored
				tx, ty = y, x
			case 6: // turn it clockwise
				tx, ty = h-1-y, x
			case 7:
				tx, ty = h-1-y, w-1-x
			case 8: // turn it anticlockwise
				tx, ty = y, w-1-x
			}
			out.SetRGBA(tx, ty, m.RGBAAt(x, y))
		}
	}
	return out
}

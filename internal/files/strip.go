package files

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// strippers remove from a picture what tells where, when and with what it was taken. They
// copy the parts that draw it as they are, without decoding. Orientation stays. What
// follows the end of the picture (a film, a second picture) goes.
var strippers = map[string]func(w io.Writer, r io.ReadSeeker) error{
	"image/jpeg":             stripJPEG,
	"image/png":              stripPNG,
	"image/vnd.mozilla.apng": stripPNG,
	"image/gif":              stripGIF,
	"image/webp":             stripWebP,
	"image/heic":             stripHEIF,
	"image/heic-sequence":    stripHEIF,
	"image/heif":             stripHEIF,
	"image/heif-sequence":    stripHEIF,
	"image/avif":             stripHEIF,
}

// bare are kinds of pictures that no camera writes, and that have no place for what it knows.
var bare = map[string]bool{"image/bmp": true, "image/x-icon": true, "image/svg+xml": true}

// stripper returns what cleans the kind; nil: nothing need be. ErrUncleanable: it may hold where and
// when it was taken (TIFF and the raw formats made of it, JPEG XL, JPEG 2000, Photoshop's), and that
// cannot be removed.
func stripper(kind string) (func(w io.Writer, r io.ReadSeeker) error, error) {
	strip := strippers[kind]
	if strip == nil && strings.HasPrefix(kind, "image/") && !bare[kind] {
		return nil, fmt.Errorf("%w (%s)", ErrUncleanable, kind)
	}
	return strip, nil
}

// Clean returns a picture without what tells where, when and with what it was taken, where
// its type is one of those that can be cleaned, and the type that its content has.
// ErrDamagedPicture.
func Clean(data []byte) (clean []byte, mediaType string, err error) {
	if mediaType, err = sniff(bytes.NewReader(data)); err != nil {
		return nil, "", err
	}
	strip, err := stripper(mediaType)
	if strip == nil || err != nil {
		return data, mediaType, err
	}
	var b bytes.Buffer
	if err := strip(&b, bytes.NewReader(data)); err != nil {
		return nil, mediaType, err
	}
	return b.Bytes(), mediaType, nil
}

// JPEG markers (ITU-T T.81 table B.1).
const (
	mSOI  = 0xD8
	mEOI  = 0xD9
	mSOS  = 0xDA
	mRST0 = 0xD0
	mRST7 = 0xD7
	mTEM  = 0x01
	mAPP0 = 0xE0
	mAPP1 = 0xE1
	mAPP2 = 0xE2
	mAPPE = 0xEE
	mAPPF = 0xEF
	mCOM  = 0xFE
)

var (
	exifHeader = []byte("Exif\x00\x00")
	jfifHeader = []byte("JFIF\x00")
	iccHeader  = []byte("ICC_PROFILE\x00")
	adobe      = []byte("Adobe")
)

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrDamagedPicture}, args...)...)
}

// noEOF makes the end of the input, where there should be more, damage.
func noEOF(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return damaged("it ends too early")
	}
	return err
}

// stripJPEG copies a JPEG without APPn segments other than JFIF, the colour profile and
// Adobe's colour transform, and without comments; of an Exif segment it leaves the
// orientation.
func stripJPEG(w io.Writer, r io.ReadSeeker) error {
	in, out := bufio.NewReaderSize(r, 64<<10), bufio.NewWriterSize(w, 64<<10)
	var soi [2]byte
	if _, err := io.ReadFull(in, soi[:]); err != nil {
		return noEOF(err)
	}
	if soi != [2]byte{0xFF, mSOI} {
		return damaged("no start of image")
	}
	out.Write(soi[:])
	oriented := false
	marker, err := nextMarker(in)
	for err == nil && marker != mEOI {
		if marker == mTEM || marker >= mRST0 && marker <= mRST7 {
			out.Write([]byte{0xFF, marker})
			marker, err = nextMarker(in)
			continue
		}
		var seg []byte
		if seg, err = segment(in); err != nil {
			break
		}
		if marker == mAPP1 && bytes.HasPrefix(seg, exifHeader) && !oriented {
			if o := orientation(seg[len(exifHeader):]); o > 1 {
				oriented = true
				writeSegment(out, mAPP1, append(bytes.Clone(exifHeader), orientationTIFF(o)...))
			}
		}
		if keepSegment(marker, seg) {
			writeSegment(out, marker, seg)
		}
		if marker != mSOS {
			marker, err = nextMarker(in)
		} else if marker, err = copyScan(out, in); err == io.EOF {
			marker, err = mEOI, nil // cut short; what there is can be drawn
		}
	}
	if err != nil {
		return noEOF(err)
	}
	out.Write([]byte{0xFF, mEOI})
	return out.Flush()
}

func keepSegment(marker byte, seg []byte) bool {
	switch {
	case marker == mAPP0:
		return bytes.HasPrefix(seg, jfifHeader)
	case marker == mAPP2:
		return bytes.HasPrefix(seg, iccHeader)
	case marker == mAPPE:
		return bytes.HasPrefix(seg, adobe)
	}
	return marker != mCOM && (marker < mAPP0 || marker > mAPPF)
}

// nextMarker reads 0xFF, fill bytes and a marker.
func nextMarker(in *bufio.Reader) (byte, error) {
	b, err := in.ReadByte()
	if err != nil {
		return 0, err
	}
	if b != 0xFF {
		return 0, damaged("no marker where one should be")
	}
	for b == 0xFF {
		if b, err = in.ReadByte(); err != nil {
			return 0, err
		}
	}
	if b == 0 {
		return 0, damaged("no marker where one should be")
	}
	return b, nil
}

func segment(in *bufio.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return nil, noEOF(err)
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n < 2 {
		return nil, damaged("a segment of length %d", n)
	}
	seg := make([]byte, n-2)
	_, err := io.ReadFull(in, seg)
	return seg, noEOF(err)
}

func writeSegment(out *bufio.Writer, marker byte, seg []byte) {
	n := len(seg) + 2
	out.Write([]byte{0xFF, marker, byte(n >> 8), byte(n)})
	out.Write(seg)
}

// copyScan copies entropy-coded data up to the next marker, which it returns. In such
// data 0xFF is followed by zero, or by a restart marker.
func copyScan(out *bufio.Writer, in *bufio.Reader) (marker byte, err error) {
	for {
		chunk, err := in.ReadSlice(0xFF)
		if err != nil {
			out.Write(chunk)
			if err == bufio.ErrBufferFull {
				continue
			}
			return 0, err
		}
		out.Write(chunk[:len(chunk)-1])
		b := byte(0xFF)
		for b == 0xFF { // fill bytes
			if b, err = in.ReadByte(); err != nil {
				return 0, err
			}
		}
		if b != 0 && (b < mRST0 || b > mRST7) {
			return b, nil
		}
		if _, err := out.Write([]byte{0xFF, b}); err != nil {
			return 0, err
		}
	}
}

var pngSignature = []byte("\x89PNG\r\n\x1a\n")

// pngKept are the chunks that draw the picture (PNG, third edition, 11).
var pngKept = map[string]bool{
	"IHDR": true, "PLTE": true, "IDAT": true, "IEND": true,
	"tRNS": true, "cHRM": true, "gAMA": true, "iCCP": true, "sBIT": true, "sRGB": true, "cICP": true,
	"mDCV": true, "cLLI": true, "bKGD": true, "hIST": true, "pHYs": true, "sPLT": true,
	"acTL": true, "fcTL": true, "fdAT": true,
}

// stripPNG copies a PNG without text, time, Exif and unknown chunks; of an Exif chunk it
// leaves the orientation.
func stripPNG(w io.Writer, r io.ReadSeeker) error {
	in, out := bufio.NewReaderSize(r, 64<<10), bufio.NewWriterSize(w, 64<<10)
	var head [8]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return noEOF(err)
	}
	if !bytes.Equal(head[:], pngSignature) {
		return damaged("no PNG signature")
	}
	out.Write(head[:])
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return noEOF(err)
		}
		size, kind := int64(binary.BigEndian.Uint32(head[:4])), string(head[4:])
		if size > 1<<31-1 {
			return damaged("a chunk of %d bytes", size)
		}
		switch {
		case pngKept[kind]:
			out.Write(head[:])
			if _, err := io.CopyN(out, in, size+4); err != nil {
				return noEOF(err)
			}
		case kind == "eXIf" && size <= 1<<20:
			exif := make([]byte, size+4)
			if _, err := io.ReadFull(in, exif); err != nil {
				return noEOF(err)
			}
			if o := orientation(exif[:size]); o > 1 {
				writeChunk(out, "eXIf", orientationTIFF(o))
			}
		default:
			if _, err := io.CopyN(io.Discard, in, size+4); err != nil {
				return noEOF(err)
			}
		}
		if kind == "IEND" {
			return out.Flush()
		}
	}
}

func writeChunk(out io.Writer, kind string, data []byte) {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	b = append(append(b, kind...), data...)
	out.Write(binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:])))
}

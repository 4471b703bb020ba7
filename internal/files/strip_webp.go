package files

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
)

// webpKept are the chunks that draw the picture (RFC 9649 2.7); of ANMF, a frame, the chunks
// in it.
var webpKept = map[string]bool{"VP8X": true, "VP8 ": true, "VP8L": true, "ALPH": true, "ANIM": true, "ANMF": true, "ICCP": true}

// The bits of VP8X that say that there is Exif data, and XMP.
const webpEXIF, webpXMP = 0x08, 0x04

// webpFrame is how much of an ANMF stands before the chunks in it; webpChunks the most chunks
// that a file may have.
const (
	webpFrame  = 16
	webpChunks = 1 << 17
)

// riffChunk is a chunk of the input: a part of it is copied, or other data written instead.
type riffChunk struct {
	kind string
	at   int64 // of the data
	size int64
	data []byte      // instead
	in   []riffChunk // of a frame
}

// length of the chunk as it is written, with its head and padding.
func (c riffChunk) length() int64 { return 8 + c.body() + c.body()&1 }

func (c riffChunk) body() int64 {
	n := c.size
	if c.data != nil {
		n = int64(len(c.data))
	}
	if c.kind == "ANMF" {
		n = webpFrame
		for _, in := range c.in {
			n += in.length()
		}
	}
	return n
}

// stripWebP copies a WebP without XMP and unknown chunks; of Exif data it leaves the orientation.
func stripWebP(w io.Writer, r io.ReadSeeker) error {
	var head [12]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return noEOF(err)
	}
	if string(head[:4]) != "RIFF" || string(head[8:]) != "WEBP" {
		return damaged("no WebP signature")
	}
	left := webpChunks
	chunks, err := riffChunks(r, 12, 8+int64(binary.LittleEndian.Uint32(head[4:])), &left)
	if err != nil {
		return noEOF(err)
	}
	total := int64(4)
	for _, c := range chunks {
		total += c.length()
	}
	if total >= 1<<32 {
		return damaged("it is too long")
	}
	binary.LittleEndian.PutUint32(head[4:], uint32(total))
	out := bufio.NewWriterSize(w, 64<<10)
	out.Write(head[:])
	for _, c := range chunks {
		if err := c.write(out, r); err != nil {
			return noEOF(err)
		}
	}
	return out.Flush()
}

// riffChunks reads the heads of the chunks from at to end, of those that are kept; left is how many
// there may be.
func riffChunks(r io.ReadSeeker, at, end int64, left *int) (kept []riffChunk, err error) {
	oriented := -1
	for at+8 <= end {
		var head [8]byte
		if _, err := r.Seek(at, io.SeekStart); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, err
		}
		c := riffChunk{kind: string(head[:4]), at: at + 8, size: int64(binary.LittleEndian.Uint32(head[4:]))}
		if *left--; *left < 0 || c.at+c.size > end {
			return nil, damaged("a chunk that does not fit")
		}
		at = c.at + c.size + c.size&1
		switch {
		case c.kind == "ANMF" && c.size >= webpFrame:
			if c.in, err = riffChunks(r, c.at+webpFrame, c.at+c.size, left); err != nil {
				return nil, err
			}
		case c.kind == "EXIF" && c.size <= 1<<20 && oriented < 0:
			exif := make([]byte, c.size)
			if _, err := io.ReadFull(r, exif); err != nil {
				return nil, err
			}
			o := orientation(bytes.TrimPrefix(exif, exifHeader))
			if o <= 1 {
				continue
			}
			oriented, c.data = len(kept), orientationTIFF(o)
		case !webpKept[c.kind] || c.kind == "ANMF":
			continue
		case c.kind == "VP8X":
			if c.size != 10 {
				return nil, damaged("a head of %d bytes", c.size)
			}
			c.data = make([]byte, c.size)
			if _, err := io.ReadFull(r, c.data); err != nil {
				return nil, err
			}
			c.data[0] &^= webpEXIF | webpXMP
		}
		kept = append(kept, c)
	}
	if oriented >= 0 && kept[0].kind == "VP8X" && kept[0].data != nil {
		kept[0].data[0] |= webpEXIF
	}
	return kept, nil
}

func (c riffChunk) write(out *bufio.Writer, r io.ReadSeeker) error {
	out.WriteString(c.kind)
	out.Write(binary.LittleEndian.AppendUint32(nil, uint32(c.body())))
	n := c.size
	if c.kind == "ANMF" {
		n = webpFrame
	}
	if c.data != nil {
		out.Write(c.data)
	} else {
		if _, err := r.Seek(c.at, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyN(out, r, n); err != nil {
			return err
		}
	}
	for _, in := range c.in {
		if err := in.write(out, r); err != nil {
			return err
		}
	}
	if c.body()&1 == 1 {
		return out.WriteByte(0)
	}
	return nil
}

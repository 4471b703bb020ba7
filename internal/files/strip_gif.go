package files

import (
	"bufio"
	"io"
)

// The blocks of a GIF (GIF89a, 17 to 27).
const (
	gifExtension   = 0x21
	gifImage       = 0x2C
	gifTrailer     = 0x3B
	gifControl     = 0xF9 // of the next image: its delay, what is transparent
	gifApplication = 0xFF
)

// gifKept are the application extensions that say how often it repeats.
var gifKept = map[string]bool{"NETSCAPE2.0": true, "ANIMEXTS1.0": true}

// stripGIF copies a GIF without comments, texts, and the data of applications, such as XMP.
func stripGIF(w io.Writer, r io.ReadSeeker) error {
	g := gifCopy{in: bufio.NewReaderSize(r, 64<<10), out: bufio.NewWriterSize(w, 64<<10)}
	if err := g.strip(); err != nil {
		return noEOF(err)
	}
	return g.out.Flush()
}

type gifCopy struct {
	in  *bufio.Reader
	out *bufio.Writer
}

func (g gifCopy) strip() error {
	screen, err := g.copy(13)
	if err != nil {
		return err
	}
	if s := string(screen[:6]); s != "GIF87a" && s != "GIF89a" {
		return damaged("no GIF signature")
	}
	if err := g.palette(screen[10]); err != nil {
		return err
	}
	for {
		block, err := g.in.ReadByte()
		if err == io.EOF {
			block, err = gifTrailer, nil // cut short; what there is can be drawn
		}
		if err == nil {
			switch block {
			case gifTrailer:
				return g.out.WriteByte(block)
			case gifImage:
				g.out.WriteByte(block)
				err = g.image()
			case gifExtension:
				err = g.extension()
			default:
				err = damaged("no block where one should be")
			}
		}
		if err != nil {
			return err
		}
	}
}

// copy copies n bytes, and returns them.
func (g gifCopy) copy(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(g.in, b); err != nil {
		return b, err
	}
	_, err := g.out.Write(b)
	return b, err
}

// palette copies the colours that the flags of a screen or an image announce.
func (g gifCopy) palette(flags byte) error {
	if flags&0x80 == 0 {
		return nil
	}
	_, err := g.copy(3 << (flags&7 + 1))
	return err
}

func (g gifCopy) image() error {
	d, err := g.copy(9)
	if err != nil {
		return err
	}
	if err := g.palette(d[8]); err != nil {
		return err
	}
	if _, err := g.copy(1); err != nil { // the size of codes
		return err
	}
	return g.blocks(true)
}

// blocks reads sub-blocks to the empty one, and copies them if they are kept.
func (g gifCopy) blocks(keep bool) error {
	var b [256]byte
	for {
		n, err := g.in.ReadByte()
		if err != nil {
			return err
		}
		b[0] = n
		if _, err := io.ReadFull(g.in, b[1:1+int(n)]); err != nil {
			return err
		}
		if keep {
			if _, err := g.out.Write(b[:1+int(n)]); err != nil {
				return err
			}
		}
		if n == 0 {
			return nil
		}
	}
}

func (g gifCopy) extension() error {
	label, err := g.in.ReadByte()
	if err != nil {
		return err
	}
	keep := label == gifControl
	if label == gifApplication {
		name, err := g.in.Peek(12)
		if err != nil {
			return err
		}
		keep = name[0] == 11 && gifKept[string(name[1:])]
	}
	if keep {
		g.out.Write([]byte{gifExtension, label})
	}
	return g.blocks(keep)
}

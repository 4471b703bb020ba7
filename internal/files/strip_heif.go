package files

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"io"
	"slices"
)

// A HEIF picture (HEIC, AVIF; ISO/IEC 23008-12) is made of boxes (ISO/IEC 14496-12). The pixels
// are found by their place in the file, so nothing is taken out: what tells of the picture,
// and does not draw it, is overwritten with zeros. Its orientation is a property of the
// picture, and stays.

// The most bytes of a list of items or of places, and the most boxes, items and places.
const (
	heifMeta  = 16 << 20
	heifParts = 1 << 14
)

// span is a part of a file.
type span struct{ from, to int64 }

// box is one, by its place: from its head to its end, and where its contents begin.
type box struct {
	kind     string
	body, to int64
}

// heif looks for what is to be overwritten.
type heif struct {
	r     io.ReadSeeker
	left  int // parts that there may still be
	blank []span
	items []span // that are to be overwritten, too
	data  []span // where items may be
}

// stripHEIF copies a HEIF picture with zeros in place of Exif, XMP, times, and unknown boxes.
func stripHEIF(w io.Writer, r io.ReadSeeker) error {
	size, err := r.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	h := &heif{r: r, left: heifParts}
	first := true
	err = h.each(span{0, size}, func(b box) error {
		if first != (b.kind == "ftyp") {
			return damaged("it does not begin with its type")
		}
		first = false
		switch b.kind {
		case "ftyp":
			return nil
		case "mdat":
			h.data = append(h.data, span{b.body, b.to})
			return nil
		case "meta":
			return h.meta(b)
		case "moov":
			return h.moov(b)
		}
		h.erase(b)
		return nil
	})
	if err == nil && first {
		err = damaged("it is empty")
	}
	for _, i := range h.items {
		if !slices.ContainsFunc(h.data, func(d span) bool { return d.from <= i.from && i.to <= d.to }) && err == nil {
			err = damaged("metadata that is not among the data")
		}
	}
	if err == nil {
		err = h.copy(w, size)
	}
	return noEOF(err)
}

// each calls f with the boxes in a part of the file.
func (h *heif) each(in span, f func(box) error) error {
	for at := in.from; at < in.to; {
		if err := h.part(); err != nil {
			return err
		}
		head, err := h.read(at, min(16, in.to-at))
		if err != nil {
			return err
		}
		if len(head) < 8 {
			return damaged("a box without a head")
		}
		b := box{kind: string(head[4:8]), body: at + 8}
		switch size := int64(binary.BigEndian.Uint32(head)); {
		case size == 0:
			b.to = in.to
		case size == 1 && len(head) == 16:
			b.body, b.to = at+16, at+int64(binary.BigEndian.Uint64(head[8:])&(1<<62-1))
		default:
			b.to = at + size
		}
		if b.to < b.body || b.to > in.to {
			return damaged("a box that does not fit")
		}
		if err := f(b); err != nil {
			return err
		}
		at = b.to
	}
	return nil
}

// part counts a part.
func (h *heif) part() error {
	if h.left--; h.left < 0 {
		return damaged("more than %d parts", heifParts)
	}
	return nil
}

func (h *heif) read(at, n int64) ([]byte, error) {
	if n > heifMeta {
		return nil, damaged("a box of %d bytes", n)
	}
	if _, err := h.r.Seek(at, io.SeekStart); err != nil {
		return nil, err
	}
	b := make([]byte, n)
	_, err := io.ReadFull(h.r, b)
	return b, err
}

func (h *heif) erase(b box) { h.blank = append(h.blank, span{b.body, b.to}) }

// heifKept are the boxes of a meta box that draw the picture.
var heifKept = map[string]bool{"hdlr": true, "dinf": true, "pitm": true, "iprp": true, "iref": true, "grpl": true, "ipro": true, "idat": true, "iinf": true, "iloc": true}

// meta finds the items that are Exif data or texts, such as XMP.
func (h *heif) meta(m box) error {
	var info, places []byte
	var data box
	err := h.each(span{m.body + 4, m.to}, func(b box) (err error) {
		switch {
		case !heifKept[b.kind]:
			h.erase(b)
		case b.kind == "iinf":
			info, err = h.read(b.body, b.to-b.body)
		case b.kind == "iloc":
			places, err = h.read(b.body, b.to-b.body)
		case b.kind == "idat":
			data = b
			h.data = append(h.data, span{b.body, b.to})
		}
		return err
	})
	if err != nil || info == nil || places == nil {
		return err
	}
	telling, err := heifItems(info)
	if err != nil {
		return err
	}
	return h.find(places, data, telling)
}

// heifItems returns the ids of the items of an iinf box that tell of the picture.
func heifItems(info []byte) (telling []uint64, err error) {
	f := fields{b: info}
	version := f.uint(1)
	f.uint(3)
	n := f.uint(2)
	if version > 0 {
		n = n<<16 | f.uint(2)
	}
	for range n {
		start := f.at
		size := f.uint(4)
		f.uint(4) // infe
		version := f.uint(1)
		f.uint(3)
		if f.short || size < 12 || version != 2 && version != 3 {
			return nil, damaged("an item that is not understood")
		}
		id := f.uint(2)
		if version == 3 {
			id = id<<16 | f.uint(2)
		}
		f.uint(2) // protection
		switch kind := f.uint(4); {
		case f.short:
			return nil, damaged("items that end too early")
		case kind == fourCC("Exif"), kind == fourCC("mime"), kind == fourCC("uri "):
			telling = append(telling, id)
		}
		f.at = start + int(size)
	}
	return telling, nil
}

func fourCC(s string) uint64 { return uint64(binary.BigEndian.Uint32([]byte(s))) }

// find finds the items among those that an iloc box places; data is the idat box.
func (h *heif) find(places []byte, data box, telling []uint64) error {
	f := fields{b: places}
	version := f.uint(1)
	f.uint(3)
	sizes := f.uint(2)
	offset, length, base, index := int(sizes>>12), int(sizes>>8&15), int(sizes>>4&15), int(sizes&15)
	wide := 2
	if version == 2 {
		wide = 4
	}
	if version > 2 || max(offset, length, base, index) > 8 {
		return damaged("places that are not understood")
	}
	for range f.uint(wide) {
		id, method := f.uint(wide), uint64(0)
		if version > 0 {
			method = f.uint(2) & 15
		}
		if err := h.part(); err != nil || f.short {
			return cmp.Or(err, damaged("places that end too early"))
		}
		elsewhere := f.uint(2) != 0
		from := f.uint(base)
		for range f.uint(2) {
			if version > 0 {
				f.uint(index)
			}
			at, n := from+f.uint(offset), f.uint(length)
			if err := h.part(); err != nil {
				return err
			}
			if elsewhere || !slices.Contains(telling, id) {
				continue
			}
			if method == 1 {
				at += uint64(data.body)
			}
			if method > 1 || n == 0 || at >= 1<<62 || n >= 1<<62 {
				return damaged("the place of its metadata is not understood")
			}
			h.items = append(h.items, span{int64(at), int64(at + n)})
		}
	}
	if f.short {
		return damaged("places that end too early")
	}
	return nil
}

// moov erases what tells of a sequence and its tracks, and when they were made.
func (h *heif) moov(m box) error {
	return h.each(span{m.body, m.to}, func(b box) error {
		switch b.kind {
		case "trak", "mdia":
			return h.moov(b)
		case "udta", "meta", "uuid", "free", "skip":
			h.erase(b)
		case "mvhd", "tkhd", "mdhd": // a version, flags, and two times
			version, err := h.read(b.body, 1)
			if err != nil {
				return err
			}
			h.blank = append(h.blank, span{b.body + 4, min(b.to, b.body+12+8*int64(version[0]&1))})
		}
		return nil
	})
}

// copy writes the file with zeros where it is blank.
func (h *heif) copy(w io.Writer, size int64) error {
	blank := append(h.blank, h.items...)
	slices.SortFunc(blank, func(a, b span) int { return int(min(max(a.from-b.from, -1), 1)) })
	if _, err := h.r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	in, out := bufio.NewReaderSize(h.r, 64<<10), bufio.NewWriterSize(w, 64<<10)
	at := int64(0)
	for _, s := range append(blank, span{size, size}) {
		from, to := max(min(s.from, size), at), min(s.to, size)
		if _, err := io.CopyN(out, in, from-at); err != nil {
			return err
		}
		if at = from; to <= from {
			continue
		}
		if _, err := io.CopyN(io.Discard, in, to-from); err != nil {
			return err
		}
		if _, err := io.CopyN(out, zeros{}, to-from); err != nil {
			return err
		}
		at = to
	}
	return out.Flush()
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// fields reads numbers, one after the other.
type fields struct {
	b     []byte
	at    int
	short bool // there was not enough
}

// uint reads a number of n bytes, at most 8.
func (f *fields) uint(n int) (v uint64) {
	if f.at+n > len(f.b) || f.at < 0 {
		f.short = true
		return 0
	}
	for _, b := range f.b[f.at : f.at+n] {
		v = v<<8 | uint64(b)
	}
	f.at += n
	return v
}

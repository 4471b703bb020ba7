package files

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"

	"golang.org/x/image/draw"
	"golang.org/x/image/webp"
)

// previewSide is the longer side of a preview, at most, in pixels.
const previewSide = 320

// maxSide of a picture that is decoded, in pixels; scaling takes memory by the side too.
const maxSide = 1<<16 - 1

// errPixels: decoding the picture would take too much memory.
var errPixels = errors.New("files: picture has too many pixels for a preview")

// pictures are the media types that previews are made of.
var pictures = map[string]bool{
	"image/jpeg": true, "image/png": true, "image/vnd.mozilla.apng": true, "image/gif": true, "image/webp": true,
}

// picture is what a look at a picture has given.
type picture struct {
	// width and height as it is shown.
	width, height int
	// preview is the media type of the small picture; empty: there is none.
	preview string
}

// preview makes the small picture. Its header is read first: a picture of more pixels
// than the limit is measured but never decoded.
func preview(kind string, c io.ReaderAt, pixels int64) (p picture, small []byte, err error) {
	// The decoders are fed by strangers.
	defer func() {
		if v := recover(); v != nil {
			small, p.preview, err = nil, "", fmt.Errorf("files: the picture's decoder panicked: %v", v)
		}
	}()
	read := func() io.Reader { return io.NewSectionReader(c, 0, 1<<62) }
	head, err := decodeConfig(kind, read())
	if err != nil {
		return p, nil, fmt.Errorf("files: picture: %w", err)
	}
	if head.Width <= 0 || head.Height <= 0 {
		return p, nil, errors.New("files: picture is empty")
	}
	o := orientationOf(kind, c)
	p.width, p.height = head.Width, head.Height
	if o >= 5 {
		p.width, p.height = p.height, p.width
	}
	if int64(head.Width) > pixels/int64(head.Height) || max(head.Width, head.Height) > maxSide {
		return p, nil, errPixels
	}
	m, err := decode(kind, read())
	if err != nil {
		return p, nil, fmt.Errorf("files: picture: %w", err)
	}
	w, h := fit(m.Bounds().Dx(), m.Bounds().Dy()) // a GIF's first frame may be smaller than its screen
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.BiLinear.Scale(out, out.Bounds(), m, m.Bounds(), draw.Src, nil)
	out = upright(out, o)
	var b bytes.Buffer
	if out.Opaque() {
		p.preview = "image/jpeg"
		err = jpeg.Encode(&b, out, &jpeg.Options{Quality: 80})
	} else {
		p.preview = "image/png"
		err = png.Encode(&b, out)
	}
	if err != nil {
		p.preview = ""
		return p, nil, fmt.Errorf("files: preview: %w", err)
	}
	return p, b.Bytes(), nil
}

// fit returns the measures of the preview.
func fit(w, h int) (int, int) {
	long := max(w, h)
	if long <= previewSide {
		return w, h
	}
	return max(1, w*previewSide/long), max(1, h*previewSide/long)
}

func decodeConfig(kind string, r io.Reader) (image.Config, error) {
	switch kind {
	case "image/jpeg":
		return jpeg.DecodeConfig(r)
	case "image/gif":
		return gif.DecodeConfig(r)
	case "image/webp":
		return webp.DecodeConfig(r)
	}
	return png.DecodeConfig(r)
}

func decode(kind string, r io.Reader) (image.Image, error) {
	switch kind {
	case "image/jpeg":
		return jpeg.Decode(r)
	case "image/gif":
		return gif.Decode(r) // the first frame
	case "image/webp":
		return webp.Decode(r)
	}
	return png.Decode(r)
}

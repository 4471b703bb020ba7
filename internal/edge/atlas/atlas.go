package atlas

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"

	"github.com/tandem-call/tandem/internal/edge/fetch"
)

// Config of an Atlas. Its zero value has the outline only.
type Config struct {
	// Tiles is the pattern of the operator's raster tiles in web Mercator, 256 pixels each,
	// PNG or JPEG, with {z}, {x} and {y}; empty: none.
	Tiles string
	// File is a PMTiles archive (version 3) that is served to the page; empty: none.
	File string
	// Attribution of Tiles or File, shown on each map; needed with either.
	Attribution string
	// Fetcher of tiles; needed with Tiles.
	Fetcher *fetch.Fetcher
	// Log; nil means no log.
	Log *slog.Logger
}

// Limits of an Atlas.
const (
	// Pictures that are remembered; each is some ten kilobytes, or some hundred with tiles.
	keptPictures = 256
	// Tiles that are remembered.
	keptTiles = 256
	// maxTile is the most bytes of a tile.
	maxTile = 1 << 20
	// drawing is how many pictures are drawn at once.
	drawing = 4
)

// Atlas draws and serves maps. Make it with [New]. Its methods may be called from several
// goroutines.
type Atlas struct {
	cfg      Config
	outline  outline
	face     sync.Mutex // of font, which is for one goroutine at a time
	font     font.Face
	turns    chan struct{} // of drawing
	pictures *lru.Cache[view, []byte]
	tiles    *lru.Cache[tile, []byte]
}

// New makes an atlas. It fails for a pattern or file that cannot be used.
func New(cfg Config) (*Atlas, error) {
	if (cfg.Tiles != "" || cfg.File != "") && cfg.Attribution == "" {
		return nil, errors.New("atlas: maps of others need their attribution")
	}
	if cfg.Tiles != "" {
		if _, err := Origin(cfg.Tiles); err != nil {
			return nil, err
		}
		if cfg.Fetcher == nil {
			return nil, errors.New("atlas: tiles need a fetcher")
		}
	}
	if cfg.File != "" {
		if err := readable(cfg.File); err != nil {
			return nil, fmt.Errorf("atlas: file of tiles: %w", err)
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	a := &Atlas{cfg: cfg, turns: make(chan struct{}, drawing)}
	var err error
	if a.outline, err = readOutline(outlineJSON); err != nil {
		return nil, err
	}
	f, err := opentype.Parse(goregular.TTF)
	if err != nil {
		return nil, fmt.Errorf("atlas: font: %w", err)
	}
	if a.font, err = opentype.NewFace(f, &opentype.FaceOptions{Size: 12, DPI: 72, Hinting: font.HintingFull}); err != nil {
		return nil, fmt.Errorf("atlas: font: %w", err)
	}
	if a.pictures, err = lru.New[view, []byte](keptPictures); err != nil {
		return nil, fmt.Errorf("atlas: %w", err)
	}
	if a.tiles, err = lru.New[tile, []byte](keptTiles); err != nil {
		return nil, fmt.Errorf("atlas: %w", err)
	}
	return a, nil
}

// Origin of a pattern of tiles, for the page's content security policy.
func Origin(pattern string) (string, error) {
	u, err := url.Parse(strings.NewReplacer("{z}", "0", "{x}", "0", "{y}", "0").Replace(pattern))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return "", errors.New("atlas: tiles are at an address that begins with https://")
	}
	for _, part := range []string{"{z}", "{x}", "{y}"} {
		if !strings.Contains(pattern, part) {
			return "", fmt.Errorf("atlas: the address of tiles has %s in it", part)
		}
	}
	return u.Scheme + "://" + u.Host, nil
}

// readable insists on the beginning of a PMTiles archive of version 3.
func readable(name string) error {
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		return err
	}
	defer f.Close() // nothing was written
	var head [127]byte
	if _, err := io.ReadFull(f, head[:]); err != nil || string(head[:8]) != "PMTiles\x03" {
		return errors.New("it is no PMTiles archive of version 3")
	}
	const vector = 1 // at byte 99 stands the type of tile
	if head[99] == vector {
		return errors.New("its tiles are vectors; the pages show tiles of pixels (PNG, JPEG, WebP, AVIF)")
	}
	return nil
}

// zippedOutline is outlineJSON, compressed when it is first asked for.
var zippedOutline = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(outlineJSON) // into memory
	_ = z.Close()
	return b.Bytes()
})

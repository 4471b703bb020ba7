package atlas

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/draw"
	_ "image/jpeg" // a format of tiles
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/internal/edge/fetch"
)

// tileSize in pixels.
const tileSize = 256

// tileWait is how long a picture waits for all its tiles.
const tileWait = 5 * time.Second

// errTile: what came is no tile.
var errTile = errors.New("atlas: a tile is a PNG or JPEG of 256 by 256 pixels")

type tile struct{ z, x, y int }

// drawTiles draws the operator's tiles, and reports whether all of them came.
func (a *Atlas) drawTiles(ctx context.Context, img *image.RGBA, v view) bool {
	ctx, cancel := context.WithTimeout(ctx, tileWait)
	defer cancel()
	left, top := v.x-Width/2, v.y-Height/2
	world := 1 << v.zoom
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for ty := floor(top, tileSize); ty*tileSize < top+Height; ty++ {
		if ty < 0 || ty >= world {
			continue // beyond the poles
		}
		for tx := floor(left, tileSize); tx*tileSize < left+Width; tx++ {
			group.Go(func() error {
				got, err := a.tile(ctx, tile{v.zoom, ((tx % world) + world) % world, ty})
				if err != nil {
					return err
				}
				// Each draws where no other does.
				at := image.Rect(tx*tileSize-left, ty*tileSize-top, (tx+1)*tileSize-left, (ty+1)*tileSize-top)
				draw.Draw(img, at, got, got.Bounds().Min, draw.Src)
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		a.cfg.Log.Warn("tiles of the map did not come; a picture has the outline instead", "err", err)
		return false
	}
	return true
}

func floor(x, by int) int { return int(math.Floor(float64(x) / float64(by))) }

// tile gets one tile.
func (a *Atlas) tile(ctx context.Context, t tile) (image.Image, error) {
	data, ok := a.tiles.Get(t)
	if !ok {
		address := strings.NewReplacer("{z}", strconv.Itoa(t.z), "{x}", strconv.Itoa(t.x), "{y}", strconv.Itoa(t.y)).Replace(a.cfg.Tiles)
		res, err := a.cfg.Fetcher.Fetch(ctx, fetch.Request{URL: address, MaxBytes: maxTile, Types: []string{"image/png", "image/jpeg"}})
		if err != nil {
			return nil, err
		}
		data = res.Body
	}
	size, _, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil || size.Width != tileSize || size.Height != tileSize {
		return nil, errTile
	}
	img, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, errTile
	}
	a.tiles.Add(t, data)
	return img, nil
}

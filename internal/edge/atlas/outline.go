package atlas

import (
	_ "embed" // the outline
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

//go:embed outline.json
var outlineJSON []byte

// outlineBy names who made the outline.
const outlineBy = "Natural Earth"

// point in the unit square of web Mercator (EPSG:3857): x to the east, y to the south.
type point struct{ x, y float64 }

// mercator projects a longitude and latitude in degrees. The poles are cut off at 85.05°.
func mercator(lon, lat float64) point {
	const most = 85.0511287798
	s := math.Sin(min(most, max(-most, lat)) * math.Pi / 180)
	return point{lon/360 + 0.5, 0.5 - math.Log((1+s)/(1-s))/(4*math.Pi)}
}

// outline of the world.
type outline struct {
	land    [][]point // rings
	coasts  [][]point // the same, without what closes the one around the South Pole
	borders [][]point // lines
}

func readOutline(data []byte) (o outline, err error) {
	var file struct {
		Features []struct {
			Properties struct {
				Kind string `json:"kind"`
			} `json:"properties"`
			Geometry struct {
				Coordinates json.RawMessage `json:"coordinates"`
			} `json:"geometry"`
		} `json:"features"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return o, fmt.Errorf("atlas: outline: %w", err)
	}
	for _, f := range file.Features {
		var polygons [][][][2]float64
		switch f.Properties.Kind {
		case "land":
			err = json.Unmarshal(f.Geometry.Coordinates, &polygons)
		case "borders":
			polygons = make([][][][2]float64, 1)
			err = json.Unmarshal(f.Geometry.Coordinates, &polygons[0])
		}
		if err != nil {
			return o, fmt.Errorf("atlas: outline: %w", err)
		}
		for _, p := range polygons {
			for _, line := range p {
				projected := make([]point, len(line))
				for i, c := range line {
					projected[i] = mercator(c[0], c[1])
				}
				if f.Properties.Kind == "borders" {
					o.borders = append(o.borders, projected)
					continue
				}
				o.land = append(o.land, projected)
				if i := slices.IndexFunc(line, func(c [2]float64) bool { return c[1] == -90 }); i >= 0 {
					projected = projected[:i]
				}
				o.coasts = append(o.coasts, projected)
			}
		}
	}
	return o, nil
}

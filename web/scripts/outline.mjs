// Makes internal/edge/atlas/outline.json of Natural Earth's countries at 1:110 million (in the
// public domain), as the packages world-atlas and topojson-client (ISC) have them. To be run by hand
// when the map of the world changes:
//
//   npm install --no-save world-atlas topojson-client && node scripts/outline.mjs
//
// A ring or line that crosses the date line goes on beyond 180 degrees; the one around the South
// Pole is closed along the pole.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { feature, mesh } from "topojson-client";

const source = createRequire(import.meta.url).resolve("world-atlas/countries-110m.json");
const topology = JSON.parse(readFileSync(source, "utf8"));

const round = (x) => Math.round(x * 100) / 100;

function goOn(line) {
  let east = 0;
  return line.map(([lon, lat], i) => {
    if (i > 0) {
      east -= 360 * Math.round((lon - line[i - 1][0]) / 360);
    }
    return [round(lon + east), round(lat)];
  });
}

function ring(line) {
  const out = goOn(line);
  const [first, last] = [out[0], out[out.length - 1]];
  return first[0] === last[0] ? out : [...out, [last[0], -90], [first[0], -90], first];
}

const land = feature(topology, topology.objects.land).features[0].geometry.coordinates;
const borders = mesh(topology, topology.objects.countries, (a, b) => a !== b).coordinates;
const one = (kind, type, coordinates) => ({
  type: "Feature",
  properties: { kind },
  geometry: { type, coordinates },
});
writeFileSync(
  new URL("../../internal/edge/atlas/outline.json", import.meta.url),
  `${JSON.stringify({
    type: "FeatureCollection",
    features: [
      one(
        "land",
        "MultiPolygon",
        land.map((polygon) => polygon.map(ring)),
      ),
      one("borders", "MultiLineString", borders.map(goOn)),
    ],
  })}\n`,
);

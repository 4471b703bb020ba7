import type { Feature, FeatureCollection, Geometry } from "geojson";
import {
  addProtocol,
  type GeoJSONSource,
  Map as LibreMap,
  Marker,
  type SourceSpecification,
  type StyleSpecification,
  setWorkerCount,
  setWorkerUrl,
} from "maplibre-gl";
import workerAddress from "maplibre-gl/dist/maplibre-gl-worker.mjs?url";
import { Protocol } from "pmtiles";
import { trustScript } from "../worker.ts";
import {
  bounds,
  circle,
  colours,
  directions,
  type LonLat,
  type MapOptions,
  type MapView,
  type Scene,
  signed,
} from "./view.ts";

let ready = false;

/** Once for the page: where the worker is, and how a file of tiles is read. */
function prepare(): void {
  if (!ready) {
    ready = true;
    trustScript(workerAddress);
    setWorkerUrl(workerAddress);
    setWorkerCount(1);
    addProtocol("pmtiles", new Protocol().tile);
  }
}

const none: FeatureCollection = { type: "FeatureCollection", features: [] };

function style({ maps }: MapOptions): StyleSpecification {
  const geo = (): SourceSpecification => ({ type: "geojson", data: none });
  const tiles: SourceSpecification | undefined = maps?.tiles
    ? { type: "raster", tiles: [maps.tiles], tileSize: 256, maxzoom: 19 }
    : maps?.file
      ? { type: "raster", url: `pmtiles://${location.origin}${maps.file}`, tileSize: 256 }
      : undefined;
  const base: StyleSpecification["layers"] = tiles
    ? [{ id: "tiles", type: "raster", source: "base", paint: { "raster-fade-duration": 0 } }]
    : [
        {
          id: "land",
          type: "fill",
          source: "base",
          filter: ["==", ["get", "kind"], "land"],
          paint: { "fill-color": colours.land, "fill-outline-color": colours.coast },
        },
        {
          id: "borders",
          type: "line",
          source: "base",
          filter: ["==", ["get", "kind"], "borders"],
          paint: { "line-color": colours.border },
        },
      ];
  const colour: ["match", ...unknown[]] = [
    "match",
    ["get", "who"],
    "mine",
    colours.mine,
    "mark",
    colours.mark,
    colours.other,
  ];
  return {
    version: 8,
    sources: {
      base: tiles ?? { type: "geojson", data: `${location.origin}/maps/outline.json` },
      around: geo(),
      lines: geo(),
    },
    layers: [
      { id: "sea", type: "background", paint: { "background-color": colours.sea } },
      ...base,
      {
        id: "around",
        type: "fill",
        source: "around",
        paint: { "fill-color": colour as never, "fill-opacity": 0.15 },
      },
      {
        id: "rim",
        type: "line",
        source: "around",
        paint: { "line-color": colour as never, "line-opacity": 0.6 },
      },
      {
        id: "between",
        type: "line",
        source: "lines",
        filter: ["==", ["get", "who"], "between"],
        paint: { "line-color": "#444", "line-width": 1.5, "line-dasharray": [2, 2] },
      },
      {
        id: "drawn",
        type: "line",
        source: "lines",
        filter: ["!=", ["get", "who"], "between"],
        layout: { "line-cap": "round", "line-join": "round" },
        paint: { "line-color": colours.mark, "line-width": 4 },
      },
    ],
  };
}

const feature = (geometry: Geometry, who: string): Feature => ({
  type: "Feature",
  properties: { who },
  geometry,
});

/** A map by MapLibre GL: of the operator's tiles, or of the outline of the world. */
export async function mapLibre(options: MapOptions): Promise<MapView> {
  prepare();
  const map = new LibreMap({
    container: options.element,
    style: style(options),
    attributionControl: false, // the page says it, as text
    dragRotate: false,
    pitchWithRotate: false,
    fadeDuration: 0,
    center: [0, 20],
    zoom: 1,
    maxZoom: 18,
  });
  map.touchZoomRotate.disableRotation();
  map.keyboard.disableRotation();
  const markers = new Map<string, Marker>();
  let scene: Scene = { people: [], marks: [] };
  let styled = false;
  let gone = false;

  const source = (id: string, features: Feature[]) =>
    void map.getSource<GeoJSONSource>(id)?.setData({ type: "FeatureCollection", features });

  function marker(id: string, at: LonLat, kind: string, text: string): void {
    let m = markers.get(id);
    if (!m) {
      const element = document.createElement("div");
      element.className = `pin ${kind}`;
      element.textContent = text;
      m = new Marker({ element, anchor: "bottom-left" }).setLngLat(at).addTo(map);
      m.getElement().removeAttribute("role"); // it is no button; the words say who is where
      m.getElement().setAttribute("aria-hidden", "true");
      m.getElement().removeAttribute("tabindex");
      markers.set(id, m);
    }
    m.setLngLat(at);
  }

  function draw(): void {
    const { people, marks } = scene;
    source(
      "around",
      people.map((p) =>
        feature(
          { type: "Polygon", coordinates: [circle(p.place, p.place.properties.accuracy_m ?? 0)] },
          p.mine ? "mine" : "other",
        ),
      ),
    );
    const at = (p: Scene["people"][number]) => p.place.geometry.coordinates.slice(0, 2) as LonLat;
    source("lines", [
      ...(people.length === 2
        ? [feature({ type: "LineString", coordinates: people.map(at) }, "between")]
        : []),
      ...marks
        .filter((m) => m.points.length > 1)
        .map((m) => feature({ type: "LineString", coordinates: m.points }, "mark")),
    ]);
    const wanted = new Set<string>();
    for (const p of people) {
      wanted.add(`person/${p.id}`);
      marker(`person/${p.id}`, at(p), p.mine ? "mine" : "other", p.name);
    }
    for (const m of marks) {
      const [point] = m.points;
      if (point && m.points.length === 1) {
        wanted.add(`mark/${m.id}`);
        marker(`mark/${m.id}`, point, "mark", "✕");
      }
    }
    for (const [id, m] of markers) {
      if (!wanted.has(id)) {
        m.remove();
        markers.delete(id);
      }
    }
  }
  // Not isStyleLoaded, which is false whenever a source is being changed.
  map.on("style.load", () => {
    styled = true;
    draw();
  });

  return {
    show(next) {
      scene = next;
      if (styled) {
        draw();
      }
    },
    fit() {
      const box = bounds(scene);
      if (box) {
        map.fitBounds(box, {
          // A pin's name stands to the right of its point, and above.
          padding: { top: 48, right: 88, bottom: 24, left: 24 },
          maxZoom: 16,
          duration: 0,
        });
      }
    },
    zoom(by) {
      // At once, or a second press would go on from half-way.
      map.zoomTo(map.getZoom() + by, { duration: 0 });
    },
    move(towards) {
      const [x, y] = directions[towards];
      const { clientWidth, clientHeight } = map.getCanvas();
      map.panBy([(x * clientWidth) / 3, (y * clientHeight) / 3], { duration: 0 });
    },
    movable(yes) {
      for (const how of [map.dragPan, map.touchZoomRotate, map.doubleClickZoom]) {
        if (yes) {
          how.enable();
        } else {
          how.disable();
        }
      }
      map.touchZoomRotate.disableRotation();
    },
    at(x, y) {
      const { lng, lat } = map.unproject([x, y]).wrap();
      return [lng, lat];
    },
    describe(text) {
      map.getCanvas().setAttribute("aria-label", text);
    },
    picture() {
      // Only while it is drawn can the canvas be read.
      return new Promise((resolve, reject) => {
        map.once("render", () => {
          const canvas = map.getCanvas();
          const still = document.createElement("canvas");
          still.width = canvas.width;
          still.height = canvas.height;
          const c = still.getContext("2d");
          c?.drawImage(canvas, 0, 0);
          for (const p of [...scene.people, ...scene.marks]) {
            const mine = "place" in p ? (p.mine ? colours.mine : colours.other) : colours.mark;
            const where = "place" in p ? p.place.geometry.coordinates : p.points[0];
            if (!c || !where || ("points" in p && p.points.length > 1)) {
              continue;
            }
            const ratio = canvas.width / Math.max(1, canvas.clientWidth);
            const { x, y } = map.project([where[0] ?? 0, where[1] ?? 0]);
            c.beginPath();
            c.arc(x * ratio, y * ratio, 7 * ratio, 0, 2 * Math.PI);
            c.fillStyle = mine;
            c.fill();
            c.lineWidth = 2 * ratio;
            c.strokeStyle = "#fff";
            c.stroke();
            if ("name" in p) {
              c.font = `bold ${13 * ratio}px sans-serif`;
              c.lineWidth = 4 * ratio;
              c.strokeText(p.name, x * ratio + 10 * ratio, y * ratio - 8 * ratio);
              c.fillText(p.name, x * ratio + 10 * ratio, y * ratio - 8 * ratio);
            }
          }
          signed(still, still.width, still.height, options.maps).then(resolve, reject);
        });
        map.triggerRepaint();
      });
    },
    remove() {
      if (!gone) {
        gone = true;
        map.remove();
      }
    },
  };
}

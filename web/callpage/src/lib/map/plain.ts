import type { FeatureCollection } from "geojson";
import {
  bounds,
  circle,
  colours,
  type Direction,
  directions,
  type LonLat,
  type MapOptions,
  type MapView,
  type Scene,
  signed,
} from "./view.ts";

/** The world's width in units of the drawing; its height is the same (web Mercator). */
const world = 4096;
/** Beyond these latitudes web Mercator has no map. */
const most = 85.0511;
/** The narrowest and widest views, in units. */
const [narrowest, widest] = [world / 2 ** 17, world];

const space = "http://www.w3.org/2000/svg";

function element<K extends keyof SVGElementTagNameMap>(
  name: K,
  attributes: Record<string, string | number>,
): SVGElementTagNameMap[K] {
  const e = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) {
    e.setAttribute(key, String(value));
  }
  return e;
}

function project([lon, lat]: LonLat): [x: number, y: number] {
  const s = Math.sin((Math.max(-most, Math.min(most, lat)) * Math.PI) / 180);
  return [(lon / 360 + 0.5) * world, (0.5 - Math.log((1 + s) / (1 - s)) / (4 * Math.PI)) * world];
}

function unproject(x: number, y: number): LonLat {
  const lon = (x / world - 0.5) * 360;
  return [
    ((((lon + 180) % 360) + 360) % 360) - 180,
    (Math.atan(Math.sinh(Math.PI * (1 - (2 * y) / world))) * 180) / Math.PI,
  ];
}

/** A path through points; closed, for rings. */
function path(lines: readonly (readonly number[])[][], closed: boolean): string {
  const round = (n: number) => Math.round(n * 1000) / 1000;
  return lines
    .map((line) => {
      const points = line.map((p) =>
        project([p[0] ?? 0, p[1] ?? 0])
          .map(round)
          .join(" "),
      );
      return points.length ? `M${points.join("L")}${closed ? "Z" : ""}` : "";
    })
    .join("");
}

/** A map that any browser can draw: the outline of the world, as SVG. */
export async function plainMap({ element: host }: MapOptions): Promise<MapView> {
  const svg = element("svg", { role: "img", class: "plain", tabindex: 0, xmlns: space });
  const ground = element("g", {});
  const drawn = element("g", {});
  svg.append(
    element("rect", { x: -world, y: 0, width: 3 * world, height: world, fill: colours.sea }),
    ground,
    drawn,
  );
  host.append(svg);
  let scene: Scene = { people: [], marks: [] };
  let centre = project([0, 20]);
  let span = world;
  let moving = true;

  const size = () => ({ width: host.clientWidth || 1, height: host.clientHeight || 1 });
  /** Units to a pixel. */
  const unit = () => span / Math.min(size().width, size().height);

  function frame(): void {
    const { width, height } = size();
    const within = (n: number) => Math.max(0, Math.min(world, n));
    centre = [within(centre[0]), within(centre[1])];
    const u = unit();
    svg.setAttribute(
      "viewBox",
      [centre[0] - (u * width) / 2, centre[1] - (u * height) / 2, u * width, u * height].join(" "),
    );
    draw();
  }

  function draw(): void {
    const u = unit();
    drawn.replaceChildren();
    const line = (points: LonLat[], attributes: Record<string, string | number>) =>
      drawn.append(element("path", { d: path([points], false), fill: "none", ...attributes }));
    const at = (p: Scene["people"][number]) => p.place.geometry.coordinates.slice(0, 2) as LonLat;
    if (scene.people.length === 2) {
      line(scene.people.map(at), {
        stroke: "#444",
        "stroke-width": 1.5 * u,
        "stroke-dasharray": `${4 * u} ${4 * u}`,
      });
    }
    for (const m of scene.marks) {
      const [x, y] = project(m.points[0] ?? [0, 0]);
      if (m.points.length > 1) {
        line(m.points, { stroke: colours.mark, "stroke-width": 4 * u, "stroke-linecap": "round" });
      } else {
        drawn.append(
          element("circle", {
            cx: x,
            cy: y,
            r: 7 * u,
            fill: colours.mark,
            stroke: "#fff",
            "stroke-width": 2 * u,
          }),
        );
      }
    }
    for (const p of scene.people) {
      const fill = p.mine ? colours.mine : colours.other;
      const [x, y] = project(at(p));
      drawn.append(
        element("path", {
          d: path([circle(p.place, p.place.properties.accuracy_m ?? 0)], true),
          fill,
          "fill-opacity": 0.15,
          stroke: fill,
          "stroke-width": u,
        }),
        element("circle", { cx: x, cy: y, r: 7 * u, fill, stroke: "#fff", "stroke-width": 2 * u }),
      );
      const name = element("text", {
        x: x + 10 * u,
        y: y - 8 * u,
        "font-size": 13 * u,
        "font-weight": 700,
        "font-family": "sans-serif",
        fill,
        stroke: "#fff",
        "stroke-width": 3 * u,
        "paint-order": "stroke",
      });
      name.textContent = p.name;
      drawn.append(name);
    }
  }

  function zoomBy(factor: number): void {
    span = Math.max(narrowest, Math.min(widest, span * factor));
    frame();
  }

  function moveBy(towards: Direction): void {
    const { width, height } = size();
    const [x, y] = directions[towards];
    const u = unit();
    centre = [centre[0] + (x * u * width) / 3, centre[1] + (y * u * height) / 3];
    frame();
  }

  // As MapLibre's.
  const keys: Record<string, () => void> = {
    ArrowLeft: () => moveBy("west"),
    ArrowUp: () => moveBy("north"),
    ArrowDown: () => moveBy("south"),
    ArrowRight: () => moveBy("east"),
    "+": () => zoomBy(0.5),
    "=": () => zoomBy(0.5),
    "-": () => zoomBy(2),
  };
  const key = (e: KeyboardEvent) => {
    const act = keys[e.key];
    if (act && !e.ctrlKey && !e.altKey && !e.metaKey) {
      e.preventDefault();
      act();
    }
  };

  let last: { x: number; y: number } | undefined;
  const down = (e: PointerEvent) => {
    last = moving ? { x: e.clientX, y: e.clientY } : undefined;
  };
  const move = (e: PointerEvent) => {
    if (last && e.buttons > 0) {
      const u = unit();
      centre = [centre[0] - (e.clientX - last.x) * u, centre[1] - (e.clientY - last.y) * u];
      last = { x: e.clientX, y: e.clientY };
      frame();
    }
  };
  const wheel = (e: WheelEvent) => {
    e.preventDefault();
    zoomBy(e.deltaY > 0 ? 1.25 : 0.8);
  };
  svg.addEventListener("keydown", key);
  host.addEventListener("pointerdown", down);
  host.addEventListener("pointermove", move);
  host.addEventListener("wheel", wheel, { passive: false });
  const resized = new ResizeObserver(frame);
  resized.observe(host);

  const outline = (await (await fetch("/maps/outline.json")).json()) as FeatureCollection;
  for (const { geometry } of outline.features) {
    if (geometry.type === "MultiPolygon") {
      const d = path(geometry.coordinates.flat(), true);
      const land = { fill: colours.land, stroke: colours.coast, "fill-rule": "evenodd" };
      ground.append(element("path", { d, ...land, "vector-effect": "non-scaling-stroke" }));
    } else if (geometry.type === "MultiLineString") {
      const d = path(geometry.coordinates, false);
      const border = {
        fill: "none",
        stroke: colours.border,
        "vector-effect": "non-scaling-stroke",
      };
      ground.append(element("path", { d, ...border }));
    }
  }
  frame();

  return {
    show(next) {
      scene = next;
      draw();
    },
    fit() {
      const box = bounds(scene);
      if (box) {
        const [west, south] = project(box[0]);
        const [east, north] = project(box[1]);
        const { width, height } = size();
        centre = [(west + east) / 2, (north + south) / 2];
        const u = Math.max((east - west) / (width * 0.7), (south - north) / (height * 0.7));
        span = u * Math.min(width, height);
        zoomBy(1);
      }
    },
    zoom(by) {
      zoomBy(by > 0 ? 0.5 : 2);
    },
    move: moveBy,
    movable(yes) {
      moving = yes;
    },
    at(x, y) {
      const { width, height } = size();
      const u = unit();
      return unproject(centre[0] + (x - width / 2) * u, centre[1] + (y - height / 2) * u);
    },
    describe(text) {
      svg.setAttribute("aria-label", text);
    },
    async picture() {
      const { width, height } = size();
      const still = svg.cloneNode(true) as SVGElement;
      still.setAttribute("width", String(width));
      still.setAttribute("height", String(height));
      const source = new Blob([new XMLSerializer().serializeToString(still)], {
        type: "image/svg+xml",
      });
      const url = URL.createObjectURL(source);
      try {
        const image = new Image();
        image.src = url;
        await image.decode();
        return await signed(image, width, height, undefined);
      } finally {
        URL.revokeObjectURL(url);
      }
    },
    remove() {
      resized.disconnect();
      host.removeEventListener("pointerdown", down);
      host.removeEventListener("pointermove", move);
      host.removeEventListener("wheel", wheel);
      svg.remove();
    },
  };
}

import type { PageMaps, Place } from "@tandem-call/sdk";

/** A point: longitude and latitude in degrees. */
export type LonLat = [lon: number, lat: number];

/** Somebody on the map. */
export interface Person {
  id: string;
  name: string;
  mine: boolean;
  place: Place;
}

/** A pin that somebody set, or a line that somebody drew. */
export interface Mark {
  id: string;
  mine: boolean;
  points: LonLat[];
}

/** What is on a map. */
export interface Scene {
  people: Person[];
  marks: Mark[];
}

/** North is up on every map. */
export const directions = {
  west: [-1, 0],
  north: [0, -1],
  south: [0, 1],
  east: [1, 0],
} as const;
export type Direction = keyof typeof directions;

/** A map that is drawn in an element of the page. */
export interface MapView {
  show(scene: Scene): void;
  /** Moves so that all of it is seen. */
  fit(): void;
  zoom(by: 1 | -1): void;
  /** Moves by a third of what is seen, for those who do not drag (WCAG 2.2, 2.5.7). */
  move(towards: Direction): void;
  /** Whether the user's pointer moves the map; otherwise it draws. */
  movable(yes: boolean): void;
  /** Where on Earth a point of the element is. */
  at(x: number, y: number): LonLat;
  /** Says in words what is to be seen, to those who do not see it. */
  describe(text: string): void;
  /** A picture of what is shown (PNG), for those who see no map. */
  picture(): Promise<Blob>;
  remove(): void;
}

/** How a map is to be made. */
export interface MapOptions {
  element: HTMLElement;
  maps: PageMaps | undefined;
}

/** Colours that both kinds of map have, as in the server's pictures. */
export const colours = {
  sea: "#d5e5ee",
  land: "#f6f3ea",
  border: "#b9b2a2",
  coast: "#8fa3ad",
  other: "#b31d3a",
  mine: "#1f5fbf",
  mark: "#7a3fa0",
};

/** Who made the map, to be shown on it. */
export function attribution(maps: PageMaps | undefined): string {
  return (maps?.tiles || maps?.file ? maps.attribution : undefined) ?? "Natural Earth";
}

/** Makes a map with MapLibre, which is loaded now only, or, where there is no WebGL, a plainer one. */
export async function makeMap(options: MapOptions): Promise<MapView> {
  if (document.createElement("canvas").getContext("webgl2")) {
    const { mapLibre } = await import("./maplibre.ts");
    return mapLibre(options);
  }
  const { plainMap } = await import("./plain.ts");
  return plainMap(options);
}

/** The corners of what is to be seen, with the accuracy of each place around it; never smaller than a few streets. */
export function bounds({ people, marks }: Scene): [LonLat, LonLat] | undefined {
  const points = [
    ...marks.flatMap((m) => m.points),
    ...people.flatMap((p) => circle(p.place, Math.max(150, p.place.properties.accuracy_m ?? 0))),
  ];
  const [first] = points;
  if (!first) {
    return undefined;
  }
  const [west, south, east, north] = points.reduce(
    ([w, s, e, n], [lon, lat]) => [
      Math.min(w, lon),
      Math.min(s, lat),
      Math.max(e, lon),
      Math.max(n, lat),
    ],
    [first[0], first[1], first[0], first[1]],
  ) as [number, number, number, number];
  return [
    [west, south],
    [east, north],
  ];
}

/** The circle of a radius in metres around a place, as a ring. */
export function circle(place: Place, radius: number): LonLat[] {
  const [lon = 0, lat = 0] = place.geometry.coordinates;
  const degrees = radius / 111_195; // of latitude
  const wide = degrees / Math.max(0.01, Math.cos((lat * Math.PI) / 180));
  return Array.from({ length: 65 }, (_, i) => {
    const a = (i / 32) * Math.PI;
    const y = lat + degrees * Math.cos(a);
    return [lon + wide * Math.sin(a), Math.max(-89.9, Math.min(89.9, y))];
  });
}

/** Draws a map's picture with its attribution below. */
export async function signed(
  picture: CanvasImageSource,
  width: number,
  height: number,
  maps: PageMaps | undefined,
): Promise<Blob> {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const c = canvas.getContext("2d");
  c?.drawImage(picture, 0, 0, width, height);
  if (c) {
    const text = attribution(maps);
    c.font = `${Math.max(12, Math.round(height / 32))}px sans-serif`;
    const m = c.measureText(text);
    const tall = m.actualBoundingBoxAscent + m.actualBoundingBoxDescent + 8;
    c.fillStyle = "rgb(255 255 255 / 80%)";
    c.fillRect(width - m.width - 10, height - tall, m.width + 10, tall);
    c.fillStyle = "#333";
    c.fillText(text, width - m.width - 5, height - m.actualBoundingBoxDescent - 4);
  }
  return new Promise((resolve, reject) => {
    canvas.toBlob((b) => (b ? resolve(b) : reject(new Error("no picture"))), "image/png");
  });
}

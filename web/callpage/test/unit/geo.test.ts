import type { Place } from "@tandem-call/sdk";
import { expect, test } from "vitest";
import {
  atService,
  awayInWords,
  bearing,
  direction,
  distance,
  inWords,
  isPlace,
  measured,
  movingInWords,
} from "../../src/lib/geo.ts";
import { bounds, circle } from "../../src/lib/map/view.ts";
import { markOf } from "../../src/lib/marks.svelte.ts";

const at = (lat: number, lon: number, properties: Place["properties"] = {}): Place => ({
  type: "Feature",
  geometry: { type: "Point", coordinates: [lon, lat] },
  properties,
});
const london = at(51.5074, -0.1278, { accuracy_m: 25 });
const paris = at(48.8566, 2.3522);

test("distances and directions on the sphere", () => {
  expect(distance(london, paris)).toBeGreaterThan(343_000);
  expect(distance(london, paris)).toBeLessThan(344_500);
  expect(bearing(london, paris)).toBeCloseTo(148, 0);
  // A degree of the equator, over the date line, and a pole.
  expect(distance(at(0, 179.5), at(0, -179.5))).toBeCloseTo(111_195, 0);
  expect(bearing(at(0, 179.5), at(0, -179.5))).toBeCloseTo(90, 5);
  expect(distance(at(90, 0), at(90, 120))).toBeCloseTo(0, 3);
  expect([0, 22, 23, 180, 337, 338, 360, -90].map(direction)).toEqual(
    "n n ne s nw n n w".split(" "),
  );
});

test("a place in words", () => {
  expect(inWords(london, "en")).toBe("51.5074° N 0.1278° W, within 25 m");
  expect(inWords(at(-33.86, 151.21, { address: "Opera House" }), "en")).toBe("Opera House");
  expect(inWords(at(-33.86, -151.21), "de")).toBe("33,86° S 151,21° W");
  expect(awayInWords(london, paris, "en")).toBe("344 km to the south-east of you");
  expect(awayInWords(london, at(51.5075, -0.1278), "en")).toContain("as far as can be told");
  expect(movingInWords(at(0, 0, { speed_mps: 10, heading_deg: 91 }), "en")).toBe(
    "36 km/h to the east",
  );
  expect(movingInWords(at(0, 0, { speed_mps: 0.1 }), "en")).toBe("");
  expect(atService("https://m.example/?lat={lat}&lon={lon}", london)).toBe(
    "https://m.example/?lat=51.507400&lon=-0.127800",
  );
});

test("what the browser measured, without what it does not know", () => {
  const coords = { latitude: 1, longitude: 2, accuracy: 5, altitude: null, altitudeAccuracy: null };
  const of = (more: object) =>
    measured({ timestamp: 0, coords: { ...coords, ...more } } as unknown as GeolocationPosition);
  expect(of({ speed: null, heading: Number.NaN })).toEqual(
    at(1, 2, { accuracy_m: 5, time: "1970-01-01T00:00:00.000Z" }),
  );
  expect(of({ speed: 3, heading: 90 }).properties).toMatchObject({ speed_mps: 3, heading_deg: 90 });
});

test("what comes from others is shown only if it is on Earth", () => {
  expect(isPlace(london)).toBe(true);
  expect(isPlace(at(91, 0))).toBe(false);
  expect(isPlace({ geometry: { coordinates: ["1", "2"] }, properties: {} })).toBe(false);
  expect(isPlace(undefined)).toBe(false);
  const pin = { id: "a", geometry: { type: "Point", coordinates: [1, 2] } };
  expect(markOf(pin)).toEqual({ id: "a", points: [[1, 2]] });
  const line = (coordinates: unknown) => ({
    id: "a",
    geometry: { type: "LineString", coordinates },
  });
  expect(
    markOf(
      line([
        [1, 2],
        [3, 4],
      ]),
    )?.points,
  ).toEqual([
    [1, 2],
    [3, 4],
  ]);
  for (const bad of [null, {}, { ...pin, id: 7 }, line([]), line([[1]]), line([[200, 0]])]) {
    expect(markOf(bad)).toBeUndefined();
  }
  expect(markOf(line(Array(502).fill([1, 2])))).toBeUndefined();
});

test("a view takes in everybody, with what is not known exactly", () => {
  expect(bounds({ people: [], marks: [] })).toBeUndefined();
  const people = [{ id: "1", name: "A", mine: true, place: london }];
  const [[west, south], [east, north]] = bounds({
    people,
    marks: [{ id: "m", mine: true, points: [[2, 48]] }],
  }) as [[number, number], [number, number]];
  expect([south, east]).toEqual([48, 2]);
  expect(west).toBeLessThan(-0.1278);
  expect(north).toBeGreaterThan(51.5074);
  for (const [lon, lat] of circle(london, 1000)) {
    expect(distance(london, at(lat, lon))).toBeCloseTo(1000, -1);
  }
});

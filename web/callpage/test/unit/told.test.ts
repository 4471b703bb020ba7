import { expect, test } from "vitest";
import { told } from "../../src/lib/room.svelte.ts";

test("a body is shown as what it is, and what is not of its kind as unknown", () => {
  expect(told("text", { text: "<b>x</b>" })).toEqual({ text: "<b>x</b>" });
  expect(told("text", { text: 5 })).toEqual({ kind: "text" });
  expect(told("text", null)).toEqual({ kind: "text" });
  expect(told("link", { url: "javascript:alert(1)" })).toEqual({ kind: "link" });
  expect(told("link", { url: "https://a.example/" }).link?.url).toBe("https://a.example/");
  expect(told("file", { name: "x" })).toEqual({ kind: "file" });
  expect(told("com.example.meter", { reading: 1 })).toEqual({ kind: "com.example.meter" });
  expect(told("tandem.state", { phase: "closed" })).toEqual({ phase: "closed" });
});

test("a profile and a place of the server's are shown as what they are", () => {
  const profile = { owner: "who_1", fields: [], has: [], keep: "ask" };
  expect(told("tandem.profile", profile)).toEqual({ profile });
  expect(told("tandem.profile", { owner: 7 })).toEqual({ kind: "tandem.profile" });
  const place = {
    type: "Feature",
    geometry: { type: "Point", coordinates: [16.3738, 48.2082] },
    properties: {},
  };
  expect(told("tandem.place", { place })).toEqual({ place: { place } });
  const beyond = { ...place, geometry: { type: "Point", coordinates: [16.3738, 148.2082] } };
  expect(told("tandem.place", { place: beyond })).toEqual({ kind: "tandem.place" });
  expect(told("tandem.place", { words: "there" })).toEqual({ kind: "tandem.place" });
  expect(told("tandem.place.stopped", { reason: "time" })).toEqual({ placeEnded: true });
});

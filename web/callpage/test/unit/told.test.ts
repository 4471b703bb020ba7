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

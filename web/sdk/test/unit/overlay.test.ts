import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  checkAnswers,
  type FormFault,
  readOverlay,
  regionName,
  wordsIn,
} from "../../src/overlay.ts";
import type { OverlayForm } from "../../src/wire.ts";

const read = (file: string) =>
  readFileSync(new URL(`../../../../overlay/testdata/${file}.json`, import.meta.url), "utf8");

const taxi = read("taxi");

interface Hostile {
  name: string;
  old: string;
  new: string;
  seen_in_text_only?: boolean;
}
interface Answered {
  name: string;
  answers: Record<string, string[]>;
  why?: FormFault["why"];
}
const hostile = (JSON.parse(read("hostile")) as { vectors: Hostile[] }).vectors;
const answers = JSON.parse(read("answers")) as { form: OverlayForm; vectors: Answered[] };

describe("documents", () => {
  test("a good one is taken as it is", () => {
    const o = readOverlay(JSON.parse(taxi));
    expect(o).toEqual(JSON.parse(taxi));
    expect(o.regions.map((r) => regionName(r, "de-AT", o.language))).toEqual([
      "Ajax Taxi",
      "Hier abholen",
      "Wann?",
      "Rückruf",
    ]);
    expect(wordsIn({ en: "x" }, "constructor", "en")).toBe("x");
  });

  test.each(hostile.filter((v) => !v.seen_in_text_only))("refused: $name", (v) => {
    const bad = taxi.replace(v.old, () => v.new);
    expect(bad).not.toBe(taxi);
    expect(() => readOverlay(JSON.parse(bad))).toThrow("overlay: not valid");
  });

  const region = (r: object) => ({
    version: 1,
    id: "x",
    language: "en",
    regions: [{ id: "a", grid: { column: 0, row: 0 }, text: { en: "x" }, ...r }],
  });
  test.each<[string, unknown]>([
    ["nothing", undefined],
    ["a list", []],
    ["a text for a number", { ...region({}), version: "1" }],
    ["a fraction", { ...region({}), opacity: 50.5 }],
    ["a number for a text", region({ text: { en: 5 } })],
    ["a list of texts", region({ text: ["x"] })],
    ["no fallback but the prototype's", { ...region({}), language: "tostring" }],
    ["an action of the prototype's", region({ actions: [{ type: "constructor" }] })],
    ["a prototype", JSON.parse('{"__proto__":{"version":1},"id":"x"}')],
    ["one line too deep", JSON.parse(`${"[".repeat(40)}${"]".repeat(40)}`)],
    [
      "an address with a line break",
      region({ picture: { url: "https://a.example/\nx", alt: { en: "x" } } }),
    ],
    [
      "an address in capitals",
      region({ picture: { url: "HTTPS://a.example/", alt: { en: "x" } } }),
    ],
    ["an IPv6 address", region({ picture: { url: "https://[::1]/", alt: { en: "x" } } })],
    ["nothing to say", region({ actions: [{ type: "message", value: "" }] })],
    ["no keys", region({ actions: [{ type: "dial", keys: "1w" }] })],
    [
      "required by a text",
      region({
        actions: [
          {
            type: "fill_in",
            form: {
              fields: [{ id: "a", label: { en: "x" }, type: "line", max: 5, required: "yes" }],
            },
          },
        ],
      }),
    ],
  ])("refused: %s", (_, body) => {
    expect(() => readOverlay(body)).toThrow("overlay: not valid");
  });

  test("anything is taken or refused, and nothing else happens", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 8 }), (v) => {
        try {
          readOverlay(v);
        } catch (err) {
          expect((err as Error).name).toBe("OverlayError");
        }
      }),
    );
  });
});

describe("answers", () => {
  test.each(answers.vectors)("$name", (v) => {
    expect(checkAnswers(answers.form, v.answers)?.why).toBe(v.why);
  });
});

import { randomBytes } from "node:crypto";
import type { Rollup } from "vite";
import { expect, test } from "vitest";
import { firstLoad, weight } from "../../budget.ts";

const chunk = (imports: string[], css: string[] = [], isEntry = false) => ({
  type: "chunk",
  isEntry,
  imports,
  code: randomBytes(500).toString("latin1"),
  viteMetadata: { importedCss: new Set(css) },
});
const bundle = {
  "index.html": { type: "asset", source: "<!doctype html>" },
  "index.js": chunk(["shared.js"], ["index.css"], true),
  "shared.js": chunk(["index.js"]),
  "softphone.js": chunk(["shared.js"], ["later.css"]),
  "index.css": { type: "asset", source: "a{}" },
  "later.css": { type: "asset", source: "b{}" },
} as unknown as Rollup.OutputBundle;

test("what is loaded at once is counted, and what is loaded later is not", () => {
  expect(firstLoad(bundle).sort()).toEqual(["index.css", "index.html", "index.js", "shared.js"]);
  expect(weight(bundle)).toBeGreaterThan(1_000);
});

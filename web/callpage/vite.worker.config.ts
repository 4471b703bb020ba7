import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const built = path("../../internal/edge/transport/webpages/built/callpage");

// The service worker, built after the page: one file without imports, which every browser that
// has push can run. It is told what it has to keep for the page to open offline.
export default defineConfig({
  publicDir: false,
  resolve: {
    alias: [
      { find: "@tandem-call/sdk/browser", replacement: path("../sdk/src/browser/index.ts") },
      { find: "@tandem-call/sdk", replacement: path("../sdk/src/index.ts") },
    ],
  },
  define: {
    __OFFLINE__: JSON.stringify(
      // Maps are loaded when they are used, and are of no use without a network.
      readdirSync(`${built}/assets`)
        .filter((f) => !f.startsWith("maplibre"))
        .map((f) => `/assets/${f}`),
    ),
  },
  build: {
    target: "es2022",
    outDir: built,
    emptyOutDir: false,
    modulePreload: false,
    lib: {
      entry: path("src/worker/sw.ts"),
      formats: ["iife"],
      name: "sw",
      fileName: () => "sw.js",
    },
  },
});

import { fileURLToPath } from "node:url";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

/** Writes into the service worker what it has to keep for the page to open offline. */
function offlineList(): Plugin {
  return {
    name: "offline-list",
    generateBundle(_, bundle) {
      const files = Object.keys(bundle).filter((f) => f !== "sw.js" && !f.endsWith(".html"));
      const worker = bundle["sw.js"];
      if (worker?.type !== "chunk") {
        throw new Error("there is no service worker in the bundle");
      }
      worker.code = worker.code.replace("__OFFLINE__", files.map((f) => `/${f}`).join(" "));
    },
  };
}

export default defineConfig({
  plugins: [svelte(), offlineList()],
  resolve: {
    // The SDK's source: so there is no order in which the two must be built.
    alias: [
      { find: "@tandem-call/sdk/browser", replacement: path("../sdk/src/browser/index.ts") },
      { find: "@tandem-call/sdk/files", replacement: path("../sdk/src/files.ts") },
      { find: "@tandem-call/sdk", replacement: path("../sdk/src/index.ts") },
    ],
  },
  build: {
    target: "es2022",
    outDir: path("../../internal/edge/transport/webpages/built/callpage"),
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    rollupOptions: {
      input: { index: path("index.html"), sw: path("src/sw.ts") },
      output: { entryFileNames: (c) => (c.name === "sw" ? "sw.js" : "assets/[name]-[hash].js") },
    },
  },
});

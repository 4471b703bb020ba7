import { fileURLToPath } from "node:url";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

export default defineConfig({
  plugins: [svelte()],
  resolve: {
    // The SDK's source: so there is no order in which the two must be built.
    alias: [
      { find: "@tandem-call/sdk/browser", replacement: path("../sdk/src/browser/index.ts") },
      { find: "@tandem-call/sdk/files", replacement: path("../sdk/src/files.ts") },
      { find: "@tandem-call/sdk/overlay", replacement: path("../sdk/src/overlay.ts") },
      { find: "@tandem-call/sdk", replacement: path("../sdk/src/index.ts") },
    ],
  },
  base: "/agent/",
  build: {
    target: "es2022",
    outDir: path("../../internal/edge/transport/webpages/built/agent"),
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    rollupOptions: { input: [path("index.html"), path("overlays.html")] },
  },
});

import { fileURLToPath } from "node:url";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

export default defineConfig({
  plugins: [svelte()],
  resolve: {
    alias: [
      { find: "@tandem-call/sdk/browser", replacement: path("../sdk/src/browser/index.ts") },
      { find: "@tandem-call/sdk/files", replacement: path("../sdk/src/files.ts") },
      { find: "@tandem-call/sdk/overlay", replacement: path("../sdk/src/overlay.ts") },
      { find: "@tandem-call/sdk", replacement: path("../sdk/src/index.ts") },
    ],
  },
  test: {
    include: ["test/**/*.test.ts"],
    // Two browsers at a time, and a slow machine is given its time.
    maxWorkers: 2,
    testTimeout: 180_000,
    hookTimeout: 180_000,
  },
});

import { gzipSync } from "node:zlib";
import type { Plugin, Rollup } from "vite";

/** What a page loads before anybody has touched it, in bytes compressed by gzip, may be no more than this. */
export const firstLoadBytes = 150_000;

/** The files that the page loads at once: its entry, what that imports, and the styles of all that. */
export function firstLoad(bundle: Rollup.OutputBundle): string[] {
  const files = new Set<string>();
  const take = (name: string) => {
    const file = bundle[name];
    if (!file || files.has(name)) {
      return;
    }
    files.add(name);
    if (file.type === "chunk") {
      file.imports.forEach(take);
      file.viteMetadata?.importedCss.forEach(take);
    }
  };
  for (const [name, file] of Object.entries(bundle)) {
    if (name.endsWith(".html") || (file.type === "chunk" && file.isEntry)) {
      take(name);
    }
  }
  return [...files];
}

/** How much that is, compressed. */
export function weight(bundle: Rollup.OutputBundle): number {
  return firstLoad(bundle).reduce((sum, name) => {
    const file = bundle[name];
    const content = file?.type === "chunk" ? file.code : (file?.source ?? "");
    return sum + gzipSync(content).length;
  }, 0);
}

/** Fails the build of a page whose first load is too heavy. */
export function budget(most = firstLoadBytes): Plugin {
  return {
    name: "first-load-budget",
    enforce: "post",
    generateBundle: {
      order: "post",
      handler(_, bundle) {
        const bytes = weight(bundle);
        if (bytes > most) {
          this.error(
            `the first load is ${bytes} bytes compressed, more than ${most}: load what is not needed at once by import()`,
          );
        }
        this.info(`first load: ${bytes} of ${most} bytes, compressed`);
      },
    },
  };
}

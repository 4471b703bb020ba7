import { update } from "./update.svelte.ts";

interface TrustedTypes {
  createPolicy(
    name: string,
    rules: { createScriptURL(url: string): string | null },
  ): {
    createScriptURL(url: string): string;
  };
}

const { trustedTypes } = globalThis as { trustedTypes?: TrustedTypes };

/** Lets the page open offline, from what the service worker keeps. */
export async function registerWorker(): Promise<void> {
  if (!("serviceWorker" in navigator)) {
    return;
  }
  const url =
    trustedTypes
      ?.createPolicy("tandem", {
        createScriptURL: () => "/sw.js",
      })
      .createScriptURL("/sw.js") ?? "/sw.js";
  try {
    update.watch(await navigator.serviceWorker.register(url));
  } catch {
    // Blocked by the browser: the page works, but not offline.
  }
}

/**
 * Lets a library that knows nothing of Trusted Types start one worker, whose address the build has
 * made. All other addresses stay refused. To be called once.
 */
export function trustScript(address: string): void {
  trustedTypes?.createPolicy("default", {
    createScriptURL: (url) => (url === address ? url : null),
  });
}

/** The browser's offer to install the page, until it is taken (Chromium). */
export interface InstallOffer extends Event {
  prompt(): Promise<void>;
}

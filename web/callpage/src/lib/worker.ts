import { update } from "./update.svelte.ts";

interface TrustedTypes {
  createPolicy(
    name: string,
    rules: { createScriptURL(url: string): string },
  ): {
    createScriptURL(url: string): string;
  };
}

/** Lets the page open offline, from what the service worker keeps. */
export async function registerWorker(): Promise<void> {
  if (!("serviceWorker" in navigator)) {
    return;
  }
  const { trustedTypes } = globalThis as { trustedTypes?: TrustedTypes };
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

/** The browser's offer to install the page, until it is taken (Chromium). */
export interface InstallOffer extends Event {
  prompt(): Promise<void>;
}

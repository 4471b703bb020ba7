/// <reference lib="webworker" />
import { Pushes } from "./push.ts";

/** Keeps the page, so that it opens without a network, and shows what it is woken for. */
const worker = self as unknown as ServiceWorkerGlobalScope;

/** What belongs to calls is never kept here. Filled in by the build. */
declare const __OFFLINE__: string[];
const assets = __OFFLINE__;
const others = ["/", "/manifest.webmanifest", "/icon.svg", "/icon-192.png"];
const cacheName = `page-${digest(assets.join())}`;

/** How long the server may take, before the page is opened as it is kept. */
const patienceMs = 3_000;

worker.addEventListener("install", (e) => {
  e.waitUntil(caches.open(cacheName).then((cache) => cache.addAll([...others, ...assets])));
});

// A new version waits until the user wants it, or has closed the old one's pages: these load the
// rest of their parts from the old one's cache.
worker.addEventListener("message", (e) => {
  if (e.data === "take-over") {
    void worker.skipWaiting();
  }
});

worker.addEventListener("activate", (e) => {
  e.waitUntil(
    caches
      .keys()
      .then((names) =>
        Promise.all(
          names
            .filter((n) => n.startsWith("page-") && n !== cacheName)
            .map((n) => caches.delete(n)),
        ),
      )
      .then(() => worker.clients.claim()),
  );
});

worker.addEventListener("fetch", (e) => {
  const url = new URL(e.request.url);
  if (e.request.method !== "GET" || url.origin !== worker.location.origin) {
    return;
  }
  if (e.request.mode === "navigate" && url.pathname === "/") {
    e.respondWith(freshOrKept(e.request, "/"));
  } else if (assets.includes(url.pathname)) {
    e.respondWith(kept(url.pathname).then((hit) => (hit.ok ? hit : fetch(e.request))));
  } else if (others.includes(url.pathname)) {
    e.respondWith(freshOrKept(e.request, url.pathname));
  }
});

const pushes = new Pushes(worker);

worker.addEventListener("push", (e) => {
  const { push } = (e.data?.json() ?? {}) as { push?: string };
  if (push) {
    e.waitUntil(pushes.came(push));
  }
});

worker.addEventListener("notificationclick", (e) => {
  e.waitUntil(pushes.touched(e.notification, e.action));
});

worker.addEventListener("pushsubscriptionchange", (e) => {
  e.waitUntil(pushes.renewed());
});

/** What the server has; what is kept, if it is away, or nothing comes of it: a network may swallow everything. */
async function freshOrKept(request: Request, path: string): Promise<Response> {
  const fresh = fetch(request).catch(() => undefined);
  const late = new Promise<undefined>((resolve) => setTimeout(resolve, patienceMs));
  const now = await Promise.race([fresh, late]);
  if (now) {
    return now;
  }
  const hit = await kept(path);
  return hit.ok ? hit : ((await fresh) ?? hit);
}

async function kept(path: string): Promise<Response> {
  const cache = await caches.open(cacheName);
  return (await cache.match(path)) ?? Response.error();
}

/** A short name of a text (FNV-1a): a new list of assets makes a new cache. */
function digest(text: string): string {
  let h = 0x811c9dc5;
  for (const c of text) {
    h = Math.imul(h ^ (c.codePointAt(0) ?? 0), 0x01000193) >>> 0;
  }
  return h.toString(16);
}

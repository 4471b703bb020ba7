/**
 * The ports of a browser: WebSocket, fetch, IndexedDB, WebCrypto.
 *
 * @packageDocumentation
 */
import { systemClock } from "../clock.ts";
import type { Device } from "../device.ts";
import type { Fetch, Ports, Socket, Sockets } from "../ports.ts";
import { webCrypto } from "../webcrypto.ts";
import { IndexedStore } from "./indexed.ts";

export { IndexedStore } from "./indexed.ts";
export { pushApp, subscribePush } from "./push.ts";
export { takeOverFromTabs } from "./tabs.ts";

/** What a page may choose. */
export interface BrowserOptions {
  /** Of the IndexedDB database; default "tandem". Each device of an origin needs its own. */
  database?: string;
}

/** The ports of a page, or of a worker. */
export function browserPorts(options: BrowserOptions = {}): Ports {
  return {
    sockets: browserSockets,
    fetch: browserFetch,
    clock: systemClock({
      setTimeout: (f, ms) => setTimeout(f, ms),
      clearTimeout: (id) => clearTimeout(id),
    }),
    store: new IndexedStore(options.database ?? "tandem"),
    crypto: webCrypto(globalThis.crypto),
  };
}

/** The browser's fetch. */
export const browserFetch: Fetch = (url, init) => fetch(url, init);

/** The browser's WebSocket. */
export const browserSockets: Sockets = {
  open(url, protocol, events): Socket {
    const ws = new WebSocket(url, protocol);
    let over = false;
    const closed = (code: number, reason: string) => {
      if (!over) {
        over = true;
        events.closed(code, reason);
      }
    };
    ws.onopen = () => events.opened();
    ws.onmessage = ({ data }) => {
      if (!over) {
        events.message(typeof data === "string" ? data : undefined);
      }
    };
    ws.onclose = ({ code, reason }) => closed(code, reason);
    return {
      send: (text) => ws.send(text),
      close: () => {
        ws.close();
        // A browser waits for the other side, which may be gone.
        queueMicrotask(() => closed(1006, ""));
      },
      waiting: () => ws.bufferedAmount,
    };
  },
};

/**
 * Wakes the device when the browser says that the network is back or the page is shown
 * again. The returned function ends that.
 */
export function wakeWithPage(device: Pick<Device, "wake">): () => void {
  const wake = () => {
    if (document.visibilityState === "visible") {
      device.wake();
    }
  };
  addEventListener("online", wake);
  document.addEventListener("visibilitychange", wake);
  return () => {
    removeEventListener("online", wake);
    document.removeEventListener("visibilitychange", wake);
  };
}

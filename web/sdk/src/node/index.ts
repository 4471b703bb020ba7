/**
 * The ports of Node: ws, fetch, a file, WebCrypto.
 *
 * @packageDocumentation
 */
import { webcrypto } from "node:crypto";
import { WebSocket } from "ws";
import { systemClock } from "../clock.ts";
import type { Fetch, Ports, Socket, Sockets } from "../ports.ts";
import { MemoryStore } from "../store.ts";
import { portableCrypto } from "../webcrypto.ts";
import { FileStore } from "./file.ts";

export { FileStore } from "./file.ts";

/** What a program may choose. */
export interface NodeOptions {
  /** The file that keeps the device, its key among others; left out: nothing is kept. */
  file?: string;
}

/** The ports of a Node program. */
export function nodePorts(options: NodeOptions = {}): Ports {
  return {
    sockets: nodeSockets,
    fetch: nodeFetch,
    clock: systemClock({ setTimeout, clearTimeout }),
    store: options.file === undefined ? new MemoryStore() : new FileStore(options.file),
    crypto: portableCrypto(webcrypto as globalThis.Crypto),
  };
}

/** Node's fetch. */
export const nodeFetch: Fetch = (url, init) => fetch(url, init);

/** WebSockets of the package ws: Node 20 has none of its own. */
export const nodeSockets: Sockets = {
  open(url, protocol, events): Socket {
    const ws = new WebSocket(url, protocol, { maxPayload: 1 << 20, perMessageDeflate: false });
    ws.on("open", () => events.opened());
    ws.on("message", (data, binary) =>
      events.message(binary ? undefined : (data as Buffer).toString("utf8")),
    );
    ws.on("error", () => {}); // close follows
    ws.on("close", (code, reason) => events.closed(code, reason.toString("utf8")));
    return {
      send: (text) => ws.send(text),
      close: () => ws.terminate(),
      waiting: () => ws.bufferedAmount,
    };
  },
};

import { createHash, createPrivateKey, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import type { Clock, Crypto, Ports, Socket, SocketEvents } from "../../src/index.ts";
import { MemoryStore } from "../../src/index.ts";
import type { Envelope, Problem, SessionState, Welcome } from "../../src/wire.ts";
import { defaultLimits } from "../../src/wire.ts";

/** Lets everything that is ready run. Nothing here leaves the thread. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Keys without WebCrypto, whose threads answer when they like. */
const directCrypto: Crypto = {
  random: (bytes) => randomBytes(bytes),
  createKey: async () =>
    generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" }),
  publicKey: async (key) => {
    const { kty = "", crv = "", x = "", y = "" } = key as JsonWebKey;
    return { kty, crv, x, y };
  },
  sign: async (key, data) =>
    sign("sha256", data, {
      key: createPrivateKey({ key: key as never, format: "jwk" }),
      dsaEncoding: "ieee-p1363",
    }),
  digest: async (data) => createHash("sha256").update(data).digest(),
};

/** A clock that stands until it is moved. */
export class FakeClock implements Clock {
  #now = Date.parse("2026-11-23T10:00:00Z");
  #timers: { at: number; f: () => void }[] = [];
  chance = 0.5;

  now(): number {
    return this.#now;
  }

  random(): number {
    return this.chance;
  }

  after(ms: number, f: () => void): () => void {
    const timer = { at: this.#now + ms, f };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((t) => t !== timer);
    };
  }

  /** Moves on, and lets what is due happen in its order. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      const due = this.#timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) {
        break;
      }
      this.#now = due.at;
      this.#timers = this.#timers.filter((t) => t !== due);
      due.f();
      await settle();
    }
    this.#now = end;
  }

  /** The time until the next timer, in milliseconds. */
  get next(): number {
    return Math.min(...this.#timers.map((t) => t.at)) - this.#now;
  }

  /** How many timers are set. */
  get timers(): number {
    return this.#timers.length;
  }
}

/** The server's end of one WebSocket. */
export class FakeSocket implements Socket {
  readonly url: string;
  readonly events: SocketEvents;
  /** The frames that the device has sent. */
  readonly frames: Envelope[] = [];
  over = false;
  backlog = 0;

  constructor(url: string, events: SocketEvents) {
    this.url = url;
    this.events = events;
  }

  send(text: string): void {
    this.frames.push(JSON.parse(text) as Envelope);
  }

  close(): void {
    this.closed(1006, "");
  }

  waiting(): number {
    return this.backlog;
  }

  /** The server sends a frame. */
  async tell(frame: Partial<Envelope>): Promise<void> {
    this.events.message(JSON.stringify(frame));
    await settle();
  }

  /** The server ends the connection. */
  closed(code: number, reason = ""): void {
    if (!this.over) {
      this.over = true;
      this.events.closed(code, reason);
    }
  }

  /** The frames of one type. */
  of(type: string): Envelope[] {
    return this.frames.filter((f) => f.type === type);
  }

  /** Opens the connection, up to the welcome. */
  async welcome(sessions: SessionState[] = [], more: Partial<Welcome> = {}): Promise<this> {
    this.events.opened();
    await this.tell({ type: "challenge", body: { nonce: "n0nce", timeout_s: 10 } });
    const body: Welcome = {
      device: "dev_1",
      heartbeat_s: 20,
      time: "2026-11-23T10:00:00Z",
      sessions,
      limits: defaultLimits,
      ...more,
    };
    await this.tell({ type: "welcome", body });
    return this;
  }

  /** Refuses the request with this id. */
  async refuse(id: string | undefined, problem: Partial<Problem>): Promise<void> {
    await this.tell({ type: "error", ...(id !== undefined && { id }), body: problem });
  }
}

/** A platform without a world: the test is the server. */
export class FakeWorld {
  readonly clock = new FakeClock();
  readonly sockets: FakeSocket[] = [];
  readonly ports: Ports = {
    clock: this.clock,
    crypto: directCrypto,
    store: new MemoryStore(),
    fetch: () => Promise.reject(new TypeError("there is no network")),
    sockets: {
      open: (url, _protocol, events) => {
        const s = new FakeSocket(url, events);
        this.sockets.push(s);
        return s;
      },
    },
  };

  /** The connection that was opened last. */
  async socket(): Promise<FakeSocket> {
    await settle();
    const s = this.sockets.at(-1);
    if (!s) {
      throw new Error("no connection was opened");
    }
    return s;
  }
}

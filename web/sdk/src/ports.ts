/**
 * What the core needs from the platform. The edges `browser` and `node` have one of each;
 * a test, or another platform, brings its own.
 */
import type { JWK } from "./wire.ts";

/** All the ports. */
export interface Ports {
  sockets: Sockets;
  fetch: Fetch;
  clock: Clock;
  store: Store;
  crypto: Crypto;
}

/** Opens WebSockets (RFC 6455). */
export interface Sockets {
  /**
   * Begins to open one. `events` are called afterwards, never before `open` has returned;
   * `closed` is the last one, and always comes.
   */
  open(url: string, protocol: string, events: SocketEvents): Socket;
}

/** An open WebSocket, or one that is being opened. */
export interface Socket {
  /** Sends a text message, or keeps it until it can; only once it is opened. */
  send(text: string): void;
  /** Gives the connection up at once; `closed` follows. */
  close(): void;
  /** How many bytes wait to be sent. */
  waiting(): number;
}

/** What happens to a WebSocket. */
export interface SocketEvents {
  /** It stands, with the subprotocol that was asked for. */
  opened(): void;
  /** A text message came. `undefined`: one that was not text. */
  message(text: string | undefined): void;
  /** It is over, or could not be opened; code 1006 where the other side has given none. */
  closed(code: number, reason: string): void;
}

/** The Fetch standard's function, as browsers and Node have it. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Time and chance. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Calls f once after a time; the returned function prevents that. */
  after(ms: number, f: () => void): () => void;
  /** A number from 0 up to 1, for spreading retries. */
  random(): number;
}

/** A place that outlives the program. Values are what the structured clone algorithm takes. */
export interface Store {
  /** The value, or undefined. */
  get(key: string): Promise<unknown>;
  /** All entries whose key begins with prefix, by key. */
  list(prefix: string): Promise<[key: string, value: unknown][]>;
  /** Makes the changes, all or none; a value of undefined removes the entry. */
  write(changes: ReadonlyMap<string, unknown>): Promise<void>;
}

/** A private key in the form in which a Store keeps it: a CryptoKey, or a private JWK. */
export type StoredKey = unknown;

/** Keys and chance that nobody can guess. */
export interface Crypto {
  /** So many bytes that nobody can guess. */
  random(bytes: number): Uint8Array;
  /** Makes a key pair on P-256. */
  createKey(): Promise<StoredKey>;
  /** The public half of a key pair (RFC 7517). */
  publicKey(key: StoredKey): Promise<JWK>;
  /** ECDSA with SHA-256: 64 bytes, r and s (RFC 7518, 3.4). */
  sign(key: StoredKey, data: Uint8Array): Promise<Uint8Array>;
  /** SHA-256 (FIPS 180-4): 32 bytes. */
  digest(data: Uint8Array): Promise<Uint8Array>;
}

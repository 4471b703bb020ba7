import { NetworkError, ProblemError, ProtocolError } from "./error.ts";
import { decode } from "./frame.ts";
import type { Clock } from "./ports.ts";
import type { Envelope, Problem } from "./wire.ts";

/** How long a connection may take until the welcome. */
export const dialMs = 15_000;

/** One connection, whatever carries it. */
export abstract class Link {
  readonly #clock: Clock;
  readonly #frames: string[] = [];
  #wake: (() => void) | undefined;
  #ended: { err: unknown } | undefined;
  #patience = dialMs;
  #calm: () => void;
  #heard: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#calm = clock.after(this.#patience, this.#silence);
    this.#heard = clock.now();
  }

  /** Writes one frame. What it costs to be answered is not waited for. */
  abstract write(frame: string, e: Envelope): void;
  /** Whether so much waits to be written that a signal should be dropped. */
  abstract congested(): boolean;
  /** Whether a ping gets an answer. */
  abstract readonly answers: boolean;
  /** Ends what carries the connection. */
  protected abstract shut(): void;

  /** The next frame; what has come before the end comes before the error. */
  async read(): Promise<string> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame !== undefined) {
        return frame;
      }
      if (this.#ended) {
        throw this.#ended.err;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Sets how long the server may be silent. */
  patience(ms: number): void {
    this.#patience = ms;
    this.#wait();
  }

  /** When the server was last heard, by the clock. */
  get lastHeard(): number {
    return this.#heard;
  }

  /** Ends the connection; read then throws err, unless it had ended before. */
  fail(err: unknown): void {
    if (this.#ended) {
      return;
    }
    this.#ended = { err };
    this.#calm();
    this.shut();
    this.#wake?.();
  }

  /** Whether it has ended. */
  get over(): boolean {
    return this.#ended !== undefined;
  }

  /** A sign of life came. */
  protected heard(): void {
    this.#heard = this.#clock.now();
    this.#wait();
  }

  #wait(): void {
    this.#calm();
    if (!this.#ended) {
      this.#calm = this.#clock.after(this.#patience, this.#silence);
    }
  }

  protected push(frame: string): void {
    this.#frames.push(frame);
    this.#wake?.();
  }

  readonly #silence = () => this.fail(new NetworkError("the connection has gone silent"));
}

/** Reads the one frame that must come next, and returns its body. */
export async function expect<T>(link: Link, type: string): Promise<T> {
  const text = await link.read();
  const e = decodeServer(text);
  if (e.type === "error") {
    throw problemIn(e);
  }
  if (e.type !== type || typeof e.body !== "object" || e.body === null) {
    throw new ProtocolError(`${JSON.stringify(e.type)} came where ${type} was due`);
  }
  return e.body as T;
}

/** Reads a frame of the server's. @throws ProtocolError */
export function decodeServer(text: string): Envelope {
  try {
    return decode(text);
  } catch (err) {
    throw new ProtocolError(`not a frame: ${(err as Error).message}`, { cause: err });
  }
}

/** The problem in an error frame. */
export function problemIn(e: Envelope): Error {
  const p = e.body as Problem | undefined;
  if (typeof p?.code !== "string" || p.code === "") {
    return new ProtocolError("an error without a problem");
  }
  return new ProblemError(p);
}

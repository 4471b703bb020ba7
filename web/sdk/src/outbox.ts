import { ClosedError, ConfigError } from "./error.ts";
import { encode } from "./frame.ts";
import type { Keeper } from "./keeper.ts";
import type { Clock, Store } from "./ports.ts";
import type { AckFrame, DeviceFrame, RequestID, SendFrame } from "./wire.ts";

/** A request: a frame whose answer is waited for. */
export type RequestFrame = Extract<DeviceFrame, { id: RequestID }>;

/** A message that the server has not yet stored. */
export interface Unsent {
  frame: SendFrame;
  /** When it was given to the device, in milliseconds since 1970. */
  since: number;
}

/** A message as it is kept. */
interface Kept extends Unsent {
  /** The run that is to send it. */
  holder?: string;
}

/** A request that has no answer yet. */
export interface Pending {
  frame: RequestFrame;
  text: string;
  /** Instead of text, until it was sent once; undefined: it was, or may have been. */
  first: string | undefined;
  since: number;
  /** Where it is kept; undefined: not kept. */
  key: string | undefined;
  /** How often the server has left the outcome open. */
  attempts: number;
  /** Not to be sent now: the server has asked to wait. */
  waits: boolean;
  answered: (ack: AckFrame) => void;
  failed: (err: unknown) => void;
}

/** The requests that have no answer yet, in their order; messages are kept in the store. */
export class Outbox {
  readonly #keeper: Keeper;
  readonly #clock: Clock;
  readonly #prefix: string;
  readonly #holder: string;
  readonly #pending = new Map<RequestID, Pending>();
  #last = 0;
  #closed = false;

  /** holder names this run of the device among others that use the same store. */
  constructor(device: string, holder: string, keeper: Keeper, clock: Clock) {
    this.#prefix = prefix(device);
    this.#holder = holder;
    this.#keeper = keeper;
    this.#clock = clock;
  }

  /** Takes what earlier runs have left. */
  async load(store: Store): Promise<void> {
    for (const [key, value] of await store.list(this.#prefix)) {
      this.#hold(key, value);
    }
  }

  /** Takes what another run has left, which has ended; in its order, and before what was said later. */
  async take(store: Store, holder: string): Promise<Pending[]> {
    const taken: Pending[] = [];
    for (const [key, value] of await store.list(this.#prefix)) {
      const kept = value as Kept | undefined;
      if (kept?.holder === holder && !this.#closed && !this.has(kept.frame.id)) {
        taken.push(...(this.#hold(key, kept) ?? []));
      }
    }
    const all = this.all().sort((a, b) => a.since - b.since);
    this.#pending.clear();
    for (const p of all) {
      this.#pending.set(p.frame.id, p);
    }
    return taken;
  }

  /** Makes a message that is kept this run's; what is none any more is dropped. */
  #hold(key: string, kept: unknown): [Pending] | undefined {
    try {
      const { frame, since } = kept as Kept;
      const p = entry(frame, encode(frame), since, key);
      this.#pending.set(frame.id, p);
      this.#last = Math.max(this.#last, since);
      this.#keep(p);
      return [p];
    } catch {
      this.#keeper.set(key, undefined);
      return undefined;
    }
  }

  #keep({ key, text, since }: Pending): void {
    if (key) {
      // As it is sent: a body may hold what a store does not take, and that would keep all else out of it.
      const kept: Kept = { frame: JSON.parse(text), since, holder: this.#holder };
      this.#keeper.set(key, kept);
    }
  }

  /**
   * Adds a request. keep: it outlives the program, and its key in the store sorts it.
   *
   * @throws ConfigError if a request with its id is under way; ClosedError; FrameError
   */
  add(request: RequestFrame, keep: boolean): Pending {
    const { frame, first } = apart(request);
    const text = encode(frame);
    if (this.#closed) {
      throw new ClosedError("the device was stopped");
    }
    if (this.#pending.has(frame.id)) {
      throw new ConfigError(`a request with the id ${frame.id} is under way`);
    }
    this.#last = Math.max(this.#clock.now(), this.#last + 1);
    const key = keep
      ? `${this.#prefix}${String(this.#last).padStart(16, "0")}-${frame.id}`
      : undefined;
    const p = entry(frame, text, this.#last, key);
    p.first = first;
    this.#pending.set(frame.id, p);
    this.#keep(p);
    return p;
  }

  has(id: RequestID | undefined): boolean {
    return id !== undefined && this.#pending.has(id);
  }

  get(id: RequestID | undefined): Pending | undefined {
    return id === undefined ? undefined : this.#pending.get(id);
  }

  /** Forgets a request. */
  drop(id: RequestID): void {
    const p = this.#pending.get(id);
    this.#pending.delete(id);
    if (p?.key) {
      this.#keeper.set(p.key, undefined);
    }
  }

  /** All requests, in their order. */
  all(): Pending[] {
    return [...this.#pending.values()];
  }

  /** The messages that the server has not yet stored, oldest first. */
  unsent(): Unsent[] {
    return this.all().flatMap(({ frame, since }) =>
      frame.type === "send" ? [{ frame, since }] : [],
    );
  }

  /** Ends every request; those that are kept stay in the store. */
  close(): void {
    this.#closed = true;
    for (const p of this.#pending.values()) {
      p.failed(new ClosedError("the device was stopped"));
    }
    this.#pending.clear();
  }
}

/** What is sent and kept as a repetition, and what is sent the first time. */
function apart(request: RequestFrame): { frame: RequestFrame; first: string | undefined } {
  if (request.type !== "send" || !request.fresh) {
    return { frame: request, first: undefined };
  }
  const { fresh: _, ...frame } = request;
  return { frame, first: encode(request) };
}

function prefix(device: string): string {
  return `outbox/${device}/`;
}

function entry(frame: RequestFrame, text: string, since: number, key: string | undefined): Pending {
  const nothing = () => {};
  return {
    frame,
    text,
    first: undefined,
    since,
    key,
    attempts: 0,
    waits: false,
    answered: nothing,
    failed: nothing,
  };
}

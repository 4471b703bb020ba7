import { type Api, reasonOf, stallMs } from "./api.ts";
import { isProblem, NetworkError, ProblemError, ProtocolError } from "./error.ts";
import { EventParser } from "./events.ts";
import { dialMs, expect, Link } from "./link.ts";
import type { Clock } from "./ports.ts";
import { closing } from "./socket.ts";
import type { Envelope, Problem, Welcome } from "./wire.ts";

/** Beyond so many frames that wait to be posted, signals are dropped. */
const congestedFrames = 64;
/** How long a POST may take to be answered; the server gives up before. */
const postMs = 20_000;

/**
 * The fallback: frames come as server-sent events and go as POSTs, whose answers join the
 * frames that come. POSTs go one after the other, so that requests keep their order; but
 * a resume, which takes as long as there is something to send, goes beside them.
 */
export class StreamLink extends Link {
  override readonly answers = false;
  readonly #api: Api;
  readonly #clock: Clock;
  readonly #ends = new AbortController();
  #stream = "";
  #posts = Promise.resolve();
  #waiting = 0;

  constructor(api: Api, clock: Clock) {
    super(clock);
    this.#api = api;
    this.#clock = clock;
    this.#read().catch((err) => this.fail(err));
  }

  override write(frame: string, e: Envelope): void {
    switch (e.type) {
      case "ping":
      case "pong":
        return; // not needed: the server notices by its writes
      case "resume":
        this.#post(frame, e, stallMs).catch((err) => this.fail(err));
        return;
    }
    this.#waiting++;
    this.#posts = this.#posts.then(async () => {
      try {
        if (!this.over) {
          await this.#post(frame, e, postMs);
        }
      } catch (err) {
        this.fail(err);
      } finally {
        this.#waiting--;
      }
    });
  }

  override congested(): boolean {
    return this.#waiting > congestedFrames;
  }

  protected override shut(): void {
    this.#ends.abort(new NetworkError("the connection is over"));
  }

  /** Takes the events off the stream until it ends; it always throws. */
  async #read(): Promise<never> {
    const res = await this.#api.send("GET", "/v1/events", {
      headers: { Accept: "text/event-stream" },
      signal: this.#ends.signal,
    });
    if (!res.body) {
      throw new ProtocolError("the events have no body");
    }
    const parser = new EventParser();
    const reader = res.body.getReader();
    const decoder = new TextDecoder();
    for (;;) {
      const { done, value } = await reader.read().catch((err) => {
        throw new NetworkError(`events: ${reasonOf(err)}`, { cause: err });
      });
      if (done) {
        throw new NetworkError("the events ended");
      }
      this.heard();
      for (const { name, data } of parser.take(decoder.decode(value, { stream: true }))) {
        this.#event(name, data);
      }
    }
  }

  #event(name: string, data: string): void {
    if (this.#stream === "") {
      const id = name === "stream" ? (parse(data) as { stream?: unknown }).stream : undefined;
      if (typeof id !== "string" || id === "") {
        throw new ProtocolError("the events do not begin with the stream's id");
      }
      this.#stream = id;
    } else if (name === "envelope") {
      this.push(data);
    } else if (name === "close") {
      const { code, reason } = parse(data) as { code?: number; reason?: string };
      throw closing(code ?? 1006, reason ?? "");
    }
  }

  /**
   * Posts one frame and takes its answer. An error means that the connection is of no
   * more use; a refusal of the request is an answer.
   */
  async #post(frame: string, e: Envelope, most: number): Promise<void> {
    const late = new AbortController();
    const give = () => late.abort(this.#ends.signal.reason);
    this.#ends.signal.addEventListener("abort", give, { once: true });
    const calm = this.#clock.after(most, () =>
      late.abort(new NetworkError("no answer to a frame in time")),
    );
    try {
      const res = await this.#api.send("POST", "/v1/frames", {
        headers: { "Content-Type": "application/json", "Tandem-Stream": this.#stream },
        body: frame,
        signal: late.signal,
      });
      const answer = await res.text();
      // The answer to a resume comes in the stream, where it has its place.
      if (res.status === 200 && e.type !== "resume") {
        this.push(answer);
      }
    } catch (err) {
      this.#refused(e, err);
    } finally {
      calm();
      this.#ends.signal.removeEventListener("abort", give);
    }
  }

  #refused(e: Envelope, err: unknown): void {
    if (!(err instanceof ProblemError)) {
      throw err instanceof NetworkError
        ? err
        : new NetworkError(`frame: ${reasonOf(err)}`, { cause: err });
    }
    // The server does not know the stream: it was restarted, or is another one. What else
    // may be not found is told apart by the request: there are no such invitations.
    if (err.code === "not-found" && e.type !== "answer" && e.type !== "confirm") {
      throw new NetworkError(`frame: ${err.message}`, { cause: err });
    }
    if (isProblem(err, "unauthenticated", "revoked", "binding-expired", "draining")) {
      throw err; // says something of the device, or the server
    }
    if (e.id !== undefined) {
      const body: Problem = err.problem;
      this.push(
        JSON.stringify({ type: "error", id: e.id, ...(e.session && { session: e.session }), body }),
      );
    }
  }
}

function parse(data: string): object {
  try {
    const v: unknown = JSON.parse(data);
    return typeof v === "object" && v !== null ? v : {};
  } catch {
    return {};
  }
}

/** Opens a stream of events. */
export function dialStream(api: Api, clock: Clock): { link: Link; welcome: Promise<Welcome> } {
  const link = new StreamLink(api, clock);
  link.patience(dialMs);
  return { link, welcome: expect<Welcome>(link, "welcome") };
}

import type { Device } from "./device.ts";
import { backoff, problemOf, retryable } from "./error.ts";
import type { Clock } from "./ports.ts";
import type { Ack, Report } from "./wire.ts";

/** What is reported of a call; the reporter orders its reports itself. */
export type CallDetails = Omit<Report, "report_seq">;

/** What became of one report. */
export interface Reported {
  details: CallDetails;
  /** The server's answer, or */
  ack?: Ack;
  error?: unknown;
}

/** How a reporter goes about it. */
export interface ReporterConfig {
  clock: Clock;
  /** Between repetitions; default 40 s. A report stands only for a time (Limits.report_ttl_s). */
  everyMs?: number;
  /** Is called with what came of each report. */
  told?: (reported: Reported) => void;
}

/** How often a report is made that the server cannot take at the moment. */
const tries = 4;

interface Change {
  ref: string;
  details: CallDetails;
  seq: number;
}

/**
 * Reports every change of the calls that a telephone tells of, in order, and repeats the
 * state of each call that is up, since a report stands only for a time. A change that
 * could not be delivered yet gives way to a newer one of the same call, but the end of a
 * call does not.
 */
export class CallReporter {
  readonly #device: Pick<Device, "report">;
  readonly #config: ReporterConfig;
  /** Calls that are not over. */
  readonly #up = new Map<string, Change>();
  #waiting: Change[] = [];
  #seq: number;
  #work: Promise<void> | undefined;
  #cancel: () => void = () => {};
  readonly #ends = new AbortController();

  constructor(device: Pick<Device, "report">, config: ReporterConfig) {
    this.#device = device;
    this.#config = config;
    this.#seq = config.clock.now(); // grows over restarts of the program
    this.#repeatLater();
  }

  /** Takes the present state of a call. Calls are told apart by details.ref. */
  update(details: CallDetails): void {
    // By the clock, so that of two pages of one device the later word counts.
    this.#seq = Math.max(this.#seq + 1, this.#config.clock.now());
    const c: Change = {
      ref: keyOf(details.ref),
      details,
      seq: this.#seq,
    };
    if (details.state === "ended") {
      this.#up.delete(c.ref);
    } else {
      this.#up.set(c.ref, c);
      const i = this.#waiting.findLastIndex((w) => w.ref === c.ref);
      if (i >= 0 && this.#waiting[i]?.details.state !== "ended") {
        this.#waiting[i] = c;
        return;
      }
    }
    this.#waiting.push(c);
    this.#start();
  }

  /** Repeats a call no more, as one that the server has refused; its end is still reported. */
  forget(ref: CallDetails["ref"]): void {
    const key = keyOf(ref);
    this.#up.delete(key);
    this.#waiting = this.#waiting.filter((w) => w.ref !== key || w.details.state === "ended");
  }

  /** Resolves when everything that was told is reported. */
  async idle(): Promise<void> {
    while (this.#work) {
      await this.#work;
    }
  }

  /** Ends the repetition, and gives up what is not yet reported. */
  close(): void {
    this.#cancel();
    this.#waiting = [];
    this.#ends.abort();
  }

  #repeatLater(): void {
    this.#cancel = this.#config.clock.after(this.#config.everyMs ?? 40_000, () => {
      if (this.#waiting.length === 0) {
        this.#waiting = [...this.#up.values()];
        this.#start();
      }
      this.#repeatLater();
    });
  }

  #start(): void {
    this.#work ??= this.#report().finally(() => {
      this.#work = undefined;
    });
  }

  async #report(): Promise<void> {
    for (let c = this.#waiting.shift(); c; c = this.#waiting.shift()) {
      const { details, seq } = c;
      const reported: Reported = { details };
      try {
        reported.ack = await this.#insist({ ...details, report_seq: seq });
      } catch (err) {
        reported.error = err;
      }
      if (!this.#ends.signal.aborted) {
        this.#config.told?.(reported);
      }
    }
  }

  /** Reports, and again where the server says that it may work later. */
  async #insist(report: Report): Promise<Ack> {
    const { clock } = this.#config;
    for (let n = 1; ; n++) {
      try {
        return await this.#device.report(report, { signal: this.#ends.signal });
      } catch (err) {
        if (!problemOf(err) || !retryable(err) || n === tries) {
          throw err;
        }
        await new Promise<void>((resolve) => {
          clock.after(backoff(n, clock.random(), err), resolve);
        });
      }
    }
  }
}

function keyOf(ref: CallDetails["ref"]): string {
  const { session_id = "", call_id = "", local = "" } = ref ?? {};
  return JSON.stringify([session_id, call_id, local]);
}

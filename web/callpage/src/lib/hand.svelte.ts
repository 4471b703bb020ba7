import {
  type CallDetails,
  CallReporter,
  ClosedError,
  type Device,
  newID,
  type Ports,
  type Reported,
  retryable,
} from "@tandem-call/sdk";

const kept = "page/hand";
interface Kept {
  other: string;
  ref: string;
  own?: string;
}

/** A call that is over is kept here, by its ref, until the server has been told. */
const overs = "page/hand-over/";
interface Over extends Kept {
  /** When it was over. */
  at: number;
}
/** The server counts a call that nobody tells of as over long before that. */
const overMs = 26 * 3600_000;
/** After how long the end is told again, where the server could not take it. */
const againMs = 40_000;

/**
 * A call that a person tells of (A2): the page has no telephone, so the user says with whom
 * they speak, and when it is over. It is told again as long as the page is open, also after
 * a reload; that it is over, until the server knows.
 */
export class HandReport {
  call = $state.raw<Kept>();
  /** The server knows of the call. */
  told = $state(false);
  /** Why it could not be told last; it is told again in a while. */
  trouble = $state.raw<unknown>();
  /** Why the server has refused the call that was told of last. */
  error = $state.raw<unknown>();
  readonly #reporter: CallReporter;
  readonly #ports: Ports;
  /** The other tabs of this device: what the user says in one holds in all. */
  readonly #tabs = new BroadcastChannel("tandem-hand");

  private constructor(device: Device, ports: Ports) {
    this.#ports = ports;
    this.#tabs.onmessage = ({ data }) => {
      const { call, state } = data as { call: Kept; state: "active" | "ended" };
      this.#report(call, state);
    };
    this.#reporter = new CallReporter(device, {
      clock: ports.clock,
      told: (r) => this.#told(r),
    });
  }

  /** Gives up a call that is refused; what fails for now is reported again in a while. */
  #told({ details, error }: Reported): void {
    if (details.state === "ended") {
      this.#toldOver(details, error);
    }
    const present = details.ref?.local === this.call?.ref;
    if (!error || retryable(error)) {
      if (present) {
        this.told ||= !error;
        this.trouble = error;
      }
      return;
    }
    this.#reporter.forget(details.ref);
    if (present) {
      this.error = error;
      this.call = undefined;
      void this.#keep([[kept, undefined]]);
    }
  }

  /** The end of a call is told again until the server knows, or does not want to. */
  #toldOver(details: CallDetails, error: unknown): void {
    if (error instanceof ClosedError) {
      return; // the next run tells it
    }
    if (error && retryable(error)) {
      this.#ports.clock.after(againMs, () => this.#reporter.update(details));
      return;
    }
    void this.#keep([[overs + details.ref?.local, undefined]]);
  }

  /** What cannot be kept holds for this run. */
  async #keep(changes: [string, unknown][]): Promise<void> {
    await this.#ports.store.write(new Map(changes)).catch(() => {});
  }

  /** Takes up what an earlier run of the page was told. */
  static async open(device: Device, ports: Ports): Promise<HandReport> {
    const h = new HandReport(device, ports);
    for (const [key, value] of await ports.store.list(overs)) {
      const { at, ...call } = value as Over;
      if (ports.clock.now() - at > overMs) {
        await h.#keep([[key, undefined]]);
      } else {
        h.#report(call, "ended");
      }
    }
    const old = (await ports.store.get(kept)) as Kept | undefined;
    if (old) {
      h.#report(old, "active");
    }
    return h;
  }

  /** The user is on a call with the other number. own: which of the user's it is. */
  async begin(other: string, own: string | undefined): Promise<void> {
    const ref = newID("hand-", this.#ports.crypto.random);
    const call: Kept = { other, ref, ...(own && { own }) };
    this.#report(call, "active");
    this.#tabs.postMessage({ call, state: "active" });
    await this.#keep([[kept, call]]);
  }

  /** The call is over. */
  async end(): Promise<void> {
    const { call } = this;
    if (call) {
      this.#report(call, "ended");
      this.#tabs.postMessage({ call, state: "ended" });
      await this.#keep([
        [kept, undefined],
        [overs + call.ref, { ...call, at: this.#ports.clock.now() } satisfies Over],
      ]);
    }
  }

  #report(call: Kept, state: "active" | "ended"): void {
    this.error = undefined;
    this.trouble = undefined;
    this.told = false;
    this.call = state === "active" ? call : undefined;
    const details = {
      other: call.other,
      state,
      ref: { local: call.ref },
      typed: true,
      ...(call.own && { own: call.own }),
    };
    this.#reporter.update(details);
  }
}

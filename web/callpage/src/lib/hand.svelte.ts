import {
  CallReporter,
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

/**
 * A call that a person tells of (A2): the page has no telephone, so the user says with whom
 * they speak, and when it is over. It is told again as long as the page is open, also after
 * a reload.
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
      void this.#ports.store.write(new Map([[kept, undefined]]));
    }
  }

  /** Takes up what an earlier run of the page was told. */
  static async open(device: Device, ports: Ports): Promise<HandReport> {
    const h = new HandReport(device, ports);
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
    await this.#ports.store.write(new Map([[kept, call]]));
  }

  /** The call is over. */
  async end(): Promise<void> {
    const { call } = this;
    if (call) {
      this.#report(call, "ended");
      this.#tabs.postMessage({ call, state: "ended" });
      await this.#ports.store.write(new Map([[kept, undefined]]));
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

import {
  type Softphone as Account,
  CallReporter,
  type Clock,
  type Device,
  problemOf,
  retryable,
} from "@tandem-call/sdk";
import type { CallState, PhoneCall, Softphone, Source } from "../phone/softphone.ts";

/**
 * How it stands with the telephone. "none": the server has none for this device.
 * "elsewhere": another tab of the page has it.
 */
export type Line = "starting" | "ready" | "offline" | "none" | "elsewhere";

/** How long after its end a call is still shown. */
const endedMs = 4_000;
/** How long a call waits for a telephone that registers; then it is tried, and fails with a reason. */
const registerMs = 5_000;
/** How long a renewal waits, where there is a call. */
const busyMs = 30_000;

/**
 * The page's own telephone. Its events are what the device reports of its calls (A1): nothing
 * is asked for again and again.
 */
export class Telephone {
  line = $state<Line>("starting");
  call = $state.raw<PhoneCall>();
  /** When the call was answered. */
  since = $state<number>();
  muted = $state(false);
  quiet = $state(false);
  source = $state<Source>("tone");
  level = $state(0);
  /** The microphone was wanted and is not to be had. */
  refused = $state(false);
  readonly #device: Device;
  readonly #clock: Clock;
  readonly #reporter: CallReporter;
  #phone: Softphone | undefined;
  /** Until the phone is registered, or cannot be. */
  #registered: Promise<void> | undefined;
  /** Calls that are about to be made, of which only the newest is wanted. */
  #dials = 0;
  #dialled = 0;
  #release: (() => void) | undefined;
  #stopped = false;

  constructor(device: Device, clock: Clock) {
    this.#device = device;
    this.#clock = clock;
    this.#reporter = new CallReporter(device, { clock });
  }

  /** Whether there is a call that is not over. */
  readonly busy = $derived(this.call !== undefined && this.call.state !== "ended");

  /** Registers, in one tab of the page only: two would ring both. */
  async start(): Promise<void> {
    const held = await navigator.locks.query();
    if (held.held?.some((l) => l.name === "tandem-telephone")) {
      this.line = "elsewhere";
    }
    await navigator.locks.request("tandem-telephone", async () => {
      await this.#register();
      await new Promise<void>((resolve) => {
        this.#release = resolve;
      });
    });
  }

  async #register(): Promise<void> {
    while (!this.#stopped) {
      try {
        const account = await this.#device.api.call<Account>("GET", "/v1/softphone");
        const { Softphone } = await import("../phone/softphone.ts");
        if (this.#stopped) {
          return;
        }
        if (this.#used) {
          this.#renewIn(busyMs);
          return;
        }
        const url = new URL(account.websocket_url);
        // The page's own host, whatever name the server knows itself by.
        const scheme = location.protocol === "https:" ? "wss:" : "ws:";
        const socket = `${scheme}//${location.host}${url.pathname}`;
        let settled = () => {};
        const registered = new Promise<void>((resolve) => {
          settled = resolve;
        });
        const phone = new Softphone(account, socket, {
          registered: () => {
            this.line = "ready";
            settled();
          },
          unregistered: () => {
            this.line = "offline";
            settled();
          },
          call: (call) => this.#told(call),
          level: (level) => {
            this.level = level;
          },
          silent: () => {
            this.source = "tone";
            this.refused = true;
          },
        });
        this.#phone?.stop();
        this.#phone = phone;
        this.#registered = registered;
        this.#clock.after(registerMs, settled);
        phone.start();
        this.#renewIn(Math.max(60, account.expires_s / 2) * 1000);
        return;
      } catch (err) {
        if (problemOf(err) && !retryable(err)) {
          this.line = "none";
          if (!this.#used) {
            this.#phone?.stop();
          }
          return;
        }
        if (!this.#phone) {
          this.line = "offline";
        }
        await new Promise<void>((resolve) => {
          this.#clock.after(3_000, resolve);
        });
      }
    }
  }

  /** There is a call, or one is about to be made. */
  get #used(): boolean {
    return this.#phone !== undefined && (this.busy || this.#dials > 0);
  }

  /**
   * Takes a fresh password before the old one ends, when there is no call. The phone with the old one
   * is good until the new one is there.
   */
  #renewIn(ms: number): void {
    this.#clock.after(ms, () => {
      if (this.#used) {
        this.#renewIn(busyMs);
      } else {
        void this.#register();
      }
    });
  }

  #told(call: PhoneCall): void {
    const before: CallState | undefined = this.call?.id === call.id ? this.call.state : undefined;
    // One that was transferred ends beside the one that goes on, and is not looked at any more.
    const shown = before !== undefined || call.state !== "ended" || !this.busy;
    if (shown) {
      this.call = call;
    }
    if (call.state === "active" && before !== "active") {
      this.since = Date.now();
    }
    const state = call.state === "calling" ? "ringing" : call.state;
    this.#reporter.update({
      other: call.other,
      ...(call.extension && { other_extension: call.extension }),
      direction: call.direction,
      state,
      ref: { call_id: call.id },
    });
    if (call.state === "ended" && shown) {
      this.muted = false;
      this.#clock.after(endedMs, () => {
        if (this.call?.id === call.id) {
          this.call = undefined;
          this.since = undefined;
        }
      });
    }
  }

  async dial(number: string): Promise<void> {
    this.refused = false;
    this.since = undefined;
    const turn = ++this.#dialled;
    this.#dials++;
    try {
      await this.#registered; // one phone may be taking the place of another
      if (turn === this.#dialled) {
        await this.#phone?.dial(number.replace(/[\s()./-]/g, ""), this.source);
      }
    } finally {
      this.#dials--;
    }
  }

  async answer(): Promise<void> {
    this.refused = false;
    await this.#phone?.answer(this.source);
  }

  hangUp(): void {
    this.#phone?.hangUp();
  }

  /** Presses keys of the telephone within the call (RFC 4733); false without one. */
  press(keys: string): boolean {
    return this.call?.state === "active" && this.#phone?.press(keys) === true;
  }

  /** Transfers the call to another phone of its number; resolves when that has answered. */
  async transfer(number: string, extension: string): Promise<void> {
    await this.#phone?.transfer(number, extension);
  }

  mute(): void {
    this.muted = !this.muted;
    this.#phone?.mute(this.muted);
  }

  hush(): void {
    this.quiet = !this.quiet;
    this.#phone?.quiet(this.quiet);
  }

  /** Speaks, or lets a tone sound instead. */
  async speak(source: Source): Promise<void> {
    this.refused = false;
    this.source = source;
    if (this.busy) {
      this.source = (await this.#phone?.use(source)) ?? source;
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#phone?.stop();
    this.#release?.();
  }
}

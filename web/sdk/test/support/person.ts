import {
  CallReporter,
  Device,
  type DeviceConfig,
  type Events,
  enrol,
  type Identity,
  type Message,
  type Ports,
  type SessionState,
} from "../../src/index.ts";
import { nodePorts } from "../../src/node/index.ts";
import type { TestServer } from "./server.ts";

/** A person with a device: what came is kept, and can be waited for. */
export class Person {
  readonly ports: Ports;
  readonly number: string;
  identity!: Identity;
  device!: Device;
  /** Messages of the present run, in their order. */
  messages: Message[] = [];
  readonly happened: { [K in keyof Events]: { event: K; value: Events[K] } }[keyof Events][] = [];
  #stop = new AbortController();
  #run: Promise<void> = Promise.resolve();
  readonly #waiting = new Set<() => void>();

  constructor(number: string, ports: Ports = nodePorts()) {
    this.number = number;
    this.ports = ports;
  }

  /** Enrols with the code that the server prints. */
  async enrol(server: TestServer, url = server.url): Promise<this> {
    const pending = await enrol(
      { server: url, number: this.number, name: this.number },
      this.ports,
    );
    this.identity = await pending.confirm(await server.code());
    return this;
  }

  /** Starts a run of the device. */
  async start(config: Partial<DeviceConfig> = {}): Promise<this> {
    this.messages = [];
    this.#stop = new AbortController();
    const device = await Device.open({ identity: this.identity, ports: this.ports, ...config });
    this.device = device;
    const events = [
      "connected",
      "disconnected",
      "session",
      "message",
      "rewind",
      "lost",
      "signal",
      "invite",
      "withdrawn",
      "words",
      "notice",
      "available",
      "sent",
      "refused",
      "fault",
    ] as const;
    for (const event of events) {
      device.on(event, (value) => {
        if (event === "message") {
          this.messages.push(value as Message);
        }
        this.happened.push({ event, value } as (typeof this.happened)[number]);
        for (const wake of [...this.#waiting]) {
          wake();
        }
      });
    }
    this.#run = device.run(this.#stop.signal);
    this.#run.catch(() => {}); // told by stop
    return this;
  }

  /** Ends the run. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error("stopped by the test"));
    await this.#run;
  }

  /** The end of the run, as the device itself brings it about. */
  ended(): Promise<void> {
    return this.#run;
  }

  /** Waits until a condition holds, which is looked at after each event. */
  async until<T>(what: string, condition: () => T | undefined | false): Promise<T> {
    const since = this.happened.length;
    for (;;) {
      const v = condition();
      if (v !== undefined && v !== false) {
        return v;
      }
      await new Promise<void>((resolve, reject) => {
        const late = setTimeout(() => {
          this.#waiting.delete(wake);
          const came = this.happened.slice(since).map((h) => h.event);
          reject(new Error(`${this.number} waits in vain for ${what}; came: ${came.join(" ")}`));
        }, 60_000); // only to fail: what is waited for is an event
        const wake = () => {
          clearTimeout(late);
          this.#waiting.delete(wake);
          resolve();
        };
        this.#waiting.add(wake);
      });
    }
  }

  /** Waits for the next such event, or one that has come after mark. */
  next<K extends keyof Events>(
    event: K,
    fits: (value: Events[K]) => boolean = () => true,
    mark = this.happened.length,
  ): Promise<Events[K]> {
    return this.until(event, () => {
      const found = this.happened
        .slice(mark)
        .find((h) => h.event === event && fits(h.value as Events[K]));
      return found && (found.value as Events[K]);
    });
  }

  /** The texts of the others, in order. */
  texts(): string[] {
    return this.messages
      .filter((m) => m.kind === "text")
      .map((m) => (m.body as { text: string }).text);
  }

  /** Reports a call with another person, and its repetition. */
  call(other: Person, state: "active" | "ended" = "active"): CallReporter {
    const reporter = new CallReporter(this.device, { clock: this.ports.clock });
    reporter.update({ other: other.number, state });
    return reporter;
  }
}

/** Two people with a server, in a call; the session is open on both. */
export async function inCall(a: Person, b: Person): Promise<SessionState> {
  const both = Promise.all([
    a.next("session", (s) => s.phase === "in_call"),
    b.next("session", (s) => s.phase === "in_call"),
  ]);
  await a.device.report({ other: b.number, state: "active" });
  await b.device.report({ other: a.number, state: "active" });
  const [session] = await both;
  return session;
}

let last = 0;

/** A number that no other test uses. */
export function number(): string {
  last++;
  return `+44207946${String(last).padStart(4, "0")}`;
}

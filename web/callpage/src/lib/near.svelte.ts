import {
  type Coupling,
  type Device,
  type Ports,
  type SessionState,
  stayNear,
} from "@tandem-call/sdk";

/** What the user has coupled for one call is kept here, until that call's session closes. */
const forCallKey = "page/for-call";

/** Since when, by the server's clock, and for which session; none: the next that opens. */
interface ForCall {
  at: number;
  session: string | undefined;
}

/**
 * Keeps this device's temporary couplings alive, as long as the page is open, and ends those that
 * were made for one call only when the session of that call closes.
 */
export class Nearness {
  readonly #device: Device;
  readonly #ports: Ports;
  #stop: AbortController | undefined;

  constructor(device: Device, ports: Ports) {
    this.#device = device;
    this.#ports = ports;
  }

  /** To be called when couplings may have been made: looks whether there is anything to renew. */
  async look(): Promise<void> {
    const all = await this.#device.api.couplings();
    if (!this.#stop && all.some(isTemporary)) {
      this.#stop = new AbortController();
      void stayNear(this.#device.api, this.#ports.clock, this.#stop.signal, (renewed, err) => {
        if (!err && !renewed.some(isTemporary)) {
          this.stop();
        }
      });
    }
  }

  stop(): void {
    this.#stop?.abort();
    this.#stop = undefined;
  }

  /** The user couples a device for this call, of which there may be a session already. */
  async forCall(at: number, session: string | undefined): Promise<void> {
    if ((await this.#ports.store.get(forCallKey)) === undefined) {
      await this.#ports.store.write(new Map([[forCallKey, { at, session } satisfies ForCall]]));
    }
  }

  /** A session has closed: what was coupled for its call is coupled no longer. */
  async closed(s: SessionState): Promise<void> {
    const known = (await this.#ports.store.get(forCallKey)) as ForCall | undefined;
    if (!known || (known.session ? known.session !== s.id : Date.parse(s.opened) < known.at)) {
      return;
    }
    for (const c of await this.#device.api.couplings()) {
      if (isTemporary(c) && Date.parse(c.created) >= known.at) {
        await this.#device.api.endCoupling(c.id);
      }
    }
    await this.#ports.store.write(new Map([[forCallKey, undefined]]));
  }
}

const isTemporary = (c: Coupling) => c.kind === "temporary";

import { Api } from "./api.ts";
import { isProblem } from "./error.ts";
import { assertion, type Identity, keepIdentity, keyFor } from "./identity.ts";
import type { Ports, StoredKey } from "./ports.ts";
import type {
  CouplingKind,
  CouplingPending,
  CouplingRequest,
  DeviceInfo,
  PushApp,
} from "./wire.ts";

/** How this device is to be coupled with a telephone that cannot carry data. */
export interface CouplingOptions {
  /** The server's address. */
  server: string;
  /** The name of the device, as the phone's owner and the other party see it. */
  name?: string;
  /** Wished for, where whoever vouches for the device does not say; otherwise permanent. */
  kind?: CouplingKind;
  /** To be woken by push. */
  app?: PushApp;
  /** The software and its version. */
  client?: string;
}

/** A device that waits until somebody who has proved a telephone's number vouches for it. */
export class PendingCoupling {
  /** Its own code, to be typed at the phone, told to an operator, or keyed in a call. */
  readonly code: string;
  /** How long that is valid. */
  readonly expires: string;
  readonly #request: CouplingPending;
  readonly #key: StoredKey;
  readonly #api: Api;
  readonly #ports: Ports;

  /** @internal */
  constructor(request: CouplingPending, key: StoredKey, api: Api, ports: Ports) {
    this.code = request.code;
    this.expires = request.expires;
    this.#request = request;
    this.#key = key;
    this.#api = api;
    this.#ports = ports;
  }

  /**
   * Couples the device with the code that is shown at the phone, and keeps the identity in
   * the store. With a wrong code it can be called again, as long as tries are left.
   *
   * @throws ProblemError code "wrong-code", "code-expired", "conflict"
   */
  claim(code: string, signal?: AbortSignal): Promise<Identity> {
    return this.#claim(code, signal);
  }

  /**
   * Waits until somebody has vouched for the device, and keeps the identity in the store.
   *
   * @throws ProblemError code "code-expired" when nobody has in time
   */
  async wait(signal?: AbortSignal): Promise<Identity> {
    for (;;) {
      try {
        return await this.#claim(undefined, signal);
      } catch (err) {
        if (!isProblem(err, "coupling-pending")) {
          throw err;
        }
      }
      await this.#pause(signal);
    }
  }

  async #claim(code: string | undefined, signal?: AbortSignal): Promise<Identity> {
    const info = await this.#api.call<DeviceInfo>(
      "POST",
      `/v1/couplings/requests/${encodeURIComponent(this.#request.id)}/claim`,
      {
        assertion: await assertion({ key: this.#key }, this.#request.id, this.#ports),
        ...(code !== undefined && { code }),
      },
      signal,
    );
    const number = info.bindings.at(-1)?.number;
    return keepIdentity(this.#ports.store, {
      server: this.#api.server,
      device: info.id,
      key: this.#key,
      ...(number && { number }),
      ...(info.name && { name: info.name }),
    });
  }

  #pause(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = () => {
        cancel();
        reject(signal?.reason);
      };
      const cancel = this.#ports.clock.after(this.#request.interval_s * 1000, () => {
        signal?.removeEventListener("abort", end);
        resolve();
      });
      signal?.addEventListener("abort", end, { once: true });
      if (signal?.aborted) {
        end();
      }
    });
  }
}

/**
 * Begins to couple this device with a telephone. Then either type the code shown at the
 * phone ({@link PendingCoupling.claim}), or show {@link PendingCoupling.code} and
 * {@link PendingCoupling.wait}. A device that is known already keeps its key, and so its id.
 *
 * @throws ProblemError code "too-many-requests"
 */
export async function couple(
  what: CouplingOptions,
  ports: Ports,
  signal?: AbortSignal,
): Promise<PendingCoupling> {
  const api = new Api(what.server, ports);
  const key = await keyFor(api.server, ports);
  const { name, kind, app, client } = what;
  const request: CouplingRequest = {
    key: await ports.crypto.publicKey(key),
    ...(name && { name }),
    ...(kind && { kind }),
    ...(app && { app }),
    ...(client && { client }),
  };
  const pending = await api.call<CouplingPending>(
    "POST",
    "/v1/couplings/requests",
    request,
    signal,
  );
  return new PendingCoupling(pending, key, api, ports);
}

/** What a QR code says, for a device to couple itself by reading it. */
export function couplingURI(server: string, code: string): string {
  const query = new URLSearchParams({ code: code.replaceAll("-", ""), server });
  return `tandem:couple?${query}`;
}

/** Reads what a QR code says; undefined if it is no coupling's. */
export function parseCouplingURI(text: string): { server: string; code: string } | undefined {
  const query = /^tandem:couple\?(.*)$/.exec(text)?.[1];
  const params = new URLSearchParams(query ?? "");
  const [server, code] = [params.get("server"), params.get("code")];
  return server && code && /^https?:\/\/[^/]/.test(server) ? { server, code } : undefined;
}

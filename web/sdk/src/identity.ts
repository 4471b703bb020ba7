import { Api } from "./api.ts";
import { ConfigError } from "./error.ts";
import type { Ports, StoredKey } from "./ports.ts";
import type {
  DeviceID,
  DeviceInfo,
  Enrolment,
  EnrolRequest,
  PhoneNumber,
  PushApp,
} from "./wire.ts";

/** What a device is: its key, its id, and where its server is. */
export interface Identity {
  /** The server's address: "https://tandem.example". */
  server: string;
  device: DeviceID;
  /** The number that was proved last. */
  number?: PhoneNumber;
  /** The name that the other party sees. */
  name?: string;
  /** The private key. In a browser it is a CryptoKey that cannot be read, only used. */
  key: StoredKey;
}

const audience = "tandem";
const assertionSeconds = 120;
const identityKey = "identity";
const enrolmentKey = "enrolment";

/** Signs a nonce of the server's: a JWS in compact form, ES256 (see wire Hello). */
export async function assertion(
  who: { device?: DeviceID; key: StoredKey },
  nonce: string,
  ports: Pick<Ports, "clock" | "crypto">,
): Promise<string> {
  const now = Math.floor(ports.clock.now() / 1000);
  const signed = `${base64url(text({ alg: "ES256", typ: "JWT" }))}.${base64url(
    text({ sub: who.device ?? "", nonce, aud: audience, iat: now, exp: now + assertionSeconds }),
  )}`;
  const signature = await ports.crypto.sign(who.key, new TextEncoder().encode(signed));
  return `${signed}.${base64url(signature)}`;
}

function text(claims: Record<string, unknown>): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(claims));
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replace(/=+$/, "");
}

/** The identity that an enrolment left in the store, if there is one. */
export async function loadIdentity(store: Ports["store"]): Promise<Identity | undefined> {
  return (await store.get(identityKey)) as Identity | undefined;
}

/** Keeps who the device is, in the place of an enrolment under way. @internal */
export async function keepIdentity(store: Ports["store"], identity: Identity): Promise<Identity> {
  await store.write(
    new Map<string, unknown>([
      [identityKey, identity],
      [enrolmentKey, undefined],
    ]),
  );
  return identity;
}

/** The key of the device at a server, or a new one. @internal */
export async function keyFor(server: string, ports: Ports): Promise<StoredKey> {
  const old = await loadIdentity(ports.store);
  return old?.server === server ? old.key : ports.crypto.createKey();
}

/** Forgets who the device is, with all that it kept; its key is gone for good. */
export async function forgetIdentity(store: Ports["store"]): Promise<void> {
  const all = await store.list("");
  await store.write(new Map(all.map(([key]) => [key, undefined])));
}

/** What to prove. */
export interface Enrolling {
  /** The server's address. */
  server: string;
  /** The number as a person writes it; national ones with region. */
  number: string;
  /** ISO 3166-1: "GB". */
  region?: string;
  /** The name that the other party sees. */
  name?: string;
  /** To be woken by push. */
  app?: PushApp;
  /** The software and its version, for the operator's statistics. */
  client?: string;
}

/** What is kept between sending for the code and typing it. */
interface Begun {
  server: string;
  name?: string;
  device?: DeviceID;
  key: StoredKey;
  enrolment: Enrolment;
}

/** Waits for the code that the server has sent to the number. */
export class PendingEnrolment {
  readonly #begun: Begun;
  readonly #ports: Ports;

  /** @internal */
  constructor(begun: Begun, ports: Ports) {
    this.#begun = begun;
    this.#ports = ports;
  }

  /** How the code was sent, and how long it is valid. */
  get enrolment(): Enrolment {
    return this.#begun.enrolment;
  }

  /**
   * Completes the enrolment and keeps the identity in the store. With a wrong code it
   * can be called again, as long as tries are left.
   *
   * @throws ProblemError code "wrong-code", "code-expired"
   */
  async confirm(code: string, signal?: AbortSignal): Promise<Identity> {
    const { server, name, key, enrolment, device } = this.#begun;
    const api = new Api(server, this.#ports);
    const info = await api.call<DeviceInfo>(
      "POST",
      `/v1/enrolments/${encodeURIComponent(enrolment.id)}/confirm`,
      {
        code: code.replace(/\s/g, ""),
        assertion: await assertion({ key, ...(device && { device }) }, enrolment.id, this.#ports),
      },
      signal,
    );
    const number = info.bindings.at(-1)?.number;
    const shown = info.name ?? name;
    const identity: Identity = {
      server: api.server,
      device: info.id,
      key,
      ...(number && { number }),
      ...(shown && { name: shown }),
    };
    return keepIdentity(this.#ports.store, identity);
  }

  /** Gives it up. */
  async cancel(): Promise<void> {
    await this.#ports.store.write(new Map([[enrolmentKey, undefined]]));
  }
}

/**
 * Begins to prove that this device has a number: the server sends a code to it. A device
 * that is enrolled already keeps its key, and so its id.
 *
 * @throws ProblemError code "bad-number", "too-many-requests", "code-not-sent"
 */
export async function enrol(
  what: Enrolling,
  ports: Ports,
  signal?: AbortSignal,
): Promise<PendingEnrolment> {
  const api = new Api(what.server, ports);
  const old = await loadIdentity(ports.store);
  const same = old?.server === api.server ? old : undefined;
  const key = same?.key ?? (await ports.crypto.createKey());
  const { number, region, name, app, client } = what;
  const request: EnrolRequest = {
    number,
    key: await ports.crypto.publicKey(key),
    ...(region && { region }),
    ...(name && { name }),
    ...(app && { app }),
    ...(client && { client }),
  };
  const enrolment = await api.call<Enrolment>("POST", "/v1/enrolments", request, signal);
  const begun: Begun = {
    server: api.server,
    key,
    enrolment,
    ...(name && { name }),
    ...(same && { device: same.device }),
  };
  await ports.store.write(new Map([[enrolmentKey, begun]]));
  return new PendingEnrolment(begun, ports);
}

/** The enrolment that was under way when the program ended, if its code is still valid. */
export async function pendingEnrolment(ports: Ports): Promise<PendingEnrolment | undefined> {
  const begun = (await ports.store.get(enrolmentKey)) as Begun | undefined;
  if (!begun || Date.parse(begun.enrolment.expires) <= ports.clock.now()) {
    return undefined;
  }
  return new PendingEnrolment(begun, ports);
}

/** Demands what a connection needs. @internal */
export function checkIdentity(identity: Identity): void {
  if (!identity?.device || !identity.key || !identity.server) {
    throw new ConfigError("the device is not enrolled");
  }
}

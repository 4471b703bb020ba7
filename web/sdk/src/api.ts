import {
  ConfigError,
  isProblem,
  NetworkError,
  ProblemError,
  ProtocolError,
  problem,
} from "./error.ts";
import { assertion, type Identity } from "./identity.ts";
import type { Ports } from "./ports.ts";
import type {
  Ack,
  Ask,
  CallInfo,
  CallList,
  Challenge,
  Coupling,
  CouplingAccept,
  CouplingList,
  CouplingOffer,
  CouplingOfferRequest,
  CouplingSeen,
  DataKind,
  DeviceChange,
  DeviceID,
  DeviceInfo,
  PartyMember,
  PartyMemberList,
  Problem,
  PushID,
  PushKey,
  Report,
  SessionChoice,
  SessionID,
  SessionList,
  SessionState,
  Token,
} from "./wire.ts";

/** A request's particulars. */
export interface RequestOptions {
  headers?: Record<string, string>;
  /** JSON text, or bytes. */
  body?: string | Uint8Array<ArrayBuffer>;
  /** Ends the request. */
  signal?: AbortSignal | undefined;
}

/** How long a request, or the transfer of a file, may stand still before it is given up. */
export const stallMs = 60_000;
/** How long before its end a token is no longer used. */
const tokenReserveMs = 30_000;

/** Makes single requests over HTTP, as a device, or as nobody. */
export class Api {
  /** The server's address without a slash at its end. */
  readonly server: string;
  readonly #ports: Pick<Ports, "fetch" | "clock" | "crypto">;
  readonly #identity: Identity | undefined;
  #token: { text: string; until: number } | undefined;
  #fetching: Promise<string> | undefined;

  /** @throws ConfigError if the server's address is none */
  constructor(
    server: string,
    ports: Pick<Ports, "fetch" | "clock" | "crypto">,
    identity?: Identity,
  ) {
    this.server = serverAddress(server);
    this.#ports = ports;
    this.#identity = identity;
  }

  /** The device itself, as the server knows it. */
  device(signal?: AbortSignal): Promise<DeviceInfo> {
    return this.call("GET", "/v1/device", undefined, signal);
  }

  /** Changes what the device says of itself; absent fields stay. */
  changeDevice(change: DeviceChange, signal?: AbortSignal): Promise<DeviceInfo> {
    return this.call("PATCH", "/v1/device", change, signal);
  }

  /** Removes the device; its key is of no more use. */
  async removeDevice(signal?: AbortSignal): Promise<void> {
    await this.call("DELETE", "/v1/device", undefined, signal);
  }

  /** Reports a call by a single request. */
  report(report: Report, signal?: AbortSignal): Promise<Ack> {
    return this.call("POST", "/v1/reports", report, signal);
  }

  /** The calls of the device's party, as the server knows them. */
  async calls(signal?: AbortSignal): Promise<CallInfo[]> {
    return (await this.call<CallList>("GET", "/v1/calls", undefined, signal)).calls;
  }

  /** The sessions in which the device is, or was until they are forgotten. */
  async sessions(signal?: AbortSignal): Promise<SessionState[]> {
    return (await this.call<SessionList>("GET", "/v1/sessions", undefined, signal)).sessions;
  }

  /** One session. */
  session(id: SessionID, signal?: AbortSignal): Promise<SessionState> {
    return this.call("GET", `/v1/sessions/${encodeURIComponent(id)}`, undefined, signal);
  }

  /**
   * Asks for a session beside a call; without other, beside the only one that is known. The
   * answer is a report's.
   */
  ask(ask: Ask = {}, signal?: AbortSignal): Promise<Ack> {
    return this.call("POST", "/v1/sessions", ask, signal);
  }

  /** Joins a session of the device's party, of which it was only told. */
  join(id: SessionID, signal?: AbortSignal): Promise<SessionState> {
    return this.call("POST", `/v1/sessions/${encodeURIComponent(id)}/join`, undefined, signal);
  }

  /** A code to type at a device that is to carry data for this one's telephone. */
  offerCoupling(what: CouplingOfferRequest = {}, signal?: AbortSignal): Promise<CouplingOffer> {
    return this.call("POST", "/v1/couplings/offers", what, signal);
  }

  /**
   * Says that this device was installed by way of a link: it joins the session of the call.
   *
   * @throws ProblemError code "code-expired" when the call is over, or the link is another's
   */
  installed(link: PushID, signal?: AbortSignal): Promise<Ack> {
    return this.call("POST", "/v1/guests/installed", { link }, signal);
  }

  /** The key with which a page subscribes for pushes (applicationServerKey, RFC 8292). */
  async pushKey(signal?: AbortSignal): Promise<string> {
    return (await this.call<PushKey>("GET", "/v1/push-key", undefined, signal)).key;
  }

  /** Which device shows this code? Ask the user before accepting. */
  lookCoupling(code: string, signal?: AbortSignal): Promise<CouplingSeen> {
    return this.call("POST", "/v1/couplings/look", { code }, signal);
  }

  /** Vouches for the device that shows a code. */
  acceptCoupling(accept: CouplingAccept, signal?: AbortSignal): Promise<CouplingSeen> {
    return this.call("POST", "/v1/couplings/accept", accept, signal);
  }

  /** The couplings of the party's telephones. */
  async couplings(signal?: AbortSignal): Promise<Coupling[]> {
    return (await this.call<CouplingList>("GET", "/v1/couplings", undefined, signal)).couplings;
  }

  /** Ends a coupling: its device is cut off. */
  async endCoupling(id: string, signal?: AbortSignal): Promise<void> {
    await this.call("DELETE", `/v1/couplings/${encodeURIComponent(id)}`, undefined, signal);
  }

  /** Says, for a temporary coupling, that this side of it is here. */
  nearCoupling(id: string, link = false, signal?: AbortSignal): Promise<Coupling> {
    return this.call("POST", `/v1/couplings/${encodeURIComponent(id)}/near`, { link }, signal);
  }

  /** The devices of the party, and what each does when a session opens. */
  async partyDevices(signal?: AbortSignal): Promise<PartyMember[]> {
    return (await this.call<PartyMemberList>("GET", "/v1/party/devices", undefined, signal))
      .devices;
  }

  /** Says what one of the party's devices does when a session opens. */
  choose(device: DeviceID, session: SessionChoice, signal?: AbortSignal): Promise<PartyMember> {
    const path = `/v1/party/devices/${encodeURIComponent(device)}`;
    return this.call("PATCH", path, { session }, signal);
  }

  /** Says which kinds of data one of the party's devices gets of what is sent to all; none: every kind. */
  chooseKinds(device: DeviceID, gets: DataKind[], signal?: AbortSignal): Promise<PartyMember> {
    const path = `/v1/party/devices/${encodeURIComponent(device)}`;
    return this.call("PATCH", path, { gets }, signal);
  }

  /**
   * Makes one request with JSON both ways. An answer without content is undefined.
   *
   * @throws ProblemError what the server refuses
   * @throws NetworkError anything on the way
   */
  async call<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
    const res = await this.send(method, path, {
      signal,
      ...(body !== undefined && {
        body: JSON.stringify(body),
        headers: { "Content-Type": "application/json" },
      }),
    });
    const text = await this.#text(res, signal);
    if (text === "") {
      return undefined as T;
    }
    try {
      return JSON.parse(text) as T;
    } catch (err) {
      throw new ProtocolError(`${method} ${path}: the answer is not JSON`, { cause: err });
    }
  }

  /**
   * Makes a request with the device's token and returns the answer, if it is a success. A
   * token that no longer holds is replaced, once. The signal also ends the reading of
   * the answer's body.
   *
   * @throws ProblemError what the server refuses
   * @throws NetworkError anything on the way
   */
  async send(method: string, path: string, options: RequestOptions = {}): Promise<Response> {
    const url = this.url(path);
    for (let again = false; ; again = true) {
      const bearer = this.#identity ? await this.bearer() : undefined;
      const res = await this.#fetch(method, url, bearer, options);
      if (res.ok) {
        return res;
      }
      const err = await this.#refusal(res);
      if (again || bearer === undefined || !isProblem(err, "unauthenticated")) {
        throw err;
      }
      if (this.#token?.text === bearer) {
        this.#token = undefined;
      }
    }
  }

  /**
   * Fetches bytes of which size and SHA-256 were announced, and hands them out only if they are those.
   *
   * @throws ProtocolError they are others
   * @throws ProblemError what the server refuses
   * @throws NetworkError anything on the way
   */
  async exactly(
    path: string,
    announced: { size: number; sha256: string },
    signal?: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const res = await this.send("GET", path, { signal });
    const bytes = new Uint8Array(await this.#body(res.arrayBuffer(), signal));
    const digest = await this.#ports.crypto.digest(bytes);
    const hex = Array.from(digest, (b) => b.toString(16).padStart(2, "0")).join("");
    if (bytes.length !== announced.size || hex !== announced.sha256.toLowerCase()) {
      throw new ProtocolError(`${path}: what came is not what was announced`);
    }
    return bytes;
  }

  /** Resolves a path of the server's; never another host's, since the token goes along. */
  url(path: string): string {
    if (/^\/(?![/\\])/.test(path)) {
      return this.server + path;
    }
    if (path.startsWith(`${this.server}/`)) {
      return path;
    }
    throw new ConfigError(`${JSON.stringify(path)} is not an address of the server`);
  }

  /** A token of the device's for the header Authorization, fresh if the old one is about to end. */
  bearer(): Promise<string> {
    if (this.#token && this.#token.until - this.#ports.clock.now() > tokenReserveMs) {
      return Promise.resolve(this.#token.text);
    }
    this.#fetching ??= this.#newToken().finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  async #newToken(): Promise<string> {
    if (!this.#identity) {
      throw new ConfigError("only a device has tokens");
    }
    const nobody = new Api(this.server, this.#ports);
    const { nonce } = await nobody.call<Challenge>("GET", "/v1/challenge");
    const t = await nobody.call<Token>("POST", "/v1/tokens", {
      nonce,
      assertion: await assertion(this.#identity, nonce, this.#ports),
    });
    this.#token = {
      text: t.access_token,
      until: this.#ports.clock.now() + t.expires_in * 1000,
    };
    return t.access_token;
  }

  async #fetch(
    method: string,
    url: string,
    bearer: string | undefined,
    { headers, body, signal }: RequestOptions,
  ): Promise<Response> {
    signal?.throwIfAborted();
    const ends = new AbortController();
    const end = () => ends.abort(signal?.reason);
    // Stays: the caller's signal also ends the reading of the body.
    signal?.addEventListener("abort", end, { once: true });
    const calm = this.#ports.clock.after(stallMs, () =>
      ends.abort(new NetworkError("no answer in time")),
    );
    try {
      return await this.#ports.fetch(url, {
        method,
        headers: { ...headers, ...(bearer !== undefined && { Authorization: `Bearer ${bearer}` }) },
        body: body ?? null,
        signal: ends.signal,
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
      });
    } catch (err) {
      signal?.throwIfAborted();
      throw new NetworkError(`${method} ${url}: ${reasonOf(err)}`, { cause: err });
    } finally {
      calm();
    }
  }

  #text(res: Response, signal: AbortSignal | undefined): Promise<string> {
    return this.#body(res.text(), signal);
  }

  /** Waits for the body of an answer, unless it stands still. */
  async #body<T>(body: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    let stop: (() => void) | undefined;
    const stalled = new Promise<never>((_, reject) => {
      stop = this.#ports.clock.after(stallMs, () =>
        reject(new NetworkError("the answer stands still")),
      );
    });
    try {
      return await Promise.race([body, stalled]);
    } catch (err) {
      signal?.throwIfAborted();
      throw err instanceof NetworkError ? err : new NetworkError(reasonOf(err), { cause: err });
    } finally {
      stop?.();
    }
  }

  /** Reads the problem in an answer, or makes an error of an answer that has none. */
  async #refusal(res: Response): Promise<Error> {
    const text = await this.#text(res, undefined).catch(() => "");
    try {
      const p = JSON.parse(text) as Problem;
      if (typeof p.code === "string" && p.code !== "") {
        return new ProblemError(p);
      }
    } catch {
      // Not one of the server's: judged by its status.
    }
    const bare = { 401: "unauthenticated", 403: "forbidden", 404: "not-found" }[res.status];
    if (bare !== undefined && text === "") {
      return new ProblemError(problem(bare));
    }
    return new StatusError(res.status, res.statusText);
  }
}

/** An answer that is neither a success nor a problem of the server's: it is of something on the way. */
export class StatusError extends NetworkError {
  readonly status: number;

  constructor(status: number, text: string) {
    super(`the answer was ${status} ${text}`);
    this.status = status;
  }
}

/** What an error says, with what lies under it: fetch hides the reason there. */
export function reasonOf(err: unknown): string {
  if (!(err instanceof Error)) {
    return String(err);
  }
  return err.cause instanceof Error ? `${err.message}: ${err.cause.message}` : err.message;
}

function serverAddress(server: string): string {
  let url: URL;
  try {
    url = new URL(server);
  } catch (err) {
    throw new ConfigError(`${JSON.stringify(server)} is not a server's address`, { cause: err });
  }
  if ((url.protocol !== "http:" && url.protocol !== "https:") || url.search || url.hash) {
    throw new ConfigError(`${JSON.stringify(server)} is not a server's address`);
  }
  return (url.origin + url.pathname).replace(/\/+$/, "");
}

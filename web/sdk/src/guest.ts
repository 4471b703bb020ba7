import { Api } from "./api.ts";
import { assertion, type Identity, keepIdentity } from "./identity.ts";
import type { Ports } from "./ports.ts";
import type { DeviceInfo, GuestRequest, Push, PushID } from "./wire.ts";

/** A link that came by text message, to be opened. */
export interface OpeningLink {
  /** The server's address. */
  server: string;
  /** The identifier at the link's end: what follows "/g/". */
  link: PushID;
  /** The name that the other party sees. */
  name?: string;
  /** The software and its version, for the operator's statistics. */
  client?: string;
}

/** What a push, or a link, is about; its identifier is enough, no token is needed. */
export async function readPush(
  server: string,
  id: PushID,
  ports: Ports,
  signal?: AbortSignal,
): Promise<Push> {
  return new Api(server, ports).call<Push>(
    "GET",
    `/v1/pushes/${encodeURIComponent(id)}`,
    undefined,
    signal,
  );
}

/** Accepts or declines the invitation that a push is about. A link can only be declined so. */
export async function answerPush(
  server: string,
  id: PushID,
  accept: boolean,
  ports: Ports,
): Promise<void> {
  await new Api(server, ports).call("POST", `/v1/pushes/${encodeURIComponent(id)}/answer`, {
    accept,
  });
}

/**
 * Opens a link and becomes a guest in the session of the call, with a key of its own, which is
 * kept in the store. A link serves once.
 *
 * @throws ProblemError code "code-expired", "conflict"
 */
export async function openLink(what: OpeningLink, ports: Ports): Promise<Identity> {
  const api = new Api(what.server, ports);
  const key = await ports.crypto.createKey();
  const { link, name, client } = what;
  const request: GuestRequest = {
    link,
    key: await ports.crypto.publicKey(key),
    assertion: await assertion({ key }, link, ports),
    ...(name && { name }),
    ...(client && { client }),
  };
  const info = await api.call<DeviceInfo>("POST", "/v1/guests", request);
  const number = info.bindings.at(-1)?.number;
  const identity: Identity = {
    server: api.server,
    device: info.id,
    key,
    ...(number && { number }),
    ...(info.name && { name: info.name }),
  };
  return keepIdentity(ports.store, identity);
}

import { Api } from "./api.ts";
import { ConfigError } from "./error.ts";
import { assertion, type Identity, keepIdentity } from "./identity.ts";
import type { Ports } from "./ports.ts";
import type { Agent, AgentSignedIn, AgentSignIn } from "./wire.ts";

/** How an agent signs in (SPEC I1). */
export interface SigningIn {
  /** The server's address. */
  server: string;
  /** The link that the provider gave, or the agent's key. */
  code: string;
  /** The software and its version, for the operator's statistics. */
  client?: string;
}

/** The code in what a person was given: a link, or the code itself; undefined if there is none. */
export function agentCode(given: string): string | undefined {
  return /(?:^|#)(tag_[A-Za-z0-9]+_[A-Za-z0-9]+)$/.exec(given.trim())?.[1];
}

/**
 * Makes this an agent's device, with a key of its own, which is kept in the store.
 *
 * @throws ProblemError code "code-expired"; ConfigError if there is no code
 */
export async function signIn(
  what: SigningIn,
  ports: Ports,
): Promise<{ identity: Identity; agent: Agent }> {
  const code = agentCode(what.code);
  if (!code) {
    throw new ConfigError("this is neither a link to sign in with nor an agent's key");
  }
  const api = new Api(what.server, ports);
  const key = await ports.crypto.createKey();
  const request: AgentSignIn = {
    code,
    key: await ports.crypto.publicKey(key),
    assertion: await assertion({ key }, code.split("_")[1] ?? "", ports),
    ...(what.client && { client: what.client }),
  };
  const { agent, device } = await api.call<AgentSignedIn>("POST", "/v1/agent-sign-ins", request);
  const identity: Identity = {
    server: api.server,
    device: device.id,
    key,
    number: agent.number,
    name: agent.name,
  };
  return { identity: await keepIdentity(ports.store, identity), agent };
}

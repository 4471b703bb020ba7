import { Api } from "./api.ts";
import { retryable } from "./error.ts";
import { assertion, type Identity } from "./identity.ts";
import type { Clock, Ports } from "./ports.ts";
import type { Challenge, Coupling, CouplingList } from "./wire.ts";

/** How often a device says that it is here, at least; more often where a lease is short. */
const hereEveryMs = 20_000;
/** How often a device that is away looks whether it is near again. */
const awayEveryMs = 5_000;

/**
 * Says that a device is here, for its temporary couplings, by its key alone: so also while it is
 * away from its telephone, and gets no token.
 *
 * @returns its couplings; none where all have ended
 * @throws ProblemError code "unauthenticated" where the server does not know the key
 */
export async function here(
  identity: Identity,
  ports: Pick<Ports, "fetch" | "clock" | "crypto">,
  signal?: AbortSignal,
): Promise<Coupling[]> {
  const api = new Api(identity.server, ports);
  const { nonce } = await api.call<Challenge>("GET", "/v1/challenge", undefined, signal);
  const list = await api.call<CouplingList>(
    "POST",
    "/v1/couplings/here",
    { nonce, assertion: await assertion(identity, nonce, ports) },
    signal,
  );
  return list.couplings;
}

/**
 * Says again and again that this device is here, for its temporary couplings, with which it is
 * coupled or which it vouches for, until the signal aborts. A device that stops saying so lets
 * them lapse.
 *
 * @param told is called with the couplings each time they were renewed, or with why they were not
 */
export async function stayNear(
  api: Api,
  clock: Clock,
  signal: AbortSignal,
  told: (couplings: Coupling[], err?: unknown) => void = () => {},
): Promise<void> {
  while (!signal.aborted) {
    let wait = hereEveryMs;
    try {
      const couplings: Coupling[] = [];
      for (const c of await api.couplings(signal)) {
        const renewed = c.kind === "temporary" ? await api.nearCoupling(c.id, false, signal) : c;
        couplings.push(renewed);
        if (renewed.expires) {
          const left = Date.parse(renewed.expires) - clock.now();
          wait = Math.min(wait, Math.max(1_000, left / 3));
        }
      }
      told(couplings);
    } catch (err) {
      if (!signal.aborted) {
        told([], err);
      }
    }
    await pause(clock, wait, signal);
  }
}

/**
 * Waits until a device that is away from its telephone has found it again.
 *
 * @returns false where it never will: it is coupled with none any more, or the signal aborted
 */
export async function awaitNear(
  identity: Identity,
  ports: Pick<Ports, "fetch" | "clock" | "crypto">,
  signal: AbortSignal,
): Promise<boolean> {
  while (!signal.aborted) {
    try {
      const couplings = await here(identity, ports, signal);
      if (couplings.length === 0) {
        return false;
      }
      if (couplings.some((c) => !c.apart)) {
        return true;
      }
    } catch (err) {
      if (!signal.aborted && !retryable(err)) {
        return false;
      }
    }
    await pause(ports.clock, awayEveryMs, signal);
  }
  return false;
}

function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      cancel();
      signal.removeEventListener("abort", end);
      resolve();
    };
    const cancel = clock.after(ms, end);
    signal.addEventListener("abort", end, { once: true });
    if (signal.aborted) {
      end();
    }
  });
}

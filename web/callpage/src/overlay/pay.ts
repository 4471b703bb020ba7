/** Paying what an overlay asks for, on the payment server's page (I6). */
import { type Api, isProblem, type Payment, type PaymentList } from "@tandem-call/sdk";
import type { Result } from "./screen.svelte.ts";

/** How often it is looked whether somebody has paid, in milliseconds: a notice may get lost. */
const lookMs = 3000;

/** Listens for the notice that a payment has gone on; returns how to stop. */
export type OnMoved = (moved: () => void) => () => void;

export const over = (p: Payment): boolean =>
  p.state === "paid" || p.state === "failed" || p.state === "cancelled";

/** Begins a payment, or returns the one that was begun. Why it cannot be begun is a result. */
export async function begin(
  api: Api,
  overlay: string,
  region: string,
  action: number,
): Promise<Payment | Result> {
  try {
    return await api.call<Payment>("POST", `${overlay}/payments`, { region, action });
  } catch (err) {
    const reason = isProblem(err, "conflict")
      ? "no_payments"
      : isProblem(err, "payment-server")
        ? "payment_server"
        : "refused";
    return { outcome: "failed", reason };
  }
}

/** Follows a payment until it is over, or the signal ends that. One that the server has forgotten is failed. */
export async function follow(
  api: Api,
  p: Payment,
  onmoved: OnMoved,
  ends: AbortSignal,
  change: (p: Payment) => void,
): Promise<Payment> {
  let now = p;
  let look: (() => void) | undefined;
  const wake = () => look?.();
  const back = () => document.visibilityState === "visible" && wake();
  const stop = onmoved(wake);
  ends.addEventListener("abort", wake);
  document.addEventListener("visibilitychange", back);
  try {
    while (!over(now)) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, lookMs);
        look = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      const all = ends.aborted ? undefined : await list(api, p.session).catch(() => undefined);
      if (ends.aborted) {
        break;
      }
      if (all) {
        now = all.find((x) => x.id === p.id) ?? { ...now, state: "failed", reason: "unknown" };
        change(now);
      }
    }
    return now;
  } finally {
    stop();
    ends.removeEventListener("abort", wake);
    document.removeEventListener("visibilitychange", back);
  }
}

async function list(api: Api, session: string): Promise<Payment[]> {
  const path = `/v1/sessions/${encodeURIComponent(session)}/payments`;
  return (await api.call<PaymentList>("GET", path)).payments;
}

/** Gives a payment up; what has become of it, if it was paid meanwhile. */
export async function giveUp(api: Api, p: Payment): Promise<Payment> {
  const path = `/v1/sessions/${encodeURIComponent(p.session)}/payments/${encodeURIComponent(p.id)}`;
  try {
    return await api.call<Payment>("DELETE", path);
  } catch (err) {
    if (!isProblem(err, "conflict")) {
      throw err;
    }
    return (await list(api, p.session)).find((x) => x.id === p.id) ?? p;
  }
}

/** What came of a payment. The server has told the other side. */
export function resultOf(p: Payment): Result {
  const told = true;
  switch (p.state) {
    case "paid":
      return { outcome: "done", told, paid: true };
    case "cancelled":
      return { outcome: "cancelled", reason: p.reason ?? "by_customer", told };
    default:
      return { outcome: "failed", reason: p.reason ?? "unknown", told };
  }
}

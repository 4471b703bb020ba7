import { NetworkError, type ProblemCode, problemOf } from "@tandem-call/sdk";
import en from "../messages/en.json";
import { type MessageKey, t } from "./words.svelte.ts";

/** Problems whose detail tells a person more than that there is one. The server writes it in English. */
const telling: ReadonlySet<ProblemCode> = new Set([
  "bad-request",
  "bad-number",
  "bad-identity",
  "forbidden",
  "conflict",
  "too-large",
  "unsupported-type",
  "payment-server",
  "internal",
]);

/** What to tell a person of an error, in the page's language. */
export function reason(error: unknown): string {
  const p = problemOf(error);
  if (p) {
    const key = `problem.${p.code}`;
    const known = key in en; // a newer server may have further codes
    const message = known ? t(key as MessageKey) : `${p.title}.`;
    return p.detail && (!known || telling.has(p.code))
      ? t("problem.detail", { message, detail: p.detail })
      : message;
  }
  if (error instanceof NetworkError) {
    return t("problem.network");
  }
  return error instanceof Error ? error.message : String(error);
}

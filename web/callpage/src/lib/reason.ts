import { ProblemError, problemOf } from "@tandem-call/sdk";

/** What to tell a person of an error: the server's own words, with its advice. */
export function reason(error: unknown): string {
  const p = problemOf(error);
  if (p) {
    const advice = error instanceof ProblemError ? error.advice : "";
    return [p.title, p.detail, advice]
      .filter((s): s is string => Boolean(s))
      .map((s) => (/[.!?]$/.test(s) ? s : `${s}.`))
      .join(" ");
  }
  return error instanceof Error ? error.message : String(error);
}

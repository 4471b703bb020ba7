/** The steps of Try it, in their order. */
export const steps = ["call", "answer", "share", "end"] as const;
export type Step = (typeof steps)[number];

/** The step in a message of a phone's page, if it is one. */
export function stepOf(data: unknown): Step | undefined {
  const step = (data as { tandemStep?: unknown } | null)?.tandemStep;
  return steps.find((s) => s === step);
}

/** Tells the page that shows this one in a frame how far it has come. It is no secret. */
export function tellStep(step: Step): void {
  if (window.parent !== window) {
    window.parent.postMessage({ tandemStep: step }, "*");
  }
}

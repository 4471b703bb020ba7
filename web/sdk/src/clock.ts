import type { Clock } from "./ports.ts";

/** The functions of the platform that a clock needs; globalThis has them everywhere. */
interface Timers {
  setTimeout(f: () => void, ms: number): unknown;
  clearTimeout(id: never): void;
}

/** The platform's clock. */
export function systemClock(timers: Timers): Clock {
  return {
    now: () => Date.now(),
    random: () => Math.random(),
    after: (ms, f) => {
      const id = timers.setTimeout(f, ms);
      return () => timers.clearTimeout(id as never);
    },
  };
}

import type { Overlay, OverlayRegion } from "@tandem-call/sdk";
import { SvelteMap } from "svelte/reactivity";
import {
  type Asked,
  asks,
  type Given,
  needsConsent,
  type Question,
} from "../../../callpage/src/overlay/question.ts";
import type { Progress, Screen, Shown } from "../../../callpage/src/overlay/screen.svelte.ts";

/**
 * A customer's screen that is none: the overlay is drawn and asks as on the phone, by the parts of
 * the call page, and nothing is sent.
 */
export class Preview implements Screen {
  readonly #overlay: () => Overlay | undefined;
  readonly #fetch: (region: string, signal: AbortSignal) => Promise<Blob>;
  readonly #progress = new SvelteMap<string, Progress>();
  question = $state.raw<Question>();
  plain = $state(false);
  away = $state(false);

  constructor(
    overlay: () => Overlay | undefined,
    fetch: (region: string, signal: AbortSignal) => Promise<Blob>,
  ) {
    this.#overlay = overlay;
    this.#fetch = fetch;
  }

  readonly shown = $derived.by((): Shown | undefined => {
    const overlay = this.#overlay();
    return (
      overlay && {
        seq: 1,
        from: undefined,
        overlay,
        fresh: new Set(overlay.regions.map((r) => r.id)),
      }
    );
  });
  readonly all = $derived(this.shown ? [this.shown] : []);

  step(): void {}

  async tell(): Promise<void> {}

  putAway(): void {
    this.away = true;
  }

  picture(_: number, region: string, signal: AbortSignal): Promise<Blob> {
    return this.#fetch(region, signal);
  }

  progress(_: Shown, r: OverlayRegion): Progress | undefined {
    return this.#progress.get(r.id);
  }

  async press(s: Shown, r: OverlayRegion, title: string): Promise<void> {
    if (this.question) {
      return;
    }
    const actions = r.actions ?? [];
    const consents = actions.filter(needsConsent);
    const questions = actions.map((a): Asked | undefined =>
      a === consents[0] ? { kind: "consent", actions: consents } : asks(a),
    );
    for (const asked of questions) {
      if (asked && (await this.#ask(s, title, asked)) === undefined) {
        this.#progress.set(r.id, { state: "cancelled" });
        return;
      }
    }
    this.#progress.set(r.id, { state: "done" });
  }

  #ask(of: Shown, title: string, asked: Asked): Promise<Given | undefined> {
    return new Promise((resolve) => {
      this.question = {
        ...asked,
        title,
        of,
        answer: (v) => {
          this.question = undefined;
          resolve(v);
        },
      };
    });
  }
}

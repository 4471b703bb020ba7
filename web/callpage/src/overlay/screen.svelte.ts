import {
  type Api,
  newID,
  type Overlay,
  type OverlayOutcome,
  type OverlayRegion,
  type Payment,
} from "@tandem-call/sdk";
import { type FormAnswers, readOverlay } from "@tandem-call/sdk/overlay";
import { SvelteMap } from "svelte/reactivity";
import { app } from "../lib/app.svelte.ts";
import { reason } from "../lib/reason.ts";
import type { Entry, Room } from "../lib/room.svelte.ts";
import { act } from "./act.ts";
import { over } from "./pay.ts";
import { type Asked, type Given, needsConsent, type Question } from "./question.ts";

/** An overlay that is, or could be, on the screen. */
export interface Shown {
  /** The sequence of its message. */
  seq: number;
  /** The member who sent it. */
  from: string | undefined;
  overlay: Overlay;
  /** The ids of regions that were not there, or not so, in the overlay that it replaced. */
  fresh: ReadonlySet<string>;
}

/** How far a region's actions have come. */
export interface Progress {
  /** "processing": something was paid whose outcome takes a while. */
  state: "doing" | "processing" | OverlayOutcome;
  /** A code of an outcome, or words for what the server refused. */
  reason?: string | undefined;
  /** What was to be paid is paid. */
  paid?: boolean;
}

/** What came of one action. */
export interface Result {
  outcome: OverlayOutcome;
  reason?: string;
  value?: string;
  answers?: FormAnswers;
  address?: string;
  /** The server has told the other side itself. */
  told?: true;
  /** It was a payment, and is paid. */
  paid?: true;
}

/** Which action of which overlay. */
export interface At {
  seq: number;
  region: string;
  action: number;
}

/** How long a screen that has just changed takes no touch that was meant for something else. */
export const settleMs = 500;

/** What is needed to draw an overlay: also by whoever only looks at it. */
export type OverlayFace = Pick<OverlayScreen, "progress" | "picture" | "press">;

/** What is needed to draw the whole screen with it: also by the preview of the editor. */
export type Screen = OverlayFace &
  Pick<OverlayScreen, "all" | "shown" | "plain" | "question" | "step" | "putAway" | "tell">;

/** The provider's screen in one session: what is on it, and what is done there. */
export class OverlayScreen {
  readonly room: Room;
  readonly #api: Api;
  readonly #read = new Map<string, Overlay | undefined>();
  readonly #told = new Set<number>();
  /** Up to which message the user has put the screen away. */
  #away = $state(0);
  /** The overlay that the user looks at; undefined: the newest. */
  #chosen = $state<string>();
  #questions = $state.raw<Question[]>([]);
  readonly #progress = new SvelteMap<string, Progress>();
  /** The whole overlay as text, with soft keys. */
  plain = $state(matchMedia("(any-pointer: none)").matches);

  constructor(room: Room, api: Api) {
    this.room = room;
    this.#api = api;
  }

  /** The overlays of the session, the newest last; a later one of an id replaces the earlier. */
  readonly all = $derived.by(() => {
    const byID = new Map<string, Shown>();
    for (const e of this.#entries()) {
      const overlay = this.#readOnce(e);
      if (overlay) {
        const before = byID.get(overlay.id)?.overlay;
        byID.delete(overlay.id);
        byID.set(overlay.id, { seq: e.seq, from: e.from, overlay, fresh: fresh(before, overlay) });
      }
    }
    return [...byID.values()];
  });

  /** The messages that bring no overlay which may be shown. */
  readonly unusable = $derived(
    this.#entries()
      .filter((e) => !this.#readOnce(e))
      .map((e) => e.seq),
  );

  /** What the user is asked: one thing at a time. */
  get question(): Question | undefined {
    return this.#questions[0];
  }

  /** The newest message with an overlay. */
  readonly newest = $derived(Math.max(0, ...this.all.map((s) => s.seq)));

  /** The overlay that is looked at. */
  readonly shown = $derived(this.all.find((s) => s.overlay.id === this.#chosen) ?? this.all.at(-1));

  /** Whether the screen lies over the call. */
  readonly open = $derived.by(() => this.room.open && this.newest > this.#away);

  #entries(): (Entry & { seq: number })[] {
    return this.room.entries.filter(
      (e): e is Entry & { seq: number } =>
        e.overlay !== undefined && !e.mine && e.seq !== undefined,
    );
  }

  #readOnce(e: Entry): Overlay | undefined {
    if (!this.#read.has(e.key)) {
      let overlay: Overlay | undefined;
      try {
        overlay = readOverlay(e.overlay);
      } catch {
        // It is not shown, and its sender is told.
      }
      this.#read.set(e.key, overlay);
    }
    return this.#read.get(e.key);
  }

  putAway(): void {
    this.#away = this.newest;
  }

  bringBack(): void {
    this.#away = 0;
  }

  /** Looks at the overlay before, or after. */
  step(by: 1 | -1): void {
    const at = this.shown ? this.all.indexOf(this.shown) : 0;
    this.#chosen = this.all[at + by]?.overlay.id;
  }

  /** Follows the newest again, as when one comes. */
  follow(): void {
    this.#chosen = undefined;
  }

  /** Says that an overlay is on the screen, or why not; each once in a run of the page (I4). */
  async tell(seq: number, failed?: string): Promise<void> {
    if (this.#told.has(seq)) {
      return;
    }
    this.#told.add(seq);
    try {
      const body = failed ? { state: "failed", reason: failed } : { state: "shown" };
      await this.#api.call("POST", `${this.#path(seq)}/shown`, body);
    } catch {
      this.#told.delete(seq); // it is said when it is drawn the next time
    }
  }

  /** Fetches a region's picture, through the server. */
  async picture(seq: number, region: string, signal: AbortSignal): Promise<Blob> {
    const path = `${this.#path(seq)}/pictures/${encodeURIComponent(region)}`;
    const res = await this.#api.send("GET", path, { signal });
    return res.blob();
  }

  /** How far the region's actions have come; undefined: it was not pressed. */
  progress(s: Shown, r: OverlayRegion): Progress | undefined {
    const here = this.#progress.get(keyOf({ seq: s.seq, region: r.id }));
    const fell = here?.state === "failed" || here?.state === "cancelled";
    return here && !fell ? here : (this.#paid(s, r) ?? here);
  }

  /** What was paid earlier, or on another device of this side. */
  #paid(s: Shown, r: OverlayRegion): Progress | undefined {
    const done = this.room.entries.some(
      ({ overlayResult: x }) =>
        x?.payment && x.seq === s.seq && x.region === r.id && x.outcome === "done",
    );
    return done ? { state: "done", paid: true } : undefined;
  }

  /** A payment has gone on: the question to make it says so, or is answered when the payment is over. */
  paying(at: At, payment: Payment): void {
    if (payment.state === "processing") {
      this.#progress.set(keyOf(at), { state: "processing" });
    }
    const asked = this.#questions.find((q) => q.kind === "pay" && q.payment.id === payment.id);
    if (asked && over(payment)) {
      asked.answer(true);
    } else if (asked) {
      this.#questions = this.#questions.map(
        (q) => (q === asked ? { ...q, payment } : q) as Question,
      );
    }
  }

  /** Asks the user something, after what is being asked already. */
  #ask<T extends Given>(of: Shown, title: string, asked: Asked): Promise<T | undefined> {
    return new Promise((resolve) => {
      const answer = (v?: Given) => {
        this.#questions = this.#questions.filter((q) => q.answer !== answer);
        resolve(v as T | undefined);
      };
      this.#questions = [...this.#questions, { ...asked, title, of, answer }];
    });
  }

  /** Does the region's actions one after the other, and says what came of each (I6). */
  async press(s: Shown, r: OverlayRegion, title: string): Promise<void> {
    const key = keyOf({ seq: s.seq, region: r.id });
    const state = this.#progress.get(key)?.state;
    if (state === "doing" || state === "processing" || this.question || r.state === "disabled") {
      return;
    }
    this.#progress.set(key, { state: "doing" });
    let last: Result = { outcome: "done" };
    let asked: true | undefined;
    let paid = false;
    try {
      for (const [i, action] of (r.actions ?? []).entries()) {
        let result: Result = { outcome: "cancelled", reason: "earlier" };
        if (last.outcome === "done") {
          const consents = (r.actions ?? []).filter(needsConsent);
          if (needsConsent(action) && !asked) {
            asked = await this.#ask<true>(s, title, { kind: "consent", actions: consents });
          }
          result =
            needsConsent(action) && !asked
              ? { outcome: "cancelled", reason: "by_user" }
              : await act(
                  this,
                  this.#api,
                  action,
                  { seq: s.seq, region: r.id, action: i },
                  (asks) => this.#ask(s, title, asks),
                );
          last = result;
          paid ||= result.paid === true;
        }
        const { told, paid: _, ...answer } = result;
        if (told) {
          continue;
        }
        await this.#api.call("POST", `${this.#path(s.seq)}/answers`, {
          id: newID("a", app.ports.crypto.random),
          region: r.id,
          action: i,
          type: action.type,
          ...answer,
        });
      }
      this.#progress.set(key, { state: last.outcome, reason: last.reason, paid });
    } catch (err) {
      this.#progress.set(key, { state: "failed", reason: reason(err) });
    }
  }

  #path(seq: number): string {
    return `/v1/sessions/${encodeURIComponent(this.room.id)}/overlays/${seq}`;
  }
}

const keyOf = (at: Pick<At, "seq" | "region">): string => `${at.seq}/${at.region}`;

/** The regions of an overlay that are new in it. */
function fresh(before: Overlay | undefined, now: Overlay): Set<string> {
  const old = new Map(before?.regions.map((r) => [r.id, JSON.stringify(r)]));
  return new Set(now.regions.filter((r) => old.get(r.id) !== JSON.stringify(r)).map((r) => r.id));
}

const screens = new WeakMap<Room, OverlayScreen>();

/** The screen of a room: one, whoever looks at it. */
export function screenOf(room: Room, api: Api): OverlayScreen {
  const known = screens.get(room) ?? new OverlayScreen(room, api);
  screens.set(room, known);
  return known;
}

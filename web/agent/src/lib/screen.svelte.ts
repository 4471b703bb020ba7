import { type Api, newID, type Overlay, type OverlayTemplate } from "@tandem-call/sdk";
import { type FormAnswers, readOverlay } from "@tandem-call/sdk/overlay";
import { app } from "../../../callpage/src/lib/app.svelte.ts";
import type { Entry, Room } from "../../../callpage/src/lib/room.svelte.ts";
import type { OverlayFace, Progress, Shown } from "../../../callpage/src/overlay/screen.svelte.ts";

/** How an overlay stands that was sent: nothing said yet, shown, or not, and why not. */
export interface Standing {
  seq: number;
  state: "sent" | "shown" | "failed";
  reason?: string | undefined;
}

/** The customer's screen as this side knows it: what it sent, and what the devices said of that. */
export class CustomerScreen implements OverlayFace {
  readonly #room: Room;
  readonly #api: Api;

  constructor(room: Room, api: Api) {
    this.#room = room;
    this.#api = api;
  }

  /** This side's overlays, the newest last. */
  readonly #sent = $derived.by(() => {
    const theirs = new Set(this.#room.others.map((m) => m.id));
    return this.#room.entries.filter(
      (e): e is Entry & { seq: number } =>
        e.overlay !== undefined && e.seq !== undefined && !theirs.has(e.from ?? ""),
    );
  });

  /** What devices said of each overlay; where several did, one that shows it counts. */
  readonly #said = $derived.by(() => {
    const said = new Map<number, Standing>();
    for (const { overlayShown: s } of this.#room.entries) {
      if (s && said.get(s.seq)?.state !== "shown") {
        said.set(s.seq, { seq: s.seq, state: s.state as Standing["state"], reason: s.reason });
      }
    }
    return said;
  });

  /** How the newest overlay stands. */
  readonly newest = $derived.by((): Standing | undefined => {
    const seq = this.#sent.at(-1)?.seq;
    return seq === undefined ? undefined : (this.#said.get(seq) ?? { seq, state: "sent" });
  });

  /** What is on the screen: the newest overlay that a device has confirmed (I4). */
  readonly shown = $derived.by((): Shown | undefined => {
    const e = this.#sent.findLast(({ seq }) => this.#said.get(seq)?.state === "shown");
    const overlay = e && read(e.overlay);
    return overlay && { seq: e.seq, from: e.from, overlay, fresh: new Set() };
  });

  /** What came of a region; that it is paid counts before what was done with it besides. */
  progress({ seq }: Shown, { id }: { id: string }): Progress | undefined {
    const results = this.#room.entries.flatMap(({ overlayResult: r }) =>
      r?.seq === seq && r.region === id ? [r] : [],
    );
    if (results.some((r) => r.payment && r.outcome === "done")) {
      return { state: "done", paid: true };
    }
    // Actions after one that was not done say only that.
    const last = results.findLast((r) => r.reason !== "earlier");
    return last && { state: last.outcome, reason: last.reason };
  }

  async picture(seq: number, region: string, signal: AbortSignal): Promise<Blob> {
    const path = `${this.#path}/${seq}/pictures/${encodeURIComponent(region)}`;
    return (await this.#api.send("GET", path, { signal })).blob();
  }

  /** It is the customer's: nothing is pressed for them. */
  async press(): Promise<void> {}

  /** What may be sent, with what the agent gives for it. */
  async templates(): Promise<OverlayTemplate[]> {
    const { templates } = await this.#api.call<{ templates: OverlayTemplate[] }>(
      "GET",
      `${this.#path}/templates`,
    );
    return templates;
  }

  /** Sends a template, filled with this and with what the customer gave (I3). */
  async send(template: string, values: FormAnswers): Promise<void> {
    const id = newID("o", app.ports.crypto.random);
    await this.#api.call("POST", this.#path, { id, template, values });
  }

  get #path(): string {
    return `/v1/sessions/${encodeURIComponent(this.#room.id)}/overlays`;
  }
}

function read(document: unknown): Overlay | undefined {
  try {
    return readOverlay(document);
  } catch {
    return undefined;
  }
}

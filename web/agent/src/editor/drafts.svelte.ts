import {
  Api,
  type Overlay,
  type OverlayDraft,
  type OverlayRegion,
  type StoredOverlay,
  type StoredOverlayList,
} from "@tandem-call/sdk";
import { browserFetch } from "@tandem-call/sdk/browser";
import { app } from "../../../callpage/src/lib/app.svelte.ts";

/** A draft that is worked on. Its document is what the user writes, and need not be valid. */
export type Draft = OverlayDraft & { document: Overlay };

/** The overlays of a provider, and the one that is worked on. */
class Drafts {
  #api: Api | undefined;
  /** Whether a key has been accepted. It is in the memory of the page only. */
  open = $state(false);
  all = $state.raw<StoredOverlay[]>([]);
  /** The name of the one that is worked on; one that the list does not have is new. */
  name = $state("");
  draft = $state<Draft>();
  #saved = $state("");
  /** The version that was taken up last, as it is. */
  #taken = $state.raw({ version: 0, text: "" });
  /** What signs requests to the provider's server: shown once, when the overlay is made. */
  secret = $state("");

  readonly stored = $derived(this.all.find((o) => o.name === this.name));
  readonly #text = $derived(this.draft ? JSON.stringify(this.draft) : "");
  /** The version that is looked at, and is not the draft; 0: none. */
  readonly looked = $derived(
    this.#text !== this.#saved && this.#text === this.#taken.text ? this.#taken.version : 0,
  );
  /** There is something that would be lost. */
  readonly changed = $derived(this.#text !== "" && this.#text !== this.#saved && !this.looked);

  /** What a parameter may have of what customers said: as the overlays of the list and this one have it. */
  readonly sayings = $derived.by(() => {
    const all = [
      this.draft?.document,
      ...this.all.map((o) => o.draft.document as Overlay | undefined),
    ];
    const of = all
      .flatMap((d) => d?.regions ?? [])
      .flatMap((r) => [
        r.id,
        ...(r.actions ?? []).flatMap((a) => a.form?.fields ?? []).map((f) => `${r.id}.${f.id}`),
      ]);
    return [...new Set(["place", ...of])];
  });

  async enter(key: string): Promise<void> {
    this.#api = new Api(location.origin, {
      ...app.ports,
      fetch: (url, init) => {
        const headers = new Headers(init.headers);
        headers.set("Authorization", `Bearer ${key}`);
        return browserFetch(url, { ...init, headers });
      },
    });
    await this.#read();
    this.open = true;
  }

  async #read(): Promise<void> {
    this.all = (await this.#call<StoredOverlayList>("GET", "")).overlays;
  }

  #call<T>(method: string, path: string, body?: unknown): Promise<T> {
    if (!this.#api) {
      throw new Error("no key was given");
    }
    return this.#api.call<T>(method, `/v1/overlays${path}`, body);
  }

  #path(): string {
    return `/${encodeURIComponent(this.name)}`;
  }

  choose(o: StoredOverlay): void {
    this.name = o.name;
    this.#work(o.draft);
    this.#saved = JSON.stringify(this.draft);
  }

  create(name: string): void {
    this.name = name;
    this.#work({ title: { en: name }, numbers: [] });
    this.#saved = "";
  }

  #work(d: OverlayDraft): void {
    const empty = { version: 1, id: this.name, language: "en", regions: [] };
    this.secret = "";
    this.#taken = { version: 0, text: "" };
    this.draft = structuredClone({ ...d, document: (d.document ?? empty) as Overlay });
  }

  /** Takes a whole draft, as `tandem overlay publish` does. */
  replace(text: string): void {
    const d = JSON.parse(text) as Partial<Draft> | null;
    if (!Array.isArray(d?.document?.regions) || !Array.isArray(d.numbers) || !d.title) {
      throw new TypeError("title, numbers, document.regions");
    }
    const ids = d.document.regions.map((r) => r.id);
    if (new Set(ids).size < ids.length) {
      throw new TypeError("document.regions: id");
    }
    this.draft = d as Draft;
  }

  async save(): Promise<void> {
    const { draft } = this;
    if (!draft) {
      return;
    }
    const text = JSON.stringify(draft);
    const { document, ...rest } = draft;
    // Without a region there is no overlay of one's own: all of it comes from the provider's server.
    const body = draft.url && document.regions.length === 0 ? rest : draft;
    const { secret } = await this.#call<StoredOverlay>("PUT", `${this.#path()}/draft`, body);
    this.secret = (draft.url && secret) || this.secret;
    this.#saved = text;
    await this.#read();
  }

  async publish(): Promise<void> {
    await this.save();
    await this.#call("POST", `${this.#path()}/publish`);
    await this.#read();
  }

  /** Takes an earlier version up into the draft, where the phone shows it; nothing is saved by that. */
  async takeUp(version: number): Promise<void> {
    this.#work(await this.#call<OverlayDraft>("GET", `${this.#path()}/versions/${version}`));
    this.#taken = { version, text: JSON.stringify(this.draft) };
  }

  /**
   * Gives a region another id, also where this overlay refers to it; false: it cannot be one, or another
   * region has it.
   */
  rename(r: OverlayRegion, to: string): boolean {
    const { regions } = this.draft?.document ?? { regions: [] };
    if (!/^[a-z0-9_-]{1,64}$/.test(to) || regions.some((o) => o.id === to && o.id !== r.id)) {
      return false;
    }
    for (const o of regions) {
      if (o.inside === r.id) {
        o.inside = to;
      }
    }
    // What customers said of a region of another overlay with the same id stays that.
    const others = this.all
      .filter((o) => o.name !== this.name)
      .map((o) => o.draft.document as Overlay);
    const elsewhere = others.some((d) => d?.regions.some((o) => o.id === r.id));
    for (const p of this.draft?.parameters ?? []) {
      const [region, ...field] = p.of?.split(".") ?? [];
      if (region === r.id && !elsewhere) {
        p.of = [to, ...field].join(".");
      }
    }
    r.id = to;
    return true;
  }

  async rollBack(version: number): Promise<void> {
    await this.#call("POST", `${this.#path()}/rollback`, { version });
    await this.#read();
  }

  /** A picture of the draft as it was last saved, fetched by the server as for a phone. */
  async picture(region: string, signal: AbortSignal): Promise<Blob> {
    const path = `/v1/overlays${this.#path()}/pictures/${encodeURIComponent(region)}`;
    const res = await this.#api?.send("GET", path, { signal });
    return res ? res.blob() : Promise.reject(new Error("no key was given"));
  }

  async remove(): Promise<void> {
    await this.#call("DELETE", this.#path());
    this.draft = undefined;
    this.name = "";
    await this.#read();
  }
}

export const drafts = new Drafts();

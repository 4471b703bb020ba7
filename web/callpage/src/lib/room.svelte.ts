import {
  type Device,
  type Envelope,
  type FileOffer,
  type FileProgress,
  isProblem,
  type LinkOffer,
  type Message,
  newID,
  type OverlayResult,
  type OverlayShown,
  type PlaceMessage,
  Places,
  type Ports,
  type ProfileMessage,
  type SendFrame,
  type SessionID,
  type SessionState,
  type TextMessage,
  type Unsent,
} from "@tandem-call/sdk";
import { SvelteMap } from "svelte/reactivity";
import { asLink } from "./format.ts";
import { isPlace } from "./geo.ts";
import { Marks, markOf, putMark, removeMark } from "./marks.svelte.ts";
import { now } from "./now.svelte.ts";
import { RoomPlaces } from "./places.svelte.ts";

/** What became of something that this page sends. */
export type Status = "waiting" | "stored" | "refused";

/** One thing that was said or shown in a session. */
export interface Entry {
  /** Names it within the page. */
  key: string;
  mine: boolean;
  /** The member who sent it; undefined for what this page sends until the server has said. */
  from?: string | undefined;
  at: number;
  /** Its place; what is not stored yet has none, and stands at the end. */
  seq?: number | undefined;
  status?: Status | undefined;
  /** Why it was refused. */
  error?: unknown;
  text?: string | undefined;
  link?: LinkOffer | undefined;
  file?: FileOffer | undefined;
  /** What the sender lets its user know of itself. */
  profile?: ProfileMessage | undefined;
  /** Where the sender is, or was. */
  place?: PlaceMessage | undefined;
  /** The sender's place is shared no more. */
  placeEnded?: true | undefined;
  /** The sender has set a pin on the map, or drawn a line. */
  mark?: "pin" | "line" | undefined;
  /** A file that is on its way. */
  upload?: { name: string; size: number; sent: number } | undefined;
  /** It is being kept: until it is, a tab that is closed would lose it, and nothing is said of it. */
  keeping?: boolean | undefined;
  /** It could not be kept, and is sent only as long as the page is open. */
  fleeting?: true | undefined;
  /** A provider's overlay, as it came: untrusted, and not yet read. */
  overlay?: unknown;
  /** The sender's device shows an overlay of this side's, or says why not (I4). */
  overlayShown?: OverlayShown | undefined;
  /** What came of an action of an overlay of this side's (I6). */
  overlayResult?: OverlayResult | undefined;
  /** A service data object, of a kind that the page does not know. */
  kind?: string | undefined;
  /** A change of the session. */
  phase?: SessionState["phase"] | undefined;
  /** The content, where this page has it at hand. */
  content?: Blob | undefined;
}

/** Signals between pages; they need not arrive. */
const typing = "page.typing";
const seen = "page.seen";
const hello = "page.hello";

/** What is told of, and is nothing to be read. */
const silent = new Set(["tandem.state", "tandem.overlay.shown"]);

/** A file that waits to be sent is kept here until the server has it all. */
const uploads = "page/upload/";
interface KeptUpload {
  session: SessionID;
  id: string;
  name: string;
  content: Blob;
  at: number;
}

/** How long a file that could not be sent waits, unless a connection comes first. */
const uploadPauseMs = 30_000;

/**
 * The sessions of the files that an earlier run of the page has left to send, one for each file.
 * What nobody asked for in so many milliseconds is forgotten: its session is over, and not told of
 * any more.
 */
export async function keptUploads({ store }: Ports, forMs: number): Promise<SessionID[]> {
  const all = (await store.list(uploads)) as [string, KeptUpload][];
  const old = all.filter(([, u]) => Date.now() - u.at > forMs);
  await store.write(new Map(old.map(([key]) => [key, undefined])));
  return all.filter((u) => !old.includes(u)).map(([, u]) => u.session);
}

/**
 * Sends a file in one tab only. What another one sends is left to it: false; when that is gone, it is
 * asked again (takeOverFromTabs).
 */
async function alone(id: string, send: () => Promise<boolean>): Promise<boolean> {
  return await navigator.locks.request(
    `tandem-upload-${id}`,
    { ifAvailable: true },
    async (lock) => lock !== null && (await send()),
  );
}

/** How long "is typing" stands without a further key. */
const typingMs = 5_000;
/** How long another member's file is said to be on its way when no more of it comes. */
const incomingMs = 60_000;

/** What is said in one session. */
export class Room {
  readonly id: SessionID;
  state = $state.raw<SessionState>() as SessionState;
  readonly #entries = new SvelteMap<string, Entry>();
  /** Up to where each other member has seen; by member. */
  readonly #seen = new SvelteMap<string, number>();
  /** Files that others are sending, and when more of them came last. */
  readonly #incoming = new SvelteMap<string, FileProgress & { at: number }>();
  /** When each other member typed last. */
  readonly #typed = new SvelteMap<string, number>();
  /** Whether the user looks at it. */
  #looking = false;
  unread = $state(0);
  #sawMine = 0;
  readonly #device: Device;
  readonly #ports: Ports;
  readonly #stops = new Map<string, AbortController>();
  /** Files that wait for a connection. */
  readonly #waits = new Set<() => void>();
  #lastTyped = 0;
  /** The log has been read to its end. */
  #whole = false;
  /** Who is where. */
  readonly places: RoomPlaces;
  /** What is pinned and drawn on the map. */
  readonly marks: Marks;

  /** @param looksOn the user is none of the members, and only sees what is said */
  constructor(device: Device, ports: Ports, state: SessionState, looksOn = false) {
    this.#device = device;
    this.#ports = ports;
    this.id = state.id;
    this.state = state;
    this.places = new RoomPlaces(this, new Places(device.api), ports, looksOn);
    this.marks = new Marks(device, ports, this.id);
    for (const u of device.unsent()) {
      this.takeUp(u);
    }
  }

  /** Takes what another run of the page has left, and this one is to send. */
  takeUp({ frame, since }: Unsent): void {
    const entry = { ...told(frame.kind, frame.body), ...own(frame.id, since) };
    // The server may have stored it all the same, and the log has brought it.
    if (frame.session !== this.id || this.#entries.has(entry.key)) {
      return;
    }
    this.marks.take(frame, true);
    if (frame.kind !== removeMark) {
      this.#put({ ...entry, status: "waiting" });
    }
  }

  /** What was said, in order. */
  readonly entries = $derived(
    [...this.#entries.values()].sort(
      (a, b) => (a.seq ?? Number.MAX_VALUE) - (b.seq ?? Number.MAX_VALUE) || a.at - b.at,
    ),
  );

  /** Members of the other parties. */
  readonly others = $derived.by(() => {
    const side = this.state.members.find((m) => m.id === this.state.you)?.side;
    return this.state.members.filter((m) => m.side !== side);
  });

  readonly open = $derived(this.state.phase !== "closed");

  /** How many entries have no place yet. */
  readonly waiting = $derived(
    [...this.#entries.values()].filter((e) => e.status === "waiting").length,
  );

  /** Whether anybody of the other side has seen the entry. */
  isSeen(e: Entry): boolean {
    return (
      e.seq !== undefined && this.others.some((m) => (this.#seen.get(m.id) ?? 0) >= (e.seq ?? 0))
    );
  }

  /** Who is typing at a time. */
  typingAt(now: number): string[] {
    return [...this.#typed].filter(([, at]) => now - at < typingMs).map(([id]) => id);
  }

  /** Files that are on their way at a time. */
  incomingAt(now: number): FileProgress[] {
    return [...this.#incoming.values()].filter((p) => this.open && now - p.at < incomingMs);
  }

  /** Takes a message that came, or was read from the log. */
  take(m: Message | Envelope): void {
    const { you, was } = this.state;
    const mine = m.from !== undefined && (m.from === you || was?.includes(m.from) === true);
    const place = m.kind === "tandem.place" || m.kind?.startsWith("tandem.place.");
    if (place) {
      this.places.take(m, mine);
    }
    this.marks.take(m, mine);
    if (m.kind === "tandem.place.ask" || m.kind === removeMark) {
      return; // no entry
    }
    if (mine && !place && m.kind !== "tandem.state" && m.kind?.startsWith("tandem.")) {
      return; // what the server sent in this party's name, to others
    }
    const at = m.time ? Date.parse(m.time) : Date.now();
    // A place goes out once for each way in which devices show it (internal/place/shown.go).
    const key = mine && m.id ? own(m.id.replace(/(-[plx])+$/, ""), 0).key : `${m.epoch}/${m.seq}`;
    const before = this.#entries.get(key);
    const file = m.kind === "file" ? (m.body as FileOffer) : undefined;
    if (file) {
      this.#incoming.delete(file.id);
      if (mine && m.id) {
        // The server has all of it, and says so before the upload's own answer has come.
        void this.#ports.store.write(new Map([[uploads + m.id, undefined]])).catch(() => {});
      }
    }
    if (m.from) {
      this.#typed.delete(m.from);
    }
    this.#put({
      ...told(m.kind ?? "", m.body),
      key,
      mine,
      from: m.from,
      at,
      seq: m.seq,
      content: before?.content,
      ...(mine && { status: "stored" as const }),
    });
    this.#keepLast(this.#entries.get(key));
    if (!mine && !before && m.kind !== undefined && !silent.has(m.kind)) {
      this.unread += this.#looking ? 0 : 1;
    }
    if (this.#looking) {
      this.#tellSeen();
    }
  }

  /** Of what somebody lets the user know of them, only the newest stays. */
  #keepLast(entry: Entry | undefined): void {
    const owner = entry?.profile?.owner;
    for (const [key, e] of owner ? this.#entries : []) {
      if (e.profile?.owner === owner && (e.seq ?? 0) < (entry?.seq ?? 0)) {
        this.#entries.delete(key);
      }
    }
  }

  /** Forgets what was never stored. */
  rewind(seq: number): void {
    for (const [key, e] of this.#entries) {
      if ((e.seq ?? 0) > seq) {
        this.#entries.delete(key);
      }
    }
  }

  /** Takes a signal of another member's. */
  signal(kind: string, from: string | undefined, body: unknown): void {
    switch (kind) {
      case typing:
        if (from) {
          this.#typed.set(from, Date.now());
        }
        break;
      case seen:
        if (from) {
          const n = Number((body as { seq?: unknown } | undefined)?.seq);
          this.#seen.set(from, Math.max(this.#seen.get(from) ?? 0, Number.isFinite(n) ? n : 0));
        }
        break;
      case hello:
        this.#sawMine = 0;
        this.#tellSeen();
        break;
      case "file.progress": {
        const p = body as FileProgress;
        if (p.gone) {
          this.#incoming.delete(p.id);
        } else if (from !== this.state.you) {
          this.#incoming.set(p.id, { ...p, at: Date.now() });
        }
        break;
      }
      default:
        this.places.signal(kind, from, body);
    }
  }

  /** To be called after each connection: what was signalled meanwhile is lost. */
  connected(): void {
    for (const goOn of [...this.#waits]) {
      goOn();
    }
    if (this.open) {
      this.#device.signal(this.id, hello);
      this.#sawMine = 0;
      this.#tellSeen();
      this.places.connected();
    }
  }

  /** Says whether the user looks at the session. */
  look(looking: boolean): void {
    this.#looking = looking;
    if (looking) {
      this.unread = 0;
      this.#tellSeen();
    }
  }

  #tellSeen(): void {
    if (!this.#looking || !this.open || document.visibilityState !== "visible") {
      return;
    }
    const last = Math.max(
      0,
      ...[...this.#entries.values()].filter((e) => !e.mine).map((e) => e.seq ?? 0),
    );
    if (last > this.#sawMine) {
      this.#sawMine = last;
      this.#device.signal(this.id, seen, { seq: last });
    }
  }

  /** To be called at each key of the user's. */
  typed(): void {
    const at = Date.now();
    if (at - this.#lastTyped > typingMs / 2) {
      this.#lastTyped = at;
      this.#device.signal(this.id, typing);
    }
  }

  /** Sends a text; one that is a web address goes as data by reference (C1). */
  say(text: string): void {
    const id = newID("m", this.#ports.crypto.random);
    const url = asLink(text);
    const [kind, body] = url
      ? (["link", { url }] as const)
      : (["text", { text } satisfies TextMessage] as const);
    const entry = { ...told(kind, body), ...own(id, Date.now()) };
    this.#put({ ...entry, status: "waiting", keeping: true });
    this.#lastTyped = 0;
    // sent and refused tell what becomes of it, also in a later run.
    this.#device.send(this.id, kind, body, { id }).catch(() => {});
    void this.#device.kept().then(() => this.#change(entry.key, { keeping: false }));
  }

  /** A message of this page's is stored. */
  stored(frame: SendFrame, seq: number | undefined): void {
    if (frame.kind === removeMark) {
      this.marks.take(frame, true); // of an earlier run's: the log has brought the mark back
    }
    this.#change(own(frame.id, 0).key, { status: "stored", seq });
  }

  /** The server refuses a message of this page's. */
  refused(frame: SendFrame, error: unknown): void {
    const said = told(frame.kind, frame.body);
    const entry = { ...said, ...own(frame.id, Date.now()) };
    this.marks.refused(frame);
    if (!this.#entries.has(entry.key) && frame.kind !== removeMark) {
      this.#put(entry); // an earlier run has said it, or it is on the map only
    }
    this.#change(entry.key, { status: "refused", error });
  }

  /**
   * Sends a file; true when the server has it. It is kept until the server has all of it, so that
   * a reload loses nothing.
   */
  async send(file: File): Promise<boolean> {
    const id = newID("u", this.#ports.crypto.random);
    const kept: KeptUpload = {
      session: this.id,
      id,
      name: file.name,
      content: file,
      at: Date.now(),
    };
    try {
      await this.#ports.store.write(new Map([[uploads + id, kept]]));
    } catch {
      // No room to keep it: it is sent all the same, as long as the page is open.
      return this.#upload(kept, true);
    }
    return alone(id, () => this.#upload(kept));
  }

  /** Takes up what an earlier run of the page, or a tab that was closed, could not finish. */
  async resumeUploads(): Promise<void> {
    for (const [key, value] of await this.#ports.store.list(uploads)) {
      const kept = value as KeptUpload;
      if (kept.session === this.id && !this.#stops.has(kept.id)) {
        void alone(kept.id, async () => {
          // Another tab may just have finished it.
          return (await this.#ports.store.get(key)) !== undefined && this.#upload(kept);
        });
      }
    }
  }

  async #upload(kept: KeptUpload, fleeting?: true): Promise<boolean> {
    const { id, name, content, at } = kept;
    const key = own(id, at).key;
    const stop = new AbortController();
    this.#stops.set(id, stop);
    if (this.#entries.get(key)?.seq === undefined) {
      const upload = { name, size: content.size, sent: 0 };
      this.#put({ ...own(id, at), status: "waiting", upload, content, fleeting });
    }
    try {
      while (!(await this.#attempt(kept, stop.signal))) {
        await this.#untilBack(stop.signal);
      }
      return true;
    } catch (error) {
      if (stop.signal.aborted) {
        this.#entries.delete(key);
      } else {
        this.#change(key, { status: "refused", error }, (e) => e.file === undefined);
      }
      return false;
    } finally {
      this.#stops.delete(id);
      // What cannot be written is sent again by the next run, which is harmless.
      await this.#ports.store.write(new Map([[uploads + id, undefined]])).catch(() => {});
    }
  }

  /** Sends a file; false where the network or the server failed, and may not the next time. */
  async #attempt({ id, name, content, at }: KeptUpload, signal: AbortSignal): Promise<boolean> {
    const files = await import("@tandem-call/sdk/files").catch(() => undefined);
    if (!files) {
      return false; // a part of the page, which without a network may not be had
    }
    const { mayPass, upload } = files;
    const key = own(id, at).key;
    try {
      await upload(this.#device.api, this.#ports, {
        session: this.id,
        id,
        content,
        name,
        signal,
        takeBack: true,
        progress: (sent, total) =>
          this.#change(key, { upload: { name, size: total, sent } }, (e) => e.file === undefined),
      });
      return true;
    } catch (error) {
      if (signal.aborted || !mayPass(error)) {
        throw error;
      }
      return false;
    }
  }

  /** Waits for the next connection, but not for long: uploads have connections of their own. */
  #untilBack(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        cancel();
        this.#waits.delete(end);
        signal.removeEventListener("abort", end);
        resolve();
      };
      const cancel = this.#ports.clock.after(uploadPauseMs, end);
      this.#waits.add(end);
      signal.addEventListener("abort", end, { once: true });
    });
  }

  /** Gives up a file that is on its way. */
  cancel(e: Entry): void {
    this.#stops.get(e.key.slice(3))?.abort(new Error("cancelled by the user"));
  }

  /** Takes away something that was refused. */
  dismiss(e: Entry): void {
    this.#entries.delete(e.key);
  }

  /** Sends again what was refused. */
  again(e: Entry): void {
    this.#entries.delete(e.key);
    if (e.upload && e.content) {
      void this.send(new File([e.content], e.upload.name, { type: e.content.type }));
    } else if (e.link) {
      this.say(e.link.url);
    } else if (e.text) {
      this.say(e.text);
    }
  }

  /** Keeps the session open longer, as far as it may. */
  async extend(): Promise<void> {
    const { until, may_extend_to } = this.state;
    const most = may_extend_to ? Date.parse(may_extend_to) - now.server : 0;
    const left = until ? Date.parse(until) - now.server : 0;
    const seconds = Math.floor(Math.min(left + 600_000, most) / 1000);
    if (seconds > 0) {
      await this.#device.extend(this.id, seconds);
    }
  }

  /** Takes this party out of the session. */
  async leave(block: boolean): Promise<void> {
    await this.#device.leave(this.id, block ? { block } : {});
  }

  /** Reads the whole log over HTTP, once, for a session that is over. */
  async read(): Promise<void> {
    if (this.#whole) {
      return;
    }
    try {
      for (let after = 0; ; ) {
        const page = await this.#device.api.call<{ messages: Envelope[]; head: number }>(
          "GET",
          `/v1/sessions/${encodeURIComponent(this.id)}/messages?after=${after}`,
        );
        for (const m of page.messages) {
          this.take(m);
          after = Math.max(after, m.seq ?? 0);
        }
        if (page.messages.length === 0 || after >= page.head) {
          this.#whole = true;
          return;
        }
      }
    } catch (err) {
      if (!isProblem(err, "not-found", "not-a-member")) {
        throw err;
      }
    }
  }

  #put(e: Entry): void {
    this.#entries.set(e.key, e);
  }

  #change(key: string, change: Partial<Entry>, unless: (e: Entry) => boolean = () => true): void {
    const e = this.#entries.get(key);
    if (e && unless(e)) {
      this.#entries.set(key, { ...e, ...change });
    }
  }
}

/** What this page itself sends, by its request's id. */
function own(id: string, at: number): Pick<Entry, "key" | "mine" | "at"> {
  return { key: `me/${id}`, mine: true, at };
}

/** What a message says, by its kind; a body that is not of its kind is shown as unknown. */
export function told(
  kind: string,
  body: unknown,
): Pick<
  Entry,
  | "text"
  | "link"
  | "file"
  | "profile"
  | "overlay"
  | "overlayShown"
  | "overlayResult"
  | "place"
  | "placeEnded"
  | "mark"
  | "kind"
  | "phase"
> {
  const b = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
  switch (true) {
    case kind === "text" && typeof b.text === "string":
      return { text: b.text };
    case kind === "link" && typeof b.url === "string" && asLink(b.url) !== undefined:
      return { link: b as unknown as LinkOffer };
    case kind === "file" && typeof b.path === "string" && typeof b.name === "string":
      return { file: b as unknown as FileOffer };
    case kind === "tandem.profile" && typeof b.owner === "string" && Array.isArray(b.fields):
      return { profile: b as unknown as ProfileMessage };
    case kind === "overlay":
      return { overlay: body };
    case kind === "tandem.overlay.shown" && typeof b.seq === "number":
      return { overlayShown: b as unknown as OverlayShown };
    case kind === "tandem.overlay.result" && typeof b.seq === "number":
      return { overlayResult: b as unknown as OverlayResult };
    case kind === "tandem.place" && isPlace(b.place):
      return { place: b as unknown as PlaceMessage };
    case kind === "tandem.place.stopped":
      return { placeEnded: true };
    case kind === putMark: {
      const mark = markOf(body);
      return mark ? { mark: mark.points.length > 1 ? "line" : "pin" } : { kind };
    }
    case kind === "tandem.state" && typeof b.phase === "string":
      return { phase: b.phase as SessionState["phase"] };
    default:
      return { kind: kind || "?" };
  }
}

import {
  type Available,
  answerPush,
  awaitNear,
  type CouplingKind,
  type CouplingOffer,
  couple,
  Device,
  type DeviceInfo,
  type Events,
  enrol,
  forgetIdentity,
  here,
  type Identity,
  type Invite,
  isProblem,
  loadIdentity,
  MemoryStore,
  type NoticeBody,
  openLink,
  type Page,
  type PendingCoupling,
  type PendingEnrolment,
  type Ports,
  type Push,
  pendingEnrolment,
  problemOf,
  readPush,
  type SessionID,
  type SessionState,
  type Words,
} from "@tandem-call/sdk";
import { browserPorts, takeOverFromTabs, wakeWithPage } from "@tandem-call/sdk/browser";
import { SvelteMap } from "svelte/reactivity";
import { locale } from "./format.ts";
import { HandReport } from "./hand.svelte.ts";
import { Nearness } from "./near.svelte.ts";
import { now } from "./now.svelte.ts";
import { own } from "./own.svelte.ts";
import { people } from "./people.svelte.ts";
import { keptUploads, Room } from "./room.svelte.ts";
import { Telephone } from "./telephone.svelte.ts";
import { update } from "./update.svelte.ts";
import { wake } from "./wake.svelte.ts";
import { words } from "./words.svelte.ts";

/** The software's name for the operator's statistics. */
export const client = "tandem-callpage/0.1";

/** The sessions that this device was in are kept here, as they were told last: the history. */
const history = "page/session/";
/** How long they are kept; the server keeps what was said about as long. */
const historyMs = 26 * 3600_000;

/** The link by which this page came as a guest is kept here, until it is more than that. */
const linkKey = "page/link";

/** Whether the device is coupled with a phone is kept here; the server has the last word. */
const companionKey = "page/companion";

/** How long the server may take to say what it is, before the page opens without that. */
const pageMs = 3_000;

/** How soon after a connection is made the server has told what it asks. */
const anewMs = 5_000;

/** By how much this device's idea of the server's time may be wrong, in milliseconds. */
const clockFault = 10_000;

/** How far the page has come. "apart": it is coupled with a phone that is not near. */
export type Stage = "loading" | "stranger" | "device" | "apart" | "ended";

/** The page as a device: who it is, how it stands with the server, what happens to it. */
class App {
  stage = $state<Stage>("loading");
  page = $state.raw<Page>();
  identity = $state.raw<Identity>();
  /** A code was sent and is waited for. */
  pending = $state.raw<PendingEnrolment>();
  connected = $state(false);
  /** Since when there is no connection. */
  lostAt = $state<number>();
  /** Whether the browser keeps what waits to be sent; else it is lost with the page. */
  keeps = $state(true);
  /** Why the device cannot come back, once it cannot. */
  end = $state.raw<unknown>();
  info = $state.raw<DeviceInfo>();
  readonly rooms = new SvelteMap<SessionID, Room>();
  /** Closed sessions that the user has put away. Each new connection tells of them again. */
  readonly #away = new Set<SessionID>();
  /** Sessions as they were told last, also of earlier runs. */
  past = $state.raw<SessionState[]>([]);
  readonly invites = new SvelteMap<string, Invite>();
  readonly asked = new SvelteMap<string, Words>();
  /** Sessions of the party that this device is told of, and may join. */
  readonly available = new SvelteMap<SessionID, Available>();
  #anew: ReturnType<typeof setTimeout> | undefined;
  /** The device carries data for a phone, with which it is coupled (B8). */
  companion = $state(false);
  notices = $state.raw<NoticeBody[]>([]);
  /** A page says in its document where it keeps what is its own. */
  readonly ports: Ports = browserPorts(databaseOf(document.documentElement.dataset));
  device = $state.raw<Device>();
  telephone = $state.raw<Telephone>();
  hand = $state.raw<HandReport>();
  #near: Nearness | undefined;
  /** Who waits for what becomes of payments, by session. */
  readonly #payments = new Map<string, Set<() => void>>();
  readonly server = location.origin;

  /** Has somebody told when a payment of a session goes on; returns how to end that. */
  onPayment(session: SessionID, moved: () => void): () => void {
    const all = this.#payments.get(session) ?? new Set();
    this.#payments.set(session, all.add(moved));
    return () => all.delete(moved);
  }

  /** The sessions of what an earlier run has left to send, until there is a connection and they are told. */
  #left = $state.raw<SessionID[]>([]);

  /** Messages and files that the server does not have yet. */
  readonly unsent = $derived(
    [...this.rooms.values()].reduce((n, r) => n + r.waiting, 0) +
      this.#left.filter((id) => !this.rooms.has(id)).length,
  );

  /** Messages of an earlier run that were refused before their session, which is over, was told of. */
  readonly #refused = new Map<SessionID, Events["refused"][]>();

  /** The session that the page shows when none is asked for: the newest that is open. */
  readonly current = $derived(
    [...this.rooms.values()]
      .filter((r) => r.open)
      .sort(
        (a, b) =>
          Number(b.state.phase === "in_call") - Number(a.state.phase === "in_call") ||
          Date.parse(b.state.opened) - Date.parse(a.state.opened),
      )[0],
  );

  /** Whether this page is here by a link only: in one session, until that is closed (D4). */
  readonly guest = $derived(hasOnly(this.info, "link"));

  /** Whether this page is one of the two phones of Try it. */
  readonly trial = $derived(this.page?.phone !== undefined);

  /** Finds out who this page is, and connects if it is a device. */
  async start(): Promise<void> {
    const read = this.#readPage().then((page) => {
      this.page ??= page;
    });
    const identity = await loadIdentity(this.ports.store).catch(() => {
      // There is no database at all: the page does what it can until it is closed.
      this.ports.store = new MemoryStore();
      this.keeps = false;
      return undefined;
    });
    if (identity) {
      const late = new Promise<void>((resolve) => void this.ports.clock.after(pageMs, resolve));
      await Promise.race([read, late]);
      await this.#begin({ ...identity, server: this.server });
      return;
    }
    await read;
    this.pending = await pendingEnrolment(this.ports);
    if (this.trial) {
      await this.#enrolForTrial();
      return;
    }
    this.stage = "stranger";
  }

  /** What the server says of itself; the page also opens without it. */
  async #readPage(): Promise<Page | undefined> {
    try {
      const res = await fetch("/v1/page", { cache: "no-store", credentials: "omit" });
      return res.ok ? ((await res.json()) as Page) : undefined;
    } catch {
      return undefined;
    }
  }

  /** Asks for a code. */
  async ask(number: string, name: string): Promise<void> {
    const region = this.page?.region;
    this.pending = await enrol(
      { server: this.server, number, client, ...(name && { name }), ...(region && { region }) },
      this.ports,
    );
  }

  /** Gives the code. */
  async confirm(code: string): Promise<void> {
    if (!this.pending) {
      return;
    }
    const identity = await this.pending.confirm(code);
    this.pending = undefined;
    if (this.device && this.identity?.device === identity.device) {
      this.identity = identity;
      await this.#refresh();
    } else {
      await this.#begin(identity);
    }
    await this.#confirmInstalled();
  }

  /** Who came by a link, and has proved the number since, says so (D4). */
  async #confirmInstalled(): Promise<void> {
    const link = (await this.ports.store.get(linkKey)) as string | undefined;
    if (link) {
      // The call may be over by now; the device stays what it is.
      await this.device?.api.installed(link).catch(() => {});
      await this.ports.store.write(new Map([[linkKey, undefined]]));
    }
  }

  /** Gives the code up. */
  async cancel(): Promise<void> {
    await this.pending?.cancel();
    this.pending = undefined;
  }

  /** Begins to couple this device with a phone: it has a code to be typed there. */
  couple(name: string): Promise<PendingCoupling> {
    return couple({ server: this.server, client, ...(name && { name }) }, this.ports);
  }

  /** Is what it was coupled as; false if it is so already. */
  async coupled(identity: Identity): Promise<boolean> {
    if (this.device) {
      return false;
    }
    await this.#setCompanion(true);
    await this.#begin(identity);
    return true;
  }

  /** Is a device that was made otherwise. */
  become(identity: Identity): Promise<void> {
    return this.#begin(identity);
  }

  async #setCompanion(is: boolean): Promise<void> {
    this.companion = is;
    await this.ports.store.write(new Map([[companionKey, is || undefined]]));
  }

  /** What a link that came by text message is about. */
  link(id: string): Promise<Push> {
    return readPush(this.server, id, this.ports);
  }

  /** Opens the link: this page is in the session of the call; as a guest, if it is no device yet. */
  async enter(link: string, name: string): Promise<void> {
    if (
      this.device &&
      this.stage === "device" &&
      !hasOnly(await this.device.api.device(), "link")
    ) {
      await this.device.api.installed(link);
      return;
    }
    const what = { server: this.server, link, client, ...(name && { name }) };
    const identity = await openLink(what, this.ports);
    await this.ports.store.write(new Map([[linkKey, link]]));
    if (this.device) {
      // It was the guest of another call.
      location.hash = "";
      location.reload();
      return;
    }
    await this.#begin(identity);
  }

  /** Whoever comes by the link is to prove the number, and joins when that is done. */
  async keepLink(link: string): Promise<void> {
    await this.ports.store.write(new Map([[linkKey, link]]));
  }

  /** Declines what the link invites to. */
  declineLink(id: string): Promise<void> {
    return answerPush(this.server, id, false, this.ports);
  }

  /** Makes a phone of Try it a device, with the code that a development server tells it. */
  async #enrolForTrial(): Promise<void> {
    const phone = this.page?.phone;
    if (!phone) {
      return;
    }
    // One tab after the other: the second finds the first one's identity.
    await navigator.locks.request("tandem-trial", async () => {
      const known = await loadIdentity(this.ports.store);
      if (known) {
        await this.#begin({ ...known, server: this.server });
        return;
      }
      await this.ask(phone.number, phone.name);
      const res = await fetch("/v1/trial-code", { method: "POST" });
      const { code } = (await res.json()) as { code: string };
      await this.confirm(code);
    });
  }

  async #begin(identity: Identity): Promise<void> {
    const device = await Device.open({ identity, ports: this.ports, client, from: "start" });
    this.identity = identity;
    this.device = device;
    device.on("connected", (w) => {
      now.ahead = Date.parse(w.time) - Date.now();
      this.connected = true;
      this.lostAt = undefined;
      this.#left = [];
      this.#expectAnew();
      void this.#refresh();
      void update.check(); // it may have been away for one
    });
    device.on("disconnected", () => {
      clearTimeout(this.#anew);
      this.connected = false;
      this.lostAt ??= Date.now();
    });
    device.on("session", (s) => this.#session(s));
    device.on("message", (m) => {
      const room = this.rooms.get(m.session);
      room?.take(m);
      if (m.kind === "tandem.profile" && m.from !== room?.state.you) {
        void people.take(m);
      }
    });
    device.on("rewind", ({ session, seq }) => this.rooms.get(session)?.rewind(seq));
    device.on("signal", (m) => this.rooms.get(m.session)?.signal(m.kind, m.from, m.body));
    device.on("sent", ({ frame, ack }) => this.rooms.get(frame.session)?.stored(frame, ack.seq));
    device.on("refused", (r) => {
      const { session } = r.frame;
      const room = this.rooms.get(session);
      if (room) {
        room.refused(r.frame, r.error);
      } else {
        this.#refused.set(session, [...(this.#refused.get(session) ?? []), r]);
      }
    });
    device.on("taken", (u) => {
      const { session } = u.frame;
      const room = this.rooms.get(session);
      if (room) {
        room.takeUp(u);
      } else if (!this.connected) {
        this.#left = [...this.#left, session];
      }
    });
    device.on("keeps", (keeps) => {
      this.keeps = keeps;
    });
    device.on("fault", ({ error }) => {
      if (!problemOf(error)) {
        reportError(error); // else it is of a signal, which need not arrive
      }
    });
    device.on("invite", (i) => this.invites.set(i.id, i));
    device.on("words", (w) => {
      this.invites.delete(w.invitation);
      this.asked.set(w.invitation, w);
    });
    device.on("withdrawn", ({ invitation }) => {
      this.invites.delete(invitation);
      this.asked.delete(invitation);
    });
    device.on("available", (a) => {
      if (a.phase === "closed") {
        this.available.delete(a.session);
      } else {
        this.available.set(a.session, a);
      }
    });
    device.on("notice", (n) => {
      if (n.code === "agent" || n.code === "agents") {
        return; // an agent's desk reads again; there is nothing to show
      }
      if (n.code === "payment") {
        for (const f of this.#payments.get(n.name ?? "") ?? []) {
          f();
        }
        return;
      }
      this.notices = [...this.notices, n];
      void this.#near?.look().catch(() => {}); // the next connection asks again
    });
    this.past = await this.#readHistory();
    this.#left = [
      ...device.unsent().map((u) => u.frame.session),
      ...(await keptUploads(this.ports, historyMs)),
    ];
    await people.begin(device.api, this.ports);
    await own.begin(device.api, this.ports);
    this.hand = await HandReport.open(device, this.ports);
    this.#near = new Nearness(device, this.ports);
    this.companion = (await this.ports.store.get(companionKey)) === true;
    // Beside a phone, the page is none: it would ring along.
    this.telephone = this.companion ? undefined : new Telephone(device, this.ports.clock);
    this.stage = "device";
    wakeWithPage(device);
    takeOverFromTabs(device, this.ports.clock, () => {
      for (const room of this.rooms.values()) {
        void room.resumeUploads().catch(() => {}); // the next page does it
      }
    });
    // Whoever closes the page hangs up; in the browser's cache of pages nothing goes on.
    addEventListener("pagehide", () => this.telephone?.hangUp());
    device.run(new AbortController().signal).catch((err: unknown) => void this.#over(err));
    void this.telephone?.start();
  }

  /**
   * What it asks, and which sessions the device may join, the server tells anew over each connection. What it does
   * not tell is over; the page may not have heard that.
   */
  #expectAnew(): void {
    const shown: SvelteMap<string, object>[] = [this.invites, this.asked, this.available];
    const before = shown.map((m) => new Map(m));
    clearTimeout(this.#anew);
    this.#anew = setTimeout(() => {
      for (const [i, m] of shown.entries()) {
        for (const [key, value] of before[i] ?? []) {
          if (m.get(key) === value) {
            m.delete(key);
          }
        }
      }
    }, anewMs);
  }

  async #readHistory(): Promise<SessionState[]> {
    const all = (await this.ports.store.list(history)).map(([, s]) => s as SessionState);
    const old = all.filter((s) => Date.now() - Date.parse(s.opened) > historyMs);
    await this.ports.store.write(new Map(old.map((s) => [history + s.id, undefined])));
    return all.filter((s) => !old.includes(s));
  }

  /** Keeps nothing of a closed session any more. */
  putAway(id: SessionID): void {
    this.#away.add(id);
    this.rooms.delete(id);
  }

  #session(told: SessionState): void {
    this.available.delete(told.id);
    if (this.#away.has(told.id)) {
      return;
    }
    // The last word of a session is the same for all members, and leaves out who one is.
    const before = this.rooms.get(told.id)?.state ?? this.past.find((p) => p.id === told.id);
    const { you, was } = told.you ? told : (before ?? told);
    const s = { ...told, ...(you && { you }), ...(was && { was }) };
    if (s.opened) {
      void this.ports.store.write(new Map([[history + s.id, s]])).catch(() => {}); // see keeps
    }
    if (s.phase === "closed") {
      void this.#near?.closed(s).catch(() => {}); // they lapse when the two part
    }
    const room = this.rooms.get(s.id);
    if (room) {
      room.state = s;
      room.places.changed();
      if (!room.open) {
        void this.#forgetPeople().catch(() => {}); // the next connection does it
      }
      return;
    }
    const made = new Room(this.device as Device, this.ports, s);
    this.rooms.set(s.id, made);
    for (const { frame, error } of this.#refused.get(s.id) ?? []) {
      made.refused(frame, error);
    }
    this.#refused.delete(s.id);
    void made.resumeUploads();
    // Who just came hears of it a moment later than we.
    setTimeout(() => made.connected(), 500);
  }

  /** What came for a call, and was not kept, goes with it. */
  async #forgetPeople(): Promise<void> {
    const all = (await this.device?.api.sessions()) ?? [];
    await people.forget(new Set(all.filter((s) => s.phase !== "closed").map((s) => s.id)));
  }

  /** Reads over HTTP what no event tells. */
  async #refresh(): Promise<void> {
    const device = this.device;
    if (!device) {
      return;
    }
    for (const room of this.rooms.values()) {
      room.connected();
    }
    own.connected();
    try {
      this.page ??= await this.#readPage(); // it was opened without a network
      this.info = await device.api.device();
      const companion = hasOnly(this.info, "coupled");
      if (companion !== this.companion) {
        await this.#setCompanion(companion);
        if (companion) {
          this.telephone?.stop();
          this.telephone = undefined;
        }
      }
      await this.#near?.look();
      // Providers choose their overlays by it.
      const language = locale(words.language).toLowerCase();
      if (this.info.language !== language) {
        this.info = await device.api.changeDevice({ language });
      }
      await wake.renew(device.api, this.info);
      await this.#forgetPeople();
    } catch {
      // The next connection asks again.
    }
  }

  /** A session by its id, also one that is over. */
  async room(id: SessionID): Promise<Room | undefined> {
    const known = this.rooms.get(id);
    if (known?.open || !this.device) {
      return known;
    }
    const room = known ?? new Room(this.device, this.ports, await this.device.api.session(id));
    // What was said while this page was away from it comes with no event once it is over.
    try {
      await room.read();
    } catch (err) {
      if (room.entries.length === 0) {
        throw err;
      }
      // Without a network, what is there is better than nothing.
    }
    this.rooms.set(id, room);
    return room;
  }

  /** The device has ended: it was revoked, or its proof is too old, or the server is another. */
  async #over(err: unknown): Promise<void> {
    this.connected = false;
    this.telephone?.stop();
    this.#near?.stop();
    if (this.trial && isProblem(err, "unauthenticated", "revoked", "binding-expired")) {
      // A development server with fresh data: begin anew.
      await forgetIdentity(this.ports.store);
      location.reload();
      return;
    }
    if (this.companion && (await this.#comesBack())) {
      location.reload();
      return;
    }
    this.end = err;
    this.stage = "ended";
  }

  /** Waits until a device that is away from its phone is near again; false: it is coupled no longer. */
  async #comesBack(): Promise<boolean> {
    const identity = this.identity;
    if (!identity || (await here(identity, this.ports).catch(() => [])).length === 0) {
      return false;
    }
    this.stage = "apart";
    return awaitNear(identity, this.ports, new AbortController().signal);
  }

  /** Couples the device that shows a code, always or for this call only. */
  async accept(code: string, kind: CouplingKind): Promise<void> {
    await this.#forCall(kind);
    await this.device?.api.acceptCoupling({ code, kind });
    await this.#near?.look();
  }

  /** A code to type at a device that is to be coupled, always or for this call only. */
  async offer(kind: CouplingKind): Promise<CouplingOffer | undefined> {
    await this.#forCall(kind);
    return this.device?.api.offerCoupling({ kind });
  }

  async #forCall(kind: CouplingKind): Promise<void> {
    if (kind === "temporary") {
      await this.#near?.forCall(now.server - clockFault, this.current?.id);
    }
  }

  /** Accepts or declines an invitation. */
  async answer(invite: Invite, accept: boolean): Promise<void> {
    this.invites.delete(invite.id);
    await this.device?.answer(invite.id, accept);
  }

  /** Changes the name that others see. */
  async rename(name: string): Promise<void> {
    if (this.device && this.identity) {
      this.info = await this.device.api.changeDevice({ name });
      this.identity = { ...this.identity, name };
      await this.ports.store.write(new Map([["identity", this.identity]]));
    }
  }

  /** Forgets the device, here and at the server if that can be reached. */
  async forget(): Promise<void> {
    this.telephone?.stop();
    await this.device?.api.removeDevice().catch(() => {});
    await forgetIdentity(this.ports.store);
    location.hash = "";
    location.reload();
  }
}

function databaseOf({ database }: DOMStringMap): { database?: string } {
  return database ? { database } : {};
}

/** Whether all that ties the device to its numbers is of one kind. */
function hasOnly(info: DeviceInfo | undefined, kind: string): boolean {
  return !!info?.bindings.length && info.bindings.every((b) => b.kind === kind);
}

export const app = new App();

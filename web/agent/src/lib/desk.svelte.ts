import {
  type Agent,
  type AgentConversation,
  type AgentList,
  type AgentSettings,
  type AgentState,
  agentCode,
  type ConversationList,
  forgetIdentity,
  isProblem,
  newID,
  type PlaceAbility,
  type SessionID,
  signIn,
} from "@tandem-call/sdk";
import { SvelteMap } from "svelte/reactivity";
import { app } from "../../../callpage/src/lib/app.svelte.ts";
import { readable } from "../../../callpage/src/lib/format.ts";
import { reason } from "../../../callpage/src/lib/reason.ts";
import type { Room } from "../../../callpage/src/lib/room.svelte.ts";
import { say } from "./words.ts";

/** The software's name for the operator's statistics. */
const client = "tandem-agent/0.1";

/** An agent's desk: who it is, what it is doing, its calls in tabs. */
class Desk {
  agent = $state.raw<Agent>();
  settings = $state.raw<AgentSettings>();
  /** The session that is shown. Only the agent changes it, but for the first one that comes. */
  shown = $state<SessionID>();
  /** What is known of each session, by its id. */
  readonly known = new SvelteMap<SessionID, AgentConversation>();
  /** What the customer's device can do, once it has said so. */
  readonly abilities = new SvelteMap<SessionID, PlaceAbility>();
  /** Members whose devices were asked what they can do. */
  readonly #asked = new Set<string>();
  /** Sessions whose map was opened once: who closes it, has it closed. */
  readonly #mapped = new Set<SessionID>();
  /** How often the states of the provider's agents have changed, for supervisors. */
  changes = $state(0);
  /** How often there was something new in the session that is looked into. */
  heard = $state(0);
  /** The customers' numbers; who no longer has the session is not told them any more. */
  readonly #customers = new Map<SessionID, string>();
  /** Sessions that somebody else has moved from here, with the time, so that the call follows once. */
  readonly #moving = new Set<string>();
  /** What has become of a call whose session somebody else has moved; empty: nothing. */
  moved = $state("");
  /** The code in the address, until it is used. */
  given = $state("");

  /** Sessions in the order in which they came. */
  readonly tabs = $derived(
    [...app.rooms.values()].sort((a, b) => Date.parse(a.state.opened) - Date.parse(b.state.opened)),
  );

  readonly room = $derived(this.tabs.find((r) => r.id === this.shown));

  /** Signs in with the address, or goes on as the agent that this browser is. */
  async start(): Promise<void> {
    this.given = agentCode(location.hash) ?? "";
    if (this.given) {
      // Nobody finds it in the browser's history.
      location.replace(`${location.pathname}#/`);
    }
    this.#watch();
  }

  /** Makes this browser the agent's. */
  async signIn(code: string): Promise<void> {
    if (app.identity) {
      await forgetIdentity(app.ports.store);
    }
    const { identity, agent } = await signIn({ server: app.server, code, client }, app.ports);
    this.given = "";
    if (app.stage === "ended") {
      location.reload();
      return;
    }
    this.agent = agent;
    await app.become(identity);
    this.#watch();
  }

  async signOut(): Promise<void> {
    // First, since it may fail, and an agent who is signed in keeps the telephone.
    await this.#call("DELETE", "/v1/agent");
    app.telephone?.stop();
    await forgetIdentity(app.ports.store);
    location.reload();
  }

  /** Follows what happens to the device. */
  #watch(): void {
    const { device } = app;
    if (!device) {
      return;
    }
    device.on("connected", () => void this.#refresh());
    device.on("session", (s) => {
      if (!app.rooms.has(s.id)) {
        return; // it was put away
      }
      if (!this.room?.open && s.phase !== "closed") {
        this.shown = s.id;
      }
      void this.look(s.id);
    });
    device.on("notice", ({ code }) => {
      if (code === "agent") {
        void this.#refresh();
        for (const r of app.rooms.values()) {
          void this.look(r.id);
        }
      } else if (code === "agents") {
        this.changes++;
      } else if (code === "look") {
        this.heard++;
      }
    });
    // Where the customer is, is shown when it first comes; it takes no focus.
    device.on("message", (m) => {
      const places = app.rooms.get(m.session)?.places;
      const told = m.kind === "tandem.place" && places?.seen.has(m.from ?? "") ? places : undefined;
      if (told && !this.#mapped.has(m.session)) {
        this.#mapped.add(m.session);
        told.mapOpen = told.show === "map";
      }
    });
    if (app.connected) {
      void this.#refresh();
      for (const r of app.rooms.values()) {
        this.shown ??= r.id;
        void this.look(r.id);
      }
    }
  }

  #call<T>(method: string, path: string, body?: unknown): Promise<T> {
    if (!app.device) {
      throw new Error("the desk is not signed in");
    }
    return app.device.api.call<T>(method, path, body);
  }

  async #refresh(): Promise<void> {
    try {
      this.agent = await this.#call<Agent>("GET", "/v1/agent");
      this.settings ??= await this.#call<AgentSettings>("GET", "/v1/agent/settings");
    } catch {
      // The next connection, or the next event, asks again.
    }
  }

  /** Reads what is known of a session, and asks the customer's device what it can do. */
  async look(id: SessionID): Promise<void> {
    try {
      const known = await this.#call<AgentConversation>("GET", path(id));
      this.known.set(id, known);
      const customer = readable(known.party?.identity ?? known.customer);
      if (customer) {
        this.#customers.set(id, customer);
      }
    } catch {
      return; // not noted yet: a notice will come; else the next connection, or the next event, asks again
    }
    void this.#follow(id);
    const room = app.rooms.get(id);
    const to = room?.open ? room.others.find((m) => !m.left)?.id : undefined;
    if (!to || this.#asked.has(`${id}/${to}`)) {
      return;
    }
    this.#asked.add(`${id}/${to}`);
    try {
      const at = `/v1/sessions/${encodeURIComponent(id)}/place/check`;
      this.abilities.set(id, await this.#call<PlaceAbility>("POST", at, { to }));
    } catch {
      this.#asked.delete(`${id}/${to}`);
    }
  }

  /** Asks the customer for their place; they are asked whether they want that (F2). */
  async askPlace(room: Room): Promise<void> {
    const to = room.others.find((m) => !m.left)?.id;
    await this.#call("POST", `/v1/sessions/${encodeURIComponent(room.id)}/place/ask`, { to });
  }

  async setState(state: AgentState, reason: string): Promise<void> {
    this.agent = await this.#call<Agent>("PUT", "/v1/agent/state", {
      state,
      ...(reason && { reason }),
    });
  }

  async note(id: SessionID, text: string): Promise<void> {
    const note = { id: newID("n", app.ports.crypto.random), text };
    this.#keep(id, await this.#call<AgentConversation>("POST", `${path(id)}/notes`, note));
  }

  async wrapUp(id: SessionID, code: string): Promise<void> {
    this.#keep(id, await this.#call<AgentConversation>("PUT", `${path(id)}/wrap-up`, { code }));
    await this.#refresh();
  }

  #keep(id: SessionID, now: AgentConversation): void {
    const party = this.known.get(id)?.party;
    this.known.set(id, { ...now, ...(party && { party }) });
  }

  /**
   * Transfers a session, and with it its call, where that is on the page's own telephone: the other
   * agent's rings, and this one's is free when it has answered.
   */
  async transfer(id: SessionID, to: Agent): Promise<void> {
    await this.#call("POST", `${path(id)}/transfer`, { to: to.id });
    await this.#along(id, to);
  }

  /** A supervisor takes a session that it looks into. Its call follows from the agent's telephone. */
  async takeOver(id: SessionID): Promise<void> {
    await this.#call("POST", `${path(id)}/transfer`, { to: this.agent?.id });
    this.shown = id;
  }

  /**
   * Sends the call of a session after it, to the agent who has it now; false: it is not on this page's
   * telephone. Where it is not taken, the session comes back.
   */
  async #along(id: SessionID, to: Agent): Promise<boolean> {
    const { telephone } = app;
    if (telephone?.call?.state !== "active" || telephone.call.other !== this.#customers.get(id)) {
      return false;
    }
    try {
      await telephone.transfer(readable(to.number), to.extension ?? "");
      return true;
    } catch {
      await this.#takeBack(id);
      throw new Error(say("transfer.stays", { name: to.name }));
    }
  }

  /**
   * Somebody else may have moved a session, as a supervisor who takes it over: the call that was on
   * this page's telephone goes along, once.
   */
  async #follow(id: SessionID): Promise<void> {
    const stints = this.known.get(id)?.stints ?? [];
    const now = stints.find((s) => !s.to);
    const mine = stints.findLast((s) => s.to && s.agent === this.agent?.id);
    const key = `${id}/${now?.from}`;
    const talked = (app.telephone?.since ?? 0) < Date.parse(mine?.to ?? "");
    const others = now?.by !== undefined && now.by !== this.agent?.id;
    if (!now || !others || now.agent === this.agent?.id || !talked || this.#moving.has(key)) {
      return;
    }
    this.#moving.add(key);
    try {
      const to = (await this.colleagues()).find((a) => a.id === now.agent);
      if (to && (await this.#along(id, to))) {
        this.moved = say("took", { name: to.name });
      }
    } catch (err) {
      this.moved = reason(err);
    }
  }

  /** The call stays here, and so does its session. That it went is noted a moment after it did. */
  async #takeBack(id: SessionID): Promise<void> {
    for (const ms of [0, 300, 900, 2700]) {
      await new Promise<void>((resolve) => void app.ports.clock.after(ms, resolve));
      try {
        await this.#call("POST", `${path(id)}/transfer`, { to: this.agent?.id });
        this.shown = id;
        return;
      } catch (err) {
        if (!isProblem(err, "not-found")) {
          return; // the reason why it was not transferred is said
        }
      }
    }
  }

  async colleagues(): Promise<Agent[]> {
    return (await this.#call<AgentList>("GET", "/v1/agent/colleagues")).agents;
  }

  search(text: string, after = ""): Promise<ConversationList> {
    const query = new URLSearchParams({ text, ...(after && { after }) });
    return this.#call("GET", `/v1/agent/conversations?${query}`);
  }

  /** Puts a tab away whose session is over, with all that this page keeps of it. */
  putAway(room: Room): void {
    const i = this.tabs.indexOf(room);
    app.putAway(room.id);
    this.known.delete(room.id);
    this.abilities.delete(room.id);
    this.#customers.delete(room.id);
    this.#mapped.delete(room.id);
    for (const m of room.state.members) {
      this.#asked.delete(`${room.id}/${m.id}`);
    }
    if (this.shown === room.id) {
      this.shown = (this.tabs[i] ?? this.tabs[i - 1])?.id;
    }
  }
}

function path(id: SessionID): string {
  return `/v1/agent/conversations/${encodeURIComponent(id)}`;
}

export const desk = new Desk();

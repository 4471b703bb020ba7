import {
  type Consent,
  type Envelope,
  isProblem,
  type Member,
  type MemberID,
  type Message,
  type Place,
  type PlaceAbility,
  type PlaceAsked,
  type PlaceMessage,
  type PlaceShow,
  type Places,
  type Ports,
} from "@tandem-call/sdk";
import { SvelteMap } from "svelte/reactivity";
import { asLink } from "./format.ts";
import { isPlace, measured } from "./geo.ts";
import { now } from "./now.svelte.ts";
import type { Room } from "./room.svelte.ts";

/** Where a member was last, as it said. */
export interface Whereabouts {
  place: Place;
  uri: string;
  /** It moves on, until it is said that it does not. */
  live: boolean;
  /** The place was made inexact on purpose. */
  coarse: boolean;
  /** The mapping service's address, and a picture's path: for pages that draw no map. */
  link?: string | undefined;
  picture?: string | undefined;
  at: number;
}

/** What this device shares live. */
export interface Sharing {
  to: MemberID[];
  until: number;
  coarse: boolean;
  request: string | undefined;
}

/** Somebody wants to know where this device is. */
export interface Question extends PlaceAsked {
  from: MemberID;
  /** The message that brought it: one request may be made several times. */
  key: string;
}

/** A question that came longer ago is asked nobody any more. */
const questionMs = 120_000;
/** The least time between two places; the server takes one a second. */
const paceMs = 1_500;
/** Until the call ends. */
export const wholeCall = 480;

/** Places in one session: who is where, who asks, and what this device shares. */
export class RoomPlaces {
  /** Where the others were last. */
  readonly seen = new SvelteMap<MemberID, Whereabouts>();
  readonly questions = new SvelteMap<string, Question>();
  sharing = $state.raw<Sharing>();
  /** Who may ask, and is answered without a question, until the call ends. */
  standing = $state.raw<MemberID[]>([]);
  /** Where this device is: known to this page only, unless it shares. */
  here = $state.raw<Place>();
  /** Whether the map is shown. */
  mapOpen = $state(false);
  /** Why it does not know. */
  fault = $state.raw<unknown>();
  readonly #room: Room;
  readonly #api: Places;
  readonly #ports: Ports;
  /** The user is none of the members: nothing is shared or asked for them, and nobody is answered. */
  readonly looksOn: boolean;
  #watch: number | undefined;
  #sent = 0;
  #turn: Promise<void> = Promise.resolve();
  /** A place of a live series waits for its turn. */
  #following = false;
  #end: ReturnType<typeof setTimeout> | undefined;

  constructor(room: Room, api: Places, ports: Ports, looksOn: boolean) {
    this.#room = room;
    this.#api = api;
    this.#ports = ports;
    this.looksOn = looksOn;
  }

  /** To be called when the session opens, and whenever the page is connected anew. */
  connected(): void {
    if (this.#room.open) {
      void this.#ports.store.get(this.#key("standing")).then((kept) => {
        this.standing = (kept as MemberID[] | undefined) ?? this.standing;
      });
      void this.#tellAbility();
      void this.#shareByRules();
    }
  }

  /** To be called when the session changes. */
  changed(): void {
    if (this.#room.state.phase !== "in_call") {
      this.#ended();
      this.#stand([]);
      this.questions.clear();
    }
    if (!this.#room.open) {
      const kept = [this.#key("begun"), this.#key("answered")];
      void this.#ports.store.write(new Map(kept.map((k) => [k, undefined])));
    }
  }

  /** Notes who may ask without a question, also for the next run of the page. */
  #stand(members: MemberID[]): void {
    this.standing = members;
    const kept = members.length > 0 ? members : undefined;
    void this.#ports.store.write(new Map([[this.#key("standing"), kept]]));
  }

  /** Takes a message about places; the server's own, of this device too. */
  take(m: Message | Envelope, mine: boolean): void {
    const at = m.time ? Date.parse(m.time) : now.server;
    switch (m.kind) {
      case "tandem.place":
        if (m.from) {
          this.#place(m.from, m.body, at, mine ? (m.to ?? []) : undefined);
        }
        break;
      case "tandem.place.stopped":
        if (mine) {
          this.#ended(); // in another tab, or by the server
        } else if (m.from) {
          const last = this.seen.get(m.from);
          if (last) {
            this.seen.set(m.from, { ...last, live: false });
          }
        }
        break;
      case "tandem.place.ask":
        if (!mine && !this.looksOn && m.from && now.server - at < questionMs) {
          void this.#asked({ ...(m.body as PlaceAsked), from: m.from, key: `${m.epoch}/${m.seq}` });
        }
    }
  }

  /** Takes a signal about places. */
  signal(kind: string, from: MemberID | undefined, body: unknown): void {
    if (kind === "tandem.place.check") {
      void this.#tellAbility();
    } else if (kind === "tandem.place" && from && from !== this.#room.state.you) {
      this.#place(from, body, now.server, undefined);
    }
  }

  #place(from: MemberID, body: unknown, at: number, to: MemberID[] | undefined): void {
    const told = body as PlaceMessage;
    if (!isPlace(told?.place)) {
      return;
    }
    const until = told.until ? Date.parse(told.until) : 0;
    const live = told.live === true && until > now.server && this.#room.state.phase === "in_call";
    if (to) {
      if (live && !this.looksOn) {
        const others = this.sharing?.request === told.request ? (this.sharing?.to ?? []) : [];
        this.#follow({
          to: [...new Set([...others, ...to])],
          until,
          coarse: told.coarse === true,
          request: told.request,
        });
      }
      return;
    }
    const picture = asLink(told.picture ?? "");
    const path = picture && new URL(picture).pathname;
    this.seen.set(from, {
      place: told.place,
      uri: told.uri,
      live,
      coarse: told.coarse === true,
      link: asLink(told.link ?? ""),
      picture: path?.startsWith("/v1/place-pictures/") ? path : undefined,
      at,
    });
    void this.#locateQuietly();
  }

  /** How this page shows places. Who saves data is sent a picture, and loads no map. */
  get show(): PlaceShow {
    const { connection } = navigator as { connection?: { saveData?: boolean } };
    return connection?.saveData ? "picture" : "map";
  }

  async #tellAbility(): Promise<void> {
    const provide = "geolocation" in navigator && (await permission()) !== "denied";
    await this.#api.setAbility(this.#room.id, { provide, show: this.show }).catch(() => {});
  }

  /** What another member's device can do, as it says (F1). */
  check(to: MemberID): Promise<PlaceAbility> {
    return this.#api.check(this.#room.id, to);
  }

  /**
   * Asks a party where it is: the first of its devices that can say so. False: none can.
   */
  async ask(devices: Member[], minutes: number): Promise<boolean> {
    for (const m of devices) {
      const asked = await this.#api.ask(this.#room.id, {
        to: m.id,
        check: true,
        ...(minutes && { minutes }),
      });
      if (asked.request) {
        return true;
      }
    }
    return false;
  }

  async #asked(q: Question): Promise<void> {
    const known = await this.#ports.store.get(this.#key("answered"));
    if (Array.isArray(known) && known.includes(q.key)) {
      return;
    }
    if (!q.consent) {
      this.questions.set(q.request, q);
      return;
    }
    // It is agreed already.
    await this.#answered(q.key);
    await this.#provide(q.request).catch((err: unknown) => {
      this.fault = err;
    });
  }

  /** Answers a question; after a yes the place goes out. */
  async answer(q: Question, consent: Consent, minutes: number, coarse: boolean): Promise<void> {
    const yes = consent !== "no" && consent !== "never";
    if (yes) {
      await this.locate();
    }
    await this.#api.answer(this.#room.id, {
      request: q.request,
      consent,
      ...(consent === "live" && { minutes }),
      ...(coarse && { coarse }),
    });
    this.questions.delete(q.request);
    await this.#answered(q.key);
    if (consent === "call") {
      this.#stand([...new Set([...this.standing, q.from])]);
    }
    if (yes) {
      await this.#provide(q.request);
    }
  }

  async #answered(key: string): Promise<void> {
    const known = (await this.#ports.store.get(this.#key("answered"))) as string[] | undefined;
    const all = [...(known ?? []), key].slice(-50);
    await this.#ports.store.write(new Map([[this.#key("answered"), all]]));
  }

  async #provide(request: string): Promise<void> {
    const place = await this.locate();
    await this.#post(() => ({ place, request }));
  }

  /** Shares this device's place, at its user's touch; with minutes, live (F3, F4). */
  async share(minutes: number, coarse: boolean): Promise<void> {
    const place = await this.locate();
    await this.#post(() => ({
      place,
      ...(minutes && { minutes }),
      ...(coarse && { coarse }),
    }));
  }

  /** Sends a place when its turn has come: the server takes one a second of a device. */
  #post(next: () => Parameters<Places["share"]>[1] | undefined): Promise<void> {
    const turn = this.#turn.then(async () => {
      for (let again = false; ; again = true) {
        await pause(this.#sent + paceMs - Date.now());
        const what = next();
        if (!what) {
          return;
        }
        this.#sent = Date.now();
        try {
          await this.#api.share(this.#room.id, what);
          return;
        } catch (err) {
          if (again || !isProblem(err, "too-many-requests")) {
            throw err; // the second time it is not another tab
          }
        }
      }
    });
    this.#turn = turn.catch(() => {});
    return turn;
  }

  /** Shares no more, and takes back every consent. */
  async stop(): Promise<void> {
    this.#ended();
    this.#stand([]);
    await this.#api.stop(this.#room.id);
  }

  /** Shares by itself where a rule of the user's says so and the browser lets it, once (F3). */
  async #shareByRules(): Promise<void> {
    if (this.#room.state.phase !== "in_call" || (await permission()) !== "granted") {
      return;
    }
    try {
      // Another tab may do the same at this moment.
      await navigator.locks.request(this.#key("begun"), async () => {
        if (await this.#ports.store.get(this.#key("begun"))) {
          return;
        }
        await this.#ports.store.write(new Map([[this.#key("begun"), true]]));
        for (const { member, rule } of await this.#api.rulesHere(this.#room.id)) {
          const can = rule.unasked ? await this.check(member) : undefined;
          if (can && (can.show !== "none" || can.pidf_lo)) {
            const { minutes, coarse } = rule;
            const place = await this.locate();
            await this.#post(() => ({
              place,
              to: [member],
              ...(minutes && { minutes }),
              ...(coarse && { coarse }),
            }));
          }
        }
      });
    } catch {
      // Nobody asked for it: who has no rules, as a guest, or does not know where it is, shares nothing.
    }
  }

  /** Finds out where this device is. It asks its user, where the browser wants that. */
  async locate(): Promise<Place> {
    this.fault = undefined;
    if (this.#watch !== undefined && this.here) {
      return this.here; // the newest there is: who stands still would wait for another
    }
    const found = await new Promise<GeolocationPosition>((resolve, reject) => {
      if ("geolocation" in navigator) {
        navigator.geolocation.getCurrentPosition(resolve, reject, {
          enableHighAccuracy: true,
          maximumAge: 5_000,
          timeout: 30_000,
        });
      } else {
        reject(new Error("no geolocation"));
      }
    });
    this.here = measured(found);
    return this.here;
  }

  /** Knows where this device is if that needs no question: for distances, sent to nobody. */
  async #locateQuietly(): Promise<void> {
    if (!this.looksOn && !this.here && (await permission()) === "granted") {
      await this.locate().catch(() => {});
    }
  }

  #follow(sharing: Sharing): void {
    this.sharing = sharing;
    clearTimeout(this.#end);
    this.#end = setTimeout(() => this.#ended(), Math.max(0, sharing.until - now.server));
    this.#watch ??= navigator.geolocation?.watchPosition(
      (p) => this.#moved(measured(p)),
      (err) => {
        this.fault = err;
      },
      { enableHighAccuracy: !sharing.coarse, maximumAge: paceMs },
    );
  }

  /** The newest place goes out, when its turn has come; those before it are forgotten. */
  #moved(place: Place): void {
    this.here = place;
    this.fault = undefined;
    if (this.#following || !this.sharing) {
      return;
    }
    this.#following = true;
    this.#post(() => {
      this.#following = false;
      const { here, sharing } = this;
      if (!here || !sharing) {
        return undefined;
      }
      // The next of a series lasts as long as the series; if that has ended meanwhile, a minute.
      const how = sharing.request ? { request: sharing.request } : { minutes: 1 };
      return { place: here, ...how, ...(sharing.coarse && { coarse: true }) };
    }).catch((err: unknown) => {
      if (isProblem(err, "forbidden", "conflict", "not-a-member", "session-closed")) {
        this.#ended(); // the server has ended it
      }
    });
  }

  #ended(): void {
    this.sharing = undefined;
    clearTimeout(this.#end);
    if (this.#watch !== undefined) {
      navigator.geolocation.clearWatch(this.#watch);
      this.#watch = undefined;
    }
  }

  #key(what: "begun" | "answered" | "standing"): string {
    return `page/place-${what}/${this.#room.id}`;
  }
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));

/** Whether the browser lets the page know where it is; "prompt" where it does not say. */
async function permission(): Promise<PermissionState> {
  try {
    return (await navigator.permissions.query({ name: "geolocation" })).state;
  } catch {
    return "prompt";
  }
}

/** What to tell a person of why the device does not know where it is. */
export function locationFault(fault: unknown): "place.fault.denied" | "place.fault.unavailable" {
  return (fault as { code?: unknown } | undefined)?.code === 1 // GeolocationPositionError
    ? "place.fault.denied"
    : "place.fault.unavailable";
}

/** Whether an error is one of finding out where the device is, and not of telling it. */
export function isLocationFault(error: unknown): boolean {
  return !isProblem(error) && typeof (error as { code?: unknown } | undefined)?.code === "number";
}

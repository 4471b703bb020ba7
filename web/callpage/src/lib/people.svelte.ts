import {
  type Api,
  Book,
  type Held,
  keeps,
  type Message,
  type Ports,
  type ProfileMessage,
  Profiles,
  type SessionID,
} from "@tandem-call/sdk";
import { SvelteMap } from "svelte/reactivity";
import { readable } from "./format.ts";
import type { Room } from "./room.svelte.ts";

/** Who the people in the sessions are, as far as they let this device know (SPEC G). */
class People {
  /** By the owner's name. What was taken back, or is not held any more, stays out. */
  readonly held = new SvelteMap<string, Held>();
  /** Which owners have sent something in a session, by the member that did. */
  readonly #in = new SvelteMap<SessionID, ReadonlyMap<string, string>>();
  /** What the user wants to be offered no more. */
  readonly #settled = new SvelteMap<string, true>();
  #book: Book | undefined;
  #api: Api | undefined;

  async begin(api: Api, ports: Ports): Promise<void> {
    this.#api = api;
    this.#book = new Book(api, ports.store);
    for (const held of await this.#book.all()) {
      this.held.set(held.owner, held);
    }
  }

  /** Takes a message of kind tandem.profile. */
  async take(m: Message): Promise<void> {
    const message = m.body as ProfileMessage;
    if (
      typeof message?.owner !== "string" ||
      !Array.isArray(message.fields) ||
      !Array.isArray(message.has)
    ) {
      return;
    }
    const before = this.#in.get(m.session) ?? new Map<string, string>();
    this.#in.set(m.session, new Map([...before, [m.from ?? "", message.owner]]));
    try {
      const held = await this.#book?.receive(m.session, m.seq ?? 0, message);
      this.#set(message.owner, held);
    } catch {
      // Asked again when the next message comes, or the page is opened anew.
    }
  }

  /** Those of the other side in a session who have let themselves be known. */
  in(room: Room | undefined): Held[] {
    const owners = new Set(room ? this.#in.get(room.id)?.values() : []);
    return [...owners].flatMap((owner) => this.held.get(owner) ?? []);
  }

  /** The one whose device is a member of the session. */
  of(room: Room, member: string | undefined): Held | undefined {
    const owner = this.#in.get(room.id)?.get(member ?? "");
    return owner === undefined ? undefined : this.held.get(owner);
  }

  /** The one who shows an identity in the session. */
  by(room: Room | undefined, identity: string): Held | undefined {
    const member = room?.others.find((m) => readable(m.identity) === readable(identity));
    return room && this.of(room, member?.id);
  }

  /** Forgets on the device what nobody has kept; what is shown is still shown. */
  async forget(open: ReadonlySet<SessionID>): Promise<void> {
    await this.#book?.forget(open);
  }

  /** Whether the user is to be asked. */
  offered(held: Held): boolean {
    return !keeps(held) && held.fields.length > 0 && !this.#settled.has(held.owner);
  }

  /** Puts it into the address book. */
  async keep(owner: string): Promise<void> {
    const shown = this.held.get(owner);
    if (this.#api && shown) {
      const { id } = await new Profiles(this.#api).keep(owner);
      this.#set(owner, (await this.#book?.kept(shown, id)) ?? shown);
    }
  }

  /** The user does not want to be asked again in this run of the page. */
  settle(owner: string): void {
    this.#settled.set(owner, true);
  }

  #set(owner: string, held: Held | undefined): void {
    if (held) {
      this.held.set(owner, held);
    } else {
      this.held.delete(owner);
    }
  }
}

export const people = new People();

/** The name by which somebody lets themselves be called over a call, if they do. */
export function shownName(held: Held | undefined): string | undefined {
  return held?.show.includes("fn") ? held.fields.find((f) => f.name === "fn")?.value : undefined;
}

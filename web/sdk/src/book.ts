import type { Api } from "./api.ts";
import type { Store } from "./ports.ts";
import { holding, type Known, Profiles, receive } from "./profile.ts";
import type { KeepRule, ProfileField, ProfileMessage, SessionID } from "./wire.ts";

/** Where what is held stands in the store. */
const prefix = "profile/held/";

/** What is known of somebody, with the pictures of its fields, by their digests. */
interface Having extends Known {
  pictures: Record<string, Blob>;
}

/** A profile that this device was sent, and holds. */
export interface Held extends Having {
  /** What the receiving party has chosen for this owner. */
  keep: KeepRule;
  /** The entry of the address book that it was kept as. */
  contact?: string;
  /** The session in which it came last, and its place there. */
  session: SessionID;
  seq: number;
}

/** Whether it stays when the session is over (SPEC G6). */
export function keeps(held: Held): boolean {
  return held.contact !== undefined || held.keep === "always" || held.keep === "once";
}

/**
 * The profiles that a device was sent, in a store, so that only what is new travels (SPEC G3).
 * What nobody has kept is there for its session only.
 */
export class Book {
  readonly #profiles: Profiles;
  readonly #store: Store;
  /** One thing after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(api: Api, store: Store) {
    this.#profiles = new Profiles(api);
    this.#store = store;
  }

  /** Everything that is held. */
  async all(): Promise<Held[]> {
    return (await this.#store.list(prefix)).map(([, held]) => held as Held);
  }

  /**
   * Takes a message of kind tandem.profile: holds what came, fetches the pictures that are not
   * here yet, tells the server what is held, and asks for what is missing. A message that was
   * taken before changes nothing. Undefined: the owner took it back.
   */
  receive(session: SessionID, seq: number, message: ProfileMessage): Promise<Held | undefined> {
    return this.#after(() => this.#receive(session, seq, message));
  }

  /**
   * Notes that what is shown of somebody was put into the address book. Where it was forgotten
   * meanwhile, since its session is over, it is held again.
   */
  kept(shown: Held, contact: string): Promise<Held> {
    return this.#after(async () => {
      const before = (await this.#store.get(prefix + shown.owner)) as Held | undefined;
      const held = { ...(before ?? shown), contact };
      await this.#write(held);
      return held;
    });
  }

  /** Forgets what nobody has kept, but for what came in the sessions that are open. */
  forget(open: ReadonlySet<SessionID>): Promise<void> {
    return this.#after(async () => {
      const gone = (await this.all()).filter((h) => !keeps(h) && !open.has(h.session));
      await this.#store.write(new Map(gone.map((h) => [prefix + h.owner, undefined])));
    });
  }

  async #receive(
    session: SessionID,
    seq: number,
    message: ProfileMessage,
  ): Promise<Held | undefined> {
    const { owner, keep, contact } = message;
    const before = (await this.#store.get(prefix + owner)) as Held | undefined;
    if (before?.session === session && before.seq >= seq) {
      return before;
    }
    let known = receive(before, message);
    if (!known) {
      await this.#store.write(new Map([[prefix + owner, undefined]]));
      return undefined;
    }
    const made = (have: Having): Held => ({
      ...have,
      keep,
      ...(contact && { contact }),
      session,
      seq,
    });
    let have = await this.#having(known, before?.pictures ?? {});
    const lacks = message.has.some(
      (v) => have.fields.find((f) => f.id === v.id)?.version !== v.version,
    );
    if (message.fields.length > 0 || lacks || before?.fields.length !== have.fields.length) {
      await this.#write(made(have)); // it is here before the server is told so
      const missing = await this.#profiles.held(session, holding(have));
      if (missing.length > 0) {
        known = receive(have, { ...message, fields: missing }) as Known;
        have = await this.#having(known, have.pictures);
        await this.#write(made(have));
        await this.#profiles.held(session, holding(have));
      }
    }
    const held = made(have);
    await this.#write(held);
    return held;
  }

  /**
   * What is known, with the pictures that are not here yet fetched. A field whose picture cannot be
   * had is not held, so that it comes again.
   */
  async #having(known: Known, before: Record<string, Blob>): Promise<Having> {
    const pictures: Record<string, Blob> = {};
    const fields: ProfileField[] = [];
    for (const field of known.fields) {
      const sum = field.picture?.sha256;
      if (field.picture && sum) {
        const blob =
          before[sum] ?? (await this.#profiles.picture(field.picture).catch(() => undefined));
        if (!blob) {
          continue;
        }
        pictures[sum] = blob;
      }
      fields.push(field);
    }
    return { ...known, fields, pictures };
  }

  #write(held: Held): Promise<void> {
    return this.#store.write(new Map([[prefix + held.owner, held]]));
  }

  #after<T>(f: () => Promise<T>): Promise<T> {
    const next = this.#last.then(f, f);
    this.#last = next.catch(() => {});
    return next;
  }
}

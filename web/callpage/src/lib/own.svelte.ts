import {
  type Api,
  NetworkError,
  type Ports,
  type Profile,
  type ProfileChange,
  type ProfileConflict,
  type ProfileField,
  Profiles,
} from "@tandem-call/sdk";
import { same } from "./fields.ts";

/** The device's copy of the profile is kept here, with what the server does not have yet. */
const key = "profile/own";
/** How often the server is asked for what other devices have changed, while somebody looks. */
const everyMs = 30_000;

interface Copy {
  profile: Profile;
  fields: ProfileField[];
  conflicts: ProfileConflict[];
}

/** The user's own profile: on the device, and kept alike with the server's both ways (SPEC G2). */
class Own {
  /** As the server had it last. */
  profile = $state.raw<Profile>();
  /** As the user wants it. */
  fields = $state.raw<ProfileField[]>([]);
  /** Changed on both sides: the server's holds until the user decides. */
  conflicts = $state.raw<ProfileConflict[]>([]);
  state = $state<"loading" | "saved" | "saving" | "waiting">("loading");
  error = $state.raw<unknown>();
  #profiles: Profiles | undefined;
  #ports: Ports | undefined;
  /** The last change, whatever came of it. */
  #turn: Promise<void> = Promise.resolve();
  #working: Promise<void> | undefined;
  #again = false;

  async begin(api: Api, ports: Ports): Promise<void> {
    this.#profiles = new Profiles(api);
    this.#ports = ports;
    const copy = (await ports.store.get(key)) as Copy | undefined;
    if (copy) {
      this.#show(copy);
    }
  }

  /** Looks for changes now and from time to time, until the returned function is called. */
  watch(): () => void {
    const look = () => void this.sync();
    const tick = setInterval(() => {
      if (document.visibilityState === "visible") {
        look();
      }
    }, everyMs);
    addEventListener("online", look);
    look();
    return () => {
      clearInterval(tick);
      removeEventListener("online", look);
    };
  }

  /** To be called after each connection. */
  connected(): void {
    if (this.profile && this.state !== "loading") {
      void this.sync();
    }
  }

  /** Adds a field, or replaces the one with its id. */
  put(field: ProfileField): Promise<void> {
    const at = this.fields.findIndex((f) => f.id === field.id);
    return this.#draft(at < 0 ? [...this.fields, field] : this.fields.with(at, field));
  }

  remove(id: string): Promise<void> {
    return this.#draft(this.fields.filter((f) => f.id !== id));
  }

  async #draft(fields: ProfileField[]): Promise<void> {
    this.fields = fields;
    this.state = "waiting";
    await this.#save();
    await this.sync();
  }

  /**
   * Changes what is not a field: at once or not at all. One change after the other, each of what the one
   * before has left: a user presses faster than the server answers.
   */
  change(make: (now: Profile) => Omit<ProfileChange, "set" | "remove" | "base">): Promise<void> {
    const turn = this.#turn.then(() =>
      this.#ask(async (p) => (await p.change(make(this.profile ?? (await p.own())))).profile),
    );
    this.#turn = turn.catch(() => {});
    return turn;
  }

  /** Sets the picture. */
  async picture(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.#ask((p) => p.setPicture(bytes));
  }

  /** Takes the fields of a vCard. */
  async takeCard(card: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.#ask(async (p) => (await p.takeCard(card)).profile);
  }

  /** Has the server read the profile at an address; "": at none any more. */
  async source(url: string): Promise<void> {
    await this.change(() => ({ source: url }));
    if (url) {
      await this.#ask((p) => p.readSource());
    }
  }

  /** Has a code sent to an e-mail address of the profile. */
  async proveEmail(address: string): Promise<void> {
    await this.#profiles?.proveEmail(address);
  }

  /** Proves it with the code; the profile says so then. */
  async confirmEmail(address: string, code: string): Promise<void> {
    await this.#profiles?.confirmEmail(address, code);
    await this.#ask((p) => p.own());
  }

  /** Takes back that an address is the user's; the profile says so then. */
  async withdrawEmail(address: string): Promise<void> {
    await this.#profiles?.withdrawEmail(address);
    await this.#ask((p) => p.own());
  }

  async #ask(f: (p: Profiles) => Promise<Profile>): Promise<void> {
    await this.sync();
    if (this.#profiles) {
      const profile = await f(this.#profiles);
      // What the server would not take, or was not told yet, stays.
      this.#merge(profile, this.profile?.fields ?? []);
      await this.#save();
    }
  }

  /** What is to hold of a field that was changed on both sides. */
  async decide(conflict: ProfileConflict, mine: boolean): Promise<void> {
    this.conflicts = this.conflicts.filter((c) => c !== conflict);
    if (!mine) {
      await this.#save();
    } else if (conflict.yours) {
      await this.put(conflict.yours);
    } else {
      await this.remove(conflict.id);
    }
  }

  /** Makes both sides alike, as far as they can be. */
  sync(): Promise<void> {
    if (this.#working) {
      this.#again = true;
      return this.#working;
    }
    this.#working = this.#sync().finally(() => {
      this.#working = undefined;
      if (this.#again) {
        this.#again = false;
        void this.sync();
      }
    });
    return this.#working;
  }

  async #sync(): Promise<void> {
    if (!this.#profiles) {
      return;
    }
    const draft = this.fields;
    const set = draft.filter(
      (f) =>
        !f.picture &&
        !same(
          f,
          this.profile?.fields.find((p) => p.id === f.id),
        ),
    );
    const remove = (this.profile?.fields ?? [])
      .filter((p) => !draft.some((f) => f.id === p.id))
      .map((p) => p.id);
    try {
      if (this.profile && (set.length > 0 || remove.length > 0)) {
        this.state = "saving";
        const { profile, conflicts } = await this.#profiles.change({
          base: Math.max(this.profile.version, 1),
          set: set.map(({ id, name, value, types }) => ({
            id,
            name,
            ...(value !== undefined && { value }),
            ...(types && { types }),
          })),
          remove,
        });
        this.conflicts = [
          ...this.conflicts.filter((c) => !conflicts.some((n) => n.id === c.id)),
          ...conflicts,
        ];
        this.#merge(profile, draft);
      } else {
        this.#merge(await this.#profiles.own(), draft);
      }
      this.error = undefined;
    } catch (err) {
      this.state = this.profile ? "waiting" : "loading";
      // Without a network it waits, and goes on with the next connection.
      this.error = err instanceof NetworkError ? undefined : err;
    }
    await this.#save();
  }

  /** Takes the server's copy; what the user has changed since draft stays. */
  #merge(profile: Profile, draft = this.fields): void {
    const now = this.fields;
    const later = now.filter(
      (f) =>
        !same(
          f,
          draft.find((d) => d.id === f.id),
        ),
    );
    const gone = draft.filter((d) => !now.some((f) => f.id === d.id)).map((d) => d.id);
    const kept = profile.fields
      .filter((f) => !gone.includes(f.id))
      .map((f) => later.find((l) => l.id === f.id) ?? f);
    this.profile = profile;
    this.fields = [...kept, ...later.filter((l) => !kept.some((f) => f.id === l.id))];
    this.state = later.length > 0 || gone.length > 0 ? "waiting" : "saved";
    this.#again ||= this.state === "waiting";
  }

  #show({ profile, fields, conflicts }: Copy): void {
    this.profile = profile;
    this.fields = fields;
    this.conflicts = conflicts;
    this.state = "waiting";
  }

  async #save(): Promise<void> {
    if (this.profile) {
      const copy: Copy = { profile: this.profile, fields: this.fields, conflicts: this.conflicts };
      await this.#ports?.store.write(new Map([[key, copy]]));
    }
  }
}

export const own = new Own();

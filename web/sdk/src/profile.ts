import type { Api } from "./api.ts";
import type {
  BlockList,
  Contact,
  ContactList,
  ContactRule,
  ContactRuleList,
  FieldVersion,
  Identity,
  MemberID,
  Profile,
  ProfileChange,
  ProfileChanged,
  ProfileField,
  ProfileHeld,
  ProfileLedger,
  ProfileMessage,
  ProfileMissing,
  ProfilePicture,
  ProfileReceipt,
  ProfileSent,
  ProfileView,
  SessionID,
} from "./wire.ts";
import { proofStaleDays } from "./wire.ts";

/** What others may know of this device's party during calls, and what it knows of them. */
export class Profiles {
  readonly #api: Api;

  constructor(api: Api) {
    this.#api = api;
  }

  /** The party's own profile. */
  own(signal?: AbortSignal): Promise<Profile> {
    return this.#api.call("GET", "/v1/profile", undefined, signal);
  }

  /** Changes it. With a base, what others have changed since comes back as conflicts. */
  change(change: ProfileChange, signal?: AbortSignal): Promise<ProfileChanged> {
    return this.#api.call("PATCH", "/v1/profile", change, signal);
  }

  /** Sets the picture that a field shows: JPEG, PNG, GIF or WebP. */
  async setPicture(
    picture: Uint8Array<ArrayBuffer>,
    field = "photo",
    signal?: AbortSignal,
  ): Promise<Profile> {
    const res = await this.#api.send(
      "PUT",
      `/v1/profile/picture?field=${encodeURIComponent(field)}`,
      {
        headers: { "Content-Type": "application/octet-stream" },
        body: picture,
        signal,
      },
    );
    return (await res.json()) as Profile;
  }

  /** Has the server read the profile at its address (ProfileChange.source) now. */
  readSource(signal?: AbortSignal): Promise<Profile> {
    return this.#api.call("POST", "/v1/profile/source", undefined, signal);
  }

  /** Has a code sent to an e-mail address, to prove that it is the user's. */
  async proveEmail(address: string, signal?: AbortSignal): Promise<void> {
    await this.#api.call("POST", "/v1/profile/email", { address }, signal);
  }

  /** Proves the address with the code that came. */
  async confirmEmail(address: string, code: string, signal?: AbortSignal): Promise<void> {
    await this.#api.call("PUT", "/v1/profile/email", { address, code }, signal);
  }

  /** Takes back that an e-mail address is the user's. */
  async withdrawEmail(address: string, signal?: AbortSignal): Promise<void> {
    const path = `/v1/profile/email?address=${encodeURIComponent(address)}`;
    await this.#api.call("DELETE", path, undefined, signal);
  }

  /** What somebody sees of it; somebody unknown, if none is named. */
  preview(other = "", signal?: AbortSignal): Promise<ProfileView> {
    const path = `/v1/profile/preview?for=${encodeURIComponent(other)}`;
    return this.#api.call("GET", path, undefined, signal);
  }

  /** Who has received what. */
  async ledger(signal?: AbortSignal): Promise<ProfileReceipt[]> {
    return (await this.#api.call<ProfileLedger>("GET", "/v1/profile/ledger", undefined, signal))
      .receipts;
  }

  /** Takes back what a receiver of the ledger was sent. */
  async withdraw(receiver: string, signal?: AbortSignal): Promise<void> {
    const path = `/v1/profile/ledger/${encodeURIComponent(receiver)}`;
    await this.#api.call("DELETE", path, undefined, signal);
  }

  /** Sends it by hand: to these members, or all others; these fields, or what they see anyway. */
  send(
    session: SessionID,
    what: { to?: MemberID[]; fields?: string[] } = {},
    signal?: AbortSignal,
  ): Promise<ProfileSent> {
    return this.#api.call("POST", `${sessionPath(session)}/profile`, what, signal);
  }

  /** Says what this device holds of a profile that it was sent; returns what is missing. */
  async held(session: SessionID, held: ProfileHeld, signal?: AbortSignal): Promise<ProfileField[]> {
    const path = `${sessionPath(session)}/profile/held`;
    return (await this.#api.call<ProfileMissing>("POST", path, held, signal)).fields;
  }

  /**
   * The bytes of a picture, checked against the size and SHA-256 that were announced.
   *
   * @throws ProtocolError they are others
   */
  async picture(picture: ProfilePicture, signal?: AbortSignal): Promise<Blob> {
    const bytes = await this.#api.exactly(picture.path, picture, signal);
    return new Blob([bytes], { type: picture.type });
  }

  /** The party's address book; only who has an identity, if one is named. */
  async contacts(of = "", signal?: AbortSignal): Promise<Contact[]> {
    const path = `/v1/contacts?of=${encodeURIComponent(of)}`;
    return (await this.#api.call<ContactList>("GET", path, undefined, signal)).contacts;
  }

  /** Keeps a profile that was received in the address book. */
  keep(owner: string, signal?: AbortSignal): Promise<Contact> {
    return this.#api.call("POST", "/v1/contacts", { owner }, signal);
  }

  /** A contact as a vCard, to be saved anywhere; without one, the whole address book. */
  async card(contact = "", signal?: AbortSignal): Promise<string> {
    const path = `/v1/contacts/cards?id=${encodeURIComponent(contact)}`;
    return (await this.#api.send("GET", path, { signal })).text();
  }

  /** Adds the contacts of vCards (4.0, 3.0 or 2.1) to the address book. */
  async importCards(cards: Uint8Array<ArrayBuffer>, signal?: AbortSignal): Promise<Contact[]> {
    const res = await this.#api.send("POST", "/v1/contacts/cards", {
      headers: { "Content-Type": "text/vcard" },
      body: cards,
      signal,
    });
    return ((await res.json()) as ContactList).contacts;
  }

  /** Removes a contact. */
  async removeContact(contact: string, signal?: AbortSignal): Promise<void> {
    const path = `/v1/contacts/${encodeURIComponent(contact)}`;
    await this.#api.call("DELETE", path, undefined, signal);
  }

  /** Takes the fields of a vCard into the party's own profile. */
  async takeCard(card: Uint8Array<ArrayBuffer>, signal?: AbortSignal): Promise<ProfileChanged> {
    const res = await this.#api.send("PUT", "/v1/profile/card", {
      headers: { "Content-Type": "text/vcard" },
      body: card,
      signal,
    });
    return (await res.json()) as ProfileChanged;
  }

  /** What the party wants of, and for, single others. */
  async rules(signal?: AbortSignal): Promise<ContactRule[]> {
    return (await this.#api.call<ContactRuleList>("GET", "/v1/contact-rules", undefined, signal))
      .rules;
  }

  /** Whom the party wants no sessions with. */
  async blocks(signal?: AbortSignal): Promise<Identity[]> {
    return (await this.#api.call<BlockList>("GET", "/v1/blocks", undefined, signal)).blocked;
  }

  /** Blocks a party; it is not told. */
  async block(identity: Identity, signal?: AbortSignal): Promise<void> {
    await this.#api.call("POST", "/v1/blocks", { identity }, signal);
  }

  /** Takes a block back. */
  async unblock(identity: Identity, signal?: AbortSignal): Promise<void> {
    const path = `/v1/blocks?identity=${encodeURIComponent(identity)}`;
    await this.#api.call("DELETE", path, undefined, signal);
  }

  /** Sets a rule; one that says nothing is removed. */
  async setRule(rule: ContactRule, signal?: AbortSignal): Promise<void> {
    await this.#api.call("PUT", "/v1/contact-rules", rule, signal);
  }
}

const sessionPath = (id: SessionID) => `/v1/sessions/${encodeURIComponent(id)}`;

/** What is known of somebody, from the messages that came so far. */
export interface Known {
  owner: string;
  fields: ProfileField[];
  /** The properties that may be laid over the call screen. */
  show: string[];
}

/** Puts a message of kind tandem.profile on top of what was known; undefined: forget it. */
export function receive(known: Known | undefined, message: ProfileMessage): Known | undefined {
  if (message.withdrawn) {
    return undefined;
  }
  const has = new Set(message.has.map((v) => v.id));
  const fields = (known?.fields ?? []).filter((f) => has.has(f.id));
  for (const field of message.fields) {
    const at = fields.findIndex((f) => f.id === field.id);
    if (at < 0) {
      fields.push(field);
    } else if ((fields[at]?.version ?? 0) <= (field.version ?? 0)) {
      fields[at] = field;
    }
  }
  return { owner: message.owner, fields, show: message.show ?? [] };
}

/** Whether the proof of a field is so old that the number or address may be somebody else's since. */
export function stale(field: ProfileField, now: number): boolean {
  return (
    !!field.proof && !!field.proved && now - Date.parse(field.proved) > proofStaleDays * 86_400_000
  );
}

/** What a device says that it holds. */
export function holding(known: Known): ProfileHeld {
  const have = known.fields.map((f): FieldVersion => ({ id: f.id, version: f.version ?? 0 }));
  return { owner: known.owner, have };
}

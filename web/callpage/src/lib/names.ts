import type { Member, Page } from "@tandem-call/sdk";
import { readable } from "./format.ts";
import type { Room } from "./room.svelte.ts";

/** What to call somebody: their name in the session, or in Try it, else their number. */
export function nameOf(
  identity: string | undefined,
  page: Page | undefined,
  room: Room | undefined,
): string {
  const plain = readable(identity);
  const member = room?.state.members.find((m) => readable(m.identity) === plain && m.name);
  return member?.name ?? page?.try_it?.find((p) => p.number === plain)?.name ?? plain;
}

/** One member for each party, however many devices it has in the session; one with a name, if any has. */
export function partiesOf(members: readonly Member[]): Member[] {
  const parties = new Map<number, Member>();
  for (const m of members) {
    const known = parties.get(m.side);
    if (!known || (!known.name && m.name)) {
      parties.set(m.side, m);
    }
  }
  return [...parties.values()];
}

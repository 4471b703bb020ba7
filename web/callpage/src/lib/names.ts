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
  const named = room?.state.members.filter((m) => readable(m.identity) === plain && m.name);
  const member = named?.find((m) => !m.left) ?? named?.[0];
  return member?.name ?? page?.try_it?.find((p) => p.number === plain)?.name ?? plain;
}

/**
 * One member for each party, however many devices it has in the session: one that is there, if any is,
 * and of these one with a name.
 */
export function partiesOf(members: readonly Member[]): Member[] {
  const parties = new Map<number, Member>();
  for (const m of members) {
    const known = parties.get(m.side);
    if (!known || rank(m) > rank(known)) {
      parties.set(m.side, m);
    }
  }
  return [...parties.values()];
}

function rank(m: Member): number {
  return (m.left ? 0 : 2) + (m.name ? 1 : 0);
}

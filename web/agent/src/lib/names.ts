import { readable } from "../../../callpage/src/lib/format.ts";
import { partiesOf } from "../../../callpage/src/lib/names.ts";
import type { Room } from "../../../callpage/src/lib/room.svelte.ts";
import { say } from "./words.ts";

/** Who the customer of a session is, by name or number. */
export function customerOf(room: Room): string {
  const all = partiesOf(room.others).map((m) => m.name || readable(m.identity));
  return all.filter(Boolean).join(", ") || say("customer.withheld");
}

import type { AgentConversation } from "@tandem-call/sdk";
import { readableField } from "../../../callpage/src/lib/fields.ts";
import { readable } from "../../../callpage/src/lib/format.ts";
import { fieldName } from "../../../callpage/src/lib/labels.ts";
import { people } from "../../../callpage/src/lib/people.svelte.ts";
import type { Room } from "../../../callpage/src/lib/room.svelte.ts";

/**
 * The customer's contact card as text, a line for each field, as other programs take it: what they let
 * be known (SPEC G), else the name and number of the call. Empty where nothing is known.
 */
export function contactCard(room: Room, known: AgentConversation | undefined): string {
  const fields = people.in(room).flatMap((held) => held.fields);
  const lines = fields
    .filter((f) => f.value && f.name !== "n")
    .map((f) => (f.name === "fn" ? readableField(f) : `${fieldName(f.name)}: ${readableField(f)}`));
  const name = fields.some((f) => f.name === "fn") ? "" : (known?.party?.name ?? "");
  const number = readable(known?.party?.identity ?? known?.customer);
  const told = fields.some((f) => f.name === "tel" && readable(f.value) === number);
  return [name, ...lines, told ? "" : number].filter(Boolean).join("\n");
}

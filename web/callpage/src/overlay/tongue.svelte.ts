import { locale } from "../lib/format.ts";
import { words } from "../lib/words.svelte.ts";

/** A language that was chosen for the overlay alone, as in the editor's preview; empty: none. */
export const spoken = $state({ language: "" });

/** The language in which a provider's texts are wanted: the page's, as the browser has it. */
export function tongue(): string {
  return spoken.language || locale(words.language).toLowerCase();
}

import { locale } from "../lib/format.ts";
import { words } from "../lib/words.svelte.ts";

/** The language in which a provider's texts are wanted: the page's, as the browser has it. */
export function tongue(): string {
  return locale(words.language).toLowerCase();
}

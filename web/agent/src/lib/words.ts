import type { Agent } from "@tandem-call/sdk";
import { fill } from "../../../callpage/src/lib/fill.ts";
import { rightToLeft, words } from "../../../callpage/src/lib/words.svelte.ts";
import ar from "../messages/ar.json";
import de from "../messages/de.json";
import en from "../messages/en.json";

/** A key of the console's own messages; the parts it shares have theirs. */
export type Key = keyof typeof en;

const messages: Record<string, Record<Key, string>> = { en, de, ar };

/** What an agent is doing, in words. */
export function doing({ state, reason }: Pick<Agent, "state" | "reason">): string {
  const word = say(`state.${state}` as Key);
  return reason ? say("state.reason", { state: word, reason }) : word;
}

/** The text of a key in the page's language, with what stands in {braces} filled in. */
export function say(key: Key, values: Record<string, string | number> = {}): string {
  const text = (messages[words.language] ?? en)[key];
  return fill(text, values, rightToLeft(words.language));
}

import en from "../messages/en.json";
import { fill } from "./fill.ts";

/** A key of the message files. Those of other languages have the same keys (a test says so). */
export type MessageKey = keyof typeof en;
type Messages = Record<MessageKey, string>;

/** The languages there are, each in its own name. */
export const languages = { en: "English", de: "Deutsch", ar: "العربية" } as const;
export type Language = keyof typeof languages;

export const rightToLeft = (language: Language) => language === "ar";

const files: Record<Language, () => Promise<Messages>> = {
  en: async () => en,
  de: async () => (await import("../messages/de.json")).default,
  ar: async () => (await import("../messages/ar.json")).default,
};

class Words {
  language = $state<Language>("en");
  #messages = $state.raw<Messages>(en);

  /** Changes the language of the page, and with it the direction of its text. */
  async use(language: Language): Promise<void> {
    this.#messages = await files[language]();
    this.language = language;
    document.documentElement.lang = language;
    document.documentElement.dir = rightToLeft(language) ? "rtl" : "ltr";
  }

  get(key: MessageKey, values: Record<string, string | number> = {}): string {
    return fill(this.#messages[key], values, rightToLeft(this.language));
  }
}

export const words = new Words();

/** The text of a key, with what stands in {braces} filled in. */
export function t(key: MessageKey, values?: Record<string, string | number>): string {
  return words.get(key, values);
}

/** The best of our languages for what the user's browser prefers. */
export function preferred(wanted: readonly string[]): Language {
  for (const w of wanted) {
    const short = w.slice(0, 2).toLowerCase();
    if (short in languages) {
      return short as Language;
    }
  }
  return "en";
}

import { type Language, languages, preferred, words } from "./words.svelte.ts";

/** How the page looks. */
export type Look = "system" | "light" | "dark";

/** Whether what others send of themselves is laid over the call. */
export type OverCall = "show" | "ask" | "never";

/** What the user has chosen for this page; kept on the device. */
class Choices {
  look = $state<Look>("system");
  over = $state<OverCall>("show");

  /** Applies what was chosen before. */
  async apply(): Promise<void> {
    const look = read("look");
    this.setLook(look === "light" || look === "dark" ? look : "system");
    const over = read("over");
    this.over = over === "ask" || over === "never" ? over : "show";
    const language = read("language");
    await words.use(
      language && language in languages ? (language as Language) : preferred(navigator.languages),
    );
  }

  setLook(look: Look): void {
    this.look = look;
    if (look === "system") {
      delete document.documentElement.dataset.look;
    } else {
      document.documentElement.dataset.look = look;
    }
    write("look", look);
  }

  setOver(over: OverCall): void {
    this.over = over;
    write("over", over);
  }

  async setLanguage(language: Language): Promise<void> {
    await words.use(language);
    write("language", language);
  }
}

function read(name: string): string | null {
  try {
    return localStorage.getItem(`tandem-${name}`);
  } catch {
    return null; // storage is blocked: the choice holds for this visit
  }
}

function write(name: string, value: string): void {
  try {
    localStorage.setItem(`tandem-${name}`, value);
  } catch {
    // As above.
  }
}

export const choices = new Choices();

/**
 * Keys of the desk: Alt with a letter goes to what is meant, or presses it. Single letters do nothing, so
 * nobody who types or dictates is disturbed (WCAG 2.1.4).
 */
const keys = {
  messages: { letter: "m", at: ".talk textarea" },
  templates: { letter: "t", at: "[data-key=templates]" },
  notes: { letter: "n", at: "[data-key=notes]" },
  card: { letter: "c", at: "[data-key=card]" },
  calls: { letter: "j", at: "[role=tab][aria-selected=true]" },
} as const;

type Key = keyof typeof keys;

/** How a key is written. */
export function written(key: Key): string {
  return `Alt+${keys[key].letter.toUpperCase()}`;
}

/** What marks an element as that of a key: for the page, and for screen readers. */
export function shortcut(key: Key): { "aria-keyshortcuts": string; "data-key": Key } {
  return { "aria-keyshortcuts": written(key), "data-key": key };
}

/** Does what a key is for. While a dialog is open nothing is done elsewhere. */
export function keyed(e: KeyboardEvent): void {
  // AltGr is Ctrl with Alt, on some systems.
  const alone = e.altKey && !e.ctrlKey && !e.metaKey && !e.shiftKey;
  if (!alone || document.querySelector("dialog[open]")) {
    return;
  }
  // On keyboards of other scripts, and where Alt writes signs, by the place of the key.
  const letter = /^[a-z]$/i.test(e.key)
    ? e.key.toLowerCase()
    : e.code.replace("Key", "").toLowerCase();
  const key = Object.values(keys).find((k) => k.letter === letter);
  const element = key && document.querySelector<HTMLElement>(key.at);
  if (element) {
    e.preventDefault();
    element.focus();
    if (element.matches("button:not([role=tab]), [role=combobox]")) {
      element.click();
    }
  }
}

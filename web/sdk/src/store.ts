import type { Store } from "./ports.ts";

/** A store that is gone with the program: for tests, and where nothing may be kept. */
export class MemoryStore implements Store {
  readonly #entries = new Map<string, unknown>();

  async get(key: string): Promise<unknown> {
    return structuredClone(this.#entries.get(key));
  }

  async list(prefix: string): Promise<[string, unknown][]> {
    return [...this.#entries]
      .filter(([key]) => key.startsWith(prefix))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, value]) => [key, structuredClone(value)]);
  }

  async write(changes: ReadonlyMap<string, unknown>): Promise<void> {
    const cloned = structuredClone(changes); // all of them can be, or none is kept
    for (const [key, value] of cloned) {
      if (value === undefined) {
        this.#entries.delete(key);
      } else {
        this.#entries.set(key, value);
      }
    }
  }
}

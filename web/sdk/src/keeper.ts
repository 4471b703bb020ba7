import type { Store } from "./ports.ts";

/**
 * Writes to a store in order and in the background. What comes while a write is under way
 * goes together into the next one. After a failure the changes wait for the next one.
 */
export class Keeper {
  readonly #store: Store;
  readonly #failed: (err: unknown) => void;
  #changes = new Map<string, unknown>();
  #busy: Promise<void> | undefined;

  constructor(store: Store, failed: (err: unknown) => void) {
    this.#store = store;
    this.#failed = failed;
  }

  /** Sets an entry; undefined removes it. */
  set(key: string, value: unknown): void {
    this.#changes.set(key, value);
    this.#busy ??= this.#write();
  }

  /** Waits until everything that was set is written, or has failed. */
  async flush(): Promise<void> {
    if (!this.#busy && this.#changes.size > 0) {
      this.#busy = this.#write();
    }
    await this.#busy;
  }

  async #write(): Promise<void> {
    await undefined; // what is set in the same turn goes together
    while (this.#changes.size > 0) {
      const changes = this.#changes;
      this.#changes = new Map();
      try {
        await this.#store.write(changes);
      } catch (err) {
        this.#changes = new Map([...changes, ...this.#changes]);
        this.#failed(err);
        break;
      }
    }
    this.#busy = undefined;
  }
}

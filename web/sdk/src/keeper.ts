import type { Store } from "./ports.ts";

/**
 * Writes to a store in order and in the background. What comes while a write is under way
 * goes together into the next one. After a failure the changes wait for the next one.
 */
export class Keeper {
  readonly #store: Store;
  readonly #failed: (err: unknown) => void;
  readonly #changed: (keeps: boolean) => void;
  #keeps = true;
  #changes = new Map<string, unknown>();
  #busy: Promise<void> | undefined;

  /** failed takes each error; changed, whether the store took what was set last, when that changes. */
  constructor(
    store: Store,
    failed: (err: unknown) => void,
    changed: (keeps: boolean) => void = () => {},
  ) {
    this.#store = store;
    this.#failed = failed;
    this.#changed = changed;
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
        this.#tell(this.#keeps || [...changes.values()].some((value) => value !== undefined));
      } catch (err) {
        this.#changes = new Map([...changes, ...this.#changes]);
        this.#failed(err);
        this.#tell(false);
        break;
      }
    }
    this.#busy = undefined;
  }

  #tell(keeps: boolean): void {
    if (keeps !== this.#keeps) {
      this.#keeps = keeps;
      this.#changed(keeps);
    }
  }
}

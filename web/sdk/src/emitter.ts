/** Tells listeners what happens, one at a time and in order. */
export class Emitter<E extends object> {
  readonly #listeners = new Map<keyof E, Set<(value: never) => void>>();
  readonly #failed: (err: unknown) => void;

  /** failed takes what a listener throws: the others, and the connection, go on. */
  constructor(failed: (err: unknown) => void) {
    this.#failed = failed;
  }

  /** Adds a listener; the returned function removes it. */
  on<K extends keyof E>(event: K, listener: (value: E[K]) => void): () => void {
    let set = this.#listeners.get(event);
    if (!set) {
      set = new Set();
      this.#listeners.set(event, set);
    }
    set.add(listener);
    return () => set.delete(listener);
  }

  emit<K extends keyof E>(event: K, value: E[K]): void {
    for (const listener of this.#listeners.get(event) ?? []) {
      try {
        (listener as (value: E[K]) => void)(value);
      } catch (err) {
        this.#failed(err);
      }
    }
  }
}

import type { Store } from "../ports.ts";

const table = "entries";

/** A store in IndexedDB. CryptoKeys in it stay unreadable. */
export class IndexedStore implements Store {
  readonly #name: string;
  #opened: Promise<IDBDatabase> | undefined;

  /** The database is opened when it is first used. */
  constructor(name: string) {
    this.#name = name;
  }

  async get(key: string): Promise<unknown> {
    const entries = (await this.#open()).transaction(table).objectStore(table);
    return done(entries.get(key));
  }

  async list(prefix: string): Promise<[string, unknown][]> {
    const entries = (await this.#open()).transaction(table).objectStore(table);
    const range = IDBKeyRange.bound(prefix, `${prefix}\uffff`);
    const [keys, values] = await Promise.all([
      done(entries.getAllKeys(range)),
      done(entries.getAll(range)),
    ]);
    return keys.map((key, i) => [String(key), values[i] as unknown]);
  }

  async write(changes: ReadonlyMap<string, unknown>): Promise<void> {
    const db = await this.#open();
    await new Promise<void>((resolve, reject) => {
      const t = db.transaction(table, "readwrite");
      t.oncomplete = () => resolve();
      t.onabort = () => reject(t.error);
      const entries = t.objectStore(table);
      try {
        for (const [key, value] of changes) {
          if (value === undefined) {
            entries.delete(key);
          } else {
            entries.put(value, key);
          }
        }
      } catch (err) {
        // A value that cannot be cloned: what was put before it would be kept.
        reject(err);
        t.abort();
      }
    });
  }

  /** Lets the database go; it is opened again when it is used. */
  async close(): Promise<void> {
    const opened = this.#opened;
    this.#opened = undefined;
    (await opened)?.close();
  }

  #open(): Promise<IDBDatabase> {
    this.#opened ??= new Promise<IDBDatabase>((resolve, reject) => {
      const request = indexedDB.open(this.#name, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(table);
      request.onsuccess = () => {
        const db = request.result;
        // Another tab wants to upgrade or to delete it: do not stand in its way.
        db.onversionchange = () => void this.close();
        db.onclose = () => {
          this.#opened = undefined;
        };
        resolve(db);
      };
      request.onerror = () => reject(request.error);
    }).catch((err) => {
      this.#opened = undefined;
      throw err;
    });
    return this.#opened;
  }
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

import { mkdir, open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import type { Store } from "../ports.ts";

/**
 * A store in one file of JSON, which only its owner can read. Each change is on the disk,
 * whole, before write returns. One program at a time can use it.
 */
export class FileStore implements Store {
  readonly #path: string;
  #entries: Promise<Map<string, unknown>> | undefined;
  #writing: Promise<unknown> = Promise.resolve();

  /** The file is read when it is first used; it need not exist. */
  constructor(path: string) {
    this.#path = path;
  }

  async get(key: string): Promise<unknown> {
    return structuredClone((await this.#load()).get(key));
  }

  async list(prefix: string): Promise<[string, unknown][]> {
    return [...(await this.#load())]
      .filter(([key]) => key.startsWith(prefix))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, value]) => [key, structuredClone(value)]);
  }

  write(changes: ReadonlyMap<string, unknown>): Promise<void> {
    const done = this.#writing.then(() => this.#write(changes));
    this.#writing = done.catch(() => {}); // told to who called
    return done;
  }

  async #write(changes: ReadonlyMap<string, unknown>): Promise<void> {
    const entries = new Map(await this.#load());
    for (const [key, value] of changes) {
      if (value === undefined) {
        entries.delete(key);
      } else {
        entries.set(key, structuredClone(value));
      }
    }
    await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 });
    const draft = `${this.#path}.new`;
    const file = await open(draft, "w", 0o600);
    try {
      await file.writeFile(`${JSON.stringify(Object.fromEntries(entries), null, 1)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, this.#path);
    this.#entries = Promise.resolve(entries);
  }

  #load(): Promise<Map<string, unknown>> {
    this.#entries ??= readFile(this.#path, "utf8").then(
      (text) => new Map(Object.entries(JSON.parse(text) as object)),
      (err: NodeJS.ErrnoException) => {
        if (err.code === "ENOENT") {
          return new Map();
        }
        throw err;
      },
    );
    return this.#entries;
  }
}

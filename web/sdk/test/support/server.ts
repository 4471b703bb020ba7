import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** The real server, in a process of its own, on the same address after each start. */
export class TestServer {
  readonly #dir: string;
  readonly port: number;
  readonly #env: Record<string, string>;
  #process: ChildProcess | undefined;
  readonly #codes: string[] = [];
  #codeCame: (() => void) | undefined;
  readonly #said: string[] = [];
  readonly #listeners = new Set<() => void>();
  #stderr = "";

  private constructor(dir: string, port: number, env: Record<string, string>) {
    this.#dir = dir;
    this.port = port;
    this.#env = env;
  }

  /** Starts a server with empty data; env are settings such as TANDEM_SESSIONS_LINGER. */
  static async start(env: Record<string, string> = {}): Promise<TestServer> {
    const dir = await mkdtemp(join(tmpdir(), "tandem-sdk-"));
    const s = new TestServer(dir, await freePort(), env);
    await s.start();
    return s;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts it (again) and waits until it answers. */
  async start(): Promise<void> {
    const bin = process.env.TANDEM_BIN;
    if (!bin) {
      throw new Error("TANDEM_BIN names no server: run scripts/web-test");
    }
    const p = spawn(
      bin,
      ["serve", "--data", join(this.#dir, "data"), "--listen", `127.0.0.1:${this.port}`],
      { env: { PATH: process.env.PATH, ...this.#env }, stdio: ["ignore", "pipe", "pipe"] },
    );
    this.#process = p;
    this.#stderr = "";
    p.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr += text;
    });
    const up = new Promise<void>((resolve, reject) => {
      createInterface(p.stdout).on("line", (line) => {
        this.#said.push(line);
        for (const look of [...this.#listeners]) {
          look();
        }
        const code = /code for .*: (\d{6})/.exec(line)?.[1];
        if (code) {
          this.#codes.push(code);
          this.#codeCame?.();
        }
        if (line.includes(" is at http")) {
          resolve();
        }
      });
      p.once("exit", (code) => reject(new Error(`the server ended (${code}): ${this.#stderr}`)));
    });
    await up;
    await listening(this.port);
  }

  /** Tells it to drain, and does not wait for that. */
  drain(): void {
    this.#process?.kill("SIGTERM");
  }

  /** Kills it, as a power cut would. */
  async kill(): Promise<void> {
    const p = this.#process;
    if (!p || p.exitCode !== null) {
      return;
    }
    const gone = new Promise((resolve) => p.once("exit", resolve));
    p.kill("SIGKILL");
    await gone;
    this.#process = undefined;
  }

  /** The next one-time code that the server prints. */
  async code(): Promise<string> {
    for (;;) {
      const code = this.#codes.shift();
      if (code !== undefined) {
        return code;
      }
      await new Promise<void>((resolve) => {
        this.#codeCame = resolve;
      });
    }
  }

  /** Waits until it prints a line that fits, or finds one that it printed before. */
  said(pattern: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        this.#listeners.delete(look);
        reject(new Error(`the server does not say ${pattern}:\n${this.#said.join("\n")}`));
      }, 60_000); // only to fail
      const look = () => {
        const found = this.#said.map((line) => pattern.exec(line)).find((m) => m !== null);
        if (found) {
          clearTimeout(late);
          this.#listeners.delete(look);
          resolve(found);
        }
      };
      this.#listeners.add(look);
      look();
    });
  }

  /** What it has logged since it was started last. */
  get log(): string {
    return this.#stderr;
  }

  /** Runs the program as a command against this server's data: "token", "make", … */
  async command(...args: string[]): Promise<string> {
    const p = spawn(process.env.TANDEM_BIN ?? "", args, {
      cwd: this.#dir,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let out = "";
    p.stdout.setEncoding("utf8").on("data", (text: string) => {
      out += text;
    });
    p.stderr.setEncoding("utf8").on("data", (text: string) => {
      out += text;
    });
    const code = await new Promise((resolve) => p.once("close", resolve));
    if (code !== 0) {
      throw new Error(`${args.join(" ")}: ${out}`);
    }
    return out;
  }

  /** Stops it and removes its data. */
  async remove(): Promise<void> {
    await this.kill();
    await rm(this.#dir, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const s = createServer();
  await new Promise<void>((resolve) => s.listen(0, "127.0.0.1", resolve));
  const address = s.address();
  await new Promise((resolve) => s.close(resolve));
  if (typeof address !== "object" || !address) {
    throw new Error("no address");
  }
  return address.port;
}

/** Waits until something listens: the greeting comes a moment before. */
async function listening(port: number): Promise<void> {
  for (;;) {
    try {
      await fetch(`http://127.0.0.1:${port}/v1/challenge`);
      return;
    } catch {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

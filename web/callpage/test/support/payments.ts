import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { TestServer } from "../../../sdk/test/support/server.ts";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../../../..", import.meta.url));

/** A payment server in miniature, in a process of its own (internal/testpeer/paymentserver). */
export class PaymentServer {
  readonly url: string;
  readonly #dir: string;
  readonly #process: ChildProcess;

  private constructor(url: string, dir: string, process: ChildProcess) {
    this.url = url;
    this.#dir = dir;
    this.#process = process;
  }

  static async start(): Promise<PaymentServer> {
    const dir = await mkdtemp(join(tmpdir(), "tandem-pay-"));
    const bin = join(dir, "paymentserver");
    await run("go", ["build", "-o", bin, "./internal/testpeer/paymentserver"], { cwd: root });
    const p = spawn(bin, [], { stdio: ["ignore", "pipe", "ignore"] });
    const url = await new Promise<string>((resolve, reject) => {
      createInterface(p.stdout).on("line", (line) => {
        resolve(line.replace("payment server at ", ""));
      });
      p.once("exit", () => reject(new Error("the payment server ended")));
    });
    return new PaymentServer(url, dir, p);
  }

  /** Makes an account for a number at Tandem, as the operator does. */
  async account(server: TestServer, number: string): Promise<void> {
    const key = join(this.#dir, "key");
    const secret = join(this.#dir, "secret");
    await writeFile(key, "sk_test_tandem");
    await writeFile(secret, "whsec_tandem");
    const set = ["payment", "account", "set", "shop", "--number", number];
    await server.command(...set, "--key-file", key, "--hook-secret-file", secret);
    await post(`${this.url}/hook`, { url: `${server.url}/v1/payment-hooks/default/shop` });
  }

  /** The money of a transfer arrives, which was made at a checkout's page. */
  money(page: string): Promise<void> {
    return post(page, { do: "money" });
  }

  /** The money of such a transfer never comes. */
  bounce(page: string): Promise<void> {
    return post(page, { do: "bounce" });
  }

  async stop(): Promise<void> {
    this.#process.kill("SIGKILL");
    await rm(this.#dir, { recursive: true, force: true });
  }
}

async function post(url: string, form: Record<string, string>): Promise<void> {
  const body = new URLSearchParams(form);
  const res = await fetch(url, { method: "POST", body, redirect: "manual" });
  if (res.status >= 400) {
    throw new Error(`${url}: ${await res.text()}`);
  }
}

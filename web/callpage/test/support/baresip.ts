import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loudest } from "./sound.ts";

const modules = "/usr/lib/baresip/modules";

/** A real softphone, which is no browser: baresip, set up to speak with one (opus, DTLS-SRTP, ICE). */
export class Baresip {
  readonly #dir: string;
  readonly #process: ChildProcess;
  readonly #http: number;
  #said = "";
  #gone = false;
  readonly #wakes = new Set<() => void>();
  /** What was recorded before the last keys. */
  #old: string[] = [];

  private constructor(dir: string, http: number) {
    this.#dir = dir;
    this.#http = http;
    this.#process = spawn("baresip", ["-f", dir], { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.#said += text;
        this.#wake();
      });
    }
    this.#process.once("exit", () => {
      this.#gone = true;
      this.#wake();
    });
    this.#process.once("error", (err) => {
      this.#said += `baresip does not start (scripts/test-deps installs it): ${err.message}`;
    });
  }

  #wake(): void {
    for (const wake of [...this.#wakes]) {
      wake();
    }
  }

  /** Starts one that registers a number at the server's SIP element. */
  static async start(number: string, sip: number, own: number, http: number): Promise<Baresip> {
    const dir = await mkdtemp(join(tmpdir(), "tandem-baresip-"));
    const config = [
      "poll_method epoll",
      `sip_listen 127.0.0.1:${own}`,
      "audio_player aubridge,nil",
      "audio_source ausine,440",
      "audio_alert aubridge,nil",
      "ausrc_srate 48000",
      "auplay_srate 48000",
      "ausrc_channels 2",
      "auplay_channels 2",
      "rtcp_mux yes",
      "jitter_buffer_type off",
      `module_path ${modules}`,
      ...["opus", "ausine", "aubridge", "uuid", "ice", "srtp", "dtls_srtp", "sndfile"].map(
        (m) => `module ${m}.so`,
      ),
      "module_tmp account.so",
      "module_app menu.so",
      "module_app httpd.so",
      `snd_path ${dir}`, // what it decodes, and what it encodes, is recorded here
      `http_listen 127.0.0.1:${http}`,
    ];
    const account = `<sip:${number}@127.0.0.1:${sip};transport=tcp>;regint=60;answermode=manual;audio_codecs=opus/48000/2;mediaenc=dtls_srtp;medianat=ice`;
    await writeFile(join(dir, "config"), `${config.join("\n")}\n`);
    await writeFile(join(dir, "accounts"), `${account}\n`);
    await writeFile(join(dir, "contacts"), "");
    const phone = new Baresip(dir, http);
    await phone.says(/200 OK.*\[\d+ binding/);
    return phone;
  }

  /** Waits until it has said such a thing. */
  async says(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.#said)) {
      if (this.#gone) {
        throw new Error(`baresip has ended; it said: ${this.#said}`);
      }
      await new Promise<void>((resolve, reject) => {
        const late = setTimeout(
          () => reject(new Error(`baresip does not say ${pattern}; it said: ${this.#said}`)),
          60_000, // only to fail
        );
        const wake = () => {
          clearTimeout(late);
          this.#wakes.delete(wake);
          resolve();
        };
        this.#wakes.add(wake);
      });
    }
  }

  /** Presses keys, as its user: "d" dials, "a" answers, "b" hangs up. */
  async press(keys: string): Promise<void> {
    this.#old = await this.#recorded();
    this.#said = "";
    const res = await fetch(`http://127.0.0.1:${this.#http}/?${encodeURIComponent(keys)}`);
    await res.arrayBuffer();
  }

  async #recorded(): Promise<string[]> {
    return (await readdir(this.#dir)).filter((f) => f.endsWith("-dec.wav"));
  }

  /** How loud it was, at its loudest, what it has heard in the call that the last keys began: from 0 to 1. */
  async heard(): Promise<number> {
    const latest = (await this.#recorded()).find((f) => !this.#old.includes(f));
    return latest ? loudest(await readFile(join(this.#dir, latest))) : 0;
  }

  async stop(): Promise<void> {
    const gone = new Promise((resolve) => this.#process.once("exit", resolve));
    if (this.#process.kill()) {
      await gone;
    }
    await rm(this.#dir, { recursive: true, force: true });
  }
}

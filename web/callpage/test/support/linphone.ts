import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { loudest } from "./sound.ts";

/**
 * Another real softphone with a SIP and media stack of its own: linphonec (Belledonne), set up to
 * speak with a browser (opus, DTLS-SRTP, ICE, RTP and RTCP on one port). It needs no sound card: it
 * plays a file, and records what it hears into another.
 */
export class Linphone {
  readonly #dir: string;
  readonly #process: ChildProcessWithoutNullStreams;
  #said = "";
  #gone = false;
  readonly #wakes = new Set<() => void>();

  private constructor(dir: string) {
    this.#dir = dir;
    // Left alone, it would not end with the test's process, and keep a processor busy.
    const args = ["900", "linphonec", "-c", join(dir, "linphonerc"), "-S"];
    this.#process = spawn("timeout", args, {
      cwd: dir,
      env: { PATH: process.env.PATH, HOME: dir },
    });
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        this.#said += text;
        this.#wake();
      });
    }
    this.#process.once("exit", () => {
      this.#gone = true;
      this.#wake();
    });
    this.#process.once("error", (err) => {
      this.#said += `linphonec does not start (scripts/test-deps installs it): ${err.message}`;
      this.#gone = true;
      this.#wake();
    });
  }

  #wake(): void {
    for (const wake of [...this.#wakes]) {
      wake();
    }
  }

  /** Starts one that registers a number at the server's SIP element. */
  static async start(number: string, sip: number, transport: "udp" | "tcp"): Promise<Linphone> {
    const dir = await mkdtemp(join(tmpdir(), "tandem-linphone-"));
    await mkdir(join(dir, ".local/share/linphone"), { recursive: true });
    await writeFile(join(dir, "tone.wav"), tone());
    await writeFile(
      join(dir, "linphonerc"),
      `[sip]
sip_port=-2
sip_tcp_port=-2
sip_tls_port=0
use_ipv6=0
guess_hostname=0
auto_net_state_mon=0
register_only_when_network_is_up=0
default_proxy=0
media_encryption=dtls
[proxy_0]
reg_proxy=<sip:127.0.0.1:${sip};transport=${transport}>
reg_identity=sip:${number}@127.0.0.1:${sip}
reg_expires=60
reg_sendregister=1
publish=0
[net]
firewall_policy=3
[rtp]
symmetric=1
rtcp_mux=1
audio_rtp_port=-1
[misc]
user_certificates_path=${dir}
`,
    );
    const phone = new Linphone(dir);
    await phone.says(/linphonec>/);
    phone.type("soundcard use files");
    await phone.#registered();
    return phone;
  }

  /** It tells of its registration only when it is asked. */
  async #registered(): Promise<void> {
    for (;;) {
      this.type("status register");
      await this.says(/registered[,=]/);
      if (this.#said.includes("registered,")) {
        return;
      }
      await setTimeout(100);
    }
  }

  /** Waits until it has said such a thing. */
  async says(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.#said)) {
      if (this.#gone) {
        throw new Error(`linphonec has ended; it said: ${this.#said}`);
      }
      await new Promise<void>((resolve, reject) => {
        const late = globalThis.setTimeout(
          () => reject(new Error(`linphonec does not say ${pattern}; it said: ${this.#said}`)),
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

  /** Types a command at its prompt. */
  type(command: string): void {
    this.#said = "";
    this.#process.stdin.write(`${command}\n`);
  }

  /** Plays its tone into the call, and records what it hears. */
  async speak(): Promise<void> {
    await rm(this.#heard, { force: true });
    this.type(`record ${this.#heard}`);
    this.type(`play ${join(this.#dir, "tone.wav")}`);
  }

  get #heard(): string {
    return join(this.#dir, "heard.wav");
  }

  /** How loud it was, at its loudest, what it has heard: from 0 to 1. */
  async heard(): Promise<number> {
    return loudest(await readFile(this.#heard).catch(() => Buffer.alloc(0)));
  }

  async stop(): Promise<void> {
    const gone = new Promise((resolve) => this.#process.once("exit", resolve));
    if (!this.#gone && this.#process.kill()) {
      await gone;
    }
    await rm(this.#dir, { recursive: true, force: true });
  }
}

/** A minute of a note, as a WAV file of 16 bits at 16 kHz. */
function tone(): Buffer {
  const rate = 16_000;
  const samples = Buffer.alloc(rate * 60 * 2);
  for (let i = 0; i < samples.length / 2; i++) {
    samples.writeInt16LE(Math.round(10_000 * Math.sin((2 * Math.PI * 440 * i) / rate)), i * 2);
  }
  const head = Buffer.alloc(44);
  head.write("RIFF", 0);
  head.writeUInt32LE(36 + samples.length, 4);
  head.write("WAVEfmt ", 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20); // PCM
  head.writeUInt16LE(1, 22); // one channel
  head.writeUInt32LE(rate, 24);
  head.writeUInt32LE(rate * 2, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write("data", 36);
  head.writeUInt32LE(samples.length, 40);
  return Buffer.concat([head, samples]);
}

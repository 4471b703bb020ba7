import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { photo } from "./photo.ts";

/** A provider's server of pictures, over TLS: a good one, and what hostile ones would answer. */
export class PictureServer {
  readonly #dir: string;
  readonly #server: Server;
  /** Who asked for what. */
  readonly asked: { path: string; agent: string }[] = [];

  private constructor(dir: string, key: Buffer, cert: Buffer) {
    this.#dir = dir;
    this.#server = createServer({ key, cert }, (req, res) => {
      const path = req.url ?? "";
      this.asked.push({ path, agent: req.headers["user-agent"] ?? "" });
      const script = "<script>document.title=1</script>";
      const answers: Record<string, [number, Record<string, string>, string | Buffer]> = {
        "/door.png": [200, { "Content-Type": "image/png" }, photo(600, 400)],
        "/script.svg": [
          200,
          { "Content-Type": "image/svg+xml" },
          `<svg xmlns="http://www.w3.org/2000/svg">${script}</svg>`,
        ],
        "/page.png": [200, { "Content-Type": "image/png" }, `<html>${script}</html>`],
        "/huge.png": [200, { "Content-Type": "image/png" }, Buffer.alloc(3 << 20)],
        "/plain.png": [302, { Location: "http://localhost/door.png" }, ""],
        "/inside.png": [302, { Location: "https://10.0.0.1/door.png" }, ""],
      };
      const [status, headers, body] = answers[path] ?? [404, {}, ""];
      res.writeHead(status, headers).end(body);
    });
  }

  static async start(): Promise<PictureServer> {
    const dir = await mkdtemp(join(tmpdir(), "tandem-pictures-"));
    const [key, cert] = [join(dir, "key.pem"), join(dir, "cert.pem")];
    const args = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=x";
    await promisify(execFile)("openssl", [
      ...args.split(" "),
      ...["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
    ]);
    const s = new PictureServer(dir, await readFile(key), await readFile(cert));
    await new Promise<void>((resolve) => s.#server.listen(0, "127.0.0.1", resolve));
    return s;
  }

  /** The settings of a Tandem server that may ask this one. */
  get settings(): Record<string, string> {
    return {
      SSL_CERT_FILE: join(this.#dir, "cert.pem"),
      TANDEM_OVERLAYS_NETWORKS: "127.0.0.0/8,::1/128",
    };
  }

  url(path: string): string {
    return `https://localhost:${(this.#server.address() as AddressInfo).port}${path}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    await rm(this.#dir, { recursive: true, force: true });
  }
}

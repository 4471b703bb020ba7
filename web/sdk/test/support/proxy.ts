import { connect, createServer, type Server, type Socket } from "node:net";

/** A TCP proxy before the server, which cuts connections when told. */
export class TcpProxy {
  readonly #server: Server;
  readonly #open = new Set<Socket>();
  readonly port: number;
  /** Refuses what asks for a WebSocket, as some firms' proxies do. */
  noWebSockets = false;
  /** Refuses everything. */
  down = false;
  /** Takes everything, and nothing ever comes of it. */
  silent = false;
  cuts = 0;
  /** So many bytes of uploads still pass; what comes after them goes nowhere, and gets no answer. */
  uploadsPass = Number.POSITIVE_INFINITY;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
  }

  static async to(target: number): Promise<TcpProxy> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    const p = new TcpProxy(server, typeof address === "object" && address ? address.port : 0);
    server.on("connection", (near) => p.#carry(near, target));
    return p;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  #carry(near: Socket, target: number): void {
    if (this.down) {
      near.destroy();
      return;
    }
    if (this.silent) {
      this.#open.add(near);
      near.on("error", () => {});
      near.on("close", () => this.#open.delete(near));
      near.resume();
      return;
    }
    const far = connect(target, "127.0.0.1");
    for (const [a, b] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#open.add(a);
      a.on("error", () => b.destroy());
      a.on("close", () => {
        this.#open.delete(a);
        b.destroy();
      });
    }
    far.pipe(near);
    let uploads = false;
    near.on("data", (data) => {
      const [, method] = /^([A-Z]+) \/\S* HTTP/.exec(data.toString("latin1", 0, 512)) ?? [];
      uploads = method ? method === "PATCH" : uploads;
      if (uploads) {
        this.uploadsPass -= data.length;
        if (this.uploadsPass < 0) {
          return;
        }
      }
      if (this.noWebSockets && /^upgrade: *websocket/im.test(data.toString("latin1"))) {
        near.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        far.destroy();
        return;
      }
      far.write(data);
    });
    near.on("end", () => far.end());
  }

  /** Cuts every connection, whatever is on its way. */
  cut(): void {
    this.cuts++;
    for (const s of this.#open) {
      s.resetAndDestroy();
    }
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

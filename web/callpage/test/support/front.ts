import { createServer, request, type Server } from "node:http";

/**
 * A server before the server that may say something else of one path: so a page gets a new version
 * of its service worker. It passes no WebSocket, and so pages come by server-sent events.
 */
export class Front {
  readonly #server: Server;
  /** What is answered to a path instead of what the server would; else nothing is changed. */
  readonly instead = new Map<string, { type: string; body: string }>();

  private constructor(target: number) {
    this.#server = createServer((req, res) => {
      const other = this.instead.get(req.url ?? "");
      if (other) {
        res.writeHead(200, { "Content-Type": other.type, "Cache-Control": "no-cache" });
        res.end(other.body);
        return;
      }
      const { method, url: path, headers } = req;
      const on = request({ host: "127.0.0.1", port: target, method, path, headers }, (back) => {
        res.writeHead(back.statusCode ?? 502, back.headers);
        back.pipe(res);
      });
      on.on("error", () => res.destroy());
      res.on("close", () => on.destroy());
      req.pipe(on);
    });
  }

  static async start(target: number): Promise<Front> {
    const f = new Front(target);
    await new Promise<void>((resolve) => f.#server.listen(0, "127.0.0.1", resolve));
    return f;
  }

  get url(): string {
    const at = this.#server.address();
    return `http://127.0.0.1:${typeof at === "object" ? at?.port : ""}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

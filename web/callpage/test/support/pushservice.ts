import { createECDH, type ECDH, randomBytes } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { decrypt } from "http_ece";
import type { BrowserContext, Page } from "playwright-core";

/** A subscription, as JSON.stringify gives it, with the secrets that a browser keeps. */
interface Subscription {
  json: { endpoint: string; expirationTime: null; keys: { p256dh: string; auth: string } };
  private: ECDH;
  auth: Buffer;
}

/**
 * A push service (RFC 8030) for pages in Chromium, whose own cannot be reached: what the server
 * sends is decrypted by http_ece (RFC 8291), and delivered to the page's service worker by
 * DevTools.
 */
export class PushService {
  readonly #server: Server;
  readonly #subscription: Subscription;
  /** Each push as it came, decrypted. */
  readonly payloads: string[] = [];
  #deliver: ((payload: string) => Promise<unknown>) | undefined;

  private constructor() {
    const key = createECDH("prime256v1");
    const p256dh = key.generateKeys().toString("base64url");
    const auth = randomBytes(16);
    this.#server = createServer((req, res) => {
      const chunks: Buffer[] = [];
      req.on("data", (c: Buffer) => chunks.push(c));
      req.on("end", () => {
        const { authorization, ttl, "content-encoding": encoding } = req.headers;
        if (encoding !== "aes128gcm" || !ttl || !/^vapid t=.+, ?k=.+/i.test(authorization ?? "")) {
          res.writeHead(400).end("not a push");
          return;
        }
        const payload = decrypt(Buffer.concat(chunks), {
          version: "aes128gcm",
          privateKey: key,
          authSecret: auth.toString("base64url"),
        }).toString("utf8");
        this.payloads.push(payload);
        void this.#deliver?.(payload);
        res.writeHead(201, { location: "/m/1" }).end();
      });
    });
    this.#subscription = {
      json: {
        endpoint: "",
        expirationTime: null,
        keys: { p256dh, auth: auth.toString("base64url") },
      },
      private: key,
      auth,
    };
  }

  static async start(): Promise<PushService> {
    const s = new PushService();
    await new Promise<void>((resolve) => s.#server.listen(0, "127.0.0.1", resolve));
    const { port } = s.#server.address() as AddressInfo;
    s.#subscription.json.endpoint = `http://127.0.0.1:${port}/p/1`;
    return s;
  }

  /** Has the pages of a profile subscribe here; their users allow notifications. */
  async serve(context: BrowserContext, origin: string): Promise<void> {
    await context.grantPermissions(["notifications"], { origin });
    await context.addInitScript((json) => {
      const made = (applicationServerKey: BufferSource) =>
        ({
          ...json,
          options: { applicationServerKey, userVisibleOnly: true },
          toJSON: () => json,
          unsubscribe: async () => {
            localStorage.removeItem("test-subscribed");
            return true;
          },
        }) as unknown as PushSubscription;
      PushManager.prototype.subscribe = async (options) => {
        localStorage.setItem("test-subscribed", "yes");
        return made(options?.applicationServerKey as BufferSource);
      };
      PushManager.prototype.getSubscription = async () =>
        localStorage.getItem("test-subscribed") ? made(new ArrayBuffer(0)) : null;
    }, this.#subscription.json);
  }

  /** Delivers what comes to the service worker of the page's origin. */
  async connect(page: Page): Promise<void> {
    const devtools = await page.context().newCDPSession(page);
    const registered = new Promise<string>((resolve) => {
      devtools.on("ServiceWorker.workerRegistrationUpdated", ({ registrations }) => {
        const [r] = registrations;
        if (r && !r.isDeleted) {
          resolve(r.registrationId);
        }
      });
    });
    await devtools.send("ServiceWorker.enable");
    const registrationId = await registered;
    const origin = new URL(page.url()).origin;
    // What cannot be delivered is delivered later, as a push service does (RFC 8030 5).
    this.#deliver = async (data) => {
      for (let tries = 0; !page.isClosed(); tries++) {
        try {
          await devtools.send("ServiceWorker.deliverPushMessage", { origin, registrationId, data });
          return;
        } catch (err) {
          if (tries === 50) {
            throw err;
          }
          await new Promise((resolve) => setTimeout(resolve, 200));
        }
      }
    };
  }

  /** From now on what comes is not delivered: the device is out of reach. */
  disconnect(): void {
    this.#deliver = undefined;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

import {
  Api,
  answerPush,
  isProblem,
  loadIdentity,
  type Ports,
  type Push,
  type PushID,
  readPush,
} from "@tandem-call/sdk";
import { browserPorts, subscribePush } from "@tandem-call/sdk/browser";
import { readable } from "../lib/format.ts";
import en from "../messages/en.json";
import { type PushWords, pushWords, pushWordsKey } from "./words.ts";

/** Action buttons are not in TypeScript's DOM library: not every browser has them. */
interface Options extends NotificationOptions {
  renotify?: boolean;
  actions?: { action: string; title: string }[];
  data: Shown;
}

/** What a notification is about. */
interface Shown {
  push: PushID;
  /** Where its page is. */
  at: string;
}

/** Shows what the server wakes this device for, and takes it off the screen again (B7). */
export class Pushes {
  readonly #worker: ServiceWorkerGlobalScope;
  readonly #ports: Ports = browserPorts();

  constructor(worker: ServiceWorkerGlobalScope) {
    this.#worker = worker;
  }

  get #server(): string {
    return this.#worker.location.origin;
  }

  /** A push came: it bears an identifier, and nothing else. */
  async came(id: PushID): Promise<void> {
    const words = await this.#words();
    let push: Push;
    try {
      push = await readPush(this.#server, id, this.#ports);
    } catch (err) {
      // Without a network the user is told that there is something; what has lapsed is nothing.
      await (isProblem(err, "not-found")
        ? this.#close(id)
        : this.#show(words.other, "", { push: id, at: "/" }));
      return;
    }
    if (push.withdrawn) {
      await this.#close(id);
      return;
    }
    const at = push.session ? `/#/session/${encodeURIComponent(push.session)}` : "/";
    const shown: Shown = { push: id, at };
    switch (push.kind) {
      case "invite": {
        const name = readable(push.invite?.claimant) || words.unknown;
        await this.#show(words.invite.replace("{name}", name), words.text, shown, [
          { action: "accept", title: words.accept },
          { action: "decline", title: words.decline },
        ]);
        break;
      }
      case "words":
      case "session":
      case "data":
        await this.#show(words[push.kind], "", shown);
        break;
      default:
        await this.#show(words.other, "", shown);
    }
  }

  /** A notification was touched, or one of its buttons. */
  async touched(notification: Notification, action: string): Promise<void> {
    notification.close();
    const { push, at } = notification.data as Shown;
    if (action === "accept" || action === "decline") {
      try {
        await answerPush(this.#server, push, action === "accept", this.#ports);
      } catch {
        await this.#show((await this.#words()).over, "", { push, at: "/" });
        return;
      }
    }
    if (action !== "decline") {
      await this.#open(at);
    }
  }

  /** The browser has replaced the subscription. */
  async renewed(): Promise<void> {
    const identity = await loadIdentity(this.#ports.store);
    if (identity) {
      const api = new Api(this.#server, this.#ports, identity);
      const app = await subscribePush(this.#worker.registration, await api.pushKey());
      await api.changeDevice({ app });
    }
  }

  async #words(): Promise<PushWords> {
    const told = (await this.#ports.store.get(pushWordsKey)) as PushWords | undefined;
    return told ?? pushWords((key) => en[key]);
  }

  async #show(
    title: string,
    body: string,
    data: Shown,
    actions: Options["actions"] = [],
  ): Promise<void> {
    const options: Options = {
      // A later push about the same matter takes its place.
      tag: data.push,
      renotify: true,
      requireInteraction: actions.length > 0,
      body,
      icon: "/icon-192.png",
      data,
      actions,
    };
    await this.#alone(() => this.#worker.registration.showNotification(title, options));
  }

  async #close(id: PushID): Promise<void> {
    await this.#alone(async () => {
      for (const n of await this.#worker.registration.getNotifications({ tag: id })) {
        n.close();
      }
    });
  }

  /**
   * Nobody else shows or lists notifications meanwhile: Chromium drops one that it is just showing, when it is
   * asked which ones there are.
   */
  async #alone(f: () => Promise<void>): Promise<void> {
    await this.#worker.navigator.locks.request("notifications", f);
  }

  async #open(at: string): Promise<void> {
    const [page] = await this.#worker.clients.matchAll({ type: "window" });
    if (page) {
      await page.focus();
      await page.navigate(at);
    } else {
      await this.#worker.clients.openWindow(at);
    }
  }
}

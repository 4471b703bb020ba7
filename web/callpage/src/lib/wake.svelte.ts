import type { Api, DeviceInfo } from "@tandem-call/sdk";
import { browserPorts, pushApp, subscribePush } from "@tandem-call/sdk/browser";
import { pushWords, pushWordsKey } from "../worker/words.ts";
import { t } from "./words.svelte.ts";

/** Whether this page is woken by push while it is not open (B7). */
class Wake {
  /** What the browser can. */
  readonly possible =
    "serviceWorker" in navigator && "PushManager" in globalThis && "Notification" in globalThis;
  on = $state(false);
  /** The user has told the browser not to show notifications. */
  denied = $state(false);

  /** Asks the user, subscribes, and registers that with the device. */
  async start(api: Api): Promise<void> {
    this.denied = (await Notification.requestPermission()) === "denied";
    if (Notification.permission !== "granted") {
      return;
    }
    const registration = await navigator.serviceWorker.ready;
    await api.changeDevice({ app: await subscribePush(registration, await api.pushKey()) });
    this.on = true;
  }

  /** Ends the subscription; the server finds it dead, and drops it. */
  async stop(): Promise<void> {
    await (await this.#subscription())?.unsubscribe();
    this.on = false;
  }

  /** Looks whether the device is woken, and mends what the server has of it. */
  async renew(api: Api, info: DeviceInfo): Promise<void> {
    if (!this.possible) {
      return;
    }
    this.denied = Notification.permission === "denied";
    const subscription = await this.#subscription();
    this.on = subscription !== null && Notification.permission === "granted";
    if (subscription && this.on) {
      const app = pushApp(subscription);
      if (app.id !== info.app?.id) {
        await api.changeDevice({ app });
      }
    }
  }

  /** Leaves the service worker the words for its notifications, in the page's language. */
  async tell(): Promise<void> {
    const words = pushWords(t);
    await browserPorts().store.write(new Map([[pushWordsKey, words]]));
  }

  async #subscription(): Promise<PushSubscription | null> {
    const registration = await navigator.serviceWorker.getRegistration();
    return (await registration?.pushManager.getSubscription()) ?? null;
  }
}

export const wake = new Wake();

import type { PushApp } from "../wire.ts";

/**
 * Subscribes a service worker for the server's pushes; the user must have allowed
 * notifications. What it returns is registered with the device.
 */
export async function subscribePush(
  registration: ServiceWorkerRegistration,
  serverKey: string,
): Promise<PushApp> {
  const key = bytes(serverKey);
  const old = await registration.pushManager.getSubscription();
  if (old && !same(old.options.applicationServerKey, key)) {
    await old.unsubscribe(); // of another server's: a browser has one at a time
  }
  return pushApp(
    await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key }),
  );
}

/** A subscription in the form in which a device registers it. */
export function pushApp(subscription: PushSubscription): PushApp {
  return { platform: "webpush", id: JSON.stringify(subscription) };
}

function same(a: ArrayBuffer | null, b: Uint8Array): boolean {
  const view = new Uint8Array(a ?? new ArrayBuffer(0));
  return view.length === b.length && view.every((byte, i) => byte === b[i]);
}

function bytes(base64url: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(base64url.replaceAll("-", "+").replaceAll("_", "/")), (c) =>
    c.charCodeAt(0),
  );
}

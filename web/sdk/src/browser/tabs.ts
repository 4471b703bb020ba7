import type { Device } from "../device.ts";
import type { Clock } from "../ports.ts";

/** A page that is loaded anew sends what it left itself; this long it may take to do so. */
const reloadMs = 5_000;

/**
 * Has the open pages of a device send what one that was closed has left, or one that died. Each holds a
 * lock (Web Locks) as long as it is there, and waits for those of the others: whichever gets one
 * takes over, and holds it until that is kept.
 *
 * @param gone is called when another page is gone, after what it left was taken over
 */
export function takeOverFromTabs(
  device: Pick<Device, "holder" | "identity" | "takeOver">,
  clock: Clock,
  gone: () => void = () => {},
): void {
  const prefix = `tandem-holder/${device.identity.device}/`;
  const tabs = new BroadcastChannel(prefix);
  const known = new Set([device.holder]);
  const watch = (holder: string) => {
    if (known.has(holder)) {
      return;
    }
    known.add(holder);
    navigator.locks
      .request(prefix + holder, async () => {
        await new Promise<void>((resolve) => void clock.after(reloadMs, resolve));
        await device.takeOver(holder);
        gone();
      })
      .catch(() => {}); // the store cannot be read: another page may fare better, or the next one
  };
  tabs.onmessage = ({ data }) => watch(String(data));
  // Told once it is held: before that, to get it would mean nothing.
  void navigator.locks.request(prefix + device.holder, () => {
    tabs.postMessage(device.holder);
    return new Promise(() => {}); // it ends with the page
  });
  void navigator.locks.query().then(({ held }) => {
    for (const { name } of held ?? []) {
      if (name?.startsWith(prefix)) {
        watch(name.slice(prefix.length));
      }
    }
  });
}

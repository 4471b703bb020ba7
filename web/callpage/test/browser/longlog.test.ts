import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { axe, enrol, launch, open, type Watched } from "../support/browser.ts";
import { Shop } from "../support/shop.ts";

const numbers = { alice: "+442079460101", shop: "+442079460102" };
const lines = 300;

let browser: Browser;
let server: TestServer;
let alice: Watched;
let shop: Shop;

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start({ TANDEM_CALLS_INVITE_DELAY: "1h" });
  shop = new Shop(numbers.shop);
  await shop.enrol(server);
  await shop.start();
  alice = await open(browser, server.url);
  await enrol(alice, server, numbers.alice, "Alice");
  await shop.meet(alice, numbers.alice);
});
afterAll(async () => {
  await shop?.stop();
  await browser?.close();
  await server?.remove();
});

/**
 * Goes to the settings and back to the session, up pixels away from its end as soon as the log is
 * there; what is to be seen then, and when the whole log is there.
 */
const back = (up: number) =>
  alice.page.evaluate(
    async ([up, lines]) => {
      const log = () => document.querySelector<HTMLElement>("[role=log]");
      const state = (entry: Element | undefined) => ({
        entries: log()?.querySelectorAll("article").length ?? 0,
        live: log()?.getAttribute("aria-live"),
        moving: document.getAnimations().filter((a) => {
          const { target } = a.effect as KeyframeEffect;
          return log()?.contains(target);
        }).length,
        end: Math.round((log()?.scrollHeight ?? 0) - (log()?.scrollTop ?? 0)),
        top: Math.round(entry?.getBoundingClientRect().top ?? -1),
      });
      const until = (there: () => unknown) =>
        new Promise<void>((resolve) => {
          const seen = new MutationObserver(() => look());
          const look = () => {
            if (there()) {
              seen.disconnect();
              resolve();
            }
          };
          seen.observe(document, { childList: true, subtree: true });
          look();
        });
      location.hash = "#/settings";
      await until(() => document.querySelector("#name"));
      location.hash = "#/";
      await until(() => log()?.querySelector("article"));
      // The frame in which the log is drawn first; who scrolls has seen it.
      await new Promise(requestAnimationFrame);
      if (up > 0) {
        await new Promise(requestAnimationFrame);
        log()?.scrollBy({ top: -up, behavior: "instant" });
      }
      const looked = [...(log()?.querySelectorAll("article") ?? [])].find(
        (e) => e.getBoundingClientRect().top >= (log()?.getBoundingClientRect().top ?? 0),
      );
      const first = state(looked);
      await until(() => log()?.querySelectorAll("article").length === lines);
      await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
      return { first, whole: state(looked), height: log()?.clientHeight };
    },
    [up, lines] as const,
  );

test("the newest of a long log are there at once, the older soon after; nothing moves by it", async () => {
  for (let i = 0; i < lines; i++) {
    shop.device.send(shop.session as never, "text", { text: `line ${i}` });
  }
  const log = alice.page.getByRole("log");
  await log.getByText(`line ${lines - 1}`, { exact: true }).waitFor();
  await log.getByText("line 0", { exact: true }).waitFor();

  const { first, whole, height } = await back(0);
  expect(first.entries).toBeGreaterThan(20);
  expect(first.entries).toBeLessThan(lines / 2);
  expect(first.end).toBe(height); // the newest is to be seen
  expect(first.live).toBe("off"); // nobody is told what has long been there
  expect(whole.entries).toBe(lines);
  expect(whole.live).toBeNull();
  expect(whole.end).toBe(height);
  expect(first.moving + whole.moving).toBe(0);
  expect(await log.locator("article .text").allTextContents()).toEqual(
    Array.from({ length: lines }, (_, i) => `line ${i}`),
  );
  expect(await axe(alice.page)).toEqual([]);

  // Who reads further up at once goes on reading.
  const read = await back(700);
  expect(read.first.entries).toBeLessThan(lines); // the others come while one reads
  expect(read.whole.top).toBe(read.first.top);
  expect(read.whole.end).toBe(read.first.end);

  // What comes now is told, and shown.
  await alice.page.getByRole("button", { name: "To the newest" }).click();
  shop.device.send(shop.session as never, "text", { text: "one more" });
  await log.getByText("one more", { exact: true }).waitFor();
  expect(await log.locator("article").count()).toBe(lines + 1);
  expect(alice.faults).toEqual([]);
});

test("what takes room from the log leaves its newest in sight, however quickly it grows", async () => {
  const { page } = alice;
  await page.evaluate(async () => {
    const room = document.querySelector(".room");
    const grow = () => {
      const above = document.createElement("div");
      above.style.cssText = "flex: none; height: 110px";
      room?.prepend(above);
    };
    grow();
    // Once more, between the frame that has told the new size and the next, which tells of the scrolling.
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    grow();
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
  });
  const log = page.getByRole("log");
  expect(await log.evaluate((e) => Math.round(e.scrollHeight - e.scrollTop - e.clientHeight))).toBe(
    0,
  );
  expect(await page.getByRole("button", { name: "To the newest" }).count()).toBe(0);
});

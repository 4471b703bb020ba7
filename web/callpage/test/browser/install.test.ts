import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { axe, enrol, fits, launch, open, report, type Watched } from "../support/browser.ts";
import { Front } from "../support/front.ts";

let browser: Browser;
let server: TestServer;
let front: Front;
let alice: Watched;
let bob: Watched;
const numbers = { alice: "+442079460101", bob: "+442079460102" };

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start({ TANDEM_CALLS_INVITE_DELAY: "100ms" });
  front = await Front.start(server.port);
});
afterAll(async () => {
  await browser?.close();
  await front?.stop();
  await server?.remove();
});
afterEach(() => {
  expect([alice, bob].flatMap((w) => w?.faults ?? [])).toEqual([]);
});

/** The browser's offer, which a headless one does not make by itself; how often it was taken. */
async function offer({ page }: Watched): Promise<() => Promise<number>> {
  await page.evaluate(() => {
    const offer = new Event("beforeinstallprompt", { cancelable: true });
    const taken = { times: 0 };
    Object.assign(offer, {
      prompt: async () => {
        taken.times++;
      },
    });
    Object.assign(globalThis, { taken });
    dispatchEvent(offer);
  });
  return () =>
    page.evaluate(() => (globalThis as unknown as { taken: { times: number } }).taken.times);
}

test("what makes the page an app is there, and Chromium finds no fault with it", async () => {
  alice = await open(browser, server.url);
  await enrol(alice, server, numbers.alice, "Alice");
  const session = await alice.page.context().newCDPSession(alice.page);
  const { errors } = await session.send("Page.getAppManifest");
  expect(errors).toEqual([]);
  const { installabilityErrors } = await session.send("Page.getInstallabilityErrors");
  // The tests' profiles are those of private windows, into which nothing is installed.
  expect(installabilityErrors.map((e) => e.errorId).filter((e) => e !== "in-incognito")).toEqual(
    [],
  );
});

test("installing is offered after the first session, not before nor in one", async () => {
  const taken = await offer(alice);
  const card = alice.page.getByRole("region", { name: "Install as an app" });
  const wanted = card.getByRole("button", { name: "Install as an app" });
  await alice.page.getByRole("link", { name: "I’m on a call with…" }).waitFor();
  expect(await card.count()).toBe(0);

  bob = await open(browser, server.url);
  await enrol(bob, server, numbers.bob, "Bob");
  await report(alice, numbers.bob);
  await bob.page.getByRole("button", { name: "Open it" }).click();
  await alice.page.getByRole("heading", { name: "Session with Bob" }).waitFor();
  expect(await card.count()).toBe(0);
  await alice.page.getByRole("button", { name: "The call is over" }).click();
  await alice.page.getByRole("button", { name: "Leave" }).click();
  await alice.page.getByRole("dialog").getByRole("button", { name: "Leave" }).click();

  await wanted.waitFor();
  expect(await axe(alice.page)).toEqual([]);
  await fits(alice.page);
  await card.getByRole("button", { name: "Not now" }).click();
  await card.waitFor({ state: "detached" });
  // It stays among the settings, and is not asked for again.
  await alice.page.getByRole("link", { name: "Settings" }).click();
  await wanted.click();
  expect(await taken()).toBe(1);
  await card.waitFor({ state: "detached" });
  await alice.page.goto(`${server.url}/#/`);
  await alice.page.reload();
  await alice.page.getByText("Connected").waitFor();
  await offer(alice);
  await alice.page.getByText("Closed").first().waitFor();
  expect(await card.count()).toBe(0);
});

test("a new version waits until it is wanted", async () => {
  const { page, faults } = await open(browser, front.url);
  await page.evaluate(async () => {
    await navigator.serviceWorker.ready;
  });
  const code = await (await fetch(`${front.url}/sw.js`)).text();
  const notice = page.getByText("A new version of this page is ready.");
  await page.reload();
  await page.getByRole("link", { name: "Try it" }).waitFor();
  expect(await notice.count()).toBe(0);

  front.instead.set("/sw.js", { type: "text/javascript", body: `${code}\n// newer` });
  await page.reload();
  await notice.waitFor();
  expect(await axe(page)).toEqual([]);
  await fits(page);
  const waiting = () =>
    page.evaluate(async () => (await navigator.serviceWorker.ready).waiting !== null);
  await page.getByRole("button", { name: "Not now" }).click();
  await notice.waitFor({ state: "detached" });
  expect(await waiting()).toBe(true);

  await page.reload();
  await notice.waitFor();
  const reloaded = page.waitForEvent("load");
  await page.getByRole("button", { name: "Reload" }).click();
  await reloaded;
  await page.getByRole("link", { name: "Try it" }).waitFor();
  expect(await waiting()).toBe(false);
  expect(await notice.count()).toBe(0);
  expect(faults).toEqual([]);
});

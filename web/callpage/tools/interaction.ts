// Measures how long the page takes from a key or a press until it shows what came of it, by the
// browser's own Event Timing (W3C Event Timing API, from which web.dev takes "Interaction to Next
// Paint"), and how long the page's thread was busy with it, which does not depend on what else the
// machine does.
// `npm run interaction -w callpage` after `make build`; TANDEM_BIN names the server.

import { cpus, loadavg } from "node:os";
import type { Browser, CDPSession, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../sdk/test/support/server.ts";
import { enrol, launch, open, report, type Watched } from "../test/support/browser.ts";

const numbers = { alice: "+442079460093", bob: "+442079460094" };

let browser: Browser;
let server: TestServer;
let alice: Watched;
let bob: Watched;

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start({ TANDEM_CALLS_INVITE_DELAY: "100ms" });
  alice = await open(browser, server.url);
  bob = await open(browser, server.url);
  await enrol(alice, server, numbers.alice, "Alice");
  await enrol(bob, server, numbers.bob, "Bob");
});
afterAll(async () => {
  await browser?.close();
  await server?.remove();
});

/** Notes every interaction of a page from now on, and what its thread does. */
async function watchInteractions(page: Page): Promise<CDPSession> {
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable", { timeDomain: "threadTicks" });
  await page.evaluate(() => {
    const longest = new Map<number, number>();
    Object.assign(globalThis, { longest });
    new PerformanceObserver((list) => {
      for (const e of list.getEntries() as (PerformanceEntry & { interactionId: number })[]) {
        if (e.interactionId) {
          longest.set(e.interactionId, Math.max(longest.get(e.interactionId) ?? 0, e.duration));
        }
      }
    }).observe({
      type: "event",
      durationThreshold: 16,
      buffered: false,
    } as PerformanceObserverInit);
  });
  return session;
}

/** How long each interaction took since the last time, in milliseconds; those below 16 are not told. */
async function interactions(page: Page): Promise<number[]> {
  return page.evaluate(async () => {
    // An entry comes after the frame that it is about.
    await new Promise((r) => requestAnimationFrame(() => setTimeout(r, 500)));
    const { longest } = globalThis as unknown as { longest: Map<number, number> };
    const all = [...longest.values()];
    longest.clear();
    return all;
  });
}

/** For how many milliseconds the page's thread has worked so far. */
async function worked(session: CDPSession): Promise<number> {
  const { metrics } = await session.send("Performance.getMetrics");
  return 1000 * (metrics.find((m) => m.name === "TaskDuration")?.value ?? 0);
}

const rows: string[] = [];

/** count is how many keys and presses that is in all. */
async function measure(session: CDPSession, what: string, count: number, act: () => Promise<void>) {
  await interactions(alice.page);
  const before = await worked(session);
  await act();
  const busy = ((await worked(session)) - before) / count;
  const all = (await interactions(alice.page)).sort((a, b) => a - b);
  const at = (p: number) => all[Math.min(all.length - 1, Math.floor(all.length * p))] ?? 0;
  rows.push(`| ${what} | ${busy.toFixed(1)} ms | ${at(0.5)} ms | ${at(0.98)} ms |`);
}

test("interactions", async () => {
  const { page } = alice;
  await report(alice, numbers.bob);
  await bob.page.getByRole("button", { name: "Open it" }).click();
  await page.getByRole("heading", { name: "Session with Bob" }).waitFor();
  for (let i = 0; i < 200; i++) {
    await bob.page
      .getByLabel("Message", { exact: true })
      .fill(`line ${i}, of which there are many`);
    await bob.page.keyboard.press("Enter");
  }
  await page.getByText("line 199,").waitFor();
  await bob.page.close();
  const session = await watchInteractions(page);
  // What came is painted, and the machine at rest.
  for (let at = await worked(session), was = -1; at - was > 50; ) {
    await page.waitForTimeout(2_000);
    [was, at] = [at, await worked(session)];
  }

  const field = page.getByLabel("Message", { exact: true });
  await field.focus();
  const text = "how long does it take until a letter is there?";
  await measure(session, "type a letter, with 200 messages above", text.length, () =>
    page.keyboard.type(text, { delay: 100 }),
  );
  await field.fill("");
  await field.focus();
  await measure(session, "send a message of one letter", 20, async () => {
    for (const letter of "abcdefghij") {
      await page.keyboard.press(letter);
      await page.keyboard.press("Enter");
      await page.getByRole("log").getByText(letter, { exact: true }).waitFor();
    }
  });
  await measure(session, "open and close a dialog", 20, async () => {
    for (let i = 0; i < 10; i++) {
      await page.getByRole("button", { name: "Leave" }).click();
      await page.getByRole("dialog").waitFor();
      await page.keyboard.press("Escape");
      await page.getByRole("dialog").waitFor({ state: "detached" });
    }
  });
  await measure(session, "to the settings, and back to 200 messages", 20, async () => {
    for (let i = 0; i < 10; i++) {
      await page.getByRole("link", { name: "Settings" }).click();
      await page.getByRole("heading", { name: "Settings" }).waitFor();
      await page.getByRole("link", { name: "Back" }).click();
      await page.getByRole("heading", { name: "Session with Bob" }).waitFor();
    }
  });
  process.stdout.write(
    `${[
      `${cpus().length} processors (${cpus()[0]?.model}), load ${loadavg()[0]?.toFixed(1)}`,
      "| what | the page's thread works | half | 98 of 100 |",
      "| --- | --- | --- | --- |",
      ...rows,
    ].join("\n")}\n`,
  );
  expect(rows).toHaveLength(4);
});

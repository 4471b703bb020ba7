// Measures how long the page takes from a key or a press until what came of it is drawn, and how long
// the page's thread was busy with it, which does not depend on what else the machine does.
// The times are from the browser's trace: from the event to the first frame that the page makes after
// it, and that frame's drawing. Event Timing is not used: for keys in a text field it told times
// of seconds where the trace shows that each letter was drawn at once.
// `npm run interaction -w callpage` after `make build`; TANDEM_BIN names the server.

import { cpus, loadavg } from "node:os";
import type { Browser, CDPSession, Locator, Page } from "playwright-core";
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

/** What the browser's trace tells of a moment; ts is in microseconds, of one clock for all processes. */
interface Traced {
  name: string;
  ph: string;
  pid: number;
  tid: number;
  ts: number;
  dur?: number;
  /** Of the processor's time alone. */
  tdur?: number;
  args?: { data?: { type?: string } };
}

/** How long it took from each key and click until the frame after it was drawn, in milliseconds. */
function drawn(trace: Traced[]): number[] {
  const whole = trace.filter((e) => e.ph === "X").sort((a, b) => a.ts - b.ts);
  const next = (name: string, after: Traced, pid?: number) =>
    whole.find((e) => e.name === name && e.ts >= after.ts && (!pid || e.pid === pid));
  return whole
    .filter((e) => e.name === "EventDispatch" && /^(keydown|click)$/.test(e.args?.data?.type ?? ""))
    .map((event) => {
      const made = next("ProxyMain::BeginMainFrame", event, event.pid);
      const active = made && next("LayerTreeHostImpl::ActivateSyncTree", made, event.pid);
      const shown = active && next("Display::DrawAndSwap", active);
      return shown ? (shown.ts - event.ts) / 1000 : Number.POSITIVE_INFINITY;
    })
    .sort((a, b) => a - b);
}

/**
 * The longest that the page's thread was busy with one task, in milliseconds of processor time:
 * meanwhile nothing can be drawn. A link to another view is followed in a task of its own, which may
 * come after a first frame.
 */
function longest(trace: Traced[]): number {
  const thread = trace.find((e) => e.name === "EventDispatch");
  return Math.max(
    ...trace
      .filter((e) => e.pid === thread?.pid && e.tid === thread?.tid && e.name === "RunTask")
      .map((e) => (e.tdur ?? e.dur ?? 0) / 1000),
  );
}

async function watchThread(page: Page): Promise<CDPSession> {
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable", { timeDomain: "threadTicks" });
  return session;
}

/** For how many milliseconds the page's thread has worked so far. */
async function worked(session: CDPSession): Promise<number> {
  const { metrics } = await session.send("Performance.getMetrics");
  return 1000 * (metrics.find((m) => m.name === "TaskDuration")?.value ?? 0);
}

const categories = ["cc", "viz", "devtools.timeline", "disabled-by-default-devtools.timeline"];
const rows: string[] = [];

/** count is how many keys and presses that is in all. */
async function measure(page: Page, what: string, count: number, act: () => Promise<void>) {
  const session = await watchThread(page);
  await browser.startTracing(page, { categories });
  const before = await worked(session);
  await act();
  // What the last of them changed is drawn.
  await page.evaluate(() => new Promise((r) => requestAnimationFrame(() => setTimeout(r, 1_000))));
  const busy = ((await worked(session)) - before) / count;
  const { traceEvents } = JSON.parse(String(await browser.stopTracing()));
  await session.detach();
  const all = drawn(traceEvents);
  expect(all).toHaveLength(count);
  const at = (p: number) => Math.round(all[Math.min(count - 1, Math.floor(count * p))] ?? 0);
  const task = Math.round(longest(traceEvents));
  rows.push(`| ${what} | ${busy.toFixed(1)} ms | ${task} ms | ${at(0.5)} ms | ${at(0.98)} ms |`);
}

/** Where to press. To look for a name in the whole page each time would count as the page's work. */
async function middle(of: Locator): Promise<[number, number]> {
  const box = await of.boundingBox();
  return [(box?.x ?? 0) + (box?.width ?? 0) / 2, (box?.y ?? 0) + (box?.height ?? 0) / 2];
}

async function openAndClose(page: Page, key: [number, number]): Promise<void> {
  for (let i = 0; i < 10; i++) {
    await page.mouse.click(...key);
    await page.locator("dialog[open]").waitFor();
    await page.keyboard.press("Escape");
    await page.locator("dialog").waitFor({ state: "detached" });
  }
}

const text = "how long does it take until a letter is there?";

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
  const session = await watchThread(page);
  // What came is painted, and the machine at rest.
  for (let at = await worked(session), was = -1; at - was > 50; ) {
    await page.waitForTimeout(2_000);
    [was, at] = [at, await worked(session)];
  }

  const field = page.getByLabel("Message", { exact: true });
  await field.focus();
  await measure(page, "type a letter, with 200 messages above", text.length, () =>
    page.keyboard.type(text, { delay: 100 }),
  );
  await field.fill("");
  await field.focus();
  await measure(page, "send a message of one letter", 20, async () => {
    for (const letter of "abcdefghij") {
      await page.keyboard.press(letter);
      await page.keyboard.press("Enter");
      await page.getByRole("log").getByText(letter, { exact: true }).waitFor();
    }
  });
  const leave = await middle(page.getByRole("button", { name: "Leave" }));
  await measure(page, "open and close a dialog", 20, () => openAndClose(page, leave));
  const settings = await middle(page.getByRole("link", { name: "Settings" }));
  await page.mouse.click(...settings);
  const back = await middle(page.getByRole("link", { name: "Back" }));
  await page.mouse.click(...back);
  await page.locator("#room-title").waitFor();
  await measure(page, "to the settings, and back to 200 messages", 20, async () => {
    for (let i = 0; i < 10; i++) {
      await page.mouse.click(...settings);
      await page.locator("#name").waitFor();
      await page.mouse.click(...back);
      await page.locator("#room-title").waitFor();
    }
  });
  // What the browser and the machine need by themselves, to compare with.
  const bare = await browser.newPage();
  await bare.setContent(
    "<title>Bare</title><textarea></textarea><button onclick='document.body.append(Object.assign(" +
      'document.createElement("dialog"), { textContent: "Sure?", onclose() { this.remove() } }));' +
      'document.querySelector("dialog").showModal()\'>Open</button>',
  );
  await bare.locator("textarea").focus();
  await measure(bare, "type a letter in a page with nothing else", text.length, () =>
    bare.keyboard.type(text, { delay: 100 }),
  );
  const opens = await middle(bare.locator("button"));
  await measure(bare, "open and close a dialog in it", 20, () => openAndClose(bare, opens));
  process.stdout.write(
    `${[
      `${cpus().length} processors (${cpus()[0]?.model}), load ${loadavg()[0]?.toFixed(1)}`,
      "| what | the page's thread works | longest task | drawn, half | drawn, 98 of 100 |",
      "| --- | --- | --- | --- | --- |",
      ...rows,
    ].join("\n")}\n`,
  );
  expect(rows).toHaveLength(6);
});

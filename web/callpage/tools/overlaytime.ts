// Measures how long an overlay takes from the agent until the phone has painted it: from the key in
// the console, in a real call between two browsers, and from a request to the API until also the
// agent's device hears that. One after the other, on one machine, so that the network between them
// costs next to nothing.
// `npm run overlaytime -w callpage` after `make build`; TANDEM_BIN names the server.

import { writeFile } from "node:fs/promises";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../sdk/test/support/server.ts";
import { enrol, launch, open } from "../test/support/browser.ts";
import { region, Shop } from "../test/support/shop.ts";

const numbers = { alice: "+442079460053", shop: "+442079460054", acme: "+442079460900" };
const sends = 200;
/** Between two, in milliseconds: a device sends 120 at once, and then two a second. */
const pace = 400;
/** What the specification allows beside the network, for half of them, in milliseconds (I4). */
const allowed = 100;

let browser: Browser;
let server: TestServer;

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start({ TANDEM_CALLS_INVITE_DELAY: "1h" });
});
afterAll(async () => {
  await browser?.close();
  await server?.remove();
  process.stdout.write(
    `${[
      `${sends} overlays each, ${cpus().length} processors (${cpus()[0]?.model}), load ${loadavg()[0]?.toFixed(1)}`,
      "| from | until | p50 | p99 | most |",
      "| --- | --- | --- | --- | --- |",
      ...rows,
    ].join("\n")}\n`,
  );
});

const rows: string[] = [];

/** Notes what was measured; the time within which half of it was. */
function note(what: string, all: number[]): number {
  expect(all).toHaveLength(sends);
  expect(all.filter((ms) => !(ms > 0))).toEqual([]);
  all.sort((a, b) => a - b);
  const at = (p: number) => all[Math.ceil(all.length * p) - 1] ?? Number.NaN;
  rows.push(`| ${what} | ${[0.5, 0.99, 1].map((p) => `${at(p).toFixed(1)} ms`).join(" | ")} |`);
  return at(0.5);
}

/** The wall clock, which the pages and this process have in common, in fractions of milliseconds. */
const now = () => performance.timeOrigin + performance.now();

/** Notes in the page when each overlay was painted: the first task after the frame that shows it. */
async function watchPaints(page: Page): Promise<void> {
  await page.evaluate(() => {
    const painted: number[] = [];
    Object.assign(globalThis, { times: painted });
    let last: Element | null = null;
    new MutationObserver(() => {
      const board = document.querySelector("section.layer .board");
      if (board && board !== last) {
        last = board;
        requestAnimationFrame(() => {
          const { port1, port2 } = new MessageChannel();
          port1.onmessage = () => painted.push(performance.timeOrigin + performance.now());
          port2.postMessage(undefined);
        });
      }
    }).observe(document.body, { subtree: true, childList: true });
  });
}

const times = (page: Page) =>
  page.evaluate(() => (globalThis as unknown as { times: number[] }).times);

const paints = (page: Page, count: number) =>
  page.waitForFunction(
    (n) => (globalThis as unknown as { times: number[] }).times.length >= n,
    count,
  );

const regions = (text: string) => [
  region(text, 0, { display: "flash", actions: [{ type: "choose", value: "0" }] }),
  ...[1, 2, 3].map((row) => region(`Button ${row}`, row, { actions: [{ type: "send_location" }] })),
];

test("from the agent's key in the console, in a real call", async () => {
  await server.command("agent", "add", "--number", numbers.acme, "--name", "Anna", "anna");
  const file = join(tmpdir(), `overlaytime-${process.pid}.json`);
  const document = { version: 1, id: "taxi", language: "en", regions: regions("Pick me up") };
  await writeFile(
    file,
    JSON.stringify({ title: { en: "Taxi" }, numbers: [numbers.acme], document }),
  );
  await server.command("overlay", "publish", "taxi", file);
  const way = /http\S+/.exec(await server.command("agent", "invite", "anna"))?.[0] ?? "";
  const anna = await open(browser, way, { viewport: { width: 1280, height: 800 } });
  await anna.page.getByText("Connected").waitFor();
  const alice = await open(browser, server.url);
  await enrol(alice, server, numbers.alice, "Alice");
  await alice.page.goto(`${server.url}/#/dial/${encodeURIComponent(numbers.acme)}`);
  await alice.page.getByRole("button", { name: "Call", exact: true }).click();
  await anna.page.getByRole("button", { name: "Answer" }).click();
  await alice.page.getByRole("heading", { name: "Session with Anna" }).waitFor();
  await watchPaints(alice.page);
  await anna.page.evaluate(() => {
    const pressed: number[] = [];
    Object.assign(globalThis, { times: pressed });
    addEventListener(
      "keydown",
      (e) =>
        (e as KeyboardEvent).key === "Enter" && pressed.push(performance.timeOrigin + e.timeStamp),
      { capture: true },
    );
  });
  for (let i = 0; i < sends; i++) {
    await anna.page.keyboard.press("Alt+m");
    await anna.page.keyboard.press("Alt+t");
    await anna.page.getByRole("option", { name: "Taxi", selected: true }).waitFor();
    await anna.page.keyboard.press("Enter");
    await paints(alice.page, i + 1);
    await alice.page.waitForTimeout(pace);
  }
  const pressed = await times(anna.page);
  const painted = await times(alice.page);
  const p50 = note(
    "the agent's key | the phone has painted it",
    pressed.map((at, i) => (painted[i] ?? Number.NaN) - at),
  );
  expect(p50).toBeLessThan(allowed);
  await anna.page.close();
  await alice.page.close();
});

test("from a request to the API, and until the agent hears of it", async () => {
  const shop = new Shop(numbers.shop);
  await shop.enrol(server);
  await shop.start();
  const alice = await open(browser, server.url);
  await enrol(alice, server, numbers.alice, "Alice");
  await shop.meet(alice, numbers.alice);
  await watchPaints(alice.page);
  const started: number[] = [];
  const heard: number[] = [];
  for (let i = 0; i < sends; i++) {
    const at = now();
    await shop.shown(await shop.send(regions(`no ${i}`)));
    started.push(at);
    heard.push(now() - at);
    await paints(alice.page, i + 1);
    await alice.page.waitForTimeout(pace);
  }
  const painted = await times(alice.page);
  note(
    "a request | the phone has painted it",
    started.map((at, i) => (painted[i] ?? Number.NaN) - at),
  );
  note("a request | the agent's device hears that it is shown", heard);
  await shop.stop();
});

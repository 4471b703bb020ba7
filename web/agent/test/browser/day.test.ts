import { rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SessionState } from "@tandem-call/sdk";
import type { Browser, CDPSession } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { launch, open, type Watched } from "../../../callpage/test/support/browser.ts";
import { photo } from "../../../callpage/test/support/photo.ts";
import { upload } from "../../../sdk/src/files.ts";
import { Person } from "../../../sdk/test/support/person.ts";
import { TestServer } from "../../../sdk/test/support/server.ts";

/** How many calls the day has; npm run day -w agent: 96, one each five minutes of eight hours. */
const calls = Number(process.env.CALLS ?? 6);
/** Calls after which everything that is made once has been made. */
const warm = 3;
const numbers = { alice: "+442079460071", acme: "+442079460970" };

/** Makes each call heavy: what stays of one is seen in the heap. */
const padding = " and so on".repeat(800);

let browser: Browser;
let server: TestServer;
let alice: Person;
let anna: Watched;
let pbx: string;

beforeAll(async () => {
  // Without compilers: what they make grows for a while, in the heap that is measured.
  browser = await launch("--js-flags=--no-opt --no-maglev --no-sparkplug");
  server = await TestServer.start({ TANDEM_SESSIONS_LINGER: "1s" });
  await server.command(
    "agent",
    "add",
    "--number",
    numbers.acme,
    "--extension",
    "17",
    "--name",
    "Anna",
    "anna",
  );
  const file = join(tmpdir(), `tandem-${process.pid}-day.json`);
  const region = {
    id: "yes",
    grid: { column: 0, row: 0, width: 4 },
    text: { en: "Yes" },
    actions: [{ type: "choose", value: "yes" }],
  };
  const document = { version: 1, id: "question", language: "en", regions: [region] };
  await writeFile(
    file,
    JSON.stringify({ title: { en: "Question" }, numbers: [numbers.acme], document }),
  );
  await server.command("overlay", "publish", "question", file);
  await rm(file);
  const token = ["token", "create", "--role", "element", "--name", "pbx", "--for", "+44207946"];
  pbx = /tdm_\S+/.exec(await server.command(...token))?.[0] ?? "";
  alice = await new Person(numbers.alice).enrol(server);
  await alice.start();
  const link = /http\S+/.exec(await server.command("agent", "invite", "anna"))?.[0] ?? "";
  anna = await open(browser, link, { viewport: { width: 1280, height: 800 } });
  await anna.page.getByText("Connected").waitFor();
});
afterAll(async () => {
  await alice?.stop();
  await browser?.close();
  await server?.remove();
});

/** The network's reports of both legs of a call. */
async function report(call: number, state: "active" | "ended"): Promise<void> {
  for (const leg of [
    { own: numbers.alice, other: numbers.acme, direction: "outgoing" },
    { own: numbers.acme, extension: "17", other: numbers.alice, direction: "incoming" },
  ]) {
    const res = await fetch(`${server.url}/v1/reports`, {
      method: "POST",
      headers: { authorization: `Bearer ${pbx}`, "content-type": "application/json" },
      body: JSON.stringify({ ...leg, state, ref: { call_id: `call-${call}` } }),
    });
    expect(res.status).toBeLessThan(300);
  }
}

/** One call, with what an agent does in it; it is put away at its end. */
async function call(n: number): Promise<void> {
  const { page } = anna;
  const opened = alice.next("session", (s: SessionState) => s.phase === "in_call");
  await report(n, "active");
  const { id } = await opened;
  const log = page.getByRole("log");
  for (let i = 0; i < 5; i++) {
    await alice.device.send(id, "text", { text: `question ${i} of call ${n}${padding}` });
  }
  await upload(alice.device.api, alice.ports, {
    session: id,
    id: `u${n}`,
    content: new Blob([new Uint8Array(photo(320, 240))], { type: "image/png" }),
    name: `photo${n}.png`,
  });
  await log
    .getByRole("button", { name: `Show photo${n}.png large` })
    .locator("img")
    .waitFor();
  await log.getByText(`question 4 of call ${n}`).waitFor();
  await page.getByLabel("Message", { exact: true }).fill(`answer of call ${n}`);
  await page.keyboard.press("Enter");
  await page.keyboard.press("Alt+t");
  await page.getByRole("option", { name: "Question" }).waitFor();
  await page.keyboard.press("Enter");
  const { seq } = await alice.until(`overlay of call ${n}`, () =>
    alice.messages.find((m) => m.kind === "overlay" && m.session === id),
  );
  const at = `/v1/sessions/${id}/overlays/${seq}`;
  await alice.device.api.call("POST", `${at}/shown`, { state: "shown" });
  const answer = {
    id: "a1",
    region: "yes",
    action: 0,
    type: "choose",
    outcome: "done",
    value: "yes",
  };
  await alice.device.api.call("POST", `${at}/answers`, answer);
  await page.getByRole("img", { name: "On it now: Yes" }).waitFor();
  await log.getByText("Yes – Done").waitFor();
  await page.getByLabel("Write a note").fill(`note of call ${n}`);
  await page.getByRole("button", { name: "Keep" }).click();
  await page.getByRole("region", { name: "Notes" }).getByText(`note of call ${n}`).waitFor();
  await report(n, "ended");
  await page.getByRole("button", { name: "Solved" }).click();
  await page.getByRole("button", { name: /^Put .* away$/ }).click();
  await page.getByRole("heading", { name: "No calls" }).waitFor();
}

interface Used {
  heap: number;
  nodes: number;
  listeners: number;
}

/** What the page holds when all that it can let go of is gone. */
async function used(cdp: CDPSession): Promise<Used> {
  for (let i = 0; i < 3; i++) {
    await cdp.send("HeapProfiler.collectGarbage");
  }
  const { metrics } = await cdp.send("Performance.getMetrics");
  const of = (name: string) => metrics.find((m) => m.name === name)?.value ?? Number.NaN;
  return { heap: of("JSHeapUsedSize"), nodes: of("Nodes"), listeners: of("JSEventListeners") };
}

test("a day of calls leaves nothing behind in the page", async () => {
  const cdp = await anna.page.context().newCDPSession(anna.page);
  await cdp.send("Performance.enable");
  for (let n = 0; n < warm; n++) {
    await call(n);
  }
  const before = await used(cdp);
  const began = Date.now();
  for (let n = warm; n < warm + calls; n++) {
    await call(n);
  }
  const after = await used(cdp);
  const seconds = Math.round((Date.now() - began) / 1000);
  // biome-ignore lint/suspicious/noConsole: the figures are what it is run for.
  console.log(`${calls} calls in ${seconds} s: ${JSON.stringify({ before, after })}`);
  expect(after.nodes - before.nodes).toBeLessThan(5 * calls);
  expect(after.listeners - before.listeners).toBeLessThan(2 * calls);
  expect(after.heap - before.heap).toBeLessThan(100_000 + 5_000 * calls);
  expect(anna.faults).toEqual([]);
}, 1_800_000);

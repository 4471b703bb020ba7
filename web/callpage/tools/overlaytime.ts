// Measures how long an overlay takes from the agent's request until the phone has painted it, and
// until the agent hears that: a real server, a real browser, one after the other, on one machine,
// so that the network between them costs next to nothing.
// `npm run overlaytime -w callpage` after `make build`; TANDEM_BIN names the server.

import { cpus, loadavg } from "node:os";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Person } from "../../sdk/test/support/person.ts";
import { TestServer } from "../../sdk/test/support/server.ts";
import { enrol, launch, open, report, type Watched } from "../test/support/browser.ts";

const numbers = { alice: "+442079460053", shop: "+442079460054" };
const sends = 200;
/** What the specification allows beside the network, for half of them, in milliseconds (I4). */
const allowed = 100;

let browser: Browser;
let server: TestServer;
let alice: Watched;
let agent: Person;

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start({ TANDEM_CALLS_INVITE_DELAY: "1h" });
  agent = await new Person(numbers.shop).enrol(server);
  await agent.start();
  alice = await open(browser, server.url, { reducedMotion: "no-preference" });
  await enrol(alice, server, numbers.alice, "Alice");
});
afterAll(async () => {
  await agent?.stop();
  await browser?.close();
  await server?.remove();
});

/** The wall clock, which the page and this process have in common, in fractions of milliseconds. */
const now = () => performance.timeOrigin + performance.now();

/** Notes in the page when each overlay was painted: the first task after the frame that shows it. */
async function watchPaints(): Promise<void> {
  await alice.page.evaluate(() => {
    const painted: Record<string, number> = {};
    Object.assign(globalThis, { painted });
    new MutationObserver(() => {
      const text = document.querySelector("section.layer .text")?.textContent ?? "";
      if (text && !(text in painted)) {
        painted[text] = 0;
        requestAnimationFrame(() => {
          const { port1, port2 } = new MessageChannel();
          port1.onmessage = () => {
            painted[text] = performance.timeOrigin + performance.now();
          };
          port2.postMessage(undefined);
        });
      }
    }).observe(document.body, { subtree: true, childList: true, characterData: true });
  });
}

test("an overlay from the agent's request to the phone's screen", async () => {
  const opened = agent.next("session", (s) => s.phase === "in_call");
  agent.call({ number: numbers.alice } as Person);
  await report(alice, numbers.shop);
  const path = `/v1/sessions/${(await opened).id}/overlays`;
  await watchPaints();

  const started: number[] = [];
  const heard: number[] = [];
  for (let i = 0; i < sends; i++) {
    const region = (id: string, row: number, text: string) => ({
      id,
      grid: { column: 0, row, width: 4 },
      text: { en: text },
      display: "flash",
      actions: [{ type: "choose", value: id }],
    });
    const document = {
      version: 1,
      id: "taxi",
      language: "en",
      regions: [region("n", 0, `no ${i}`), ...[1, 2, 3].map((r) => region(`r${r}`, r, "Press"))],
    };
    const at = now();
    const sent = agent.device.api.call<{ seq: number }>("POST", path, { id: `q${i}`, document });
    const { seq } = await sent;
    await agent.until(`overlay ${i} is shown`, () =>
      agent.messages.some(
        (m) => m.kind === "tandem.overlay.shown" && (m.body as { seq: number }).seq === seq,
      ),
    );
    started.push(at);
    heard.push(now() - at);
  }
  const painted = await alice.page.evaluate(
    () => (globalThis as unknown as { painted: Record<string, number> }).painted,
  );
  const shown = started.map((at, i) => (painted[`no ${i}`] ?? Number.NaN) - at);
  expect(shown.filter((ms) => !(ms > 0))).toEqual([]);

  const at = (all: number[], p: number) =>
    (all.sort((a, b) => a - b)[Math.ceil(all.length * p) - 1] ?? Number.NaN).toFixed(1);
  const row = (what: string, all: number[]) =>
    `| ${what} | ${at(all, 0.5)} ms | ${at(all, 0.99)} ms | ${at(all, 1)} ms |`;
  process.stdout.write(
    `${[
      `${sends} overlays, ${cpus().length} processors (${cpus()[0]?.model}), load ${loadavg()[0]?.toFixed(1)}`,
      "| from the agent's request until | p50 | p99 | most |",
      "| --- | --- | --- | --- |",
      row("the phone has painted it", shown),
      row("the agent hears that it is shown", heard),
    ].join("\n")}\n`,
  );
  expect(Number(at(shown, 0.5))).toBeLessThan(allowed);
});

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { TcpProxy } from "../../../sdk/test/support/proxy.ts";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { enrol, launch, open, report, type Watched, watch } from "../support/browser.ts";
import { png } from "../support/photo.ts";

// Two tabs of one person are one device: what one that is closed has left is sent by the other.
const numbers = { alice: "+442079460111", bob: "+442079460112" };
const photo = png(1200, 900, (x, y) =>
  [(x * 7919) ^ (y * 104729), x ^ y, x * y].map((n) => n & 255),
);

let browser: Browser;
let server: TestServer;
let proxy: TcpProxy;
let alice: Watched;
let bob: Watched;
/** Alice's other tab. */
let other: Watched;

/** A further tab of somebody's; its time passes as always, or faster. */
async function tab(who: Watched): Promise<Watched> {
  const page = await who.page.context().newPage();
  watch(page, who.faults);
  await page.clock.install();
  await page.goto(proxy.url);
  await page.getByRole("heading", { name: "Session with Bob" }).waitFor();
  return { page, faults: who.faults };
}

/**
 * The texts that a page sends from now on, each time that it does: over a WebSocket, or, where one has
 * failed, by POST.
 */
function sends(page: Page): string[] {
  const texts: string[] = [];
  const note = (text: string) => {
    const frame = text.startsWith("{") ? JSON.parse(text) : {}; // the telephone's connection has other words
    if (frame.type === "send") {
      texts.push(frame.body.text);
    }
  };
  page.on("websocket", (ws) => ws.on("framesent", ({ payload }) => note(String(payload))));
  page.on("request", (r) => {
    if (r.url().endsWith("/v1/frames")) {
      note(r.postData() ?? "");
    }
  });
  return texts;
}

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start({ TANDEM_CALLS_INVITE_DELAY: "100ms" });
  proxy = await TcpProxy.to(server.port);
  alice = await open(browser, proxy.url);
  bob = await open(browser, server.url);
  await enrol(alice, server, numbers.alice, "Alice");
  await enrol(bob, server, numbers.bob, "Bob");
  await report(alice, numbers.bob);
  await bob.page.getByRole("alertdialog").getByRole("button", { name: "Open it" }).click();
  await alice.page.getByRole("heading", { name: "Session with Bob" }).waitFor();
  await bob.page.getByRole("heading", { name: "Session with Alice" }).waitFor();
  await alice.page.evaluate(() => navigator.serviceWorker.ready);
});
beforeEach(async () => {
  other = await tab(alice);
});
afterAll(async () => {
  await browser?.close();
  await proxy?.close();
  await server?.remove();
});

const say = async ({ page }: Watched, text: string) => {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
};
const log = ({ page }: Watched) => page.getByRole("log");
const entry = (who: Watched, text: string) =>
  log(who).locator("article", { has: who.page.getByText(text, { exact: true }) });

async function loseNetwork() {
  proxy.down = true;
  proxy.cut();
  for (const { page } of [alice, other]) {
    await page.getByText("Nothing is lost.").waitFor();
  }
}

test("what a tab has left is sent by the other one, in its order, and is there once", async () => {
  await loseNetwork();
  for (const text of ["left 1", "left 2"]) {
    await say(alice, text);
    await entry(alice, text).getByText("Not yet sent").waitFor();
  }
  await alice.page.close();
  // It says so before there is a network.
  await entry(other, "left 2").getByText("Not yet sent").waitFor();
  await other.page.getByText("2 things are not yet sent.").waitFor();
  await say(other, "said after that");
  const sent = sends(other.page);
  proxy.down = false;
  await log(bob).getByText("said after that").waitFor();
  for (const who of [bob, other]) {
    expect(
      await log(who)
        .getByText(/left \d|said after that/)
        .allTextContents(),
    ).toEqual(["left 1", "left 2", "said after that"]);
  }
  expect(sent).toEqual(["left 1", "left 2", "said after that"]);
  await entry(other, "left 1").getByText("Seen").waitFor();
  expect(await log(other).getByText("Not yet sent").count()).toBe(0);
  expect([...alice.faults, ...bob.faults]).toEqual([]);
  alice = other;
});

test("a tab that is only loaded anew sends what it left itself", async () => {
  await loseNetwork();
  await say(alice, "before it was loaded anew");
  await entry(alice, "before it was loaded anew").getByText("Not yet sent").waitFor();
  const byOther = sends(other.page);
  const byItself = sends(alice.page);
  await alice.page.reload();
  await alice.page.getByText("1 thing is not yet sent.").waitFor();
  // The other one has waited for that, and looks.
  await other.page.clock.runFor(10_000);
  proxy.down = false;
  await log(bob).getByText("before it was loaded anew").waitFor();
  await entry(alice, "before it was loaded anew").getByText("Seen").waitFor();
  expect(byOther).toEqual([]);
  expect(byItself).toEqual(["before it was loaded anew"]);
  expect([...alice.faults, ...bob.faults]).toEqual([]);
  await other.page.close();
});

test("what the server has got from a tab that did not learn of it is not there twice", async () => {
  const sent = sends(other.page);
  await other.page.reload(); // so that its connection is heard
  await other.page.getByRole("heading", { name: "Session with Bob" }).waitFor();
  await alice.page.evaluate(() => {
    // It keeps what it has sent, as if it had been closed before the answer.
    IDBObjectStore.prototype.delete = IDBObjectStore.prototype.count as never;
  });
  await say(alice, "stored before");
  await entry(alice, "stored before").getByText("Seen").waitFor();
  await entry(other, "stored before").getByText("Seen").waitFor();
  await alice.page.close();
  await expect.poll(() => sent, { timeout: 30_000 }).toEqual(["stored before"]);
  await say(other, "said after it");
  await entry(other, "said after it").getByText("Seen").waitFor();
  for (const who of [bob, other]) {
    expect(await log(who).getByText("stored before").count()).toBe(1);
  }
  await entry(other, "stored before").getByText("Seen").waitFor();
  expect([...alice.faults, ...bob.faults]).toEqual([]);
  alice = other;
});

test("a photo that a tab was sending is sent on by the other one", async () => {
  proxy.uploadsPass = photo.length / 2;
  await alice.page
    .locator("input[type=file]")
    .setInputFiles([{ name: "left.png", mimeType: "image/png", buffer: photo }]);
  await log(alice).locator("progress").waitFor();
  // As long as it does, nobody else sends it.
  expect(await log(other).locator("progress").count()).toBe(0);
  await alice.page.close();
  proxy.uploadsPass = Number.POSITIVE_INFINITY;
  await log(bob).getByRole("button", { name: "Save: left.png" }).waitFor();
  await log(other).getByRole("button", { name: "Save: left.png" }).waitFor();
  await expect.poll(() => log(other).locator("progress").count()).toBe(0);
  expect(await log(bob).getByRole("button", { name: "Save: left.png" }).count()).toBe(1);
  expect([...alice.faults, ...bob.faults]).toEqual([]);
});

import type { Browser, FrameLocator } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { axe, fits, launch, open, type Watched } from "../support/browser.ts";
import { photo } from "../support/photo.ts";

let browser: Browser;
let server: TestServer;
let first: Watched;
let alice: FrameLocator;
let bob: FrameLocator;

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start();
});
afterAll(async () => {
  await browser?.close();
  await server?.remove();
});

const button = (phone: FrameLocator, name: string) => phone.getByRole("button", { name });
const frames = () => first.page.frames().filter((f) => f !== first.page.mainFrame());
async function faultless() {
  for (const f of [first.page, ...frames()]) {
    expect(await axe(f)).toEqual([]);
  }
  expect(first.faults).toEqual([]);
}

test("the first page offers two phones, which enrol by themselves", async () => {
  first = await open(browser, server.url, { viewport: { width: 1200, height: 780 } });
  await first.page.getByRole("link", { name: "Try it" }).click();
  alice = first.page.frameLocator("iframe >> nth=0");
  bob = first.page.frameLocator("iframe >> nth=1");
  await button(alice, "Call Bob").waitFor();
  await button(bob, "Call Alice").waitFor();
  await faultless();
  await fits(first.page);
});

test("a phone that declines", async () => {
  await button(bob, "Call Alice").click();
  await button(alice, "Decline").click();
  await bob.getByText("Declined").waitFor();
  await button(bob, "Call Alice").waitFor();
});

// A1: each page hears of the call from its own softphone's events.
test("a real call opens a session, with sound both ways", async () => {
  await button(alice, "Call Bob").click();
  await bob.getByRole("alertdialog", { name: "Alice is calling" }).waitFor();
  await faultless();
  await button(bob, "Answer").click();
  await alice.getByRole("heading", { name: "Session with Bob" }).waitFor();
  await bob.getByRole("heading", { name: "Session with Alice" }).waitFor();
  for (const phone of [alice, bob]) {
    const level = () => phone.getByRole("meter").evaluate((m) => (m as HTMLMeterElement).value);
    await expect.poll(level, { timeout: 60_000 }).toBeGreaterThan(0.05);
  }
  await faultless();
});

test("chat, and files of every kind, beside the call", async () => {
  await alice.getByLabel("Message", { exact: true }).fill("Look what I found");
  await button(alice, "Send").last().click();
  await bob.getByRole("log").getByText("Look what I found").waitFor();
  await alice.locator("input[type=file]").setInputFiles([
    { name: "red-door.png", mimeType: "image/png", buffer: photo(800, 600) },
    { name: "offer.pdf", mimeType: "application/pdf", buffer: Buffer.from("%PDF-1.4\n%%EOF\n") },
    {
      name: "film.mp4",
      mimeType: "video/mp4",
      buffer: Buffer.concat([
        Buffer.from("000000186674797069736f6d0000020069736f6d69736f32", "hex"),
        Buffer.alloc(6_000_000, 7),
      ]),
    },
  ]);
  for (const name of ["red-door.png", "offer.pdf", "film.mp4"]) {
    await bob.getByRole("log").getByText(name, { exact: true }).waitFor();
  }
  await bob.getByRole("button", { name: "Show red-door.png large" }).locator("img").waitFor();
  await bob.getByRole("button", { name: "Play film.mp4" }).waitFor();
  await alice.getByText("Seen").first().waitFor();
  await faultless();
});

test("mute, silence and the microphone are switches", async () => {
  for (const name of ["Mute", "Sound off", "Use the microphone"]) {
    await button(alice, name).click();
    await expect.poll(() => button(alice, name).getAttribute("aria-pressed")).toBe("true");
  }
  await alice.getByText("Your voice is sent").waitFor();
  await button(alice, "Use the microphone").click();
  await alice.getByText("A tone is sent").waitFor();
});

// B6
test("after hanging up, the session stays with a clock, and the guide is done", async () => {
  await button(bob, "Hang up").click();
  for (const phone of [alice, bob]) {
    await phone.getByText(/The session stays open for/).waitFor();
  }
  await expect.poll(() => first.page.locator("li.done").count()).toBe(4);
  await faultless();
  await button(alice, "Stay longer").waitFor();
});

test("a second call takes the session up; closing the page hangs up", async () => {
  await button(bob, "Call Alice").click();
  await button(alice, "Answer").click();
  await bob.getByText("In a call with Alice").waitFor();
  await expect.poll(() => alice.getByRole("log").getByText("Look what I found").count()).toBe(1);
  await alice.locator("#content").getByText("In the call", { exact: true }).waitFor();
  const frame = frames().find((f) => f.url().includes("//alice."));
  await frame?.evaluate(() => location.reload());
  await bob.getByText(/The session stays open for/).waitFor();
  await alice.getByRole("log").getByText("Look what I found").waitFor();
  await button(alice, "Call Bob").waitFor();
});

test("the page is small, and loads the telephone only when it is used", async () => {
  const seen: { url: string; bytes: number }[] = [];
  const { page } = await open(browser, "about:blank");
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  const urls = new Map<string, string>();
  session.on("Network.responseReceived", (e) => urls.set(e.requestId, e.response.url));
  session.on("Network.loadingFinished", (e) =>
    seen.push({ url: urls.get(e.requestId) ?? "", bytes: e.encodedDataLength }),
  );
  await page.goto(server.url);
  await page.getByRole("link", { name: "Try it" }).waitFor();
  const bytes = seen.reduce((n, s) => n + s.bytes, 0);
  expect(bytes).toBeGreaterThan(20_000);
  expect(bytes).toBeLessThan(150_000);
  expect(seen.filter((s) => s.url.includes("softphone"))).toEqual([]);
});

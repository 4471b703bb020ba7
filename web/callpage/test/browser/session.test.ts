import type { Browser, Locator } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { TcpProxy } from "../../../sdk/test/support/proxy.ts";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { axe, enrol, fits, launch, open, report, type Watched } from "../support/browser.ts";
import { photo } from "../support/photo.ts";

let browser: Browser;
let server: TestServer;
let proxy: TcpProxy;
let alice: Watched;
let bob: Watched;
const numbers = { alice: "+442079460041", bob: "+442079460042", carol: "+442079460043" };

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start({ TANDEM_CALLS_INVITE_DELAY: "100ms" });
  proxy = await TcpProxy.to(server.port);
});
afterAll(async () => {
  await browser?.close();
  await proxy?.close();
  await server?.remove();
});
afterEach(() => {
  expect(alice.faults).toEqual([]);
  expect(bob.faults).toEqual([]);
});

const say = async ({ page }: Watched, text: string) => {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
};
const log = ({ page }: Watched) => page.getByRole("log");

// A2, B2: one side types the other's number; the other is asked, and accepts.
test("a call told by hand, an invitation, and a session", async () => {
  alice = await open(browser, server.url);
  bob = await open(browser, proxy.url);
  expect(await axe(alice.page)).toEqual([]);
  await enrol(alice, server, numbers.alice, "Alice");
  await enrol(bob, server, numbers.bob, "Bob");
  expect(await axe(alice.page)).toEqual([]);
  await report(alice, numbers.bob);
  const asked = bob.page.getByRole("alertdialog");
  await asked.getByRole("heading", { name: `Open a session with ${numbers.alice}?` }).waitFor();
  expect(await axe(bob.page)).toEqual([]);
  await asked.getByRole("button", { name: "Open it" }).click();
  await bob.page.getByRole("heading", { name: "Session with Alice" }).waitFor();
  await alice.page.getByRole("heading", { name: "Session with Bob" }).waitFor();
});

test("chat, with marks of delivery, and harmless markup", async () => {
  await say(alice, "by the red door");
  await log(bob).getByText("by the red door").waitFor();
  await log(alice).getByText("Seen").waitFor();
  const hostile = '<img src=x onerror="document.title=1"><script>alert(1)</script>';
  await say(bob, hostile);
  await log(alice).getByText(hostile).waitFor();
  expect(await log(alice).locator("script, img[src=x]").count()).toBe(0);
  await say(alice, "https://files.example/slides.odp");
  const link = log(bob).getByRole("link", { name: /slides\.odp/ });
  expect(await link.getAttribute("rel")).toContain("noopener");
  await say(alice, "javascript:alert(1)");
  await log(bob).getByText("javascript:alert(1)").waitFor();
  expect(await log(bob).locator('a[href^="javascript:"]').count()).toBe(0);
  expect(await axe(bob.page)).toEqual([]);
});

test("files: a photo with its preview, and a page with a hostile name, which is only saved", async () => {
  await alice.page.locator("input[type=file]").setInputFiles([
    { name: "door.png", mimeType: "image/png", buffer: photo(640, 480) },
    {
      name: "../..\u202egpj.<script>.html",
      mimeType: "text/html",
      buffer: Buffer.from("<script>parent.document.title='owned'</script>"),
    },
  ]);
  const picture = log(bob).getByRole("button", { name: "Show door.png large" });
  await picture.locator("img").waitFor();
  await picture.click();
  await bob.page.getByRole("dialog").getByRole("img", { name: "door.png" }).waitFor();
  expect(await axe(bob.page)).toEqual([]);
  await bob.page.keyboard.press("Escape");
  const save = log(bob).getByRole("button", { name: /Save: .*html/ });
  const [download] = await Promise.all([bob.page.waitForEvent("download"), save.click()]);
  expect(download.suggestedFilename()).not.toMatch(/[/\\<>\u202e]/);
  expect(await bob.page.title()).not.toContain("owned");
  expect(
    await log(bob)
      .getByRole("button", { name: /Show .*html/ })
      .count(),
  ).toBe(0);
});

test("on a narrow screen with text of double size, a session can be read and written in", async () => {
  const { page } = bob;
  const before = page.viewportSize();
  await page.setViewportSize({ width: 320, height: 640 });
  await page.evaluate(() => {
    document.documentElement.style.fontSize = "200%";
  });
  const size = async (of: Locator) => (await of.boundingBox()) ?? { width: 0, height: 0 };
  try {
    await expect.poll(async () => (await size(log(bob))).height).toBeGreaterThan(100);
    // Words are not broken into letters, and what one writes has some room.
    expect((await size(page.getByRole("heading", { name: "Session with" }))).height).toBeLessThan(
      160,
    );
    expect((await size(page.getByLabel("Message", { exact: true }))).width).toBeGreaterThan(100);
    await say(bob, "written large");
    const entry = log(bob).locator("article", { has: page.getByText("written large") });
    await entry.getByText(/^(Sent|Seen)$/).waitFor();
  } finally {
    await page.evaluate(() => document.documentElement.removeAttribute("style"));
    await page.setViewportSize(before ?? { width: 400, height: 780 });
  }
});

// Lose and regain the network without losing anything.
test("a lost network: a banner says what is not yet sent, and it is sent later", async () => {
  proxy.down = true;
  proxy.cut();
  await bob.page.getByText("Nothing is lost.").waitFor();
  await say(bob, "said while away");
  await bob.page.getByText("1 thing is not yet sent.").waitFor();
  await log(bob).getByText("Not yet sent").waitFor();
  expect(await axe(bob.page)).toEqual([]);
  await say(alice, "said meanwhile");
  await log(alice).getByText("said meanwhile").waitFor();
  proxy.down = false;
  await log(alice).getByText("said while away").waitFor();
  await log(bob).getByText("said meanwhile").waitFor();
  await bob.page.getByText("Connected").waitFor();
  expect(await log(alice).getByText("said while away").count()).toBe(1);
});

test("a reload in the middle of a lost network loses nothing, also the page itself", async () => {
  await bob.page.evaluate(() => navigator.serviceWorker.ready);
  proxy.down = true;
  proxy.cut();
  await bob.page.getByText("Nothing is lost.").waitFor();
  await say(bob, "said before the reload");
  await log(bob).getByText("Not yet sent").waitFor();
  await bob.page.reload();
  await bob.page.getByText("No connection").first().waitFor();
  proxy.down = false;
  await log(alice).getByText("said before the reload").waitFor();
  await log(bob).getByText("said before the reload").waitFor();
  await log(bob).getByText("by the red door").waitFor();
  expect(await log(alice).getByText("said before the reload").count()).toBe(1);
  expect(await log(bob).getByText("said before the reload").count()).toBe(1);
});

test("two tabs of one device show the same, each thing once", async () => {
  const second: Watched = { page: await alice.page.context().newPage(), faults: alice.faults };
  await second.page.goto(server.url);
  await log(second).getByText("by the red door").waitFor();
  await say(second, "from the second tab");
  await log(alice).getByText("from the second tab").waitFor();
  await log(bob).getByText("from the second tab").waitFor();
  for (const w of [alice, bob, second]) {
    expect(await log(w).getByText("from the second tab").count()).toBe(1);
  }
  await second.page.close();
  await alice.page.bringToFront();
});

// B6: the session outlives the call, with a clock, and can be extended and left.
test("after the call: the clock, more time, and leaving", async () => {
  const left = () =>
    alice.page
      .getByText(/The session stays open for/)
      .textContent()
      .then((text) => {
        const [, minutes, seconds] = /(\d+):(\d\d)/.exec(text ?? "") ?? [];
        return Number(minutes) * 60 + Number(seconds);
      });
  await alice.page.getByRole("button", { name: "The call is over" }).click();
  await bob.page.getByText(/The session stays open for/).waitFor();
  await alice.page.getByText(/The session stays open for/).waitFor();
  expect(await axe(alice.page)).toEqual([]);
  const before = await left();
  expect(before).toBeGreaterThan(0);
  await alice.page.getByRole("button", { name: "Stay longer" }).click();
  await expect.poll(left, { timeout: 60_000 }).toBeGreaterThan(before);
  await bob.page.getByRole("button", { name: "Leave" }).click();
  await bob.page.getByRole("dialog").getByRole("button", { name: "Leave" }).click();
  await alice.page.getByText("Closed").first().waitFor();
});

test("history: what was said can be read again", async () => {
  await alice.page.reload();
  await alice.page.getByRole("link", { name: /Bob/ }).click();
  await log(alice).getByText("by the red door").waitFor();
  await alice.page.getByText("The session is closed. It can be read for a day.").waitFor();
  expect(await axe(alice.page)).toEqual([]);
});

test("settings: a name, a language, a look; every view without a fault", async () => {
  await alice.page.getByRole("link", { name: "Back" }).click();
  await alice.page.getByRole("link", { name: "Settings" }).click();
  await alice.page.getByLabel("Name that others see").fill("Alice L.");
  await alice.page.getByRole("button", { name: "Save" }).click();
  await alice.page.getByText("Saved").waitFor();
  for (const look of ["Light", "Dark"]) {
    await alice.page.getByLabel(look).check();
    expect(await axe(alice.page)).toEqual([]);
  }
  await alice.page.getByLabel("Language").selectOption("ar");
  await expect.poll(() => alice.page.locator("html").getAttribute("dir")).toBe("rtl");
  expect(await axe(alice.page)).toEqual([]);
  await fits(alice.page);
  await alice.page.locator("select").first().selectOption("en");
});

test("narrow screens and large text: nothing is cut off sideways, on any view", async () => {
  for (const view of ["", "settings", "hand", "enrol", "devices", "first"]) {
    await bob.page.goto(`${proxy.url}/#/${view}`);
    await bob.page.getByRole("heading").first().waitFor();
    await fits(bob.page);
  }
});

test("where WebSockets are blocked, the page works all the same", async () => {
  const carol = await open(browser, "about:blank");
  await carol.page.routeWebSocket(/\/v1\/connect/, (ws) => ws.close({ code: 1011 }));
  const events = carol.page.waitForRequest(/\/v1\/events/);
  await carol.page.goto(server.url);
  await enrol(carol, server, numbers.carol, "Carol");
  await events;
  await alice.page.goto(`${server.url}/#/`);
  await report(carol, numbers.alice);
  await alice.page.getByRole("alertdialog").getByRole("button").last().click();
  await carol.page.getByRole("heading", { name: "Session with Alice" }).waitFor();
  await say(carol, "by another way");
  await log(alice).getByText("by another way").waitFor();
  await say(alice, "it arrived");
  await log(carol).getByText("it arrived").waitFor();
  expect(carol.faults).toEqual([]);
});

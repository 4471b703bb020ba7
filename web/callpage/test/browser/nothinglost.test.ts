import { createHash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Person } from "../../../sdk/test/support/person.ts";
import { TcpProxy } from "../../../sdk/test/support/proxy.ts";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { axe, enrol, fits, launch, open, report, type Watched, watch } from "../support/browser.ts";
import { png } from "../support/photo.ts";

// What the page promises of what is sent: nothing is lost, nothing comes twice, and each mark is true,
// whether the tab is closed, the network is lost or the server killed.

/** A photo that no one can compress: it takes several requests, and a while. */
const noise = randomBytes(2100 * 1500 * 3);
const picture = png(2100, 1500, (x, y) => {
  const at = (y * 2100 + x) * 3;
  return [...noise.subarray(at, at + 3)];
});
const digest = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser?.close());

const say = async ({ page }: Watched, text: string) => {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
};
const log = ({ page }: Watched) => page.getByRole("log");
/** What was said, in one's own log: with its mark. */
const entry = (who: Watched, text: string) =>
  log(who).locator("article", { has: who.page.getByText(text, { exact: true }) });
const count = (who: Watched, text: string) => log(who).getByText(text, { exact: true }).count();
const attach = ({ page }: Watched, name: string) =>
  page
    .locator("input[type=file]")
    .setInputFiles([{ name, mimeType: "image/png", buffer: picture }]);

/** Sends a photo, which stops half-way: the server has confirmed a part of it, and gets no more. */
async function stopInTheMiddle(who: Watched, proxy: TcpProxy, name: string): Promise<void> {
  proxy.uploadsPass = 6_000_000;
  await attach(who, name);
  const part = await who.page.waitForFunction(() =>
    Number(document.querySelector("[role=log] progress")?.getAttribute("value")),
  );
  expect(await part.jsonValue()).toBeLessThan(100);
}

/** The tab is closed, in the same browser: what it kept is there for the next. */
async function close(who: Watched): Promise<void> {
  await who.page.close();
}

async function reopen(who: Watched, url: string, faults: string[]): Promise<Watched> {
  const page = await who.page.context().newPage();
  watch(page, faults);
  await page.goto(url);
  return { page, faults };
}

/** That it has come, is what was sent, and has come once. */
async function isThereOnce(who: Watched, name: string): Promise<void> {
  const save = log(who).getByRole("button", { name: `Save: ${name}` });
  await save.waitFor({ timeout: 120_000 });
  const [download] = await Promise.all([who.page.waitForEvent("download"), save.click()]);
  expect(digest(await readFile(await download.path()))).toBe(digest(picture));
  expect(await save.count()).toBe(1);
}

describe.each([
  ["a WebSocket", false, "+442079460101", "+442079460102"],
  ["server-sent events", true, "+442079460103", "+442079460104"],
] as const)("over %s", (_, noWebSockets, alices, bobs) => {
  let server: TestServer;
  let proxy: TcpProxy;
  let alice: Watched;
  let bob: Watched;
  let url: string;

  beforeAll(async () => {
    server = await TestServer.start({ TANDEM_CALLS_INVITE_DELAY: "100ms" });
    proxy = await TcpProxy.to(server.port);
    proxy.noWebSockets = noWebSockets;
    url = proxy.url;
    alice = await open(browser, url);
    bob = await open(browser, url);
    await enrol(alice, server, alices, "Alice");
    await enrol(bob, server, bobs, "Bob");
    await report(alice, bobs);
    await bob.page.getByRole("alertdialog").getByRole("button", { name: "Open it" }).click();
    await alice.page.getByRole("heading", { name: "Session with Bob" }).waitFor();
    await bob.page.getByRole("heading", { name: "Session with Alice" }).waitFor();
    await alice.page.evaluate(() => navigator.serviceWorker.ready);
  });
  afterAll(async () => {
    await alice?.page.context().close();
    await bob?.page.context().close();
    await proxy?.close();
    await server?.remove();
  });

  test("a tab that is closed while it sends a photo goes on with it when it is opened again", async () => {
    await say(alice, "before the photo");
    await entry(alice, "before the photo").getByText("Seen").waitFor();
    await stopInTheMiddle(alice, proxy, "tab.png");
    await close(alice);
    expect(await log(bob).getByRole("button", { name: "Save: tab.png" }).count()).toBe(0);
    proxy.uploadsPass = Number.POSITIVE_INFINITY;
    alice = await reopen(alice, url, alice.faults);
    await isThereOnce(bob, "tab.png");
    await log(alice).getByRole("button", { name: "Save: tab.png" }).waitFor();
    await expect.poll(() => log(alice).locator("progress").count()).toBe(0);
    expect(await log(alice).getByRole("button", { name: "Save: tab.png" }).count()).toBe(1);
    expect(await log(alice).getByText("Not yet sent").count()).toBe(0);
    expect(await count(bob, "before the photo")).toBe(1);
    // A third visit has nothing left to send.
    await close(alice);
    alice = await reopen(alice, url, alice.faults);
    await log(alice).getByRole("button", { name: "Save: tab.png" }).waitFor();
    await say(alice, "third visit");
    await log(bob).getByText("third visit").waitFor();
    await entry(alice, "third visit").getByText("Seen").waitFor();
    expect(await log(bob).getByRole("button", { name: "Save: tab.png" }).count()).toBe(1);
    expect([...alice.faults, ...bob.faults]).toEqual([]);
  });

  test("a photo that its sender gives up is on its way no more", async () => {
    await stopInTheMiddle(alice, proxy, "never.png");
    const coming = log(bob).getByText(/never\.png is on its way/);
    await coming.waitFor();
    await log(alice).getByRole("button", { name: "Cancel" }).click();
    await coming.waitFor({ state: "detached", timeout: 30_000 }); // before it is forgotten by itself
    proxy.uploadsPass = Number.POSITIVE_INFINITY;
    await expect.poll(() => log(alice).getByText("never.png").count()).toBe(0);
    expect([...alice.faults, ...bob.faults]).toEqual([]);
  });

  test("a tab that is closed without a network says what waits when it is opened, and sends it", async () => {
    proxy.down = true;
    proxy.cut();
    await alice.page.getByText("Nothing is lost.").waitFor();
    await say(alice, "written in the tunnel");
    await entry(alice, "written in the tunnel").getByText("Not yet sent").waitFor();
    await attach(alice, "tunnel.png");
    await alice.page.getByText("2 things are not yet sent.").waitFor();
    await close(alice);
    alice = await reopen(alice, url, alice.faults);
    // Whatever it says instead is in the test's log.
    await expect
      .poll(() => alice.page.locator("body").textContent(), { timeout: 60_000 })
      .toContain("2 things are not yet sent.");
    expect(await axe(alice.page)).toEqual([]);
    proxy.down = false;
    await log(bob).getByText("written in the tunnel").waitFor();
    await isThereOnce(bob, "tunnel.png");
    await entry(alice, "written in the tunnel").getByText("Seen").waitFor();
    expect(await count(bob, "written in the tunnel")).toBe(1);
    expect(await count(alice, "written in the tunnel")).toBe(1);
    expect([...alice.faults, ...bob.faults]).toEqual([]);
  });

  test("a server that is killed and started again has lost nothing, and no mark has lied", async () => {
    await stopInTheMiddle(alice, proxy, "killed.png");
    const texts = Array.from({ length: 12 }, (_, i) => `under load ${i}`);
    for (const [i, text] of texts.entries()) {
      await say(alice, text);
      if (i === 6) {
        // On a machine that is busy the server may not have read the first one yet.
        await entry(alice, "under load 0")
          .getByText(/^(Sent|Seen)$/)
          .waitFor();
        await server.kill();
      }
    }
    await alice.page.getByText("Nothing is lost.").waitFor();
    await bob.page.getByText("Nothing is lost.").waitFor();
    // What the server never saw does not say that it was sent; the rest is known once it is back.
    await entry(alice, "under load 11").getByText("Not yet sent").waitFor();
    await say(bob, "said to nobody");
    await entry(bob, "said to nobody").getByText("Not yet sent").waitFor();
    const sent = [];
    for (const text of texts) {
      if (
        (await entry(alice, text)
          .getByText(/^(Sent|Seen)$/)
          .count()) > 0
      ) {
        sent.push(text);
      }
    }
    expect(sent.length).toBeGreaterThan(0);
    await close(bob); // nobody looks
    proxy.uploadsPass = Number.POSITIVE_INFINITY;
    await server.start();
    for (const text of texts) {
      await entry(alice, text)
        .getByText(/^(Sent|Seen)$/)
        .waitFor();
    }
    await alice.page.getByText("Nothing is lost.").waitFor({ state: "detached" });
    expect(await entry(alice, "under load 11").getByText("Seen").count()).toBe(0);
    bob = await reopen(bob, url, bob.faults);
    await log(bob).getByText("under load 11").waitFor();
    await entry(alice, "under load 11").getByText("Seen").waitFor();
    await log(alice).getByText("said to nobody").waitFor();
    await entry(bob, "said to nobody").getByText("Seen").waitFor();
    await isThereOnce(bob, "killed.png");
    const all = await log(bob)
      .getByText(/^under load \d+$/)
      .allTextContents();
    expect(all).toEqual(texts);
    expect(
      await log(alice)
        .getByText(/^under load \d+$/)
        .allTextContents(),
    ).toEqual(texts);
    expect(await count(alice, "said to nobody")).toBe(1);
    expect([...alice.faults, ...bob.faults]).toEqual([]);
  });

  test("a session that ended while the tab was closed can be read when it is opened again", async () => {
    await alice.page.getByRole("button", { name: "The call is over" }).click();
    await bob.page.getByText(/The session stays open for/).waitFor();
    proxy.down = true;
    proxy.cut();
    await alice.page.getByText("Nothing is lost.").waitFor();
    await say(alice, "too late");
    await entry(alice, "too late").getByText("Not yet sent").waitFor();
    await close(alice);
    proxy.down = false;
    await say(bob, "are you still there?");
    await entry(bob, "are you still there?").getByText("Sent").waitFor();
    await bob.page.getByRole("button", { name: "Leave" }).click();
    await bob.page.getByRole("dialog").getByRole("button", { name: "Leave" }).click();
    await bob.page.getByText("Closed").first().waitFor();
    alice = await reopen(alice, url, alice.faults);
    const link = alice.page.getByRole("link", { name: /Bob/ });
    await link.getByText("Closed").waitFor(); // the server has said so
    await link.click();
    await log(alice).getByText("are you still there?").waitFor();
    // Nor is it kept back what became of one's own words.
    await entry(alice, "too late")
      .getByText(/^Not sent/)
      .waitFor();
    expect(await count(alice, "third visit")).toBe(1);
    expect(await log(alice).getByText("under load 0").count()).toBe(1);
    expect([...alice.faults, ...bob.faults]).toEqual([]);
  });
});

test("a file waits as long as the network is away, however long that is", async () => {
  const server = await TestServer.start({ TANDEM_CALLS_INVITE_DELAY: "100ms" });
  const proxy = await TcpProxy.to(server.port);
  try {
    const alice = await open(browser, "about:blank");
    const bob = await open(browser, server.url);
    await alice.page.clock.install();
    await alice.page.goto(proxy.url);
    await enrol(alice, server, "+442079460105", "Alice");
    await enrol(bob, server, "+442079460106", "Bob");
    await report(alice, "+442079460106");
    await bob.page.getByRole("alertdialog").getByRole("button", { name: "Open it" }).click();
    await alice.page.getByRole("heading", { name: "Session with Bob" }).waitFor();
    let tried = 0;
    alice.page.on("requestfailed", (r) => {
      tried += r.url().includes("/v1/files/") ? 1 : 0;
    });
    proxy.down = true;
    proxy.cut();
    await attach(alice, "patient.png");
    // By the page's clock that is many minutes.
    await expect
      .poll(
        async () => {
          await alice.page.clock.runFor(10_000);
          return tried;
        },
        { timeout: 120_000, interval: 100 },
      )
      .toBeGreaterThan(40);
    await log(alice).getByText("Not yet sent").waitFor();
    proxy.down = false;
    await alice.page.clock.runFor(30_000);
    await isThereOnce(bob, "patient.png");
    expect([...alice.faults, ...bob.faults]).toEqual([]);
    await alice.page.context().close();
    await bob.page.context().close();
  } finally {
    await proxy.close();
    await server.remove();
  }
});

test("a network that swallows everything keeps no page from opening, nor a call from being told of later", async () => {
  const server = await TestServer.start();
  const proxy = await TcpProxy.to(server.port);
  try {
    let alice = await open(browser, proxy.url);
    await enrol(alice, server, "+442079460107", "Alice");
    await alice.page.evaluate(() => navigator.serviceWorker.ready);
    proxy.silent = true;
    proxy.cut();
    await alice.page.getByText("Nothing is lost.").waitFor();
    await report(alice, "+442079460108");
    const later = "There is no connection. As soon as it is back, the session is asked for.";
    await alice.page.getByText(later).waitFor();
    await close(alice);
    alice = await reopen(alice, proxy.url, alice.faults);
    await alice.page.getByText(later).waitFor({ timeout: 30_000 });
    proxy.silent = false;
    proxy.cut();
    await alice.page.getByText(later).waitFor({ state: "detached" });
    await alice.page
      .getByText("The session opens as soon as the other side says the same")
      .waitFor();
    expect(alice.faults).toEqual([]);
    await alice.page.context().close();
  } finally {
    await proxy.close();
    await server.remove();
  }
});

/** Alice, beyond a proxy, and Bob in a session. */
async function pair(alices: string, bobs: string) {
  const server = await TestServer.start({ TANDEM_CALLS_INVITE_DELAY: "100ms" });
  const proxy = await TcpProxy.to(server.port);
  const alice = await open(browser, proxy.url);
  const bob = await open(browser, server.url);
  await enrol(alice, server, alices, "Alice");
  await enrol(bob, server, bobs, "Bob");
  await report(alice, bobs);
  await bob.page.getByRole("alertdialog").getByRole("button", { name: "Open it" }).click();
  await alice.page.getByRole("heading", { name: "Session with Bob" }).waitFor();
  await bob.page.getByRole("heading", { name: "Session with Alice" }).waitFor();
  await alice.page.evaluate(() => navigator.serviceWorker.ready);
  const end = async () => {
    await alice.page.context().close();
    await bob.page.context().close();
    await proxy.close();
    await server.remove();
  };
  return { proxy, alice, bob, end };
}

test("a call that is said to be over without a network is over once there is one, also after a reload", async () => {
  const { proxy, alice, bob, end } = await pair("+442079460109", "+442079460113");
  try {
    proxy.down = true;
    proxy.cut();
    await alice.page.getByText("Nothing is lost.").waitFor();
    await alice.page.getByRole("button", { name: "The call is over" }).click();
    await alice.page.getByText("You said that you are on a call").waitFor({ state: "detached" });
    await alice.page.reload();
    await alice.page.getByText("Nothing is lost.").waitFor();
    expect(await alice.page.getByText("You said that you are on a call").count()).toBe(0);
    expect(await bob.page.getByText(/The session stays open for/).count()).toBe(0);
    proxy.down = false;
    await bob.page.getByText(/The session stays open for/).waitFor();
    await alice.page.getByText(/The session stays open for/).waitFor();
    expect([...alice.faults, ...bob.faults]).toEqual([]);
  } finally {
    await end();
  }
});

test("a browser that keeps nothing says so once, and does not say that nothing is lost", async () => {
  const { proxy, alice, bob, end } = await pair("+442079460114", "+442079460115");
  const { page } = alice;
  try {
    const notice = page
      .getByRole("status")
      .getByText(
        "This browser keeps nothing of this page. Leave it open until everything is sent.",
      );
    await page.evaluate(() => {
      const { put } = IDBObjectStore.prototype;
      const full = () => {
        throw new DOMException("no room", "QuotaExceededError");
      };
      IDBObjectStore.prototype.put = full;
      addEventListener("room", () => {
        IDBObjectStore.prototype.put = put;
      });
    });
    proxy.down = true;
    proxy.cut();
    await page.getByText("Nothing is lost.").waitFor();
    expect(await notice.count()).toBe(0);
    await say(alice, "kept by nobody");
    await notice.waitFor();
    await entry(alice, "kept by nobody").getByText("Not yet sent").waitFor();
    await page
      .getByText(/No connection since .*\. Leave this page open until everything is sent\./)
      .waitFor();
    expect(await page.getByText("Nothing is lost.").count()).toBe(0);
    expect(await axe(page)).toEqual([]);
    await fits(page);
    await page.locator(".notice").getByRole("button", { name: "Close" }).click();
    await say(alice, "nor this");
    await entry(alice, "nor this").getByText("Not yet sent").waitFor();
    expect(await notice.count()).toBe(0);
    // It does once there is room.
    await page.evaluate(() => dispatchEvent(new Event("room")));
    await say(alice, "kept again");
    await page.getByText("Nothing is lost.").waitFor();
    await page.reload();
    await page.getByText("3 things are not yet sent.").waitFor();
    proxy.down = false;
    await entry(alice, "kept again").getByText("Seen").waitFor();
    expect(
      await log(bob)
        .getByText(/kept by nobody|nor this|kept again/)
        .allTextContents(),
    ).toEqual(["kept by nobody", "nor this", "kept again"]);
    expect(alice.faults.filter((f) => !f.includes("no room"))).toEqual([]);
  } finally {
    await end();
  }
});

test("a browser without a database is a device as long as the page is open, and says so", async () => {
  const server = await TestServer.start();
  try {
    const alice = await open(browser, "about:blank");
    const { page } = alice;
    await page.addInitScript(() => {
      indexedDB.open = () => {
        throw new DOMException("storage is blocked", "SecurityError");
      };
    });
    await page.goto(server.url);
    await page.getByText("This browser keeps nothing of this page.").waitFor();
    await enrol(alice, server, "+442079460116", "Alice");
    expect(await axe(page)).toEqual([]);
    expect(alice.faults).toEqual([]);
    await page.context().close();
  } finally {
    await server.remove();
  }
});

test("what is asked stays over a break while it holds, and is gone after one in which it ended", async () => {
  const server = await TestServer.start({ TANDEM_CALLS_INVITE_DELAY: "100ms" });
  const proxy = await TcpProxy.to(server.port);
  const alice = await new Person("+442079460116").enrol(server);
  const bob = await open(browser, proxy.url);
  const call = (state: "active" | "ended") =>
    alice.device.report({ other: "+442079460117", state, direction: "outgoing" });
  try {
    await alice.start();
    await enrol(bob, server, "+442079460117", "Bob");
    await call("active");
    const asked = bob.page.getByRole("alertdialog");
    await asked.getByRole("button", { name: "Open it" }).waitFor();
    await bob.page.evaluate(() => {
      new MutationObserver(() => {
        if (!document.querySelector("[role=alertdialog]")) {
          document.body.dataset.gone = "yes";
        }
      }).observe(document.body, { childList: true, subtree: true });
    });
    proxy.cut();
    await bob.page.waitForTimeout(8_000);
    expect(await bob.page.evaluate(() => document.body.dataset.gone)).toBeUndefined();
    proxy.down = true;
    proxy.cut();
    await call("ended");
    proxy.down = false;
    await asked.waitFor({ state: "detached" });
    expect(bob.faults).toEqual([]);
  } finally {
    await alice.stop();
    await bob.page.context().close();
    await proxy.close();
    await server.remove();
  }
});

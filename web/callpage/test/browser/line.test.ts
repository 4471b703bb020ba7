import type { Browser, WebSocketRoute } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { launch, open, type Watched } from "../support/browser.ts";

let browser: Browser;
let server: TestServer;
let alice: Watched;
let bob: Watched;

/** Bob's SIP sockets; while he is away, none can be had. */
const sockets = new Set<WebSocketRoute>();
let away = false;
/** How often Bob's page has found that none can be had, and how often it has registered. */
let refused = 0;
let registered = 0;

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start();
  const page = (name: string) => `http://${name}.tandem.localhost:${server.port}/`;
  alice = await open(browser, page("alice"));
  bob = await open(browser, "about:blank");
  await bob.page.routeWebSocket(/\/sip$/, (near) => {
    if (away) {
      refused++;
      near.close({ code: 1011 });
      return;
    }
    const far = near.connectToServer();
    far.onMessage((message) => {
      near.send(message);
      registered += /^SIP\/2.0 200 .*^CSeq: \d+ REGISTER/ims.test(String(message)) ? 1 : 0;
    });
    sockets.add(near);
  });
  await bob.page.goto(page("bob"));
  await ready(alice, "Call Bob");
  await ready(bob, "Call Alice");
});
afterAll(async () => {
  await browser?.close();
  await server?.remove();
});

/** The page has its line, and nobody on it. */
function ready({ page }: Watched, name: string): Promise<void> {
  return page.locator("button:enabled", { hasText: name }).waitFor();
}

/** Bob's page loses its line, and knows. */
async function loseBob(): Promise<void> {
  away = true;
  refused = 0;
  for (const s of sockets) {
    sockets.delete(s);
    await s.close({ code: 1011 });
  }
  await expect.poll(() => refused, { timeout: 60_000 }).toBeGreaterThan(0);
}

async function regainBob(): Promise<void> {
  registered = 0;
  away = false;
  await expect.poll(() => registered, { timeout: 60_000 }).toBeGreaterThan(0);
}

const ringing = () => bob.page.getByRole("alertdialog", { name: "Alice is calling" });

/** Alice calls, and Bob answers. */
async function call(): Promise<void> {
  await ready(alice, "Call Bob");
  await ready(bob, "Call Alice");
  await alice.page.getByRole("button", { name: "Call Bob" }).click();
  await ringing().getByRole("button", { name: "Answer" }).click();
  await alice.page.getByText("In a call with Bob").waitFor();
  await bob.page.getByText("In a call with Alice").waitFor();
}

test("a call that rings where the line is lost rings no more, and the caller is told", async () => {
  await alice.page.getByRole("button", { name: "Call Bob" }).click();
  await ringing().waitFor();
  await loseBob();
  // Sooner than a telephone ends by itself what nobody answers.
  await ringing().waitFor({ state: "detached", timeout: 30_000 });
  await bob.page.getByText("The connection was lost").first().waitFor();
  // The element has seen the line end, and tells the caller.
  await ready(alice, "Call Bob");
  await regainBob();
  await ready(bob, "Call Alice");
  expect(await ringing().count()).toBe(0);
});

test("the line is regained: calls come again, and one that is answered outlasts a loss", async () => {
  await call();
  await loseBob();
  expect(await bob.page.getByText("In a call with Alice").count()).toBe(1);
  await regainBob();
  await bob.page.getByRole("button", { name: "Hang up" }).click();
  await alice.page.getByText("The call is over").first().waitFor();
});

test("a call whose other side hangs up while the line is lost ends too: its sound has", async () => {
  await call();
  await loseBob();
  await alice.page.getByRole("button", { name: "Hang up" }).click();
  await bob.page.getByText("The call is over").first().waitFor();
  expect(alice.faults).toEqual([]);
  expect(bob.faults).toEqual([]);
});

test("the telephone keeps its line when its password is renewed", async () => {
  const renewing = await TestServer.start({ TANDEM_SIP_PASSWORD_FOR: "1m" });
  try {
    const { page, faults } = await open(browser, "about:blank");
    await page.clock.install();
    let closed = 0;
    page.on("websocket", (socket) => {
      if (socket.url().endsWith("/sip")) {
        socket.on("close", () => {
          closed++;
        });
      }
    });
    await page.goto(`http://alice.tandem.localhost:${renewing.port}/`);
    const ready = page.locator("button:enabled", { hasText: "Call Bob" });
    await ready.waitFor();
    await page.clock.fastForward(60_000);
    // Another one registers; the connection of the one before it ends two seconds later.
    await expect.poll(() => closed, { timeout: 60_000 }).toBe(1);
    await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 500)));
    expect(await ready.count()).toBe(1);
    expect(faults).toEqual([]);
  } finally {
    await renewing.remove();
  }
});

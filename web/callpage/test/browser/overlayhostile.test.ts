import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { axe, enrol, fits, launch, open, type Watched } from "../support/browser.ts";
import { photo } from "../support/photo.ts";
import { PictureServer } from "../support/pictures.ts";
import { region, Shop } from "../support/shop.ts";

let browser: Browser;
let server: TestServer;
let pictures: PictureServer;
let alice: Watched;
let shop: Shop;
const numbers = { alice: "+442079460055", shop: "+442079460056", bob: "+442079460057" };

beforeAll(async () => {
  browser = await launch();
  pictures = await PictureServer.start();
  server = await TestServer.start({ TANDEM_CALLS_INVITE_DELAY: "1h", ...pictures.settings });
  shop = new Shop(numbers.shop);
  await shop.enrol(server);
  await shop.start();
  alice = await open(browser, server.url);
  await enrol(alice, server, numbers.alice, "Alice");
  await shop.meet(alice, numbers.alice);
});
afterAll(async () => {
  await shop?.stop();
  await browser?.close();
  await server?.remove();
  await pictures?.stop();
});
afterEach(() => expect(alice.faults).toEqual([]));

const layer = () => alice.page.getByRole("region", { name: `Screen of ${numbers.shop}` });
const dialog = () => alice.page.getByRole("dialog");
const choose = (value: string) => ({ actions: [{ type: "choose", value }] });
const cover = { x: 0, y: 0, width: 10_000, height: 10_000 };

test("a button inside a picture lies where the product is, and works", async () => {
  const seq = await shop.send([
    {
      id: "door",
      grid: { column: 0, row: 0, width: 4 },
      picture: { url: pictures.url("/door.png"), alt: { en: "A house with a red door" } },
    },
    {
      id: "buy",
      exact: { x: 4000, y: 4200, width: 2000, height: 4600 },
      inside: "door",
      text: { en: "Buy me" },
      ...choose("door"),
    },
  ]);
  expect((await shop.shown(seq)).state).toBe("shown");
  const img = layer().getByRole("img", { name: "A house with a red door" });
  await img.waitFor();
  const [outer, inner] = await Promise.all([
    img.boundingBox(),
    layer().getByRole("button", { name: "Buy me" }).boundingBox(),
  ]);
  const at = ((inner?.x ?? 0) - (outer?.x ?? 0)) / (outer?.width ?? 1);
  expect(at).toBeCloseTo(0.4, 1);
  expect(await axe(alice.page)).toEqual([]);
  await fits(alice.page);
  if (process.env.SHOT_DIR) {
    await alice.page.screenshot({ path: `${process.env.SHOT_DIR}/overlay-picture.png` });
  }
  await layer().getByRole("button", { name: "Buy me" }).click();
  expect(await shop.result(seq, "buy")).toMatchObject({ outcome: "done", value: "door" });
  // The provider sees the server, and never the customer.
  expect(pictures.asked.map((a) => a.agent.split("/")[0])).toEqual(["tandem"]);
});

test("a photo and a file arrive; an address for a text message is checked", async () => {
  const seq = await shop.send([
    region("Photo", 0, { actions: [{ type: "send_photo" }] }),
    region("File", 1, { actions: [{ type: "send_file" }] }),
    region("Ticket", 2, { actions: [{ type: "by_text", item: "ticket" }] }),
    region("Site", 3, { actions: [{ type: "open_page", url: "https://shop.invalid/menu" }] }),
  ]);
  await shop.shown(seq);
  const files = { photo: photo(60, 40), file: Buffer.from("a list") };
  for (const [of, mimeType] of [
    ["photo", "image/png"],
    ["file", "text/plain"],
  ] as const) {
    await layer()
      .getByRole("button", { name: new RegExp(of, "i") })
      .click();
    const file = { name: `${of}.x`, mimeType, buffer: files[of] };
    await dialog().locator("input[type=file]").setInputFiles(file);
    expect((await shop.result(seq, of)).outcome).toBe("done");
  }
  await shop.until("both", () => shop.messages.filter((m) => m.kind === "file").length === 2);

  await layer().getByRole("button", { name: "Ticket" }).click();
  const number = dialog().getByLabel("Your number, to get “ticket” by text message");
  expect(await number.inputValue()).toBe(numbers.alice);
  await number.fill("07700 900123");
  await dialog().getByRole("button", { name: "Send" }).click();
  await dialog().getByText("Write the number with its country code").waitFor();
  await number.fill("+44 7700 900123");
  await dialog().getByRole("button", { name: "Send" }).click();
  expect(await shop.result(seq, "ticket")).toMatchObject({ address: "+447700900123" });

  // A page opens in a tab of its own, which knows nothing of this one.
  await alice.page.context().route("https://shop.invalid/**", (route) =>
    route.fulfill({
      contentType: "text/html",
      body: "<script>document.title = String(opener) + document.referrer</script>",
    }),
  );
  await layer().getByRole("button", { name: "Site" }).click();
  const opened = alice.page.context().waitForEvent("page");
  await dialog().getByRole("link", { name: "Open" }).click();
  const other = await opened;
  await expect.poll(() => other.title()).toBe("null");
  expect((await shop.result(seq, "site")).outcome).toBe("done");
  await other.close();
});

test("without a card none is sent, and that is said; a number is called back, and hung up", async () => {
  const bob = await open(browser, server.url);
  await enrol(bob, server, numbers.bob, "Bob");
  const seq = await shop.send([
    region("Card", 0, { actions: [{ type: "send_contact" }] }),
    region("Call", 1, { actions: [{ type: "call_back", number: numbers.bob }] }),
  ]);
  await shop.shown(seq);
  await layer().getByRole("button", { name: "Card" }).click();
  await dialog().getByText("Your contact details are sent.").waitFor();
  await dialog().getByRole("button", { name: "Yes, go on" }).click();
  expect(await shop.result(seq, "card")).toMatchObject({
    outcome: "failed",
    reason: "nothing_to_send",
  });
  await layer().getByText("You have nothing set up to send").waitFor();

  await layer().getByRole("button", { name: "Call", exact: true }).click();
  await dialog().getByText(`${numbers.bob} is called.`).waitFor();
  await dialog().getByRole("button", { name: "Yes, go on" }).click();
  expect((await shop.result(seq, "call")).outcome).toBe("done");
  await bob.page.getByRole("button", { name: "Answer" }).waitFor();
  await layer().locator("header").getByRole("button", { name: "Hang up" }).click();
  await bob.page.getByRole("button", { name: "Answer" }).waitFor({ state: "detached" });
  expect(bob.faults).toEqual([]);
  await bob.page.close();
});

test("the server passes no hostile picture and no hostile address", async () => {
  const paths = ["/script.svg", "/page.png", "/huge.png", "/plain.png", "/inside.png", "/none"];
  const seq = await shop.send(
    paths.map((path, i) => ({
      id: `p${i}`,
      grid: { column: 0, row: i, width: 4 },
      picture: { url: pictures.url(path), alt: { en: `Instead of ${path}` } },
    })),
  );
  await shop.shown(seq);
  await expect.poll(() => new Set(pictures.asked.map((a) => a.path)).size).toBe(1 + paths.length);
  for (const path of paths) {
    await layer().getByText(`Instead of ${path}`).waitFor();
  }
  expect(await layer().locator("img, svg script, script").count()).toBe(0);

  for (const url of [
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "http://shop.example/",
    "https://bank.example@evil.example/",
    "https://evil.example\\@bank.example/",
    "https://b\u0430nk.example/",
  ]) {
    const link = region("Link", 0, { actions: [{ type: "open_page", url }] });
    await expect(shop.send([link]), url).rejects.toThrow(/https address/);
    const picture = { ...region("Picture", 0, {}), picture: { url, alt: { en: "x" } } };
    await expect(shop.send([picture]), url).rejects.toThrow(/https address/);
  }
  for (const [what, text] of [
    ["a text that turns", "pay \u202eEUR 01"],
    ["a text that is too long", "x".repeat(501)],
  ]) {
    await expect(
      shop.send([{ ...region("r", 0, {}), text: { en: text } }]),
      what,
    ).rejects.toThrow();
  }
  const many = Array.from({ length: 65 }, (_, i) => region(`r${i}`, i % 60, {}));
  await expect(shop.send(many)).rejects.toThrow();
});

test("nothing covers the page's own controls, whatever it looks like", async () => {
  const seq = await shop.send([
    { id: "all", exact: cover, text: { en: "Put away" }, ...choose("away") },
    {
      id: "end",
      exact: { x: 8000, y: 0, width: 2000, height: 900 },
      text: { en: "Hang up" },
      ...choose("end"),
    },
  ]);
  await shop.shown(seq);
  const own = layer().locator("header").getByRole("button", { name: "Put away" });
  const hit = await own.evaluate((button) => {
    const { x, y, width, height } = button.getBoundingClientRect();
    const points = [0.1, 0.5, 0.9].map((at) => [x + width * at, y + height / 2] as const);
    return points.every(([px, py]) => button.contains(document.elementFromPoint(px, py)));
  });
  expect(hit).toBe(true);
  // Who it is from stands there too, in the page's words and not in the provider's.
  await layer().locator("header").getByText(numbers.shop).waitFor();
  await own.click();
  await layer().waitFor({ state: "detached" });
});

test("no touch that was meant for something else presses a button or says yes", async () => {
  const { page } = alice;
  const seen = page.evaluate(
    () =>
      new Promise<boolean[]>((resolve) => {
        const says: boolean[] = [];
        const reaches = (button: Element) => {
          const { x, y, width, height } = button.getBoundingClientRect();
          return button.contains(document.elementFromPoint(x + width / 2, y + height / 2));
        };
        const first = (selector: string, text: string, then: () => void) => {
          const look = () => {
            const all = [...document.querySelectorAll(selector)];
            const found = all.find((e) => e.textContent?.includes(text));
            if (found) {
              watching.disconnect();
              says.push(reaches(found));
              then();
            }
          };
          const watching = new MutationObserver(look);
          watching.observe(document.body, { subtree: true, childList: true, attributes: true });
          look();
        };
        first(".layer button", "Trap", () =>
          first("dialog[open] button", "Yes, go on", () => resolve(says)),
        );
      }),
  );
  const seq = await shop.send([
    { id: "trap", exact: cover, text: { en: "Trap" }, actions: [{ type: "message", value: "I" }] },
  ]);
  await shop.shown(seq);
  // Playwright waits until the button can be touched; a user's finger need not.
  await layer().getByRole("button", { name: "Trap" }).click();
  expect(await seen).toEqual([false, false]);
  await dialog().getByRole("button", { name: "Cancel" }).click();
  expect(await shop.result(seq, "trap")).toMatchObject({ outcome: "cancelled" });
  expect(shop.texts()).not.toContain("I");
});

test("what reaches the page past the server's check is not drawn, and that is said", async () => {
  // Somebody who has the server's key to the wire: overlays become hostile on their way.
  await alice.page.routeWebSocket(/.*/, (ws) => {
    const up = ws.connectToServer();
    up.onMessage((m) => ws.send(String(m).replaceAll("https://good.example/", "javascript:x//")));
  });
  await alice.page.reload();
  await alice.page.getByRole("heading", { name: `Session with ${numbers.shop}` }).waitFor();
  const seq = await shop.send(
    [region("Go", 0, { actions: [{ type: "open_page", url: "https://good.example/" }] })],
    { id: "other" },
  );
  expect(await shop.shown(seq)).toMatchObject({ state: "failed", reason: "not_valid" });
  expect(await alice.page.getByRole("button", { name: "Go", exact: true }).count()).toBe(0);
});

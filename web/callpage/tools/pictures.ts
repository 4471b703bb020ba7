// Takes the pictures of docs/callpage.md: each main view, in the light and in the dark.
// `npm run pictures -w callpage` after `make build`; TANDEM_BIN names the server.
// With PICTURES_REVIEW=DIR, DIR gets every view in every size that is to be looked at, too.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Browser, Frame, FrameLocator, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../sdk/test/support/server.ts";
import { enrol, launch, open, report, type Watched } from "../test/support/browser.ts";
import { photo } from "../test/support/photo.ts";

const docs = fileURLToPath(new URL("../../../docs/pictures/", import.meta.url));
const review = process.env.PICTURES_REVIEW;
const numbers = { alice: "+442079460091", bob: "+442079460092" };

/** Where a view is looked at; text is the size of the letters, in percent of what is usual. */
const sizes = {
  phone: { width: 390, height: 844, text: 100, dir: "ltr" },
  narrow: { width: 320, height: 640, text: 200, dir: "ltr" },
  turned: { width: 390, height: 844, text: 100, dir: "rtl" },
  desktop: { width: 1280, height: 800, text: 100, dir: "ltr" },
  tv: { width: 1920, height: 1080, text: 100, dir: "ltr" },
};

let browser: Browser;
let server: TestServer;

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start({ TANDEM_CALLS_INVITE_DELAY: "100ms" });
  if (review) {
    await mkdir(review, { recursive: true });
  }
});
afterAll(async () => {
  await browser?.close();
  await server?.remove();
});

/** Waits until nothing moves any more, and every picture and typeface is there. */
async function still(target: Page | Frame): Promise<void> {
  await target.evaluate(async () => {
    await document.fonts.ready;
    // Those beyond the edge of the screen may never be loaded.
    const seen = [...document.images].filter((i) => i.getBoundingClientRect().top < innerHeight);
    await Promise.race([
      Promise.allSettled(seen.map((i) => i.decode())),
      new Promise((resolve) => setTimeout(resolve, 3_000)),
    ]);
    const moving = document
      .getAnimations()
      .filter((a) => a.effect?.getComputedTiming().iterations !== Number.POSITIVE_INFINITY);
    await Promise.race([
      Promise.allSettled(moving.map((a) => a.finished)),
      new Promise((resolve) => setTimeout(resolve, 3_000)),
    ]);
  });
}

async function shoot(page: Page, path: string, whole: boolean): Promise<void> {
  for (const f of page.frames()) {
    await still(f);
  }
  await page.screenshot({ path, fullPage: whole });
}

interface Shot {
  width: number;
  height: number;
  /** The whole view, also what one has to scroll to. */
  whole?: boolean;
  /** It does not last long enough to be taken in every size. */
  brief?: boolean;
}

/** Takes a view's pictures. */
async function take(
  page: Page,
  name: string,
  { width, height, whole = false, brief = false }: Shot,
) {
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height });
    await shoot(page, join(docs, `callpage-${name}-${colorScheme}.png`), whole);
  }
  await page.emulateMedia({ colorScheme: "light" });
  for (const [size, { text, dir, ...viewport }] of Object.entries(review && !brief ? sizes : {})) {
    await page.setViewportSize(viewport);
    for (const f of page.frames()) {
      await f.evaluate(
        ([text, dir]) => {
          document.documentElement.dir = dir;
          document.documentElement.style.fontSize = text === 100 ? "" : `${text}%`;
        },
        [text, dir] as const,
      );
    }
    await shoot(page, join(review ?? "", `${name}-${size}.png`), false);
    for (const f of page.frames()) {
      await f.evaluate(() => {
        document.documentElement.dir = "ltr";
        document.documentElement.removeAttribute("style");
      });
    }
  }
  await page.setViewportSize({ width, height });
}

const button = (at: Page | FrameLocator, name: string) =>
  at.getByRole("button", { name, exact: true });

test("two phones on one screen", async () => {
  const wide = { width: 1200, height: 780 };
  // The trial's phones get codes too, of another server.
  const trial = await TestServer.start();
  const { page, faults } = await open(browser, trial.url, { viewport: wide });
  await page.getByRole("link", { name: "Try it" }).waitFor();
  await take(page, "first", wide);
  await page.getByRole("link", { name: "Try it" }).click();
  const alice = page.frameLocator("iframe >> nth=0");
  const bob = page.frameLocator("iframe >> nth=1");
  await button(alice, "Call Bob").waitFor();
  await button(bob, "Call Alice").waitFor();
  await take(page, "try", wide);

  await button(alice, "Call Bob").click();
  await bob.getByRole("alertdialog", { name: "Alice is calling" }).waitFor();
  await take(page, "ringing", { ...wide, brief: true });

  await button(bob, "Answer").click();
  await bob.getByRole("heading", { name: "Session with Alice" }).waitFor();
  await alice.getByRole("heading", { name: "Session with Bob" }).waitFor();
  await say(alice, "Is this the door you mean?");
  await alice
    .locator("input[type=file]")
    .setInputFiles([{ name: "red-door.png", mimeType: "image/png", buffer: photo(1200, 800) }]);
  await bob.getByRole("button", { name: "Show red-door.png large" }).locator("img").waitFor();
  await say(bob, "Yes, the red one");
  await alice.getByText("Yes, the red one").waitFor();
  await alice.getByText("Seen").first().waitFor();
  await take(page, "call", wide);
  expect(faults).toEqual([]);
  await page.context().close();
  await trial.remove();
});

async function say(at: Page | FrameLocator, text: string): Promise<void> {
  await at.getByLabel("Message", { exact: true }).fill(text);
  await at.getByLabel("Message", { exact: true }).press("Enter");
}

let phone: Watched;
let bob: Watched;

test("a device of one's own", async () => {
  phone = await open(browser, server.url);
  bob = await open(browser, server.url);
  await enrol(bob, server, numbers.bob, "Bob");
  await phone.page.goto(`${server.url}/#/enrol`);
  await phone.page.getByLabel("Telephone number").fill(numbers.alice);
  await phone.page.getByLabel("Your name").fill("Alice");
  await take(phone.page, "enrol", { width: 480, height: 620 });
  await phone.page.goto(`${server.url}/#/`);
  await enrol(phone, server, numbers.alice, "Alice");
  await take(phone.page, "home", { width: 480, height: 620 });
  await phone.page.getByRole("link", { name: "I’m on a call with…" }).click();
  await phone.page.getByLabel("Their number").fill(numbers.bob);
  await take(phone.page, "hand", { width: 480, height: 620 });
  await phone.page.getByRole("link", { name: "Back" }).click();
  await phone.page.getByRole("link", { name: "Settings" }).click();
  await phone.page.getByRole("heading", { name: "Settings" }).waitFor();
  await take(phone.page, "settings", { width: 480, height: 780, whole: true });
});

let tv: Watched;

test("a screen beside the phone", async () => {
  tv = await open(browser, `${server.url}/#/couple`, { viewport: { width: 560, height: 1060 } });
  const code = tv.page.getByRole("img", { name: "QR code for the phone" });
  await code.waitFor();
  await take(tv.page, "couple", { width: 560, height: 1060 });
  const digits = await tv.page.getByText(/^\d{3}-\d{3}-\d{3}$/).textContent();
  await phone.page.goto(`${server.url}/#/devices/${digits}`);
  await button(phone.page, "Next").click();
  await phone.page.getByText("Is this code on the screen of").waitFor();
  await take(phone.page, "devices", { width: 420, height: 900 });
  await button(phone.page, "Couple").click();
  await tv.page.getByRole("heading", { name: /^Waiting for a call/ }).waitFor();
  await take(tv.page, "waiting", { width: 1280, height: 720 });
});

test("a session between two devices, and on the screen", async () => {
  await phone.page.goto(`${server.url}/#/`);
  await button(phone.page, "Close").first().click();
  await report(phone, numbers.bob);
  await button(bob.page, "Open it").waitFor();
  await take(bob.page, "invited", { width: 480, height: 620 });
  await button(bob.page, "Open it").click();
  await tv.page.getByRole("heading", { name: "Session with Bob", exact: true }).waitFor();
  await say(phone.page, "This is the house");
  await bob.page
    .locator("input[type=file]")
    .setInputFiles([{ name: "red-door.png", mimeType: "image/png", buffer: photo(1200, 800) }]);
  await tv.page.getByRole("img", { name: "red-door.png" }).first().waitFor();
  await say(bob.page, "And that is its door");
  await tv.page.getByText("And that is its door").waitFor();
  await take(tv.page, "screen", { width: 1280, height: 720 });
  await take(phone.page, "session", { width: 480, height: 780 });
  await button(phone.page, "The call is over").click();
  await button(bob.page, "The call is over")
    .or(bob.page.getByText("The session stays"))
    .first()
    .waitFor();
  await phone.page.getByText(/The session stays open for/).waitFor();
  await take(phone.page, "after", { width: 1200, height: 780 });
  await button(phone.page, "Leave").click();
  await phone.page.getByRole("dialog").waitFor();
  await take(phone.page, "leave", { width: 480, height: 620 });
  for (const w of [phone, bob, tv]) {
    expect(w.faults).toEqual([]);
  }
});

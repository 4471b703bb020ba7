import jsQR from "jsqr";
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { axe, enrol, fits, launch, open, report, type Watched } from "../support/browser.ts";
import { photo } from "../support/photo.ts";

let browser: Browser;
let server: TestServer;
let phone: Watched;
let bob: Watched;
let tv: Watched;
let tablet: Watched;
const numbers = { alice: "+442079460061", bob: "+442079460062", carol: "+442079460063" };

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start({ TANDEM_CALLS_INVITE_DELAY: "100ms" });
});
afterAll(async () => {
  await browser?.close();
  await server?.remove();
});
afterEach(() => {
  expect([phone, bob, tv, tablet].flatMap((w) => w?.faults ?? [])).toEqual([]);
});

/** What a camera reads in the QR code that a page shows, by a decoder that is not ours. */
async function scan({ page }: Watched, name: string): Promise<string> {
  const code = page.getByRole("img", { name });
  await code.waitFor();
  const { size, path } = await code.evaluate((svg) => ({
    size: (svg as SVGSVGElement).viewBox.baseVal.width,
    path: svg.querySelector("path")?.getAttribute("d") ?? "",
  }));
  const scale = 4;
  const width = size * scale;
  const pixels = new Uint8ClampedArray(width * width * 4).fill(255);
  for (const [, x, y] of path.matchAll(/M(\d+) (\d+)h1v1h-1z/g)) {
    for (let i = 0; i < scale * scale; i++) {
      const at =
        (Number(y) * scale + Math.floor(i / scale)) * width + Number(x) * scale + (i % scale);
      pixels.set([0, 0, 0], at * 4);
    }
  }
  return jsQR(pixels, width, width)?.data ?? "unreadable";
}

test("a television shows a QR code, which the phone's camera reads", async () => {
  phone = await open(browser, server.url);
  await enrol(phone, server, numbers.alice, "Alice");
  tv = await open(browser, server.url, { viewport: { width: 1920, height: 1080 } });
  await tv.page.getByRole("link", { name: "Show a phone’s sessions on this screen" }).click();
  const link = await scan(tv, "QR code for the phone");
  expect(link).toMatch(new RegExp(`^${server.url}/#/devices/\\d{3}-\\d{3}-\\d{3}$`));
  expect(await axe(tv.page)).toEqual([]);
  await fits(tv.page);

  await phone.page.goto(link);
  await phone.page.getByRole("button", { name: "Next" }).click();
  await phone.page.getByText("Is this code on the screen of “Screen”").waitFor();
  expect(await axe(phone.page)).toEqual([]);
  await phone.page.getByRole("button", { name: "Couple", exact: true }).click();
  await phone.page.getByText("“Screen” shows the sessions of your calls now.").waitFor();
  await tv.page.getByRole("heading", { name: `Waiting for a call of ${numbers.alice}` }).waitFor();
  await phone.page.getByText(`coupled with ${numbers.alice}`).waitFor();
  expect(await axe(tv.page)).toEqual([]);
  expect(await axe(phone.page)).toEqual([]);
  await fits(phone.page);
  await fits(tv.page);
});

test("the phone shows a code, which is typed at a tablet", async () => {
  await phone.page.getByRole("button", { name: "Show a code to type there" }).click();
  const link = await scan(phone, "QR code for the other device");
  expect(link).toMatch(new RegExp(`^${server.url}/#/couple/[A-Z]{4}-?[A-Z]{4}$`));
  tablet = await open(browser, `${server.url}/#/couple`, {
    viewport: { width: 800, height: 1100 },
  });
  await tablet.page.getByLabel("Name of this device").fill("Tablet");
  await tablet.page.getByRole("button", { name: "Save" }).click();
  const letters = tablet.page.getByLabel("The phone shows letters?");
  const couple = tablet.page.getByRole("button", { name: "Couple", exact: true });
  await letters.fill("BCDF-GHJK");
  await couple.click();
  await tablet.page.getByRole("alert").waitFor();
  expect(await axe(tablet.page)).toEqual([]);
  await letters.fill(link.split("/").at(-1) ?? "");
  await couple.click();
  await tablet.page.getByRole("heading", { name: "Waiting for a call" }).waitFor();
  // It is to be told only.
  await phone.page.getByLabel("When a session opens: Tablet").selectOption("told");
});

test("the television shows the phone's session, large", async () => {
  bob = await open(browser, server.url);
  await enrol(bob, server, numbers.bob, "Bob");
  await phone.page.goto(`${server.url}/#/`);
  await phone.page.getByRole("button", { name: "Close" }).first().click();
  await report(phone, numbers.bob);
  await bob.page.getByRole("button", { name: "Open it" }).click();
  for (const w of [phone, tv]) {
    await w.page.getByRole("heading", { name: "Session with Bob", exact: true }).waitFor();
  }
  // One party, however many devices it has there.
  await bob.page.getByRole("heading", { name: /^Session with \w+$/ }).waitFor();
  await bob.page
    .locator("input[type=file]")
    .setInputFiles([{ name: "door.png", mimeType: "image/png", buffer: photo(1200, 800) }]);
  const stage = tv.page.getByRole("region", { name: "What was shown last" });
  const shown = stage.getByRole("img", { name: "door.png" });
  await shown.waitFor();
  const box = await shown.boundingBox();
  expect(box?.width).toBeGreaterThan(1000);
  // In the narrow column beside it, the photo stays within what it was said in.
  const card = tv.page.getByRole("article").filter({ hasText: "door.png" });
  const [outer, inner] = [await card.boundingBox(), await card.locator("img").boundingBox()];
  expect((inner?.x ?? 0) + (inner?.width ?? 0)).toBeLessThanOrEqual(
    (outer?.x ?? 0) + (outer?.width ?? 0),
  );
  expect(await axe(tv.page)).toEqual([]);
  await bob.page
    .locator("input[type=file]")
    .setInputFiles([{ name: "window.png", mimeType: "image/png", buffer: photo(600, 800) }]);
  await stage.getByRole("img", { name: "window.png" }).waitFor();
  await stage.getByRole("button", { name: "Show the one before" }).click();
  await shown.waitFor();
  await tv.page.getByLabel("Message", { exact: true }).fill("we all see it, from the sofa");
  await tv.page.keyboard.press("Enter");
  for (const w of [phone, bob]) {
    await w.page.getByRole("log").getByText("we all see it, from the sofa").waitFor();
  }
  // The map has the stage where there is one; beside it, or below it, one sees the newest and can write.
  await tv.page.getByRole("button", { name: "Places" }).click();
  await tv.page.getByRole("dialog").getByRole("button", { name: "Map" }).click();
  const map = tv.page.getByRole("region", { name: "Map", exact: true }).first(); // the picture in it is one, too
  await map.getByRole("button", { name: "Close the map" }).waitFor();
  for (const [width, height] of [
    [1920, 1080],
    [1024, 768],
    [900, 768],
  ] as const) {
    await tv.page.setViewportSize({ width, height });
    await expect.poll(async () => ((await map.boundingBox())?.width ?? 0) > width / 2).toBe(true);
    for (const it of [
      tv.page.getByLabel("Message", { exact: true }),
      tv.page.getByText("we all see it, from the sofa"),
    ]) {
      await expect
        .poll(async () => {
          const at = await it.boundingBox();
          return at && at.y > 0 && at.y + at.height <= height;
        })
        .toBe(true);
    }
  }
  await map.getByRole("button", { name: "Close the map" }).click();
  await tv.page.setViewportSize({ width: 1920, height: 1080 });
  await shown.waitFor();
  await fits(tv.page);
  await fits(bob.page);
});

test("a device that is told only is asked, and joins", async () => {
  await tablet.page.getByText(`A session with ${numbers.bob} is open`).waitFor();
  expect(await axe(tablet.page)).toEqual([]);
  await tablet.page.getByRole("button", { name: "Show it here" }).click();
  await tablet.page.getByRole("heading", { name: "Session with Bob", exact: true }).waitFor();
  await tablet.page.getByRole("log").getByText("we all see it, from the sofa").waitFor();
});

// B15
test("at a coupled device, one asks for the session oneself", async () => {
  const carol = await open(browser, server.url);
  await enrol(carol, server, numbers.carol, "Carol");
  await phone.page.getByRole("button", { name: "The call is over" }).click();
  await phone.page.getByRole("button", { name: "Leave" }).click();
  await phone.page.getByRole("dialog").getByRole("button", { name: "Leave" }).click();
  await tv.page.getByRole("heading", { name: "Waiting for a call" }).waitFor();
  await tv.page.getByRole("button", { name: "Ask for the session of my call" }).click();
  await tv.page.getByText("Say whom you are speaking to.").waitFor();
  expect(await axe(tv.page)).toEqual([]);
  await tv.page.getByLabel("Their number").fill(numbers.carol);
  await tv.page.getByRole("button", { name: "Ask for the session of my call" }).click();
  await carol.page.getByRole("button", { name: "Open it" }).click();
  await tv.page.getByRole("heading", { name: "Session with Carol", exact: true }).waitFor();
  expect(carol.faults).toEqual([]);
});

test("the phone ends the coupling, and the television shows no more", async () => {
  await phone.page.goto(`${server.url}/#/devices`);
  await phone.page.getByRole("button", { name: "End the coupling of Screen" }).click();
  await tv.page.getByRole("heading", { name: "This device is no longer known" }).waitFor();
  expect(await axe(tv.page)).toEqual([]);
  await tv.page.getByRole("button", { name: "Set it up again" }).click();
  await tv.page.getByRole("link", { name: "Show a phone’s sessions on this screen" }).waitFor();
});

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { axe, enrol, launch, open, report, type Watched } from "../support/browser.ts";
import { photo } from "../support/photo.ts";

let browser: Browser;
let server: TestServer;
let alice: Watched;
let bob: Watched;
let link: string;
const numbers = { alice: "+442079460051", bob: "+442079460052", carol: "+442079460053" };

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start({
    TANDEM_TEXTS_ENABLED: "true",
    TANDEM_CALLS_INVITE_DELAY: "100ms",
  });
});
afterAll(async () => {
  await browser?.close();
  await server?.remove();
});

const say = async ({ page }: Watched, text: string) => {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
};
const log = ({ page }: Watched) => page.getByRole("log");
const linkFor = async (number: string) =>
  (await server.said(new RegExp(`text message to \\${number}: .*(http\\S+/g/psh_\\w+)`)))[1] ?? "";

// D4: a party with no client gets a link by text message, and is in the session as a guest.
test("a link opened during the call leads into the session", async () => {
  alice = await open(browser, server.url);
  await enrol(alice, server, numbers.alice, "Alice");
  await report(alice, numbers.bob);
  link = await linkFor(numbers.bob);
  const opened = performance.now();
  bob = await open(browser, link);
  await bob.page.getByRole("heading", { name: `Open a session with ${numbers.alice}?` }).waitFor();
  expect(await axe(bob.page)).toEqual([]);
  await bob.page.getByLabel("Your name").fill("Bob");
  await bob.page.getByRole("button", { name: "Open it" }).click();
  await bob.page.getByRole("heading", { name: "Session with Alice" }).waitFor();
  await alice.page.getByRole("heading", { name: "Session with Bob" }).waitFor();
  // Seconds, also on a slow machine; most of it is Chromium's start.
  expect(performance.now() - opened).toBeLessThan(60_000);
});

test("chat and photos pass both ways", async () => {
  await say(alice, "can you see the door?");
  await log(bob).getByText("can you see the door?").waitFor();
  await say(bob, "I can");
  await log(alice).getByText("I can").waitFor();
  for (const [from, to, name] of [
    [alice, bob, "door.png"],
    [bob, alice, "mine.png"],
  ] as const) {
    await from.page
      .locator("input[type=file]")
      .setInputFiles([{ name, mimeType: "image/png", buffer: photo(320, 240) }]);
    await log(to)
      .getByRole("button", { name: `Show ${name} large` })
      .locator("img")
      .waitFor();
  }
});

test("the link serves once: to others it is dead", async () => {
  const mallory = await open(browser, link);
  await mallory.page.getByText("The call, or its invitation, is over.").waitFor();
  expect(await axe(mallory.page)).toEqual([]);
  expect(mallory.faults).toEqual([]);
  await mallory.page.context().close();
  // The guest itself comes back by it.
  await bob.page.goto(link);
  await log(bob).getByText("can you see the door?").waitFor();
});

test("the guest is offered to stay; the device confirms it, and goes on in the session", async () => {
  await bob.page.getByRole("link", { name: "Keep Tandem on this device" }).click();
  await bob.page.getByLabel("Telephone number").fill(numbers.bob);
  await bob.page.getByRole("button", { name: "Send the code" }).click();
  await bob.page.getByLabel("Code").fill(await server.code());
  await bob.page.getByRole("button", { name: "Confirm" }).click();
  await say(bob, "now with a device of my own");
  await log(alice).getByText("now with a device of my own").waitFor();
  await expect.poll(() => server.log).toContain("installed by way of a link");
  expect(await bob.page.getByRole("link", { name: "Keep Tandem on this device" }).count()).toBe(0);
  expect(await axe(bob.page)).toEqual([]);
});

test("after the call, a link that was not opened is dead", async () => {
  await alice.page.getByRole("button", { name: "The call is over" }).click();
  await alice.page.getByText(/The session stays open for/).waitFor();
  await alice.page.getByRole("button", { name: "Leave" }).click();
  await alice.page.getByRole("dialog").getByRole("button", { name: "Leave" }).click();
  await report(alice, numbers.carol);
  const late = await linkFor(numbers.carol);
  const carol = await open(browser, late);
  await carol.page.getByLabel("Your name").waitFor();
  await alice.page.getByRole("button", { name: "The call is over" }).click();
  // Also for a page that was opened in time, and answers too late.
  await carol.page.waitForFunction(
    async (id) => (await (await fetch(`/v1/pushes/${id}`)).json()).withdrawn,
    late.split("/").at(-1),
  );
  await carol.page.getByRole("button", { name: "Open it" }).click();
  await carol.page.getByText("The call, or its invitation, is over.").waitFor();
  await carol.page.reload();
  await carol.page.getByText("The call, or its invitation, is over.").waitFor();
  expect(carol.faults).toEqual([]);
  expect(bob.faults).toEqual([]);
  expect(alice.faults).toEqual([]);
});

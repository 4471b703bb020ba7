import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { axe, enrol, fits, launch, open, report, type Watched } from "../support/browser.ts";

let browser: Browser;
let server: TestServer;
let alice: Watched;
let bob: Watched;
const numbers = { alice: "+442079460081", bob: "+442079460082" };

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start();
});
afterAll(async () => {
  await browser?.close();
  await server?.remove();
});

/** An element of the network reports Bob's leg, of which it does not know where it leads. */
async function withheld(key: string, state: "active" | "ended"): Promise<void> {
  const res = await fetch(`${server.url}/v1/reports`, {
    method: "POST",
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
    body: JSON.stringify({
      own: numbers.bob,
      direction: "incoming",
      state,
      ref: { call_id: "x1" },
    }),
  });
  expect(res.ok, await res.text()).toBe(true);
}

// A10: one side's number is withheld; two words, read aloud and typed, show that the two speak.
test("two words are read on one page and typed on the other", async () => {
  alice = await open(browser, server.url);
  bob = await open(browser, server.url);
  await enrol(alice, server, numbers.alice, "Alice");
  await enrol(bob, server, numbers.bob, "Bob");
  const [key = ""] = (
    await server.command("token", "create", "--role", "element", "--name", "proxy", "--for", "+44")
  ).split("\n");
  await withheld(key, "active");
  await report(alice, numbers.bob);

  const reader = bob.page.getByRole("alertdialog");
  await reader.getByRole("heading", { name: "Are you on the phone with somebody now?" }).waitFor();
  expect(await axe(bob.page)).toEqual([]);
  // Until Bob is ready to read, Alice sees nothing of it.
  expect(await alice.page.getByRole("alertdialog").count()).toBe(0);
  await reader.getByRole("button", { name: "Show me the words" }).click();
  await reader.getByRole("heading", { name: "Read these two words aloud" }).waitFor();
  const words = (await reader.locator("[lang=en]").textContent()) ?? "";
  expect(words).toMatch(/^\w+ \w+$/);
  expect(await axe(bob.page)).toEqual([]);
  await fits(bob.page);

  const typist = alice.page.getByRole("alertdialog");
  await typist.getByRole("heading", { name: "Which two words do you hear?" }).waitFor();
  expect(await axe(alice.page)).toEqual([]);
  await fits(alice.page);
  await typist.getByLabel("Two words").fill("something else");
  await typist.getByRole("button", { name: "Confirm" }).click();
  await typist.getByRole("alert").waitFor();
  expect(await axe(alice.page)).toEqual([]);
  await typist.getByLabel("Two words").fill(words);
  await typist.getByRole("button", { name: "Confirm" }).click();
  await alice.page.getByRole("heading", { name: "Session with Bob" }).waitFor();
  await bob.page.getByRole("heading", { name: /^Session/ }).waitFor();
  for (const w of [alice, bob]) {
    await w.page.getByRole("alertdialog").waitFor({ state: "detached" });
  }
});

test("the questions before leaving, and before removing the device", async () => {
  await alice.page.getByRole("button", { name: "Leave" }).click();
  await alice.page.getByRole("dialog").getByLabel("Also block this person").waitFor();
  expect(await axe(alice.page)).toEqual([]);
  await fits(alice.page);
  await alice.page.keyboard.press("Escape");
  await alice.page.goto(`${server.url}/#/settings`);
  await alice.page.getByRole("button", { name: "Remove this device" }).click();
  await alice.page.getByRole("dialog").waitFor();
  expect(await axe(alice.page)).toEqual([]);
  await alice.page.getByRole("dialog").getByRole("button", { name: "Remove this device" }).click();
  await alice.page.getByRole("link", { name: "Use this device" }).waitFor();
  expect([...alice.faults, ...bob.faults]).toEqual([]);
});

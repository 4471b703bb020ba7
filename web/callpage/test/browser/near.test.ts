import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { axe, enrol, fits, launch, open, report, type Watched } from "../support/browser.ts";

let browser: Browser;
let server: TestServer;
let phone: Watched;
let bob: Watched;
let tv: Watched;
const numbers = { alice: "+442079460111", bob: "+442079460112" };

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start({
    TANDEM_CALLS_INVITE_DELAY: "100ms",
    TANDEM_COUPLINGS_LEASE: "10s",
  });
});
afterAll(async () => {
  await browser?.close();
  await server?.remove();
});
afterEach(() => {
  expect([phone, bob, tv].flatMap((w) => w?.faults ?? [])).toEqual([]);
});

// B8: as in a hotel, with its television.
test("a screen is coupled for this call", async () => {
  phone = await open(browser, server.url);
  await enrol(phone, server, numbers.alice, "Alice");
  tv = await open(browser, `${server.url}/#/couple`, { viewport: { width: 1280, height: 720 } });
  const digits = tv.page.getByText(/^\d{3}-\d{3}-\d{3}$/);
  await digits.waitFor();
  await phone.page.goto(`${server.url}/#/devices`);
  await phone.page.getByLabel("For this call, while it is near").check();
  await phone.page.getByText("Near means").waitFor();
  expect(await axe(phone.page)).toEqual([]);
  await fits(phone.page);
  await phone.page.getByLabel("Nine digits").fill((await digits.textContent()) ?? "");
  await phone.page.getByRole("button", { name: "Next" }).click();
  await phone.page.getByRole("button", { name: "Couple", exact: true }).click();
  await phone.page.getByText(`with ${numbers.alice}, for this call`).waitFor();
  await tv.page.getByRole("heading", { name: "Waiting for a call" }).waitFor();
});

test("out of reach of the phone it shows nothing, and comes back by itself", async () => {
  await phone.page.context().setOffline(true);
  await tv.page.getByRole("heading", { name: "Out of reach" }).waitFor();
  expect(await axe(tv.page)).toEqual([]);
  await fits(tv.page);
  await phone.page.context().setOffline(false);
  await tv.page.getByRole("heading", { name: "Waiting for a call" }).waitFor();
});

test("when the session of the call closes, so ends the coupling", async () => {
  bob = await open(browser, server.url);
  await enrol(bob, server, numbers.bob, "Bob");
  await phone.page.goto(`${server.url}/#/`);
  await report(phone, numbers.bob);
  await bob.page.getByRole("button", { name: "Open it" }).click();
  await tv.page.getByRole("heading", { name: "Session with Bob", exact: true }).waitFor();
  await phone.page.getByRole("button", { name: "The call is over" }).click();
  await phone.page.getByRole("button", { name: "Leave" }).click();
  await phone.page.getByRole("dialog").getByRole("button", { name: "Leave" }).click();
  await tv.page.getByRole("heading", { name: "This device is no longer known" }).waitFor();
  await phone.page.goto(`${server.url}/#/devices`);
  await phone.page.getByText("this one").waitFor();
  expect(await phone.page.getByText("for this call").count()).toBe(1); // the choice, no coupling
});

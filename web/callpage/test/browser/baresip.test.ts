import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { Baresip } from "../support/baresip.ts";
import { launchOutward, open, type Watched } from "../support/browser.ts";
import { freePorts } from "../support/ports.ts";

let browser: Browser;
let server: TestServer;
let phone: Baresip;
let page: Watched;
const number = "+442079460052";
let sip: number;

beforeAll(async () => {
  // Baresip 1.0.0 settles on the first pair of addresses that a Chromium with several nominates
  // (docs/callpage.md): with loopback beside another one it would hear nothing.
  browser = await launchOutward();
  // Its own takes the port beside it for TLS.
  sip = await freePorts(5);
  server = await TestServer.start({ TANDEM_SIP_LISTEN: `127.0.0.1:${sip}` });
  phone = await Baresip.start(number, sip, sip + 2, sip + 4);
  const { port } = new URL(server.url);
  page = await open(browser, `http://alice.tandem.localhost:${port}/`);
  await page.page.getByRole("button", { name: "Call Bob" }).waitFor();
});
afterAll(async () => {
  await phone?.stop();
  await browser?.close();
  await server?.remove();
});

/** Each hears the other. */
async function heardBothWays() {
  const level = () => page.page.getByRole("meter").evaluate((m) => (m as HTMLMeterElement).value);
  await expect.poll(level, { timeout: 60_000 }).toBeGreaterThan(0.05);
  await expect.poll(() => phone.heard(), { timeout: 60_000 }).toBeGreaterThan(0.01);
}

test("a real telephone calls the page", async () => {
  await phone.press(`dsip:+442079460018@127.0.0.1:${sip};transport=tcp`);
  const call = page.page.getByRole("alertdialog", { name: `${number} is calling` });
  await call.getByRole("button", { name: "Answer" }).click();
  await page.page.getByText(`In a call with ${number}`).waitFor();
  await heardBothWays();
  // The telephone has no device beside it, so there is no session: the user may ask for one (B15).
  await page.page.getByRole("button", { name: "Ask for a session" }).click();
  await page.page.getByRole("button", { name: "Asked" }).waitFor();
  await phone.press("b");
  await page.page.getByText("The call is over").first().waitFor();
});

test("the page calls a real telephone", async () => {
  // The number is dialled by hand: in Try it the page offers its friend only.
  await page.page.goto(`${new URL(page.page.url()).origin}/#/dial/${encodeURIComponent(number)}`);
  await page.page.getByLabel("Number to call").waitFor();
  await page.page.getByRole("button", { name: "Call", exact: true }).click();
  await phone.says(/incoming call from|INCOMING/i);
  await phone.press("a");
  await page.page.getByText(`In a call with ${number}`).waitFor();
  await phone.says(/Call established/);
  await heardBothWays();
  await page.page.getByRole("button", { name: "Hang up" }).click();
  await phone.says(/terminated|closed/i);
  expect(page.faults).toEqual([]);
});

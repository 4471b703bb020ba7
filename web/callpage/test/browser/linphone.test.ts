import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { launch, open, type Watched } from "../support/browser.ts";
import { Linphone } from "../support/linphone.ts";
import { freePorts } from "../support/ports.ts";

let browser: Browser;
let server: TestServer;
let phone: Linphone;
let page: Watched;
const number = "+442079460053";
let sip: number;

beforeAll(async () => {
  sip = await freePorts(1);
  server = await TestServer.start({ TANDEM_SIP_LISTEN: `127.0.0.1:${sip}` });
  phone = await Linphone.start(number, sip, "tcp");
});
afterEach(async () => {
  await browser?.close();
});
afterAll(async () => {
  await phone?.stop();
  await server?.remove();
});

async function openPage(...options: string[]): Promise<void> {
  browser = await launch(...options);
  page = await open(browser, `http://alice.tandem.localhost:${server.port}/`);
  await page.page.getByRole("button", { name: "Call Bob" }).waitFor();
}

/** Each hears the other. */
async function heardBothWays(): Promise<void> {
  await phone.speak();
  const level = () => page.page.getByRole("meter").evaluate((m) => (m as HTMLMeterElement).value);
  await expect.poll(level, { timeout: 60_000 }).toBeGreaterThan(0.05);
  await expect.poll(() => phone.heard(), { timeout: 60_000 }).toBeGreaterThan(0.01);
}

test("the page calls linphone", async () => {
  await openPage();
  await page.page.goto(`http://alice.tandem.localhost:${server.port}/#/dial/${number}`);
  await page.page.getByLabel("Number to call").waitFor();
  await page.page.getByRole("button", { name: "Call", exact: true }).click();
  await phone.says(/incoming|is contacting you/i);
  phone.type("answer");
  await page.page.getByText(`In a call with ${number}`).waitFor();
  await heardBothWays();
  await page.page.getByRole("button", { name: "Hang up" }).click();
  await phone.says(/terminated|ended/i);
  expect(page.faults).toEqual([]);
});

test("linphone calls the page", async () => {
  // A Linphone that has called is the server of DTLS. The ClientHello of a Chromium that offers a key
  // exchange for after quantum computers (X25519MLKEM768) has two packets, at which Debian 12's
  // Linphone 5.1 ends.
  await openPage("--disable-features=WebRtcPqcForDtls");
  phone.type(`call sip:+442079460018@127.0.0.1:${sip};transport=tcp`);
  const call = page.page.getByRole("alertdialog", { name: `${number} is calling` });
  await call.getByRole("button", { name: "Answer" }).click();
  await page.page.getByText(`In a call with ${number}`).waitFor();
  await heardBothWays();
  phone.type("terminate");
  await page.page.getByText("The call is over").first().waitFor();
  expect(page.faults).toEqual([]);
});

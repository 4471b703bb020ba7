import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { axe, enrol, fits, launch, open, type Watched } from "../support/browser.ts";
import { PaymentServer } from "../support/payments.ts";
import { region, Shop } from "../support/shop.ts";

let browser: Browser;
let payments: PaymentServer;
let server: TestServer;
let alice: Watched;
let agent: Shop;
const numbers = { alice: "+442079460061", shop: "+442079460069" };

beforeAll(async () => {
  browser = await launch();
  payments = await PaymentServer.start();
  server = await TestServer.start({
    TANDEM_CALLS_INVITE_DELAY: "1h",
    TANDEM_PAYMENTS_URL: payments.url,
  });
  agent = new Shop(numbers.shop);
  await agent.enrol(server);
  await agent.start();
  alice = await open(browser, server.url);
  await enrol(alice, server, numbers.alice, "Alice");
  await agent.meet(alice, numbers.alice);
});
afterAll(async () => {
  await agent?.stop();
  await browser?.close();
  await server?.remove();
  await payments?.stop();
});
afterEach(() => expect(alice.faults).toEqual([]));

const layer = () => alice.page.getByRole("region", { name: `Screen of ${numbers.shop}` });
const button = (name: string) => layer().getByRole("button", { name });
const dialog = () => alice.page.getByRole("dialog");
const tickets = { type: "pay", item: "2 tickets", amount: { minor: 1250, currency: "EUR" } };

/** Opens the payment server's page, as a new tab. */
async function checkout(): Promise<Page> {
  const [tab] = await Promise.all([
    alice.page.context().waitForEvent("page"),
    dialog().getByRole("link", { name: "payment page" }).click(),
  ]);
  await tab.getByRole("heading", { name: "2 tickets" }).waitFor();
  return tab;
}

/** Presses a button of the payment server's page, which comes back and closes itself. */
async function leaves(tab: Page, name: string): Promise<void> {
  const closed = tab.waitForEvent("close");
  await tab.getByRole("button", { name, exact: true }).click();
  await closed;
}

async function picture(name: string): Promise<void> {
  const { SHOT_DIR } = process.env;
  if (SHOT_DIR) {
    await alice.page.screenshot({ path: `${SHOT_DIR}/${name}.png` });
  }
}

// I6: before anybody has an account, it is said so.
test("where nobody takes payments, the user is told", async () => {
  const seq = await agent.send([region("Pay", 0, { actions: [tickets] })]);
  await agent.shown(seq);
  await button("Pay").click();
  await layer().getByText("They take no payments yet").waitFor();
  expect(await agent.result(seq, "pay")).toMatchObject({
    outcome: "failed",
    reason: "no_payments",
  });
  await payments.account(server, numbers.shop);
});

test("the customer pays on the payment server's page, and both sides see it", async () => {
  const seq = await agent.send([
    region("Pay", 0, { actions: [tickets, { type: "choose", value: "row 7" }] }),
  ]);
  await agent.shown(seq);
  await button("Pay").click();
  await dialog().getByText("€12.50").waitFor();
  await dialog().getByText(new URL(payments.url).host).waitFor();
  expect(await axe(alice.page)).toEqual([]);
  await fits(alice.page);
  await picture("overlay-pay");
  const link = dialog().getByRole("link", { name: "Go to the payment page" });
  expect(await link.getAttribute("rel")).toContain("noopener");

  // Back without paying: the checkout stays, and can be opened again.
  let tab = await checkout();
  await leaves(tab, "Back");
  await dialog().getByText("Waiting for your payment").waitFor();

  tab = await checkout();
  await leaves(tab, "Pay");
  await button("Pay").getByText("Paid").waitFor();
  expect(await dialog().count()).toBe(0);
  const result = await agent.result(seq, "pay");
  expect(result).toMatchObject({
    type: "pay",
    outcome: "done",
    payment: { item: "2 tickets", amount: { minor: 1250, currency: "EUR" } },
  });
  expect(result.payment?.reference).toMatch(/^pi_/);
  // What comes after it in the button is done then.
  await agent.until("the row", () =>
    agent.messages.some((m) => JSON.stringify(m.body).includes('"row 7"')),
  );
  await picture("overlay-paid");

  // It is not paid a second time, not by a page that was loaded again either.
  await alice.page.reload();
  await button("Pay").click();
  await button("Pay").getByText("Paid").waitFor();
  expect(await dialog().count()).toBe(0);
});

test("the customer gives up, and pays after all", async () => {
  const seq = await agent.send([region("Pay", 0, { actions: [tickets] })]);
  await agent.shown(seq);
  await button("Pay").click();
  const tab = await checkout();
  await dialog().getByRole("button", { name: "Cancel" }).click();
  await button("Pay").getByText("Not done").waitFor();
  expect(await agent.result(seq, "pay")).toMatchObject({
    outcome: "cancelled",
    reason: "by_customer",
  });
  await tab.reload();
  await tab.getByText("can no longer be used").waitFor();
  await tab.close();

  await button("Pay").click();
  const again = await checkout();
  await leaves(again, "Pay");
  await button("Pay").getByText("Paid").waitFor();
});

test("a payment that takes a while goes on beside what the user does meanwhile", async () => {
  const call = { type: "call_back", number: numbers.shop };
  const seq = await agent.send([
    region("Pay", 0, { actions: [tickets] }),
    region("Call", 1, { actions: [call] }),
  ]);
  await agent.shown(seq);
  await button("Pay").click();
  const tab = await checkout();
  const page = tab.url();
  await leaves(tab, "Pay by bank transfer");
  await dialog().getByText("The payment is on its way").waitFor();
  await picture("overlay-transfer");
  expect(await axe(alice.page)).toEqual([]);
  await dialog().getByRole("button", { name: "Go on" }).click();
  await button("Pay").getByText("The payment is on its way").waitFor();

  // The money comes while something else is asked, which it does not answer.
  await button("Call").click();
  await dialog().getByText(`Call ${numbers.shop}`).waitFor();
  await payments.money(page);
  await button("Pay").getByText("Paid").waitFor();
  expect(await agent.result(seq, "pay")).toMatchObject({ outcome: "done" });
  expect(await dialog().getByText(`Call ${numbers.shop}`).count()).toBe(1);
  await dialog().getByRole("button", { name: "Cancel" }).click();
  expect(await agent.result(seq, "call")).toMatchObject({
    outcome: "cancelled",
    reason: "by_user",
  });
});

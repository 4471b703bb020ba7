import { rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import {
  axe,
  enrol,
  fits,
  launch,
  open,
  type Watched,
} from "../../../callpage/test/support/browser.ts";
import { PaymentServer } from "../../../callpage/test/support/payments.ts";
import { photo } from "../../../callpage/test/support/photo.ts";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { inArabic } from "../support/arabic.ts";

let browser: Browser;
let payments: PaymentServer;
let server: TestServer;
let alice: Watched;
let carol: Watched;
let key: string;
let anna: Watched;
let ben: Watched;
const numbers = { alice: "+442079460061", carol: "+442079460062", acme: "+442079460900" };
const wide = { viewport: { width: 1280, height: 800 } };

beforeAll(async () => {
  browser = await launch();
  payments = await PaymentServer.start();
  server = await TestServer.start({ TANDEM_PAYMENTS_URL: payments.url });
  await payments.account(server, numbers.acme);
  const add = ["agent", "add", "--number", numbers.acme, "--extension"];
  await server.command(...add, "17", "--name", "Anna", "anna");
  await server.command(...add, "18", "--name", "Ben", "--supervisor", "--may-look", "ben");
  await publish("booking", {
    title: { en: "Booking" },
    numbers: [numbers.acme],
    parameters: [
      { id: "car", label: { en: "Car" }, type: "line", max: 40, required: true },
      { id: "day", label: { en: "Day" }, type: "line", max: 40, from: "customer", of: "when" },
    ],
    document: overlay("booking", [
      { text: { en: "{{car}} {{day}}" } },
      { text: { en: "Book it" }, actions: [{ type: "choose", value: "book" }] },
    ]),
  });
  await publish("when", {
    title: { en: "Ask for the day" },
    numbers: [numbers.acme],
    document: overlay("when", [
      { id: "when", text: { en: "On Monday" }, actions: [{ type: "choose", value: "Monday" }] },
      { text: { en: "Send my details" }, actions: [{ type: "send_contact" }] },
    ]),
  });
  await publish("x-keys", {
    title: { en: "Keys" },
    numbers: [numbers.acme],
    document: overlay("x-keys", [
      { text: { en: "Press 1 and hash" }, actions: [{ type: "dial", keys: "1#" }] },
    ]),
  });
  const tickets = { type: "pay", item: "2 tickets", amount: { minor: 1250, currency: "EUR" } };
  await publish("x-tickets", {
    title: { en: "Tickets" },
    numbers: [numbers.acme],
    document: overlay("x-tickets", [
      { text: { en: "2 tickets" }, actions: [tickets, { type: "choose", value: "row 7" }] },
      { text: { en: "No, thanks" }, actions: [{ type: "choose", value: "none" }] },
    ]),
  });
});
afterAll(async () => {
  await browser?.close();
  await server?.remove();
  await payments?.stop();
});
afterEach(() => {
  for (const w of [alice, carol, anna, ben]) {
    expect(w?.faults ?? []).toEqual([]);
  }
});

const link = async (agent: string) =>
  /http\S+/.exec(await server.command("agent", "invite", agent))?.[0] ?? "";
function overlay(id: string, regions: object[]) {
  return {
    version: 1,
    id,
    language: "en",
    regions: regions.map((r, row) => ({ id: `r${row}`, grid: { column: 0, row, width: 4 }, ...r })),
  };
}
async function publish(name: string, draft: object): Promise<void> {
  const file = join(tmpdir(), `tandem-${process.pid}-${name}.json`);
  await writeFile(file, JSON.stringify(draft));
  await server.command("overlay", "publish", name, file);
  await rm(file);
}
const log = ({ page }: Watched) => page.getByRole("log");
const write = async ({ page }: Watched, text: string) => {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
};
const dial = async ({ page }: Watched, number: string) => {
  await page.goto(`${server.url}/#/dial/${encodeURIComponent(number)}`);
  await page.getByRole("button", { name: "Call", exact: true }).click();
};
const state = ({ page }: Watched) => page.getByLabel("What you are doing").inputValue();

/** The network reports Carol's call with Anna, both sides. */
async function carolsCall(state: "active" | "ended"): Promise<void> {
  for (const leg of [
    { own: numbers.carol, other: numbers.acme, direction: "outgoing" },
    { own: numbers.acme, extension: "17", other: numbers.carol, direction: "incoming" },
  ]) {
    const res = await fetch(`${server.url}/v1/reports`, {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: JSON.stringify({ ...leg, state, ref: { call_id: "carol-1" } }),
    });
    expect(res.status).toBeLessThan(300);
  }
}

/** For the manual, where a folder is named. */
async function shoot({ page }: Watched, name: string): Promise<void> {
  if (process.env.PICTURES) {
    await writeFile(`${process.env.PICTURES}/${name}.png`, await page.screenshot());
  }
}

test("an agent signs in by a link, once, and says what it is doing", async () => {
  const way = await link("anna");
  anna = await open(browser, way, wide);
  await anna.page.getByRole("heading", { name: "Anna" }).waitFor();
  expect(anna.page.url()).not.toContain("tag_");
  await anna.page.getByText("Connected").waitFor();
  await anna.page.getByLabel("What you are doing").selectOption("Away: lunch");
  await expect.poll(() => server.command("agent", "list")).toMatch(/anna .*away \(lunch\)/);
  await anna.page.getByLabel("What you are doing").selectOption("Available");
  await expect.poll(() => server.command("agent", "list")).toMatch(/anna .*available/);
  expect(await axe(anna.page)).toEqual([]);
  const eve = await open(browser, way, wide);
  await eve.page
    .getByRole("alert")
    .getByText(/no longer valid/)
    .waitFor();
  expect(await axe(eve.page)).toEqual([]);
  await fits(eve.page);
  await inArabic(eve, "signin");
  ben = await open(browser, `${server.url}/agent/`, wide);
  await ben.page.getByLabel("Link or key").fill(await link("ben"));
  await ben.page.getByRole("button", { name: "Sign in" }).click();
  await ben.page.getByRole("heading", { name: "Ben" }).waitFor();
  await ben.page.getByText("Connected").waitFor();
});

// I1: a customer's page really calls, through the SIP element; of the agents who share the number
// the one who answers gets the session.
test("a customer calls, an agent answers, and its screen shows who that is", async () => {
  alice = await open(browser, server.url, {
    geolocation: { latitude: 51.5074, longitude: -0.1278, accuracy: 12 },
    permissions: ["geolocation"],
  });
  await enrol(alice, server, numbers.alice, "Alice");
  await alice.page.goto(`${server.url}/#/profile`);
  await alice.page.getByLabel("E-mail", { exact: true }).fill("alice@harbour.example");
  await alice.page.keyboard.press("Tab");
  await alice.page.getByText("Saved, and the same on all your devices.").waitFor();
  await dial(alice, numbers.acme);
  await ben.page.getByText(`${numbers.alice} is calling`).waitFor();
  await anna.page.getByRole("button", { name: "Answer" }).click();
  await anna.page.getByRole("heading", { name: "Session with Alice" }).waitFor();
  await alice.page.getByRole("heading", { name: "Session with Anna" }).waitFor();
  const customer = anna.page.getByRole("region", { name: "Customer" });
  await customer.getByText(numbers.alice).waitFor();
  await customer.getByText("a one-time code").waitFor();
  await customer.getByText("the network", { exact: false }).first().waitFor();
  await expect.poll(() => state(anna)).toBe("busy/");
  await expect.poll(() => ben.page.getByText("is calling").count()).toBe(0);
  expect(await ben.page.getByRole("tab").count()).toBe(0);
  expect(await axe(anna.page)).toEqual([]);
});

test("messages and photos pass both ways, and the agent keeps notes that the customer never sees", async () => {
  await write(alice, "my oven is broken");
  await log(anna).getByText("my oven is broken").waitFor();
  await write(anna, "can you show me?");
  await log(alice).getByText("can you show me?").waitFor();
  await alice.page
    .locator("input[type=file]")
    .setInputFiles([{ name: "oven.png", mimeType: "image/png", buffer: photo(640, 480) }]);
  await log(anna).getByRole("button", { name: "Show oven.png large" }).locator("img").waitFor();
  await anna.page.getByLabel("Write a note").fill("wants a refund");
  await anna.page.getByRole("button", { name: "Keep" }).click();
  await anna.page.getByRole("region", { name: "Notes" }).getByText("wants a refund").waitFor();
  await shoot(anna, "console-call");
  await fits(anna.page);
  expect(await alice.page.getByText("wants a refund").count()).toBe(0);
});

// I3, I4, I6: by keyboard alone, the agent lays buttons over the customer's call, sees that they are
// there, and what is pressed; what the customer gave goes into the next.
test("templates are sent by keyboard, confirmed by the phone, and answered", async () => {
  const screen = anna.page.getByRole("region", { name: "Customer’s screen" });
  const sheet = alice.page.getByRole("region", { name: "Screen of Anna" });
  const { keyboard } = anna.page;
  await screen.getByText("Nothing was sent to it yet.").waitFor();
  await keyboard.press("Alt+m");
  await keyboard.press("Alt+t");
  await screen.getByRole("option", { name: "Booking" }).waitFor();
  expect(await axe(anna.page)).toEqual([]);
  await keyboard.type("ask for");
  await keyboard.press("Enter");
  await sheet.getByRole("button", { name: "On Monday" }).click();
  await log(anna).getByText("On Monday – Done").waitFor();
  await log(anna).getByText("Shown on the screen of Alice").waitFor();
  await screen.getByRole("img", { name: "On it now: On Monday (Done), Send my details" }).waitFor();
  await sheet.getByRole("button", { name: "Send my details" }).click();
  await alice.page.getByRole("button", { name: "Yes, go on" }).click();
  await log(anna).getByText("Send my details – Done").waitFor();

  await keyboard.press("ArrowDown");
  await screen.getByRole("option", { name: "Booking", selected: true }).waitFor();
  await keyboard.press("ArrowDown");
  await screen.getByRole("option", { name: "Ask for the day", selected: true }).waitFor();
  await keyboard.press("ArrowUp");
  await keyboard.press("Enter");
  const dialog = anna.page.getByRole("dialog", { name: "Booking" });
  await dialog.getByLabel("Car").waitFor();
  expect(await axe(anna.page)).toEqual([]);
  await keyboard.press("Enter");
  await dialog.getByText("Please fill this in.").waitFor();
  await keyboard.type("Red Golf");
  await keyboard.press("Enter");
  await sheet.getByText("Red Golf Monday").waitFor();
  await screen.getByRole("img", { name: "On it now: Red Golf Monday, Book it" }).waitFor();
  await screen.getByText("Shown", { exact: true }).waitFor();
  expect(await axe(anna.page)).toEqual([]);
  await fits(anna.page);
  await shoot(anna, "console-screen");
  await shoot(alice, "console-customer");

  // What a phone cannot show is said; what it had shown before is still there.
  await alice.page.route("**/shown", (route) =>
    route.continue({ postData: JSON.stringify({ state: "failed", reason: "not_valid" }) }),
  );
  await keyboard.press("Alt+t");
  await keyboard.type("ask");
  await keyboard.press("Enter");
  await screen.getByText("Could not be shown (not_valid)").waitFor();
  await screen.getByRole("img", { name: "On it now: Red Golf Monday, Book it" }).waitFor();
  await alice.page.unroute("**/shown");
  await keyboard.press("Alt+t");
  await keyboard.type("ask");
  await keyboard.press("Enter");
  await screen.getByText("Shown", { exact: true }).waitFor();
  await screen.getByRole("img", { name: "On it now: On Monday, Send my details" }).waitFor();
  await sheet.getByRole("button", { name: "Put away" }).click();
});

// I6: keys of an overlay go into the call as telephone events (RFC 4733).
test("what the customer presses is dialled in the call", async () => {
  await alice.page.evaluate(() => {
    const keys: string[] = [];
    Object.assign(globalThis, { keys });
    const { insertDTMF } = RTCDTMFSender.prototype;
    RTCDTMFSender.prototype.insertDTMF = function (tones, ...more) {
      keys.push(tones);
      insertDTMF.call(this, tones, ...more);
    };
  });
  await anna.page.keyboard.press("Alt+t");
  await anna.page.keyboard.type("keys");
  await anna.page.keyboard.press("Enter");
  const sheet = alice.page.getByRole("region", { name: "Screen of Anna" });
  await sheet.getByRole("button", { name: "Press 1 and hash" }).click();
  await alice.page.getByText("The keys 1# are pressed in the call.").waitFor();
  await alice.page.getByRole("button", { name: "Yes, go on" }).click();
  await log(anna).getByText("Press 1 and hash – Done").waitFor();
  const keys = () => (globalThis as unknown as { keys: string[] }).keys.join("");
  await expect.poll(() => alice.page.evaluate(keys)).toBe("1#");
  await sheet.getByRole("button", { name: "Put away" }).click();
});

// I6: what is on the customer's screen says there whether it is paid, also to who looks at it later.
test("the customer's screen says of a button whether it has been paid", async () => {
  const screen = anna.page.getByRole("region", { name: "Customer’s screen" });
  const sheet = alice.page.getByRole("region", { name: "Screen of Anna" });
  const button = sheet.getByRole("button", { name: "2 tickets" });
  const ask = alice.page.getByRole("dialog");
  const now = (name: string) =>
    screen.getByRole("img", { name: `On it now: ${name}`, exact: true }).waitFor();
  const pays = async (how: string): Promise<string> => {
    await button.click();
    const [tab] = await Promise.all([
      alice.page.context().waitForEvent("page"),
      ask.getByRole("link", { name: "payment page" }).click(),
    ]);
    await tab.getByRole("heading", { name: "2 tickets" }).waitFor();
    const url = tab.url();
    const closed = tab.waitForEvent("close");
    await tab.getByRole("button", { name: how, exact: true }).click();
    await closed;
    return url;
  };
  await anna.page.keyboard.press("Alt+t");
  await anna.page.keyboard.type("tickets");
  await anna.page.keyboard.press("Enter");
  await button.click();
  await now("2 tickets, No, thanks");
  await ask.getByRole("button", { name: "Cancel" }).click();
  await now("2 tickets (Not done), No, thanks");
  await payments.bounce(await pays("Pay by bank transfer"));
  await now("2 tickets (The payment did not go through), No, thanks");
  await screen.getByText("The payment did not go through").waitFor();
  await pays("Pay");
  // Something else that the button does comes after it.
  await log(anna).getByText("row 7").last().waitFor();
  await now("2 tickets (Paid), No, thanks");
  await screen.getByText("Paid", { exact: true }).waitFor();
  expect(await axe(anna.page)).toEqual([]);
  await shoot(anna, "console-paid");
  await sheet.getByRole("button", { name: "Put away" }).click();
});

// F2: the customer is asked, and agrees; the map opens by itself, and the agent writes on.
test("the customer's place is on a map, and the contact card is copied with one key", async () => {
  const typed = anna.page.getByLabel("Message", { exact: true });
  await anna.page.getByRole("button", { name: "Ask for the place" }).click();
  await anna.page.keyboard.press("Alt+m");
  await anna.page.keyboard.type("one moment");
  await alice.page.getByRole("button", { name: "Tell them once" }).click();
  const map = anna.page.getByRole("region", { name: "Map", exact: true });
  await map.getByRole("listitem").filter({ hasText: "Alice" }).getByText("51.5074").waitFor();
  await map.locator("canvas, svg").first().waitFor();
  expect(await typed.evaluate((e) => e === document.activeElement)).toBe(true);
  expect(await axe(anna.page)).toEqual([]);
  await fits(anna.page);
  await shoot(anna, "console-map");
  await anna.page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await anna.page.keyboard.press("Alt+c");
  await anna.page.getByText("Copied", { exact: true }).waitFor();
  const card = await anna.page.evaluate(() => navigator.clipboard.readText());
  expect(card).toContain("E-mail: alice@harbour.example");
  expect(card).toContain(numbers.alice);
  await map.getByRole("button", { name: "Close the map" }).click();
  await typed.fill("");
});

test("another call comes into a tab of its own, and neither takes the focus nor the place of the first", async () => {
  // Carol has no telephone here: the network reports her call with Anna.
  carol = await open(browser, server.url);
  await enrol(carol, server, numbers.carol, "Carol");
  const scope = ["--role", "element", "--name", "pbx", "--for", "+44207946"];
  key = /tdm_\S+/.exec(await server.command("token", "create", ...scope))?.[0] ?? "";
  const typed = anna.page.getByLabel("Message", { exact: true });
  await typed.fill("a word that is being writ");
  await carolsCall("active");
  const tab = anna.page.getByRole("tab", { name: /Carol/ });
  await tab.waitFor();
  expect(await tab.getAttribute("aria-selected")).toBe("false");
  expect(await typed.evaluate((e) => e === document.activeElement)).toBe(true);
  expect(await typed.inputValue()).toBe("a word that is being writ");
  await write(carol, "hello from Carol");
  await tab.getByText("1 new").waitFor();
  expect(await axe(anna.page)).toEqual([]);
  await anna.page.getByRole("tab", { name: /Alice/ }).focus();
  await anna.page.keyboard.press("ArrowRight");
  await log(anna).getByText("hello from Carol").waitFor();
  expect(await log(anna).getByText("my oven is broken").count()).toBe(0);
  await anna.page.keyboard.press("Home");
  await log(anna).getByText("my oven is broken").waitFor();
  await inArabic(anna, "calls");
});

// He is told of what is said as it comes, sees the customer's screen as it is, and she that he looks.
test("a supervisor looks into a running call, and the agent is told", async () => {
  await ben.page.getByRole("link", { name: "Team" }).click();
  const her = ben.page.getByRole("listitem").filter({ hasText: "Anna" });
  await her.getByRole("button", { name: "Look into call 1 of Anna" }).click();
  const look = ben.page.getByRole("region", { name: "The call of Anna" });
  await look.getByText("my oven is broken").waitFor();
  await anna.page.getByText("Ben is looking at this call").waitFor();
  await write(alice, "it smokes now");
  await look.getByText("it smokes now").waitFor({ timeout: 10_000 });
  await look.getByRole("img", { name: "On it now: 2 tickets (Paid)" }).waitFor();
  await look.getByText("wants a refund").waitFor();
  expect(await look.getByRole("textbox").count()).toBe(0);
  expect(await alice.page.getByText("Ben", { exact: false }).count()).toBe(0);
  expect(await axe(ben.page)).toEqual([]);
  await fits(ben.page);
  await shoot(ben, "console-look");
  await inArabic(ben, "look");
  await shoot(anna, "console-looked");
  expect(await axe(anna.page)).toEqual([]);
  await look.getByRole("button", { name: "Stop looking" }).click();
  await anna.page.getByText("Ben is looking at this call").waitFor({ state: "detached" });
  expect(await server.command("audit", "export")).toContain('"agent.looked"');
  await ben.page.getByRole("link", { name: "Calls" }).click();
});

// The telephone call goes along: Alice's page follows the REFER to the extension of the other agent.
test("the session and its call are transferred to another agent, with what was said and noted", async () => {
  await anna.page.getByText("Transfer to…").click();
  // He does not take it: call and session stay with her.
  await anna.page.getByLabel("Transfer to").selectOption("ben");
  await anna.page.getByRole("button", { name: "Transfer", exact: true }).click();
  await ben.page.getByRole("heading", { name: "Session with Alice" }).waitFor();
  await ben.page.getByRole("button", { name: "Decline" }).click();
  await anna.page.getByText("Ben did not take the call").waitFor();
  await anna.page.getByRole("heading", { name: "Session with Alice" }).waitFor();
  await write(anna, "still Anna");
  await log(alice).getByText("still Anna").waitFor();
  await anna.page.getByRole("button", { name: "Hang up" }).waitFor();
  await expect.poll(() => state(ben)).not.toBe("busy/");
  // Then he does. Who is muted stays so in the call with him, also with another sound.
  await alice.page.evaluate(() => {
    const senders: RTCRtpSender[] = [];
    Object.assign(globalThis, { senders });
    const { addTrack } = RTCPeerConnection.prototype;
    RTCPeerConnection.prototype.addTrack = function (...what) {
      const sender = addTrack.apply(this, what);
      senders.push(sender);
      return sender;
    };
  });
  const sends = () => {
    const { senders } = globalThis as unknown as { senders: RTCRtpSender[] };
    return [senders.length, senders.at(-1)?.track?.enabled];
  };
  const trackSent = () =>
    (globalThis as unknown as { senders: RTCRtpSender[] }).senders.at(-1)?.track?.id;
  const mute = alice.page.getByRole("button", { name: "Mute" });
  await mute.click();
  await anna.page.getByLabel("Transfer to").selectOption("ben");
  await anna.page.getByRole("button", { name: "Transfer", exact: true }).click();
  await ben.page.getByRole("heading", { name: "Session with Alice" }).waitFor();
  await log(ben).getByText("my oven is broken").waitFor();
  await ben.page.getByRole("region", { name: "Notes" }).getByText("wants a refund").waitFor();
  let pressed = () => {};
  const entered = new Promise<void>((resolve) => {
    pressed = resolve;
  });
  await ben.page.route("**/overlays/templates", async (route) => {
    await entered;
    await route.continue();
  });
  await ben.page.getByRole("button", { name: "Answer" }).click();
  // What is on her screen is so for him, too, though another one has sent it; and what she presses
  // there comes to him.
  const { page } = ben;
  const screen = page.getByRole("region", { name: "Customer’s screen" });
  await screen.getByRole("img", { name: "On it now: 2 tickets (Paid), No, thanks" }).waitFor();
  await screen.getByText("Shown", { exact: true }).waitFor();
  await log(ben).getByText("Anna sent something to the screen").last().waitFor();
  await alice.page.getByRole("button", { name: "Show", exact: true }).click();
  const sheet = alice.page.getByRole("region", { name: /^Screen of/ });
  await sheet.getByRole("button", { name: "No, thanks" }).click();
  await log(ben).getByText("No, thanks – Done").waitFor();
  await page.keyboard.press("Alt+t");
  await page.keyboard.type("ask");
  await page.keyboard.press("Enter"); // before the templates have come
  pressed();
  await screen.getByRole("img", { name: "On it now: On Monday, Send my details" }).waitFor();
  await sheet.getByRole("button", { name: "Put away" }).click();
  await expect.poll(() => alice.page.evaluate(sends)).toEqual([1, false]);
  const tone = await alice.page.evaluate(trackSent);
  await alice.page.getByRole("button", { name: "Use the microphone" }).click();
  await expect.poll(() => alice.page.evaluate(trackSent)).not.toBe(tone);
  expect(await alice.page.evaluate(sends)).toEqual([1, false]);
  await mute.click();
  expect(await alice.page.evaluate(sends)).toEqual([1, true]);
  await alice.page.getByRole("button", { name: "Use the microphone" }).click();
  await write(ben, "Ben here");
  await log(alice).getByText("Ben here").waitFor();
  await alice.page.getByRole("button", { name: "Hang up" }).waitFor();
  await anna.page.getByRole("button", { name: "Hang up" }).waitFor({ state: "detached" });
  await expect.poll(() => state(ben)).toBe("busy/");
  expect(await ben.page.getByRole("tab").count()).toBe(1);
  await alice.page.getByRole("heading", { name: "Session with Ben" }).waitFor();
});

// The telephone call goes along from the page of the agent who had it, without that agent's doing.
test("a supervisor takes a running call over, and the agent is told", async () => {
  // Ben hands the call back to Anna first.
  await ben.page.getByText("Transfer to…").click();
  await ben.page.getByLabel("Transfer to").selectOption("anna");
  await ben.page.getByRole("button", { name: "Transfer", exact: true }).click();
  await anna.page.getByRole("button", { name: "Answer" }).click();
  await ben.page.getByRole("button", { name: "Hang up" }).waitFor({ state: "detached" });
  await alice.page.getByRole("heading", { name: "Session with Anna" }).waitFor();
  await expect.poll(() => state(ben)).not.toBe("busy/");
  // What she had sent before is still her own; what is on the screen now, he has sent.
  const screen = anna.page.getByRole("region", { name: "Customer’s screen" });
  await screen.getByRole("img", { name: "On it now: On Monday, Send my details" }).waitFor();
  await screen.getByText("Shown", { exact: true }).waitFor();
  expect(await log(anna).getByText("Anna sent something").count()).toBe(0);
  await log(anna).getByText("Sent to their screen").first().waitFor();
  await log(anna).getByText("Ben sent something to the screen").waitFor();

  await ben.page.getByRole("link", { name: "Team" }).click();
  const her = ben.page.getByRole("listitem").filter({ hasText: "Anna" });
  const look = ben.page.getByRole("region", { name: "The call of Anna" });
  await expect.poll(() => her.getByRole("button").count()).toBe(2); // hers with Carol, too
  for (const button of await her.getByRole("button").all()) {
    await button.click();
    await look.getByText(/^(my oven is broken|hello from Carol)$/).waitFor();
    if (await look.getByText("my oven is broken").count()) {
      break;
    }
  }
  await look.getByText("my oven is broken").waitFor();
  await look.getByRole("button", { name: "Take over" }).click();
  await ben.page.getByRole("button", { name: "Answer" }).click();
  await ben.page.getByRole("heading", { name: "Session with Alice" }).waitFor();
  await anna.page.getByText("Ben has taken this call over.").waitFor();
  await anna.page.getByRole("button", { name: "Hang up" }).waitFor({ state: "detached" });
  await alice.page.getByRole("heading", { name: "Session with Ben" }).waitFor();
  await alice.page.getByRole("button", { name: "Hang up" }).waitFor();
  await write(ben, "Ben again");
  await log(alice).getByText("Ben again").waitFor();
  expect(await axe(anna.page)).toEqual([]);
  await anna.page.getByRole("button", { name: "Close", exact: true }).click();
  expect(await server.command("audit", "export")).toContain('"agent.transferred"');
});

test("after the call it is written up, and found again; a supervisor sees the team", async () => {
  await alice.page.getByRole("button", { name: "Hang up" }).click();
  await ben.page.getByText(/The session stays open for/).waitFor();
  await inArabic(ben, "after");
  await ben.page.getByRole("button", { name: "To be followed up" }).click();
  await expect.poll(() => state(ben)).toBe("available/");
  await ben.page.getByRole("link", { name: "Search" }).click();
  await ben.page.getByLabel("Number, note, code or name").fill("refund");
  await ben.page.keyboard.press("Enter");
  await ben.page.getByText("Anna, Ben").waitFor();
  await ben.page.getByText("To be followed up").waitFor();
  expect(await axe(ben.page)).toEqual([]);
  await fits(ben.page);
  await inArabic(ben, "search");
  await ben.page.getByRole("link", { name: "Team" }).click();
  await ben.page.getByRole("listitem").filter({ hasText: "Anna" }).getByText("Busy").waitFor();
  await shoot(ben, "console-team");
  // In a call an agent is busy, whatever she says.
  await anna.page.getByLabel("What you are doing").selectOption("Away: lunch");
  await anna.page.getByText("in a call", { exact: false }).first().waitFor();
  expect(await state(anna)).toBe("busy/");
  // He is told when her call is over: the list by itself is read once a minute.
  await carolsCall("ended");
  const her = ben.page.getByRole("listitem").filter({ hasText: "Anna" });
  await her.getByText("Wrap-up").waitFor({ timeout: 10_000 });
  await expect.poll(() => state(anna)).toBe("wrap_up/");
  expect(await axe(ben.page)).toEqual([]);
  await fits(ben.page);
  await inArabic(ben, "team");
  expect(await anna.page.getByRole("link", { name: "Team" }).count()).toBe(0);
  await ben.page.getByRole("button", { name: "Sign out" }).click();
  await ben.page.getByRole("heading", { name: "Sign in" }).waitFor();
});

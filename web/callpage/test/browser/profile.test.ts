import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import ICAL from "ical.js";
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { axe, enrol, fits, launch, open, report, type Watched } from "../support/browser.ts";
import { photo } from "../support/photo.ts";

let browser: Browser;
let server: TestServer;
let alice: Watched;
let bob: Watched;
const numbers = { alice: "+442079460071", bob: "+442079460072", carol: "+442079460073" };

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start({
    TANDEM_CALLS_INVITE_DELAY: "1h", // both sides say that there is a call
    TANDEM_SESSIONS_LINGER: "2s",
    TANDEM_PROFILES_NETWORKS: "127.0.0.0/8", // where the page about Alice is
  });
});
afterAll(async () => {
  await browser?.close();
  await server?.remove();
});
afterEach(() => {
  expect(alice.faults).toEqual([]);
  expect(bob.faults).toEqual([]);
});

/** What the profile's fields, and pictures, cost a page on the wire. */
interface Traffic {
  fields: string[][];
  pictures: number;
}
const traffic = new Map<Watched, Traffic>();

function count(w: Watched): void {
  const t: Traffic = { fields: [], pictures: 0 };
  traffic.set(w, t);
  w.page.on("websocket", (ws) =>
    ws.on("framereceived", ({ payload }) => {
      const text = String(payload);
      if (!text.startsWith("{")) {
        return; // the softphone's SIP
      }
      const frame = JSON.parse(text) as {
        kind?: string;
        body?: { fields?: { id: string }[] };
      };
      if (frame.kind === "tandem.profile") {
        t.fields.push((frame.body?.fields ?? []).map((f) => f.id).sort());
      }
    }),
  );
  w.page.on("request", (r) => {
    t.pictures += /\/v1\/pictures\//.test(r.url()) ? 1 : 0;
  });
}

/** With SHOTS, the view as the manual shows it, light and dark. */
async function shot({ page }: Watched, name: string, size = { width: 400, height: 780 }) {
  if (!process.env.SHOTS) {
    return;
  }
  await page.setViewportSize(size);
  for (const look of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme: look });
    await page.evaluate(() => Promise.allSettled(document.getAnimations().map((a) => a.finished)));
    await page.screenshot({
      path: join(process.env.SHOTS, `profile-${name}-${look}.png`),
      fullPage: true,
    });
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 400, height: 780 });
}

const saved = ({ page }: Watched) =>
  page.getByText("Saved, and the same on all your devices.").waitFor();
const view = ({ page }: Watched, path: string) => page.goto(`${server.url}/#/${path}`);
const log = ({ page }: Watched) => page.getByRole("log");

async function fill(w: Watched, label: string, value: string) {
  await w.page.getByLabel(label, { exact: true }).fill(value);
  await w.page.keyboard.press("Tab");
  await saved(w);
}

async function add(w: Watched, what: string, value: string, label = what) {
  const form = w.page.locator("form.add");
  await form.getByRole("combobox").selectOption({ label: what });
  await form.getByRole("button", { name: "Add" }).click();
  await fill(w, label, value);
}

/** Opens a session: both say with whom they are on a call (A2). */
async function call() {
  await view(alice, "");
  await view(bob, "");
  await report(alice, numbers.bob);
  await report(bob, numbers.alice);
  await bob.page.getByRole("heading", { name: "Session with Alice" }).waitFor();
}

/** Both say that the call is over, and the session closes. */
async function hangUp() {
  for (const w of [alice, bob]) {
    await view(w, "");
    await w.page.getByRole("button", { name: "The call is over" }).click();
  }
  for (const { page } of [alice, bob]) {
    await page.getByRole("heading", { name: /Session with/ }).waitFor({ state: "detached" });
  }
}

test("a person fills in who they are, with a picture cut to size", async () => {
  alice = await open(browser, server.url);
  bob = await open(browser, server.url);
  await enrol(alice, server, numbers.alice, "Alice");
  await enrol(bob, server, numbers.bob, "Bob");
  await alice.page.getByRole("link", { name: "Settings" }).click();
  await alice.page.getByRole("link", { name: "Open my profile" }).click();
  await fill(alice, "Name", "Alice Lindqvist");
  await fill(alice, "Organisation", "Harbour Office");
  await fill(alice, "E-mail", "alice@harbour.example");
  await add(alice, "Telephone", numbers.alice);
  await add(alice, "Birthday", "1990-05-17");
  await add(alice, "Social account", "https://social.example/@alice");
  // A field of one's own, and one with parts.
  const form = alice.page.locator("form.add");
  await form.getByRole("combobox").selectOption({ label: "A field of your own" });
  await form.getByLabel("What it is called").fill("Favourite boat");
  await form.getByRole("button", { name: "Add" }).click();
  await fill(alice, "Favourite boat", '<img src=x onerror="document.title=1">');
  await form.getByRole("combobox").selectOption({ label: "Postal address" });
  await form.getByRole("button", { name: "Add" }).click();
  await fill(alice, "Street", "1 Quay Road");
  await fill(alice, "Town", "Falmouth");
  // What the server does not take stays for her to mend, whatever else she does meanwhile.
  await form.getByRole("combobox").selectOption({ label: "Web page" });
  await form.getByRole("button", { name: "Add" }).click();
  const web = alice.page.getByLabel("Web page", { exact: true });
  await web.fill("harbour.example");
  await alice.page.keyboard.press("Tab");
  await alice.page.getByText("On this device; not yet saved on the server.").waitFor();
  await alice.page
    .locator("input[type=file]")
    .first()
    .setInputFiles({ name: "me.png", mimeType: "image/png", buffer: photo(900, 600) });
  const crop = alice.page.getByRole("dialog");
  await crop.getByLabel("Larger").focus();
  for (let i = 0; i < 8; i++) {
    await alice.page.keyboard.press("ArrowRight");
  }
  expect(await axe(alice.page)).toEqual([]);
  await shot(alice, "crop");
  await crop.getByRole("button", { name: "Use it" }).click();
  const picture = alice.page.getByRole("img", { name: "Your picture" });
  await picture.waitFor();
  expect(
    await picture.evaluate((img: HTMLImageElement) => [img.naturalWidth, img.naturalHeight]),
  ).toEqual([512, 512]);
  expect(await web.inputValue()).toBe("harbour.example");
  await fill(alice, "Web page", "https://harbour.example");
  // The number is hers; the address is what she says.
  await alice.page.getByText("Confirmed").waitFor();
  expect(await alice.page.getByText("Only claimed").count()).toBe(1);
  expect(await axe(alice.page)).toEqual([]);
  await fits(alice.page);
  await shot(alice, "edit");
});

test("groups, and what each of them will see", async () => {
  const { page } = alice;
  await page.getByRole("link", { name: "Who sees what" }).click();
  // Pressed faster than the server answers, each counts.
  const over = page.getByRole("region", { name: "Over their call screen" });
  const boxes = ["Name", "Organisation", "Picture"].map((p) => over.getByLabel(p, { exact: true }));
  let answered = 0;
  await page.route("**/v1/profile", async (r) => {
    const changes = r.request().method() !== "GET";
    await new Promise((resolve) => setTimeout(resolve, changes ? 300 : 0));
    await r.fulfill({ response: await r.fetch() });
    answered += changes ? 1 : 0;
  });
  for (const box of boxes) {
    await box.check();
  }
  await expect.poll(() => answered).toBe(boxes.length);
  await page.unrouteAll({ behavior: "wait" });
  await expect.poll(() => Promise.all(boxes.map((b) => b.isChecked()))).toEqual([true, true, true]);
  await page.getByRole("button", { name: "Family" }).click();
  const family = page.getByRole("region", { name: "Family" });
  await family.getByPlaceholder("Number or address").fill("+44 20 7946 0073");
  await family.getByRole("button", { name: "Add" }).click();
  await family.getByText(numbers.carol).waitFor();
  await family.getByRole("checkbox", { name: /^Birthday/ }).check();
  await expect.poll(() => family.getByLabel("only this", { exact: true }).isChecked()).toBe(true);
  const everybody = page.getByRole("region", { name: "Everybody" });
  await everybody.getByRole("checkbox", { name: /^Birthday/ }).uncheck();
  const preview = page.getByRole("region", { name: "What will they see?" });
  const screen = preview.getByRole("figure");
  await screen.getByText("alice@harbour.example").waitFor();
  await expect.poll(() => screen.getByText("1990").count()).toBe(0);
  await preview.getByPlaceholder(/Number or address/).fill(numbers.carol);
  await page.keyboard.press("Enter");
  await screen.getByText("1990").waitFor();
  expect(await screen.getByText("alice@harbour.example").count()).toBe(0);
  await preview.getByText("Groups: Family.").waitFor();
  await family.getByLabel("this as well", { exact: true }).check();
  await screen.getByText("alice@harbour.example").waitFor();
  expect(await axe(page)).toEqual([]);
  await fits(page);
  await shot(alice, "groups");
});

// G8, G5: nobody presses anything, and the other side sees who it is, in place of the number.
test("in a call, each side sees who the other is, and what of that is confirmed", async () => {
  count(bob);
  await bob.page.reload();
  await call();
  const who = bob.page.getByRole("region", { name: "Who you are talking to" });
  await who.getByText("Alice Lindqvist").waitFor();
  await who.getByText("Harbour Office").waitFor();
  await who.getByText("Only claimed").waitFor();
  await who.getByText(numbers.alice).waitFor();
  await who.getByText("Confirmed").waitFor();
  await who.locator("img").first().waitFor();
  expect(await who.getByText("alice@harbour.example").count()).toBe(0);
  // The rest is in the session; markup in it stays text.
  await log(bob).getByText("alice@harbour.example").waitFor();
  await log(bob).getByText('<img src=x onerror="document.title=1">').waitFor();
  expect(await log(bob).locator("img[src=x]").count()).toBe(0);
  expect(
    await log(bob).getByRole("link", { name: "https://social.example/@alice" }).getAttribute("rel"),
  ).toContain("noopener");
  expect(traffic.get(bob)?.pictures).toBe(1);
  expect(traffic.get(bob)?.fields.flat().length).toBe(9);
  expect(await axe(bob.page)).toEqual([]);
  await fits(bob.page);
  await shot(bob, "call", { width: 400, height: 900 });
  await shot(bob, "call-wide", { width: 1180, height: 760 });
});

test("it is kept when the user says so, saved as a vCard, and read by another program", async () => {
  await log(bob).getByRole("button", { name: "Keep", exact: true }).click();
  await log(bob).getByText("In your contacts").waitFor();
  await view(bob, "contacts");
  await bob.page.locator("summary").getByText("Alice Lindqvist").click();
  expect(await axe(bob.page)).toEqual([]);
  await fits(bob.page);
  await shot(bob, "contacts");
  const [download] = await Promise.all([
    bob.page.waitForEvent("download"),
    bob.page.getByRole("button", { name: "Save as vCard" }).click(),
  ]);
  expect(download.suggestedFilename()).toBe("Alice Lindqvist.vcf");
  const card = new ICAL.Component(ICAL.parse(readFileSync(await download.path(), "utf8")));
  expect(card.getFirstPropertyValue("version")).toBe("4.0");
  expect(card.getFirstPropertyValue("fn")).toBe("Alice Lindqvist");
  expect(card.getFirstPropertyValue("email")).toBe("alice@harbour.example");
  expect(card.getFirstPropertyValue("adr")).toEqual([
    "",
    "",
    "1 Quay Road",
    "Falmouth",
    "",
    "",
    "",
  ]);
  expect(String(card.getFirstPropertyValue("photo"))).toMatch(/^data:image\/jpeg;base64,/);
});

// G3: what is held is not sent again.
test("in the second call only what has changed travels", async () => {
  await hangUp();
  await view(alice, "profile");
  await fill(alice, "Organisation", "Harbour Master");
  const before = traffic.get(bob)?.fields.length ?? 0;
  const pictures = traffic.get(bob)?.pictures;
  await call();
  const who = bob.page.getByRole("region", { name: "Who you are talking to" });
  await who.getByText("Harbour Master").waitFor();
  await who.getByText("Alice Lindqvist").waitFor();
  await who.locator("img").first().waitFor();
  expect(traffic.get(bob)?.fields.slice(before)).toEqual([["org"]]);
  expect(traffic.get(bob)?.pictures).toBe(pictures);
});

test("the owner sees who has what, and takes it back", async () => {
  await view(alice, "profile/ledger");
  const entry = alice.page.getByRole("region", { name: numbers.bob }).first();
  await entry.getByText("They have put it into their contacts.").waitFor();
  await entry.getByRole("cell", { name: "Organisation" }).waitFor();
  expect(await axe(alice.page)).toEqual([]);
  await fits(alice.page);
  await shot(alice, "ledger");
  await entry.getByRole("button", { name: "Take it back" }).click();
  await alice.page.getByRole("dialog").getByRole("button", { name: "Take it back" }).click();
  await log(bob).getByText("Takes back what was sent").waitFor();
  await bob.page
    .getByRole("region", { name: "Who you are talking to" })
    .waitFor({ state: "detached" });
  // What he has kept is his.
  await view(bob, "contacts");
  await bob.page.locator("summary").getByText("Alice Lindqvist").waitFor();
});

test("rules for everybody and for one, and the block list", async () => {
  const { page } = bob;
  await view(bob, "profile/rules");
  await page.getByLabel("keep it without asking").check();
  await page.getByLabel("Number or address", { exact: true }).fill("+44 20 7946 0073");
  await page.keyboard.press("Enter");
  await page.getByLabel(`The profile of ${numbers.carol}`).selectOption("never");
  await page.getByLabel("Number or address to block").fill(numbers.carol);
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: `Unblock ${numbers.carol}` }).waitFor();
  expect(await axe(page)).toEqual([]);
  await fits(page);
  await shot(bob, "rules");
  await page.reload();
  await expect.poll(() => page.getByLabel("keep it without asking").isChecked()).toBe(true);
  await expect
    .poll(() => page.getByLabel(`The profile of ${numbers.carol}`).inputValue())
    .toBe("never");
  await page.getByRole("button", { name: `Unblock ${numbers.carol}` }).click();
  await page
    .getByRole("button", { name: `Unblock ${numbers.carol}` })
    .waitFor({ state: "detached" });
});

test("an address book comes along as a file, also an old one, and contacts are removed", async () => {
  const { page } = bob;
  await view(bob, "contacts");
  const old =
    "BEGIN:VCARD\r\nVERSION:2.1\r\nN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:M=C3=BCller;J=C3=B6rg\r\nFN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:J=C3=B6rg M=C3=BCller\r\nTEL;CELL:+442079460079\r\nEND:VCARD\r\n";
  await page
    .getByLabel("Add from a vCard file")
    .setInputFiles({ name: "old.vcf", mimeType: "text/vcard", buffer: Buffer.from(old) });
  await page.getByText("Added: 1").waitFor();
  await page.getByLabel("Search").fill("0079");
  await page.locator("summary").getByText("Jörg Müller").click();
  expect(await page.getByText("Alice Lindqvist").count()).toBe(0);
  await page.getByRole("button", { name: "Remove", exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
  await page.getByText("No contacts yet.").waitFor();
  await page
    .getByLabel("Add from a vCard file")
    .setInputFiles({ name: "x.vcf", mimeType: "text/vcard", buffer: Buffer.from("nothing") });
  await page.getByRole("alert").waitFor();
});

// G2: two devices of one person; what both have changed is shown, and decided.
test("what two devices have changed without a network is a conflict, and the user decides", async () => {
  const { page } = alice;
  const second: Watched = await open(browser, server.url);
  await enrol(second, server, numbers.alice, "Alice’s tablet");
  await view(alice, "profile");
  await saved(alice);
  await page.context().setOffline(true);
  await page.getByLabel("Organisation", { exact: true }).fill("From the phone");
  await page.keyboard.press("Tab");
  await page.getByText("On this device; not yet saved on the server.").waitFor();
  await view(second, "profile");
  await fill(second, "Organisation", "From the tablet");
  await page.context().setOffline(false);
  const conflict = page.getByRole("region", {
    name: "Organisation: changed on another device too",
  });
  await conflict.getByText("From the phone").waitFor();
  expect(await page.getByLabel("Organisation", { exact: true }).inputValue()).toBe(
    "From the tablet",
  );
  expect(await axe(page)).toEqual([]);
  await shot(alice, "conflict");
  await conflict.getByRole("button", { name: "Use the one from here" }).click();
  await saved(alice);
  await view(second, "profile/groups");
  await second.page.getByText("From the phone").first().waitFor();
  expect(second.faults).toEqual([]);
});

// G2: the profile lives at an address, and the server reads it there.
test("a page about oneself is read, and what gave nothing is said", async () => {
  const site = createServer((req, res) => {
    res.writeHead(req.url === "/alice" ? 200 : 404, { "Content-Type": "text/html" });
    res.end(
      '<p class="h-card"><b class="p-name">Alice of the Harbour</b> <i class="p-role">Pilot</i>',
    );
  });
  await new Promise<void>((done) => site.listen(0, "127.0.0.1", done));
  const at = `http://127.0.0.1:${(site.address() as AddressInfo).port}`;
  try {
    const { page } = alice;
    await view(alice, "profile");
    const source = page.getByRole("region", { name: "At an address of yours" });
    await source.getByLabel("Address of the page or card").fill(`${at}/nobody`);
    await source.getByRole("button", { name: "Read it" }).click();
    await source.getByRole("alert").getByText("there was no answer").waitFor();
    await source.getByLabel("Address of the page or card").fill(`${at}/alice`);
    await source.getByRole("button", { name: "Read it" }).click();
    await source
      .getByRole("status")
      .getByText(/^Read /)
      .waitFor();
    await expect
      .poll(() => page.getByLabel("Name", { exact: true }).inputValue())
      .toBe("Alice of the Harbour");
    expect(await page.getByLabel("Role", { exact: true }).inputValue()).toBe("Pilot");
    expect(await axe(page)).toEqual([]);
    await fits(page);
  } finally {
    site.close();
  }
});

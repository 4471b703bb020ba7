import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { axe, enrol, fits, launch, open, report, type Watched } from "../support/browser.ts";

// What becomes of what others let one know (G5, G6): Bob is asked before it is shown, and keeps
// nothing but what he says.
const numbers = { alice: "+442079460081", bob: "+442079460082" };

let browser: Browser;
let server: TestServer;
let alice: Watched;
let bob: Watched;
/** The fields of each profile that Bob's page was sent; what it asked for again is among them. */
const came: string[][] = [];

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start({
    TANDEM_CALLS_INVITE_DELAY: "1h", // both sides say that there is a call
    TANDEM_SESSIONS_LINGER: "1s",
  });
  alice = await open(browser, server.url);
  bob = await open(browser, server.url);
  bob.page.on("websocket", (ws) =>
    ws.on("framereceived", ({ payload }) => {
      const text = String(payload);
      const frame = text.startsWith("{") ? JSON.parse(text) : {};
      if (frame.kind === "tandem.profile") {
        came.push((frame.body.fields as { id: string }[]).map((f) => f.id).sort());
      }
    }),
  );
  bob.page.on("response", async (r) => {
    if (r.url().endsWith("/profile/held") && r.ok()) {
      const { fields } = (await r.json()) as { fields: { id: string }[] };
      came.push(fields.map((f) => f.id).sort());
    }
  });
  await enrol(alice, server, numbers.alice, "Alice");
  await enrol(bob, server, numbers.bob, "Bob");
  const { page } = alice;
  await view(alice, "profile");
  for (const [label, value] of [
    ["Name", "Alice Lindqvist"],
    ["E-mail", "alice@harbour.example"],
  ] as const) {
    await page.getByLabel(label, { exact: true }).fill(value);
    await page.keyboard.press("Tab");
    await page.getByText("Saved, and the same on all your devices.").waitFor();
  }
  await view(alice, "profile/groups");
  await page
    .getByRole("region", { name: "Over their call screen" })
    .getByLabel("Name", { exact: true })
    .check();
});
afterAll(async () => {
  await browser?.close();
  await server?.remove();
});

const view = ({ page }: Watched, path: string) => page.goto(`${server.url}/#/${path}`);
const who = () => bob.page.getByRole("region", { name: "Who you are talking to" });
const log = () => bob.page.getByRole("log");

async function call() {
  await view(alice, "");
  await view(bob, "");
  await report(alice, numbers.bob);
  await report(bob, numbers.alice);
  await bob.page.getByRole("heading", { name: /^Session with/ }).waitFor();
  await log().getByText("alice@harbour.example").waitFor();
}

/** Both say that the call is over, and the session closes. */
async function hangUp() {
  for (const w of [alice, bob]) {
    await view(w, "");
    await w.page.getByRole("button", { name: "The call is over" }).click();
  }
  await bob.page.getByRole("heading", { name: /Session with/ }).waitFor({ state: "detached" });
}

/** How many profiles Bob's browser holds on its disk. */
const held = () =>
  bob.page.evaluate(async () => {
    let n = 0;
    for (const { name, version } of await indexedDB.databases()) {
      const db = await new Promise<IDBDatabase>((resolve, reject) => {
        const r = indexedDB.open(name ?? "", version);
        r.onsuccess = () => resolve(r.result);
        r.onerror = () => reject(r.error);
      });
      for (const store of db.objectStoreNames) {
        const keys = await new Promise<IDBValidKey[]>((resolve, reject) => {
          const r = db.transaction(store).objectStore(store).getAllKeys();
          r.onsuccess = () => resolve(r.result);
          r.onerror = () => reject(r.error);
        });
        n += keys.filter((k) => String(k).startsWith("profile/held/")).length;
      }
      db.close();
    }
    return n;
  });

test("an e-mail address is proved with the code that is sent there", async () => {
  const { page } = alice;
  await view(alice, "profile");
  await page.getByText("Only claimed").waitFor();
  await page.getByRole("button", { name: "Prove that it is yours" }).click();
  const code = await server.code();
  const field = page.getByLabel("Code from the e-mail");
  await field.fill(code === "000000" ? "000001" : "000000");
  await page.getByRole("button", { name: "Prove it" }).click();
  await page.getByRole("alert").waitFor();
  expect(await axe(page)).toEqual([]);
  await fits(page);
  await field.fill(code);
  await page.getByRole("button", { name: "Prove it" }).click();
  const confirmed = page.getByText(/^Confirmed on .*20\d\d$/);
  await confirmed.waitFor();
  expect(await page.getByText("Only claimed").count()).toBe(0);
  // Taken back, it is only claimed; and may be proved anew.
  await page.getByRole("button", { name: "It is not mine any more" }).click();
  await page.getByText("Only claimed").waitFor();
  expect(await confirmed.count()).toBe(0);
  await page.getByRole("button", { name: "Prove that it is yours" }).click();
  await field.fill(await server.code());
  await page.getByRole("button", { name: "Prove it" }).click();
  await confirmed.waitFor();
  expect(await axe(page)).toEqual([]);
  expect(alice.faults).toEqual([]);
});

test("who wants to be asked first is shown nothing over the call before they say so", async () => {
  await view(bob, "profile/rules");
  await bob.page.getByLabel("asks me before it shows that").check();
  await call();
  const show = bob.page.getByRole("button", { name: "Show who they are" });
  await show.waitFor();
  expect(await who().count()).toBe(0);
  expect(await axe(bob.page)).toEqual([]);
  await fits(bob.page);
  await show.click();
  await who().getByText("Alice Lindqvist").waitFor();
  // The question is asked again in the next visit, and not at all by who wants nothing shown.
  await bob.page.reload();
  await show.waitFor();
  await view(bob, "profile/rules");
  await bob.page.getByLabel("shows nothing").check();
  await view(bob, "");
  await bob.page.getByRole("heading", { name: /^Session with/ }).waitFor();
  await log().getByText("alice@harbour.example").waitFor();
  expect((await show.count()) + (await who().count())).toBe(0);
  expect([...alice.faults, ...bob.faults]).toEqual([]);
});

test("what nobody confirms is there for the call, and offered after it, and gone then", async () => {
  expect(came[0]).toEqual(["email", "fn"]);
  expect(await held()).toBe(1);
  await log().getByRole("button", { name: "Keep", exact: true }).waitFor();
  await hangUp();
  const after = bob.page.getByRole("region", { name: "After the call" });
  await after.getByText("Keep what Alice Lindqvist let you know?").waitFor();
  await expect.poll(held).toBe(0);
  await after.getByRole("button", { name: "Not now" }).click();
  await after.waitFor({ state: "detached" });
  await view(bob, "contacts");
  await bob.page.getByText("No contacts yet.").waitFor();
  // So all of it comes once more in the next call.
  const before = came.length;
  await bob.page.reload();
  await call();
  await expect.poll(() => came.slice(before).flat()).toEqual(["email", "fn"]);
  expect([...alice.faults, ...bob.faults]).toEqual([]);
});

test("what is confirmed after the call stays, and does not come again", async () => {
  await hangUp();
  const after = bob.page.getByRole("region", { name: "After the call" });
  expect(await axe(bob.page)).toEqual([]);
  await after.getByRole("button", { name: "Keep", exact: true }).click();
  await after.waitFor({ state: "detached" });
  await view(bob, "contacts");
  await bob.page.locator("summary").getByText("Alice Lindqvist").waitFor();
  const before = came.length;
  await call();
  await log().getByText("In your contacts").waitFor();
  expect([...alice.faults, ...bob.faults]).toEqual([]);
  expect(came.slice(before).flat()).toEqual([]);
});

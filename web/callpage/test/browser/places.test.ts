import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { axe, enrol, fits, launch, open, report, type Watched } from "../support/browser.ts";

let browser: Browser;
let server: TestServer;
let alice: Watched;
let bob: Watched;
const numbers = { alice: "+442079460061", bob: "+442079460062" };

// Where they are, by Chromium's geolocation override.
const trafalgar = { latitude: 51.508, longitude: -0.128, accuracy: 15 };
const tower = { latitude: 51.5081, longitude: -0.0759, accuracy: 20 };

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start({
    TANDEM_CALLS_INVITE_DELAY: "100ms",
    TANDEM_MAPS_LINK: "https://maps.example/?lat={lat}&lon={lon}",
    // For the rules: who counts as a company.
    TANDEM_MAPS_PROVIDERS: numbers.bob,
  });
  const granted = { permissions: ["geolocation"] };
  alice = await open(browser, server.url, { geolocation: trafalgar, ...granted });
  bob = await open(browser, server.url, { geolocation: tower, ...granted });
  await enrol(alice, server, numbers.alice, "Alice");
  await enrol(bob, server, numbers.bob, "Bob");
});
afterAll(async () => {
  await browser?.close();
  await server?.remove();
});
afterEach(() => {
  expect(alice.faults).toEqual([]);
  expect(bob.faults).toEqual([]);
});

const log = ({ page }: Watched) => page.getByRole("log");
const places = async ({ page }: Watched) => {
  await page.getByRole("button", { name: "Places" }).click();
  return page.getByRole("dialog", { name: "Where are you two?" });
};
const question = ({ page }: Watched) =>
  page.getByRole("alertdialog", { name: /asks where you are/ });
/** Asks, and waits until the other is asked. */
async function ask(who: Watched, of: Watched, how = "Only this once"): Promise<void> {
  const dialog = await places(who);
  await dialog.getByLabel("For how long").last().selectOption(how);
  await dialog.getByRole("button", { name: "Ask" }).click();
  await dialog.getByText("Asked.").waitFor();
  await question(of).waitFor();
  await dialog.getByRole("button", { name: "Close" }).click();
}

// F3: by a setting, on a positive capability check, without a touch.
test("a rule sends the place by itself when the session opens, as exactly as it says", async () => {
  await alice.page.getByRole("link", { name: "Settings" }).click();
  const rules = alice.page.getByRole("region", { name: "Who may know where I am" });
  await rules.getByLabel("With whom").selectOption("Companies that I call");
  await rules.getByLabel("Only roughly").check();
  await rules.getByLabel("Also by itself").check();
  await rules.getByRole("button", { name: "Add" }).click();
  await rules.getByText("whenever they ask in a call, Roughly, by itself").waitFor();
  expect(await axe(alice.page)).toEqual([]);
  await fits(alice.page);
  await alice.page.getByRole("link", { name: "Back" }).click();
  await report(alice, numbers.bob);
  await bob.page.getByRole("alertdialog").getByRole("button", { name: "Open it" }).click();
  await alice.page.getByRole("heading", { name: "Session with Bob" }).waitFor();
  await bob.page.getByRole("heading", { name: "Session with Alice" }).waitFor();
  const card = log(bob).getByRole("article").filter({ hasText: "Where Alice is" });
  await card.getByText("51.51° N 0.13° W, within 2 km").waitFor();
  await log(alice).getByText("Where you are", { exact: true }).waitFor();
});

// F1, F3: the capability check, then the place at the user's touch: words, distance, links.
test("a place at the user's touch, said in words, with the way there", async () => {
  const dialog = await places(alice);
  await dialog.getByText("The other device shows a map.").waitFor();
  expect(await axe(alice.page)).toEqual([]);
  await dialog.getByRole("button", { name: "Share" }).click();
  const card = log(bob).getByRole("article").filter({ hasText: "Where Alice is" }).last();
  await card.getByText("51.508° N 0.128° W, within 15 m").waitFor();
  // Bob's own place is known to his page, and goes to nobody.
  await card.getByText("3.6 km to the west of you").waitFor();
  const app = card.getByRole("link", { name: "Open in a map app" });
  expect(await app.getAttribute("href")).toMatch(/^geo:51\.508,-0\.128.*;u=15$/);
  const service = card.getByRole("link", { name: "Open at maps.example" });
  expect(await service.getAttribute("href")).toContain("lat=51.508000&lon=-0.128000");
  await expect
    .poll(() => log(alice).getByText("Where you are", { exact: true }).count(), { timeout: 60_000 })
    .toBe(2);
  expect(await log(alice).getByText("Where Bob is").count()).toBe(0);
  expect(await axe(bob.page)).toEqual([]);
});

// F2: asked, and told roughly, once; then no more.
test("asked for: only what the user agrees to goes out", async () => {
  await ask(alice, bob);
  expect(await axe(bob.page)).toEqual([]);
  await fits(bob.page);
  await question(bob).getByLabel("Only roughly").check();
  await question(bob).getByRole("button", { name: "Tell them once" }).click();
  const card = log(alice).getByRole("article").filter({ hasText: "Where Bob is" });
  await card.getByText("51.51° N 0.07° W, within 2 km").waitFor();
  await card.getByText("Roughly").waitFor();
  await ask(alice, bob);
  await question(bob).getByRole("button", { name: "Not now" }).click();
  await question(bob).waitFor({ state: "detached" });
  expect(await card.count()).toBe(1);
});

// F4: live, with a visible stop.
test("followed live, until the user stops it", async () => {
  await ask(alice, bob, "Live, for 15 minutes");
  await question(bob).getByRole("button", { name: "Live, for 15 minutes" }).click();
  await bob.page.getByText(/Alice follows where you are, until/).waitFor();
  const card = log(alice).getByRole("article").filter({ hasText: "Where Bob is" }).last();
  await card.getByText("51.5081° N 0.0759° W, within 20 m").waitFor();
  await card.getByText("Live").waitFor();
  await bob.page.context().setGeolocation({ latitude: 51.5155, longitude: -0.0922, accuracy: 8 });
  await card.getByText("51.5155° N 0.0922° W, within 8 m").waitFor();
  expect(await axe(bob.page)).toEqual([]);
  // A reload of the page goes on with it.
  await bob.page.reload();
  await bob.page.getByText(/Alice follows where you are, until/).waitFor();
  await bob.page.context().setGeolocation({ latitude: 51.52, longitude: -0.1, accuracy: 9 });
  await card.getByText("51.52° N 0.1° W, within 9 m").waitFor();
  await bob.page.getByRole("button", { name: "Stop", exact: true }).click();
  await log(alice).getByText("Bob shares their place no more").waitFor();
  await bob.page.getByText(/follows where you are/).waitFor({ state: "detached" });
  expect(await card.getByText("Live").count()).toBe(0);
});

test("agreed to for the call: the next question is answered without the user", async () => {
  await ask(alice, bob);
  await question(bob).getByRole("button", { name: "Whenever they ask" }).click();
  await bob.page.getByText("Alice may ask where you are, until the call ends.").waitFor();
  const cards = log(alice).getByRole("article").filter({ hasText: "Where Bob is" });
  await cards.getByText("51.52° N 0.1° W, within 9 m").last().waitFor();
  const before = await cards.count();
  const dialog = await places(alice);
  await dialog.getByRole("button", { name: "Ask" }).click();
  await expect.poll(() => cards.count(), { timeout: 60_000 }).toBe(before + 1);
  await dialog.getByRole("button", { name: "Close" }).click();
  await bob.page.getByRole("button", { name: "Stop", exact: true }).click();
  await bob.page.getByText(/may ask where you are/).waitFor({ state: "detached" });
});

test("a browser that may not say where it is says that to its user", async () => {
  await bob.page.context().clearPermissions();
  const dialog = await places(bob);
  await dialog.getByRole("button", { name: "Share" }).click();
  await dialog.getByText("Your browser does not let this page know where you are.").waitFor();
  expect(await axe(bob.page)).toEqual([]);
  await dialog.getByRole("button", { name: "Close" }).click();
  // It says so to who checks, too.
  const asking = await places(alice);
  await asking.getByText("The other device cannot say where it is.").waitFor();
  await asking.getByRole("button", { name: "Close" }).click();
  await bob.page.context().grantPermissions(["geolocation"], { origin: server.url });
});

test("who never wants to be asked is not, and looks like who says nothing", async () => {
  await ask(alice, bob);
  await question(bob).getByRole("button", { name: "Never," }).click();
  await question(bob).waitFor({ state: "detached" });
  const dialog = await places(alice);
  await dialog.getByRole("button", { name: "Ask" }).click();
  await dialog.getByText("The other device cannot say where it is.").waitFor();
  expect(await question(bob).count()).toBe(0);
  await dialog.getByRole("button", { name: "Close" }).click();
  // That is taken back where it is listed.
  await bob.page.getByRole("link", { name: "Settings" }).click();
  const rules = bob.page.getByRole("region", { name: "Who may know where I am" });
  await rules.getByText("may not ask any more").waitFor();
  await rules.getByRole("button", { name: `Remove: ${numbers.alice}` }).click();
  await rules.getByText("may not ask any more").waitFor({ state: "detached" });
  await bob.page.getByRole("link", { name: "Back" }).click();
  await ask(alice, bob);
  await question(bob).getByRole("button", { name: "Not now" }).click();
});

test("the end of the call ends what is shared live", async () => {
  const dialog = await places(bob);
  await dialog.getByLabel("For how long").first().selectOption("Live, until the call ends");
  await dialog.getByRole("button", { name: "Share" }).click();
  await bob.page.getByText(/Alice follows where you are, until/).waitFor();
  await log(alice).getByText("Live", { exact: true }).waitFor();
  await alice.page.getByRole("button", { name: "The call is over" }).click();
  await bob.page.getByText(/follows where you are/).waitFor({ state: "detached" });
  await log(alice).getByText("Bob shares their place no more").last().waitFor();
  await log(alice).getByText("Live", { exact: true }).waitFor({ state: "detached" });
});

import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { axe, enrol, fits, launch, open, type Watched } from "../support/browser.ts";
import { region, Shop } from "../support/shop.ts";

let browser: Browser;
let server: TestServer;
let alice: Watched;
let agent: Shop;
const numbers = { alice: "+442079460051", shop: "+442079460059" };

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start({ TANDEM_CALLS_INVITE_DELAY: "1h" });
  agent = new Shop(numbers.shop);
  await agent.enrol(server);
  await agent.start();
  alice = await open(browser, server.url, {
    geolocation: { latitude: 51.5074, longitude: -0.1278, accuracy: 12 },
    permissions: ["geolocation"],
    reducedMotion: "no-preference",
  });
  await enrol(alice, server, numbers.alice, "Alice");
});
afterAll(async () => {
  await agent?.stop();
  await browser?.close();
  await server?.remove();
});
afterEach(() => expect(alice.faults).toEqual([]));

/** Makes a picture for the manual, where SHOT_DIR says where to. */
async function picture(name: string): Promise<void> {
  const { SHOT_DIR } = process.env;
  if (SHOT_DIR) {
    await alice.page.screenshot({ path: `${SHOT_DIR}/${name}.png` });
  }
}

const layer = () => alice.page.getByRole("region", { name: `Screen of ${numbers.shop}` });
const press = (name: string) => layer().getByRole("button", { name }).click();

// I4, I5: the overlay lies over the call, is confirmed, and takes all touches.
test("an overlay in a call is drawn over it, and confirmed", async () => {
  await agent.meet(alice, numbers.alice);
  const seq = await agent.send(
    [
      region("Ajax Taxi", 0, {}),
      region("Pick me up here", 1, { display: "flash", actions: [{ type: "send_location" }] }),
      region("Pay the driver", 2, { state: "disabled", actions: [{ type: "choose", value: "x" }] }),
      {
        id: "corner",
        exact: { x: 6000, y: 8000, width: 4000, height: 1500 },
        text: { en: "I am by the red door" },
        actions: [{ type: "choose", value: "c" }],
      },
    ],
    { opacity: 60 },
  );
  expect((await agent.shown(seq)).state).toBe("shown");
  await layer().getByText("Ajax Taxi").waitFor();
  expect(await axe(alice.page)).toEqual([]);
  // What lies below is to be seen, and can be neither touched nor reached by keyboard.
  expect(await layer().evaluate((e) => getComputedStyle(e).backgroundColor)).toMatch(/0\.6\)?$/);
  const hits = await alice.page.evaluate(() => {
    const composer = document.querySelector("textarea")?.getBoundingClientRect();
    const at = composer && document.elementFromPoint(composer.x + 5, composer.y + 5);
    return [!!at?.closest("section.layer"), !!document.querySelector(".page[inert]")];
  });
  expect(hits).toEqual([true, true]);
  expect(await layer().getByRole("button", { name: "Pay the driver" }).isDisabled()).toBe(true);
  await fits(alice.page);
  await picture("overlay");
});

test("each action is asked about, done, and told to the agent", async () => {
  const seq = await agent.send([
    region("Here", 0, {
      actions: [{ type: "send_location" }, { type: "message", value: "At the door" }],
    }),
    region("Table", 1, { actions: [{ type: "choose", value: "t4" }] }),
    region("Menu", 2, { actions: [{ type: "by_email", item: "menu" }] }),
    region("Photo", 3, { actions: [{ type: "send_photo" }] }),
    region("Buy", 4, {
      actions: [
        { type: "buy", item: "lamp", amount: { minor: 1, currency: "EUR" } },
        { type: "choose", value: "x" },
      ],
    }),
    region("Keys", 5, { actions: [{ type: "dial", keys: "1#" }] }),
    region("Site", 6, { actions: [{ type: "open_page", url: "https://shop.example/menu" }] }),
  ]);
  await agent.shown(seq);
  const dialog = alice.page.getByRole("dialog");

  await press("Here");
  await dialog.getByText("Your location is sent.").waitFor();
  await dialog.getByText("You say: “At the door”").waitFor();
  expect(await axe(alice.page)).toEqual([]);
  await dialog.getByRole("button", { name: "Yes, go on" }).click();
  expect((await agent.result(seq, "here")).outcome).toBe("done");
  await agent.until("a place", () =>
    agent.messages.some(
      (m) => m.kind === "tandem.place" && JSON.stringify(m.body).includes("51.5074"),
    ),
  );
  await agent.until("her words", () => agent.texts().includes("At the door"));

  await press("Table");
  expect(await agent.result(seq, "table")).toMatchObject({
    outcome: "done",
    value: "t4",
  });

  await press("Menu");
  await dialog.getByLabel("Your e-mail address, to get “menu”").fill("nonsense");
  await dialog.getByRole("button", { name: "Send" }).click();
  await dialog.getByText("Write an e-mail address").waitFor();
  await dialog.getByLabel("Your e-mail address, to get “menu”").fill("alice@example.com");
  await dialog.getByRole("button", { name: "Send" }).click();
  expect(await agent.result(seq, "menu")).toMatchObject({
    address: "alice@example.com",
  });

  await press("Photo");
  await dialog.getByRole("button", { name: "Cancel" }).click();
  expect(await agent.result(seq, "photo")).toMatchObject({
    outcome: "cancelled",
    reason: "by_user",
  });

  await press("Buy");
  expect(await agent.result(seq, "buy")).toMatchObject({
    outcome: "failed",
    reason: "no_payments",
  });
  await layer().getByText("They take no payments yet").waitFor();

  await press("Keys");
  await dialog.getByRole("button", { name: "Yes, go on" }).click();
  expect(await agent.result(seq, "keys")).toMatchObject({
    outcome: "failed",
    reason: "no_call",
  });

  await press("Site");
  const link = dialog.getByRole("link", { name: "Open" });
  await dialog.getByText("shop.example").waitFor();
  expect(await link.getAttribute("rel")).toContain("noopener");
  await alice.page.keyboard.press("Escape");
  expect(await agent.result(seq, "site")).toMatchObject({ outcome: "cancelled" });
});

test("a form: seats on a plan, a day and a number, checked as the server checks them", async () => {
  const words = (en: string) => ({ en });
  const seat = (value: string, x: number, taken = false) => ({
    value,
    label: words(value),
    taken,
    exact: { x, y: 4000, width: 1800, height: 1800 },
  });
  const seq = await agent.send([
    region("book", 0, {
      actions: [
        {
          type: "fill_in",
          form: {
            fields: [
              {
                id: "seat",
                label: words("Seats"),
                type: "seats",
                max: 2,
                required: true,
                options: [seat("a1", 1000), seat("a2", 4000), seat("a3", 7000, true)],
              },
              {
                id: "day",
                label: words("Day"),
                type: "date",
                required: true,
                least: "2026-12-01",
                most: "2026-12-31",
              },
              { id: "people", label: words("People"), type: "number", min: 1, max: 6 },
            ],
          },
        },
      ],
    }),
  ]);
  await agent.shown(seq);
  await press("book");
  const dialog = alice.page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Send" }).click();
  await dialog.getByText("Please fill this in.").waitFor();
  expect(await dialog.getByRole("checkbox", { name: "a3" }).isDisabled()).toBe(true);
  await dialog.getByRole("checkbox", { name: "a1" }).check();
  await dialog.getByRole("checkbox", { name: "a2" }).check();
  await dialog.getByLabel("Day").fill("2027-01-01");
  await dialog.getByLabel(/People/).fill("9");
  await dialog.getByRole("button", { name: "Send" }).click();
  await dialog.getByText(/A day from/).waitFor();
  expect(await axe(alice.page)).toEqual([]);
  await picture("overlay-form");
  await dialog.getByLabel("Day").fill("2026-12-24");
  await dialog.getByRole("button", { name: "Send" }).click();
  await dialog.getByText("A whole number from 1 to 6, please.").waitFor();
  await dialog.getByLabel(/People/).fill("2");
  await dialog.getByRole("button", { name: "Send" }).click();
  expect((await agent.result(seq, "book")).answers).toEqual({
    seat: ["a1", "a2"],
    day: ["2026-12-24"],
    people: ["2"],
  });
});

test("what is new is marked; as text, with soft keys; put away and brought back", async () => {
  const yes = region("yes", 0, { display: "wobble", actions: [{ type: "choose", value: "y" }] });
  await agent.shown(await agent.send([yes]));
  const seq = await agent.send([
    yes,
    region("no", 1, { display: "flash", actions: [{ type: "choose", value: "n" }] }),
  ]);
  await agent.shown(seq);
  expect(await layer().getByText("New").count()).toBe(1);
  await layer().getByRole("button", { name: /no/ }).waitFor();
  await alice.page.emulateMedia({ reducedMotion: "reduce" });
  const running = () =>
    alice.page.evaluate(
      () =>
        document.getAnimations().filter((a) => (a as CSSAnimation).animationName?.includes("flash"))
          .length,
    );
  expect(await running()).toBe(0);
  await press("As text");
  expect(await axe(alice.page)).toEqual([]);
  await fits(alice.page);
  await layer().locator(".settling").waitFor({ state: "detached" }); // before, no key presses
  await alice.page.keyboard.press("2");
  expect(await agent.result(seq, "no")).toMatchObject({ value: "n" });
  await press("As text");
  await press("Put away");
  expect(await layer().count()).toBe(0);
  await alice.page.getByLabel("Message", { exact: true }).fill("half a thou");
  const late = await agent.send([region("ok", 0, { actions: [{ type: "choose", value: "k" }] })]);
  await alice.page.getByText("has something for your screen").waitFor();
  expect(await alice.page.getByLabel("Message", { exact: true }).inputValue()).toBe("half a thou");
  await alice.page.getByRole("button", { name: "Show", exact: true }).click();
  expect((await agent.shown(late)).state).toBe("shown");
});

// Nothing of a provider's runs as script in the page, and no other server is asked: afterEach looks.
test("hostile overlays do nothing", async () => {
  const evil = '<img src=x onerror="document.title=1"><script>document.title=1</script>';
  const seq = await agent.send([
    { id: "a", grid: { column: 0, row: 0, width: 4 }, text: { en: evil } },
    {
      id: "b",
      grid: { column: 0, row: 1 },
      picture: { url: "https://evil.example/x.svg", alt: { en: evil } },
    },
  ]);
  await agent.shown(seq);
  await layer().getByText(evil).first().waitFor();
  expect(await layer().locator("script, img, style, iframe").count()).toBe(0);
  expect(await alice.page.title()).toContain("Tandem");
  // What the server would refuse reaches the page by no other way; were it to, it is not drawn.
  const refused = agent.device.api.call("POST", `/v1/sessions/${agent.session}/messages`, {
    id: "evil",
    kind: "overlay",
    body: { version: 1, id: "x", language: "en", regions: [], script: "x" },
  });
  await expect(refused).rejects.toThrow(/unknown field/);
});

import { writeFile } from "node:fs/promises";
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { axe, fits, launch, open, type Watched } from "../../../callpage/test/support/browser.ts";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { inArabic } from "../support/arabic.ts";

let browser: Browser;
let server: TestServer;
let editor: Watched;
const shop = "+442079460900";

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start();
});
afterAll(async () => {
  await browser?.close();
  await server?.remove();
});
afterEach(() => expect(editor?.faults ?? []).toEqual([]));

const phone = () => editor.page.getByRole("region", { name: /^Screen of/ });
const button = (name: string) => editor.page.getByRole("button", { name, exact: true });
const field = (name: string) => editor.page.getByLabel(name, { exact: true });

/** For the manual, where a folder is named. */
async function shoot(name: string): Promise<void> {
  if (process.env.PICTURES) {
    await writeFile(`${process.env.PICTURES}/${name}.png`, await editor.page.screenshot());
  }
}

test("a provider makes an overlay, sees it as a phone shows it, and publishes it", async () => {
  const key = await server.command(
    ...["token", "create", "--role", "provider", "--name", "shop", "--for", "+44207946"],
  );
  editor = await open(browser, `${server.url}/agent/overlays.html`, {
    viewport: { width: 1280, height: 860 },
    reducedMotion: "no-preference",
  });
  expect(await axe(editor.page)).toEqual([]);
  await field("API key").fill("tak_wrong");
  await button("Open").click();
  await editor.page.getByRole("alert").waitFor();
  await field("API key").fill(/\btak_\S+/.exec(key)?.[0] ?? key.trim().split("\n")[0] ?? "");
  await button("Open").click();
  await field("Name of a new one").fill("taxi");
  await button("New overlay").click();
  await field("What agents see (en)").fill("Ajax Taxi");
  await field("Numbers it is for").fill(shop);
  await field("Further languages").fill("ar");
  await field("Further languages").blur();

  await button("Add a region").click();
  await editor.page.locator("summary").filter({ hasText: "New region" }).click();
  await field("Text (en)").fill("Pick me up here");
  await field("Text (ar)").fill("خذني من هنا");
  await field("When it is new").selectOption("flash");
  await button("Add an action").click();
  await field("Action").selectOption("send_location");
  // At once on the phone, which is the call page's own drawing, and asks what that asks.
  await phone().getByRole("button", { name: "Pick me up here" }).click();
  await editor.page.getByText("Your location is sent.").waitFor();
  await button("Yes, go on").click();
  await phone().getByText("Done").waitFor();
  await field("Language of the preview").selectOption("ar");
  await phone().getByRole("button", { name: "خذني من هنا" }).waitFor();
  await field("Language of the preview").selectOption("en");

  await button("Publish").click();
  await editor.page.getByText("It is live.").waitFor();
  expect(await server.command("overlay", "list")).toMatch(/taxi +1 +1 +by agents/);
  expect(await axe(editor.page)).toEqual([]);
});

test("what is not valid is said beside the preview, and by the server, and changes nothing", async () => {
  await button("Add a region").click();
  await editor.page.locator("summary").filter({ hasText: "New region" }).click();
  const second = editor.page.locator("li.card").nth(1);
  await second.getByRole("button", { name: "Add an action" }).click();
  await second.getByLabel("Action", { exact: true }).selectOption("open_page");
  await second.getByLabel("Address of the page").fill("javascript:alert(1)");
  await editor.page.getByText(/must be an https address/).waitFor();
  expect(await phone().count()).toBe(0);
  await button("Publish").click();
  await editor.page.getByRole("alert").waitFor();
  expect(await server.command("overlay", "list")).toMatch(/taxi +1 +1 /);
  await second.getByLabel("Address of the page").fill("https://taxi.example/prices");
  await second.getByLabel("Text (en)").fill("Our prices");
  await phone().getByRole("button", { name: "Our prices" }).waitFor();
  await button("Publish").click();
  await editor.page.getByText("It is live.").waitFor();
  await shoot("overlay-editor");
  await fits(editor.page);
});

test("an earlier version is made live again", async () => {
  await button("Look at version 1").click();
  await phone().getByRole("button", { name: "Our prices" }).waitFor({ state: "detached" });
  await phone().getByRole("button", { name: "Pick me up here" }).waitFor();
  // Nothing of one's own is unsaved.
  await editor.page.getByText("This is version 1, not the draft.").waitFor();
  await button("Make version 1 live").click();
  await editor.page.getByText("Version 1 is live.").waitFor();
  await editor.page.getByText("This is version 1, which is live.").waitFor();
  expect(await editor.page.getByText("Not saved yet").count()).toBe(0);
  expect(await server.command("overlay", "list")).toMatch(/taxi +1 +1 2 /);
});

test("a region’s id is seen and changed, and what refers to it goes along", async () => {
  const region = editor.page.locator("li.card").first();
  const id = region.getByLabel("Id of the region");
  await id.fill("Pick up");
  await id.blur();
  await region.getByText("1 to 64 of a-z 0-9 _ -, and each region its own.").waitFor();
  const parameters = editor.page.locator("summary").filter({ hasText: "Parameters" });
  await parameters.click();
  await button("Add a parameter").click();
  const given = editor.page.getByRole("group", { name: "Parameter 1", exact: true });
  await given.getByLabel("Given by").selectOption("customer");
  await given.getByLabel(/^What of the customer’s/).fill("region-1");
  await id.fill("pick-up");
  await id.press("Enter");
  await region.locator("summary").first().getByText("pick-up").waitFor();
  expect(await id.evaluate((e) => e === document.activeElement)).toBe(true);
  expect(await given.getByLabel(/^What of the customer’s/).inputValue()).toBe("pick-up");
  await editor.page.getByText("Not saved yet").waitFor();
  await given.getByRole("button", { name: "Remove Parameter 1" }).click();
  await parameters.click();
});

// Nothing of it needs JSON: what is asked, within which bounds, who gives what, and when it is sent.
test("a form, a payment, parameters and conditions are made by fields, seen at once, and by keyboard", async () => {
  const { keyboard } = editor.page;
  const summary = (text: string) => editor.page.locator("summary").filter({ hasText: text });
  const group = (name: string) => editor.page.getByRole("group", { name, exact: true });
  await summary("Parameters").focus();
  await keyboard.press("Enter");
  await button("Add a parameter").focus();
  await keyboard.press("Enter");
  const car = group("Parameter 1");
  await car.getByLabel("Id").fill("car");
  await car.getByLabel("Example").fill("Red Golf");
  await button("Add a parameter").click();
  const price = group("Parameter 2");
  await price.getByLabel("Id").fill("price");
  await price.getByLabel("Takes").selectOption("number");
  await price.getByLabel("Most").fill("100000");
  await price.getByLabel("Example").fill("1250");
  await price.getByLabel("Given by").selectOption("service");

  await button("Add a region").click();
  await summary("New region").click();
  const when = editor.page.locator("li.card").nth(1);
  await when.getByLabel("Text (en)").fill("When does the {{car}} come?");
  await when.getByRole("button", { name: "Add an action" }).click();
  await when.getByLabel("Action", { exact: true }).selectOption("fill_in");
  const day = when.getByRole("group", { name: "Field 1", exact: true });
  await day.getByLabel("Id").fill("day");
  await day.getByLabel("Label (en)").fill("Day");
  await day.getByLabel("Takes").selectOption("date");
  await day.getByLabel("First day").fill("2026-12-01");
  await day.getByLabel("Has to be filled in").check();
  await when.getByRole("button", { name: "Add a field" }).focus();
  await keyboard.press("Enter");
  const seat = when.getByRole("group", { name: "Field 2", exact: true });
  await seat.getByLabel("Label (en)").fill("Seat");
  await seat.getByLabel("Takes").selectOption("seats");
  await seat.getByLabel("What is read (en)").fill("front");
  await seat.getByRole("button", { name: "Add an option" }).click();
  const back = seat.getByRole("group", { name: "Option 2", exact: true });
  await back.getByLabel("What is read (en)").fill("back");
  await back.getByLabel("Taken").check();
  await when.getByRole("button", { name: "Add an action" }).click();
  const pays = when.getByRole("group", { name: "Action 2", exact: true });
  await pays.getByLabel("Action", { exact: true }).selectOption("pay");
  await pays.getByLabel("Item").fill("a ride");
  await pays.getByLabel("Amount, in cents").fill("{{price}}");
  await pays.getByLabel("Currency").fill("GBP");

  // The phone asks as a customer's will.
  await phone().getByRole("button", { name: "When does the Red Golf come?" }).click();
  const dialog = editor.page.getByRole("dialog");
  await dialog.getByRole("checkbox", { name: "front" }).check();
  expect(await dialog.getByRole("checkbox", { name: /^back/ }).isDisabled()).toBe(true);
  await dialog.getByRole("button", { name: "Send" }).click();
  await editor.page.getByText("Please fill this in.").waitFor();
  await keyboard.press("Escape");
  await phone().getByText("Not done").waitFor();

  // What is out of bounds is said there.
  await seat.getByLabel("Seats at most").fill("3");
  await editor.page.getByText(/max/).first().waitFor();
  await seat.getByLabel("Seats at most").fill("1");
  await phone().getByRole("button", { name: "When does the Red Golf come?" }).waitFor();

  await field("Sent when a session opens").check();
  const only = group("Only if");
  await only.getByLabel("Queues").fill("airport");
  await only.getByLabel("Mon").check();
  await only.getByLabel("From").fill("09:00");
  await only.getByLabel("Until").fill("17:30");
  await only.getByLabel("Time zone").fill("Europe/London");
  expect(await axe(editor.page)).toEqual([]);
  await fits(editor.page);
  await inArabic(editor, "editor");
  await shoot("overlay-editor-fields");
  await button("Publish").click();
  await editor.page.getByText("It is live.").waitFor();

  await summary("The whole draft").click();
  const whole = field("The whole draft, as JSON");
  await expect.poll(() => whole.inputValue()).not.toBe("");
  const draft = JSON.parse(await whole.inputValue());
  expect(draft.parameters).toEqual([
    {
      ...{ id: "car", label: { en: "Parameter 1" }, type: "line" },
      ...{ max: 100, example: ["Red Golf"] },
    },
    {
      ...{ id: "price", label: { en: "Parameter 2" }, type: "number" },
      ...{ max: 100000, example: ["1250"], from: "service" },
    },
  ]);
  expect(draft.document.regions[1].actions).toEqual([
    {
      type: "fill_in",
      form: {
        fields: [
          {
            ...{ id: "day", label: { en: "Day" }, type: "date" },
            ...{ least: "2026-12-01", required: true },
          },
          {
            ...{ id: "field-2", label: { en: "Seat" }, type: "seats", max: 1 },
            options: [
              { value: "1", label: { en: "front" } },
              { value: "2", label: { en: "back" }, taken: true },
            ],
          },
        ],
      },
    },
    { type: "pay", item: "a ride", amount: { minor: "{{price}}", currency: "GBP" } },
  ]);
  expect(draft.when).toEqual({
    ...{ queues: ["airport"], days: ["mon"] },
    ...{ from: "09:00", to: "17:30", zone: "Europe/London" },
  });

  // Who has a draft from elsewhere takes it as a whole.
  draft.document.regions[1].text.en = "When?";
  await whole.fill(JSON.stringify(draft));
  await button("Take this").click();
  await phone().getByRole("button", { name: "When?" }).waitFor();
  await button("Save the draft").click();
  await editor.page.getByText("The draft is saved.").waitFor();
  expect(await server.command("overlay", "list")).toMatch(/taxi +3 +1 2 3 /);
});

import { writeFile } from "node:fs/promises";
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { axe, fits, launch, open, type Watched } from "../../../callpage/test/support/browser.ts";
import { TestServer } from "../../../sdk/test/support/server.ts";

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

test("an earlier version is made live again; a form is written into the whole draft", async () => {
  await button("Look at version 1").click();
  await phone().getByRole("button", { name: "Our prices" }).waitFor({ state: "detached" });
  await phone().getByRole("button", { name: "Pick me up here" }).waitFor();
  await editor.page.getByText("Not saved yet").waitFor();
  await button("Make version 1 live").click();
  await editor.page.getByText("Version 1 is live.").waitFor();
  expect(await server.command("overlay", "list")).toMatch(/taxi +1 +1 2 /);
  await editor.page.locator("summary").filter({ hasText: "The whole draft" }).click();
  const whole = field("The whole draft, as JSON");
  await expect.poll(() => whole.inputValue()).not.toBe("");
  const draft = JSON.parse(await whole.inputValue());
  draft.parameters = [
    { id: "car", label: { en: "Car" }, type: "line", max: 40, example: ["Red Golf"] },
  ];
  draft.document.regions.push({
    id: "when",
    grid: { column: 0, row: 1, width: 4 },
    text: { en: "When does the {{car}} come?" },
    actions: [
      {
        type: "fill_in",
        form: { fields: [{ id: "day", label: { en: "Day" }, type: "date", required: true }] },
      },
    ],
  });
  await whole.fill(JSON.stringify(draft));
  await button("Take this").click();
  await phone().getByRole("button", { name: "When does the Red Golf come?" }).click();
  await editor.page.getByRole("dialog").getByRole("button", { name: "Send" }).click();
  await editor.page.getByText("Please fill this in.").waitFor();
  await editor.page.keyboard.press("Escape");
  await phone().getByText("Not done").waitFor();
  await button("Save the draft").click();
  await editor.page.getByText("The draft is saved.").waitFor();
  expect(await server.command("overlay", "list")).toMatch(/taxi +1 +1 2 /);
});

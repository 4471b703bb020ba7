import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { launch, open } from "../../../callpage/test/support/browser.ts";
import { TestServer } from "../../../sdk/test/support/server.ts";

let browser: Browser;
let server: TestServer;

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start();
});
afterAll(async () => {
  await browser?.close();
  await server?.remove();
});

test("an agent whom the server does not sign out is told why, and keeps the telephone", async () => {
  const add = ["agent", "add", "--number", "+442079460900", "--extension", "17"];
  await server.command(...add, "--name", "Anna", "anna");
  const link = /http\S+/.exec(await server.command("agent", "invite", "anna"))?.[0] ?? "";
  const { page, faults } = await open(browser, "about:blank", {
    viewport: { width: 1280, height: 800 },
  });
  let registered = 0;
  let unregistered = 0;
  await page.routeWebSocket(/\/sip$/, (near) => {
    const far = near.connectToServer();
    near.onMessage((message) => {
      unregistered += /^REGISTER .*^Expires: 0\r$/ms.test(String(message)) ? 1 : 0;
      far.send(message);
    });
    far.onMessage((message) => {
      registered += /^SIP\/2.0 200 .*^CSeq: \d+ REGISTER/ims.test(String(message)) ? 1 : 0;
      near.send(message);
    });
  });
  await page.goto(link);
  await page.getByRole("heading", { name: "Anna" }).waitFor();
  await expect.poll(() => registered, { timeout: 60_000 }).toBeGreaterThan(0);

  await page.route("**/v1/agent", (route) =>
    route.request().method() === "DELETE" ? route.abort() : route.continue(),
  );
  const signOut = page.getByRole("button", { name: "Sign out" });
  await signOut.click();
  await page.getByRole("alert").waitFor();
  expect(unregistered).toBe(0);

  await page.unroute("**/v1/agent");
  await signOut.click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  expect(faults).toEqual([]);
});

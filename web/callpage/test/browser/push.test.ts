import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Person } from "../../../sdk/test/support/person.ts";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { axe, enrol, launch, open, type Watched } from "../support/browser.ts";
import { PushService } from "../support/pushservice.ts";

let browser: Browser;
let server: TestServer;
let service: PushService;
let alice: Person;
let bob: Watched;
const numbers = { alice: "+442079460061", bob: "+442079460062" };

beforeAll(async () => {
  browser = await launch();
  service = await PushService.start();
  server = await TestServer.start({
    TANDEM_CALLS_INVITE_DELAY: "100ms",
    TANDEM_CALLS_INVITES_PER_HOUR: "10",
    TANDEM_PUSH_WEB_HTTP: "true",
    TANDEM_PUSH_WEB_NETWORKS: "127.0.0.0/8",
  });
  alice = await new Person(numbers.alice).enrol(server);
  await alice.start();
});
afterAll(async () => {
  await alice?.stop();
  await browser?.close();
  await server?.remove();
  await service?.close();
});

/** The titles on Bob's screen. Asked as the worker does it: one that is just being shown would be lost. */
const shown = () =>
  bob.page.evaluate(async () => {
    const worker = await navigator.serviceWorker.getRegistration("/");
    const all = await navigator.locks.request("notifications", () => worker?.getNotifications());
    return (all ?? []).map((n) => n.title);
  });
/** Touches a button of the only notification, or itself: as the browser tells its worker. */
const touch = (action: string) =>
  bob.page
    .context()
    .serviceWorkers()
    .at(-1)
    ?.evaluate(async (action) => {
      const worker = self as unknown as ServiceWorkerGlobalScope;
      const [notification] = await worker.registration.getNotifications();
      if (!notification) {
        throw new Error("nothing to touch");
      }
      worker.dispatchEvent(new NotificationEvent("notificationclick", { notification, action }));
    }, action);
const call = (state: "active" | "ended", local: string) =>
  alice.device.report({ other: numbers.bob, state, direction: "outgoing", ref: { local } });
const question = `Open a session with ${numbers.alice}?`;

// B7: the page registers itself to be woken.
test("the page subscribes in its settings", async () => {
  bob = await open(browser, `${server.url}/manifest.webmanifest`);
  await service.serve(bob.page.context(), server.url);
  await bob.page.goto(server.url);
  await enrol(bob, server, numbers.bob, "Bob");
  await bob.page.getByRole("link", { name: "Settings" }).click();
  await bob.page.getByRole("button", { name: "Notify me" }).click();
  await bob.page.getByRole("button", { name: "No more notifications" }).waitFor();
  expect(await axe(bob.page)).toEqual([]);
  await service.connect(bob.page);
  // The page is closed; only its service worker is left.
  await bob.page.goto(`${server.url}/manifest.webmanifest`);
});

// B2: asked by push, and withdrawn when the call ends.
test("an invitation is shown, and taken away when the call ends", async () => {
  await call("active", "one");
  await expect.poll(shown, { timeout: 60_000 }).toEqual([question]);
  expect(service.payloads[0]).toMatch(/^\{"push":"psh_[A-Z2-7]{26}"\}$/);
  await call("ended", "one");
  await expect.poll(shown, { timeout: 60_000 }).toEqual([]);
  expect(service.payloads).toEqual([service.payloads[0], service.payloads[0]]);
});

test("declined from the notification itself: no session, and nothing left on the screen", async () => {
  await call("active", "two");
  await expect.poll(shown, { timeout: 60_000 }).toEqual([question]);
  const refused = service.payloads.length;
  await touch("decline");
  // The answer is withdrawn everywhere, by a push with the same identifier.
  await expect.poll(() => service.payloads.length, { timeout: 60_000 }).toBeGreaterThan(refused);
  expect(await shown()).toEqual([]);
  expect((await alice.device.api.sessions()).filter((s) => s.phase === "in_call")).toEqual([]);
  await call("ended", "two");
});

test("an answer that comes too late says so", async () => {
  await call("active", "three");
  await expect.poll(shown, { timeout: 60_000 }).toEqual([question]);
  service.disconnect();
  const sent = service.payloads.length;
  await call("ended", "three");
  await expect.poll(() => service.payloads.length, { timeout: 60_000 }).toBeGreaterThan(sent);
  await touch("accept");
  await expect.poll(shown, { timeout: 60_000 }).toEqual(["The call, or its invitation, is over."]);
  await bob.page.evaluate(async () => {
    const worker = await navigator.serviceWorker.getRegistration("/");
    for (const n of (await worker?.getNotifications()) ?? []) {
      n.close();
    }
  });
  await service.connect(bob.page);
});

test("accepted from the notification itself: the session opens, and data is announced (C5)", async () => {
  await call("active", "four");
  await expect.poll(shown, { timeout: 60_000 }).toEqual([question]);
  const opened = alice.next("session", (s) => s.phase === "in_call");
  await touch("accept");
  const session = await opened;
  await expect.poll(shown, { timeout: 60_000 }).toEqual(["A session is open"]);
  await alice.device.send(session.id, "text", { text: "while the page was closed" });
  await expect
    .poll(shown, { timeout: 60_000 })
    .toEqual(expect.arrayContaining(["Something new has come for you"]));
  expect(service.payloads.join()).not.toMatch(/442079|Bob|closed/);
  await bob.page.goto(server.url);
  await bob.page.getByRole("log").getByText("while the page was closed").waitFor();
  expect(bob.faults).toEqual([]);
});

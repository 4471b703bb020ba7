import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { launch, open, type Watched } from "../support/browser.ts";

let browser: Browser;
let server: TestServer;
let alice: Watched;
let bob: Watched;

declare global {
  /** Bob's, for which his browser asks him each time. */
  var microphone: {
    /** Answers the questions that are open. */
    asked: (() => void)[];
    tracks: MediaStreamTrack[];
  };
}

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start();
  const page = (name: string) => `http://${name}.tandem.localhost:${server.port}/`;
  alice = await open(browser, page("alice"));
  bob = await open(browser, "about:blank");
  await bob.page.addInitScript(() => {
    const microphone: typeof globalThis.microphone = { asked: [], tracks: [] };
    globalThis.microphone = microphone;
    const { getUserMedia } = MediaDevices.prototype;
    MediaDevices.prototype.getUserMedia = async function (constraints) {
      await new Promise<void>((resolve) => microphone.asked.push(resolve));
      const stream = await getUserMedia.call(this, constraints);
      microphone.tracks.push(...stream.getTracks());
      return stream;
    };
  });
  await bob.page.goto(page("bob"));
});
afterAll(async () => {
  await browser?.close();
  await server?.remove();
});

const button = ({ page }: Watched, name: string) => page.getByRole("button", { name, exact: true });
const inCall = ({ page }: Watched, name: string) => page.getByText(`In a call with ${name}`);

async function aliceCalls(): Promise<void> {
  await button(bob, "Call Alice").waitFor();
  await button(alice, "Call Bob").click();
  await button(bob, "Answer").waitFor();
}

/** Waits until Bob is asked so many questions at once. */
async function isAsked(times: number): Promise<void> {
  const asked = () => globalThis.microphone.asked.length;
  await expect.poll(() => bob.page.evaluate(asked), { timeout: 20_000 }).toBe(times);
}

/** Bob allows all that he is asked, and the microphone is there. */
async function allow(): Promise<void> {
  const tracks = await bob.page.evaluate(() => {
    const { asked, tracks } = globalThis.microphone;
    const answers = asked.splice(0);
    for (const answer of answers) {
      answer();
    }
    return tracks.length + answers.length;
  });
  const there = () => globalThis.microphone.tracks.length;
  await expect.poll(() => bob.page.evaluate(there), { timeout: 20_000 }).toBe(tracks);
}

/** Waits until so many of the microphone's tracks are open, and so many of these have sound. */
async function microphoneIs(open: number, heard: number): Promise<void> {
  const now = () => {
    const open = globalThis.microphone.tracks.filter((t) => t.readyState === "live");
    return { open: open.length, heard: open.filter((t) => t.enabled).length };
  };
  await expect.poll(() => bob.page.evaluate(now), { timeout: 20_000 }).toEqual({ open, heard });
}

test("who is muted stays so when the microphone takes the place of the tone", async () => {
  await aliceCalls();
  await button(bob, "Answer").click();
  await inCall(bob, "Alice").waitFor();
  await button(bob, "Mute").click();
  await button(bob, "Use the microphone").click();
  await isAsked(1);
  await allow();
  await microphoneIs(1, 0);
  await button(bob, "Mute").click();
  await microphoneIs(1, 1);
  await button(bob, "Hang up").click();
  await microphoneIs(0, 0);
});

// From here on Bob answers with the microphone.
test("a caller who gives up while one is asked for the microphone leaves it closed", async () => {
  await aliceCalls();
  await button(bob, "Answer").click();
  await isAsked(1);
  await button(alice, "Hang up").click();
  await button(bob, "Answer").waitFor({ state: "detached" });
  await allow();
  await microphoneIs(0, 0);
});

test("who presses Answer twice has one microphone, and it closes with the call", async () => {
  await aliceCalls();
  await button(bob, "Answer").click();
  await isAsked(1);
  await button(bob, "Answer").click();
  await isAsked(2);
  await allow();
  await inCall(alice, "Bob").waitFor();
  await microphoneIs(1, 1);
  await button(alice, "Hang up").click();
  await microphoneIs(0, 0);
});

test("a call that ends while one is asked for the microphone leaves it closed", async () => {
  await aliceCalls();
  await button(bob, "Answer").click();
  await isAsked(1);
  await allow();
  await inCall(bob, "Alice").waitFor();
  await button(bob, "Use the microphone").click(); // no more
  await microphoneIs(0, 0);
  await button(bob, "Use the microphone").click();
  await isAsked(1);
  await button(alice, "Hang up").click();
  await bob.page.getByText("The call is over").first().waitFor();
  await allow();
  await microphoneIs(0, 0);
  expect(alice.faults).toEqual([]);
  expect(bob.faults).toEqual([]);
});

test("what cannot be called leaves the microphone closed", async () => {
  await button(bob, "Call Alice").waitFor();
  const { origin } = new URL(bob.page.url());
  await bob.page.goto(`${origin}/#/dial/${encodeURIComponent("bob@")}`);
  await button(bob, "Call").click();
  await isAsked(1);
  await allow();
  await bob.page.getByRole("alert").waitFor();
  await microphoneIs(0, 0);
  await bob.page.goto(`${origin}/#/`);
});

// B15
test("a session that was asked for can be asked for again", async () => {
  await aliceCalls();
  await button(bob, "Answer").click();
  await isAsked(1);
  await allow();
  await alice.page.getByRole("heading", { name: "Session with Bob" }).waitFor();
  await button(bob, "Leave").click();
  await bob.page.getByRole("dialog").getByRole("button", { name: "Leave" }).click();
  await button(alice, "Ask for a session").click();
  await button(alice, "Asked").waitFor();
  await alice.page.locator("button:enabled", { hasText: "Ask for a session" }).waitFor();
});

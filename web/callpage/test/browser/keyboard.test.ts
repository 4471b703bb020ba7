import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../../sdk/test/support/server.ts";
import { launch, open, type Watched } from "../support/browser.ts";
import { photo } from "../support/photo.ts";

// The whole story without a pointer: nothing here clicks, and nothing is filled in but by keys.

let browser: Browser;
let server: TestServer;
let alice: Watched;
let bob: Watched;
const numbers = { alice: "+442079460071", bob: "+442079460072" };

beforeAll(async () => {
  browser = await launch();
  server = await TestServer.start({ TANDEM_CALLS_INVITE_DELAY: "100ms" });
});
afterAll(async () => {
  await browser?.close();
  await server?.remove();
});
afterEach(() => {
  expect([alice, bob].flatMap((w) => w?.faults ?? [])).toEqual([]);
});

/** What has the focus: its name, and whether one can see that. */
function focused(page: Page): Promise<{ name: string; seen: boolean }> {
  return page.evaluate(() => {
    const e = document.activeElement as HTMLElement;
    const box = e.getBoundingClientRect();
    const { outlineStyle, outlineWidth } = getComputedStyle(e);
    const label = (e as HTMLInputElement).labels?.[0]?.textContent;
    return {
      // Beyond the last, the focus leaves the page and comes in again at the first.
      name:
        e === document.body
          ? ""
          : (e.ariaLabel ?? label ?? e.textContent ?? "").trim().replace(/\s+/g, " "),
      // A title takes the focus when its view comes, without a frame: nothing can be done with it.
      seen:
        (e.tagName === "H1" || (outlineStyle !== "none" && Number.parseFloat(outlineWidth) >= 2)) &&
        box.bottom > 0 &&
        box.top < innerHeight &&
        box.right > 0 &&
        box.left < innerWidth,
    };
  });
}

/** Presses Tab until something of this name has the focus; all on the way can be seen to have it. */
async function tabTo({ page }: Watched, name: string | RegExp, key = "Tab"): Promise<void> {
  const passed: string[] = [];
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press(key);
    const at = await focused(page);
    if (at.name !== "") {
      // What gets the focus is scrolled into sight, which takes a moment.
      await expect
        .poll(async () => (await focused(page)).seen, {
          message: `one sees that the focus is on “${at.name}”`,
        })
        .toBe(true);
    }
    if (typeof name === "string" ? at.name === name : name.test(at.name)) {
      return;
    }
    passed.push(at.name);
  }
  throw new Error(`Tab does not reach ${name}; it passes ${passed.join(", ")}`);
}

/** What the user comes to with the next Tab. */
interface Stop {
  name: string;
  /** The focus has left the page at its end, and comes in again at its beginning. */
  outside: boolean;
  /** It was come to before. */
  again: boolean;
  /** It is in sight, framed, and not hidden by anything that lies over it. */
  seen: boolean;
}

function stop(page: Page): Promise<Stop> {
  return page.evaluate(() => {
    const { been } = globalThis as { been?: Set<Element> };
    const e = document.activeElement as HTMLInputElement;
    // What takes no room of its own is shown by its label.
    const small = e.getBoundingClientRect().width < 2;
    const shown: Element = (small && e.labels?.[0]) || e;
    const { outlineStyle, outlineWidth } = getComputedStyle(shown);
    // The part of it that is not scrolled away.
    let { left, right, top, bottom } = shown.getBoundingClientRect();
    const cut = (box: DOMRect) => {
      left = Math.max(left, box.left);
      right = Math.min(right, box.right);
      top = Math.max(top, box.top);
      bottom = Math.min(bottom, box.bottom);
    };
    cut(new DOMRect(0, 0, innerWidth, innerHeight));
    // A dialog lies over everything around it.
    for (
      let p = shown;
      p !== document.documentElement && !p.matches(":modal");
      p = p.parentElement as Element
    ) {
      const around = p.parentElement as Element;
      if (around !== document.documentElement && getComputedStyle(around).overflow !== "visible") {
        cut(around.getBoundingClientRect());
      }
    }
    const parts = [0.1, 0.5, 0.9];
    const free = parts.some((x) =>
      parts.some((y) =>
        shown.contains(
          document.elementFromPoint(left + x * (right - left), top + y * (bottom - top)),
        ),
      ),
    );
    return {
      name: (e.ariaLabel ?? e.labels?.[0]?.textContent ?? e.textContent ?? "").trim(),
      outside: e === document.body,
      again: been?.has(e) ?? false,
      seen:
        outlineStyle !== "none" &&
        Number.parseFloat(outlineWidth) >= 2 &&
        right > left &&
        bottom > top &&
        free,
    };
  });
}

/**
 * Goes through what is shown with Tab, on a narrow screen with letters of double size, until it comes
 * around: to everything that can be used (WCAG 2.2, 2.1.1), out of it again (2.1.2), and each is in
 * sight when it has the focus, and not hidden (2.4.7, 2.4.11).
 */
async function around({ page }: Watched): Promise<void> {
  const before = page.viewportSize();
  await page.setViewportSize({ width: 320, height: 640 });
  await page.evaluate(() => {
    document.documentElement.style.fontSize = "200%";
    (globalThis as { been?: Set<Element> }).been = new Set();
  });
  const passed: string[] = [];
  for (;;) {
    await page.keyboard.press("Tab");
    const at = await stop(page);
    if (at.again) {
      break;
    }
    expect(passed.length, `Tab comes around: ${passed.join(", ")}`).toBeLessThan(150);
    passed.push(at.name);
    if (!at.outside) {
      await expect
        .poll(async () => (await stop(page)).seen, {
          message: `${page.url()}: one sees that the focus is on “${at.name}”`,
        })
        .toBe(true);
    }
    await page.evaluate(() => {
      const { been } = globalThis as { been?: Set<Element> };
      been?.add(document.activeElement as Element);
    });
  }
  const missed = await page.evaluate(() => {
    const { been } = globalThis as { been?: Set<Element> };
    const within = document.querySelector("dialog:modal") ?? document.body;
    const groups = [...(been ?? [])].map((e) => (e as HTMLInputElement).name).filter(Boolean);
    return [
      ...within.querySelectorAll<HTMLInputElement>(
        "a[href], button, input, select, textarea, summary, [tabindex]",
      ),
    ]
      .filter((e) => e.tabIndex >= 0 && !e.disabled && !e.closest("[inert]"))
      .filter((e) => e.checkVisibility({ visibilityProperty: true }) && !been?.has(e))
      .filter((e) => e.type !== "radio" || !groups.includes(e.name)) // arrows go on from one of them
      .map((e) => e.outerHTML.slice(0, 120));
  });
  expect(missed, page.url()).toEqual([]);
  expect(passed.filter(Boolean).length, page.url()).toBeGreaterThan(1);
  await page.evaluate(() => document.documentElement.removeAttribute("style"));
  await page.setViewportSize(before ?? { width: 400, height: 780 });
}

/** Buttons that a finger must not miss: 44 pixels at least (WCAG 2.2, 2.5.5). */
async function large({ page }: Watched, ...names: string[]): Promise<void> {
  for (const name of names) {
    const box = await page.getByRole("button", { name }).boundingBox();
    expect(Math.min(box?.width ?? 0, box?.height ?? 0), name).toBeGreaterThanOrEqual(44);
  }
}

async function press(w: Watched, name: string | RegExp, key = "Enter"): Promise<void> {
  await tabTo(w, name);
  await w.page.keyboard.press(key);
}

async function enrol(w: Watched, number: string, name: string): Promise<void> {
  await press(w, "Use this device");
  await tabTo(w, "Telephone number");
  await w.page.keyboard.type(number);
  await tabTo(w, "Your name");
  await w.page.keyboard.type(name);
  await w.page.keyboard.press("Enter");
  // The field for the code has the focus when it comes.
  await w.page.getByLabel("Code").waitFor();
  await expect.poll(async () => (await focused(w.page)).name).toBe("Code");
  await w.page.keyboard.type(await server.code());
  await w.page.keyboard.press("Enter");
  await w.page.getByText("Connected").waitFor();
}

test("a device is set up", async () => {
  alice = await open(browser, server.url);
  bob = await open(browser, server.url);
  await enrol(alice, numbers.alice, "Alice");
  await enrol(bob, numbers.bob, "Bob");
});

test("a call is told by hand, and the invitation answered", async () => {
  await press(alice, "I’m on a call with…");
  await alice.page.getByLabel("Their number").waitFor();
  await tabTo(alice, "Their number");
  await alice.page.keyboard.type(numbers.bob);
  await alice.page.keyboard.press("Enter");
  await alice.page.getByRole("heading", { name: /Waiting for|You said that/ }).waitFor();
  await press(alice, "Back");

  // The dialog has the focus, and keeps it.
  await bob.page.getByRole("alertdialog").waitFor();
  await tabTo(bob, "No");
  await tabTo(bob, "Open it");
  await bob.page.keyboard.press("Enter");
  await bob.page.getByRole("heading", { name: "Session with Alice" }).waitFor();
  await alice.page.getByRole("heading", { name: "Session with Bob" }).waitFor();
});

test("a message and a file are sent, and what came is read", async () => {
  await tabTo(alice, "Message");
  await alice.page.keyboard.type("without a mouse");
  await alice.page.keyboard.press("Enter");
  await bob.page.getByRole("log").getByText("without a mouse").waitFor();

  const [chooser] = await Promise.all([
    alice.page.waitForEvent("filechooser"),
    tabTo(alice, "Send files", "Shift+Tab").then(() => alice.page.keyboard.press("Enter")),
  ]);
  // The system's own dialog follows, which is none of the page's.
  await chooser.setFiles([{ name: "door.png", mimeType: "image/png", buffer: photo(320, 240) }]);
  await bob.page.getByRole("button", { name: "Show door.png large" }).locator("img").waitFor();

  await press(bob, "Show door.png large");
  await bob.page.getByRole("dialog").getByRole("img", { name: "door.png" }).waitFor();
  await bob.page.keyboard.press("Escape");
  await bob.page.getByRole("dialog").waitFor({ state: "detached" });
  expect((await focused(bob.page)).name).toBe("Show door.png large");

  const save = /^Save: door.png/;
  const [download] = await Promise.all([bob.page.waitForEvent("download"), press(bob, save)]);
  expect(download.suggestedFilename()).toBe("door.png");
});

test("the log is scrolled by its keys", async () => {
  for (let i = 0; i < 12; i++) {
    await tabTo(alice, "Message");
    await alice.page.keyboard.type(`line ${i}`);
    await alice.page.keyboard.press("Enter");
  }
  await bob.page.getByRole("log").getByText("line 11").waitFor();
  const top = () => bob.page.getByRole("log").evaluate((log) => log.scrollTop);
  const before = await top();
  expect(before).toBeGreaterThan(0);
  await tabTo(bob, "What was said and sent", "Shift+Tab");
  await bob.page.keyboard.press("Home");
  await expect.poll(top).toBeLessThan(before);
  await press(bob, "To the newest");
  await expect.poll(top).toBeGreaterThanOrEqual(before);
});

test("a session and its dialogs, with letters of double size", async () => {
  await around(bob);
  await press(bob, "Show door.png large");
  await bob.page.getByRole("dialog").getByRole("img", { name: "door.png" }).waitFor();
  await around(bob);
  await bob.page.keyboard.press("Escape");
  for (const name of ["Places", "Leave"]) {
    await press(bob, name);
    await bob.page.getByRole("dialog").waitFor();
    await around(bob);
    await bob.page.keyboard.press("Escape");
    await bob.page.getByRole("dialog").waitFor({ state: "detached" });
  }
});

test("after the call: more time, and leaving, with the focus back after the dialog", async () => {
  await press(alice, "The call is over");
  await alice.page.getByText(/The session stays open for/).waitFor();
  const left = async () => {
    const text = await alice.page.getByText(/The session stays open for/).textContent();
    const [, minutes, seconds] = /(\d+):(\d\d)/.exec(text ?? "") ?? [];
    return Number(minutes) * 60 + Number(seconds);
  };
  const before = await left();
  await press(alice, "Stay longer", "Space");
  await expect.poll(left, { timeout: 60_000 }).toBeGreaterThan(before);

  await press(bob, "Leave");
  await bob.page.getByRole("dialog").waitFor();
  await tabTo(bob, "Also block this person");
  await bob.page.keyboard.press("Space");
  expect(await bob.page.getByLabel("Also block this person").isChecked()).toBe(true);
  await bob.page.keyboard.press("Space");
  await bob.page.keyboard.press("Escape");
  await bob.page.getByRole("dialog").waitFor({ state: "detached" });
  expect((await focused(bob.page)).name).toBe("Leave");
  await bob.page.keyboard.press("Enter");
  await press(bob, "Cancel");
  await bob.page.getByRole("dialog").waitFor({ state: "detached" });
  expect((await focused(bob.page)).name).toBe("Leave");
  await bob.page.keyboard.press("Enter");
  await press(bob, "Leave");
  await alice.page.getByText("Closed").first().waitFor();
});

test("settings: choices go by the arrows, and the view's title has the focus when it comes", async () => {
  await press(alice, "Settings");
  await alice.page.getByRole("heading", { name: "Settings" }).waitFor();
  await expect.poll(async () => (await focused(alice.page)).name).toBe("Settings");
  await tabTo(alice, "As the system");
  await alice.page.keyboard.press("ArrowDown");
  await alice.page.keyboard.press("ArrowDown");
  await expect.poll(() => alice.page.locator("html").getAttribute("data-look")).toBe("dark");
  await press(alice, "Remove this device");
  await alice.page.getByRole("dialog").waitFor();
  await alice.page.keyboard.press("Escape");
  await alice.page.getByRole("dialog").waitFor({ state: "detached" });
  expect((await focused(alice.page)).name).toBe("Remove this device");
});

test("every view, with letters of double size", async () => {
  const views = ["", "settings", "hand", "enrol", "devices", "contacts", "first"];
  for (const view of [...views, "profile", "profile/groups", "profile/rules", "profile/ledger"]) {
    await alice.page.goto(`${server.url}/#/${view}`);
    await alice.page.getByRole("heading").first().waitFor();
    await around(alice);
  }
});

test("a call from page to page: called, answered, muted, hung up", async () => {
  const caller = await open(browser, `http://alice.tandem.localhost:${server.port}/`);
  const called = await open(browser, `http://bob.tandem.localhost:${server.port}/`);
  await caller.page.getByRole("button", { name: "Call Bob" }).waitFor();
  await called.page.getByRole("button", { name: "Call Alice" }).waitFor();
  await press(caller, "Call Bob");
  await called.page.getByRole("alertdialog", { name: "Alice is calling" }).waitFor();
  await large(called, "Answer", "Decline");
  await around(called);
  await called.page.getByRole("button", { name: "Answer" }).focus();
  await large(caller, "Hang up");
  // It rings: the answer is one key away.
  expect((await focused(called.page)).name).toBe("Answer");
  await called.page.keyboard.press("Enter");
  await caller.page.getByRole("heading", { name: "Session with Bob" }).waitFor();
  await large(caller, "Mute", "Sound off", "Hang up");
  await press(caller, "Mute", "Space");
  await expect
    .poll(() => caller.page.getByRole("button", { name: "Mute" }).getAttribute("aria-pressed"))
    .toBe("true");
  await press(called, "Hang up", "Space");
  await caller.page.getByText(/The session stays open for/).waitFor();
  expect([...caller.faults, ...called.faults]).toEqual([]);
});

import axeCore from "axe-core";
import { type Browser, chromium, type Frame, type Page } from "playwright-core";
import { expect } from "vitest";

/** What is loaded into a page to look for faults of accessibility. */
const axeSource = axeCore.source;

/**
 * Debian's Chromium, with a microphone that needs no hardware and no question; and with more, by its
 * flags. Its calls go over loopback, too.
 */
export function launch(...more: string[]): Promise<Browser> {
  return start("--allow-loopback-in-peer-connection", ...more);
}

/** The same, whose calls go over the machine's other addresses alone, as browsers' calls do. */
export function launchOutward(): Promise<Browser> {
  return start();
}

function start(...more: string[]): Promise<Browser> {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-background-networking",
      "--use-fake-device-for-media-stream",
      "--use-fake-ui-for-media-stream",
      "--autoplay-policy=no-user-gesture-required",
      ...more,
    ],
  });
}

/** A page, and everything that went wrong in it. */
export interface Watched {
  page: Page;
  /** Errors of scripts, what the content security policy refused, and requests to other hosts. */
  faults: string[];
}

/** Opens a page in a profile of its own. */
export async function open(
  browser: Browser,
  url: string,
  options: Parameters<Browser["newContext"]>[0] = {},
): Promise<Watched> {
  const context = await browser.newContext({
    viewport: { width: 400, height: 780 },
    locale: "en-GB",
    ...options,
  });
  context.setDefaultTimeout(Number(process.env.PATIENCE_MS ?? 60_000));
  const page = await context.newPage();
  const faults: string[] = [];
  watch(page, faults);
  await page.goto(url);
  return { page, faults };
}

/** Notes what goes wrong in a page. */
export function watch(page: Page, faults: string[]): void {
  page.on("pageerror", (e) => faults.push(`error: ${e.message}`));
  page.on("console", (m) => {
    if (/Content Security Policy|Trusted ?Type|Refused to/i.test(m.text())) {
      faults.push(`policy: ${m.text()}`);
    }
  });
  page.on("request", (r) => {
    const { hostname, protocol } = new URL(r.url());
    if (/^(https?|wss?):$/.test(protocol) && !/^(127\.0\.0\.1|(.+\.)?localhost)$/.test(hostname)) {
      faults.push(`a third party is asked: ${r.url()}`);
    }
  });
}

/**
 * The faults of accessibility that axe finds in what is shown (WCAG 2.2 A and AA): in the light and
 * in the dark, from left to right and from right to left.
 */
export async function axe(target: Page | Frame): Promise<string[]> {
  const page = "emulateMedia" in target ? target : target.page();
  const faults: string[] = [];
  for (const [colorScheme, turned] of [
    ["dark", true],
    ["light", false],
  ] as const) {
    await page.emulateMedia({ colorScheme });
    const was = await target.evaluate((turned) => {
      const root = document.documentElement;
      const was = root.dir;
      if (turned) {
        root.dir = was === "rtl" ? "ltr" : "rtl";
      }
      return was;
    }, turned);
    faults.push(...(await faultsOf(target)).map((f) => `${colorScheme}: ${f}`));
    await target.evaluate((was) => {
      document.documentElement.dir = was;
    }, was);
  }
  return faults;
}

async function faultsOf(target: Page | Frame): Promise<string[]> {
  // Not by a script element: the page's policy forbids that.
  await target.evaluate(axeSource);
  return target.evaluate(async () => {
    // What is fading in has no colours of its own yet. That happens once; what moves to and fro has its own. And what
    // is hidden, as in closed details, does not move on while it is.
    const moving = document
      .getAnimations()
      .filter((a) => a.effect?.getComputedTiming().iterations === 1)
      .filter((a) => (a.effect as KeyframeEffect | null)?.target?.checkVisibility() ?? true);
    await Promise.allSettled(moving.map((a) => a.finished));
    const { axe } = globalThis as unknown as { axe: typeof import("axe-core") };
    const { violations } = await axe.run({
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    });
    return violations.map(
      (v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.html.slice(0, 160)).join(" | ")}`,
    );
  });
}

/**
 * Insists that nothing is cut off sideways, at 320 pixels with text of double size and wider (WCAG 2.2,
 * 1.4.4 and 1.4.10), and with the distances between lines, words and letters that some need (1.4.12).
 */
export async function fits(page: Page): Promise<void> {
  const before = page.viewportSize();
  for (const [width, text, apart] of [
    [320, "100%", false],
    [320, "200%", false],
    [1280, "200%", false],
    [320, "100%", true],
  ] as const) {
    await page.setViewportSize({ width, height: 640 });
    const { wider, cut } = await page.evaluate(
      ([size, apart]) => {
        const { documentElement: root } = document;
        root.style.fontSize = size;
        const sheet = new CSSStyleSheet();
        sheet.replaceSync(
          "* { line-height: 1.5 !important; letter-spacing: 0.12em !important; word-spacing: 0.16em !important }" +
            "p { margin-block-end: 2em !important }",
        );
        document.adoptedStyleSheets = apart ? [sheet] : [];
        const cut = [...document.querySelectorAll<HTMLElement>("body *:not(.hidden)")]
          .filter((e) => [...e.childNodes].some((n) => n instanceof Text && n.data.trim() !== ""))
          .filter((e) => /hidden|clip/.test(getComputedStyle(e).overflow) && e.checkVisibility())
          .filter((e) => e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1)
          .map((e) => e.textContent);
        return { wider: root.scrollWidth - root.clientWidth, cut };
      },
      [text, apart] as const,
    );
    const where = `${page.url()} at ${width} pixels, text ${text}${apart ? ", far apart" : ""}`;
    expect(wider, where).toBeLessThanOrEqual(0);
    expect(cut, where).toEqual([]);
  }
  await page.evaluate(() => {
    document.documentElement.removeAttribute("style");
    document.adoptedStyleSheets = [];
  });
  if (before) {
    await page.setViewportSize(before);
  }
}

/** Makes the page a device, with the code that the server prints. */
export async function enrol(
  { page }: Watched,
  server: { code(): Promise<string> },
  number: string,
  name: string,
): Promise<void> {
  await page.getByRole("link", { name: "Use this device" }).click();
  await page.getByLabel("Telephone number").fill(number);
  await page.getByLabel("Your name").fill(name);
  await page.getByRole("button", { name: "Send the code" }).click();
  await page.getByLabel("Code").waitFor();
  expect(await axe(page)).toEqual([]);
  await page.getByLabel("Code").fill(await server.code());
  await page.getByRole("button", { name: "Confirm" }).click();
  await page.getByText("Connected").waitFor();
}

/** Says by hand with whom one is in a call (A2). */
export async function report({ page }: Watched, other: string): Promise<void> {
  await page.getByRole("link", { name: "I’m on a call with…" }).click();
  await page.getByLabel("Their number").fill(other);
  expect(await axe(page)).toEqual([]);
  await page.getByRole("button", { name: "Ask for a session" }).click();
  await page.getByRole("heading", { name: /Waiting for|You said that/ }).waitFor();
  await page.getByRole("link", { name: "Back" }).click();
}

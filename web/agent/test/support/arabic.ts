import { writeFile } from "node:fs/promises";
import { expect } from "vitest";
import callpageAr from "../../../callpage/src/messages/ar.json";
import callpageEn from "../../../callpage/src/messages/en.json";
import { axe, fits, type Watched } from "../../../callpage/test/support/browser.ts";
import ar from "../../src/messages/ar.json";
import en from "../../src/messages/en.json";

/** The words of the pages that Arabic says in another way. */
const english = [...differing(en, ar), ...differing(callpageEn, callpageAr)];

function differing<K extends string>(from: Record<K, string>, to: Record<K, string>): string[] {
  return (Object.keys(from) as K[])
    .filter((key) => from[key] !== to[key] && !from[key].includes("{"))
    .map((key) => from[key]);
}

/**
 * Insists that a view is as good in Arabic as it is in English: from right to left, with no words left in
 * English, with the plus signs of numbers where they belong, and with nothing that is cut off or that axe
 * finds. The page is in English before and afterwards.
 */
export async function inArabic({ page }: Watched, name: string): Promise<void> {
  await page.getByLabel("Language", { exact: true }).first().selectOption("ar");
  await page.locator("html[dir=rtl][lang=ar]").waitFor();
  const faults = await page.evaluate((english) => {
    const words = new Set(english);
    const faults: string[] = [];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let n = texts.nextNode(); n; n = texts.nextNode()) {
      const text = (n.textContent ?? "").trim();
      const element = n.parentElement;
      if (!text || !element?.checkVisibility()) {
        continue;
      }
      if (words.has(text)) {
        faults.push(`in English: ${text}`);
      }
      if (getComputedStyle(element).direction === "rtl" && /(^|[^\u2066])\+\d/.test(text)) {
        faults.push(`the plus sign comes last: ${text}`);
      }
    }
    for (const e of document.querySelectorAll("[aria-label], [title], [placeholder], [alt]")) {
      for (const a of ["aria-label", "title", "placeholder", "alt"]) {
        if (words.has(e.getAttribute(a) ?? "")) {
          faults.push(`in English: ${a}: ${e.getAttribute(a)}`);
        }
      }
    }
    return faults;
  }, english);
  expect(faults, name).toEqual([]);
  expect(await axe(page), name).toEqual([]);
  await fits(page);
  await shoot(page, `${name}-ar`);
  await page.getByLabel("اللغة", { exact: true }).first().selectOption("en");
  await page.locator("html[dir=ltr]").waitFor();
}

/** For whoever looks at the views: at both widths, where a folder is named. */
async function shoot(page: Watched["page"], name: string): Promise<void> {
  const folder = process.env.VIEWS;
  const before = page.viewportSize();
  if (!folder || !before) {
    return;
  }
  for (const width of [320, 1280]) {
    await page.setViewportSize({ width, height: 800 });
    await writeFile(`${folder}/${name}-${width}.png`, await page.screenshot({ fullPage: true }));
  }
  await page.setViewportSize(before);
}

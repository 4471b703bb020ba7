import { describe, expect, test } from "vitest";
import { asLink, clock, initials, locale, readable, size } from "../../src/lib/format.ts";

test("identities are shown as people write them", () => {
  expect(readable("tel:+442079460018")).toBe("+442079460018");
  expect(readable("tel:+442079460018;ext=17")).toBe("+442079460018");
  expect(readable("sip:bob@pbx.example")).toBe("sip:bob@pbx.example");
  expect(readable(undefined)).toBe("");
});

test("clocks", () => {
  expect(clock(0)).toBe("0:00");
  expect(clock(-5000)).toBe("0:00");
  expect(clock(9 * 60_000 + 5_000)).toBe("9:05");
  expect(clock(3_600_000)).toBe("1:00:00");
});

test("sizes", () => {
  expect(size(512, "en")).toBe("512 byte");
  expect(size(1_400_000, "en")).toBe("1.4 MB");
});

test("times are written as at home, in the language chosen", () => {
  expect(locale("en", ["de-DE", "en-GB", "en-US"])).toBe("en-GB");
  expect(locale("ar", ["en-GB"])).toBe("ar");
});

test("initials, also of what is no name", () => {
  expect(initials("Alice")).toBe("A");
  expect(initials("ada king lovelace")).toBe("AL");
  expect(initials("+442079460018")).toBe("☎");
  expect(initials("")).toBe("☎");
});

describe("only web addresses are links", () => {
  test.each([
    ["https://files.example/a.odp", true],
    ["http://x", true],
    ["javascript:alert(1)", false],
    ["data:text/html,x", false],
    ["see https://files.example", false],
    ["https://", false],
  ])("%s", (text, is) => {
    expect(asLink(text) !== undefined).toBe(is);
  });
});

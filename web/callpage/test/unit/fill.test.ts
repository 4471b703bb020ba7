import { expect, test } from "vitest";
import { fill } from "../../src/lib/fill.ts";

test("what stands in braces is filled in; from right to left it is set apart", () => {
  const values = { name: "+442079460001", count: 3 };
  expect(fill("Call {name} {count} times{none}", values, false)).toBe("Call +442079460001 3 times");
  expect(fill("اتصل بـ {name}{none}", values, true)).toBe("اتصل بـ \u2066+442079460001\u2069");
  expect(fill("{name}!", { name: "Bob" }, true)).toBe("\u2068Bob\u2069!");
});

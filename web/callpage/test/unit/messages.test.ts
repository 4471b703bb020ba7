import { catalogue, NetworkError, type ProblemCode, ProblemError } from "@tandem-call/sdk";
import { expect, test, vi } from "vitest";
import { reason } from "../../src/lib/reason.ts";
import { words } from "../../src/lib/words.svelte.ts";
import ar from "../../src/messages/ar.json";
import de from "../../src/messages/de.json";
import en from "../../src/messages/en.json";

const blanks = (text: string) => (text.match(/\{\w+\}/g) ?? []).sort().join();

test.each([
  ["de", de],
  ["ar", ar],
])("the messages of %s are those of English, with the same blanks", (_, other) => {
  expect(Object.keys(other)).toEqual(Object.keys(en));
  for (const [key, text] of Object.entries(en)) {
    const translated = (other as Record<string, string>)[key] ?? "";
    expect(translated, key).not.toBe("");
    expect(blanks(translated), key).toBe(blanks(text));
  }
});

test("each problem of the protocol has words for people", () => {
  const codes = Object.keys(catalogue);
  expect(codes.length).toBeGreaterThan(20);
  for (const code of codes) {
    expect(en, code).toHaveProperty([`problem.${code}`]);
  }
});

test("what went wrong is said in the page's words, with the server's where they tell more", async () => {
  const refused = (code: ProblemCode, detail: string) =>
    new ProblemError({ type: `/problems/${code}`, title: "No", status: 400, code, detail });
  const wrong = refused("wrong-code", "no such code");
  const unusable = refused("bad-request", "the date is in the past");
  expect(reason(wrong)).toBe(en["problem.wrong-code"]);
  expect(reason(unusable)).toBe(
    "The server cannot use this. The server says: “the date is in the past”",
  );
  expect(reason(refused("of-next-year" as ProblemCode, "not today"))).toBe(
    "No. The server says: “not today”",
  );
  vi.stubGlobal("document", { documentElement: {} });
  await words.use("de");
  expect(reason(wrong)).toBe(de["problem.wrong-code"]);
  expect(reason(new NetworkError("refused"))).toBe(de["problem.network"]);
});

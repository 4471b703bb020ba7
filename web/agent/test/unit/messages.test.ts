import { expect, test } from "vitest";
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

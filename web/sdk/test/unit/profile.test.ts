import { expect, test } from "vitest";
import { holding, type Known, receive } from "../../src/index.ts";

const field = (id: string, version: number, value = id) => ({ id, name: id, value, version });
const message = { owner: "who_1", fields: [], has: [], keep: "ask" as const };

test("messages add up to what is known, and what was taken back is forgotten", () => {
  let known: Known | undefined = receive(undefined, {
    ...message,
    fields: [field("fn", 1), field("note", 1)],
    has: [
      { id: "fn", version: 1 },
      { id: "note", version: 1 },
    ],
    show: ["fn"],
  });
  expect(known?.fields.map((f) => f.id)).toEqual(["fn", "note"]);
  known = receive(known, {
    ...message,
    fields: [field("fn", 2, "newer")],
    has: [{ id: "fn", version: 2 }],
  });
  expect(known).toEqual({ owner: "who_1", fields: [field("fn", 2, "newer")], show: [] });
  expect(known && holding(known)).toEqual({ owner: "who_1", have: [{ id: "fn", version: 2 }] });
  // Overtaken on the way.
  known = receive(known, {
    ...message,
    fields: [field("fn", 1)],
    has: [{ id: "fn", version: 1 }],
  });
  expect(known?.fields[0]?.value).toBe("newer");
  expect(receive(known, { ...message, withdrawn: true })).toBeUndefined();
});

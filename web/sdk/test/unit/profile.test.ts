import { createHash, webcrypto } from "node:crypto";
import { expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { Api, holding, type Known, Profiles, ProtocolError, receive } from "../../src/index.ts";
import { webCrypto } from "../../src/webcrypto.ts";

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

test("a picture is handed out only if it is the one that was announced", async () => {
  const real = new Uint8Array([1, 2, 3, 4]);
  const picture = {
    path: "/v1/pictures/x",
    sha256: createHash("sha256").update(real).digest("hex"),
    type: "image/png",
    size: real.length,
  };
  const serving = (bytes: Uint8Array<ArrayBuffer>) =>
    new Profiles(
      new Api("https://tandem.example", {
        fetch: async () => new Response(bytes),
        clock: systemClock(globalThis),
        crypto: webCrypto(webcrypto as globalThis.Crypto),
      }),
    );
  const got = await serving(real).picture(picture);
  expect(got.type).toBe("image/png");
  expect(new Uint8Array(await got.arrayBuffer())).toEqual(real);
  for (const other of [new Uint8Array([4, 3, 2, 1]), new Uint8Array([1, 2, 3, 4, 5])]) {
    await expect(serving(other).picture(picture)).rejects.toThrow(ProtocolError);
  }
});

import fc from "fast-check";
import { expect, test } from "vitest";
import {
  backoff,
  CloseError,
  NetworkError,
  ProblemError,
  problem,
  reconnect,
} from "../../src/error.ts";
import { EventParser } from "../../src/events.ts";
import { Keeper } from "../../src/keeper.ts";
import { safeName } from "../../src/name.ts";
import { MemoryStore } from "../../src/store.ts";
import { catalogue, closeCodes } from "../../src/wire.ts";

test("after each close code a device does what the protocol says", () => {
  for (const [code, { reconnect: advice }] of Object.entries(closeCodes)) {
    expect(reconnect(new CloseError(Number(code), ""))).toBe(advice);
  }
  expect(reconnect(new CloseError(4099, "newer"))).toBe("after a pause");
  expect(reconnect(new NetworkError("cut"))).toBe("at once");
  for (const [code, { retry }] of Object.entries(catalogue)) {
    expect(reconnect(new ProblemError(problem(code)))).toBe(retry ? "after a pause" : "no");
  }
});

test("pauses double up to half a minute, are spread, and heed the server", () => {
  expect([0, 1, 2, 7, 50].map((n) => backoff(n, 1))).toEqual([270, 520, 1020, 30020, 30020]);
  expect(backoff(50, 0)).toBe(20);
  const wait = new ProblemError({ ...problem("too-many-requests"), retry_after_s: 7 });
  expect(backoff(0, 1, wait)).toBe(7000);
});

test("events are read, however the text is cut into pieces", () => {
  const stream =
    ": hello\n\nevent: a\r\ndata: 1\r\ndata:2\r\n\r\nid: x\nevent:b\ndata\n\ndata: ü\n\n";
  const want = [
    { name: "a", data: "1\n2" },
    { name: "b", data: "" },
    { name: "", data: "ü" },
  ];
  fc.assert(
    fc.property(fc.array(fc.nat(stream.length)), (cuts) => {
      const at = [0, ...cuts.sort((a, b) => a - b), stream.length];
      const parser = new EventParser();
      expect(at.slice(1).flatMap((end, i) => parser.take(stream.slice(at[i], end)))).toEqual(want);
    }),
  );
});

test("what is kept is written in order, and again after a failure", async () => {
  const store = new MemoryStore();
  const writes: string[][] = [];
  let broken = false;
  const failures: unknown[] = [];
  const keeper = new Keeper(
    {
      get: (key) => store.get(key),
      list: (prefix) => store.list(prefix),
      write: async (changes) => {
        if (broken) {
          throw new Error("full");
        }
        writes.push([...changes.keys()]);
        await store.write(changes);
      },
    },
    (err) => failures.push(err),
  );
  keeper.set("a", 1);
  keeper.set("b", 2);
  await keeper.flush();
  expect(writes).toEqual([["a", "b"]]);
  broken = true;
  keeper.set("a", undefined);
  keeper.set("b", 3);
  await keeper.flush();
  expect(failures).toHaveLength(1);
  broken = false;
  keeper.set("b", 4);
  await keeper.flush();
  expect(await store.list("")).toEqual([["b", 4]]);
});

test.each([
  ["photo.jpg", "photo.jpg"],
  ["../../etc/passwd", "_.._etc_passwd"],
  ["C:\\a\\b.txt", "C__a_b.txt"],
  [".hidden", "hidden"],
  ["cv\u202efdp.exe", "cvfdp.exe"],
  ["a\u0000b\n.txt", "a_b_.txt"],
  ["CON", "_CON"],
  ["com1.txt", "_com1.txt"],
  ["nul .txt", "_nul .txt"],
  ["command.txt", "command.txt"],
  ["... ", "file"],
  ["", "file"],
  [`${"ü".repeat(300)}.pdf`, `${"ü".repeat(98)}.pdf`],
])("the name %j is shown as %j", (name, safe) => {
  expect(safeName(name)).toBe(safe);
});

test("a safe name stays as it is, and is never long", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 250 }), (name) => {
      const safe = safeName(name);
      expect(safeName(safe)).toBe(safe);
      expect(new TextEncoder().encode(safe).length).toBeLessThanOrEqual(201);
    }),
  );
});

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { expect, test } from "vitest";
import {
  type Api,
  Book,
  type Held,
  MemoryStore,
  type ProfileField,
  type ProfileMessage,
  ProtocolError,
} from "../../src/index.ts";

/** A server that answers what a device says that it holds, and hands out pictures. */
class Server {
  readonly told: string[][] = [];
  fetched = 0;
  missing: ProfileField[][] = [];
  readonly bytes = new TextEncoder().encode("a picture");

  async call(_method: string, _path: string, body: { have: { id: string; version: number }[] }) {
    this.told.push(body.have.map((v) => `${v.id}@${v.version}`));
    return { fields: this.missing.shift() ?? [] };
  }

  async exactly(_path: string, { sha256: announced }: { sha256: string }) {
    this.fetched++;
    if (announced !== bytesToHex(sha256(this.bytes))) {
      throw new ProtocolError("another picture");
    }
    return this.bytes;
  }
}

const field = (id: string, version: number): ProfileField => ({ id, name: id, value: id, version });
const message = (fields: ProfileField[], has = fields): ProfileMessage => ({
  owner: "who_1",
  keep: "ask",
  fields,
  has: has.map((f) => ({ id: f.id, version: f.version ?? 0 })),
});

test("what is kept is held, and only what is new travels", async () => {
  const server = new Server();
  const photo: ProfileField = {
    ...field("photo", 2),
    picture: {
      path: "/v1/pictures/p",
      sha256: bytesToHex(sha256(server.bytes)),
      type: "image/png",
      size: server.bytes.length,
    },
  };
  const store = new MemoryStore();
  const book = () => new Book(server as unknown as Api, store);
  await book().receive("s_1", 1, message([field("fn", 1), photo]));
  expect(server.told).toEqual([["fn@1", "photo@2"]]);
  await book().receive("s_1", 1, message([field("fn", 1), photo])); // read again after a reload
  expect([server.told.length, server.fetched]).toEqual([1, 1]);
  const [shown] = await book().all();
  await book().forget(new Set()); // its session is over before the user says so
  await book().kept(shown as Held, "c_1");
  await book().forget(new Set());

  const later = { ...message([], [field("fn", 1), photo]), contact: "c_1" };
  const held = await book().receive("s_2", 1, later);
  expect(held?.fields.map((f) => f.id)).toEqual(["fn", "photo"]);
  expect([server.told.length, server.fetched]).toEqual([1, 1]);

  // One that is newer, and one that is no longer shown.
  await book().receive("s_3", 1, { ...message([field("fn", 3)]), contact: "c_1" });
  expect(server.told.at(-1)).toEqual(["fn@3"]);
  expect(await book().receive("s_3", 2, { ...message([]), withdrawn: true })).toBeUndefined();
  expect(await book().all()).toEqual([]);
});

test("what nobody has kept is there for its session only, and comes again in the next", async () => {
  const server = new Server();
  const book = new Book(server as unknown as Api, new MemoryStore());
  await book.receive("s_1", 1, message([field("fn", 1)]));
  await book.forget(new Set(["s_1"]));
  expect(await book.all()).toHaveLength(1);
  await book.forget(new Set());
  expect(await book.all()).toEqual([]);
  server.missing = [[field("fn", 1)]];
  const held = await book.receive("s_2", 1, message([], [field("fn", 1)]));
  expect(held?.fields).toEqual([field("fn", 1)]);
  expect(server.told.slice(1)).toEqual([[], ["fn@1"]]);
});

test("a picture that is another than was announced is not held", async () => {
  const server = new Server();
  const photo: ProfileField = {
    ...field("photo", 1),
    picture: {
      path: "/v1/pictures/p",
      sha256: "00".repeat(32),
      type: "image/png",
      size: server.bytes.length,
    },
  };
  const book = new Book(server as unknown as Api, new MemoryStore());
  const held = await book.receive("s_1", 1, message([field("fn", 1), photo]));
  expect(held?.fields.map((f) => f.id)).toEqual(["fn"]);
  expect(server.told).toEqual([["fn@1"]]);
});

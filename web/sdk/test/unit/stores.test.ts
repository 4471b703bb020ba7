import { createPublicKey, createVerify, webcrypto } from "node:crypto";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import "fake-indexeddb/auto";
import { afterAll, describe, expect, test } from "vitest";
import { IndexedStore } from "../../src/browser/index.ts";
import { assertion } from "../../src/identity.ts";
import { MemoryStore, type Store } from "../../src/index.ts";
import { FileStore } from "../../src/node/index.ts";
import { webCrypto } from "../../src/webcrypto.ts";
import { FakeClock } from "../support/fake.ts";

const dir = await mkdtemp(join(tmpdir(), "tandem-store-"));
afterAll(() => rm(dir, { recursive: true, force: true }));

const memory = new MemoryStore();
const stores: [string, () => Store][] = [
  ["memory", () => memory],
  ["file", () => new FileStore(join(dir, "deep", "device.json"))],
  ["IndexedDB", () => new IndexedStore("test")],
];

describe.each(stores)("a store in %s", (_, open) => {
  test("keeps entries, lists them by their beginning, and outlives the program", async () => {
    const s = open();
    expect(await s.get("a/1")).toBeUndefined();
    await s.write(
      new Map<string, unknown>([
        ["a/2", { n: [2] }],
        ["a/1", "x"],
        ["b", 1],
      ]),
    );
    await s.write(
      new Map<string, unknown>([
        ["b", undefined],
        ["c", null],
        ["none", undefined],
      ]),
    );
    const again = open();
    expect(await again.list("a/")).toEqual([
      ["a/1", "x"],
      ["a/2", { n: [2] }],
    ]);
    expect((await again.list("")).map(([key]) => key)).toEqual(["a/1", "a/2", "c"]);
    expect(await again.get("a/2")).toEqual({ n: [2] });
  });

  test("makes all changes or none", async () => {
    const s = open();
    const changes = new Map<string, unknown>([
      ["whole/1", 1],
      ["whole/2", { nobodyKeepsThis: () => 1, norThis: 1n }],
    ]);
    await expect(s.write(changes)).rejects.toThrow();
    expect(await s.list("whole/")).toEqual([]);
    await s.write(new Map([["whole/3", 3]]));
    expect(await s.list("whole/")).toEqual([["whole/3", 3]]);
  });

  test("takes many changes at once, in their order", async () => {
    const s = open();
    await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        s.write(
          new Map([
            ["count", i],
            [`many/${i}`, i],
          ]),
        ),
      ),
    );
    expect(await s.get("count")).toBe(19);
    expect(await s.list("many/")).toHaveLength(20);
  });
});

test("the file is its owner's only, whole, and not mistaken when it is damaged", async () => {
  const path = join(dir, "device.json");
  await new FileStore(path).write(new Map([["identity", 1]]));
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(JSON.parse(await readFile(path, "utf8"))).toEqual({ identity: 1 });
  await writeFile(path, '{"identity": 1');
  await expect(new FileStore(path).get("identity")).rejects.toThrow(SyntaxError);
});

test("a browser's key cannot be read, and signs after it was kept in IndexedDB", async () => {
  const crypto = webCrypto(webcrypto as globalThis.Crypto);
  const key = await crypto.createKey();
  await expect(
    webcrypto.subtle.exportKey("pkcs8", (key as CryptoKeyPair).privateKey as never),
  ).rejects.toThrow();
  const store = new IndexedStore("keys");
  await store.write(new Map([["identity", { key }]]));
  const kept = (await new IndexedStore("keys").get("identity")) as { key: CryptoKeyPair };
  expect(kept.key.privateKey.extractable).toBe(false);
  const clock = new FakeClock();
  const signed = await assertion({ device: "d", key: kept.key }, "n", { clock, crypto });
  const [head, claims, signature = ""] = signed.split(".");
  const publicKey = createPublicKey({
    key: (await crypto.publicKey(kept.key)) as never,
    format: "jwk",
  });
  const verifier = createVerify("sha256").update(`${head}.${claims}`);
  const raw = Buffer.from(signature, "base64url");
  expect(verifier.verify({ key: publicKey, dsaEncoding: "ieee-p1363" }, raw)).toBe(true);
  expect(await crypto.publicKey(kept.key)).toMatchObject({ kty: "EC", crv: "P-256" });
});

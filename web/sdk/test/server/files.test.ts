import { createHash, randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stallMs } from "../../src/api.ts";
import { download, downloadTo, upload } from "../../src/files.ts";
import {
  type Clock,
  FileError,
  type FileOffer,
  type FileProgress,
  isProblem,
  type Message,
} from "../../src/index.ts";
import { inCall, number, Person } from "../support/person.ts";
import { TcpProxy } from "../support/proxy.ts";
import { TestServer } from "../support/server.ts";

let server: TestServer;
let proxy: TcpProxy;
let a: Person;
let b: Person;
let session: string;
beforeAll(async () => {
  server = await TestServer.start();
  proxy = await TcpProxy.to(server.port);
  a = await new Person(number()).enrol(server, proxy.url);
  b = await new Person(number()).enrol(server, proxy.url);
  await Promise.all([a.start(), b.start()]);
  session = (await inCall(a, b)).id;
});
afterAll(async () => {
  await Promise.all([a.stop(), b.stop()]);
  await proxy.close();
  await server.remove();
});

const isFile = (m: Message) => m.kind === "file";
const digest = (data: Uint8Array) => createHash("sha256").update(data).digest("hex");
const bytes = async (blob: Blob) => new Uint8Array(await blob.arrayBuffer());

async function offered(name: string): Promise<FileOffer> {
  const m = await b.next("message", (x) => isFile(x) && (x.body as FileOffer).name === name, 0);
  return m.body as FileOffer;
}

test("a file goes through whole, with progress on both sides", async () => {
  const data = randomBytes(9_000_000);
  const sent: number[] = [];
  const content = new Blob([data], { type: "application/octet-stream" });
  await upload(a.device.api, a.ports, {
    session,
    content,
    name: "Größe «1».bin",
    progress: (n) => sent.push(n),
  });
  const offer = await offered("Größe «1».bin");
  expect(offer).toMatchObject({ size: data.length, sha256: digest(data) });
  expect(sent[0]).toBe(0);
  expect(sent.at(-1)).toBe(data.length);
  expect(sent.length).toBeGreaterThan(2);
  const got: number[] = [];
  const blob = await download(b.device.api, b.ports, offer, { progress: (n) => got.push(n) });
  expect(digest(await bytes(blob))).toBe(offer.sha256);
  expect(got.at(-1)).toBe(data.length);
});

test("an upload that is cut goes on where it stood; repeated with its id it is there once", async () => {
  const data = randomBytes(13_000_000);
  let cuts = 0;
  const what = {
    session,
    content: new Blob([data]),
    name: "cut.bin",
    id: "upload-1",
    progress: (n: number) => {
      if (n > 0 && n < data.length && cuts < 2) {
        cuts++;
        proxy.cut();
      }
    },
  };
  await upload(a.device.api, a.ports, what);
  expect(cuts).toBe(2);
  await upload(a.device.api, a.ports, what);
  const offer = await offered("cut.bin");
  expect(offer.sha256).toBe(digest(data));
  await a.device.send(session, "text", { text: "after" });
  await b.until("after", () => b.texts().includes("after"));
  expect(
    b.messages.filter((m) => isFile(m) && (m.body as FileOffer).name === "cut.bin"),
  ).toHaveLength(1);
});

test("an upload over a connection that stands still is given up, and taken up by its id", async () => {
  const content = new Blob([randomBytes(9_000_000)]);
  const file = { session, content, name: "still.bin", id: "u_still" };
  const clock: Clock = {
    ...a.ports.clock,
    after: (ms, f) => a.ports.clock.after(ms === stallMs ? 500 : ms, f),
  };
  proxy.uploadsPass = 6_000_000;
  const sent: number[] = [];
  await expect(
    upload(a.device.api, { ...a.ports, clock }, { ...file, progress: (n) => sent.push(n) }),
  ).rejects.toThrow("stands still");
  expect(sent.at(-1)).toBeGreaterThan(0);
  proxy.uploadsPass = Number.POSITIVE_INFINITY;
  await upload(a.device.api, a.ports, file);
  expect((await offered("still.bin")).size).toBe(content.size);
});

test("an upload that is taken back is gone, and the others are told", async () => {
  const content = new Blob([randomBytes(9_000_000)]);
  const file = { session, content, name: "back.bin", id: "u_back", takeBack: true };
  const stop = new AbortController();
  const gone = b.next("signal", (m) => (m.body as FileProgress).gone === true, 0);
  await expect(
    upload(a.device.api, a.ports, {
      ...file,
      signal: stop.signal,
      progress: (n) => n > 0 && stop.abort(new Error("never mind")),
    }),
  ).rejects.toThrow("never mind");
  expect((await gone).body).toMatchObject({ name: "back.bin", size: content.size });
  const sent: number[] = [];
  await upload(a.device.api, a.ports, { ...file, progress: (n) => sent.push(n) });
  expect((await offered("back.bin")).size).toBe(content.size);
  expect(sent[1]).toBe(4 << 20); // from its start
});

test("a download that is cut goes on where it stood", async () => {
  const data = randomBytes(6_000_000);
  await upload(a.device.api, a.ports, { session, content: new Blob([data]), name: "down.bin" });
  const offer = await offered("down.bin");
  let cuts = 0;
  const blob = await download(b.device.api, b.ports, offer, {
    progress: (n) => {
      if (n > 1_000_000 && cuts === 0) {
        cuts++;
        proxy.cut();
      }
    },
  });
  expect(cuts).toBe(1);
  expect(digest(await bytes(blob))).toBe(offer.sha256);
});

test("what is not what was offered is refused", async () => {
  await upload(a.device.api, a.ports, { session, content: new Blob(["right"]), name: "r.txt" });
  const offer = await offered("r.txt");
  const forged = { ...offer, sha256: "0".repeat(64) };
  let restarts = 0;
  const sink = {
    write: async () => {},
    restart: async () => {
      restarts++;
    },
  };
  await expect(downloadTo(b.device.api, b.ports, forged, sink)).rejects.toThrow(FileError);
  expect(restarts).toBe(1);
  await expect(download(b.device.api, b.ports, { ...offer, size: 3 })).rejects.toThrow(FileError);
  const missing = { ...offer, path: "/v1/files/file_none" };
  await expect(download(b.device.api, b.ports, missing)).rejects.toSatisfy((err) =>
    isProblem(err, "not-found"),
  );
  const foreign = { ...offer, path: "//elsewhere.example/x" };
  await expect(download(b.device.api, b.ports, foreign)).rejects.toThrow("not an address");
});

test("an empty file, an upload into no session, and one that is given up", async () => {
  await upload(a.device.api, a.ports, { session, content: new Blob([]), name: "empty" });
  const blob = await download(b.device.api, b.ports, await offered("empty"));
  expect(blob.size).toBe(0);
  const nowhere = upload(a.device.api, a.ports, {
    session: "ses_none",
    content: new Blob(["x"]),
    name: "x",
  });
  await expect(nowhere).rejects.toSatisfy((err) => isProblem(err, "not-a-member", "not-found"));
  const stop = new AbortController();
  const given = upload(a.device.api, a.ports, {
    session,
    content: new Blob([randomBytes(9_000_000)]),
    name: "given up",
    signal: stop.signal,
    progress: (n) => {
      if (n > 0) {
        stop.abort(new Error("enough"));
      }
    },
  });
  await expect(given).rejects.toThrow("enough");
});

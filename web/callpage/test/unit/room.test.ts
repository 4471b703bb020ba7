import type { Device, Message, SendFrame, SessionState, Unsent } from "@tandem-call/sdk";
import { expect, test, vi } from "vitest";
import { FakeWorld, settle } from "../../../sdk/test/support/fake.ts";
import { now } from "../../src/lib/now.svelte.ts";
import { Room } from "../../src/lib/room.svelte.ts";

/** Whether the part of the page that makes uploads is not to be had. They get no answer here. */
const files = vi.hoisted(() => ({ missing: false }));
vi.mock("@tandem-call/sdk/files", () => {
  if (files.missing) {
    throw new TypeError("Failed to fetch dynamically imported module");
  }
  return { upload: () => new Promise(() => {}), mayPass: () => true };
});

/** The locks of a browser with one tab; what others hold is in held. */
const held = vi.hoisted(() => new Set<string>());
vi.stubGlobal("navigator", {
  locks: {
    request: async (name: string, _: unknown, f: (lock: object | null) => unknown) =>
      f(held.has(name) ? null : {}),
  },
});

const session: SessionState = {
  id: "s_1",
  phase: "in_call",
  you: "1",
  opened: "2026-11-23T10:00:00Z",
  members: [],
};

function room(unsent: Unsent[] = []) {
  const { ports } = new FakeWorld();
  const extended: number[] = [];
  const device = {
    unsent: () => unsent,
    extend: async (_: string, seconds: number) => extended.push(seconds),
  } as unknown as Device;
  const room = new Room(device, ports, session);
  const kept = async () => (await ports.store.list("page/upload/")).length;
  return { room, ports, kept, extended };
}

const photo = () => new File(["photo"], "photo.png");

test("a file waits where the part of the page that sends it cannot be fetched", async () => {
  files.missing = true;
  const { room: r, kept } = room();
  void r.send(photo());
  await settle();
  files.missing = false;
  expect(r.entries.map((e) => e.status)).toEqual(["waiting"]);
  expect(await kept()).toBe(1);
});

test("a file whose sender takes it back, or is not heard of, is on its way no more", () => {
  const { room: r } = room();
  const now = Date.now();
  const coming = { id: "f_1", name: "photo.png", offset: 40, size: 100 };
  r.signal("file.progress", "2", coming);
  r.signal("file.progress", "2", { ...coming, id: "f_2" });
  const ids = (ms: number) => r.incomingAt(now + ms).map((p) => p.id);
  expect(ids(59_000)).toEqual(["f_1", "f_2"]);
  r.signal("file.progress", "2", { ...coming, gone: true });
  expect(ids(59_000)).toEqual(["f_2"]);
  expect(ids(61_000)).toEqual([]);
});

test("a file that the server has is not kept to be sent, though its upload had no answer", async () => {
  const { room: r, kept } = room();
  void r.send(photo());
  await settle();
  expect(await kept()).toBe(1);
  const [entry] = r.entries;
  const body = { id: "f_1", name: "photo.png", path: "/v1/files/f_1" };
  const id = entry?.key.slice(3);
  r.take({ type: "message", kind: "file", from: "1", id, seq: 1, epoch: 1, body } as Message);
  await settle();
  expect(await kept()).toBe(0);
});

test("a file that could not be kept says so", async () => {
  const { room: r, ports } = room();
  ports.store.write = () => Promise.reject(new Error("full"));
  void r.send(photo());
  await settle();
  expect(r.entries).toMatchObject([{ status: "waiting", fleeting: true }]);
});

test("what an earlier run has drawn and removed, and not yet sent, is as the user left it", () => {
  const mark = (id: string) => ({
    type: "Feature",
    id,
    geometry: { type: "Point", coordinates: [16.3738, 48.2082] },
    properties: {},
  });
  const put = (id: string) => ({ kind: "page.map.put", body: mark(id) });
  const remove = (id: string) => ({ kind: "page.map.remove", body: { id } });
  const frames = [put("k_1"), put("k_2"), remove("k_1"), remove("k_0")].map(
    (f, i): SendFrame => ({ type: "send", id: `q_${i}`, session: "s_1", ...f }),
  );
  const { room: r } = room(frames.map((frame, since) => ({ frame, since })));
  const marks = () => [...r.marks.all].map((m) => m.id);
  expect(marks()).toEqual(["k_2"]);
  expect(r.entries.map((e) => e.mark)).toEqual(["pin", "pin"]);
  r.take({ type: "message", from: "1", seq: 1, epoch: 1, ...put("k_0") } as Message);
  for (const [i, frame] of frames.entries()) {
    r.stored(frame, 2 + i);
  }
  expect(marks()).toEqual(["k_2"]);
});

test("a session is kept open for ten minutes more, however wrong this device's clock is", async () => {
  const { room: r, extended } = room();
  now.ahead = -3600_000;
  const time = (s: number) => new Date(now.server + s * 1000).toISOString();
  r.state = { ...session, phase: "after_call", until: time(60), may_extend_to: time(3600) };
  await r.extend();
  now.ahead = 0;
  expect(extended).toEqual([660]);
});

test("what an earlier run has said is shown with why it was refused, whenever that is told", () => {
  const { room: r } = room();
  const frame: SendFrame = {
    type: "send",
    id: "q_1",
    session: "s_1",
    kind: "text",
    body: { text: "too late" },
  };
  r.refused(frame, "closed");
  expect(r.entries).toMatchObject([{ text: "too late", status: "refused", error: "closed" }]);
});

test("a file that another tab is sending is left to it, until that is gone", async () => {
  const { room: r, ports } = room();
  const kept = { session: "s_1", id: "u_1", name: "photo.png", content: photo(), at: 0 };
  await ports.store.write(new Map([["page/upload/u_1", kept]]));
  held.add("tandem-upload-u_1");
  await r.resumeUploads();
  await settle();
  expect(r.entries).toEqual([]);
  held.clear();
  await r.resumeUploads();
  await settle();
  expect(r.entries).toMatchObject([{ status: "waiting", upload: { name: "photo.png" } }]);
});

test("what a tab has left and this one is to send waits here, unless the log has brought it", () => {
  const { room: r } = room();
  const text = (id: string): Unsent => ({
    frame: { type: "send", id, session: "s_1", kind: "text", body: { text: id } },
    since: 1,
  });
  const { frame } = text("q_1");
  r.take({ ...frame, type: "message", from: "1", seq: 1, epoch: 1 } as Message);
  r.takeUp(text("q_1"));
  r.takeUp(text("q_2"));
  expect(r.entries.map((e) => [e.text, e.status])).toEqual([
    ["q_1", "stored"],
    ["q_2", "waiting"],
  ]);
});

test("a pin that is refused is off the map, one whose removal is refused is on it again; the log says so", () => {
  const { room: r } = room();
  const send = (id: string, kind: string, body: unknown): SendFrame => ({
    type: "send",
    id,
    session: "s_1",
    kind,
    body,
  });
  const put = (id: string) =>
    send(`put_${id}`, "page.map.put", {
      type: "Feature",
      id,
      geometry: { type: "Point", coordinates: [16.3738, 48.2082] },
      properties: {},
    });
  const remove = (id: string) => send(`remove_${id}`, "page.map.remove", { id });
  const marks = () => r.marks.all.map((m) => m.id);
  for (const id of ["k_1", "k_2"]) {
    r.marks.take({ ...put(id), type: "message" } as Message, true);
  }
  r.refused(put("k_1"), "closed");
  expect(marks()).toEqual(["k_2"]);
  expect(r.entries).toMatchObject([{ mark: "pin", status: "refused", error: "closed" }]);
  r.marks.take({ ...remove("k_2"), type: "message" } as Message, true);
  expect(marks()).toEqual([]);
  r.refused(remove("k_2"), "closed");
  expect(marks()).toEqual(["k_2"]);
  expect(r.entries).toHaveLength(1);
  // One that was never there is not there because it could not be removed.
  r.marks.take({ ...remove("k_2"), type: "message" } as Message, true);
  r.refused(put("k_2"), "closed");
  r.refused(remove("k_2"), "closed");
  expect(marks()).toEqual([]);
});

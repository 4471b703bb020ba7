import type { Device, SessionState } from "@tandem-call/sdk";
import { expect, test } from "vitest";
import { FakeWorld } from "../../../sdk/test/support/fake.ts";
import { Room } from "../../src/lib/room.svelte.ts";

const session: SessionState = {
  id: "s_1",
  phase: "in_call",
  you: "1",
  opened: "2026-11-23T10:00:00Z",
  members: [],
};

function room() {
  const { ports } = new FakeWorld();
  const device = { unsent: () => [] } as unknown as Device;
  const room = new Room(device, ports, session);
  return { room };
}

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

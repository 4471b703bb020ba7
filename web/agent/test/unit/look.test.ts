import type { LookedInto } from "@tandem-call/sdk";
import { afterEach, expect, test, vi } from "vitest";
import { FakeWorld, settle } from "../../../sdk/test/support/fake.ts";
import { Look } from "../../src/lib/look.svelte.ts";

const page = vi.hoisted(() => ({ app: {} }));
vi.mock("../../../callpage/src/lib/app.svelte.ts", () => page);

afterEach(() => vi.unstubAllGlobals());

test("who looks into a call of another agent does not tell where they are themselves", async () => {
  const geolocation = { watchPosition: vi.fn(() => 1), getCurrentPosition: vi.fn() };
  const permissions = { query: async () => ({ state: "granted" }) };
  vi.stubGlobal("navigator", { geolocation, permissions });
  const time = new Date().toISOString();
  const place = {
    type: "Feature",
    geometry: { type: "Point", coordinates: [16.37, 48.2] },
    properties: {},
  };
  const live = { place, uri: "geo:48.2,16.37", live: true, until: "2999-01-01T00:00:00Z" };
  const member = (id: string, side: string) => ({ id, side, name: id });
  const looked = {
    conversation: { notes: [] },
    session: {
      id: "s",
      phase: "in_call",
      epoch: 1,
      you: "agent",
      opened: time,
      members: [member("agent", "a"), member("customer", "b")],
    },
    messages: [
      // Both share their places live; and each has asked the other, who has agreed already.
      { kind: "tandem.place", from: "agent", to: ["customer"], body: live },
      { kind: "tandem.place", from: "customer", to: ["agent"], body: live },
      { kind: "tandem.place.ask", from: "agent", body: { request: "r1", consent: "call" } },
      { kind: "tandem.place.ask", from: "customer", body: { request: "r2", consent: "call" } },
    ].map((m, i) => ({ ...m, session: "s", epoch: 1, seq: i + 1, time })),
  } as unknown as LookedInto;
  const calls: string[] = [];
  const call = async (method: string, path: string) => {
    calls.push(`${method} ${path}`);
    return looked;
  };
  page.app = { device: { api: { call }, unsent: () => [] }, ports: new FakeWorld().ports };

  const look = new Look("s");
  await look.begin();
  await settle();
  look.end();
  expect(look.error).toBeUndefined();
  expect(look.log?.places.seen.get("customer")?.live).toBe(true);
  expect(look.theirs?.places.seen.get("customer")?.live).toBe(true);
  expect(look.log?.places.questions.size).toBe(0);
  expect(look.theirs?.places.sharing).toBeUndefined();
  expect(geolocation.watchPosition).not.toHaveBeenCalled();
  expect(geolocation.getCurrentPosition).not.toHaveBeenCalled();
  expect(calls.filter((c) => c.includes("/place"))).toEqual([]);
});

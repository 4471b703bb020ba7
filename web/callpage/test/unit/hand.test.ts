import {
  ClosedError,
  type Device,
  NetworkError,
  ProblemError,
  type Report,
} from "@tandem-call/sdk";
import { expect, test } from "vitest";
import { problem } from "../../../sdk/src/error.ts";
import { FakeWorld, settle } from "../../../sdk/test/support/fake.ts";
import { HandReport } from "../../src/lib/hand.svelte.ts";

/** A page whose reports are refused, or fail, as the test says. */
async function page(fails: (r: Report) => Error | undefined, { ports, clock } = new FakeWorld()) {
  const reported: string[] = [];
  const device = {
    report: async (r: Report) => {
      reported.push(`${r.other} ${r.state}`);
      const err = fails(r);
      if (err) {
        throw err;
      }
      return {};
    },
  } as unknown as Device;
  const hand = await HandReport.open(device, ports);
  const kept = async () => (await ports.store.get("page/hand")) as { other: string } | undefined;
  const over = async () => (await ports.store.list("page/hand-over/")).length;
  return { hand, reported, clock, kept, over };
}

test("a call that is refused is not told of again, and takes none with it that comes after", async () => {
  const refusal = new ProblemError(problem("bad-number"));
  const { hand, reported, clock, kept } = await page((r) =>
    r.other === "17" ? refusal : undefined,
  );
  await hand.begin("17", undefined);
  await settle();
  expect(hand.error).toBe(refusal);
  expect(hand.call).toBeUndefined();
  expect(await kept()).toBeUndefined();

  await hand.begin("+442079460002", undefined);
  await settle();
  await clock.advance(40_000);
  expect(reported).toEqual(["17 active", "+442079460002 active", "+442079460002 active"]);
  expect(hand.error).toBeUndefined();
  expect(hand.call?.other).toBe("+442079460002");
  expect((await kept())?.other).toBe("+442079460002");
});

test("a call that cannot be told of for now is told of again, and the user knows", async () => {
  let away = true;
  const trouble = new NetworkError("there is no network");
  const { hand, reported, clock, kept } = await page(() => (away ? trouble : undefined));
  await hand.begin("+442079460002", undefined);
  await settle();
  expect([hand.told, hand.trouble]).toEqual([false, trouble]);
  expect(hand.call?.other).toBe("+442079460002");
  expect((await kept())?.other).toBe("+442079460002");
  away = false;
  await clock.advance(40_000);
  expect(reported).toEqual(["+442079460002 active", "+442079460002 active"]);
  expect([hand.told, hand.trouble]).toEqual([true, undefined]);
  away = true;
  await clock.advance(40_000);
  expect([hand.told, hand.trouble]).toEqual([true, trouble]);
});

test("the end of a call is kept until the server knows, and told by the next run before a call that is up", async () => {
  const world = new FakeWorld();
  const one = await page(
    (r) => (r.state === "ended" ? new ClosedError("stopped") : undefined),
    world,
  );
  await one.hand.begin("+442079460002", undefined);
  await settle();
  await one.hand.end();
  await settle();
  await one.hand.begin("+442079460003", undefined);
  await settle();
  expect(await one.over()).toBe(1);
  let busy = true;
  const two = await page(
    (r) => (busy && r.state === "ended" ? new NetworkError("not now") : undefined),
    world,
  );
  await settle();
  expect(two.reported).toEqual(["+442079460002 ended", "+442079460003 active"]);
  expect(two.hand.call?.other).toBe("+442079460003");
  expect(await two.over()).toBe(1);
  // What the server cannot take now is told again.
  busy = false;
  await world.clock.advance(40_000);
  expect(two.reported).toContain("+442079460002 ended");
  expect(two.reported.filter((r) => r === "+442079460002 ended")).toHaveLength(2);
  expect(await two.over()).toBe(0);
  expect(two.hand.call?.other).toBe("+442079460003");
});

test("an end that the server does not want, or that is a day old, is told no more", async () => {
  const stopped = (r: Report) => (r.state === "ended" ? new ClosedError("stopped") : undefined);
  const left = async (world: FakeWorld) => {
    const { hand, over } = await page(stopped, world);
    await hand.begin("+442079460002", undefined);
    await hand.end();
    await settle();
    expect(await over()).toBe(1);
  };
  const refused = new FakeWorld();
  await left(refused);
  const next = await page(() => new ProblemError(problem("bad-number")), refused);
  await settle();
  expect(next.reported).toEqual(["+442079460002 ended"]);
  expect(await next.over()).toBe(0);

  const old = new FakeWorld();
  await left(old);
  const tomorrow = new FakeWorld();
  tomorrow.ports.store = old.ports.store;
  await tomorrow.clock.advance(27 * 3600_000);
  const later = await page(() => undefined, tomorrow);
  await settle();
  expect(later.reported).toEqual([]);
  expect(await later.over()).toBe(0);
});

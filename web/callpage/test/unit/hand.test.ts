import { type Device, NetworkError, ProblemError, type Report } from "@tandem-call/sdk";
import { expect, test } from "vitest";
import { problem } from "../../../sdk/src/error.ts";
import { FakeWorld, settle } from "../../../sdk/test/support/fake.ts";
import { HandReport } from "../../src/lib/hand.svelte.ts";

/** A page whose reports are refused, or fail, as the test says. */
async function page(fails: (r: Report) => Error | undefined) {
  const { ports, clock } = new FakeWorld();
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
  return { hand, reported, clock, kept };
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

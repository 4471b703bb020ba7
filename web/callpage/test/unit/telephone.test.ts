import { type Device, type ProblemCode, ProblemError } from "@tandem-call/sdk";
import { beforeEach, expect, test, vi } from "vitest";
import { problem } from "../../../sdk/src/error.ts";
import { FakeWorld, settle } from "../../../sdk/test/support/fake.ts";
import { Telephone } from "../../src/lib/telephone.svelte.ts";
import type { PhoneEvents } from "../../src/phone/softphone.ts";

/** A telephone without a line. */
class FakePhone {
  static all: FakePhone[] = [];
  readonly events: PhoneEvents;
  readonly dialled: string[] = [];
  stopped = false;
  /** The user has not yet said whether the microphone may be used. */
  asks: Promise<void> | undefined;

  constructor(_account: unknown, _socket: string, events: PhoneEvents) {
    this.events = events;
    FakePhone.all.push(this);
  }

  start(): void {}

  stop(): void {
    this.stopped = true;
  }

  async dial(number: string): Promise<void> {
    await this.asks;
    this.dialled.push(number);
  }
}
vi.mock("../../src/phone/softphone.ts", () => ({ Softphone: FakePhone }));
vi.stubGlobal("location", { protocol: "http:", host: "tandem.example" });
vi.stubGlobal("navigator", {
  locks: { query: async () => ({}), request: (_: string, f: () => Promise<void>) => f() },
});
beforeEach(() => {
  FakePhone.all = [];
});

const account = { websocket_url: "ws://tandem.example/v1/sip", expires_s: 3600 };

/** The page's telephone, and how the server answers when it is asked for an account. */
async function telephone(answer: () => Promise<unknown> = async () => account) {
  const { clock } = new FakeWorld();
  const device = { api: { call: answer }, report: async () => ({}) } as unknown as Device;
  const phone = new Telephone(device, clock);
  void phone.start();
  await settle();
  return { phone, clock };
}

const renewal = (3600 / 2) * 1000;

test("what is dialled while the password is renewed goes out once, over the new line", async () => {
  const { phone, clock } = await telephone();
  FakePhone.all[0]?.events.registered();
  await clock.advance(renewal);
  const [old, fresh] = FakePhone.all;
  expect(old?.stopped).toBe(true);
  void phone.dial("+44 20 7946 0001");
  void phone.dial("+44 20 7946 0002");
  await settle();
  expect(fresh?.dialled).toEqual([]);
  fresh?.events.registered();
  await settle();
  expect([old?.dialled, fresh?.dialled]).toEqual([[], ["+442079460002"]]);
});

test("the old line is good until the new password is there", async () => {
  let asked = 0;
  let answer = (_: unknown) => {};
  const { phone, clock } = await telephone(() =>
    asked++ === 0 ? Promise.resolve(account) : new Promise((resolve) => (answer = resolve)),
  );
  FakePhone.all[0]?.events.registered();
  await clock.advance(renewal);
  await phone.dial("+442079460001");
  expect(FakePhone.all[0]).toMatchObject({ stopped: false, dialled: ["+442079460001"] });
  answer(account);
  await settle();
  expect(FakePhone.all).toHaveLength(2);
});

test("the line stays while the user is asked for the microphone to make a call", async () => {
  const { phone, clock } = await telephone();
  const [old] = FakePhone.all;
  old?.events.registered();
  let allow = () => {};
  if (old) {
    old.asks = new Promise((resolve) => (allow = resolve));
  }
  void phone.dial("+442079460001");
  await clock.advance(renewal);
  expect(old?.stopped).toBe(false);
  allow();
  await settle();
  expect(old?.dialled).toEqual(["+442079460001"]);
  await clock.advance(30_000);
  expect(old?.stopped).toBe(true);
});

test("a call is tried over a line that does not come, so that its failure is seen", async () => {
  const { phone, clock } = await telephone();
  void phone.dial("+442079460001");
  await clock.advance(4_000);
  expect(FakePhone.all[0]?.dialled).toEqual([]);
  await clock.advance(1_000);
  expect(FakePhone.all[0]?.dialled).toEqual(["+442079460001"]);
});

test("a server in trouble is asked again for a line, and one that has none is not", async () => {
  let code: ProblemCode = "internal";
  const { phone, clock } = await telephone(async () => {
    throw new ProblemError(problem(code));
  });
  expect(phone.line).toBe("offline");
  code = "not-found";
  await clock.advance(3_000);
  expect(phone.line).toBe("none");
});

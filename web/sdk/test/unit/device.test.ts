import { createPublicKey, createVerify } from "node:crypto";
import { beforeEach, describe, expect, test } from "vitest";
import { problem } from "../../src/error.ts";
import {
  CallReporter,
  CloseError,
  ConfigError,
  Device,
  type DeviceConfig,
  type Events,
  type Identity,
  isProblem,
  ProblemError,
  type Report,
  type SessionState,
} from "../../src/index.ts";
import { FakeWorld, settle } from "../support/fake.ts";

let world: FakeWorld;
let identity: Identity;
beforeEach(async () => {
  world = new FakeWorld();
  identity = {
    server: "https://tandem.example/base",
    device: "dev_1",
    key: await world.ports.crypto.createKey(),
  };
});

const open = (more: Partial<DeviceConfig> = {}) =>
  Device.open({ identity, ports: world.ports, transport: "websocket", ...more });

/** A device that runs; what becomes of the run, and what has happened. */
async function start(more: Partial<DeviceConfig> = {}) {
  const device = await open(more);
  const happened: [string, unknown][] = [];
  for (const event of [
    "disconnected",
    "message",
    "session",
    "rewind",
    "lost",
    "fault",
    "refused",
    "sent",
  ] as const) {
    device.on(event, (value: Events[typeof event]) => happened.push([event, value]));
  }
  const stop = new AbortController();
  const run = device.run(stop.signal).then(
    () => "stopped",
    (err: unknown) => err,
  );
  const of = <K extends keyof Events>(event: K) =>
    happened.filter(([e]) => e === event).map(([, v]) => v as Events[K]);
  return { device, of, stop, run };
}

const state = (more: Partial<SessionState> = {}): SessionState => ({
  id: "s",
  phase: "in_call",
  you: "mem_a",
  members: [],
  opened: "2026-11-23T10:00:00Z",
  epoch: 1,
  head: 0,
  ...more,
});

describe("the conversation", () => {
  test("hello proves the device by a signature over the nonce", async () => {
    await start({ client: "test/1" });
    const s = await (await world.socket()).welcome();
    expect(s.url).toBe("wss://tandem.example/base/v1/connect");
    const hello = s.frames[0]?.body as { assertion: string; client: string };
    expect(hello.client).toBe("test/1");
    const [head = "", claims = "", signature = ""] = hello.assertion.split(".");
    const json = (part: string) => JSON.parse(Buffer.from(part, "base64url").toString());
    expect(json(head)).toEqual({ alg: "ES256", typ: "JWT" });
    const now = world.clock.now() / 1000;
    expect(json(claims)).toEqual({
      sub: "dev_1",
      nonce: "n0nce",
      aud: "tandem",
      iat: now,
      exp: now + 120,
    });
    const key = createPublicKey({
      key: (await world.ports.crypto.publicKey(identity.key)) as never,
      format: "jwk",
    });
    const verify = createVerify("sha256").update(`${head}.${claims}`);
    const raw = Buffer.from(signature, "base64url");
    expect(verify.verify({ key, dsaEncoding: "ieee-p1363" }, raw)).toBe(true);
  });

  test("a ping is answered, and sent after three quarters of a heartbeat", async () => {
    await start();
    const s = await (await world.socket()).welcome();
    await s.tell({ type: "ping", id: "p1" });
    expect(s.of("pong")).toEqual([{ type: "pong", id: "p1" }]);
    await world.clock.advance(14_999);
    expect(s.of("ping")).toHaveLength(0);
    await world.clock.advance(1);
    expect(s.of("ping")).toHaveLength(1);
  });

  test("two and a half heartbeats of silence end a connection; a sign of life does not", async () => {
    const { of } = await start();
    const s = await (await world.socket()).welcome();
    await world.clock.advance(40_000);
    await s.tell({ type: "pong" });
    await world.clock.advance(49_999);
    expect(of("disconnected")).toEqual([]);
    await world.clock.advance(1);
    expect(of("disconnected")).toMatchObject([
      { error: { message: expect.stringContaining("silent") } },
    ]);
    expect(s.over).toBe(true);
  });

  test("where an answer is due and nothing is heard, the server is asked, and then given up", async () => {
    const { device, of } = await start();
    const s = await (await world.socket()).welcome([state()]);
    device.send("s", "text", { text: "hello" });
    await settle();
    await world.clock.advance(2_999);
    expect(s.of("ping")).toHaveLength(0);
    await world.clock.advance(1);
    expect(s.of("ping")).toHaveLength(1);
    await world.clock.advance(1);
    await s.tell({ type: "ping" }); // it is at work
    await world.clock.advance(2_999);
    expect(s.of("ping")).toHaveLength(1);
    await world.clock.advance(3_000);
    expect(s.of("ping")).toHaveLength(2);
    await world.clock.advance(2_999);
    expect(of("disconnected")).toEqual([]);
    await world.clock.advance(1);
    expect(of("disconnected")).toMatchObject([
      { error: { message: expect.stringContaining("silent") } },
    ]);
  });

  test("a connection without a welcome is given up", async () => {
    const { of } = await start();
    const s = await world.socket();
    s.events.opened();
    await s.tell({ type: "challenge", body: { nonce: "n0nce", timeout_s: 10 } });
    await world.clock.advance(14_999);
    expect(of("disconnected")).toEqual([]);
    await world.clock.advance(1);
    expect(of("disconnected")).toHaveLength(1);
  });

  test("one without a challenge is given up sooner, and then waited for longer", async () => {
    const { of } = await start();
    for (const [i, ms] of [5_000, 10_000, 10_000].entries()) {
      (await world.socket()).events.opened();
      await world.clock.advance(ms - 1);
      expect(of("disconnected")).toHaveLength(i);
      await world.clock.advance(1);
      expect(of("disconnected").at(-1)?.error).toMatchObject({ message: "no challenge in time" });
      await world.clock.advance(of("disconnected").at(-1)?.retryMs ?? 0);
    }
  });

  test("what is no frame ends the connection, and the device comes back", async () => {
    const { of } = await start();
    const s = await (await world.socket()).welcome();
    s.events.message('{"type":"pong","type":"pong"}');
    await settle();
    expect(of("disconnected")).toMatchObject([{ error: { name: "ProtocolError" } }]);
    await world.clock.advance(200);
    expect(world.sockets).toHaveLength(2);
  });

  test("types that a newer server sends are let pass", async () => {
    const { of } = await start();
    const s = await (await world.socket()).welcome();
    await s.tell({ type: "fireworks", id: "r1", body: { n: 1 } });
    expect(of("disconnected")).toEqual([]);
  });
});

describe("coming back", () => {
  test("a device that was let go of a session reads what was said meanwhile when it is in it again", async () => {
    const { of } = await start();
    const s = await (await world.socket()).welcome();
    const mine = { id: "1", side: 1, name: "", left: false };
    await s.tell({ type: "session", body: state({ you: "1", members: [mine] }) });
    expect(s.of("resume")).toHaveLength(1);
    const resumed = { epoch: 1, head: 0, recovered: true };
    await s.tell({ type: "resumed", id: s.of("resume")[0]?.id ?? "", body: resumed });
    await s.tell({
      type: "session",
      body: state({ you: "1", members: [{ ...mine, left: true }] }),
    });
    expect(s.of("resume")).toHaveLength(1);
    const back = { ...mine, id: "2" };
    const members = [{ ...mine, left: true }, back];
    await s.tell({ type: "session", body: state({ you: "2", members, head: 3 }) });
    expect(s.of("resume")).toHaveLength(2);
    expect(of("session")).toHaveLength(3);
  });

  test.each([4000, 4008, 4009])("at once after %i", async (code) => {
    const { of } = await start();
    (await (await world.socket()).welcome()).closed(code);
    await settle();
    expect(of("disconnected")).toMatchObject([{ retryMs: 100, error: { code } }]);
    await world.clock.advance(100);
    expect(world.sockets).toHaveLength(2);
  });

  test.each([4005, 4006, 4010, 4011, 4999])("after a pause after %i", async (code) => {
    const { of } = await start();
    (await (await world.socket()).welcome()).closed(code);
    await settle();
    expect(of("disconnected")).toMatchObject([{ retryMs: 145 }]);
  });

  test.each([4001, 4004])("not after %i", async (code) => {
    const { run, of, device } = await start();
    const sent = device.send("s", "text", { text: "x" });
    const failed = expect(sent).rejects.toThrow("stopped");
    (await (await world.socket()).welcome()).closed(code, "why");
    expect(await run).toBeInstanceOf(CloseError);
    expect(of("disconnected")).toMatchObject([{ retryMs: Number.POSITIVE_INFINITY }]);
    await failed;
    expect(world.clock.timers).toBe(0);
  });

  test("a server that calls it unauthenticated is believed the third time", async () => {
    const { run } = await start();
    for (let i = 0; i < 3; i++) {
      const s = await world.socket();
      s.events.opened();
      await s.tell({ type: "challenge", body: { nonce: "n", timeout_s: 10 } });
      s.closed(4003, "no");
      await settle();
      await world.clock.advance(600);
    }
    expect(isProblem(await run, "unauthenticated")).toBe(true);
    expect(world.sockets).toHaveLength(3);
  });

  test("pauses grow while there is no server, and are cut short by wake", async () => {
    const { device, of } = await start();
    for (let i = 0; i < 6; i++) {
      (await world.socket()).closed(1006);
      await settle();
      await world.clock.advance(world.clock.next);
    }
    expect(of("disconnected").map((d) => d.retryMs)).toEqual([100, 270, 520, 1020, 2020, 4020]);
    (await world.socket()).closed(1006);
    await settle();
    const before = world.sockets.length;
    device.wake();
    await settle();
    expect(world.sockets).toHaveLength(before + 1);
    await (await world.socket()).welcome();
    (await world.socket()).closed(1006);
    await settle();
    expect(of("disconnected").at(-1)?.retryMs).toBe(100);
  });

  test("after a wake a connection has five seconds to show that it lives", async () => {
    const { device, of } = await start();
    const s = await (await world.socket()).welcome();
    device.wake();
    await world.clock.advance(1000);
    await s.tell({ type: "pong" });
    await world.clock.advance(10_000);
    expect(of("disconnected")).toEqual([]);
    device.wake();
    await world.clock.advance(5000);
    expect(of("disconnected")).toHaveLength(1);
  });

  test("a stop ends the connection, a pause, and everything that waits", async () => {
    const one = await start();
    const s = await (await world.socket()).welcome();
    one.stop.abort();
    expect(await one.run).toBe("stopped");
    expect(s.over).toBe(true);
    const two = await start();
    (await world.socket()).closed(1006);
    await settle();
    two.stop.abort();
    expect(await two.run).toBe("stopped");
    expect(world.clock.timers).toBe(0);
    await expect(two.device.extend("s", 60)).rejects.toThrow("stopped");
    await expect(two.device.run(new AbortController().signal)).rejects.toThrow(ConfigError);
  });
});

describe("requests", () => {
  test("wait for a connection, and are repeated on the next one with their id, in order", async () => {
    const { device } = await start();
    const sent = ["1", "2"].map((text) => device.send("s", "text", { text }));
    const s = await (await world.socket()).welcome();
    const first = s.of("send");
    expect(first.map((f) => f.body)).toEqual([{ text: "1" }, { text: "2" }]);
    await s.tell({ type: "ack", id: first[0]?.id ?? "", seq: 1, epoch: 7 });
    expect(await sent[0]).toEqual({ epoch: 7, seq: 1 });
    s.closed(1006);
    await settle();
    await world.clock.advance(100);
    const again = await (await world.socket()).welcome();
    expect(first[1]).toMatchObject({ fresh: true });
    expect(again.of("send")).toEqual([{ ...first[1], fresh: undefined }]);
    await again.tell({ type: "ack", id: first[1]?.id ?? "", seq: 2, epoch: 7 });
    expect((await sent[1])?.seq).toBe(2);
  });

  test("an outcome that is left open makes it repeat", async () => {
    const { device } = await start();
    const s = await (await world.socket()).welcome();
    const done = device.extend("s", 60);
    const id = s.of("extend")[0]?.id;
    await s.refuse(id, { code: "outcome-unknown", title: "?" });
    expect(s.of("extend")).toHaveLength(1);
    await world.clock.advance(145);
    expect(s.of("extend")).toHaveLength(2);
    await s.tell({ type: "ack", id: id ?? "" });
    await done;
  });

  test("a message waits as long as the server asks; other requests are refused", async () => {
    const { device, of } = await start();
    const s = await (await world.socket()).welcome();
    const busy = { code: "too-many-requests", title: "?", retry_after_s: 3 };
    const sent = device.send("s", "text", { text: "x" });
    const extended = device.extend("s", 60);
    const refused = expect(extended).rejects.toSatisfy((e) => isProblem(e, "too-many-requests"));
    await s.refuse(s.of("send")[0]?.id, busy);
    await s.refuse(s.of("extend")[0]?.id, busy);
    await refused;
    await world.clock.advance(2999);
    expect(s.of("send")).toHaveLength(1);
    await world.clock.advance(1);
    expect(s.of("send")).toHaveLength(2);
    const lost = expect(sent).rejects.toSatisfy((e) => isProblem(e, "session-closed"));
    await s.refuse(s.of("send")[0]?.id, { code: "session-closed", title: "?" });
    await lost;
    expect(of("refused")).toHaveLength(1);
    expect(device.unsent()).toEqual([]);
  });

  test("a message is kept as it is sent, whatever else its body holds, and so is the next", async () => {
    const { device } = await start();
    const bodies = [{ text: "1", heard: () => {} }, { text: "2" }];
    for (const body of bodies) {
      device.send("s", "com.example.note", body).catch(() => {});
    }
    await settle();
    const later = await open();
    expect(later.unsent().map((u) => u.frame.body)).toEqual([{ text: "1" }, { text: "2" }]);
  });

  test("one that is withdrawn is not repeated", async () => {
    const { device } = await start();
    const stop = new AbortController();
    const sent = device.send("s", "text", { text: "x" }, { signal: stop.signal });
    stop.abort(new Error("never mind"));
    await expect(sent).rejects.toThrow("never mind");
    const s = await (await world.socket()).welcome();
    expect(s.of("send")).toEqual([]);
  });

  test("an id that is under way, and a frame that the server would refuse, are refused", async () => {
    const { device } = await start();
    const one = device.send("s", "text", { text: "x" }, { id: "m1" });
    await expect(device.send("s", "text", { text: "y" }, { id: "m1" })).rejects.toThrow(
      ConfigError,
    );
    await expect(device.send("s", "tandem.x", {})).rejects.toThrow("server's");
    await expect(device.send("s", "x", {}, { to: [] })).rejects.toThrow("leave it out");
    await expect(device.confirm("inv", "")).rejects.toThrow("words");
    const s = await (await world.socket()).welcome();
    await s.tell({ type: "ack", id: "m1", seq: 1, epoch: 1 });
    await one;
  });

  test("signals are dropped without a connection, and on a slow one", async () => {
    const { device } = await start();
    device.signal("s", "typing");
    const s = await (await world.socket()).welcome();
    s.backlog = 100_000;
    device.signal("s", "typing");
    s.backlog = 0;
    device.signal("s", "typing", { on: true }, ["mem_b"]);
    expect(s.of("signal")).toEqual([
      { type: "signal", session: "s", kind: "typing", to: ["mem_b"], body: { on: true } },
    ]);
  });
});

describe("sessions", () => {
  test("are resumed where an earlier run stopped, and the place is kept", async () => {
    const one = await start();
    const s = await (await world.socket()).welcome([state({ head: 1 })]);
    expect(s.of("resume")[0]).toMatchObject({ session: "s", body: { epoch: 0, seq: 0 } });
    const m = { type: "message", session: "s", kind: "text", from: "mem_b", body: { text: "hi" } };
    await s.tell({ ...m, seq: 1, epoch: 1 });
    const id = s.of("resume")[0]?.id ?? "";
    await s.tell({
      type: "resumed",
      id,
      session: "s",
      body: { recovered: true, epoch: 1, head: 1 },
    });
    await s.tell({ ...m, seq: 2, epoch: 1 });
    expect(one.of("message").map((x) => x.seq)).toEqual([1, 2]);
    one.stop.abort();
    await one.run;

    await start();
    const t = await (await world.socket()).welcome([state({ head: 2 })]);
    expect(t.of("resume")[0]?.body).toEqual({ epoch: 1, seq: 2 });
    await start({ from: "start" });
    const u = await (await world.socket()).welcome([state({ head: 2 })]);
    expect(u.of("resume")[0]?.body).toEqual({ epoch: 0, seq: 0 });
  });

  test("of which nothing was seen yet are asked for by a later run, too", async () => {
    const one = await start();
    await (await world.socket()).welcome([state()]);
    one.stop.abort();
    await one.run;
    for (const from of ["saved", "start"] as const) {
      await start({ from });
      const s = await (await world.socket()).welcome();
      expect(s.of("resume")).toMatchObject([{ session: "s", body: { epoch: 0, seq: 0 } }]);
    }
  });

  test("what this device has sent does not come back to it; what its other devices sent does", async () => {
    const { device, of } = await start();
    const s = await (await world.socket()).welcome([state()]);
    const r = s.of("resume")[0]?.id ?? "";
    await s.tell({
      type: "resumed",
      id: r,
      session: "s",
      body: { recovered: true, epoch: 1, head: 0 },
    });
    void device.send("s", "text", { text: "own" }, { id: "m1" });
    const m = { type: "message", session: "s", kind: "text", epoch: 1, body: {} };
    await s.tell({ ...m, seq: 1, from: "mem_a", id: "m1" });
    await s.tell({ type: "ack", id: "m1", seq: 1, epoch: 1 });
    await s.tell({ ...m, seq: 2, from: "mem_a", id: "other" });
    await s.tell({ ...m, seq: 3, from: "mem_b", id: "m1" });
    expect(of("message").map((x) => x.seq)).toEqual([2, 3]);
  });

  test("the end is told once, after the last messages, and what comes later is let pass", async () => {
    const { of } = await start();
    const s = await (await world.socket()).welcome([state()]);
    const resumed = (head: number) =>
      s.tell({
        type: "resumed",
        id: s.of("resume").at(-1)?.id ?? "",
        session: "s",
        body: { recovered: true, epoch: 1, head },
      });
    await resumed(0);
    const m = { type: "message", session: "s", kind: "text", from: "mem_b", epoch: 1, body: {} };
    await s.tell({ ...m, seq: 1 });
    const closed = { type: "session", session: "s", body: state({ phase: "closed", head: 1 }) };
    await s.tell(closed);
    expect(of("session").at(-1)?.phase).toBe("in_call");
    await s.tell({ ...m, seq: 2 }); // it was under way
    await resumed(2);
    expect(of("session").filter((x) => x.phase === "closed")).toHaveLength(1);
    await s.tell({ ...m, seq: 3 });
    await s.tell(closed);
    expect(of("message").map((x) => x.seq)).toEqual([1, 2]);
    expect(of("session").filter((x) => x.phase === "closed")).toHaveLength(1);
    expect(s.of("resume")).toHaveLength(2);
  });

  test("an end that was not told before the connection broke is told by the next", async () => {
    const { of } = await start();
    const s = await (await world.socket()).welcome([state()]);
    await s.tell({ type: "session", session: "s", body: state({ phase: "closed" }) });
    s.closed(1006);
    await settle();
    await world.clock.advance(200);
    const next = await (await world.socket()).welcome();
    const id = next.of("resume").at(-1)?.id ?? "";
    await next.tell({
      type: "resumed",
      id,
      session: "s",
      body: { recovered: true, epoch: 1, head: 0 },
    });
    expect(of("session").filter((x) => x.phase === "closed")).toHaveLength(1);
  });

  test("a refused resume ends the session; another failure ends the connection", async () => {
    const { of, device } = await start();
    const s = await (await world.socket()).welcome([state()]);
    const id = s.of("resume")[0]?.id ?? "";
    await s.tell({ type: "error", id, session: "s", body: { code: "not-a-member", title: "?" } });
    expect(of("session").at(-1)).toMatchObject({ id: "s", phase: "closed" });
    expect(device.sessions()).toEqual([]);
    // The device may become a member again, on the same connection.
    await s.tell({ type: "session", session: "s", body: state() });
    expect(of("session").at(-1)).toMatchObject({ id: "s", phase: "in_call" });
    expect(s.of("resume")[1]).toMatchObject({ session: "s" });
    await s.tell({ type: "session", session: "t", body: state({ id: "t" }) });
    const next = s.of("resume")[2]?.id ?? "";
    await s.tell({ type: "error", id: next, session: "t", body: { code: "internal", title: "?" } });
    expect(of("disconnected")).toHaveLength(1);
  });

  test("messages that were taken back, and lost ones, are told", async () => {
    const { of } = await start();
    const s = await (await world.socket()).welcome([state({ head: 2 })]);
    const m = { type: "message", session: "s", kind: "text", from: "mem_b", epoch: 1, body: {} };
    await s.tell({ ...m, seq: 1 });
    await s.tell({ ...m, seq: 2 });
    const id = s.of("resume")[0]?.id ?? "";
    await s.tell({
      type: "resumed",
      id,
      session: "s",
      body: { recovered: true, epoch: 1, head: 2 },
    });
    s.closed(4000);
    await settle();
    await world.clock.advance(100);
    const t = await (await world.socket()).welcome([state({ epoch: 2, head: 2 })]);
    expect(t.of("resume")[0]?.body).toEqual({ epoch: 1, seq: 2 });
    await t.tell({ ...m, seq: 2, epoch: 2 });
    await t.tell({
      type: "resumed",
      id: t.of("resume")[0]?.id ?? "",
      session: "s",
      body: { recovered: false, rewind_to: 1, epoch: 2, head: 2 },
    });
    expect(of("rewind")).toEqual([{ session: "s", seq: 1 }]);
    expect(of("lost")).toEqual([{ session: "s" }]);
    expect(of("message").map((x) => [x.epoch, x.seq])).toEqual([
      [1, 1],
      [1, 2],
      [2, 2],
    ]);
  });
});

test("a listener that throws, and a store that fails, are told, and do no harm", async () => {
  world.ports.store.write = () => Promise.reject(new Error("full"));
  const { device, of } = await start();
  device.on("connected", () => {
    throw new Error("listener");
  });
  const s = await (await world.socket()).welcome();
  const sent = device.send("s", "text", { text: "x" }, { id: "m1" });
  await s.tell({ type: "ack", id: "m1", seq: 1, epoch: 1 });
  await sent;
  expect(
    of("fault")
      .map((f) => (f.error as Error).message)
      .slice(0, 2),
  ).toEqual(["listener", "full"]);
});

test.each([
  [{ identity: { server: "https://x.example", device: "", key: {} } }, "not enrolled"],
  [{ transport: "pigeon" }, "no transport"],
  [{ client: "x".repeat(129) }, "128 bytes"],
  [{ identity: { server: "ftp://x.example", device: "d", key: {} } }, "not a server's address"],
])("a configuration that cannot be used is refused: %j", async (more, why) => {
  await expect(open(more as Partial<DeviceConfig>)).rejects.toThrow(why);
});

describe("the reporter", () => {
  const details = (local: string, state: "active" | "held" | "ended") => ({
    state,
    ref: { local },
  });

  function reporter() {
    const reports: Report[] = [];
    const answers: { resolve: () => void; reject: (err: unknown) => void }[] = [];
    const device = {
      report: (r: Report) =>
        new Promise<object>((resolve, reject) => {
          reports.push(r);
          answers.push({ resolve: () => resolve({}), reject });
        }),
    };
    const r = new CallReporter(device, { clock: world.clock });
    return { r, reports, answers, states: () => reports.map((x) => `${x.ref?.local} ${x.state}`) };
  }

  test("a newer state replaces one that waits, but never the end of a call", async () => {
    const { r, states, answers } = reporter();
    r.update(details("a", "active"));
    r.update(details("b", "active"));
    r.update(details("b", "held"));
    r.update(details("b", "ended"));
    r.update(details("b", "active"));
    for (let i = 0; i < 4; i++) {
      await settle();
      answers[i]?.resolve();
    }
    await r.idle();
    expect(states()).toEqual(["a active", "b held", "b ended", "b active"]);
    r.close();
  });

  test("a call that is up is repeated with its sequence; one that is over is not", async () => {
    const { r, reports, states, answers } = reporter();
    r.update(details("a", "active"));
    r.update(details("b", "ended"));
    await settle();
    answers[0]?.resolve();
    await settle();
    answers[1]?.resolve();
    await r.idle();
    await world.clock.advance(40_000);
    expect(states()).toEqual(["a active", "b ended", "a active"]);
    expect(reports[2]?.report_seq).toBe(reports[0]?.report_seq);
    expect(reports[1]?.report_seq).toBeGreaterThan(reports[0]?.report_seq ?? 0);
    answers[2]?.resolve();
    await r.idle();
    r.close();
    await world.clock.advance(80_000);
    expect(reports).toHaveLength(3);
  });

  test("a call that is forgotten is not repeated, but its end is reported", async () => {
    const { r, states, answers } = reporter();
    r.update(details("a", "active"));
    await settle();
    await world.clock.advance(40_000); // it is to be repeated, too
    r.update(details("b", "active"));
    r.forget({ local: "a" });
    answers[0]?.reject(new ProblemError(problem("bad-number")));
    await settle();
    answers[1]?.resolve();
    await r.idle();
    expect(states()).toEqual(["a active", "b active"]);
    await world.clock.advance(40_000);
    r.update(details("a", "ended"));
    answers[2]?.resolve();
    await settle();
    answers[3]?.resolve();
    await r.idle();
    expect(states().slice(2)).toEqual(["b active", "a ended"]);
    r.close();
  });
});

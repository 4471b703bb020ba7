import { beforeEach, expect, test } from "vitest";
import { Device, type Events, type Identity, type Ports } from "../../src/index.ts";
import { FakeWorld, settle } from "../support/fake.ts";

// Two pages of one device: one store, and a connection each.
let one: FakeWorld;
let two: FakeWorld;
let identity: Identity;

beforeEach(async () => {
  one = new FakeWorld();
  two = new FakeWorld();
  two.ports.store = one.ports.store;
  identity = {
    server: "https://tandem.example",
    device: "dev_1",
    key: await one.ports.crypto.createKey(),
  };
});

async function start(ports: Ports) {
  const device = await Device.open({ identity, ports, transport: "websocket" });
  const taken: Events["taken"][] = [];
  device.on("taken", (u) => taken.push(u));
  const stop = new AbortController();
  const run = device.run(stop.signal).catch(() => {});
  const say = (text: string) => {
    device.send("s", "text", { text }).catch(() => {});
  };
  const end = async () => {
    stop.abort();
    await run;
  };
  return { device, taken, say, end };
}

const texts = (frames: { body?: unknown }[]) =>
  frames.map((f) => (f.body as { text: string }).text);

test("what a page that is closed has left is sent by another one, with its id, once", async () => {
  const a = await start(one.ports);
  const b = await start(two.ports);
  const s = await (await two.socket()).welcome();
  a.say("1");
  a.say("2");
  await settle();
  const left = a.device.unsent().map((u) => u.frame);
  await a.end();
  await b.device.takeOver(a.device.holder);
  expect(b.taken.map((u) => u.frame)).toEqual(left);
  // What may have been sent before does not say that it is new.
  expect(s.of("send")).toEqual(left);
  expect(left[0]).not.toHaveProperty("fresh");
  await b.device.takeOver(a.device.holder);
  expect(s.of("send")).toHaveLength(2);
  for (const [i, f] of left.entries()) {
    await s.tell({ type: "ack", id: f.id, seq: i + 1, epoch: 1 });
  }
  expect(b.device.unsent()).toEqual([]);
  await settle();
  expect(await one.ports.store.list("outbox/")).toEqual([]);
});

test("what a page that is open has to send is left to it, and to whoever took it before", async () => {
  const a = await start(one.ports);
  const b = await start(two.ports);
  const third = new FakeWorld();
  third.ports.store = one.ports.store;
  const c = await start(third.ports);
  a.say("of one that is closed");
  await third.clock.advance(1);
  c.say("of one that is open");
  await settle();
  await a.end();
  await b.device.takeOver(a.device.holder);
  await c.device.takeOver(a.device.holder);
  expect(texts(b.taken.map((u) => u.frame))).toEqual(["of one that is closed"]);
  expect(c.taken).toEqual([]);
  // Should that one be closed too, it is taken from there.
  await b.end();
  await c.device.takeOver(b.device.holder);
  expect(texts(c.device.unsent().map((u) => u.frame))).toEqual([
    "of one that is closed",
    "of one that is open",
  ]);
});

test("a page that is only loaded anew sends what it left itself", async () => {
  const a = await start(one.ports);
  const b = await start(two.ports);
  a.say("before it was loaded anew");
  await settle();
  await a.end();
  const again = await start(one.ports);
  await settle();
  await b.device.takeOver(a.device.holder);
  expect(b.taken).toEqual([]);
  expect(texts(again.device.unsent().map((u) => u.frame))).toEqual(["before it was loaded anew"]);
});

test("without a connection all goes out in the order in which it was said", async () => {
  const a = await start(one.ports);
  const b = await start(two.ports);
  a.say("1");
  await one.clock.advance(1_000);
  await two.clock.advance(500);
  b.say("first of the other");
  await two.clock.advance(1_500);
  a.say("2");
  await settle();
  await a.end();
  b.say("last of the other");
  await b.device.takeOver(a.device.holder);
  const s = await (await two.socket()).welcome();
  expect(texts(s.of("send"))).toEqual(["1", "first of the other", "2", "last of the other"]);
});

test("a store that takes nothing is told of, and that it takes again", async () => {
  const { store } = one.ports;
  const write = store.write.bind(store);
  const a = await start(one.ports);
  const told: boolean[] = [];
  a.device.on("keeps", (keeps) => told.push(keeps));
  a.say("kept");
  await a.device.kept();
  // As a database that is full, it still lets go.
  store.write = async (changes) => {
    if ([...changes.values()].some((value) => value !== undefined)) {
      throw new Error("full");
    }
    await write(changes);
  };
  const s = await (await one.socket()).welcome();
  a.say("not kept");
  await a.device.kept();
  a.say("nor this");
  await a.device.kept();
  for (const [i, { id }] of s.of("send").entries()) {
    await s.tell({ type: "ack", id: id ?? "", seq: i + 1, epoch: 1 });
  }
  await a.device.kept();
  expect(await store.list("outbox/")).toEqual([]);
  expect(told).toEqual([false]);
  store.write = write;
  a.say("kept again");
  await a.device.kept();
  expect(told).toEqual([false, true]);
  expect(await store.list("outbox/")).toHaveLength(1);
});

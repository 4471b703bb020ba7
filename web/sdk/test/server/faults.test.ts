import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { isProblem } from "../../src/index.ts";
import { inCall, number, Person } from "../support/person.ts";
import { TcpProxy } from "../support/proxy.ts";
import { TestServer } from "../support/server.ts";

let server: TestServer;
let proxy: TcpProxy;
beforeAll(async () => {
  server = await TestServer.start();
  proxy = await TcpProxy.to(server.port);
});
afterEach(() => {
  proxy.down = proxy.noWebSockets = false;
});
afterAll(async () => {
  await proxy.close();
  await server.remove();
});

/** Two people in a call whose connections go through the proxy. */
async function pair(transport: "websocket" | "sse" | "auto") {
  const a = await new Person(number()).enrol(server, proxy.url);
  const b = await new Person(number()).enrol(server, proxy.url);
  await Promise.all([a.start({ transport }), b.start({ transport })]);
  const session = await inCall(a, b);
  return { a, b, session };
}

const words = (who: string, n: number) => Array.from({ length: n }, (_, i) => `${who}${i}`);

test.each(["websocket", "sse"] as const)(
  "100 messages each way by %s while connections are cut again and again: none lost, none twice",
  async (transport) => {
    const { a, b, session } = await pair(transport);
    const before = proxy.cuts;
    let came = 0;
    for (const p of [a, b]) {
      p.device.on("message", () => {
        if (++came % 20 === 0) {
          proxy.cut();
        }
      });
    }
    const all = (p: Person, list: string[]) =>
      Promise.all(list.map((text) => p.device.send(session.id, "text", { text })));
    const places = await Promise.all([all(a, words("a", 100)), all(b, words("b", 100))]);
    await b.until("a's", () => b.texts().length >= 100);
    await a.until("b's", () => a.texts().length >= 100);
    expect(b.texts()).toEqual(words("a", 100));
    expect(a.texts()).toEqual(words("b", 100));
    expect(proxy.cuts - before).toBeGreaterThanOrEqual(5);
    const seqs = places.flat().map((at) => at.seq);
    expect(new Set(seqs).size).toBe(200);
    expect(a.device.unsent()).toEqual([]);
    await Promise.all([a.stop(), b.stop()]);
  },
);

test("the server is killed under load and started again: all is there, once", async () => {
  const { a, b, session } = await pair("websocket");
  const sent = words("m", 60).map((text) => a.device.send(session.id, "text", { text }));
  await sent[20];
  await server.kill();
  await a.next("disconnected");
  await server.start();
  await Promise.all(sent);
  await b.until("all", () => b.texts().length >= 60);
  expect(b.texts()).toEqual(words("m", 60));
  await Promise.all([a.stop(), b.stop()]);
});

test("a message that could not be sent goes out after a reload, with its id, once", async () => {
  const { a, b, session } = await pair("websocket");
  proxy.down = true;
  proxy.cut();
  await a.next("disconnected", undefined, 0);
  const lost = a.device.send(session.id, "text", { text: "kept" }, { id: "my-own-id" });
  const refused = expect(lost).rejects.toThrow("stopped");
  await a.stop();
  await refused;
  proxy.down = false;
  await a.start();
  expect(a.device.unsent().map((u) => u.frame.id)).toEqual(["my-own-id"]);
  await a.next("sent", ({ frame }) => frame.id === "my-own-id", 0);
  expect(a.device.unsent()).toEqual([]);
  // The answer is lost and the page reloaded: it is repeated, and there still once.
  await a.device.send(session.id, "text", { text: "kept" }, { id: "my-own-id" });
  await a.device.send(session.id, "text", { text: "last" });
  await b.until("last", () => b.texts().includes("last"));
  expect(b.texts()).toEqual(["kept", "last"]);
  expect(a.texts()).toEqual([]);
  await Promise.all([a.stop(), b.stop()]);
});

test("where WebSockets do not pass, server-sent events are used", async () => {
  proxy.noWebSockets = true;
  const { a, b, session } = await pair("auto");
  await a.device.send(session.id, "text", { text: "through" });
  await b.until("it", () => b.texts().length === 1);
  // Once WebSockets pass again, the next connection is one.
  proxy.noWebSockets = false;
  const mark = a.happened.length;
  proxy.cut();
  await a.next("connected", undefined, mark);
  await a.device.send(session.id, "text", { text: "again" });
  await b.until("it", () => b.texts().length === 2);
  await Promise.all([a.stop(), b.stop()]);
});

test("a session that ended while the device was away comes with its last words", async () => {
  const { a, b, session } = await pair("websocket");
  await b.stop();
  await a.device.send(session.id, "text", { text: "bye" });
  await a.device.leave(session.id);
  const mark = b.happened.length;
  await b.start();
  const closed = await b.next("session", (s) => s.phase === "closed", mark);
  expect(closed.id).toBe(session.id);
  expect(b.texts()).toEqual(["bye"]);
  expect(b.device.sessions()).toEqual([]);
  expect(b.device.position(session.id)).toBeUndefined();
  await b.stop();
  expect(await b.ports.store.list("position/")).toEqual([]);
  await a.stop();
});

test("a server that drains is come back to at once", async () => {
  const { a, b, session } = await pair("websocket");
  const left = a.next("disconnected");
  server.drain();
  expect(await left).toMatchObject({ error: { name: "CloseError", code: 4000 } });
  await server.kill();
  await server.start();
  await a.device.send(session.id, "text", { text: "back" });
  await b.until("it", () => b.texts().length === 1);
  await Promise.all([a.stop(), b.stop()]);
});

test("a device that was removed stops, and says why", async () => {
  const a = await new Person(number()).enrol(server, proxy.url);
  await a.start();
  await a.next("connected", undefined, 0);
  await a.device.api.removeDevice();
  await expect(a.ended()).rejects.toSatisfy((err) => isProblem(err, "revoked", "unauthenticated"));
});

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { enrol, isProblem, loadIdentity, pendingEnrolment } from "../../src/index.ts";
import { nodePorts } from "../../src/node/index.ts";
import { inCall, number, Person } from "../support/person.ts";
import { TestServer } from "../support/server.ts";

let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(() => server.remove());

async function pair(transport: "websocket" | "sse" = "websocket") {
  const a = await new Person(number()).enrol(server);
  const b = await new Person(number()).enrol(server);
  await Promise.all([a.start({ transport }), b.start({ transport })]);
  const session = await inCall(a, b);
  return { a, b, session };
}

test("enrolment goes on after a reload, and a wrong code can be mended", async () => {
  const ports = nodePorts();
  await enrol({ server: server.url, number: number(), name: "Alice" }, ports);
  const pending = await pendingEnrolment(ports);
  const code = await server.code();
  const wrong = code === "000000" ? "111111" : "000000";
  await expect(pending?.confirm(wrong)).rejects.toSatisfy((err) => isProblem(err, "wrong-code"));
  const identity = await pending?.confirm(`${code.slice(0, 3)} ${code.slice(3)}`);
  expect(identity?.name).toBe("Alice");
  expect(await loadIdentity(ports.store)).toEqual(identity);
  expect(await pendingEnrolment(ports)).toBeUndefined();
});

describe.each(["websocket", "sse"] as const)("by %s", (transport) => {
  test("a call opens a session; messages, signals, end, extension, leaving", async () => {
    const { a, b, session } = await pair(transport);
    expect(session.members).toHaveLength(2);
    const place = await a.device.send(session.id, "text", { text: "Hello" });
    expect(place.seq).toBeGreaterThan(0);
    const hello = await b.next("message", (m) => m.kind === "text", 0);
    expect(hello).toMatchObject({ session: session.id, body: { text: "Hello" }, seq: place.seq });
    const mark = a.happened.length;
    await b.device.send(session.id, "example.taxi.eta", { minutes: 3 }, { to: [hello.from ?? ""] });
    expect(await a.next("message", (m) => m.kind === "example.taxi.eta", mark)).toMatchObject({
      body: { minutes: 3 },
    });
    const typing = b.next("signal", (s) => s.kind === "typing");
    a.device.signal(session.id, "typing", { on: true });
    expect(await typing).toMatchObject({ body: { on: true } });

    const after = b.next("session", (s) => s.phase === "after_call");
    await a.device.report({ other: b.number, state: "ended" });
    await b.device.report({ other: a.number, state: "ended" });
    const state = await after;
    const longer = b.next("session", (s) => (s.until ?? "") > (state.until ?? ""));
    await b.device.extend(session.id, 1200);
    await longer;
    const closed = b.next("session", (s) => s.phase === "closed");
    await a.device.leave(session.id);
    await closed;
    expect(a.texts()).toEqual([]);
    await expect(b.device.send(session.id, "text", { text: "late" })).rejects.toSatisfy((err) =>
      isProblem(err, "session-closed", "not-a-member"),
    );
    expect(b.device.unsent()).toEqual([]);
    await Promise.all([a.stop(), b.stop()]);
  });

  test("what is said while one is away comes once it is back, and only once", async () => {
    const { a, b, session } = await pair(transport);
    await a.device.send(session.id, "text", { text: "1" });
    await b.until("1", () => b.texts().length === 1);
    await b.stop();
    await a.device.send(session.id, "text", { text: "2" });
    await a.device.send(session.id, "text", { text: "3" });
    await b.start({ transport });
    await b.until("2 and 3", () => b.texts().length === 2);
    expect(b.texts()).toEqual(["2", "3"]);
    await b.stop();
    await b.start({ transport, from: "start" });
    await b.until("all", () => b.texts().length === 3);
    expect(b.texts()).toEqual(["1", "2", "3"]);
    await Promise.all([a.stop(), b.stop()]);
  });
});

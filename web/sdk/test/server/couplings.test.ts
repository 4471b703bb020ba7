import { afterAll, beforeAll, expect, test } from "vitest";
import { couple, couplingURI, isProblem, loadIdentity, parseCouplingURI } from "../../src/index.ts";
import { nodePorts } from "../../src/node/index.ts";
import { number, Person } from "../support/person.ts";
import { TestServer } from "../support/server.ts";

let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(() => server.remove());

/** A person whose device is coupled with another's. */
async function coupled(phone: Person, name: string): Promise<Person> {
  const p = new Person(phone.number);
  const pending = await couple({ server: server.url, name }, p.ports);
  const offer = await phone.device.api.offerCoupling();
  const uri = parseCouplingURI(couplingURI(server.url, offer.code));
  expect(uri?.server).toBe(server.url);
  p.identity = await pending.claim(uri?.code ?? "");
  return p;
}

test("a device is coupled by a code shown at the phone, joins, and is cut off at the end", async () => {
  const phone = await (await new Person(number()).enrol(server)).start();
  const other = await (await new Person(number()).enrol(server)).start();
  const told = phone.next("notice", (n) => n.code === "coupled" && n.name === "TV", 0);
  const tv = await coupled(phone, "TV");
  await told;
  expect(await loadIdentity(tv.ports.store)).toEqual(tv.identity);
  await tv.start();

  // Asked for at the coupled device; the other side has said nothing, and is asked.
  expect(await tv.device.ask({ other: `tel:${other.number}` })).toEqual({});
  const invite = await other.next("invite", () => true, 0);
  const open = tv.next("session", (s) => s.phase === "in_call", 0);
  await other.device.answer(invite.id, true);
  const session = await open;
  await other.device.send(session.id, "text", { text: "for the big screen" });
  await tv.next("message", (m) => m.kind === "text", 0);

  const [coupling] = await phone.device.api.couplings();
  expect(coupling).toMatchObject({ name: "TV", kind: "permanent", made: "code" });
  await expect(tv.device.api.offerCoupling()).rejects.toSatisfy((err) =>
    isProblem(err, "second-hand"),
  );
  await phone.device.api.endCoupling(coupling?.id ?? "");
  await expect(tv.ended()).rejects.toThrow();
  await Promise.all([phone.stop(), other.stop()]);
});

test("a device shows a code, and waits until it is accepted", async () => {
  const phone = await (await new Person(number()).enrol(server)).start();
  const ports = nodePorts();
  const pending = await couple({ server: server.url, name: "Tablet" }, ports);
  await expect(pending.claim("BCDFGHJK")).rejects.toSatisfy((err) => isProblem(err, "wrong-code"));
  const waiting = pending.wait();
  expect(await phone.device.api.lookCoupling(pending.code)).toMatchObject({ name: "Tablet" });
  await phone.device.api.acceptCoupling({ code: pending.code });
  const identity = await waiting;
  expect(identity).toMatchObject({ number: phone.number, name: "Tablet" });
  const gone = couple({ server: server.url }, nodePorts());
  await expect((await gone).wait(AbortSignal.timeout(1))).rejects.toThrow();

  // It is only told of sessions, and may join.
  await phone.device.api.choose(identity.device, "told");
  const tablet = new Person(phone.number, ports);
  tablet.identity = identity;
  await tablet.start();
  const other = await (await new Person(number()).enrol(server)).start();
  await phone.device.report({ other: other.number, state: "active" });
  await other.device.report({ other: phone.number, state: "active" });
  const told = await tablet.next("available", (a) => a.phase === "in_call", 0);
  expect(told.with).toEqual([`tel:${other.number}`]);
  const joined = tablet.next("session", () => true, 0);
  expect((await tablet.device.api.join(told.session)).members).toHaveLength(3);
  await joined;
  await Promise.all([phone.stop(), other.stop(), tablet.stop()]);
});

test("what a QR code says is read strictly", () => {
  for (const bad of [
    "",
    "https://example.com",
    "tandem:couple",
    "tandem:couple?code=x",
    "tandem:couple?code=x&server=ftp:x",
  ]) {
    expect(parseCouplingURI(bad)).toBeUndefined();
  }
});

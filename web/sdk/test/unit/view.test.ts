import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Message, View } from "../../src/view.ts";
import type { SessionState } from "../../src/wire.ts";

const message = (seq: number, epoch = 1): Message => ({
  type: "message",
  session: "s",
  kind: "text",
  seq,
  epoch,
});
const state = (head: number, epoch = 1): SessionState => ({
  id: "s",
  phase: "in_call",
  members: [],
  opened: "2026-11-23T10:00:00Z",
  epoch,
  head,
});
const seqs = (list: Message[] | "again") => (list === "again" ? list : list.map((m) => m.seq));

/** A view that was resumed on a new connection whose welcome gave this state. */
function resuming(v: View, s?: SessionState) {
  v.begin(s);
  v.resume("r1");
  return v;
}

function take(v: View, m: Message): number[] | "again" {
  const now = v.message(m);
  if (now !== "again") {
    for (const n of now) {
      v.handed(n);
    }
  }
  return seqs(now);
}

describe("the order of one session's messages", () => {
  test("missed ones come as they come; live ones are held until resumed", () => {
    const v = resuming(new View("s"), state(2));
    expect(take(v, message(1))).toEqual([1]);
    expect(take(v, message(3))).toEqual([]);
    expect(take(v, message(2))).toEqual([2]);
    const { now, again } = v.resumed({ recovered: true, epoch: 1, head: 2 });
    expect([seqs(now), again]).toEqual([[3], false]);
  });

  test("what was handed on before does not come again", () => {
    const v = resuming(new View("s", { epoch: 1, seq: 5 }), state(7));
    expect(take(v, message(5))).toEqual([]);
    expect(take(v, message(6))).toEqual([6]);
    expect(take(v, message(6))).toEqual([]);
  });

  test("a rewind forgets, and asks once more where some had been handed on", () => {
    const v = resuming(new View("s", { epoch: 1, seq: 5 }), state(4, 2));
    expect(take(v, message(4, 2))).toEqual([]);
    const r = v.resumed({ recovered: true, rewind_to: 3, epoch: 2, head: 4 });
    expect([seqs(r.now), r.rewound, r.again]).toEqual([[4], true, false]);
    expect(v.at).toEqual({ epoch: 1, seq: 3 });

    const w = resuming(new View("s", { epoch: 1, seq: 5 }), state(6));
    expect(take(w, message(6))).toEqual([6]);
    const x = w.resumed({ recovered: true, rewind_to: 2, epoch: 2, head: 4 });
    expect([seqs(x.now), x.rewound, x.again]).toEqual([[], true, true]);
  });

  test("a rewind to nothing forgets the epoch, too", () => {
    const v = resuming(new View("s", { epoch: 1, seq: 5 }), state(0, 2));
    v.resumed({ recovered: true, rewind_to: 0, epoch: 2, head: 0 });
    expect(v.at).toEqual({ epoch: 0, seq: 0 });
  });

  test("a log that is replaced under a live connection is resumed", () => {
    const v = resuming(new View("s"), state(0));
    v.resumed({ recovered: true, epoch: 1, head: 0 });
    expect(take(v, message(1))).toEqual([1]);
    expect(take(v, message(2))).toEqual([2]);
    expect(take(v, message(2, 2))).toBe("again");
  });

  test("a head is noted only in the epoch from which something was seen", () => {
    const v = resuming(new View("s", { epoch: 1, seq: 2 }), state(9, 2));
    v.resumed({ recovered: true, epoch: 2, head: 9 });
    v.caughtUp({ recovered: true, epoch: 2, head: 9 });
    expect(v.at).toEqual({ epoch: 1, seq: 2 });
    v.caughtUp({ recovered: true, epoch: 1, head: 9 });
    expect(v.at).toEqual({ epoch: 1, seq: 9 });
  });
});

// A server sends, over connections that end anywhere: what was missed in order, live
// messages among it at any place, then resumed, then live ones.
test("over any connections each message comes once and in order", () => {
  const connection = fc.record({ grow: fc.nat(5), live: fc.nat(4), cut: fc.nat(15) });
  fc.assert(
    fc.property(
      fc.array(connection, { minLength: 1, maxLength: 8 }),
      fc.infiniteStream(fc.nat(9)),
      (all, pick) => {
        const v = new View("s");
        const got: number[] = [];
        let head = 0;
        const play = (grow: number, live: number, cut: number) => {
          head += grow;
          resuming(v, state(head));
          const missed = Array.from({ length: head - v.at.seq }, (_, i) => v.at.seq + i + 1);
          const frames: (number | "resumed")[] = [...missed, "resumed"];
          const recorded = head;
          for (let i = 0; i < live; i++) {
            head++;
            const after = frames.findIndex((f) => typeof f === "number" && f > recorded);
            const from = after < 0 ? 0 : frames.indexOf(head - 1) + 1;
            const at = from + ((pick.next().value as number) % (frames.length - from + 1));
            frames.splice(at, 0, head);
          }
          for (const f of frames.slice(0, cut)) {
            if (f === "resumed") {
              const { now } = v.resumed({ recovered: true, epoch: 1, head: recorded });
              for (const m of now) {
                got.push(m.seq);
                v.handed(m);
              }
              v.caughtUp({ recovered: true, epoch: 1, head: recorded });
            } else {
              const now = take(v, message(f));
              got.push(...(now === "again" ? [] : now));
            }
          }
        };
        for (const { grow, live, cut } of all) {
          play(grow, live, cut);
        }
        play(1, 0, Number.POSITIVE_INFINITY);
        expect(got).toEqual(Array.from({ length: head }, (_, i) => i + 1));
      },
    ),
  );
});

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FrameError } from "../../src/error.ts";
import { decode, encode, newID, repeated } from "../../src/frame.ts";
import type { DeviceFrame, Envelope } from "../../src/wire.ts";

interface Vector {
  name: string;
  sender: "device" | "server";
  frame: string;
  frame_base64?: string;
  // of valid ones
  envelope: Envelope;
  body?: unknown;
  // of invalid ones
  code: string;
  schema_refuses: boolean;
}

function vectors(file: string): Vector[] {
  const url = new URL(`../../../../wire/testdata/${file}.json`, import.meta.url);
  return (JSON.parse(readFileSync(url, "utf8")) as { vectors: Vector[] }).vectors;
}

const text = (v: Vector) =>
  v.frame_base64 === undefined ? v.frame : Buffer.from(v.frame_base64, "base64").toString("utf8");

/** What a program would hand to encode, to send this frame; undefined: it could not. */
function asValue(v: Vector): DeviceFrame | undefined {
  try {
    const frame = JSON.parse(text(v)) as DeviceFrame;
    return repeated(text(v)) === undefined && !text(v).includes("\ufffd") ? frame : undefined;
  } catch {
    return undefined;
  }
}

describe("frames that are valid", () => {
  const all = vectors("valid");
  test.each(all.filter((v) => v.sender === "server"))("decode: $name", (v) => {
    const { body, ...rest } = decode(v.frame);
    expect(rest).toMatchObject(v.envelope);
    // Keys that come newly are let through; they are not in the vector.
    expect(Object.keys(v.envelope).every((k) => k in rest)).toBe(true);
    if (v.body !== undefined) {
      expect(body).toMatchObject(v.body as object);
    }
  });
  test.each(all.filter((v) => v.sender === "device"))("encode: $name", (v) => {
    const frame = asValue(v);
    expect(frame).toBeDefined();
    const again = JSON.parse(encode(frame as DeviceFrame)) as Envelope;
    expect(again).toEqual(JSON.parse(v.frame));
    const { body, ...rest } = again;
    expect(rest).toEqual(v.envelope);
    // Identities become canonical in the server; all else is as it was.
    const { own: _, other: __, ...sent } = (body ?? {}) as Record<string, unknown>;
    if (v.body !== undefined && (again.type === "report" || again.type === "ask")) {
      expect(v.body).toMatchObject(sent);
    } else if (body !== undefined) {
      expect(body).toEqual(v.body);
    }
  });
});

describe("frames that must be refused", () => {
  const all = vectors("invalid");
  test.each(all.filter((v) => v.sender === "server"))("decode: $name", (v) => {
    expect(() => decode(text(v))).toThrow(FrameError);
  });
  // Numbers and identities only the server judges. Everything else the encoder refuses, or
  // cannot write: a key twice, an id in escapes.
  const judged = ["bad-number", "bad-identity"];
  test.each(all.filter((v) => v.sender === "device"))("encode: $name", (v) => {
    const frame = asValue(v);
    if (frame === undefined) {
      expect(v.schema_refuses).toBe(false); // a schema does not see what is no JSON
    } else if (judged.includes(v.code)) {
      expect(encode(frame)).toBe(v.frame);
    } else if (JSON.stringify(frame) === v.frame || v.schema_refuses) {
      expect(() => encode(frame)).toThrow(FrameError);
    } else {
      expect(canEncode(frame)).not.toBe(v.frame);
    }
  });
});

/** What encode writes; undefined: it refuses. */
function canEncode(frame: DeviceFrame): string | undefined {
  try {
    return encode(frame);
  } catch {
    return undefined;
  }
}

test("encode refuses half a surrogate pair and what is nested too deep", () => {
  const send = (body: unknown): DeviceFrame => ({
    type: "send",
    id: "m1",
    session: "s",
    kind: "x",
    body,
  });
  expect(() => encode(send({ text: "\ud83d" }))).toThrow("surrogate");
  expect(() => encode(send({ "\udc4b": 1 }))).toThrow("surrogate");
  expect(encode(send({ text: "\\ud83d 👋" }))).toContain("👋");
  let deep: unknown = 1;
  for (let i = 0; i < 32; i++) {
    deep = [deep];
  }
  expect(() => encode(send(deep))).not.toThrow();
  expect(() => encode(send([deep]))).toThrow("nested deeper");
});

test("what encode writes, a receiver reads as the same", () => {
  const id = fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/);
  fc.assert(
    fc.property(
      id,
      id,
      fc.stringMatching(/^[a-z0-9_-]{1,64}$/),
      fc.jsonValue(),
      (i, s, k, body) => {
        const frame: DeviceFrame = { type: "send", id: i, session: s, kind: k, body };
        let text: string;
        try {
          text = encode(frame);
        } catch (err) {
          expect(err).toBeInstanceOf(FrameError);
          return;
        }
        expect(decode(text)).toEqual(JSON.parse(JSON.stringify(frame)));
      },
    ),
  );
});

test("keys that come twice are seen, wherever strings and brackets stand", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.string(), (object, key) => {
      const once = JSON.stringify(object);
      expect(repeated(once)).toBeUndefined();
      const twice = `{${JSON.stringify(key)}:1,"other":${once},${JSON.stringify(key)}:[]}`;
      expect(repeated(twice)).toBe(key);
    }),
  );
});

test("an identifier is fresh and well formed", () => {
  const random = (n: number) => crypto.getRandomValues(new Uint8Array(n));
  expect(newID("q", random)).toMatch(/^q[A-Z2-7]{26}$/);
  expect(newID("q", random)).not.toBe(newID("q", random));
});

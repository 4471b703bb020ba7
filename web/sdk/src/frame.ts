import { FrameError } from "./error.ts";
import {
  type DeviceFrame,
  deviceFrames,
  type Envelope,
  envelopeFields,
  maxDepth,
  type Schema,
} from "./wire.ts";

/**
 * Writes a frame of a device's, after holding it to the published schema as the server
 * will. What only the server can judge, such as whether a number exists, it judges.
 *
 * @throws FrameError
 */
export function encode(frame: DeviceFrame): string {
  const type: unknown = (frame as DeviceFrame | null)?.type;
  if (typeof type !== "string" || !Object.hasOwn(deviceFrames, type)) {
    throw new FrameError(`a device does not send ${JSON.stringify(type)}`);
  }
  const rule = deviceFrames[frame.type];
  const there = new Set<string>();
  for (const [field, value] of Object.entries(frame)) {
    if (value === undefined || field === "type") {
      continue;
    }
    if (!rule.required.includes(field) && !rule.optional.includes(field)) {
      throw new FrameError(`${field} has no place in ${frame.type}`);
    }
    there.add(field);
    check(field, value, envelopeFields[field] ?? {});
  }
  const missing = rule.required.filter((field) => !there.has(field));
  if (missing.length > 0) {
    throw new FrameError(`${frame.type} lacks ${missing.join(", ")}`);
  }
  if ("kind" in frame && frame.kind.startsWith("tandem.")) {
    throw new FrameError("kinds that begin with tandem. are the server's");
  }
  if ("body" in frame && frame.body !== undefined) {
    if (rule.body) {
      check("body", frame.body, rule.body);
    }
    if (depth(frame.body) > maxDepth) {
      throw new FrameError(`body: nested deeper than ${maxDepth} levels`);
    }
  }
  const text = JSON.stringify(frame);
  if (/\\ud[89a-f]/i.test(text) && !wellFormed(frame)) {
    throw new FrameError("a text holds half a surrogate pair");
  }
  return text;
}

/** How deep the arrays and objects of a value are nested. */
function depth(value: unknown, limit = maxDepth + 1): number {
  if (typeof value !== "object" || value === null || limit === 0) {
    return 0;
  }
  let deepest = 0;
  for (const v of Object.values(value)) {
    deepest = Math.max(deepest, depth(v, limit - 1));
  }
  return deepest + 1;
}

/** Whether all texts in a value have UTF-8 (RFC 8259, 8.2). */
function wellFormed(value: unknown): boolean {
  if (typeof value === "string") {
    return !/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(value);
  }
  if (typeof value === "object" && value !== null) {
    return Object.entries(value).every(([k, v]) => wellFormed(k) && wellFormed(v));
  }
  return true;
}

/** RFC 3339, 5.6. */
const dateTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

/** Holds a value to a schema. Objects have no other keys than those named. */
function check(at: string, value: unknown, s: Schema): void {
  const wrong = (what: string) => new FrameError(`${at}: ${what}`);
  switch (s.type) {
    case undefined:
      return;
    case "string": {
      if (typeof value !== "string") {
        throw wrong("a string should come");
      }
      const bytes = value.length > 0 ? new TextEncoder().encode(value).length : 0;
      if (bytes < (s.minLength ?? 0) || bytes > (s.maxLength ?? Number.POSITIVE_INFINITY)) {
        throw wrong(`${s.minLength ?? 0} to ${s.maxLength} bytes`);
      }
      if (s.enum && !s.enum.includes(value)) {
        throw wrong(`none of ${s.enum.join(", ")}`);
      }
      if (s.pattern && !new RegExp(s.pattern).test(value)) {
        throw wrong(`not of the form ${s.pattern}`);
      }
      if (s.format === "date-time" && !(dateTime.test(value) && Date.parse(value))) {
        throw wrong("not a time as in RFC 3339");
      }
      return;
    }
    case "integer":
    case "number":
      if (typeof value !== "number" || !Number.isFinite(value)) {
        throw wrong("a number should come");
      }
      if (s.type === "integer" && !Number.isSafeInteger(value)) {
        throw wrong("a whole number should come");
      }
      if (value < (s.minimum ?? value) || value > (s.maximum ?? value)) {
        throw wrong(`not within ${s.minimum ?? ""} to ${s.maximum ?? ""}`);
      }
      return;
    case "boolean":
      if (typeof value !== "boolean") {
        throw wrong("true or false should come");
      }
      return;
    case "array":
      if (!Array.isArray(value)) {
        throw wrong("an array should come");
      }
      if (
        value.length < (s.minItems ?? 0) ||
        value.length > (s.maxItems ?? Number.POSITIVE_INFINITY)
      ) {
        throw wrong(
          value.length === 0
            ? "empty; leave it out to address all others"
            : `more than ${s.maxItems}`,
        );
      }
      for (const v of value) {
        check(at, v, s.items ?? {});
      }
      return;
    case "object": {
      if (typeof value !== "object" || value === null || Array.isArray(value)) {
        throw wrong("an object should come");
      }
      const properties = s.properties ?? {};
      for (const [key, v] of Object.entries(value)) {
        if (v === undefined) {
          continue;
        }
        const p = Object.hasOwn(properties, key) ? properties[key] : undefined;
        if (!p) {
          throw wrong(`the key ${JSON.stringify(key)} is not known here`);
        }
        check(`${at}.${key}`, v, p);
      }
      const given = value as Record<string, unknown>;
      const missing = (s.required ?? []).filter((key) => given[key] === undefined);
      if (missing.length > 0) {
        throw wrong(`it lacks ${missing.join(", ")}`);
      }
    }
  }
}

/**
 * Reads a frame of the server's. So that servers can be newer than clients, fields and
 * types that are not known pass. The bodies are the server's responsibility.
 *
 * @throws FrameError
 */
export function decode(text: string): Envelope {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (err) {
    throw new FrameError(`not JSON: ${(err as Error).message}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new FrameError("an object should come");
  }
  const twice = repeated(text);
  if (twice !== undefined) {
    throw new FrameError(`${twice} is there twice`);
  }
  const e = value as Envelope;
  for (const [field, v] of Object.entries(e)) {
    if (field !== "type" && Object.hasOwn(envelopeFields, field)) {
      check(field, v, envelopeFields[field] ?? {});
    }
  }
  if (typeof e.type !== "string" || e.type === "") {
    throw new FrameError("type is missing");
  }
  return e;
}

/**
 * Finds a key of the outermost object that comes twice: JSON.parse lets the last one win,
 * and two readers of one frame could see different things in it. The text is valid JSON.
 */
export function repeated(text: string): string | undefined {
  const seen = new Set<string>();
  let level = 0;
  let key = false; // a string that comes now is a key of the outermost object
  for (let i = 0; i < text.length; i++) {
    switch (text[i]) {
      case "{":
      case "[":
        key = ++level === 1;
        break;
      case "}":
      case "]":
        level--;
        break;
      case ",":
        key = level === 1;
        break;
      case '"': {
        const start = i;
        for (i++; text[i] !== '"'; i++) {
          if (text[i] === "\\") {
            i++;
          }
        }
        if (key) {
          const name = JSON.parse(text.slice(start, i + 1)) as string;
          if (seen.has(name)) {
            return name;
          }
          seen.add(name);
          key = false;
        }
      }
    }
  }
  return undefined;
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/** A fresh identifier that cannot be guessed: 130 bits after the prefix. */
export function newID(prefix: string, random: (bytes: number) => Uint8Array): string {
  let id = prefix;
  for (const b of random(26)) {
    id += alphabet[b & 31];
  }
  return id;
}

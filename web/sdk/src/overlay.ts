/**
 * Overlays: reading a provider's document as strictly as the server does, and the words of
 * it. What is refused here is never drawn.
 *
 * @packageDocumentation
 */
import type {
  Overlay,
  OverlayAction,
  OverlayActionType,
  OverlayExact,
  OverlayField,
  OverlayForm,
  OverlayRegion,
} from "./wire.ts";

/** The document is not one that devices show, or an answer does not fit its form. */
export class OverlayError extends Error {
  override readonly name = "OverlayError";
}

/** The answers to a form, by the ids of its fields. */
export type FormAnswers = Record<string, string[]>;

const maxDepth = 16;
const maxRegions = 64;
const maxText = 500;
const whole = 10_000;
const maxMinor = 100_000_000_000;

const id = /^[a-z0-9_-]{1,64}$/;
const tag = /^[a-z]{2,3}(-[a-z0-9]{2,8}){0,4}$/;
const phone = /^\+[1-9][0-9]{2,14}$/;
// Control characters, and what turns or hides text (Unicode TR 36 2.2). Joiners, and the marks
// that right-to-left text needs, stay.
const hidden = /(?!\n|\u200c|\u200d|\u200e|\u200f|\u061c)[\p{Cc}\p{Cf}\u2028\u2029]/u;

/** The fields that each action has: all of them, and no others. */
export const actionNeeds: Record<OverlayActionType, readonly string[]> = {
  send_location: [],
  send_contact: [],
  send_photo: [],
  send_file: [],
  open_page: ["url"],
  pay: ["item", "amount"],
  buy: ["item", "amount"],
  by_email: ["item"],
  by_text: ["item"],
  choose: ["value"],
  message: ["value"],
  fill_in: ["form"],
  call_back: ["number"],
  dial: ["keys"],
};

function fault(text: string): never {
  throw new OverlayError(`overlay: not valid: ${text}`);
}

/** An object with these keys and no others; those with a "?" may be absent. */
function object(at: string, v: unknown, keys: string): Record<string, unknown> {
  if (typeof v !== "object" || v === null || Array.isArray(v)) {
    fault(`${at}: must be an object`);
  }
  const known = new Map(keys.split(" ").map((k) => [k.replace("?", ""), k.endsWith("?")]));
  for (const key of Object.keys(v)) {
    if (!/^[a-z0-9_-]*$/.test(key)) {
      fault(`${at}: the key ${JSON.stringify(key.slice(0, 40))} must be in lower case`);
    }
    if (!known.has(key)) {
      fault(`${at}: unknown field ${JSON.stringify(key)}`);
    }
  }
  for (const [key, optional] of known) {
    if (!optional && !Object.hasOwn(v, key)) {
      fault(`${at}.${key}: is missing`);
    }
  }
  return v as Record<string, unknown>;
}

function list(at: string, v: unknown, least: number, most: number): unknown[] {
  if (!Array.isArray(v) || v.length < least || v.length > most) {
    fault(`${at}: must be ${least} to ${most}`);
  }
  return v;
}

function integer(at: string, v: unknown, least: number, most: number, why = ""): number {
  if (!Number.isSafeInteger(v) || (v as number) < least || (v as number) > most) {
    fault(`${at}: ${why || `must be a whole number from ${least} to ${most}`}`);
  }
  return v as number;
}

function one(at: string, v: unknown, of: readonly string[]): void {
  if (v !== undefined && !of.includes(v as string)) {
    fault(`${at}: there is no ${at.slice(at.lastIndexOf(".") + 1)} ${quoted(v)}`);
  }
}

function matching(at: string, v: unknown, form: RegExp, want: string): void {
  if (typeof v !== "string" || !form.test(v)) {
    fault(`${at}: must be ${want}`);
  }
}

function quoted(v: unknown): string {
  return JSON.stringify(String(v).slice(0, 40));
}

function checkText(at: string, v: unknown): void {
  if (typeof v !== "string") {
    fault(`${at}: must be a text`);
  }
  if ([...v].length > maxText) {
    fault(`${at}: is longer than ${maxText} characters`);
  }
  if (hidden.test(v)) {
    fault(`${at}: has a character which is not allowed`);
  }
}

/** Text by language; the fallback's must be there. */
function checkWords(at: string, v: unknown, fallback: string): void {
  if (typeof v !== "object" || v === null || Array.isArray(v) || Object.keys(v).length > 32) {
    fault(`${at}: must be at most 32 texts by language`);
  }
  const words = v as Record<string, unknown>;
  if (!Object.hasOwn(words, fallback) || String(words[fallback]).trim() === "") {
    fault(`${at}: has nothing in "${fallback}", the overlay's language`);
  }
  for (const [language, text] of Object.entries(words)) {
    matching(at, language, tag, "by language tags in lower case");
    checkText(`${at}.${language}`, text);
  }
}

/** https only, with a host in ASCII and no user, so that an address is what it looks like. */
function checkURL(at: string, v: unknown): void {
  const plain = typeof v === "string" && v.length <= 2048 && !/[\\\s\p{Cc}]/u.test(v);
  if (!plain || !/^https:\/\/[A-Za-z0-9.-]+(:[0-9]+)?([/?#]|$)/.test(v) || !URL.canParse(v)) {
    fault(`${at}: must be an https address of a named host, with no user`);
  }
}

function checkExact(at: string, v: unknown): void {
  const e = object(at, v, "x y width height") as unknown as OverlayExact;
  const why = `lies outside 0 to ${whole}`;
  integer(at, e.x, 0, whole, why);
  integer(at, e.y, 0, whole, why);
  integer(at, e.width, 1, whole - e.x, why);
  integer(at, e.height, 1, whole - e.y, why);
}

function checkPlace(at: string, r: OverlayRegion, columns: number, pictures: Set<string>): void {
  if ((r.grid === undefined) === (r.exact === undefined)) {
    fault(`${at}: has either grid or exact`);
  }
  if (r.exact !== undefined) {
    if (r.inside !== undefined && !pictures.has(r.inside)) {
      fault(`${at}.inside: no earlier region ${quoted(r.inside)} has a picture`);
    }
    checkExact(`${at}.exact`, r.exact);
    return;
  }
  if (r.inside !== undefined) {
    fault(`${at}.inside: goes with exact`);
  }
  const g = object(`${at}.grid`, r.grid, "column row width? height?");
  const why = `lies outside ${columns} columns and ${maxRegions} rows`;
  const width = g.width === undefined ? 1 : integer(`${at}.grid`, g.width, 0, columns, why);
  const height = g.height === undefined ? 1 : integer(`${at}.grid`, g.height, 0, maxRegions, why);
  integer(`${at}.grid`, g.column, 0, columns - Math.max(width, 1), why);
  integer(`${at}.grid`, g.row, 0, maxRegions - Math.max(height, 1), why);
}

function checkRegion(at: string, r: OverlayRegion, language: string): void {
  one(`${at}.state`, r.state, ["enabled", "disabled", "selected"]);
  one(`${at}.display`, r.display, ["steady", "flash", "wobble"]);
  if (r.picture === undefined && r.text === undefined) {
    fault(`${at}: has neither text nor picture`);
  }
  if (r.text !== undefined) {
    checkWords(`${at}.text`, r.text, language);
  }
  if (r.picture !== undefined) {
    object(`${at}.picture`, r.picture, "url alt");
    checkURL(`${at}.picture.url`, r.picture.url);
    checkWords(`${at}.picture.alt`, r.picture.alt, language);
  }
  for (const [i, a] of list(`${at}.actions`, r.actions ?? [], 0, 8).entries()) {
    checkAction(`${at}.actions[${i}]`, a, language);
  }
}

function checkAction(at: string, v: unknown, language: string): void {
  const a = object(at, v, "type url? value? item? number? keys? amount? form?");
  if (typeof a.type !== "string" || !Object.hasOwn(actionNeeds, a.type)) {
    fault(`${at}.type: there is no action ${quoted(a.type)}`);
  }
  const want = actionNeeds[a.type as OverlayActionType];
  for (const key of ["url", "value", "item", "number", "keys", "amount", "form"]) {
    if (want.includes(key) !== (a[key] !== undefined)) {
      fault(`${at}: ${a.type} ${want.includes(key) ? "needs" : "has no"} ${key}`);
    }
  }
  const { url, value, item, number, keys, amount, form } = a as unknown as OverlayAction;
  if (url !== undefined) {
    checkURL(`${at}.url`, url);
  }
  for (const [key, text] of Object.entries({ value, item })) {
    if (text !== undefined) {
      checkText(`${at}.${key}`, text);
    }
    if (text === "") {
      fault(`${at}: ${a.type} needs ${key}`);
    }
  }
  if (number !== undefined) {
    matching(`${at}.number`, number, phone, "a number in international form");
  }
  if (keys !== undefined) {
    matching(`${at}.keys`, keys, /^[0-9*#,]{1,32}$/, "1 to 32 of 0-9 * # and comma");
  }
  if (amount !== undefined) {
    object(`${at}.amount`, amount, "minor currency");
    integer(`${at}.amount.minor`, amount.minor, 1, maxMinor);
    matching(`${at}.amount.currency`, amount.currency, /^[A-Z]{3}$/, "three capital letters");
  }
  if (form !== undefined) {
    checkForm(`${at}.form`, form, language);
  }
}

function checkForm(at: string, v: unknown, language: string): void {
  const seen = new Set<string>();
  const { fields } = object(at, v, "fields") as unknown as OverlayForm;
  for (const [i, f] of list(`${at}.fields`, fields, 1, 16).entries()) {
    checkField(`${at}.fields[${i}]`, f, language, seen);
  }
}

function checkField(at: string, v: unknown, language: string, seen: Set<string>): void {
  object(at, v, "id label type required? options? min? max? least? most?");
  const f = v as OverlayField;
  newID(`${at}.id`, f.id, seen);
  checkWords(`${at}.label`, f.label, language);
  one(`${at}.type`, f.type ?? "", ["line", "choice", "seats", "table", "date", "number"]);
  if (f.required !== undefined && typeof f.required !== "boolean") {
    fault(`${at}.required: must be true or false`);
  }
  const optional = f.type === "choice" || f.type === "seats" || f.type === "table";
  const options = list(`${at}.options`, f.options ?? [], optional ? 1 : 0, 500);
  if (!optional && options.length > 0) {
    fault(`${at}: ${f.type} has no options`);
  }
  const min = integer(`${at}.min`, f.min ?? 0, -Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
  const max = integer(`${at}.max`, f.max ?? 0, -Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
  if (f.type === "line") {
    integer(`${at}.max`, max, 1, maxText);
  } else if (f.type === "seats") {
    integer(`${at}.max`, max, 1, options.length);
  } else if (f.type === "number" && min > max) {
    fault(`${at}: min is above max`);
  }
  if ((f.type !== "number" && min !== 0) || (/^(choice|table|date)$/.test(f.type) && max !== 0)) {
    fault(`${at}: ${f.type} has no such min or max`);
  }
  if (f.type !== "date" && (f.least || f.most)) {
    fault(`${at}: ${f.type} has no least and most`);
  }
  for (const day of [f.least, f.most]) {
    if (day && !isDate(day)) {
      fault(`${at}: least and most are dates such as 2026-05-31`);
    }
  }
  if (f.most && (f.least ?? "") > f.most) {
    fault(`${at}: least is after most`);
  }
  const values = new Set<unknown>();
  for (const [i, o] of options.entries()) {
    const where = `${at}.options[${i}]`;
    const { value, label, taken, exact } = object(where, o, "value label taken? exact?");
    const bytes = typeof value === "string" ? new TextEncoder().encode(value).length : 0;
    if (bytes < 1 || bytes > 64 || values.has(value)) {
      fault(`${where}.value: must be 1 to 64 characters, each value once`);
    }
    values.add(value);
    checkText(`${where}.value`, value);
    checkWords(`${where}.label`, label, language);
    if (taken !== undefined && typeof taken !== "boolean") {
      fault(`${where}.taken: must be true or false`);
    }
    if (exact !== undefined) {
      checkExact(`${where}.exact`, exact);
    }
  }
}

function newID(at: string, v: unknown, seen: Set<string>): void {
  if (typeof v !== "string" || !id.test(v) || seen.has(v)) {
    fault(`${at}: must be 1 to 64 of a-z 0-9 _ -, each id once`);
  }
  seen.add(v);
}

function isDate(v: string): boolean {
  return (
    /^\d{4}-\d\d-\d\d$/.test(v) && !v.startsWith("0000") && new Date(v).toJSON()?.slice(0, 10) === v
  );
}

/** No deeper than the levels that are allowed; what is deeper is not even looked at. */
function checkDepth(v: unknown, left: number): void {
  if (typeof v === "object" && v !== null) {
    if (left === 0) {
      fault(`it is nested more than ${maxDepth} levels deep`);
    }
    for (const child of Object.values(v)) {
      checkDepth(child, left - 1);
    }
  }
}

/**
 * Takes the body of a message of the kind "overlay" for what it says it is, or throws an
 * {@link OverlayError}. It refuses what the server refuses; a provider's document is untrusted.
 */
export function readOverlay(body: unknown): Overlay {
  checkDepth(body, maxDepth);
  const o = object("overlay", body, "version id language opacity? columns? regions");
  integer("version", o.version, 1, 1);
  newID("id", o.id, new Set());
  matching("language", o.language, tag, "a tag in lower case, such as en or pt-br");
  if (o.opacity !== undefined && o.opacity !== 0) {
    integer("opacity", o.opacity, 20, 100);
  }
  const columns = o.columns === undefined ? 0 : integer("columns", o.columns, 0, 12);
  const regions = list("regions", o.regions, 1, maxRegions);
  const seen = new Set<string>();
  const pictures = new Set<string>();
  for (const [i, v] of regions.entries()) {
    const at = `regions[${i}]`;
    object(at, v, "id grid? exact? inside? text? picture? state? display? actions?");
    const r = v as OverlayRegion;
    newID(`${at}.id`, r.id, seen);
    checkPlace(at, r, columns || 4, pictures);
    checkRegion(at, r, o.language as string);
    if (r.picture !== undefined) {
      pictures.add(r.id);
    }
  }
  return body as Overlay;
}

/** A text in the wanted language, else in the wider one (de for de-at), else in the fallback. */
export function wordsIn(
  words: Record<string, string> | undefined,
  language: string,
  fallback: string,
): string {
  for (let t = language.toLowerCase(); t; t = t.slice(0, Math.max(0, t.lastIndexOf("-")))) {
    const text = words && Object.hasOwn(words, t) ? words[t] : undefined;
    if (text !== undefined) {
      return text;
    }
  }
  return words?.[fallback] ?? "";
}

/** What a region is called: its text, else what its picture shows. */
export function regionName(r: OverlayRegion, language: string, fallback: string): string {
  return wordsIn(r.text, language, fallback) || wordsIn(r.picture?.alt, language, fallback);
}

/** Why answers do not answer a form: the field, and a code; undefined where they do. */
export interface FormFault {
  field: string;
  why: "missing" | "many" | "twice" | "long" | "character" | "date" | "range" | "option" | "taken";
}

/** Says whether answers, by the fields' ids, answer the form, as the server will. */
export function checkAnswers(form: OverlayForm, answers: FormAnswers): FormFault | undefined {
  for (const field of Object.keys(answers)) {
    if (!form.fields.some((f) => f.id === field)) {
      return { field, why: "option" };
    }
  }
  for (const f of form.fields) {
    const given = Object.hasOwn(answers, f.id) ? (answers[f.id] ?? []) : [];
    const why = faultOf(f, given);
    if (why) {
      return { field: f.id, why };
    }
  }
  return undefined;
}

function faultOf(f: OverlayField, given: string[]): FormFault["why"] | undefined {
  if (given.length === 0) {
    return f.required ? "missing" : undefined;
  }
  if (given.length > (f.type === "seats" ? (f.max ?? 0) : 1)) {
    return "many";
  }
  if (new Set(given).size < given.length) {
    return "twice";
  }
  for (const value of given) {
    const why = valueFault(f, value);
    if (why) {
      return why;
    }
  }
  return undefined;
}

function valueFault(f: OverlayField, value: string): FormFault["why"] | undefined {
  switch (f.type) {
    case "line":
      if ([...value].length > (f.max ?? 0)) {
        return "long";
      }
      return hidden.test(value) ? "character" : undefined;
    case "date":
      if (!isDate(value)) {
        return "date";
      }
      return value < (f.least ?? "") || (f.most && value > f.most) ? "range" : undefined;
    case "number": {
      const n = /^[+-]?[0-9]+$/.test(value) ? Number(value) : Number.NaN;
      const within = Number.isSafeInteger(n) && n >= (f.min ?? 0) && n <= (f.max ?? 0);
      return within ? undefined : "range";
    }
    default: {
      const o = f.options?.find((option) => option.value === value);
      return o ? (o.taken ? "taken" : undefined) : "option";
    }
  }
}

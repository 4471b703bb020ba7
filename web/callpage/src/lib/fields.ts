import type { ProfileField } from "@tandem-call/sdk";

/** The properties that a person is offered to fill in (RFC 6350), in the order of the page. */
export const kinds = [
  "fn",
  "nickname",
  "org",
  "title",
  "role",
  "tel",
  "email",
  "impp",
  "socialprofile",
  "url",
  "source",
  "adr",
  "bday",
  "anniversary",
  "note",
] as const;
export type Kind = (typeof kinds)[number];

/** Those of which most people have one only. */
export const single: readonly string[] = [
  "fn",
  "nickname",
  "org",
  "title",
  "role",
  "bday",
  "anniversary",
];

/** The parts of a postal address that people fill in, by their place in the value (RFC 6350 6.3.1). */
export const addressParts = [
  ["street", 2],
  ["city", 3],
  ["region", 4],
  ["code", 5],
  ["country", 6],
] as const;

/** The parts of a value with semicolons. */
export function parts(value: string, count: number): string[] {
  const found = value.split(";");
  return Array.from({ length: Math.max(count, found.length) }, (_, i) => found[i] ?? "");
}

/** The value with one part replaced. A semicolon within a part would make two of it. */
export function withPart(value: string, at: number, text: string): string {
  const all = parts(value, 7);
  all[at] = text.replaceAll(";", ",");
  return all.some((p) => p !== "") ? all.join(";") : "";
}

/** A date of a vCard as an input of type date has it; undefined if it is not a whole date. */
export function isoDate(value: string): string | undefined {
  const found = /^(\d{4})-?(\d{2})-?(\d{2})(T.*)?$/.exec(value);
  return found ? `${found[1]}-${found[2]}-${found[3]}` : undefined;
}

/** What a person reads of a field. */
export function readableField(field: ProfileField): string {
  const value = field.value ?? "";
  if (["adr", "org", "n"].includes(field.name)) {
    return value
      .split(";")
      .map((p) => p.trim())
      .filter(Boolean)
      .join(", ");
  }
  return value;
}

/** An id that no other field has. */
export function freshID(fields: readonly ProfileField[], name: string): string {
  const taken = new Set(fields.map((f) => f.id));
  for (let n = 1; ; n++) {
    const id = n === 1 ? name : `${name}-${n}`;
    if (!taken.has(id)) {
      return id;
    }
  }
}

/** The name of a free field, made of what a person calls it: "Favourite pet" is x-favourite-pet. */
export function freeName(text: string): string {
  const plain = text
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 30)
    .replace(/-+$/, "");
  return `x-${plain || "field"}`;
}

/** A field that can be followed: only addresses that a browser opens without harm. */
export function href(field: ProfileField): string | undefined {
  const value = field.value ?? "";
  if (["url", "source", "socialprofile"].includes(field.name) && /^https?:\/\//i.test(value)) {
    return URL.canParse(value) ? new URL(value).href : undefined;
  }
  return undefined;
}

/** Whether two fields say the same. */
export function same(a: ProfileField | undefined, b: ProfileField | undefined): boolean {
  return (
    a?.name === b?.name &&
    (a?.value ?? "") === (b?.value ?? "") &&
    (a?.types ?? []).join() === (b?.types ?? []).join() &&
    a?.picture?.sha256 === b?.picture?.sha256
  );
}

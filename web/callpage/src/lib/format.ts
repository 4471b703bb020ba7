/** The part of an identity that a person reads: a number, a mail address, a SIP address. */
export function readable(identity: string | undefined): string {
  if (!identity) {
    return "";
  }
  return identity.replace(/^(tel|mailto|user|acct|id):/, "").replace(/;.*$/, "");
}

/** A size in the units that people know: "1.4 MB". */
export function size(bytes: number, language: string): string {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"] as const;
  let n = bytes;
  let i = 0;
  while (n >= 1000 && i < units.length - 1) {
    n /= 1000;
    i++;
  }
  return new Intl.NumberFormat(language, {
    style: "unit",
    unit: units[i] as string,
    unitDisplay: "short",
    maximumFractionDigits: i === 0 || n >= 100 ? 0 : 1,
  }).format(n);
}

/** An amount in minor units (ISO 4217), as money is written: €12.50, ¥500. */
export function money(minor: number, currency: string, language: string): string {
  const format = new Intl.NumberFormat(language, { style: "currency", currency });
  return format.format(minor / 10 ** (format.resolvedOptions().maximumFractionDigits ?? 2));
}

/**
 * The locale whose habits are followed: that of the person's browser, if it is of the language
 * chosen, so that British people read 16:20, not 4:20 PM.
 */
export function locale(language: string, preferred: readonly string[] = browsers()): string {
  return preferred.find((l) => l.split("-")[0]?.toLowerCase() === language) ?? language;
}

function browsers(): readonly string[] {
  return globalThis.navigator?.languages ?? [];
}

const timesOfDay = new Map<string, Intl.DateTimeFormat>();

/** The time of day. A log shows hundreds, and a format costs more than its use: it is made once. */
export function timeOfDay(ms: number, language: string): string {
  let format = timesOfDay.get(language);
  if (!format) {
    format = new Intl.DateTimeFormat(locale(language), { hour: "2-digit", minute: "2-digit" });
    timesOfDay.set(language, format);
  }
  return format.format(ms);
}

/** A day, of a time in RFC 3339. */
export function day(at: string, language: string): string {
  return new Intl.DateTimeFormat(locale(language), { dateStyle: "medium" }).format(Date.parse(at));
}

/** A day and a time, as short as today allows. */
export function moment(ms: number, language: string, now: number): string {
  const same = new Date(ms).toDateString() === new Date(now).toDateString();
  return new Intl.DateTimeFormat(locale(language), {
    ...(same ? {} : { day: "numeric", month: "short" }),
    hour: "2-digit",
    minute: "2-digit",
  }).format(ms);
}

/** Minutes and seconds, as a clock shows them: "9:05", "1:00:00". */
export function clock(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (n: number) => String(n).padStart(2, "0");
  const h = Math.floor(s / 3600);
  return h > 0
    ? `${h}:${two(Math.floor((s % 3600) / 60))}:${two(s % 60)}`
    : `${Math.floor(s / 60)}:${two(s % 60)}`;
}

/** The letter or two that stand for a name in a circle. */
export function initials(name: string): string {
  const parts = name.split(/\s+/).filter((p) => /\p{L}/u.test(p));
  const letters = [parts[0], parts.length > 1 ? parts.at(-1) : undefined].map((p) =>
    p ? ([...p].find((c) => /\p{L}/u.test(c)) ?? "") : "",
  );
  return letters.join("").toLocaleUpperCase() || "☎";
}

/** A text that is nothing but a web address, as one; otherwise undefined. */
export function asLink(text: string): string | undefined {
  if (!/^https?:\/\/\S+$/i.test(text) || !URL.canParse(text)) {
    return undefined;
  }
  const url = new URL(text);
  return url.protocol === "https:" || url.protocol === "http:" ? url.href : undefined;
}

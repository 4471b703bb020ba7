import type { OverlayParameter } from "@tandem-call/sdk";

/**
 * A template's document with examples in it, as the server tries a draft with: {{id}} in its
 * texts, and a number where that is all of a text and the parameter is one.
 */
export function sample(document: unknown, parameters: OverlayParameter[]): unknown {
  if (typeof document === "string") {
    const whole = parameters.find((p) => p.type === "number" && document === `{{${p.id}}}`);
    return whole
      ? Number(example(whole))
      : document.replace(/\{\{([a-z0-9_-]{1,64})\}\}/g, (blank, id: string) => {
          const p = parameters.find((other) => other.id === id);
          return p ? example(p) : blank;
        });
  }
  if (Array.isArray(document)) {
    return document.map((v) => sample(v, parameters));
  }
  if (typeof document === "object" && document !== null) {
    return Object.fromEntries(Object.entries(document).map(([k, v]) => [k, sample(v, parameters)]));
  }
  return document;
}

function example(p: OverlayParameter): string {
  const given = p.example?.length ? p.example : p.default;
  if (given?.length) {
    return given.join(", ");
  }
  switch (p.type) {
    case "number":
      return String(Math.max(p.min ?? 0, Math.min(1, p.max ?? 0)));
    case "date":
      return p.least || p.most || "2026-01-01";
    case "line":
      return "x";
    default:
      return p.options?.find((o) => !o.taken)?.value ?? "";
  }
}

import type { OverlayAction, OverlayForm, Payment } from "@tandem-call/sdk";
import type { FormAnswers } from "@tandem-call/sdk/overlay";
import type { Shown } from "./screen.svelte.ts";

/** What the user is asked before an action is done. */
export type Asked =
  | { kind: "consent"; actions: OverlayAction[] }
  | { kind: "page"; url: string }
  | { kind: "address"; by: "by_email" | "by_text"; item: string }
  | { kind: "form"; form: OverlayForm }
  | { kind: "pick"; photo: boolean }
  /** Answered by whoever sees that it is over; given up by the user. */
  | { kind: "pay"; payment: Payment };

/** What users answer: yes, an address, a form, a file. */
export type Given = true | string | FormAnswers | File;

/** A question on the screen. Whoever asks waits for the answer; without one the user gave up. */
export type Question = Asked & {
  /** What the pressed region is called. */
  title: string;
  /** The overlay whose region was pressed. */
  of: Shown;
  answer: (v?: Given) => void;
};

/** Asks about one action. */
export type Ask = <T extends Given>(asked: Asked) => Promise<T | undefined>;

const withConsent: readonly string[] = [
  "send_location",
  "send_contact",
  "message",
  "call_back",
  "dial",
];

/** Whether the user is asked before it is done, since it says or does something in their name. */
export function needsConsent(a: OverlayAction): boolean {
  return withConsent.includes(a.type);
}

/** What an action cannot be done without; undefined: nothing is asked for its own sake. */
export function asks(a: OverlayAction): Asked | undefined {
  switch (a.type) {
    case "open_page":
      return { kind: "page", url: a.url ?? "" };
    case "by_email":
    case "by_text":
      return { kind: "address", by: a.type, item: a.item ?? "" };
    case "fill_in":
      return a.form && { kind: "form", form: a.form };
    case "send_photo":
    case "send_file":
      return { kind: "pick", photo: a.type === "send_photo" };
    default:
      return undefined;
  }
}

import type { OverlayResult } from "@tandem-call/sdk";
import { readOverlay, regionName, wordsIn } from "@tandem-call/sdk/overlay";
import { locale, money } from "../lib/format.ts";
import type { Room } from "../lib/room.svelte.ts";
import { type MessageKey, t, words } from "../lib/words.svelte.ts";
import { tongue } from "./tongue.svelte.ts";

/** What came of an action, for the side that sent the overlay. */
export interface Told {
  /** The region's words. */
  what: string;
  /** What was chosen or filled in, or where something is to be sent. */
  given: string[];
  /** Done, or why not. */
  outcome: string;
}

const whys: Record<string, MessageKey> = {
  by_user: "overlay.why.by_user",
  earlier: "overlay.why.earlier",
  not_available: "overlay.why.not_available",
  no_place: "overlay.why.no_place",
  no_call: "overlay.why.no_call",
  busy: "overlay.why.busy",
  nothing_to_send: "overlay.why.nothing_to_send",
  refused: "overlay.why.refused",
  no_payments: "overlay.why.no_payments",
  payment_server: "overlay.why.payment_server",
  declined: "overlay.why.declined",
  by_customer: "overlay.why.by_user",
  expired: "overlay.why.expired",
  session_closed: "overlay.why.expired",
  unknown: "overlay.why.unknown",
};

/** Says in words what came of an action of an overlay that this side has sent. */
export function told(room: Room, r: OverlayResult): Told {
  const document = room.entries.find((e) => e.seq === r.seq && e.overlay !== undefined)?.overlay;
  try {
    const overlay = readOverlay(document);
    const region = overlay.regions.find((x) => x.id === r.region);
    const fields = region?.actions?.[r.action]?.form?.fields ?? [];
    const answers = Object.entries(r.answers ?? {}).map(([id, values]) => {
      const label = wordsIn(fields.find((f) => f.id === id)?.label, tongue(), overlay.language);
      return `${label || id}: ${values.join(", ")}`;
    });
    return {
      what: region ? regionName(region, tongue(), overlay.language) : r.region,
      given: [
        ...answers,
        ...(r.value ? [r.value] : []),
        ...(r.address ? [r.address] : []),
        ...bought(r),
      ],
      outcome: outcomeOf(r),
    };
  } catch {
    return { what: r.region, given: bought(r), outcome: outcomeOf(r) }; // it is not at hand
  }
}

/** What was to be paid, and where the payment server has it. */
function bought({ payment: p }: OverlayResult): string[] {
  if (!p) {
    return [];
  }
  const sum = money(p.amount.minor, p.amount.currency, locale(words.language));
  return [`${p.item}, ${sum}`, ...(p.reference ? [p.reference] : [])];
}

function outcomeOf({ outcome, reason, payment }: OverlayResult): string {
  if (outcome === "done") {
    return t(payment ? "overlay.paid" : "overlay.done");
  }
  const why = whys[reason ?? ""];
  return t("overlay.not", { reason: why ? t(why) : (reason ?? outcome) });
}

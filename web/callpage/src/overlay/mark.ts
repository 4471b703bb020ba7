import { type MessageKey, t } from "../lib/words.svelte.ts";
import type { Progress } from "./screen.svelte.ts";

const known: Record<string, MessageKey> = {
  not_available: "overlay.failed.not_available",
  no_place: "overlay.failed.no_place",
  no_call: "overlay.failed.no_call",
  busy: "overlay.failed.busy",
  nothing_to_send: "overlay.failed.nothing_to_send",
  refused: "overlay.failed.refused",
  no_payments: "overlay.failed.no_payments",
  payment_server: "overlay.failed.payment_server",
  declined: "overlay.failed.declined",
  unknown: "overlay.failed.unknown",
};

/** How far a region's actions have come, in words; none where it was not pressed. */
export function markOf(progress: Progress | undefined): string {
  const key = known[progress?.reason ?? ""];
  switch (progress?.state) {
    case "doing":
      return t("overlay.doing");
    case "processing":
      return t("overlay.processing");
    case "done":
      return t(progress.paid ? "overlay.paid" : "overlay.done");
    case "cancelled":
      return t("overlay.cancelled");
    case "failed":
      return key ? t(key) : t("app.failed", { reason: progress.reason ?? "" });
    default:
      return "";
  }
}

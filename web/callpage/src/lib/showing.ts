import type { FileOffer } from "@tandem-call/sdk";
import { app } from "./app.svelte.ts";

/** What is shown within the page; anything else is only saved. */
const shown = /^(image\/(png|jpeg|gif|webp|avif)|video\/(mp4|webm|ogg|quicktime)|audio\/[\w.+-]+)$/;

/** How a file is shown: undefined if it is not. */
export function showing(offer: FileOffer): "picture" | "video" | "sound" | undefined {
  if (!shown.test(offer.type)) {
    return undefined;
  }
  const family = offer.type.split("/")[0] ?? "";
  return ({ image: "picture", video: "video", audio: "sound" } as const)[family];
}

/**
 * Fetches a file's content and checks it against its digest.
 *
 * @throws ProblemError, NetworkError, or what download says of a wrong digest
 */
export async function fetchFile(
  offer: FileOffer,
  progress: (percent: number) => void,
  signal?: AbortSignal,
): Promise<Blob> {
  if (!app.device) {
    throw new Error("this page is no device");
  }
  const { download } = await import("@tandem-call/sdk/files");
  return download(app.device.api, app.ports, offer, {
    progress: (got, total) => progress(Math.floor((100 * got) / Math.max(1, total))),
    ...(signal && { signal }),
  });
}

/** What a touch does: each action of an overlay, as far as this page can (I6). */
import { type Api, isProblem, type OverlayAction } from "@tandem-call/sdk";
import type { FormAnswers } from "@tandem-call/sdk/overlay";
import { app } from "../lib/app.svelte.ts";
import type { OverlayScreen, Result } from "./screen.svelte.ts";

const done: Result = { outcome: "done" };
const cancelled: Result = { outcome: "cancelled", reason: "by_user" };
const failed = (reason: string): Result => ({ outcome: "failed", reason });

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

/** How long the device may take to find its place, in milliseconds. */
const placeMs = 20_000;

/** Does one action. What needs consent has it. */
export async function act(
  screen: OverlayScreen,
  api: Api,
  a: OverlayAction,
  title: string,
): Promise<Result> {
  const session = `/v1/sessions/${encodeURIComponent(screen.room.id)}`;
  switch (a.type) {
    case "choose":
      return { ...done, value: a.value ?? "" };
    case "message":
      screen.room.say(a.value ?? "");
      return { ...done, value: a.value ?? "" };
    case "send_location": {
      const uri = await here();
      return uri
        ? attempt(() => api.call("POST", `${session}/place`, { uri }))
        : failed("no_place");
    }
    case "send_contact":
      return attempt(() => api.call("POST", `${session}/profile`, {}));
    case "open_page": {
      const url = a.url ?? "";
      const opened = await screen.ask<true>(title, (answer) => ({ kind: "page", url, answer }));
      return opened ? done : cancelled;
    }
    case "by_email":
    case "by_text": {
      const by = a.type;
      const item = a.item ?? "";
      const address = await screen.ask<string>(title, (answer) => ({
        kind: "address",
        by,
        item,
        answer,
      }));
      return address ? { ...done, address } : cancelled;
    }
    case "fill_in": {
      const answers = await screen.ask<FormAnswers>(title, (answer) => ({
        kind: "form",
        action: a,
        answer,
      }));
      return answers ? { ...done, answers } : cancelled;
    }
    case "send_photo":
    case "send_file": {
      const photo = a.type === "send_photo";
      const file = await screen.ask<File>(title, (answer) => ({ kind: "pick", photo, answer }));
      return file ? ((await screen.room.send(file)) ? done : failed("refused")) : cancelled;
    }
    case "call_back":
      return callBack(a.number ?? "");
    case "dial":
      return app.telephone?.press(a.keys ?? "") ? done : failed("no_call");
    default:
      return failed("not_available"); // paying and buying
  }
}

async function attempt(f: () => Promise<unknown>): Promise<Result> {
  try {
    await f();
    return done;
  } catch (err) {
    return failed(isProblem(err, "not-found", "bad-request") ? "nothing_to_send" : "refused");
  }
}

/** The device's place as a geo URI (RFC 5870); undefined where it is not to be had. */
function here(): Promise<string | undefined> {
  return new Promise((resolve) => {
    navigator.geolocation.getCurrentPosition(
      ({ coords: c }) =>
        resolve(
          `geo:${c.latitude.toFixed(6)},${c.longitude.toFixed(6)};u=${Math.ceil(c.accuracy)}`,
        ),
      () => resolve(undefined),
      { enableHighAccuracy: true, timeout: placeMs },
    );
  });
}

async function callBack(number: string): Promise<Result> {
  const phone = app.telephone;
  if (phone?.line !== "ready") {
    // Another telephone of this device may take it: a desktop's, a mobile's own.
    location.href = `tel:${number}`;
    return done;
  }
  if (phone.busy) {
    return failed("busy");
  }
  await phone.dial(number);
  return done;
}

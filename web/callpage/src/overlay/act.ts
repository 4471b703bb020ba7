/** What a touch does: each action of an overlay, as far as this page can (I6). */
import { type Api, isProblem, type OverlayAction, type ProfileSent } from "@tandem-call/sdk";
import type { FormAnswers } from "@tandem-call/sdk/overlay";
import { app } from "../lib/app.svelte.ts";
import { begin, follow, giveUp, over, resultOf } from "./pay.ts";
import { type Ask, asks } from "./question.ts";
import type { At, OverlayScreen, Result } from "./screen.svelte.ts";

const done: Result = { outcome: "done" };
const cancelled: Result = { outcome: "cancelled", reason: "by_user" };
const failed = (reason: string): Result => ({ outcome: "failed", reason });

/** How long the device may take to find its place, in milliseconds. */
const placeMs = 20_000;

/** Does one action. What needs consent has it. */
export async function act(
  screen: OverlayScreen,
  api: Api,
  a: OverlayAction,
  at: At,
  ask: Ask,
): Promise<Result> {
  const asked = asks(a);
  const given = asked && (await ask(asked));
  if (asked && given === undefined) {
    return cancelled;
  }
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
        ? attempt(async () => {
            await api.call("POST", `${session}/place`, { uri });
            return done;
          })
        : failed("no_place");
    }
    case "send_contact":
      return attempt(async () => {
        const sent = await api.call<ProfileSent>("POST", `${session}/profile`, {});
        return sent.shown > 0 ? done : failed("nothing_to_send");
      });
    case "open_page":
      return done;
    case "by_email":
    case "by_text":
      return { ...done, address: given as string };
    case "fill_in":
      return { ...done, answers: given as FormAnswers };
    case "send_photo":
    case "send_file":
      return (await screen.room.send(given as File)) ? done : failed("refused");
    case "call_back":
      return callBack(a.number ?? "");
    case "dial":
      return app.telephone?.press(a.keys ?? "") ? done : failed("no_call");
    case "pay":
    case "buy":
      return pay(screen, api, at, ask);
    default:
      return failed("not_available"); // of a later version
  }
}

/** Has the user pay on the payment server's page, and waits for what comes of it. */
async function pay(screen: OverlayScreen, api: Api, at: At, ask: Ask): Promise<Result> {
  const overlay = `/v1/sessions/${encodeURIComponent(screen.room.id)}/overlays/${at.seq}`;
  const begun = await begin(api, overlay, at.region, at.action);
  if ("outcome" in begun) {
    return begun;
  }
  if (over(begun)) {
    return resultOf(begun);
  }
  let now = begun;
  const ends = new AbortController();
  const followed = follow(
    api,
    begun,
    (moved) => app.onPayment(screen.room.id, moved),
    ends.signal,
    (p) => {
      now = p;
      screen.paying(at, p);
    },
  );
  try {
    const seen = await ask({ kind: "pay", payment: begun });
    if (!seen && now.state === "open") {
      now = await giveUp(api, now);
    }
    return resultOf(over(now) ? now : await followed);
  } finally {
    ends.abort();
  }
}

/** What comes of asking the server, which may refuse. */
async function attempt(f: () => Promise<Result>): Promise<Result> {
  try {
    return await f();
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

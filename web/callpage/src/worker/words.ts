import type en from "../messages/en.json";

/** Where the page leaves the words for notifications, in its language, for the worker. */
export const pushWordsKey = "page/push-words";

/** What notifications say. */
export type PushWords = ReturnType<typeof pushWords>;

/** The words for notifications, from the messages of a language. */
export function pushWords(t: (key: keyof typeof en, values?: Record<string, string>) => string) {
  return {
    /** {name} is who invites. */
    invite: t("invite.title", { name: "{name}" }),
    /** In the place of {name}, where the number is withheld. */
    unknown: t("invite.unknown"),
    text: t("invite.text"),
    accept: t("invite.accept"),
    decline: t("invite.decline"),
    /** An answer came too late. */
    over: t("invite.over"),
    words: t("push.words"),
    session: t("push.session"),
    data: t("push.data"),
    other: t("push.other"),
  };
}

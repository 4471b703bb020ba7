import type { Api } from "./api.ts";
import type {
  MemberID,
  PlaceAbility,
  PlaceAnswer,
  PlaceAskedFor,
  PlaceAskRequest,
  PlaceRuleFor,
  PlaceRules,
  PlaceRulesHere,
  PlaceShare,
  PlaceShared,
  SessionID,
} from "./wire.ts";

/**
 * Asks for places and shares this device's own, with the consent of whoever is there. What comes
 * of it arrives as messages and signals of the kinds tandem.place….
 */
export class Places {
  readonly #api: Api;

  constructor(api: Api) {
    this.#api = api;
  }

  /** Says what this device can do: the answer to the signal tandem.place.check, or unasked. */
  async setAbility(session: SessionID, can: PlaceAbility, signal?: AbortSignal): Promise<void> {
    await this.#api.call("PUT", `${path(session)}/ability`, can, signal);
  }

  /** What another member's device can do; silence for five seconds is a no. */
  check(session: SessionID, to: MemberID, signal?: AbortSignal): Promise<PlaceAbility> {
    return this.#api.call("POST", `${path(session)}/check`, { to }, signal);
  }

  /** Asks for another member's place; with a check, who cannot is not asked. */
  ask(session: SessionID, request: PlaceAskRequest, signal?: AbortSignal): Promise<PlaceAskedFor> {
    return this.#api.call("POST", `${path(session)}/ask`, request, signal);
  }

  /** Answers who asks. After a yes the place is shared with that request. */
  async answer(session: SessionID, answer: PlaceAnswer, signal?: AbortSignal): Promise<void> {
    await this.#api.call("POST", `${path(session)}/answer`, answer, signal);
  }

  /** Shares this device's place; with minutes live: share again to move, once a second at most. */
  share(session: SessionID, share: PlaceShare, signal?: AbortSignal): Promise<PlaceShared> {
    return this.#api.call("POST", path(session), share, signal);
  }

  /** Shares no more, and takes back every consent. */
  async stop(session: SessionID, signal?: AbortSignal): Promise<void> {
    await this.#api.call("DELETE", path(session), undefined, signal);
  }

  /** Which of the party's rules hold for the other members. */
  async rulesHere(session: SessionID, signal?: AbortSignal): Promise<PlaceRuleFor[]> {
    return (
      await this.#api.call<PlaceRulesHere>("GET", `${path(session)}/rules`, undefined, signal)
    ).rules;
  }

  /** The party's rules: who gets its place without a question, and who may never ask. */
  rules(signal?: AbortSignal): Promise<PlaceRules> {
    return this.#api.call("GET", "/v1/place/rules", undefined, signal);
  }

  /** Sets them anew, all of them. */
  setRules(rules: PlaceRules, signal?: AbortSignal): Promise<PlaceRules> {
    return this.#api.call("PUT", "/v1/place/rules", rules, signal);
  }
}

const path = (id: SessionID) => `/v1/sessions/${encodeURIComponent(id)}/place`;

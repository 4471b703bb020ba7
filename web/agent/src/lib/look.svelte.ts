import {
  type Conversation,
  isProblem,
  type LookedInto,
  type SessionID,
  type SessionState,
} from "@tandem-call/sdk";
import { app } from "../../../callpage/src/lib/app.svelte.ts";
import { Room } from "../../../callpage/src/lib/room.svelte.ts";

/** How often a look is prolonged: it lasts two minutes. */
const prolongMs = 60_000;

/** A supervisor's look into the running session of another agent. Nothing is written there. */
export class Look {
  readonly id: SessionID;
  conversation = $state.raw<Conversation>();
  /** What is said, by whom: nobody is "you" here. */
  log = $state.raw<Room>();
  /** The same as the agent has it, which the customer's screen is made of. */
  theirs = $state.raw<Room>();
  /** The session is over, or another's. */
  over = $state(false);
  error = $state.raw<unknown>();
  #after = 0;
  #epoch = 0;
  #reading: Promise<void> | undefined;
  #again = false;
  #every: ReturnType<typeof setInterval> | undefined;

  constructor(id: SessionID) {
    this.id = id;
  }

  async begin(): Promise<void> {
    this.#every = setInterval(() => void this.#prolong(), prolongMs);
    await this.#prolong();
  }

  async #prolong(): Promise<void> {
    await this.#try(() => this.#call("PUT"));
    await this.read();
  }

  /** Reads what is new. What is asked for meanwhile is read afterwards. */
  async read(): Promise<void> {
    this.#again = true;
    this.#reading ??= this.#readAll().finally(() => {
      this.#reading = undefined;
    });
    await this.#reading;
  }

  async #readAll(): Promise<void> {
    while (this.#again && !this.over) {
      this.#again = false;
      await this.#try(async () => {
        for (let more = true; more; ) {
          const l = await this.#call<LookedInto>("GET", `?after=${this.#after}`);
          more = l.messages.length >= 200;
          this.#take(l);
        }
      });
    }
  }

  #take({ conversation, session, messages }: LookedInto): void {
    const { device } = app;
    if (!device) {
      return;
    }
    const epoch = session.epoch ?? 0;
    if (!this.log || !this.theirs || (this.#epoch && epoch !== this.#epoch)) {
      this.log = new Room(device, app.ports, asNobody(session), true);
      this.theirs = new Room(device, app.ports, session, true);
      const anew = this.#epoch !== 0;
      this.#epoch = epoch;
      this.#after = 0;
      if (anew) {
        this.#again = true;
        return;
      }
    }
    this.#epoch = epoch;
    this.conversation = conversation;
    this.log.state = asNobody(session);
    this.theirs.state = session;
    for (const m of messages) {
      this.log.take(m);
      this.theirs.take(m);
      this.#after = Math.max(this.#after, m.seq ?? 0);
    }
  }

  async #try(f: () => Promise<unknown>): Promise<void> {
    try {
      await f();
      this.error = undefined;
    } catch (err) {
      if (isProblem(err, "not-found", "not-a-member")) {
        this.over = true;
        clearInterval(this.#every);
      } else {
        this.error = err;
      }
    }
  }

  /** Looks no more. Where this is not heard, the look ends by itself in two minutes. */
  end(): void {
    clearInterval(this.#every);
    void this.#call("DELETE").catch(() => {});
  }

  #call<T>(method: string, query = ""): Promise<T> {
    if (!app.device) {
      return Promise.reject(new Error("the desk is not signed in"));
    }
    const path = `/v1/agent/conversations/${encodeURIComponent(this.id)}/look${query}`;
    return app.device.api.call<T>(method, path);
  }
}

/** The session as somebody sees it who is none of its members. */
function asNobody(session: SessionState): SessionState {
  return { ...session, you: "", was: [] };
}

import type { Emitter } from "./emitter.ts";
import { backoff, isProblem, NetworkError, ProtocolError, problemOf } from "./error.ts";
import { newID } from "./frame.ts";
import { decodeServer, type Link, problemIn } from "./link.ts";
import type { Outbox, Pending, Unsent } from "./outbox.ts";
import type { Ports } from "./ports.ts";
import { type Message, type Position, View } from "./view.ts";
import type {
  AckFrame,
  Available,
  DeviceFrame,
  Envelope,
  Invite,
  MessageFrame,
  NoticeBody,
  Resumed,
  SendFrame,
  SessionID,
  SessionState,
  Welcome,
  Withdrawn,
  Words,
} from "./wire.ts";

/** What happens to a device. Listeners must not block; they are called one at a time. */
export interface Events {
  /** After each authentication. */
  connected: Welcome;
  /** A connection is lost, or none could be made: each time. retryMs: until the next try. */
  disconnected: { error: unknown; retryMs: number };
  /**
   * At every change of a session, and once more after each connection. A session that
   * ended while the device was away comes as closed, with its last known state; what was
   * said in it until then comes as messages before.
   */
  session: SessionState;
  /**
   * Once for each message that is for this device, in the order of the session, also
   * those with a kind of the server's own. What this Device has sent itself is left out;
   * what the same party sent otherwise, from another device, page or run, is not.
   */
  message: Message;
  /**
   * Messages of the session after seq were never stored: forget them. What follows may
   * have the same sequences, in a later epoch.
   */
  rewind: { session: SessionID; seq: number };
  /** Some messages of the session are no longer to be had. */
  lost: { session: SessionID };
  /** A message that is not stored and has no sequence: typing, progress. */
  signal: MessageFrame;
  /** Whether to join; answer with Device.answer. */
  invite: Invite;
  /** An invitation is no longer open. */
  withdrawn: Withdrawn;
  /** Words to read aloud, or to type with Device.confirm. */
  words: Words;
  /** A session that the device may join by Api.join, or no longer. */
  available: Available;
  /** For the user to know, outside any session. */
  notice: NoticeBody;
  /** A message of this Device's is stored, also one of an earlier run. */
  sent: { frame: SendFrame; ack: AckFrame };
  /** The server refuses a message of this Device's for good. */
  refused: { frame: SendFrame; error: unknown };
  /** A message that another run of this device has left, and which this one sends: see Device.takeOver. */
  taken: Unsent;
  /**
   * Whether the store keeps what waits to be sent, when that changes: at first it is taken to do so.
   * As long as it does not, what waits is lost with the program.
   */
  keeps: boolean;
  /** Something that only a developer can mend: a store that fails, a listener that throws. */
  fault: { error: unknown };
}

/** What the connections of a device share. */
export interface Core {
  ports: Ports;
  events: Emitter<Events>;
  sessions: Map<SessionID, View>;
  outbox: Outbox;
  /** Keeps where the device stands; undefined: the session is over. */
  keep(session: SessionID, at: Position | undefined): void;
}

/** Problems that leave the outcome open: the request is repeated, which is harmless. */
const open = ["outcome-unknown", "draining"];
/** Problems that a message, which must not be lost, waits out. */
const waitable = [...open, "too-many-requests", "storage-full"];

/**
 * How long an answer may be due in silence before the server is asked for a sign of life, and how
 * long that may take. A server that is at work says so each second.
 */
const impatientMs = 3_000;

/** A connection that is authenticated. */
export class Connection {
  readonly #core: Core;
  readonly #link: Link;
  readonly #timers = new Set<() => void>();
  /**
   * The sessions that ended on this connection: what is said of them after that has been said. True: the
   * device is no member, and may become one again.
   */
  readonly #over = new Map<SessionID, boolean>();
  #patience = 0;
  #looking = false;
  /** It has resumed a session, or there was none: it does its work. */
  sound = false;

  constructor(core: Core, link: Link) {
    this.#core = core;
    this.#link = link;
  }

  /** Lives until the connection ends, and throws why. */
  async live(welcome: Welcome): Promise<never> {
    const heartbeat = Math.max(1, welcome.heartbeat_s) * 1000;
    // Two heartbeats of silence, and half a one for the way: nobody is there.
    this.#patience = 2.5 * heartbeat;
    this.#link.patience(this.#patience);
    const beat = () => {
      this.write({ type: "ping" });
      this.#after(heartbeat * 0.75, beat);
    };
    this.#after(heartbeat * 0.75, beat);
    try {
      this.#begin(welcome);
      for (;;) {
        this.#frame(decodeServer(await this.#link.read()));
      }
    } catch (err) {
      this.#link.fail(err);
      throw err;
    } finally {
      for (const cancel of this.#timers) {
        cancel();
      }
    }
  }

  /** Ends the connection. */
  fail(err: unknown): void {
    this.#link.fail(err);
  }

  /** Asks for a sign of life, and gives the connection up if none comes in time. */
  probe(ms: number): void {
    if (!this.#link.answers) {
      return;
    }
    this.#link.patience(ms);
    this.write({ type: "ping" });
    this.#after(ms, () => this.#link.patience(this.#patience));
  }

  /**
   * Looks after an answer that is due: where nothing is heard meanwhile, the server is asked for a
   * sign of life. When a device gets another address, nobody tells its old connections.
   */
  #look(): void {
    if (this.#looking || !this.#link.answers) {
      return;
    }
    this.#looking = true;
    const { clock } = this.#core.ports;
    const since = clock.now();
    this.#after(impatientMs, () => {
      this.#looking = false;
      if (this.#core.outbox.all().every((p) => p.waits)) {
        return;
      }
      if (this.#link.lastHeard <= since) {
        this.probe(impatientMs);
      }
      this.#look();
    });
  }

  write(frame: DeviceFrame): void {
    this.#link.write(JSON.stringify(frame), frame);
  }

  /** Sends a request, unless the server has asked to wait. */
  request(p: Pending): void {
    if (!p.waits) {
      this.#link.write(p.first ?? p.text, p.frame);
      p.first = undefined;
      this.#look();
    }
  }

  /** Sends what need not arrive; a slow connection drops it. */
  signal(text: string, frame: DeviceFrame): void {
    if (!this.#link.congested()) {
      this.#link.write(text, frame);
    }
  }

  #after(ms: number, f: () => void): void {
    const cancel = this.#core.ports.clock.after(ms, () => {
      this.#timers.delete(cancel);
      f();
    });
    this.#timers.add(cancel);
  }

  /**
   * Makes the connection the one in use: it resumes every session, and repeats the
   * requests that have no answer yet, in their order.
   */
  #begin(welcome: Welcome): void {
    const { sessions, outbox, events } = this.#core;
    const states = new Map((welcome.sessions ?? []).map((s) => [s.id, s]));
    this.sound = states.size === 0;
    for (const id of states.keys()) {
      this.#view(id);
    }
    for (const v of [...sessions.values()]) {
      v.begin(states.get(v.id));
      // Also a session that the welcome does not know: it has ended, perhaps with words.
      this.#resume(v);
    }
    for (const p of outbox.all()) {
      p.waits = false;
      this.request(p);
    }
    events.emit("connected", welcome);
    for (const s of states.values()) {
      events.emit("session", s);
    }
  }

  #view(id: SessionID): View {
    let v = this.#core.sessions.get(id);
    if (!v) {
      v = new View(id);
      this.#core.sessions.set(id, v);
      this.#core.keep(id, v.at); // so that a later run asks for it, even if it ends meanwhile
    }
    return v;
  }

  #resume(v: View): void {
    const id = newID("r", this.#core.ports.crypto.random);
    v.resume(id);
    this.write({ type: "resume", id, session: v.id, body: { ...v.at } });
  }

  /** Takes one frame of the server's. */
  #frame(e: Envelope): void {
    const { events } = this.#core;
    switch (e.type) {
      case "ping":
        this.write({ type: "pong", ...(e.id !== undefined && { id: e.id }) });
        return;
      case "message":
        if (e.session === undefined || e.kind === undefined) {
          throw new ProtocolError("a message lacks session or kind");
        }
        // Without a place in the log it was a signal.
        if (e.seq) {
          this.#message({ epoch: 0, ...e } as Message);
        } else {
          events.emit("signal", e as MessageFrame);
        }
        return;
      case "session":
        this.#session(body<SessionState>(e));
        return;
      case "resumed":
        this.#resumed(e, body<Resumed>(e));
        return;
      case "ack":
      case "error":
        this.#answer(e);
        return;
      case "invite":
        events.emit("invite", body<Invite>(e));
        return;
      case "withdrawn":
        events.emit("withdrawn", body<Withdrawn>(e));
        return;
      case "words":
        events.emit("words", body<Words>(e));
        return;
      case "available":
        events.emit("available", body<Available>(e));
        return;
      case "notice":
        events.emit("notice", body<NoticeBody>(e));
    }
    // A type that this version does not know, or pong.
  }

  /**
   * Takes a change of a session. A session new to this connection is read from where we
   * stand, so that nothing said before we were told is missed.
   */
  #session(s: SessionState): void {
    if (this.#over.has(s.id) && (!this.#over.get(s.id) || s.phase === "closed")) {
      return;
    }
    this.#over.delete(s.id);
    const v = this.#view(s.id);
    v.state = s;
    v.closed = s.phase === "closed";
    // The last messages may come after the word that the session is over: resuming tells when there
    // are no more, and then it is told (settle).
    if (letGo(s)) {
      v.begin(undefined); // what is said meanwhile is read when it comes back
    } else if (v.closed || (v.asked === undefined && !v.live)) {
      this.#resume(v);
    }
    if (!v.closed) {
      this.#core.events.emit("session", s);
    }
  }

  #forget(v: View): void {
    this.#core.sessions.delete(v.id);
    this.#core.keep(v.id, undefined);
  }

  #message(m: Message): void {
    if (this.#over.has(m.session)) {
      return;
    }
    const v = this.#view(m.session);
    const now = v.message(m);
    if (now === "again" || (v.asked === undefined && !v.live && !(v.state && letGo(v.state)))) {
      this.#resume(v);
    }
    if (now !== "again") {
      this.#hand(v, now);
    }
  }

  /** Hands messages on, and moves the position after each. */
  #hand(v: View, list: Message[]): void {
    const { events, outbox, keep } = this.#core;
    for (const m of list) {
      if (!v.sentHere(m) && !outbox.has(m.id)) {
        events.emit("message", m);
      }
      v.handed(m);
      keep(v.id, v.at);
    }
  }

  #resumed(e: Envelope, r: Resumed): void {
    const { sessions, events, keep } = this.#core;
    const v = e.session === undefined ? undefined : sessions.get(e.session);
    if (!v || v.asked === undefined || v.asked !== e.id) {
      return; // of a resume that was overtaken
    }
    const { now, rewound, again } = v.resumed(r);
    if (again) {
      this.#resume(v);
    }
    if (rewound) {
      keep(v.id, v.at);
      events.emit("rewind", { session: v.id, seq: v.at.seq });
    }
    if (again) {
      return;
    }
    this.sound = true;
    if (!r.recovered) {
      events.emit("lost", { session: v.id });
    }
    this.#hand(v, now);
    v.caughtUp(r);
    keep(v.id, v.at);
    this.#settle(v, endedIn(now));
  }

  /**
   * Tells of the end of a session that is over, after its last messages. ended is what the log says of it, where
   * nobody else has told: it ended while the device was away.
   */
  #settle(v: View, ended: SessionState | undefined, back = false): void {
    if (ended && !v.closed) {
      const you = v.state?.you;
      v.state = { ...ended, id: v.id, ...(you !== undefined && { you }) };
      v.closed = true;
    }
    if (v.closed) {
      this.#forget(v);
      this.#over.set(v.id, back);
      if (v.state) {
        this.#core.events.emit("session", v.state);
      }
    }
  }

  /** Takes the answer to a request. */
  #answer(e: Envelope): void {
    const { sessions, outbox, events, ports } = this.#core;
    const v = e.session === undefined ? undefined : sessions.get(e.session);
    if (e.type === "error" && v && e.id !== undefined && v.asked === e.id) {
      this.#refusedResume(v, problemIn(e));
      return;
    }
    const p = outbox.get(e.id);
    if (!p) {
      if (e.type === "error" && e.id === undefined) {
        events.emit("fault", { error: problemIn(e) });
      }
      return;
    }
    if (e.type === "ack") {
      const ack = e as AckFrame;
      if (p.frame.type === "send") {
        sessions.get(p.frame.session)?.own.set(p.frame.id, ack.seq ?? 0);
      }
      outbox.drop(p.frame.id);
      p.answered(ack);
      if (p.frame.type === "send") {
        events.emit("sent", { frame: p.frame, ack });
      }
      return;
    }
    const err = problemIn(e);
    if (isProblem(err, ...(p.key ? waitable : open))) {
      p.waits = true;
      this.#after(backoff(p.attempts++, ports.clock.random(), err), () => {
        p.waits = false;
        if (outbox.has(p.frame.id)) {
          this.request(p);
        }
      });
      return;
    }
    outbox.drop(p.frame.id);
    p.failed(err);
    if (p.frame.type === "send") {
      events.emit("refused", { frame: p.frame, error: err });
    }
  }

  /** Takes the error that answers a resume. */
  #refusedResume(v: View, err: Error): void {
    if (!isProblem(err, "not-a-member", "not-found", "session-closed")) {
      // Without it the session would stay silent; another connection may fare better.
      throw new NetworkError(`resume of ${v.id}: ${problemOf(err)?.code ?? err.message}`);
    }
    this.sound = true;
    v.settle();
    const gone: SessionState = v.state ?? { id: v.id, phase: "closed", members: [], opened: "" };
    this.#settle(v, { ...gone, phase: "closed" }, isProblem(err, "not-a-member"));
  }
}

function body<T extends object>(e: Envelope): T {
  if (typeof e.body !== "object" || e.body === null) {
    throw new ProtocolError(`${e.type} without a body`);
  }
  return e.body as T;
}

/** Whether the device is out of a session that goes on, to which it may come back. */
function letGo(s: SessionState): boolean {
  return s.phase !== "closed" && s.members.some((m) => m.id === s.you && m.left);
}

/** The last state among the messages, if it says that the session is over. */
function endedIn(list: Message[]): SessionState | undefined {
  const last = list.findLast((m) => m.kind === "tandem.state");
  const state = last?.body as SessionState | undefined;
  return state?.phase === "closed" ? state : undefined;
}

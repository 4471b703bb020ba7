import type {
  Envelope,
  MessageFrame,
  RequestID,
  Resumed,
  SessionID,
  SessionState,
} from "./wire.ts";

/** A place in a session's log: what was up to it has been handed on. */
export interface Position {
  epoch: number;
  seq: number;
}

/** A message that is stored in a session's log. */
export type Message = MessageFrame & { seq: number; epoch: number };

/**
 * What the device knows of one session. It puts the messages in order: what was missed
 * comes before what comes live, each once.
 *
 * On every new connection the session is resumed at the view's position. Until the
 * server's `resumed`, messages that are known to be missed ones are handed on as they
 * come, so that a long history makes progress over any number of connections; live ones
 * are held. Where the epoch has changed, messages may have been taken back (a rewind),
 * which only `resumed` tells: then all are held.
 */
export class View {
  readonly id: SessionID;
  /** As last told; undefined until then. */
  state: SessionState | undefined;
  at: Position;
  /** The session is over; the view goes when nothing is outstanding. */
  closed = false;
  /** The requests with which this Device has sent messages, with their seq once known. */
  readonly own = new Map<RequestID, number>();

  // of the connection
  /** The resume under way. */
  asked: RequestID | undefined;
  /** Resumed: messages come in order. */
  live = false;
  /** Messages up to this one, as they come, are missed ones in order. */
  #upTo = 0;
  #held: Message[] = [];

  constructor(id: SessionID, at: Position = { epoch: 0, seq: 0 }) {
    this.id = id;
    this.at = { ...at };
  }

  /** Makes ready for a new connection; inOrder is the state that its welcome gave. */
  begin(inOrder: SessionState | undefined): void {
    this.asked = undefined;
    this.live = false;
    this.#upTo = 0;
    this.#held = [];
    if (inOrder) {
      this.state = inOrder;
      if (this.at.seq === 0 || this.at.epoch === inOrder.epoch) {
        this.#upTo = inOrder.head ?? 0;
      }
    }
  }

  /** Begins to resume, with this request. */
  resume(id: RequestID): void {
    this.asked = id;
    this.live = false;
  }

  /**
   * Takes a message that came: those to be handed on now, or "again" if the log has been
   * replaced under us and the session must be resumed.
   */
  message(m: Message): Message[] | "again" {
    if (!this.live && m.seq > this.#upTo) {
      this.#held.push(m);
      return [];
    }
    if (this.live && m.epoch > this.at.epoch && m.seq <= this.at.seq) {
      this.#held.push(m);
      this.#upTo = 0;
      return "again";
    }
    return this.#order([m]);
  }

  /** Ends the holding. rewound: the position went back. again: resume once more. */
  resumed(r: Resumed): { now: Message[]; rewound: boolean; again: boolean } {
    let rewound = false;
    if (r.rewind_to !== undefined && r.rewind_to < this.at.seq) {
      rewound = true;
      this.at = { epoch: r.rewind_to === 0 ? 0 : this.at.epoch, seq: r.rewind_to };
      if (this.#upTo > 0) {
        // Some were handed on, or left out, by the old position.
        this.#upTo = 0;
        this.#held = [];
        return { now: [], rewound, again: true };
      }
    }
    const now = this.#order(this.#held.sort((a, b) => a.seq - b.seq));
    this.settle();
    return { now, rewound, again: false };
  }

  /** Ends the resuming without anything to hand on. */
  settle(): void {
    this.asked = undefined;
    this.live = true;
    this.#held = [];
  }

  /**
   * Leaves those that have not been handed on before. Within a connection the sequence
   * alone says so: the server gives older epochs their old sequences.
   */
  #order(list: Message[]): Message[] {
    let last = this.at.seq;
    return list.filter((m) => {
      if (m.seq <= last) {
        return false;
      }
      last = m.seq;
      return true;
    });
  }

  /** Notes that a message has been handed on. */
  handed(m: Message): void {
    this.at = { epoch: m.epoch, seq: m.seq };
  }

  /**
   * Notes that everything up to the head was seen. A head in an epoch from which nothing
   * was seen is not noted: nothing need be stored in it yet.
   */
  caughtUp(r: Resumed): void {
    if (r.epoch === this.at.epoch) {
      this.at = { epoch: r.epoch, seq: Math.max(this.at.seq, r.head) };
    }
    for (const [id, seq] of this.own) {
      if (seq !== 0 && seq <= this.at.seq) {
        this.own.delete(id);
      }
    }
  }

  /** Whether this Device itself has sent the message. */
  sentHere(e: Envelope): boolean {
    return (
      e.id !== undefined &&
      this.own.has(e.id) &&
      (this.state?.you === undefined || e.from === this.state.you)
    );
  }
}

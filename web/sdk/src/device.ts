import { Api } from "./api.ts";
import { Connection, type Core, type Events } from "./connection.ts";
import { Emitter } from "./emitter.ts";
import { backoff, ConfigError, isProblem, problemOf, reconnect } from "./error.ts";
import { encode, newID } from "./frame.ts";
import { checkIdentity, type Identity } from "./identity.ts";
import { Keeper } from "./keeper.ts";
import { dialMs, type Link } from "./link.ts";
import { Outbox, type RequestFrame, type Unsent } from "./outbox.ts";
import type { Ports } from "./ports.ts";
import { challengeMs, dialSocket, HandshakeError } from "./socket.ts";
import { dialStream } from "./stream.ts";
import { type Position, View } from "./view.ts";
import type {
  Ack,
  AckFrame,
  Ask,
  InvitationID,
  KindBodies,
  Leave,
  MemberID,
  Report,
  RequestID,
  SendFrame,
  SessionID,
  SessionState,
  Welcome,
} from "./wire.ts";

/** How a device connects. */
export type Transport = "auto" | "websocket" | "sse";

/** What a device is made of. */
export interface DeviceConfig {
  identity: Identity;
  ports: Ports;
  /** Default "auto": WebSocket, and server-sent events where something on the way blocks it. */
  transport?: Transport;
  /** The software and its version, for the operator's statistics; at most 128 bytes. */
  client?: string;
  /**
   * Where an earlier run's sessions are taken up. "saved" (the default): after the last
   * message that was handed on. "start": from their first message, for a page that keeps
   * none itself.
   */
  from?: "saved" | "start";
}

/** Choices for a single request. */
export interface RequestChoice {
  /**
   * Chosen by the caller, so that a repetition is harmless even after a crash; otherwise
   * a fresh one.
   */
  id?: RequestID;
  /** Ends the waiting. The request is not repeated any more, and its outcome unknown. */
  signal?: AbortSignal | undefined;
}

/** Choices for a message. */
export interface SendChoice extends RequestChoice {
  /** The members addressed; left out: all others. */
  to?: MemberID[];
}

/** How often in a row the server may call a device unauthenticated before run believes it. */
const wrongAnswers = 3;
/** How long a connection may take to show that it is alive, when it is asked. */
const probeMs = 5_000;

/** A device: it keeps one connection to the server while run runs. */
export class Device {
  /** For single requests over HTTP. */
  readonly api: Api;
  readonly identity: Identity;
  /** Names this run among all that use the same store, so that another may take over from it. */
  readonly holder: string;
  readonly #config: DeviceConfig;
  readonly #core: Core;
  readonly #keeper: Keeper;
  #started = false;
  #connection: Connection | undefined;
  #welcome: Welcome | undefined;
  /** The last connection was not a WebSocket, since none could be made. */
  #fallback = false;
  /** Attempts in a row that came to nothing. */
  #failures = 0;
  /** Cuts a pause short. */
  #hurry: (() => void) | undefined;

  private constructor(config: DeviceConfig) {
    const { identity, ports } = config;
    this.#config = config;
    this.identity = identity;
    this.holder = newID("h", ports.crypto.random);
    this.api = new Api(identity.server, ports, identity);
    const events = new Emitter<Events>((error) => {
      // A listener for faults that throws itself is beyond help.
      queueMicrotask(() => events.emit("fault", { error }));
    });
    this.#keeper = new Keeper(
      ports.store,
      (error) => events.emit("fault", { error }),
      (keeps) => events.emit("keeps", keeps),
    );
    this.#core = {
      ports,
      events,
      sessions: new Map(),
      outbox: new Outbox(identity.device, this.holder, this.#keeper, ports.clock),
      keep: (session, at) => this.#keeper.set(`${this.#positions}${session}`, at && { ...at }),
    };
  }

  /**
   * Prepares a device, with what an earlier run has left in the store; run connects it.
   *
   * @throws ConfigError
   */
  static async open(config: DeviceConfig): Promise<Device> {
    checkIdentity(config.identity);
    if (!["auto", "websocket", "sse", undefined].includes(config.transport)) {
      throw new ConfigError(`there is no transport ${JSON.stringify(config.transport)}`);
    }
    if (new TextEncoder().encode(config.client).length > 128) {
      throw new ConfigError("client has more than 128 bytes");
    }
    const d = new Device(config);
    const { store } = config.ports;
    await d.#core.outbox.load(store);
    for (const [key, at] of await store.list(d.#positions)) {
      const id = key.slice(d.#positions.length);
      const view = config.from === "start" ? new View(id) : new View(id, at as Position);
      d.#core.sessions.set(id, view);
    }
    return d;
  }

  get #positions(): string {
    return `position/${this.identity.device}/`;
  }

  /** Calls listener at each such event, until the returned function is called. */
  on<K extends keyof Events>(event: K, listener: (value: Events[K]) => void): () => void {
    return this.#core.events.on(event, listener);
  }

  /** Whether there is a connection that is authenticated. */
  get connected(): boolean {
    return this.#connection !== undefined;
  }

  /** What the server told when it was reached last: its limits, among others. */
  get welcome(): Welcome | undefined {
    return this.#welcome;
  }

  /** The open sessions as last told, newest first. */
  sessions(): SessionState[] {
    return [...this.#core.sessions.values()]
      .flatMap((v) => (v.state && v.state.phase !== "closed" ? [v.state] : []))
      .sort((a, b) => Date.parse(b.opened) - Date.parse(a.opened));
  }

  /** Where the device stands in a session; undefined if it does not know it (any more). */
  position(session: SessionID): Position | undefined {
    const v = this.#core.sessions.get(session);
    return v && { ...v.at };
  }

  /** The messages that the server has not yet stored, oldest first, also of earlier runs. */
  unsent(): Unsent[] {
    return this.#core.outbox.unsent();
  }

  /** Waits until what is to be sent is kept, so that it outlives the program, or could not be: see keeps. */
  kept(): Promise<void> {
    return this.#keeper.flush();
  }

  /**
   * Takes up what another run of this device with the same store has left to send. To be called when
   * that run, which its holder names, has ended: what it had sent all the same is there once, since
   * the ids are the same. Each message is told as taken. It resolves when no third run would take them.
   */
  async takeOver(holder: string): Promise<void> {
    const { outbox, events, ports } = this.#core;
    for (const p of await outbox.take(ports.store, holder)) {
      events.emit("taken", { frame: p.frame as SendFrame, since: p.since });
      this.#connection?.request(p);
    }
    await this.kept();
  }

  /**
   * Connects, and comes back after every loss, until signal aborts: then it returns. Or
   * until the server says that coming back is useless, because the device was revoked or
   * its binding has expired: then it throws that. It can be called once; when it has
   * ended, requests without an answer fail with ClosedError; messages among them stay in
   * the store, for the next run.
   *
   * @throws ProblemError, CloseError
   */
  async run(signal: AbortSignal): Promise<void> {
    if (this.#started) {
      throw new ConfigError("the device was started already");
    }
    this.#started = true;
    let wrong = 0;
    try {
      while (!signal.aborted) {
        const { sound, error } = await this.#connect(signal);
        if (signal.aborted) {
          return;
        }
        let advice = reconnect(error);
        if (sound) {
          this.#failures = wrong = 0;
        }
        if (isProblem(error, "unauthenticated")) {
          // Once may be chance: a server whose clock or keys just changed.
          advice = ++wrong < wrongAnswers ? "after a pause" : "no";
        }
        if (advice === "no") {
          this.#core.events.emit("disconnected", { error, retryMs: Number.POSITIVE_INFINITY });
          throw error;
        }
        const random = this.#core.ports.clock.random();
        const retryMs =
          advice === "after a pause" || this.#failures > 0
            ? backoff(this.#failures, random, error)
            : random * 200;
        this.#failures++;
        await this.#pause(retryMs, signal, () =>
          this.#core.events.emit("disconnected", { error, retryMs }),
        );
      }
    } finally {
      this.#core.outbox.close();
      await this.#keeper.flush();
    }
  }

  /**
   * To be called when there is reason to think that the network has come back, or that
   * the program has slept: a pause ends at once, and a connection must show that it lives.
   */
  wake(): void {
    this.#hurry?.();
    if (this.#connection) {
      this.#connection.probe(probeMs);
    }
  }

  #pause(ms: number, signal: AbortSignal, begun: () => void): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        cancel();
        this.#hurry = undefined;
        signal.removeEventListener("abort", end);
        resolve();
      };
      const cancel = this.#core.ports.clock.after(ms, end);
      this.#hurry = end;
      signal.addEventListener("abort", end, { once: true });
      begun();
    });
  }

  /** Lives one connection to its end. */
  async #connect(signal: AbortSignal): Promise<{ sound: boolean; error: unknown }> {
    let connection: Connection | undefined;
    try {
      const { link, welcome } = await this.#dial(signal);
      connection = new Connection(this.#core, link);
      const end = () => link.fail(signal.reason);
      signal.addEventListener("abort", end, { once: true });
      this.#connection = connection;
      this.#welcome = welcome;
      try {
        return await connection.live(welcome);
      } finally {
        this.#connection = undefined;
        signal.removeEventListener("abort", end);
      }
    } catch (error) {
      return { sound: connection?.sound ?? false, error };
    }
  }

  /**
   * Connects and authenticates. With "auto" the fallback is tried where a WebSocket did
   * not work the last time, and where none could be opened twice.
   */
  async #dial(signal: AbortSignal): Promise<{ link: Link; welcome: Welcome }> {
    const { ports, client, transport = "auto" } = this.#config;
    const { clock } = ports;
    if (transport !== "sse") {
      try {
        const dialled = await timed(
          // Twice as long after a failure, for ways that are slow.
          dialSocket(
            this.api,
            this.identity,
            client,
            ports,
            challengeMs * (this.#failures ? 2 : 1),
          ),
          this.#fallback ? dialMs / 3 : dialMs,
          signal,
          ports,
        );
        this.#fallback = false;
        return dialled;
      } catch (err) {
        const blocked = err instanceof HandshakeError && (this.#fallback || this.#failures > 0);
        const silent = this.#fallback && !problemOf(err);
        if (transport !== "auto" || !(blocked || silent) || signal.aborted) {
          throw err;
        }
      }
    }
    const dialled = await timed(dialStream(this.api, clock), dialMs, signal, ports);
    this.#fallback = transport === "auto";
    return dialled;
  }

  /**
   * Makes a request and waits for its answer, over as many connections as it takes. An
   * answer that leaves the outcome open makes it repeat the request, which is harmless.
   *
   * @throws ProblemError what the server refuses; FrameError what it would refuse
   */
  request(frame: RequestFrame, signal?: AbortSignal): Promise<AckFrame> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const { outbox, sessions } = this.#core;
      const p = outbox.add(frame, frame.type === "send");
      const gone = () => {
        outbox.drop(frame.id);
        reject(signal?.reason);
      };
      p.answered = (ack) => {
        signal?.removeEventListener("abort", gone);
        resolve(ack);
      };
      p.failed = (err) => {
        signal?.removeEventListener("abort", gone);
        reject(err);
      };
      signal?.addEventListener("abort", gone, { once: true });
      if (frame.type === "send") {
        sessions.get(frame.session)?.own.set(frame.id, 0);
      }
      this.#connection?.request(p);
    });
  }

  #id(choice?: RequestChoice): RequestID {
    return choice?.id ?? newID("q", this.#core.ports.crypto.random);
  }

  /** Reports a call. The answer names the session, once there is one. */
  async report(report: Report, choice?: RequestChoice): Promise<Ack> {
    const ack = await this.request(
      { type: "report", id: this.#id(choice), body: report },
      choice?.signal,
    );
    return ack.body ?? {};
  }

  /**
   * Asks for a session beside a call; without other, beside the only one that is known. The
   * answer is a report's.
   */
  async ask(ask: Ask = {}, choice?: RequestChoice): Promise<Ack> {
    const ack = await this.request(
      { type: "ask", id: this.#id(choice), body: ask },
      choice?.signal,
    );
    return ack.body ?? {};
  }

  /**
   * Sends a message. It returns the message's place when the server has stored it. The
   * message is kept until then: a later run sends it, with the same id, where this one
   * could not.
   */
  async send<K extends string>(
    session: SessionID,
    kind: K,
    body: K extends keyof KindBodies ? KindBodies[K] : unknown,
    choice?: SendChoice,
  ): Promise<Position> {
    const ack = await this.request(
      {
        type: "send",
        id: this.#id(choice),
        session,
        kind,
        ...(choice?.id === undefined && { fresh: true }),
        ...(choice?.to && { to: choice.to }),
        ...(body !== undefined && { body }),
      },
      choice?.signal,
    );
    return { epoch: ack.epoch ?? 0, seq: ack.seq ?? 0 };
  }

  /**
   * Sends what need not arrive: typing, a position. It is not stored and not acknowledged,
   * and is dropped while there is no connection, or a slow one.
   */
  signal(session: SessionID, kind: string, body?: unknown, to?: MemberID[]): void {
    const frame = {
      type: "signal" as const,
      session,
      kind,
      ...(to && { to }),
      ...(body !== undefined && { body }),
    };
    this.#connection?.signal(encode(frame), frame);
  }

  /** Accepts or declines an invitation. */
  async answer(invitation: InvitationID, accept: boolean, choice?: RequestChoice): Promise<void> {
    const body = { invitation, accept };
    await this.request({ type: "answer", id: this.#id(choice), body }, choice?.signal);
  }

  /** Types the words heard in the call. */
  async confirm(invitation: InvitationID, words: string, choice?: RequestChoice): Promise<void> {
    const body = { invitation, words };
    await this.request({ type: "confirm", id: this.#id(choice), body }, choice?.signal);
  }

  /** Keeps a session open longer after the call. */
  async extend(session: SessionID, seconds: number, choice?: RequestChoice): Promise<void> {
    const body = { seconds };
    await this.request({ type: "extend", id: this.#id(choice), session, body }, choice?.signal);
  }

  /** Takes the device's party out of a session. */
  async leave(session: SessionID, leave: Leave = {}, choice?: RequestChoice): Promise<void> {
    await this.request(
      { type: "leave", id: this.#id(choice), session, body: leave },
      choice?.signal,
    );
  }
}

/** Bounds the time that dialling takes. */
async function timed(
  dialled: { link: Link; welcome: Promise<Welcome> },
  most: number,
  signal: AbortSignal,
  { clock }: Ports,
): Promise<{ link: Link; welcome: Welcome }> {
  const { link } = dialled;
  const late = clock.after(most, () => link.fail(new HandshakeError("no welcome in time")));
  const end = () => link.fail(signal.reason);
  signal.addEventListener("abort", end, { once: true });
  try {
    return { link, welcome: await dialled.welcome };
  } catch (err) {
    link.fail(err);
    throw err;
  } finally {
    late();
    signal.removeEventListener("abort", end);
  }
}

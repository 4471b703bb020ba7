/**
 * A softphone over SIP and WebRTC (RFC 7118, RFC 8826), with JsSIP. It is a chunk of its own, which
 * the page loads when the server has a telephone for it.
 */

import type { Softphone as Account } from "@tandem-call/sdk";
import type { URI } from "jssip";
import JsSIP from "jssip";
import type { RTCSession } from "jssip/lib/RTCSession";
import type { RTCSessionEvent, UA } from "jssip/lib/UA";
import { startTone, type Tone } from "./tone.ts";

/** How far a call has come. */
export type CallState = "calling" | "ringing" | "active" | "ended";

/** What is known of a call. */
export interface PhoneCall {
  /** The SIP Call-ID (RFC 3261, 8.1.1.4), which both sides share. */
  id: string;
  direction: "outgoing" | "incoming";
  /** The other side's number, or SIP address. */
  other: string;
  /** The extension that was dialled, or calls. */
  extension?: string;
  name?: string;
  state: CallState;
  /** Why it ended, in JsSIP's words: "Busy", "Rejected", … */
  cause?: string;
}

/** Where the sound comes from that the other side hears. */
export type Source = "tone" | "microphone";

/** What the softphone tells. */
export interface PhoneEvents {
  registered(): void;
  unregistered(cause: string): void;
  call(call: PhoneCall): void;
  /** How loud the other side is, from 0 to 1, a few times a second. */
  level(level: number): void;
  /** The microphone is not to be had: a tone is sent instead. */
  silent(err: unknown): void;
}

/** How long after the first address of our own we wait for more (trickle ICE is not used). */
const gatherMs = 600;

/** The number, or name, of an address, and its extension (RFC 3966, 5.1.2 and 5.3). */
function numberOf(uri: URI): { number: string; extension?: string } {
  const [number = "", ...more] = decodeURIComponent(uri.user).split(";");
  const extension = more.find((p) => p.startsWith("ext="))?.slice(4);
  return { number, ...(extension && { extension }) };
}

function stopTracks(stream: MediaStream | undefined): void {
  for (const track of stream?.getTracks() ?? []) {
    track.stop();
  }
}

/** One line of a telephone: one call at a time. */
export class Softphone {
  readonly #ua: UA;
  readonly #account: Account;
  readonly #events: PhoneEvents;
  #session: RTCSession | undefined;
  #call: PhoneCall | undefined;
  /** The call from which the present one is transferred, until that is answered. */
  #before: { session: RTCSession; call: PhoneCall } | undefined;
  /** A call that another phone's transfer has begun. */
  #referred: RTCSession | undefined;
  /** What is sent. */
  #stream: MediaStream | undefined;
  #tone: Tone | undefined;
  #microphone: MediaStream | undefined;
  #source: Source = "tone";
  #muted = false;
  /** Counts the streams that were asked for: only the newest is wanted. */
  #turn = 0;
  readonly #ear = new Audio();
  #meter: (() => void) | undefined;
  /** Ends the call that there is, for this page. */
  #over: ((cause: string) => void) | undefined;

  /** @param socket the address of the SIP server's WebSocket, on the page's own host */
  constructor(account: Account, socket: string, events: PhoneEvents) {
    this.#account = account;
    this.#events = events;
    this.#ear.autoplay = true;
    this.#ua = new JsSIP.UA({
      sockets: [new JsSIP.WebSocketInterface(socket)],
      uri: account.uri,
      authorization_user: account.username,
      password: account.password,
      register: true,
      register_expires: 120,
      session_timers: false,
      user_agent: "tandem-callpage",
      connection_recovery_min_interval: 1,
      connection_recovery_max_interval: 10,
    });
    this.#ua.on("registered", () => events.registered());
    this.#ua.on("unregistered", () => events.unregistered(""));
    this.#ua.on("registrationFailed", (e) => events.unregistered(String(e.cause ?? "")));
    this.#ua.on("disconnected", () => {
      events.unregistered("connection");
      this.#lost();
    });
    this.#ua.on("newRTCSession", (e: RTCSessionEvent) => this.#begun(e));
  }

  start(): void {
    this.#ua.start();
  }

  /** Ends a call, and the registration. */
  stop(): void {
    this.#turn++; // a microphone that is still asked for is not wanted any more
    this.hangUp();
    // Its connection ends in two seconds, and by then another phone may have the line.
    for (const event of ["registered", "unregistered", "registrationFailed", "disconnected"]) {
      this.#ua.removeAllListeners(event);
    }
    this.#ua.stop();
  }

  /** Calls a number. */
  async dial(number: string, source: Source): Promise<void> {
    const mediaStream = await this.#sound(source);
    if (!mediaStream) {
      return;
    }
    try {
      this.#ua.call(number.includes("@") ? number : `sip:${number}@${this.#domain}`, {
        mediaStream,
        pcConfig: this.#ice,
      });
    } catch (err) {
      this.#silence(); // it is no number
      throw err;
    }
  }

  async answer(source: Source): Promise<void> {
    const session = this.#session;
    if (!session?.isInProgress()) {
      return; // it is answered already, or over
    }
    const mediaStream = await this.#sound(source);
    if (!mediaStream) {
      return;
    }
    if (!session.isInProgress()) {
      this.#silence(); // the caller has given up meanwhile
      return;
    }
    session.answer({ mediaStream, pcConfig: this.#ice });
  }

  /** Ends the call, or declines one that comes in. */
  hangUp(): void {
    if (!this.#session || this.#session.isEnded()) {
      return;
    }
    const declined = this.#call?.direction === "incoming" && this.#call.state === "ringing";
    this.#session.terminate(declined ? { status_code: 603, reason_phrase: "Decline" } : {});
  }

  /** Sends keys as telephone events (RFC 4733); a comma is a pause of two seconds. */
  press(keys: string): boolean {
    if (!this.#session?.isEstablished()) {
      return false;
    }
    this.#session.sendDTMF(keys, { transportType: JsSIP.C.DTMF_TRANSPORT.RFC2833 });
    return true;
  }

  /**
   * Transfers the call to another phone of its number, by extension (REFER, RFC 3515), and hangs up
   * when that has answered. The error says why it did not: the call then goes on.
   */
  transfer(number: string, extension: string): Promise<void> {
    const session = this.#session;
    if (!session?.isEstablished()) {
      return Promise.reject(new Error("no call"));
    }
    const user = extension ? `${number};ext=${extension}` : number;
    return new Promise((resolve, reject) => {
      const failed = (e: {
        status_line?: { reason_phrase?: string }; // of the notice of what came of it
        response?: { reason_phrase?: string } | null; // to the request itself
        cause?: string;
      }) =>
        reject(
          new Error(
            e.status_line?.reason_phrase ||
              e.response?.reason_phrase ||
              e.cause ||
              "not transferred",
          ),
        );
      session.refer(`sip:${user}@${this.#domain}`, {
        eventHandlers: {
          accepted: () => {
            if (!session.isEnded()) {
              session.terminate();
            }
            resolve();
          },
          failed,
          requestFailed: failed,
        },
      });
      session.on("ended", () => resolve()); // the other side goes its way
    });
  }

  /** Sends nothing while muted; also in the call to which this one is transferred. */
  mute(muted: boolean): void {
    this.#muted = muted;
    if (muted) {
      this.#session?.mute({ audio: true });
    } else {
      this.#session?.unmute({ audio: true });
    }
  }

  /** Plays nothing while silent. */
  quiet(silent: boolean): void {
    this.#ear.muted = silent;
  }

  /** Changes where the sound comes from, within the call. */
  async use(source: Source): Promise<Source> {
    const stream = await this.#sound(source);
    if (!stream) {
      return this.#source;
    }
    const session = this.#session;
    const sender = session?.connection?.getSenders().find((s) => s.track?.kind === "audio");
    const [track] = stream.getAudioTracks();
    if (!session || session.isEnded() || !sender || !track) {
      this.#silence(); // the call is over meanwhile
      return this.#source;
    }
    track.enabled = !session.isMuted().audio; // the one before it may have been muted
    await sender.replaceTrack(track);
    return this.#source;
  }

  get #domain(): string {
    return this.#account.uri.replace(/^sips?:[^@]*@|[;?].*$/g, "");
  }

  get #ice(): RTCConfiguration {
    const iceServers = (this.#account.ice_servers ?? []) as RTCIceServer[];
    return { iceServers };
  }

  /**
   * The stream to send; a tone where the microphone is not to be had. None, if another was asked for
   * while the user was asked for the microphone.
   */
  async #sound(source: Source): Promise<MediaStream | undefined> {
    this.#silence();
    const turn = ++this.#turn;
    if (source === "microphone") {
      try {
        const microphone = await navigator.mediaDevices.getUserMedia({
          audio: { echoCancellation: true, noiseSuppression: true },
        });
        if (turn !== this.#turn) {
          stopTracks(microphone);
          return undefined;
        }
        this.#source = "microphone";
        this.#microphone = microphone;
        this.#stream = microphone;
        return microphone;
      } catch (err) {
        if (turn !== this.#turn) {
          return undefined;
        }
        this.#events.silent(err);
      }
    }
    this.#source = "tone";
    this.#tone = startTone();
    this.#stream = this.#tone.stream;
    return this.#stream;
  }

  #silence(): void {
    this.#tone?.stop();
    this.#tone = undefined;
    stopTracks(this.#microphone);
    this.#microphone = undefined;
    this.#stream = undefined;
  }

  #begun({ session, request, originator }: RTCSessionEvent): void {
    if (this.#session && !this.#session.isEnded() && session !== this.#referred) {
      session.terminate({ status_code: 486 }); // busy: one line
      return;
    }
    if (this.#session && this.#call && !this.#session.isEnded()) {
      this.#before = { session: this.#session, call: this.#call };
    }
    this.#session = session;
    const identity = session.remote_identity;
    const { number, extension } = numberOf(identity.uri);
    let call: PhoneCall = {
      // Its types leave out that both kinds of request have it.
      id: (request as unknown as { call_id: string }).call_id,
      direction: originator === "local" ? "outgoing" : "incoming",
      other: /^\+?\d+$/.test(number) ? number : identity.uri.toAor(),
      state: originator === "local" ? "calling" : "ringing",
      ...(extension && { extension }),
      ...(identity.display_name && { name: identity.display_name }),
    };
    this.#call = call;
    const own = session;
    const change = (change: Partial<PhoneCall>) => {
      call = { ...call, ...change };
      if (own === this.#session) {
        this.#call = call;
      }
      this.#events.call(call);
    };
    const over = (cause: string) => {
      if (call.state === "ended") {
        return; // why it ended is told once
      }
      change({ state: "ended", cause });
      if (own === this.#before?.session) {
        this.#before = undefined;
      } else if (own === this.#session) {
        this.#meter?.();
        this.#session = undefined;
        if (this.#before) {
          this.#back(this.#before); // it was not transferred
          return;
        }
        this.#silence();
        this.#muted = false;
        this.#ear.srcObject = null;
      }
    };
    session.on("refer", ({ request, accept, reject }) => {
      // To another phone of the number that the user speaks with, and to nowhere else: it is they who
      // would pay for it.
      const uri = (request as unknown as { refer_to: { uri: URI } }).refer_to.uri;
      if (
        own === this.#session &&
        numberOf(uri).number === call.other &&
        uri.host === this.#domain &&
        this.#stream
      ) {
        const options = { mediaStream: this.#stream, pcConfig: this.#ice };
        accept((referred: RTCSession) => {
          this.#referred = referred;
        }, options);
      } else {
        reject();
      }
    });
    this.#over = over;
    session.on("progress", () => change({ state: "ringing" }));
    session.on("accepted", () => change({ state: "active" }));
    session.on("confirmed", () => change({ state: "active" }));
    session.on("ended", (e) => over(String(e.cause ?? "")));
    session.on("failed", (e) => over(String(e.cause ?? "")));
    let first = true;
    session.on("icecandidate", ({ ready }) => {
      if (first) {
        first = false;
        setTimeout(ready, gatherMs);
      }
    });
    session.on("peerconnection", ({ peerconnection }) => this.#listen(peerconnection));
    if (session.connection) {
      this.#listen(session.connection); // an outgoing call has its connection already
    }
    if (this.#before) {
      this.mute(this.#muted);
    }
    this.#events.call(call);
  }

  /** Goes on with the call that was to be transferred. */
  #back({ session, call }: { session: RTCSession; call: PhoneCall }): void {
    this.#before = undefined;
    this.#session = session;
    this.#call = call;
    this.mute(this.#muted);
    const track = session.connection?.getReceivers().find((r) => r.track.kind === "audio")?.track;
    if (track) {
      this.#hear(new MediaStream([track]));
    }
    this.#events.call(call);
  }

  /**
   * The socket is gone, and with it the transaction of a call that rings here (RFC 3261 17.2.4): no
   * answer of ours would arrive, nor would we hear that the caller has given up.
   */
  #lost(): void {
    const session = this.#session;
    if (session && this.#call?.direction === "incoming" && this.#call.state === "ringing") {
      this.#over?.(JsSIP.C.causes.CONNECTION_ERROR);
      session.terminate();
    }
  }

  #listen(connection: RTCPeerConnection): void {
    connection.addEventListener("track", ({ streams, track }) => {
      this.#hear(streams[0] ?? new MediaStream([track]));
    });
  }

  #hear(stream: MediaStream): void {
    this.#ear.srcObject = stream;
    this.#ear.play().catch(() => {}); // a browser may want a touch first: the button "sound"
    this.#measure(stream);
  }

  #measure(stream: MediaStream): void {
    this.#meter?.();
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    analyser.fftSize = 512;
    context.createMediaStreamSource(stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, x) => sum + x * x, 0) / samples.length;
      this.#events.level(Math.min(1, Math.sqrt(power) * 12));
    }, 150);
    this.#meter = () => {
      clearInterval(timer);
      void context.close();
      this.#events.level(0);
      this.#meter = undefined;
    };
  }
}

import type { Api } from "./api.ts";
import { CloseError, NetworkError } from "./error.ts";
import { assertion, type Identity } from "./identity.ts";
import { expect, Link } from "./link.ts";
import type { Ports, Socket } from "./ports.ts";
import type { Challenge, Envelope, Welcome } from "./wire.ts";

const subprotocol = "tandem.v1";
/** Beyond so many bytes that wait to be written, signals are dropped. */
const congestedBytes = 64 << 10;

/** A WebSocket could not be opened: the server is away, or something lets none pass. */
export class HandshakeError extends NetworkError {}

/** A connection by WebSocket (RFC 6455); each text message is one envelope. */
export class SocketLink extends Link {
  override readonly answers = true;
  readonly #socket: Socket;

  constructor(url: string, ports: Pick<Ports, "sockets" | "clock">) {
    super(ports.clock);
    let opened = false;
    this.#socket = ports.sockets.open(url, subprotocol, {
      opened: () => {
        opened = true;
      },
      message: (text) => {
        this.heard();
        if (text !== undefined) {
          this.push(text);
        }
      },
      closed: (code, reason) =>
        this.fail(
          opened ? closing(code, reason) : new HandshakeError("the WebSocket could not be opened"),
        ),
    });
  }

  override write(frame: string, _e: Envelope): void {
    if (!this.over) {
      this.#socket.send(frame);
    }
  }

  override congested(): boolean {
    return this.#socket.waiting() > congestedBytes;
  }

  protected override shut(): void {
    this.#socket.close();
  }
}

/** The error for a close code; those below 4000 are WebSocket's own and say nothing to us. */
export function closing(code: number, reason: string): Error {
  return code < 4000
    ? new NetworkError(`the connection was closed (${code}${reason && ` ${reason}`})`)
    : new CloseError(code, reason);
}

/**
 * How long it may take until the challenge, which costs the server nothing: else nobody is there, and
 * another one of a cluster may be.
 */
export const challengeMs = 5_000;

/** Opens a WebSocket and answers the challenge, which must come within so many milliseconds. */
export function dialSocket(
  api: Api,
  identity: Identity,
  client: string | undefined,
  ports: Ports,
  within: number,
): { link: Link; welcome: Promise<Welcome> } {
  const link = new SocketLink(api.url("/v1/connect").replace(/^http/, "ws"), ports);
  const hello = async () => {
    const late = () => link.fail(new HandshakeError("no challenge in time"));
    const calm = ports.clock.after(within, late);
    const { nonce } = await expect<Challenge>(link, "challenge").finally(calm);
    const body = {
      assertion: await assertion(identity, nonce, ports),
      ...(client && { client }),
    };
    const frame = { type: "hello", body };
    link.write(JSON.stringify(frame), frame);
    return expect<Welcome>(link, "welcome");
  };
  return { link, welcome: hello() };
}

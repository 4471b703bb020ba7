import { catalogue, closeCodes, type Problem, type ProblemCode } from "./wire.ts";

/** What the server refused. `problem.code` says why; `advice` what to do. */
export class ProblemError extends Error {
  override readonly name = "ProblemError";
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(
      problem.detail
        ? `${problem.title}: ${problem.detail} (${problem.code})`
        : `${problem.title} (${problem.code})`,
    );
    this.problem = problem;
  }

  /** For programs; isProblem asks for one. */
  get code(): ProblemCode {
    return this.problem.code;
  }

  /** What a client or its user should do; empty for a code that is not in the catalogue. */
  get advice(): string {
    return catalogue[this.problem.code]?.advice ?? "";
  }
}

/** The server closed the connection, over a WebSocket or server-sent events. */
export class CloseError extends Error {
  override readonly name = "CloseError";
  readonly code: number;
  readonly reason: string;

  constructor(code: number, reason: string) {
    const known = closeCodes[code]?.name ?? "unknown";
    super(`the server closed the connection: ${known} (${code})${reason && `: ${reason}`}`);
    this.code = code;
    this.reason = reason;
  }
}

/** The device was stopped. The outcome of a request that was under way is not known. */
export class ClosedError extends Error {
  override readonly name = "ClosedError";
}

/** A configuration or an argument that cannot be used. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** A frame that is not valid: one's own, before it is sent, or one of the server's. */
export class FrameError extends Error {
  override readonly name = "FrameError";
}

/** What the server sent is not of the protocol. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}

/** The connection failed, went silent, or could not be made. Trying again may help. */
export class NetworkError extends Error {
  override readonly name = "NetworkError";
}

/** A file cannot be sent or received as asked: its content is at fault. */
export class FileError extends Error {
  override readonly name = "FileError";
}

/** The problem behind an error, also behind a close code after which no return helps. */
export function problemOf(err: unknown): Problem | undefined {
  if (err instanceof ProblemError) {
    return err.problem;
  }
  if (err instanceof CloseError) {
    const code = { 4001: "bad-frame", 4003: "unauthenticated", 4004: "revoked" }[err.code];
    return code === undefined ? undefined : problem(code, err.reason);
  }
  return undefined;
}

/** Makes the problem of a code that is in the catalogue. */
export function problem(code: ProblemCode, detail = ""): Problem {
  const known = catalogue[code];
  return {
    type: `/problems/${code}`,
    title: known?.title ?? code,
    status: known?.status ?? 500,
    code,
    ...(detail && { detail }),
  };
}

/** Whether err is the server's problem of one of these codes. */
export function isProblem(err: unknown, ...codes: ProblemCode[]): boolean {
  const p = problemOf(err);
  return p !== undefined && codes.includes(p.code);
}

/**
 * Whether the same request may succeed later: it may, unless the server said no, or it
 * could not even be made.
 */
export function retryable(err: unknown): boolean {
  const p = problemOf(err);
  if (p) {
    return catalogue[p.code]?.retry === true;
  }
  return !(err instanceof ConfigError || err instanceof FrameError || err instanceof FileError);
}

/** Whether a device should come back after err, and whether only after a pause. */
export function reconnect(err: unknown): "no" | "at once" | "after a pause" {
  if (err instanceof CloseError) {
    return closeCodes[err.code]?.reconnect ?? "after a pause";
  }
  if (!retryable(err)) {
    return "no";
  }
  return problemOf(err) ? "after a pause" : "at once";
}

/**
 * The pause before attempt n (from 0) in milliseconds: at random, up to a quarter of a
 * second at first, doubling to half a minute, so that many devices do not come back
 * together. A problem's own time counts if it is longer.
 */
export function backoff(n: number, random: number, err?: unknown): number {
  const most = Math.min(30_000, 250 * 2 ** Math.min(n, 10));
  return Math.max(20 + random * most, (problemOf(err)?.retry_after_s ?? 0) * 1000);
}

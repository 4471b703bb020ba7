/**
 * The device SDK of Tandem: data sessions beside phone calls. This entry has no platform
 * code; `@tandem-call/sdk/browser` and `@tandem-call/sdk/node` have the ports it needs,
 * `@tandem-call/sdk/files` sends and receives files.
 *
 * @packageDocumentation
 */
export { agentCode, type SigningIn, signIn } from "./agent.ts";
export { Api, type RequestOptions, StatusError } from "./api.ts";
export { Book, type Held, keeps } from "./book.ts";
export { type CallDetails, CallReporter, type Reported, type ReporterConfig } from "./calls.ts";
export type { Events } from "./connection.ts";
export {
  type CouplingOptions,
  couple,
  couplingURI,
  PendingCoupling,
  parseCouplingURI,
} from "./coupling.ts";
export {
  Device,
  type DeviceConfig,
  type RequestChoice,
  type SendChoice,
  type Transport,
} from "./device.ts";
export {
  ClosedError,
  CloseError,
  ConfigError,
  FileError,
  FrameError,
  isProblem,
  NetworkError,
  ProblemError,
  ProtocolError,
  problemOf,
  retryable,
} from "./error.ts";
export { decode, encode, newID } from "./frame.ts";
export { answerPush, type OpeningLink, openLink, readPush } from "./guest.ts";
export {
  type Enrolling,
  enrol,
  forgetIdentity,
  type Identity,
  loadIdentity,
  PendingEnrolment,
  pendingEnrolment,
} from "./identity.ts";
export { safeName } from "./name.ts";
export { awaitNear, here, stayNear } from "./near.ts";
export type { RequestFrame, Unsent } from "./outbox.ts";
export { Places } from "./place.ts";
export type * from "./ports.ts";
export { holding, type Known, Profiles, receive, stale } from "./profile.ts";
export { MemoryStore } from "./store.ts";
export type { Message, Position } from "./view.ts";
export * from "./wire.ts";

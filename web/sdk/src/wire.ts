// Made by `go generate ./wire` from the Go types. Change those.

/** A time as in RFC 3339: "2026-11-23T10:00:00Z". */
export type Time = string;

/** The first frame: proves which device this is. */
export interface HelloFrame {
  type: "hello";
  body: Hello;
  id?: RequestID;
}

/** A call report. */
export interface ReportFrame {
  type: "report";
  id: RequestID;
  body: Report;
}

/** Asks for a session beside a call. */
export interface AskFrame {
  type: "ask";
  id: RequestID;
  body: Ask;
}

/** A message for other members: stored, and acknowledged once it is. */
export interface SendFrame {
  type: "send";
  id: RequestID;
  session: SessionID;
  kind: string;
  fresh?: boolean;
  to?: MemberID[];
  body?: unknown;
}

/** As send, but not stored: it may be lost. Only a fault is answered. */
export interface SignalFrame {
  type: "signal";
  session: SessionID;
  kind: string;
  id?: RequestID;
  to?: MemberID[];
  body?: unknown;
}

/** Asks for what was missed; without a body for everything. */
export interface ResumeFrame {
  type: "resume";
  id: RequestID;
  session: SessionID;
  body?: Resume;
}

/** Answers an invitation. */
export interface AnswerFrame {
  type: "answer";
  id: RequestID;
  body: Answer;
}

/** Gives the words heard in the call. */
export interface ConfirmFrame {
  type: "confirm";
  id: RequestID;
  body: Confirm;
}

/** Keeps a session longer after the call. */
export interface ExtendFrame {
  type: "extend";
  id: RequestID;
  session: SessionID;
  body: Extend;
}

/** Leaves a session. */
export interface LeaveFrame {
  type: "leave";
  id: RequestID;
  session: SessionID;
  body?: Leave;
}

/** Opens the conversation with a nonce to sign. */
export interface ChallengeFrame {
  type: "challenge";
  body: Challenge;
}

/** Ends the authentication. */
export interface WelcomeFrame {
  type: "welcome";
  body: Welcome;
  id?: RequestID;
}

/** The request was carried out and stored. */
export interface AckFrame {
  type: "ack";
  id: RequestID;
  session?: SessionID;
  seq?: number;
  epoch?: number;
  time?: Time;
  body?: Ack;
}

/** The request failed; without an id, a frame that could not be read. */
export interface ErrorFrame {
  type: "error";
  body: Problem;
  id?: RequestID;
  session?: SessionID;
}

/** A message of another member, or with a kind of the server's own. A signal has no seq. */
export interface MessageFrame {
  type: "message";
  session: SessionID;
  kind: string;
  id?: RequestID;
  seq?: number;
  epoch?: number;
  from?: MemberID;
  to?: MemberID[];
  time?: Time;
  body?: unknown;
}

/** The session was opened, changed or closed. */
export interface SessionFrame {
  type: "session";
  session: SessionID;
  body: SessionState;
  seq?: number;
  epoch?: number;
  time?: Time;
}

/** A session that the device may join was opened, changed or closed. */
export interface AvailableFrame {
  type: "available";
  body: Available;
  time?: Time;
}

/** Follows the last missed message. */
export interface ResumedFrame {
  type: "resumed";
  id: RequestID;
  session: SessionID;
  body: Resumed;
}

/** Invites to a session with the party in the call. */
export interface InviteFrame {
  type: "invite";
  body: Invite;
}

/** An invitation is no more. */
export interface WithdrawnFrame {
  type: "withdrawn";
  body: Withdrawn;
}

/** Words to read aloud in the call, or to type. */
export interface WordsFrame {
  type: "words";
  body: Words;
}

/** Something that the user should know, outside any session. */
export interface NoticeFrame {
  type: "notice";
  body: NoticeBody;
}

/** Are you there? Sent after the heartbeat interval has passed in silence, by a device also when an answer is due and nothing comes, and by the server while it carries out a request that takes its time. */
export interface PingFrame {
  type: "ping";
  id?: RequestID;
}

/** Answers ping, with its id. */
export interface PongFrame {
  type: "pong";
  id?: RequestID;
}

/** What a device sends. */
export type DeviceFrame =
  | HelloFrame
  | ReportFrame
  | AskFrame
  | SendFrame
  | SignalFrame
  | ResumeFrame
  | AnswerFrame
  | ConfirmFrame
  | ExtendFrame
  | LeaveFrame
  | PingFrame
  | PongFrame;

/** What the server sends. A newer server may send further types. */
export type ServerFrame =
  | ChallengeFrame
  | WelcomeFrame
  | AckFrame
  | ErrorFrame
  | MessageFrame
  | SessionFrame
  | AvailableFrame
  | ResumedFrame
  | InviteFrame
  | WithdrawnFrame
  | WordsFrame
  | NoticeFrame
  | PingFrame
  | PongFrame;

/** The bodies of the kinds of message that Tandem itself gives a meaning. */
export interface KindBodies {
  /** A chat message. */
  "text": TextMessage;
  /** A file offered for download. */
  "file": FileOffer;
  /** Data by reference. */
  "link": LinkOffer;
  /** How much of an upload has arrived; not stored. */
  "file.progress": FileProgress;
  /** The sender's profile, as far as the device has not got it yet. */
  "tandem.profile": ProfileMessage;
  /** The sender's place; not stored while it is shared live, but for the first. */
  "tandem.place": PlaceMessage;
  /** What can your device do about places? Not stored. */
  "tandem.place.check": PlaceCheck;
  /** The sender asks for your place. */
  "tandem.place.ask": PlaceAsked;
  /** The sender's place is shared no more. */
  "tandem.place.stopped": PlaceStopped;
  /** The sender's device shows an overlay, or says why not. */
  "tandem.overlay.shown": OverlayShown;
  /** What came of an action of an overlay, checked against it. */
  "tandem.overlay.result": OverlayResult;
  /** A change of the session, kept in its log. */
  "tandem.state": SessionState;
}

/** One frame, whatever its type. DeviceFrame and ServerFrame say which fields each type has. */
export interface Envelope {
  /** type of the frame; it decides which other fields there are. */
  type: string;
  /** id is chosen by the device for a request, and returned in the answer. A message carries the id of its sender's request: a repetition has the same from and id. */
  id?: RequestID;
  /** fresh: this is the first time that a device sends the message, under an id that it has just made. It spares the server a look through the whole session for an earlier one. A repetition must not have it (docs/adr/0029). */
  fresh?: boolean;
  /** session that the frame belongs to. */
  session?: SessionID;
  /** seq is the message's place in the session, from 1, without gaps for the session as a whole: a member to whom a message was not addressed sees a gap. Below 2^53. */
  seq?: number;
  /** epoch of Seq: a sequence number means one message within an epoch. Below 2^53. */
  epoch?: number;
  /** from is the member who sent the message; set by the server. */
  from?: MemberID;
  /** to lists the members addressed; left out for all others. */
  to?: MemberID[];
  /** kind of a message: one of Tandem's, or any other of 1 to 64 characters a-z, 0-9, dot, underline, hyphen. */
  kind?: string;
  /** time at which the server took the message. */
  time?: Time;
  /** body of the type or kind; passes through as it came. */
  body?: unknown;
}

/** Hello proves which device this is. */
export interface Hello {
  /** assertion is a JWS in compact form, ES256 by the device's key, with the claims sub (the device id), nonce (from the challenge), aud "tandem", iat, and exp at most 5 minutes later. */
  assertion: string;
  /** client names the software, for the operator's statistics. */
  client?: string;
}

/** RequestID is chosen by a device for each request. */
export type RequestID = string;

/** Report is a call report: one side's statement that a call is up, changed or over. */
export interface Report extends PartyDetails {
  /** report_seq orders the reports of one reporter about one call: a lower one that arrives later is ignored. Zero: in the order of arrival. */
  report_seq?: number;
  /** at is when the state began, by the reporter's clock; zero: now. */
  at?: Time;
  /** ttl_s: without a repetition within this time the leg's state counts as unknown. Zero: the server's default (see Limits). */
  ttl_s?: number;
  /** queue of the contact centre that the call came in. */
  queue?: string;
  /** typed: a person says so, not the telephone (A2). */
  typed?: boolean;
  /** passports are the values of the call's SIP Identity header fields (RFC 8224), with which the networks vouch for it; the call's first report may carry them. One in compact form needs at to be the time of the request's Date. */
  passports?: string[];
  /** coupled are the addresses of devices that are to carry data for the own party in this call (B8): the id of one of the party's devices, or of a device's own request to be coupled (CouplingPending.ID), which it has handed over. Repeat them with the report. */
  coupled?: string[];
  /** profile is the address at which the reporting device's own profile lives (G2): the server reads it there from now on. As source in ProfileChange. */
  profile?: string;
  /** place of the own party as the network knows it (F), or the same in PIDFLO; from elements and providers only. It waits for the party's consent, and is forgotten with the call. */
  place?: Place;
  /** pidf_lo is the place as a PIDF-LO document (RFC 4119, 5491), which must say that it may be passed on (retransmission-allowed). */
  pidf_lo?: string;
}

/** Ask asks for a data session beside a call that is up (B15), at the phone or at a coupled device. It says what a report by a person says, and has the other side asked at once if that has not reported the call. */
export interface Ask {
  /** other is the party that the user speaks to. Left out: the one of the only call that the server knows this party to be in. */
  other?: Identity;
}

/** SessionID names a data session. */
export type SessionID = string;

/** MemberID names a member within one session: what others see in its place of a DeviceID, so that nobody can be followed from session to session. */
export type MemberID = string;

/** Resume asks for the messages after a place in the session's log. */
export interface Resume {
  /** epoch of the last message received; left out for everything. */
  epoch?: number;
  /** seq of the last message received. */
  seq?: number;
}

/** Answer to an invitation. */
export interface Answer {
  /** invitation that is answered. */
  invitation: InvitationID;
  /** accept or decline. */
  accept: boolean;
}

/** Confirm carries the words that were heard in the call. */
export interface Confirm {
  /** invitation that came with the request for words. */
  invitation: InvitationID;
  /** words as they were heard. */
  words: string;
}

/** Extend keeps an after_call session open, up to MayExtendTo. */
export interface Extend {
  /** seconds from now. */
  seconds: number;
}

/** Leave takes the device's party out of the session. */
export interface Leave {
  /** block refuses further sessions with the other parties. */
  block?: boolean;
  /** device_only: only this device leaves, not the party's others. */
  device_only?: boolean;
}

/** Challenge opens the conversation: sign the nonce within the time given. */
export interface Challenge {
  /** nonce to be signed. */
  nonce: string;
  /** timeout_s until the server closes the connection with CloseAuthTimeout. */
  timeout_s: number;
}

/** Welcome ends the authentication. */
export interface Welcome {
  /** device that has been recognised. */
  device: DeviceID;
  /** heartbeat_s is the longest silence either side may keep. */
  heartbeat_s: number;
  /** time by the server's clock. */
  time: Time;
  /** sessions in which the device is a member and which are not closed. */
  sessions?: SessionState[];
  /** limits in force for this device. */
  limits: Limits;
}

/** Ack says that a request was carried out and stored. */
export interface Ack {
  /** session that a report belongs to at this moment, if it has one. "No match yet", "ambiguous" and "no such call" are one answer: none. */
  session?: SessionID;
}

/** Problem is an error as a client sees it: RFC 9457 problem details over HTTP (application/problem+json), and the body of an error frame. */
export interface Problem {
  /** type is "/problems/CODE", a page of the server's that explains it. */
  type: string;
  /** title of the condition, the same each time. */
  title: string;
  /** status is the HTTP status that belongs to it. */
  status: number;
  /** detail says what was wrong this time, and what to do. */
  detail?: string;
  /** code names the condition, for programs. */
  code: ProblemCode;
  /** retry_after_s until a repetition can succeed. */
  retry_after_s?: number;
  /** errors lists the single faults of a request's fields, where there are several. */
  errors?: FieldError[];
}

/** SessionState is told to every member at each change. */
export interface SessionState {
  /** id of the session. */
  id: SessionID;
  /** phase in which it is. */
  phase: Phase;
  /** you is the receiving device's own member id. */
  you?: MemberID;
  /** was are the member ids that the receiving device had before, where it was let go and came back: what they sent is its own. */
  was?: MemberID[];
  /** members of the session, also those that have left. */
  members: Member[];
  /** opened is when the session was opened. */
  opened: Time;
  /** until is when an after_call session closes. */
  until?: Time;
  /** may_extend_to is the latest time that Extend can reach; set after the call. */
  may_extend_to?: Time;
  /** reason for a closed session: "linger", "left", "operator". */
  reason?: string;
  /** epoch of the session's log. */
  epoch?: number;
  /** head is the sequence of the session's last message. */
  head?: number;
}

/** Available tells a device of a session that it may join. */
export interface Available {
  /** session that it may join. */
  session: SessionID;
  /** phase in which it is; closed: it can be joined no more. */
  phase: Phase;
  /** with are the other parties, as the call shows them. */
  with?: Identity[];
  /** until is when an after_call session closes. */
  until?: Time;
}

/** Resumed follows the last missed message. */
export interface Resumed {
  /** recovered: everything after the given place has been sent, nothing was lost. */
  recovered: boolean;
  /** rewind_to: messages of the given epoch after this sequence were never stored; forget them. Present only when less than the given sequence. */
  rewind_to?: number;
  /** epoch that is in force now. */
  epoch: number;
  /** head is the sequence of the session's last message. */
  head: number;
}

/** Invite asks a device to join a session with the party it is speaking to (B2). */
export interface Invite {
  /** id to answer with. */
  id: InvitationID;
  /** claimant is the proved identity of the party that reported the call; none where it is withheld. */
  claimant?: Identity;
  /** until is when the invitation lapses. */
  until: Time;
}

/** Withdrawn says that an invitation is no longer open. */
export interface Withdrawn {
  /** invitation that is no more. */
  invitation: InvitationID;
  /** reason: "answered" (on another device), "call_over", "joined", "expired", "refused" (wrong words), "other_call" (the party speaks to somebody else now; a new one may follow). */
  reason: string;
}

/** Words is the comparison by voice that partial details need (A10): one side reads, the other types. */
export interface Words {
  /** invitation to answer or confirm. */
  invitation: InvitationID;
  /** read these two words aloud in the call. Empty on the side that types. */
  read?: string;
  /** tries_left on the side that types. */
  tries_left?: number;
  /** until is when the words lapse. */
  until: Time;
}

/** Notice tells the user of a device something. */
export interface NoticeBody {
  /** code says what happened: "new-device", "agent", "agents", "look", "payment", or one that is not known yet. */
  code: string;
  /** name of what it is about. */
  name?: string;
  /** at is when it happened. */
  at: Time;
}

/** Text is a chat message. */
export interface TextMessage {
  /** text in plain characters; markup in it means nothing. */
  text: string;
}

/** File offers a stored file to the members. */
export interface FileOffer {
  /** id of the stored file. */
  id: FileID;
  /** name to offer for saving; not a path. */
  name: string;
  /** size in bytes. */
  size: number;
  /** type is the media type that the server recognised in the content. */
  type: string;
  /** sha256 of the content, in hexadecimal. */
  sha256: string;
  /** path from which a member downloads it, with ranges; below the server's address. */
  path: string;
  /** preview is the path of a small picture, for images. */
  preview?: string;
  /** width of the picture, in pixels. */
  width?: number;
  /** height of the picture, in pixels. */
  height?: number;
}

/** Link is data by reference: where to download it (C1). */
export interface LinkOffer {
  /** url to download from. */
  url: string;
  /** name to show. */
  name?: string;
  /** type is the media type, as far as the sender knows it. */
  type?: string;
  /** size in bytes, as far as the sender knows it. */
  size?: number;
}

/** FileProgress of an upload that another member makes. */
export interface FileProgress {
  /** id of the file. */
  id: FileID;
  /** name of the file. */
  name: string;
  /** offset is how many bytes have arrived. */
  offset: number;
  /** size of the whole, in bytes. */
  size: number;
  /** gone says that the sender has taken it back: no more of it will arrive. */
  gone?: boolean;
}

/** ProfileMessage is the sender's profile, for one device: what is missing there or newer. */
export interface ProfileMessage {
  /** owner names whose it is, for this party: the same in each session. */
  owner: string;
  /** fields that the device has not, or in an older version. */
  fields: ProfileField[];
  /** has lists everything that the owner shows to this party, in its version. What a device holds besides was removed. */
  has: FieldVersion[];
  /** show names the properties to lay over the call screen. */
  show?: string[];
  /** keep is what the receiver's party has chosen for this owner: ask, once, always. */
  keep: KeepRule;
  /** contact that it was kept as. */
  contact?: string;
  /** withdrawn: the owner asks that what was sent be forgotten. */
  withdrawn?: boolean;
}

/** PlaceMessage is the sender's place. */
export interface PlaceMessage {
  /** place as GeoJSON. */
  place: Place;
  /** uri is the same as a geo: URI. */
  uri: string;
  /** words say the place to those who see no map. */
  words: string;
  /** link shows it at the mapping service that the operator chose, for devices that open links. */
  link?: string;
  /** picture is the address of a map of it (PNG), for devices that show pictures. Whoever has the address can fetch it, for a day. */
  picture?: string;
  /** pidf_lo is the same as a PIDF-LO document, for devices that want it. */
  pidf_lo?: string;
  /** live: more follow, until the time that Until says. */
  live?: boolean;
  /** until it is shared. */
  until?: Time;
  /** coarse: it was made inexact. */
  coarse?: boolean;
  /** request that it answers. */
  request?: string;
}

/** PlaceCheck asks a device for its ability. */
export interface PlaceCheck {
  /** timeout_s until silence counts as a no. */
  timeout_s: number;
}

/** PlaceAsked asks the user of a device for its place. */
export interface PlaceAsked {
  /** request to name in the answer. */
  request: string;
  /** minutes for which the other would follow; zero: only once. */
  minutes?: number;
  /** consent that is there already, by a rule of the user's or for the whole call: the device shares its place without asking. */
  consent?: Consent;
  /** until such a consent holds, if it is live. */
  until?: Time;
}

/** PlaceStopped says that the sender's place is shared no more. */
export interface PlaceStopped {
  /** reason is "stopped", "time" or "call_ended". */
  reason: string;
}

/** OverlayShown confirms that a device shows an overlay, or says why not (I4). */
export interface OverlayShown {
  /** seq of the message with the overlay. */
  seq: number;
  /** overlay is the document's id. */
  overlay: string;
  /** state is shown or failed. */
  state: string;
  /** reason of failed: a code such as not_valid. */
  reason?: string;
}

/** OverlayResult says what came of an action at a region's touch (I6). */
export interface OverlayResult extends OverlayActionAnswer {
  /** seq of the message with the overlay. */
  seq: number;
  /** overlay is the document's id. */
  overlay: string;
  /** payment that was done or not, of pay and buy: the payment server's word, not the device's. */
  payment?: OverlayPayment;
}

/** EnrolRequest asks to prove that a device has a number (B16). */
export interface EnrolRequest {
  /** Telephone number, +442079460002, or national with region */
  number: string;
  /** ISO 3166-1 region of a national number */
  region?: string;
  /** Public key that the device has made for itself */
  key: JWK;
  /** Name shown to the other party, e.g. Alice */
  name?: string;
  /** Application to wake by push */
  app?: PushApp;
  /** Software and version */
  client?: string;
}

/** Enrolment is under way: a code was sent to the number. */
export interface Enrolment {
  /** To be given with the code */
  id: string;
  /** expires is when the code stops being valid. */
  expires: Time;
  /** via says how the code was sent: "sms", or "server" where a development server prints it. */
  via: string;
}

/** EnrolConfirm completes an enrolment. */
export interface EnrolConfirm {
  /** The six digits received */
  code: string;
  /** assertion proves possession of the key: a JWS, ES256, with the claims nonce (the enrolment's id), aud "tandem", iat and exp at most 5 minutes later. */
  assertion: string;
}

/** DeviceInfo is what a device may know of itself. */
export interface DeviceInfo {
  id: DeviceID;
  name?: string;
  /** Identities of the device's party */
  party: Proved[];
  /** language of its user, BCP 47 in lower case. */
  language?: string;
  /** Proofs that this device has a number */
  bindings: Binding[];
  app?: PushApp;
  /** unasked: its user lets it join a session without being asked, when it is woken by push and its own telephone is in a call (B14). */
  unasked?: boolean;
  created: Time;
}

/** DeviceChange changes what a device says of itself; absent fields stay. */
export interface DeviceChange {
  name?: string;
  /** language as in DeviceInfo. */
  language?: string;
  app?: PushApp;
  /** unasked as in DeviceInfo. */
  unasked?: boolean;
}

/** Softphone is what a device needs to make and take telephone calls by SIP over WebSocket (RFC 7118), as its own number. */
export interface Softphone {
  /** Address to register, sip:+442079460001@example.com;user=phone */
  uri: string;
  /** Where SIP over WebSocket is spoken */
  websocket_url: string;
  /** username and Password are for digest authentication (RFC 3261 22), and hold until they expire; then new ones must be fetched. An open registrar does not ask for them. */
  username: string;
  password: string;
  expires_s: number;
  /** For RTCPeerConnection, as it wants them */
  ice_servers: ICEServer[];
}

/** CouplingOfferRequest asks for a code to type at a device that is to be coupled. */
export interface CouplingOfferRequest {
  /** number of the telephone; a device may leave it out if it has one only. */
  number?: string;
  /** How long the coupling lasts; permanent if left out */
  kind?: CouplingKind;
  /** hours that an operator's code is valid; a device's is always short-lived. */
  hours?: number;
}

/** CouplingOffer is a code to type at the device that is to be coupled. */
export interface CouplingOffer {
  /** Eight letters, e.g. WDJB-MJHT; hyphens and case do not matter */
  code: string;
  number: PhoneNumber;
  kind: CouplingKind;
  expires: Time;
}

/** CouplingRequest begins to couple a device that need not be known yet. */
export interface CouplingRequest {
  /** Public key that the device has made for itself */
  key: JWK;
  /** Name of the device, e.g. Living room TV */
  name?: string;
  /** Software and version */
  client?: string;
  /** Application to wake by push */
  app?: PushApp;
  /** kind wished for, where who vouches does not say. */
  kind?: CouplingKind;
}

/** CouplingPending is a device's request to be coupled. */
export interface CouplingPending {
  /** It is also the device's address for one call (Report.Coupled): whoever has it may couple the device, so it goes to the phone's side only. */
  id: string;
  /** code to be typed at the phone, told to an operator, or keyed in a call. */
  code: string;
  expires: Time;
  /** interval_s between two claims. */
  interval_s: number;
}

/** CouplingClaim completes a device's request. */
export interface CouplingClaim {
  /** assertion by the device's key, as in EnrolConfirm, over the request's id. */
  assertion: string;
  /** The code shown at the phone; left out to wait for the other way */
  code?: string;
}

/** CouplingLook asks which device shows a code, before it is accepted. */
export interface CouplingLook {
  /** The nine digits shown at the device */
  code: string;
}

/** CouplingSeen is the device that shows the code. */
export interface CouplingSeen {
  name?: string;
  client?: string;
  /** The kind that it asks for */
  kind?: CouplingKind;
  expires: Time;
}

/** CouplingAccept vouches for the device that shows a code. */
export interface CouplingAccept {
  /** The nine digits shown at the device */
  code: string;
  /** The telephone's number; a device's own if left out */
  number?: string;
  kind?: CouplingKind;
}

/** CouplingNear says that the two devices of a temporary coupling are near each other. */
export interface CouplingNear {
  /** link: the phone's device has the other one on a local link, and knows it by its key. Otherwise the server goes by their addresses. */
  link?: boolean;
}

/** CouplingList lists couplings. */
export interface CouplingList {
  couplings: Coupling[];
}

/** PartyMemberList lists a party's devices. */
export interface PartyMemberList {
  devices: PartyMember[];
}

/** PartyMemberChange changes what one of the party's devices does; what is left out stays. */
export interface PartyMemberChange {
  session?: SessionChoice;
  /** gets are the kinds of data that it is to get; an empty list: every kind. */
  gets?: DataKind[];
}

/** Payment is one payment, as whoever pays and whoever is paid see it. */
export interface Payment {
  /** id of the payment, the same for every touch of an action. */
  id: PaymentID;
  /** session in which it was asked for. */
  session: SessionID;
  /** seq of the message with the overlay. */
  seq: number;
  /** overlay is its document's id. */
  overlay: string;
  /** region that was touched. */
  region: string;
  /** action is its place among the region's actions, from 0. */
  action: number;
  /** item and Amount as the overlay has them. */
  item: string;
  amount: OverlayAmount;
  /** state is how far it is. */
  state: PaymentState;
  /** reason of failed (declined, unknown) and cancelled (by_customer, expired, session_closed). */
  reason?: string;
  /** url of the payment server's page while the payment is open; for the side that pays only. */
  url?: string;
  /** expires is when an open payment is cancelled. */
  expires?: Time;
  /** reference by which the payment server knows what was paid. */
  reference?: string;
  /** begun is when this attempt was. */
  begun: Time;
  /** ended is when it was paid, failed or cancelled. */
  ended?: Time;
}

/** PaymentList lists payments, the oldest first. */
export interface PaymentList {
  payments: Payment[];
}

/** PaymentRequest begins the payment that an action of an overlay asks for (SPEC I6). What is paid and how much is in the overlay. */
export interface PaymentRequest {
  /** region is the overlay's region that was touched. */
  region: string;
  /** action is its place among the region's actions, from 0. */
  action: number;
}

/** Profile is a party's own profile, as the party sees it. */
export interface Profile {
  /** version of the whole; grows with each change. */
  version: number;
  fields: ProfileField[];
  /** general lists the ids of what everybody sees; without it, all that is in no group. */
  general?: string[];
  groups: ProfileGroup[];
  /** show names the properties that others' devices may lay over the call screen (G5). */
  show?: string[];
  send: SendRule;
  keep: KeepRule;
  changed?: Time;
  /** source is where the server reads the profile; nil: it is written here. */
  source?: ProfileSource;
}

/** ProfileChange changes a profile, or synchronises it with a device's copy. Fields that are left out stay. */
export interface ProfileChange {
  /** base is the version that the device's copy was made of: what others have changed since is not overwritten, but told as a conflict. Zero: overwrite. */
  base?: number;
  /** set adds fields, or replaces those with the same id. */
  set?: ProfileField[];
  /** remove fields, by their ids. */
  remove?: string[];
  /** general replaces the list of what everybody sees. */
  general?: string[];
  /** groups replaces all groups. */
  groups?: ProfileGroup[];
  /** show replaces the list of what may be laid over the call screen. */
  show?: string[];
  send?: SendRule;
  keep?: KeepRule;
  /** source sets the address at which the server reads the profile; empty: none. */
  source?: string;
}

/** ProfileChanged is the profile after a change. */
export interface ProfileChanged {
  profile: Profile;
  conflicts: ProfileConflict[];
}

/** ProfileView is what somebody sees of a profile. */
export interface ProfileView {
  /** groups that the other one is in. */
  groups: string[];
  fields: ProfileField[];
  /** sends: it goes to them by itself when a session opens. */
  sends: boolean;
}

/** ProfileSend sends one's profile by hand. */
export interface ProfileSend {
  /** to members; without it, all other parties. */
  to?: MemberID[];
  /** fields by their ids; without it, what the other one sees of it anyway. */
  fields?: string[];
}

/** ProfileSent says to how many devices something was sent. */
export interface ProfileSent {
  devices: number;
  fields: number;
  /** shown is how many fields the receivers may see, whether they were sent now or before. */
  shown: number;
}

/** ProfileHeld says what a device holds of a profile that was sent in the session. */
export interface ProfileHeld {
  owner: string;
  have: FieldVersion[];
}

/** StoredOverlay is an overlay in the server's store. */
export interface StoredOverlay {
  name: string;
  draft: OverlayDraft;
  /** live is the version in use; 0: none. */
  live: number;
  versions: OverlayVersion[];
  changed: Time;
  /** secret that signs requests to the draft's URL, once: when it is made. */
  secret?: string;
}

/** StoredOverlayList lists stored overlays. */
export interface StoredOverlayList {
  overlays: StoredOverlay[];
}

/** OverlayRollback makes an earlier version the live one. */
export interface OverlayRollback {
  /** A version of the list; 0: none is live */
  version: number;
}

/** Agent is a person who answers a provider's calls. */
export interface Agent {
  id: string;
  /** As callers see it */
  name: string;
  /** number that callers reach: the provider's, with an extension, or the agent's own. */
  number: PhoneNumber;
  extension?: string;
  skills: string[];
  queue?: string;
  /** supervisor sees what the provider's other agents are doing. */
  supervisor: boolean;
  /** may_look: this supervisor may look into the others' running calls, and take them over. */
  may_look: boolean;
  created: Time;
  state: AgentState;
  reason?: string;
  /** When the state began */
  since: Time;
  /** sessions that the agent is in; for supervisors, and whoever looks after the agents. */
  sessions?: SessionID[];
  /** signed_in_until is when the agent must sign in again; left out: the agent is not signed in. */
  signed_in_until?: Time;
}

/** AgentList lists agents. */
export interface AgentList {
  agents: Agent[];
}

/** AgentSignIn makes a browser an agent's device. */
export interface AgentSignIn {
  /** Code that serves once, or the agent's key */
  code: string;
  /** Public key that the device has made for itself */
  key: JWK;
  /** assertion by the device's key, as in EnrolConfirm, over the code's first part. */
  assertion: string;
  /** Software and version */
  client?: string;
}

/** AgentSignedIn is the agent, and the device that the browser is now. */
export interface AgentSignedIn {
  agent: Agent;
  device: DeviceInfo;
}

/** AgentStateRequest says what the agent is doing. */
export interface AgentStateRequest {
  state: AgentState;
  /** One of the provider's, for busy, wrap_up and away */
  reason?: string;
}

/** AgentSettings are a provider's own, for all agents of one tenant. */
export interface AgentSettings {
  /** reasons that agents can give for being busy, in wrap-up or away. */
  reasons: string[];
  /** wrap_up_codes say how a conversation came out. */
  wrap_up_codes: WrapUpCode[];
  /** retention_days that conversations are kept. */
  retention_days: number;
}

/** AgentConversation is a conversation, and who the customer is while the session lasts. */
export interface AgentConversation extends Conversation {
  /** While the session lasts */
  party?: Customer;
}

/** ConversationList is a page of conversations, the newest first. */
export interface ConversationList {
  conversations: Conversation[];
  /** next is where the next page begins; empty: there is none. */
  next?: string;
}

/** NoteRequest writes a note. */
export interface NoteRequest {
  /** id of the caller's choosing, so that it can be repeated. */
  id: string;
  text: string;
}

/** WrapUpRequest says how a conversation came out. */
export interface WrapUpRequest {
  code: string;
}

/** TransferRequest hands a session to another agent. */
export interface TransferRequest {
  /** Id of the agent */
  to: string;
}

/** LookedInto is a running session as the agent has it who is in it. */
export interface LookedInto {
  conversation: Conversation;
  /** session as the agent sees it: you is the agent. */
  session: SessionState;
  /** After the sequence that was asked for; fewer than 200: there are no more */
  messages: Envelope[];
}

/** PlaceAbility is what a device can do about places, in a session. */
export interface PlaceAbility {
  /** provide: it can say where it is, if its user agrees. */
  provide: boolean;
  show: PlaceShow;
  /** pidf_lo: it wants places as PIDF-LO too, as networks and emergency services do. */
  pidf_lo?: boolean;
}

/** PlaceCheckRequest asks what another member's device can do. */
export interface PlaceCheckRequest {
  to: MemberID;
}

/** PlaceAskRequest asks for another member's place. */
export interface PlaceAskRequest {
  to: MemberID;
  /** check first, in the same step: a device that cannot is not asked. */
  check?: boolean;
  /** minutes for which it would be followed; zero: only once. */
  minutes?: number;
}

/** PlaceAskedFor says whether the other was asked. */
export interface PlaceAskedFor {
  /** request is what the answer will name; empty: the device cannot. */
  request?: string;
  /** ability as the check found it. */
  ability: PlaceAbility;
}

/** PlaceAnswer answers who asks for a place. */
export interface PlaceAnswer {
  request: string;
  consent: Consent;
  /** minutes, for live. */
  minutes?: number;
  /** coarse: within some two kilometres only. */
  coarse?: boolean;
}

/** PlaceShare shares the caller's place, at its user's touch, or as an answer. */
export interface PlaceShare {
  /** place to share; or URI, PIDFLO, or Network. */
  place?: Place;
  /** uri is the place as a geo: URI (RFC 5870), instead of Place. */
  uri?: string;
  /** pidf_lo is the place as a PIDF-LO document (RFC 4119, 5491), instead of Place. */
  pidf_lo?: string;
  /** network: the place that the network has reported of the caller's party for this call. */
  network?: boolean;
  /** request that it answers; it goes to whoever asked. */
  request?: string;
  /** to members; without it, all others. Not with Request. */
  to?: MemberID[];
  /** minutes for which it is shared live, from the first time on; zero: this once. */
  minutes?: number;
  /** coarse: within some two kilometres only. */
  coarse?: boolean;
}

/** PlaceShared says to whom a place went. */
export interface PlaceShared {
  to: MemberID[];
  /** until it is shared live, unless the call ends before. */
  until?: Time;
}

/** PlaceRules are what a party has settled about its place once and for all. */
export interface PlaceRules {
  /** rules, of which the first that fits holds. */
  rules: PlaceRule[];
  /** never asked again are these. */
  never: Identity[];
}

/** PlaceRulesHere lists them for a session. */
export interface PlaceRulesHere {
  rules: PlaceRuleFor[];
}

/** ProfileMissing is what a device turned out not to hold. */
export interface ProfileMissing {
  fields: ProfileField[];
}

/** ProfileLedger lists who has what. */
export interface ProfileLedger {
  receipts: ProfileReceipt[];
}

/** Contact is an entry of a party's address book here. */
export interface Contact {
  id: string;
  fields: ProfileField[];
  /** identities that belong to this contact: any of them may be reported (A11). */
  identities: Identity[];
  /** owner is whose profile it was kept from, as in ProfileMessage. */
  owner?: string;
  changed: Time;
}

/** ContactList lists an address book. */
export interface ContactList {
  contacts: Contact[];
}

/** ContactKeep keeps a profile that was received. */
export interface ContactKeep {
  /** As in the message tandem.profile */
  owner: string;
}

/** ContactRule is what a party wants of, and for, one other party. */
export interface ContactRule {
  identity: Identity;
  /** send one's own profile to them; empty: as the profile says. */
  send?: SendRule;
  /** keep theirs; empty: as the profile says. */
  keep?: KeepRule;
}

/** ContactRuleList lists them. */
export interface ContactRuleList {
  rules: ContactRule[];
}

/** BlockList lists whom a party wants no sessions with, as far as it knows them. */
export interface BlockList {
  blocked: Identity[];
}

/** Overlay is one screen of a provider's. */
export interface Overlay {
  /** version of the document's form: 1. */
  version: number;
  /** id names the overlay, so that a later one replaces it. */
  id: string;
  /** language that is shown when the user's own is missing; each text has it. BCP 47, in lower case. */
  language: string;
  /** opacity of the overlay over the call screen, in per cent; absent: 85. */
  opacity?: number;
  /** columns of the grid; absent: 4. The grid's rows are as many as the regions need. */
  columns?: number;
  /** regions in reading order, which is also that of the keyboard. */
  regions: OverlayRegion[];
}

/** OverlayFill fills a template. */
export interface OverlayFill {
  template: string;
  /** values of the parameters, by their ids; seats take several, all others one. */
  values?: Record<string, string[]>;
}

/** OverlayFilled is a template that has been filled and checked. */
export interface OverlayFilled {
  document: unknown;
}

/** OverlaySend sends an overlay into a session: a template, or a whole document. */
export interface OverlaySend {
  /** id of the request: the same id is sent once. */
  id: RequestID;
  /** Members addressed; none: all others */
  to?: MemberID[];
  template?: string;
  values?: Record<string, string[]>;
  /** Instead of a template */
  document?: unknown;
}

/** OverlaySent says that an overlay is stored in the session. */
export interface OverlaySent extends Sent {
  /** overlay is the document's id. */
  overlay: string;
}

/** OverlayShow is a device's word that it shows an overlay, or not. */
export interface OverlayShow {
  state: string;
  /** A code, where it failed */
  reason?: string;
}

/** OverlayAnswer is a device's word of what came of an action. */
export interface OverlayAnswer extends OverlayActionAnswer {
  /** id of the request: the same id counts once. */
  id: RequestID;
}

/** OverlayTemplateList lists templates. */
export interface OverlayTemplateList {
  templates: OverlayTemplate[];
}

/** Page is what the server's own pages need to know before they are a device. */
export interface Page {
  version: string;
  /** region (ISO 3166-1) in which national numbers are read, if the server has one. */
  region?: string;
  /** maps that the operator has, and its mapping service; without maps, the page draws the outline of the world. */
  maps?: PageMaps;
  /** try_it lists the phones that the first page shows side by side: on a development server on this machine only. */
  try_it?: TryPhone[];
  /** try_at is the origin of the page that shows them. */
  try_at?: string;
  /** phone is the one of them whose page this is. */
  phone?: TryPhone;
}

/** TryPhone is a phone of a trial without real numbers. */
export interface TryPhone {
  name: string;
  /** number is fictional. */
  number: PhoneNumber;
  /** origin of its page, where it is a device of its own. */
  origin: string;
}

/** TrialCode is the one-time code that was made for the number of a TryPhone. */
export interface TrialCode {
  code: string;
}

/** TokenRequest exchanges a signed challenge for a bearer token. */
export interface TokenRequest {
  /** Nonce from /v1/challenge */
  nonce: string;
  /** assertion as in Hello, over the nonce. */
  assertion: string;
}

/** Token is a bearer token of a device, for HTTP. */
export interface Token {
  access_token: string;
  token_type: string;
  expires_in: number;
}

/** CallList lists calls. */
export interface CallList {
  calls: CallInfo[];
}

/** SessionList lists sessions. */
export interface SessionList {
  sessions: SessionState[];
}

/** MessageList is a page of a session's messages. */
export interface MessageList {
  messages: Envelope[];
  epoch: number;
  /** head is the sequence of the newest message; there is more when it is above the last one here. */
  head: number;
}

/** SendRequest sends a message into a session over HTTP. */
export interface SendRequest {
  /** Chosen by the client; repeating it is harmless */
  id: RequestID;
  kind: string;
  /** Members addressed; empty: all others */
  to?: MemberID[];
  body: unknown;
}

/** Sent says that a message is stored. */
export interface Sent {
  id: RequestID;
  seq: number;
  epoch: number;
}

/** Push is what a device was woken for: the answer to GET /v1/pushes/{id}. */
export interface Push {
  id: PushID;
  kind: PushKind;
  /** until is when it lapses. */
  until: Time;
  /** withdrawn says why it is no more ("answered", "call_over", "joined", "expired", "refused", "other_call", "closed"): take the notification off the screen. */
  withdrawn?: string;
  /** unasked, for invite: the device's user lets it join without being asked. */
  unasked?: boolean;
  /** invite, for invite. */
  invite?: Invite;
  /** words, for words. */
  words?: Words;
  /** session, for session and data. */
  session?: SessionID;
  /** notice, for notice. */
  notice?: NoticeBody;
}

/** PushAnswer answers an invitation from the notification itself. */
export interface PushAnswer {
  accept: boolean;
}

/** PushJoin has a device join the session of the invitation that woke it, without asking its user, who has set it so (B14). */
export interface PushJoin {
  /** report is the device's own evidence: its telephone is in a call at this moment. Where the telephone does not tell who the other is, other is left out. */
  report: Report;
}

/** PushKey is the server's public key for Web Push (RFC 8292): what a page subscribes with. */
export interface PushKey {
  /** applicationServerKey: an uncompressed point on P-256, base64url */
  key: string;
}

/** Reach is how a party prefers to be invited: in this order, each way some time after the one before it has brought no answer. Devices that are connected are asked at once. */
export interface Reach {
  ways: Way[];
}

/** GuestRequest opens the link that a party without a client got by text message (D4). */
export interface GuestRequest {
  /** link is the identifier at the link's end: what follows /g/. */
  link: PushID;
  /** Public key that the page has made for itself */
  key: JWK;
  /** assertion proves possession of the key: as in EnrolConfirm, over the link's identifier. */
  assertion: string;
  /** Name shown to the other party */
  name?: string;
  /** Software and version */
  client?: string;
}

/** LinkInstalled says that the device was installed by way of a link (D4). */
export interface LinkInstalled {
  link: PushID;
}

/** PartyDetails are the call party details that a report carries (SPEC "Words", A12): send both numbers when they are known. */
export interface PartyDetails {
  /** own names the reporting side's party. Zero where the reporter does not know it (A10); a device may leave it out, since the server knows the device's party. */
  own?: Identity;
  /** other names the other side; zero when withheld or unknown (A10). */
  other?: Identity;
  /** withheld: the own identity is withheld from the other side. It serves to match, and the other side is never shown it. */
  withheld?: boolean;
  /** other_withheld: the other side's identity is withheld from the own one, and is named only by a reporter who knows both. */
  other_withheld?: boolean;
  /** extension of the own party behind a shared number, e.g. an agent's (A7). */
  extension?: string;
  /** other_extension is the extension that was dialled or reached, where it is known. */
  other_extension?: string;
  /** dialled is whom the caller dialled, where the call was diverted from there to another one (A8). It serves to match only, counts only from a network element or provider, and needs the direction. */
  dialled?: Identity;
  /** conference_id identifies the conference that the call is in (K1). */
  conference_id?: string;
  /** direction as the own party sees it; left out if unknown. */
  direction?: Direction;
  /** state of the leg. */
  state: State;
  /** ref refers to the call. */
  ref?: Ref;
}

/** Place is a GeoJSON Feature (RFC 7946 3.2) with a point. */
export interface Place {
  /** type is "Feature". */
  type: string;
  /** geometry is the point. */
  geometry: PlacePoint;
  /** properties of the measurement. */
  properties: PlaceProperties;
}

/** Names a party: a tel:, sip:, mailto:, user:, acct: or id: URI. The server writes the canonical form, so that two that are equal name the same; it reads a number as people write it, too. */
export type Identity = string;

/** InvitationID names an invitation to a session. */
export type InvitationID = string;

/** DeviceID names a device for ever; only its own party learns it. */
export type DeviceID = string;

/** Limits are told to each device in the welcome. docs/reference/problems.md has the table. */
export interface Limits {
  /** frame_bytes is the largest frame, in bytes. */
  frame_bytes: number;
  /** messages_per_s a device may send, on average. */
  messages_per_s: number;
  /** message_burst is how many it may send at once. */
  message_burst: number;
  /** members of a session, at most. */
  members: number;
  /** file_bytes is the largest file, in bytes. */
  file_bytes: number;
  /** log_entries is the most messages that one session keeps. */
  log_entries: number;
  /** report_ttl_s is the longest time a report stands without repetition. */
  report_ttl_s: number;
  /** linger_s a session stays after the call. */
  linger_s: number;
  /** linger_max_s a session stays after the call at most, with extensions. */
  linger_max_s: number;
}

/** FieldError is one fault in a request. */
export interface FieldError {
  /** location of the field, e.g. "body.number". */
  location: string;
  /** message says what is wrong with it. */
  message: string;
}

/** Phase of a data session. */
export type Phase = "in_call" | "after_call" | "closed";

/** Member is a device in a session, as the others see it. */
export interface Member {
  /** id within this session. */
  id: MemberID;
  /** side tells which members belong to the same party: equal numbers, same party. */
  side: number;
  /** identity of the party; zero where it was withheld in the call. */
  identity?: Identity;
  /** name that the device chose to show. */
  name?: string;
  /** left: no longer in the session. */
  left?: boolean;
}

/** FileID names a stored file. */
export type FileID = string;

/** ProfileField is one field of a profile. It has its own version, so that only what is new travels. */
export interface ProfileField {
  /** id tells it from the profile's other fields, and stays when the value changes. */
  id: string;
  /** name is the vCard property, in lower case: fn, org, email, tel, impp, bday, adr, url, photo, x-…. */
  name: string;
  /** value as text. Of adr, org and n it is the vCard's own form, with semicolons; of photo it is empty. */
  value?: string;
  /** types such as home, work, cell. */
  types?: string[];
  /** picture, of a photo. */
  picture?: ProfilePicture;
  /** version grows whenever the field changes. The server sets it. */
  version?: number;
  /** proof says how the server knows that a number or e-mail address is the party's; empty: it only says so. */
  proof?: string;
  /** proved is when that was; after ProofStaleDays it is shown as old. */
  proved?: Time;
}

/** FieldVersion says that a field is there in a version. */
export interface FieldVersion {
  /** id of the field. */
  id: string;
  /** version of the field. */
  version: number;
}

/** KeepRule says what becomes of a profile that somebody else sends. */
export type KeepRule = "ask" | "once" | "always" | "never";

/** Consent is what somebody who is asked for a place says. */
export type Consent = "once" | "call" | "live" | "no" | "never";

/** Answer is what a device says came of one action of a region (SPEC I6). Which fields there are depends on the action's type. */
export interface OverlayActionAnswer {
  /** region is the region's id. */
  region: string;
  /** action is its place among the region's actions, from 0. */
  action: number;
  /** type of that action. */
  type: OverlayActionType;
  /** outcome is done, failed or cancelled. */
  outcome: OverlayOutcome;
  /** reason of failed and cancelled: a code such as not_available. */
  reason?: string;
  /** value of choose and message, as the overlay has it. */
  value?: string;
  /** answers of fill_in, by the fields' ids. */
  answers?: Record<string, string[]>;
  /** address to which by_email (addr-spec of RFC 5322) or by_text (E.164) is to go. */
  address?: string;
}

/** OverlayPayment is what came of a payment. */
export interface OverlayPayment {
  /** id of the payment. */
  id: PaymentID;
  /** item that was to be paid, as the overlay has it. */
  item: string;
  /** amount as the overlay has it. */
  amount: OverlayAmount;
  /** reference by which the payment server knows what was paid. */
  reference?: string;
}

/** JWK is a device's public key (RFC 7517): P-256 for ES256. */
export interface JWK {
  /** Key type */
  kty: string;
  /** Curve */
  crv: string;
  /** Coordinate, base64url without padding */
  x: string;
  /** Coordinate, base64url without padding */
  y: string;
}

/** App names the application on a device, for push notifications (B7, B16). */
export interface PushApp {
  /** platform: apns, fcm or webpush. */
  platform: string;
  /** id is the application id or push token that the platform gave. */
  id: string;
}

/** Proved is an identity of a party. */
export interface Proved {
  identity: Identity;
  /** proof: one_time_code, network, sim or operator. */
  proof: string;
}

/** Binding is the proof that a device has a number. */
export interface Binding {
  number: PhoneNumber;
  /** one_time_code, network, sim, operator or coupled */
  kind: string;
  proved: Time;
  /** vouched is how whoever vouches for a coupled device has proved the number. */
  vouched?: string;
  expires: Time;
  /** for_call: it carries data beside the one call whose report named it. */
  for_call?: boolean;
}

/** ICEServer is an RTCIceServer (W3C WebRTC 4.2.2). */
export interface ICEServer {
  urls: string[];
  username?: string;
  credential?: string;
}

/** CouplingKind says how long a coupling lasts. */
export type CouplingKind = "permanent" | "temporary" | "call";

/** A telephone number in E.164 form: +442079460001. */
export type PhoneNumber = string;

/** Coupling of a telephone and a device that carries data for it. */
export interface Coupling {
  id: string;
  /** Of the telephone */
  number: PhoneNumber;
  /** The device that carries data for it */
  device: DeviceID;
  /** Of the device */
  name?: string;
  /** key of the device: whoever meets it over a local link can tell that it is the one. */
  key?: JWK;
  kind: CouplingKind;
  /** code, confirmed, installer, operator, keyed or report */
  made: CouplingMade;
  /** The proof behind it: one_time_code, network, sim or operator */
  vouched: string;
  created: Time;
  /** until it ends at the latest. */
  until: Time;
  /** expires, of a temporary coupling: unless the two are near each other by then, it lapses. Of one for a call: unless the call's report is repeated by then, it ends. */
  expires?: Time;
  /** apart: a temporary coupling that has lapsed; nearness brings it back. */
  apart?: boolean;
}

/** PartyMember is one of a party's devices, as the party sees it. */
export interface PartyMember {
  device: DeviceID;
  name?: string;
  /** you: the device that asks. */
  you?: boolean;
  bindings: Binding[];
  /** What it does when a session opens: join, told or none */
  session: SessionChoice;
  /** The kinds of data that it gets of what is sent to all; left out: every kind */
  gets?: DataKind[];
}

/** SessionChoice says what a party wants one of its devices to do when a session opens. */
export type SessionChoice = "join" | "told" | "none";

/** DataKind is a kind of data as a party tells its devices apart by. */
export type DataKind = string;

/** PaymentID names a payment within its session. */
export type PaymentID = string;

/** Amount of money. */
export interface OverlayAmount {
  /** minor units: cents for EUR, yen for JPY. */
  minor: number;
  /** currency by ISO 4217. */
  currency: string;
}

/** PaymentState is how far a payment is. */
export type PaymentState = "open" | "processing" | "paid" | "failed" | "cancelled";

/** ProfileGroup is a person or group that sees something else than the others (G7). */
export interface ProfileGroup {
  /** name: family, work, customers. */
  name: string;
  /** members are the identities in it. */
  members: Identity[];
  /** adds: its fields come on top of the general ones, not in their place. */
  adds?: boolean;
  /** fields by their ids. */
  fields: string[];
}

/** SendRule says when a profile goes to others by itself. */
export type SendRule = "always" | "once" | "never";

/** ProfileSource is a network address at which a profile lives (G2): a vCard, jCard, page with an hCard, or JSON. What stands there takes the place of the profile's fields with the same ids. */
export interface ProfileSource {
  url: string;
  /** read is when the server read it last; zero: not yet. */
  read?: Time;
  /** error says why that gave nothing. */
  error?: string;
}

/** ProfileConflict is a field that was changed on both sides. */
export interface ProfileConflict {
  id: string;
  /** server is what holds; without it, the field was removed. */
  server?: ProfileField;
  /** yours is what was not taken; without it, the field was to be removed. */
  yours?: ProfileField;
}

/** OverlayDraft is what an overlay is published from. */
export interface OverlayDraft {
  /** title is what agents see, by language. */
  title: Record<string, string>;
  /** numbers that it belongs to: a session's side that is one of them is the provider's. */
  numbers: string[];
  /** document is the overlay, with {{parameters}} in its texts; absent: all of it comes from URL. */
  document?: unknown;
  /** parameters of the document. */
  parameters?: OverlayParameter[];
  /** when it is sent without being asked for; absent: only an agent sends it. */
  when?: OverlayWhen;
  /** url of the provider's own server, which is asked for values or for the whole overlay. */
  url?: string;
}

/** OverlayVersion is a published state of an overlay. */
export interface OverlayVersion {
  version: number;
  at: Time;
}

/** AgentState is what an agent is doing. */
export type AgentState = string;

/** WrapUpCode says how a conversation came out. */
export interface WrapUpCode {
  /** Letters, digits, hyphens and underscores */
  code: string;
  text: string;
}

/** Conversation is what an agent's side keeps of a session. */
export interface Conversation {
  session: SessionID;
  /** Of the provider */
  number: PhoneNumber;
  /** customer as the call showed it; left out where it was withheld. */
  customer?: Identity;
  opened: Time;
  call_over?: Time;
  closed?: Time;
  /** stints are who had it when, in their order. */
  stints: Stint[];
  notes: AgentNote[];
  wrap_up?: WrapUp;
  /** looks of supervisors into it, in their order. */
  looks: Look[];
  /** until it is kept. */
  until: Time;
}

/** Customer is what is known of who calls an agent. */
export interface Customer {
  /** Left out where it was withheld */
  identity?: Identity;
  /** call says why it is believed that the customer is in the call: passport, trusted, observed; typed and accepted are only somebody's word. */
  call?: string;
  /** proofs of the number, of the customer's devices in the session. */
  proofs: string[];
  /** That the customer's device shows; a claim */
  name?: string;
}

/** PlaceShow says how a device can show a place. */
export type PlaceShow = "map" | "picture" | "link" | "none";

/** PlaceRule lets a party's place out without a question each time (SPEC F3). Numbers that a call withholds are under no rule. */
export interface PlaceRule {
  /** group or Identity: with whom. */
  group?: PlaceGroup;
  identity?: Identity;
  /** consent that holds when they ask: "call" or "live". */
  consent: Consent;
  /** minutes, for live. */
  minutes?: number;
  /** coarse: within some two kilometres only. */
  coarse?: boolean;
  /** unasked: it is shared by itself when a session opens and the other's device can show it. */
  unasked?: boolean;
}

/** PlaceRuleFor says which rule holds for another member of a session. */
export interface PlaceRuleFor {
  member: MemberID;
  rule: PlaceRule;
}

/** ProfileReceipt is an entry of the ledger: who has which field in which version (G4). */
export interface ProfileReceipt {
  /** to is the party that has it, as it showed itself. */
  to?: Identity;
  /** receiver names it also where it showed no identity. */
  receiver: string;
  /** device is one of its devices, under a name for this list. */
  device: string;
  field: string;
  name: string;
  version: number;
  sent: Time;
  /** confirmed is when the device said that it holds it. */
  confirmed?: Time;
  /** kept: it is in that party's address book here. */
  kept?: boolean;
  /** withdrawn is when the owner took it back. */
  withdrawn?: Time;
}

/** Region is a piece of the overlay: a button if it has actions. */
export interface OverlayRegion {
  /** id names the region within its overlay. */
  id: string;
  /** grid is its place in the grid, for screens of any size. A region has this or exact. */
  grid?: OverlayGrid;
  /** exact is its place in hundredths of a per cent. */
  exact?: OverlayExact;
  /** inside names the earlier region with a picture that exact refers to; absent: the screen. */
  inside?: string;
  /** text that is shown; with actions, what the button is called. */
  text?: Record<string, string>;
  /** picture or logo. */
  picture?: OverlayPicture;
  /** state: enabled if absent. */
  state?: OverlayState;
  /** display of a region that is new: steady if absent. */
  display?: OverlayDisplay;
  /** actions that a touch does, in this order. */
  actions?: OverlayAction[];
}

/** OverlayTemplate is a live overlay, as whoever may send it sees it. */
export interface OverlayTemplate {
  name: string;
  title: Record<string, string>;
  version: number;
  parameters: OverlayParameter[];
}

/** PageMaps say what the page's maps are made of. */
export interface PageMaps {
  /** tiles is the address of raster tiles of 256 pixels, with {z}, {x} and {y}; or there is a file. */
  tiles?: string;
  /** file of tiles is at this path (PMTiles). */
  file?: string;
  /** attribution to be shown, of either. */
  attribution?: string;
  /** link is the address of a mapping service, with {lat} and {lon}. */
  link?: string;
}

/** CallInfo is one call of the asking party, as the server's record shows it (B3). */
export interface CallInfo {
  other?: Identity;
  direction?: Direction;
  state: State;
  since: Time;
  session?: SessionID;
}

/** PushID is what a push notification carries, and all that it carries: whoever received the push returns it to learn what it is about, and may answer with it (A9, B7). It cannot be guessed and ends with its matter. */
export type PushID = string;

/** PushKind says what a device was woken for. */
export type PushKind = string;

/** Way is a way to reach a party that is not connected. */
export type Way = string;

/** Direction of a call leg, as its own party sees it. The zero value is "unknown". */
export type Direction = "outgoing" | "incoming";

/** State of a call leg. */
export type State = "ringing" | "active" | "held" | "ended";

/** Ref is a reference to a call leg: as much as the reporter knows. Any may be empty. */
export interface Ref {
  /** session_id is the SIP Session-ID (RFC 7989): the same on both sides. */
  session_id?: string;
  /** call_id is the SIP Call-ID: the same on both sides unless a B2BUA is between. */
  call_id?: string;
  /** local is the reporter's own reference; it means nothing to others. */
  local?: string;
}

/** PlacePoint is a GeoJSON Point (RFC 7946 3.1.2). */
export interface PlacePoint {
  /** type is "Point". */
  type: string;
  /** coordinates are longitude and latitude in degrees (WGS 84), and the altitude in metres if it is known. */
  coordinates: number[];
}

/** PlaceProperties say how a place was measured. */
export interface PlaceProperties {
  /** accuracy_m is the radius around the point, in metres; zero: not known. */
  accuracy_m?: number;
  /** speed_mps over ground, in metres a second. */
  speed_mps?: number;
  /** heading_deg in degrees clockwise from true north. */
  heading_deg?: number;
  /** time of the measurement. */
  time?: Time;
  /** address in words, where whoever says the place knows it. */
  address?: string;
}

/** ProfilePicture is a picture that the server keeps, to be fetched when it is not there yet. */
export interface ProfilePicture {
  /** path to fetch it from, by its owner and by devices that were sent it. */
  path: string;
  /** sha256 of the bytes, in hexadecimal. */
  sha256: string;
  /** type is the media type that the server recognised. */
  type: string;
  /** size in bytes. */
  size: number;
}

/** ActionType is what a touch does. There are no others. */
export type OverlayActionType = "buy" | "by_email" | "by_text" | "call_back" | "choose" | "dial" | "fill_in" | "message" | "open_page" | "pay" | "send_contact" | "send_file" | "send_location" | "send_photo";

/** Outcome is what came of an action. */
export type OverlayOutcome = "done" | "failed" | "cancelled";

/** CouplingMade says in which way a coupling was made. */
export type CouplingMade = string;

/** OverlayParameter is something that is filled into a template: for {{id}} in its document. */
export interface OverlayParameter extends OverlayField {
  /** Who gives the value; agent if absent */
  from?: string;
  /** of says what of the customer's is meant: "REGION.FIELD" of a form, "REGION" of what was chosen there or where it is to be sent, or "place", a geo URI (RFC 5870). */
  of?: string;
  /** default where nobody gives a value. */
  default?: string[];
  /** example with which the template is tried when it is published. */
  example?: string[];
}

/** OverlayWhen makes an overlay a predetermined one, which is sent when a session opens (I2). Each list that is empty means any. */
export interface OverlayWhen {
  /** Queues of the contact centre, as call reports name them */
  queues?: string[];
  /** Languages of the customer's device, BCP 47 */
  languages?: string[];
  /** mon, tue, wed, thu, fri, sat, sun */
  days?: string[];
  /** from and To are times of the day; To is excluded, and may be before From. */
  from?: string;
  /** Time of day, 17:30 */
  to?: string;
  /** zone of Days, From and To; empty: UTC. */
  zone?: string;
}

/** Stint is one agent's time in a conversation. */
export interface Stint {
  agent: string;
  name: string;
  from: Time;
  to?: Time;
  /** by is the agent who transferred the session to this one, or took it over; empty: it came with its call. */
  by?: string;
}

/** AgentNote is written by an agent; callers never see it. */
export interface AgentNote {
  id: string;
  agent: string;
  name: string;
  at: Time;
  text: string;
}

/** WrapUp is how a conversation came out. */
export interface WrapUp {
  code: string;
  agent: string;
  at: Time;
}

/** Look is a supervisor's, into another agent's running session. */
export interface Look {
  agent: string;
  name: string;
  from: Time;
  /** In the future: it goes on */
  until: Time;
}

/** PlaceGroup names several parties at once in a rule. */
export type PlaceGroup = "emergency" | "providers" | "contacts";

/** Grid is a place in cells; the first column and row are 0. */
export interface OverlayGrid {
  column: number;
  row: number;
  /** width in columns; absent: 1. */
  width?: number;
  /** height in rows; absent: 1. */
  height?: number;
}

/** Exact is a place in hundredths of a per cent of what it lies in: 0 to 10000. */
export interface OverlayExact {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Picture is fetched from an https address. */
export interface OverlayPicture {
  url: string;
  /** alt says what is to be seen, for those who can't see it. */
  alt: Record<string, string>;
}

/** State is how a region answers to a touch. */
export type OverlayState = "enabled" | "disabled" | "selected";

/** Display is how a new region draws the eye. Devices whose user wants reduced motion mark it without moving it. */
export type OverlayDisplay = "steady" | "flash" | "wobble";

/** Action is one thing that a touch does. Which fields there are depends on the type. */
export interface OverlayAction {
  type: OverlayActionType;
  /** url is the https page of open_page. */
  url?: string;
  /** value that choose and message send. */
  value?: string;
  /** item is the provider's name of what is paid, bought or received. */
  item?: string;
  /** number in international form (E.164) of call_back. */
  number?: string;
  /** keys of the telephone that dial presses; a comma is a pause. */
  keys?: string;
  /** amount to pay. */
  amount?: OverlayAmount;
  /** form of fill_in. */
  form?: OverlayForm;
}

/** Field is one question. */
export interface OverlayField {
  id: string;
  label: Record<string, string>;
  type: OverlayFieldType;
  /** required: it cannot be left empty. */
  required?: boolean;
  /** options of choice, seats and table. */
  options?: OverlayOption[];
  /** min of number. */
  min?: number;
  /** max of number; of line, in characters; of seats, how many. */
  max?: number;
  /** least and most are the first and the last date. */
  least?: string;
  most?: string;
}

/** Form is what a user fills in. */
export interface OverlayForm {
  /** fields in reading order. */
  fields: OverlayField[];
}

/** FieldType is what a field of a form takes. */
export type OverlayFieldType = "line" | "choice" | "seats" | "table" | "date" | "number";

/** Option can be chosen. */
export interface OverlayOption {
  value: string;
  label: Record<string, string>;
  /** taken: shown, and cannot be chosen. */
  taken?: boolean;
  /** exact is its place on the plan, for seats and table. */
  exact?: OverlayExact;
}

/** Names an error condition; see catalogue. */
export type ProblemCode =
  | "bad-frame"
  | "bad-identity"
  | "bad-number"
  | "bad-request"
  | "unauthenticated"
  | "bad-passport"
  | "binding-expired"
  | "forbidden"
  | "not-your-party"
  | "revoked"
  | "second-hand"
  | "wrong-code"
  | "wrong-words"
  | "not-a-member"
  | "not-found"
  | "method-not-allowed"
  | "conflict"
  | "coupling-pending"
  | "log-full"
  | "session-full"
  | "code-expired"
  | "session-closed"
  | "too-large"
  | "unsupported-type"
  | "too-many-requests"
  | "internal"
  | "code-not-sent"
  | "payment-server"
  | "draining"
  | "outcome-unknown"
  | "storage-full"
  | (string & {}); // or one that a newer server knows

/** What the catalogue says of a code. */
export interface Known {
  status: number;
  title: string;
  /** What a client or its user should do. */
  advice: string;
  /** The same request may succeed later. */
  retry: boolean;
}

/** The one table of problems, by code. */
export const catalogue: Readonly<Record<string, Known>> = {
  "bad-frame": { status: 400, title: "The frame is not a valid message", advice: "Compare it with the schema at /schemas/device_frame.json. Keys must be in lower case and appear once.", retry: false },
  "bad-identity": { status: 400, title: "Not an identity", advice: "Use tel:, sip:, mailto:, user:, acct: or id: URIs.", retry: false },
  "bad-number": { status: 400, title: "Not a telephone number", advice: "Write numbers in international form, +442079460001, or give a region for national ones.", retry: false },
  "bad-request": { status: 400, title: "The request is not valid", advice: "See detail and errors; the form is in /openapi.json.", retry: false },
  "unauthenticated": { status: 401, title: "Authentication is missing or no longer valid", advice: "Sign a fresh challenge with the device's key, or get a new token.", retry: false },
  "bad-passport": { status: 403, title: "A PASSporT does not prove this call", advice: "See detail. Send the Identity header fields of this very call, once, with its first report; or leave them out.", retry: false },
  "binding-expired": { status: 403, title: "The proof that this device has its number has expired", advice: "Enrol again with a new code; the device keeps its id.", retry: false },
  "forbidden": { status: 403, title: "These credentials do not allow this", advice: "Ask the operator for a token with the role or range that is needed.", retry: false },
  "not-your-party": { status: 403, title: "A device reports calls of its own party only", advice: "Leave out the own identity, or use one that this device has proved.", retry: false },
  "revoked": { status: 403, title: "This device's key has been revoked", advice: "Make a new key and enrol again.", retry: false },
  "second-hand": { status: 403, title: "A coupled device cannot vouch for another, or end what it is not part of", advice: "Do it at a device that has proved the number itself.", retry: false },
  "wrong-code": { status: 403, title: "The code is not right", advice: "Type the newest code as it stands. After three tries ask for a new one.", retry: false },
  "wrong-words": { status: 403, title: "These are not the words that the other side reads", advice: "Listen once more. After three tries the call cannot be joined this way.", retry: false },
  "not-a-member": { status: 404, title: "There is no such session for this device", advice: "List your sessions at /v1/sessions.", retry: false },
  "not-found": { status: 404, title: "There is no such thing here", advice: "Check the address or id. What belongs to others looks the same as what does not exist.", retry: false },
  "method-not-allowed": { status: 405, title: "This address does not take this method", advice: "See /openapi.json.", retry: false },
  "conflict": { status: 409, title: "It does not fit what is there now", advice: "Read the detail, and what is there now, before you repeat it.", retry: true },
  "coupling-pending": { status: 409, title: "Nobody has vouched for the device yet", advice: "Show its code; type the code at the phone, on a web page, or tell it to the operator. Then claim again.", retry: true },
  "log-full": { status: 409, title: "The session has as many messages as it may have", advice: "A new call opens a new session.", retry: false },
  "session-full": { status: 409, title: "The session has as many members as it may have", advice: "Let another device leave first.", retry: false },
  "code-expired": { status: 410, title: "The code is no longer valid", advice: "Ask for a new one.", retry: false },
  "session-closed": { status: 410, title: "The session is closed", advice: "A new call opens a new session.", retry: false },
  "too-large": { status: 413, title: "It is larger than the limit", advice: "The limits are in the welcome message and in docs/protocol.md.", retry: false },
  "unsupported-type": { status: 415, title: "This content type is not accepted", advice: "See /openapi.json.", retry: false },
  "too-many-requests": { status: 429, title: "Too many requests", advice: "Wait as long as retry_after_s says.", retry: true },
  "internal": { status: 500, title: "Something went wrong in the server", advice: "Try again; if it lasts, give the operator the id in detail: it is in the server's log.", retry: true },
  "code-not-sent": { status: 502, title: "The code could not be sent", advice: "Check the number or the address, and try again; if it lasts, tell the operator.", retry: true },
  "payment-server": { status: 502, title: "The payment server did not do it", advice: "Nothing was paid. Try again in a moment; if it lasts, tell whoever is to be paid: detail says why.", retry: true },
  "draining": { status: 503, title: "The server is going down for maintenance", advice: "Connect again; another node or the restarted one will answer.", retry: true },
  "outcome-unknown": { status: 504, title: "The outcome is unknown", advice: "Repeat the request with the same id: that is harmless.", retry: true },
  "storage-full": { status: 507, title: "The server's disk is nearly full", advice: "Nothing was stored. Try later; the operator has been warned.", retry: true },
};

/** What the protocol says of one close code. */
export interface CloseInfo {
  name: string;
  meaning: string;
  /** Whether a client should come back by itself: not, at once, or after a pause. */
  reconnect: "no" | "at once" | "after a pause";
}

/** The codes with which the server closes a connection (RFC 6455 7.4). */
export const closeCodes: Readonly<Record<number, CloseInfo>> = {
  4000: { name: "draining", meaning: "The node goes down; another one, or the restarted one, will answer.", reconnect: "at once" },
  4001: { name: "bad frame", meaning: "A frame came that no correct client sends.", reconnect: "no" },
  4003: { name: "not authentic", meaning: "The assertion did not hold.", reconnect: "no" },
  4004: { name: "revoked", meaning: "The device's credential was revoked: enrol again.", reconnect: "no" },
  4005: { name: "authentication timeout", meaning: "No hello came in time.", reconnect: "after a pause" },
  4006: { name: "too many connections", meaning: "The device, or its address, has too many connections.", reconnect: "after a pause" },
  4008: { name: "slow", meaning: "The client reads too slowly; a resume fills the gap.", reconnect: "at once" },
  4009: { name: "heartbeat", meaning: "Nothing was heard for longer than two heartbeats.", reconnect: "at once" },
  4010: { name: "rate", meaning: "Far above the rate limit.", reconnect: "after a pause" },
  4011: { name: "internal", meaning: "A fault in the server.", reconnect: "after a pause" },
};

/** The limits in force unless the operator configures others. */
export const defaultLimits: Limits = {"frame_bytes":65536,"messages_per_s":200,"message_burst":1000,"members":100,"file_bytes":536870912,"log_entries":100000,"report_ttl_s":120,"linger_s":600,"linger_max_s":3600};

/** How deep the arrays and objects of a body may be nested. */
export const maxDepth = 32;
/** After how many days the proof of a number or address is shown as old. */
export const proofStaleDays = 90;
/** The most members that one message may name. */
export const maxTo = 1000;
/** The longest identifier, in characters. */
export const maxID = 64;

/** The part of JSON Schema that the schemas of a device's frames use. */
export interface Schema {
  type?: "object" | "array" | "string" | "integer" | "number" | "boolean";
  properties?: Readonly<Record<string, Schema>>;
  required?: readonly string[];
  items?: Schema;
  enum?: readonly string[];
  pattern?: string;
  format?: "date-time";
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  minimum?: number;
  maximum?: number;
}

/** The fields of an envelope. */
export const envelopeFields: Readonly<Record<string, Schema>> = {
  type: {"maxLength":64,"type":"string"},
  id: {"pattern":"^[A-Za-z0-9_-]{1,64}$","type":"string"},
  fresh: {"type":"boolean"},
  session: {"pattern":"^[A-Za-z0-9_-]{1,64}$","type":"string"},
  seq: {"maximum":9007199254740991,"minimum":0,"type":"integer"},
  epoch: {"maximum":9007199254740991,"minimum":0,"type":"integer"},
  from: {"pattern":"^[A-Za-z0-9_-]{1,64}$","type":"string"},
  to: {"items":{"pattern":"^[A-Za-z0-9_-]{1,64}$","type":"string"},"maxItems":1000,"minItems":1,"type":"array"},
  kind: {"pattern":"^[a-z0-9._-]{1,64}$","type":"string"},
  time: {"format":"date-time","type":"string"},
  body: {},
};

/** Which fields each type of a device's frames has, and what its body is. */
export const deviceFrames: Readonly<Record<DeviceFrame["type"], { required: readonly string[]; optional: readonly string[]; body?: Schema }>> = {
  hello: { required: ["body"], optional: ["id"], body: {"properties":{"assertion":{"maxLength":4096,"minLength":1,"type":"string"},"client":{"maxLength":128,"type":"string"}},"required":["assertion"],"type":"object"} },
  report: { required: ["id","body"], optional: [], body: {"properties":{"at":{"format":"date-time","type":"string"},"conference_id":{"maxLength":128,"type":"string"},"coupled":{"items":{"type":"string"},"maxItems":4,"type":"array"},"dialled":{"maxLength":512,"type":"string"},"direction":{"enum":["outgoing","incoming"],"type":"string"},"extension":{"maxLength":128,"type":"string"},"other":{"maxLength":512,"type":"string"},"other_extension":{"maxLength":128,"type":"string"},"other_withheld":{"type":"boolean"},"own":{"maxLength":512,"type":"string"},"passports":{"items":{"type":"string"},"maxItems":4,"type":"array"},"pidf_lo":{"type":"string"},"place":{"properties":{"geometry":{"properties":{"coordinates":{"items":{"type":"number"},"type":"array"},"type":{"type":"string"}},"required":["type","coordinates"],"type":"object"},"properties":{"properties":{"accuracy_m":{"type":"number"},"address":{"type":"string"},"heading_deg":{"type":"number"},"speed_mps":{"type":"number"},"time":{"format":"date-time","type":"string"}},"type":"object"},"type":{"type":"string"}},"required":["type","geometry","properties"],"type":"object"},"profile":{"type":"string"},"queue":{"type":"string"},"ref":{"properties":{"call_id":{"maxLength":128,"type":"string"},"local":{"maxLength":128,"type":"string"},"session_id":{"maxLength":128,"type":"string"}},"type":"object"},"report_seq":{"maximum":9007199254740991,"minimum":0,"type":"integer"},"state":{"enum":["ringing","active","held","ended"],"type":"string"},"ttl_s":{"minimum":0,"type":"integer"},"typed":{"type":"boolean"},"withheld":{"type":"boolean"}},"required":["state"],"type":"object"} },
  ask: { required: ["id","body"], optional: [], body: {"properties":{"other":{"maxLength":512,"type":"string"}},"type":"object"} },
  send: { required: ["id","session","kind"], optional: ["fresh","to","body"] },
  signal: { required: ["session","kind"], optional: ["id","to","body"] },
  resume: { required: ["id","session"], optional: ["body"], body: {"properties":{"epoch":{"maximum":9007199254740991,"minimum":0,"type":"integer"},"seq":{"maximum":9007199254740991,"minimum":0,"type":"integer"}},"type":"object"} },
  answer: { required: ["id","body"], optional: [], body: {"properties":{"accept":{"type":"boolean"},"invitation":{"pattern":"^[A-Za-z0-9_-]{1,64}$","type":"string"}},"required":["invitation","accept"],"type":"object"} },
  confirm: { required: ["id","body"], optional: [], body: {"properties":{"invitation":{"pattern":"^[A-Za-z0-9_-]{1,64}$","type":"string"},"words":{"maxLength":128,"minLength":1,"type":"string"}},"required":["invitation","words"],"type":"object"} },
  extend: { required: ["id","session","body"], optional: [], body: {"properties":{"seconds":{"minimum":1,"type":"integer"}},"required":["seconds"],"type":"object"} },
  leave: { required: ["id","session"], optional: ["body"], body: {"properties":{"block":{"type":"boolean"},"device_only":{"type":"boolean"}},"type":"object"} },
  ping: { required: [], optional: ["id"] },
  pong: { required: [], optional: ["id"] },
};

package wire

import (
	"encoding/json"
	"time"

	"github.com/tandem-call/tandem/tel"
)

// Type says what an envelope is.
type Type string

// What a device sends. Which fields each type uses stands in [Types].
const (
	TypeHello   Type = "hello"   // body Hello: the first frame
	TypeReport  Type = "report"  // body Report: a call report
	TypeSend    Type = "send"    // session, kind, to, body: a message for other members
	TypeSignal  Type = "signal"  // session, kind, to, body: as send, but not stored and may be lost
	TypeResume  Type = "resume"  // session, body Resume: what was missed, please
	TypeAnswer  Type = "answer"  // body Answer: to an invitation
	TypeConfirm Type = "confirm" // body Confirm: the words heard in the call
	TypeExtend  Type = "extend"  // session, body Extend: keep the session longer
	TypeLeave   Type = "leave"   // session, body Leave
)

// What the server sends.
const (
	TypeChallenge Type = "challenge" // body Challenge
	TypeWelcome   Type = "welcome"   // body Welcome
	TypeAck       Type = "ack"       // id of the request, seq and body Ack: stored
	TypeError     Type = "error"     // id of the request if known, body Problem
	TypeMessage   Type = "message"   // session, seq, epoch, from, kind, body, id of the sender's request
	TypeSession   Type = "session"   // session, body SessionState
	TypeResumed   Type = "resumed"   // id, session, body Resumed
	TypeInvite    Type = "invite"    // body Invite
	TypeWithdrawn Type = "withdrawn" // body Withdrawn: an invitation is no more
	TypeWords     Type = "words"     // body Words: read these aloud, or type what you hear
)

// What both send.
const (
	TypePing Type = "ping" // answered by pong
	TypePong Type = "pong" // id of the ping
)

// Envelope is one frame. Which fields a type uses stands in Types; the server refuses
// others. The server writes every envelope anew and sets From, Seq, Epoch and Time
// itself; Body passes through as it came.
//
// Use [Decode], [DecodeServer] and [Envelope.Encode] rather than encoding/json: they are
// strict where it matters, and many times faster.
type Envelope struct {
	// Type of the frame; it decides which other fields there are.
	Type Type `json:"type"`
	// ID is chosen by the device for a request, and returned in the answer. A message
	// carries the id of its sender's request: a repetition has the same from and id.
	ID RequestID `json:"id,omitempty"`
	// Fresh: this is the first time that a device sends the message, under an id that it has just made. It
	// spares the server a look through the whole session for an earlier one. A repetition must not have it (docs/adr/0029).
	Fresh bool `json:"fresh,omitempty"`
	// Session that the frame belongs to.
	Session SessionID `json:"session,omitempty"`
	// Seq is the message's place in the session, from 1, without gaps for the session as
	// a whole: a member to whom a message was not addressed sees a gap. Below 2^53.
	Seq uint64 `json:"seq,omitempty"`
	// Epoch of Seq: a sequence number means one message within an epoch. Below 2^53.
	Epoch uint64 `json:"epoch,omitempty"`
	// From is the member who sent the message; set by the server.
	From MemberID `json:"from,omitempty"`
	// To lists the members addressed; left out for all others.
	To []MemberID `json:"to,omitempty"`
	// Kind of a message: one of Tandem's, or any other of 1 to 64 characters
	// a-z, 0-9, dot, underline, hyphen.
	Kind string `json:"kind,omitempty"`
	// Time at which the server took the message.
	Time time.Time `json:"time,omitzero"`
	// Body of the type or kind; passes through as it came.
	Body json.RawMessage `json:"body,omitempty"`
}

// Challenge opens the conversation: sign the nonce within the time given.
type Challenge struct {
	// Nonce to be signed.
	Nonce string `json:"nonce"`
	// TimeoutSeconds until the server closes the connection with CloseAuthTimeout.
	TimeoutSeconds int `json:"timeout_s"`
}

// Hello proves which device this is.
type Hello struct {
	// Assertion is a JWS in compact form, ES256 by the device's key, with the claims
	// sub (the device id), nonce (from the challenge), aud "tandem", iat, and exp at most
	// 5 minutes later.
	Assertion string `json:"assertion" jsonschema:"minLength=1,maxLength=4096"`
	// Client names the software, for the operator's statistics.
	Client string `json:"client,omitempty" jsonschema:"maxLength=128"`
}

// Welcome ends the authentication.
type Welcome struct {
	// Device that has been recognised.
	Device DeviceID `json:"device"`
	// HeartbeatSeconds is the longest silence either side may keep.
	HeartbeatSeconds int `json:"heartbeat_s"`
	// Time by the server's clock.
	Time time.Time `json:"time"`
	// Sessions in which the device is a member and which are not closed.
	Sessions []SessionState `json:"sessions,omitempty"`
	// Limits in force for this device.
	Limits Limits `json:"limits"`
}

// Report is a call report: one side's statement that a call is up, changed or over.
type Report struct {
	tel.PartyDetails
	// Seq orders the reports of one reporter about one call: a lower one that arrives
	// later is ignored. Zero: in the order of arrival.
	Seq uint64 `json:"report_seq,omitempty"`
	// At is when the state began, by the reporter's clock; zero: now.
	At time.Time `json:"at,omitzero"`
	// TTLSeconds: without a repetition within this time the leg's state counts as
	// unknown. Zero: the server's default (see Limits).
	TTLSeconds int `json:"ttl_s,omitempty"`
	// Queue of the contact centre that the call came in.
	Queue string `json:"queue,omitempty"`
	// Typed: a person says so, not the telephone (A2).
	Typed bool `json:"typed,omitempty"`
	// Passports are the values of the call's SIP Identity header fields (RFC 8224), with which
	// the networks vouch for it; the call's first report may carry them. One in compact form
	// needs at to be the time of the request's Date.
	Passports []string `json:"passports,omitempty" jsonschema:"maxItems=4"`
	// Coupled are the addresses of devices that are to carry data for the own party in this call
	// (B8): the id of one of the party's devices, or of a device's own request to be coupled
	// (CouplingPending.ID), which it has handed over. Repeat them with the report.
	Coupled []string `json:"coupled,omitempty" jsonschema:"maxItems=4"`
	// Profile is the address at which the reporting device's own profile lives (G2): the server
	// reads it there from now on. As source in ProfileChange.
	Profile string `json:"profile,omitempty"`
	// Place of the own party as the network knows it (F), or the same in PIDFLO; from elements and
	// providers only. It waits for the party's consent, and is forgotten with the call.
	Place *Place `json:"place,omitempty"`
	// PIDFLO is the place as a PIDF-LO document (RFC 4119, 5491), which must say that it may be passed
	// on (retransmission-allowed).
	PIDFLO string `json:"pidf_lo,omitempty" maxLength:"65536"`
}

// Ack says that a request was carried out and stored.
type Ack struct {
	// Session that a report belongs to at this moment, if it has one. "No match yet",
	// "ambiguous" and "no such call" are one answer: none.
	Session SessionID `json:"session,omitempty"`
}

// Resume asks for the messages after a place in the session's log.
type Resume struct {
	// Epoch of the last message received; left out for everything.
	Epoch uint64 `json:"epoch,omitempty"`
	// Seq of the last message received.
	Seq uint64 `json:"seq,omitempty"`
}

// Resumed follows the last missed message.
type Resumed struct {
	// Recovered: everything after the given place has been sent, nothing was lost.
	Recovered bool `json:"recovered"`
	// RewindTo: messages of the given epoch after this sequence were never stored; forget
	// them. Present only when less than the given sequence.
	RewindTo *uint64 `json:"rewind_to,omitempty"`
	// Epoch that is in force now.
	Epoch uint64 `json:"epoch"`
	// Head is the sequence of the session's last message.
	Head uint64 `json:"head"`
}

// Phase of a data session.
type Phase string

// Phases, in their order; a new call may bring after_call back to in_call.
const (
	InCall    Phase = "in_call"
	AfterCall Phase = "after_call" // the call is over; open until SessionState.Until (B6)
	Closed    Phase = "closed"
)

// SessionState is told to every member at each change.
type SessionState struct {
	// ID of the session.
	ID SessionID `json:"id"`
	// Phase in which it is.
	Phase Phase `json:"phase"`
	// You is the receiving device's own member id.
	You MemberID `json:"you,omitempty"`
	// Was are the member ids that the receiving device had before, where it was let go and came
	// back: what they sent is its own.
	Was []MemberID `json:"was,omitempty"`
	// Members of the session, also those that have left.
	Members []Member `json:"members"`
	// Opened is when the session was opened.
	Opened time.Time `json:"opened"`
	// Until is when an after_call session closes.
	Until time.Time `json:"until,omitzero"`
	// MayExtendTo is the latest time that Extend can reach; set after the call.
	MayExtendTo time.Time `json:"may_extend_to,omitzero"`
	// Reason for a closed session: "linger", "left", "operator".
	Reason string `json:"reason,omitempty"`
	// Epoch of the session's log.
	Epoch uint64 `json:"epoch,omitempty"`
	// Head is the sequence of the session's last message.
	Head uint64 `json:"head,omitempty"`
}

// Member is a device in a session, as the others see it.
type Member struct {
	// ID within this session.
	ID MemberID `json:"id"`
	// Side tells which members belong to the same party: equal numbers, same party.
	Side int `json:"side"`
	// Identity of the party; zero where it was withheld in the call.
	Identity tel.Identity `json:"identity,omitzero"`
	// Name that the device chose to show.
	Name string `json:"name,omitempty"`
	// Left: no longer in the session.
	Left bool `json:"left,omitempty"`
}

// Invite asks a device to join a session with the party it is speaking to (B2).
type Invite struct {
	// ID to answer with.
	ID InvitationID `json:"id"`
	// Claimant is the proved identity of the party that reported the call; none where it is
	// withheld.
	Claimant tel.Identity `json:"claimant,omitzero"`
	// Until is when the invitation lapses.
	Until time.Time `json:"until"`
}

// Answer to an invitation.
type Answer struct {
	// Invitation that is answered.
	Invitation InvitationID `json:"invitation"`
	// Accept or decline.
	Accept bool `json:"accept"`
}

// Withdrawn says that an invitation is no longer open.
type Withdrawn struct {
	// Invitation that is no more.
	Invitation InvitationID `json:"invitation"`
	// Reason: "answered" (on another device), "call_over", "joined", "expired", "refused" (wrong words),
	// "other_call" (the party speaks to somebody else now; a new one may follow).
	Reason string `json:"reason"`
}

// Words is the comparison by voice that partial details need (A10): one side reads,
// the other types.
type Words struct {
	// Invitation to answer or confirm.
	Invitation InvitationID `json:"invitation"`
	// Read these two words aloud in the call. Empty on the side that types.
	Read string `json:"read,omitempty"`
	// TriesLeft on the side that types.
	TriesLeft int `json:"tries_left,omitempty"`
	// Until is when the words lapse.
	Until time.Time `json:"until"`
}

// Confirm carries the words that were heard in the call.
type Confirm struct {
	// Invitation that came with the request for words.
	Invitation InvitationID `json:"invitation"`
	// Words as they were heard.
	Words string `json:"words" jsonschema:"minLength=1,maxLength=128"`
}

// Extend keeps an after_call session open, up to MayExtendTo.
type Extend struct {
	// Seconds from now.
	Seconds int `json:"seconds" jsonschema:"minimum=1"`
}

// Leave takes the device's party out of the session.
type Leave struct {
	// Block refuses further sessions with the other parties.
	Block bool `json:"block,omitempty"`
	// Device: only this device leaves, not the party's others.
	Device bool `json:"device_only,omitempty"`
}

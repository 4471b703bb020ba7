package wire

import (
	"encoding/json"
	"time"

	"github.com/tandem-call/tandem/tel"
)

// Type says what an envelope is.
type Type string

// What a device sends.
const (
	TypeHello   Type = "hello"   // body Hello: the first frame
	TypeReport  Type = "report"  // body Report: a call report
	TypeSend    Type = "send"    // kind, to, body: a message for other members
	TypeSignal  Type = "signal"  // kind, to, body: as send, but not stored and may be lost
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
	TypeMessage   Type = "message"   // session, seq, epoch, from, kind, body
	TypeSession   Type = "session"   // session, body SessionState
	TypeResumed   Type = "resumed"   // id, session, body Resumed
	TypeInvite    Type = "invite"    // body Invite
	TypeWithdrawn Type = "withdrawn" // body Withdrawn: an invitation is no more
	TypeWords     Type = "words"     // body Words: read these aloud, or type what you hear
)

// What both send.
const (
	TypePing Type = "ping"
	TypePong Type = "pong"
)

// Envelope is one frame. Which fields a type uses stands beside the type's constant;
// the server refuses others. The server writes every envelope anew and sets From,
// Seq, Epoch and Time itself; Body passes through as it came.
type Envelope struct {
	Type Type `json:"type"`
	// ID is chosen by the device for a request, and returned in the answer.
	ID      RequestID `json:"id,omitempty"`
	Session SessionID `json:"session,omitempty"`
	// Seq is the message's place in the session, from 1, without gaps for the session as
	// a whole: a member to whom a message was not addressed sees a gap.
	Seq uint64 `json:"seq,omitempty"`
	// Epoch of Seq, see Resume.
	Epoch uint64   `json:"epoch,omitempty"`
	From  MemberID `json:"from,omitempty"`
	// To lists the members addressed; empty means all others.
	To []MemberID `json:"to,omitempty"`
	// Kind of a message: see the list of kinds in kind.go.
	Kind string `json:"kind,omitempty"`
	// Time at which the server took the message.
	Time time.Time       `json:"time,omitzero"`
	Body json.RawMessage `json:"body,omitempty"`
}

// Challenge opens the conversation: sign the nonce within the time given.
type Challenge struct {
	Nonce string `json:"nonce"`
	// Seconds until the server closes the connection with CloseAuthTimeout.
	TimeoutSeconds int `json:"timeout_s"`
}

// Hello proves which device this is.
type Hello struct {
	// Assertion is a JWS in compact form, ES256 by the device's key, with the claims
	// sub (the device id), nonce (from the challenge), aud "tandem", iat, and exp at most
	// 5 minutes later.
	Assertion string `json:"assertion"`
	// Client names the software, for the operator's statistics.
	Client string `json:"client,omitempty"`
}

// Welcome ends the authentication.
type Welcome struct {
	Device DeviceID `json:"device"`
	// HeartbeatSeconds is the longest silence either side may keep.
	HeartbeatSeconds int       `json:"heartbeat_s"`
	Time             time.Time `json:"time"`
	// Sessions in which the device is a member and which are not closed.
	Sessions []SessionState `json:"sessions,omitempty"`
	Limits   Limits         `json:"limits"`
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
}

// Ack says that a request was carried out and stored.
type Ack struct {
	// Session that a report belongs to at this moment, if it has one. "No match yet",
	// "ambiguous" and "no such call" are one answer: none.
	Session SessionID `json:"session,omitempty"`
}

// Resume asks for the messages after a place in the session's log.
type Resume struct {
	Epoch uint64 `json:"epoch,omitempty"`
	Seq   uint64 `json:"seq,omitempty"`
}

// Resumed follows the last missed message.
type Resumed struct {
	// Recovered: everything after the given place has been sent, nothing was lost.
	Recovered bool `json:"recovered"`
	// RewindTo: messages of the given epoch after this sequence were never stored; forget
	// them. Present only when less than the given sequence.
	RewindTo *uint64 `json:"rewind_to,omitempty"`
	Epoch    uint64  `json:"epoch"`
	Head     uint64  `json:"head"`
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
	ID    SessionID `json:"id"`
	Phase Phase     `json:"phase"`
	// You is the receiving device's own member id.
	You     MemberID  `json:"you,omitempty"`
	Members []Member  `json:"members"`
	Opened  time.Time `json:"opened"`
	// Until is when an after_call session closes.
	Until time.Time `json:"until,omitzero"`
	// MayExtendTo is the latest time that Extend can reach; set after the call.
	MayExtendTo time.Time `json:"may_extend_to,omitzero"`
	// Reason for a closed session: "linger", "left", "operator".
	Reason string `json:"reason,omitempty"`
	Epoch  uint64 `json:"epoch,omitempty"`
	Head   uint64 `json:"head,omitempty"`
}

// Member is a device in a session, as the others see it.
type Member struct {
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
	ID InvitationID `json:"id"`
	// Claimant is the proved identity of the party that reported the call.
	Claimant tel.Identity `json:"claimant,omitzero"`
	Until    time.Time    `json:"until"`
}

// Answer to an invitation.
type Answer struct {
	Invitation InvitationID `json:"invitation"`
	Accept     bool         `json:"accept"`
}

// Withdrawn says that an invitation is no longer open.
type Withdrawn struct {
	Invitation InvitationID `json:"invitation"`
	// Reason: "answered" (on another device), "call_over", "joined".
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
	TriesLeft int       `json:"tries_left,omitempty"`
	Until     time.Time `json:"until"`
}

// Confirm carries the words that were heard in the call.
type Confirm struct {
	Invitation InvitationID `json:"invitation"`
	Words      string       `json:"words"`
}

// Extend keeps an after_call session open, up to MayExtendTo.
type Extend struct {
	Seconds int `json:"seconds"`
}

// Leave takes the device's party out of the session.
type Leave struct {
	// Block refuses further sessions with the other parties.
	Block bool `json:"block,omitempty"`
	// Device: only this device leaves, not the party's others.
	Device bool `json:"device_only,omitempty"`
}

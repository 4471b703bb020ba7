package wire

import (
	"time"

	"github.com/tandem-call/tandem/tel"
)

// An agent is a person of a provider who answers its calls (SPEC I1). Whoever looks after the
// provider's agents gives each a way to sign in; the agent's browser then is a device of the agent's
// own, which joins the sessions of the calls that a network element or the contact centre
// reports for the agent's number and extension:
//
//	provider                       server                      agent's browser
//	  | -- PUT /v1/agents/anna ----> |                               |
//	  | -- POST …/sign-ins --------> |                               |
//	  | <- {code, link} ------------ |   the link is passed on       |
//	  |                              | <- POST /v1/agent-sign-ins -- |  {code, key, assertion}
//	  |                              | --- device -----------------> |  for a shift; revocable
//	  | -- report {own, extension} > |                               |
//	  |                              | --- session {in_call} ------> |  the screen pops
//
// Limits of agents.
const (
	// MaxAgents of a tenant.
	MaxAgents = 10_000
	// MaxAgentCodes are the sign-in codes of one agent that can be valid at a time.
	MaxAgentCodes = 16
	// MaxNoteBytes of one note, and MaxNotes of one conversation.
	MaxNoteBytes = 4096
	MaxNotes     = 100
)

// AgentState is what an agent is doing.
type AgentState string

// States of an agent.
const (
	AgentSignedOut AgentState = "signed_out"
	AgentAvailable AgentState = "available" // takes calls
	AgentBusy      AgentState = "busy"      // in a call, or otherwise at work
	AgentWrapUp    AgentState = "wrap_up"   // writing up a call that is over
	AgentAway      AgentState = "away"
)

// Agent is a person who answers a provider's calls.
type Agent struct {
	ID   string `json:"id"`
	Name string `json:"name" doc:"As callers see it"`
	// Number that callers reach: the provider's, with an extension, or the agent's own.
	Number    tel.Number `json:"number"`
	Extension string     `json:"extension,omitempty"`
	Skills    []string   `json:"skills"`
	Queue     string     `json:"queue,omitempty"`
	// Supervisor sees what the provider's other agents are doing.
	Supervisor bool `json:"supervisor"`
	// MayLook: this supervisor may look into the others' running calls, and take them over.
	MayLook bool      `json:"may_look"`
	Created time.Time `json:"created"`

	State  AgentState `json:"state"`
	Reason string     `json:"reason,omitempty"`
	Since  time.Time  `json:"since" doc:"When the state began"`
	// Sessions that the agent is in; for supervisors, and whoever looks after the agents.
	Sessions []SessionID `json:"sessions,omitempty"`
	// SignedInUntil is when the agent must sign in again; left out: the agent is not signed in.
	SignedInUntil time.Time `json:"signed_in_until,omitzero"`
}

// AgentRequest adds an agent, or changes one.
type AgentRequest struct {
	Name       string   `json:"name" minLength:"1" maxLength:"64" doc:"As callers see it"`
	Number     string   `json:"number" minLength:"1" maxLength:"64" doc:"That callers reach: the provider's, with an extension, or the agent's own"`
	Extension  string   `json:"extension,omitempty" maxLength:"32" doc:"Letters, digits and hyphens; without one the number is the agent's alone"`
	Skills     []string `json:"skills,omitempty" maxItems:"32" doc:"What calls the agent can take, each of at most 32 letters, digits and hyphens"`
	Queue      string   `json:"queue,omitempty" maxLength:"64"`
	Supervisor bool     `json:"supervisor,omitempty" doc:"Sees what the provider's other agents are doing"`
	MayLook    bool     `json:"may_look,omitempty" doc:"A supervisor who may look into the others' running calls, and take them over"`
}

// AgentList lists agents.
type AgentList struct {
	Agents []Agent `json:"agents"`
}

// AgentCodeRequest asks for a way to sign in.
type AgentCodeRequest struct {
	// Reusable: a key that the agent keeps; otherwise a link that serves once.
	Reusable bool `json:"reusable,omitempty" doc:"A key that the agent keeps, rather than a link that serves once"`
	Hours    int  `json:"hours,omitempty" minimum:"0" maximum:"8760" doc:"How long it is valid; a day for a link, 90 days for a key, if left out"`
}

// AgentCode is a way to sign in. It is shown once.
type AgentCode struct {
	Code    string    `json:"code"`
	Link    string    `json:"link" doc:"The console, with the code"`
	Expires time.Time `json:"expires"`
}

// AgentSignIn makes a browser an agent's device.
type AgentSignIn struct {
	Code string `json:"code" minLength:"1" maxLength:"128" doc:"Code that serves once, or the agent's key"`
	Key  JWK    `json:"key" doc:"Public key that the device has made for itself"`
	// Assertion by the device's key, as in EnrolConfirm, over the code's first part.
	Assertion string `json:"assertion" maxLength:"2048" doc:"JWS by the device's key over the code's id: what stands between its first two underscores"`
	Client    string `json:"client,omitempty" maxLength:"64" doc:"Software and version"`
}

// AgentSignedIn is the agent, and the device that the browser is now.
type AgentSignedIn struct {
	Agent  Agent      `json:"agent"`
	Device DeviceInfo `json:"device"`
}

// AgentStateRequest says what the agent is doing.
type AgentStateRequest struct {
	State  AgentState `json:"state" enum:"available,busy,wrap_up,away"`
	Reason string     `json:"reason,omitempty" maxLength:"64" doc:"One of the provider's, for busy, wrap_up and away"`
}

// AgentSettings are a provider's own, for all agents of one tenant.
type AgentSettings struct {
	// Reasons that agents can give for being busy, in wrap-up or away.
	Reasons []string `json:"reasons" maxItems:"64"`
	// WrapUpCodes say how a conversation came out.
	WrapUpCodes []WrapUpCode `json:"wrap_up_codes" maxItems:"200"`
	// RetentionDays that conversations are kept.
	RetentionDays int `json:"retention_days" minimum:"1" maximum:"3650"`
}

// WrapUpCode says how a conversation came out.
type WrapUpCode struct {
	Code string `json:"code" minLength:"1" maxLength:"32" doc:"Letters, digits, hyphens and underscores"`
	Text string `json:"text" minLength:"1" maxLength:"128"`
}

// Conversation is what an agent's side keeps of a session.
type Conversation struct {
	Session SessionID  `json:"session"`
	Number  tel.Number `json:"number" doc:"Of the provider"`
	// Customer as the call showed it; left out where it was withheld.
	Customer tel.Identity `json:"customer,omitzero"`
	Opened   time.Time    `json:"opened"`
	CallOver time.Time    `json:"call_over,omitzero"`
	Closed   time.Time    `json:"closed,omitzero"`
	// Stints are who had it when, in their order.
	Stints []Stint     `json:"stints"`
	Notes  []AgentNote `json:"notes"`
	WrapUp *WrapUp     `json:"wrap_up,omitempty"`
	// Looks of supervisors into it, in their order.
	Looks []Look `json:"looks"`
	// Until it is kept.
	Until time.Time `json:"until"`
}

// Look is a supervisor's, into another agent's running session.
type Look struct {
	Agent string    `json:"agent"`
	Name  string    `json:"name"`
	From  time.Time `json:"from"`
	Until time.Time `json:"until" doc:"In the future: it goes on"`
}

// LookedInto is a running session as the agent has it who is in it.
type LookedInto struct {
	Conversation Conversation `json:"conversation"`
	// Session as the agent sees it: you is the agent.
	Session  SessionState `json:"session"`
	Messages []Envelope   `json:"messages" doc:"After the sequence that was asked for; fewer than 200: there are no more"`
}

// Stint is one agent's time in a conversation.
type Stint struct {
	Agent string    `json:"agent"`
	Name  string    `json:"name"`
	From  time.Time `json:"from"`
	To    time.Time `json:"to,omitzero"`
	// By is the agent who transferred the session to this one, or took it over; empty: it came with
	// its call.
	By string `json:"by,omitempty"`
}

// AgentNote is written by an agent; callers never see it.
type AgentNote struct {
	ID    string    `json:"id"`
	Agent string    `json:"agent"`
	Name  string    `json:"name"`
	At    time.Time `json:"at"`
	Text  string    `json:"text"`
}

// WrapUp is how a conversation came out.
type WrapUp struct {
	Code  string    `json:"code"`
	Agent string    `json:"agent"`
	At    time.Time `json:"at"`
}

// ConversationList is a page of conversations, the newest first.
type ConversationList struct {
	Conversations []Conversation `json:"conversations"`
	// Next is where the next page begins; empty: there is none.
	Next string `json:"next,omitempty"`
}

// Customer is what is known of who calls an agent.
type Customer struct {
	Identity tel.Identity `json:"identity,omitzero" doc:"Left out where it was withheld"`
	// Call says why it is believed that the customer is in the call: passport, trusted, observed;
	// typed and accepted are only somebody's word.
	Call string `json:"call,omitempty" enum:"passport,trusted,observed,typed,accepted"`
	// Proofs of the number, of the customer's devices in the session.
	Proofs []string `json:"proofs"`
	Name   string   `json:"name,omitempty" doc:"That the customer's device shows; a claim"`
}

// AgentConversation is a conversation, and who the customer is while the session lasts.
type AgentConversation struct {
	Conversation
	Party *Customer `json:"party,omitempty" doc:"While the session lasts"`
}

// NoteRequest writes a note.
type NoteRequest struct {
	// ID of the caller's choosing, so that it can be repeated.
	ID   string `json:"id" minLength:"1" maxLength:"64"`
	Text string `json:"text" minLength:"1" maxLength:"4096"`
}

// WrapUpRequest says how a conversation came out.
type WrapUpRequest struct {
	Code string `json:"code" minLength:"1" maxLength:"32"`
}

// TransferRequest hands a session to another agent.
type TransferRequest struct {
	To string `json:"to" minLength:"1" maxLength:"64" doc:"Id of the agent"`
}

package wire

import (
	"encoding/json"
	"time"

	"github.com/tandem-call/tandem/tel"
)

// Types of the events that webhooks carry.
const (
	EventSessionOpened = "session.opened"
	// EventSessionInCall: a new call took the session up again.
	EventSessionInCall    = "session.in_call"
	EventSessionAfterCall = "session.after_call"
	EventSessionClosed    = "session.closed"
	EventMemberJoined     = "session.member_joined"
	EventMemberLeft       = "session.member_left"
	EventCallReported     = "call.reported"
	EventDeviceEnrolled   = "device.enrolled"
	EventDeviceRevoked    = "device.revoked"
	// EventWebhookTest is sent by `tandem webhook test` only.
	EventWebhookTest = "webhook.test"
)

// EventTypes are those that a webhook can ask for.
var EventTypes = []string{
	EventSessionOpened, EventSessionInCall, EventSessionAfterCall, EventSessionClosed, EventMemberJoined, EventMemberLeft,
	EventCallReported, EventDeviceEnrolled, EventDeviceRevoked,
}

// Event is the body of a webhook: a CloudEvents 1.0 event in JSON. The headers are those
// of Standard Webhooks: webhook-id (the event's id), webhook-timestamp (seconds) and
// webhook-signature ("v1," and the base64 HMAC-SHA256 of "id.timestamp.body"; during a
// change of secrets two, with a space between).
type Event struct {
	SpecVersion string `json:"specversion"`
	// ID is the same each time the event is delivered; (source, id) is unique.
	ID string `json:"id"`
	// Source is the server's address and the tenant.
	Source string    `json:"source"`
	Type   string    `json:"type"`
	Time   time.Time `json:"time"`
	// Subject is the session that it is about, where there is one.
	Subject         string `json:"subject,omitempty"`
	DataContentType string `json:"datacontenttype"`
	// Data is a SessionEvent, CallEvent or DeviceEvent, by the type.
	Data json.RawMessage `json:"data"`
}

// SessionEvent is the data of session.* events. Phase is the session's when the event was
// written down, which may be a later one than the event's own.
type SessionEvent struct {
	Session SessionID    `json:"session"`
	Phase   Phase        `json:"phase"`
	Opened  time.Time    `json:"opened"`
	Until   time.Time    `json:"until,omitzero"`
	Reason  string       `json:"reason,omitempty"`
	Parties []EventParty `json:"parties"`
	// Members of the session; those who have left too.
	Members []EventMember `json:"members"`
	// Changed are the members that joined or left, for those two events.
	Changed []MemberID `json:"changed,omitempty"`
}

// EventParty is one party of a session.
type EventParty struct {
	Side int `json:"side"`
	// Party is a pseudonym, the same for one party in everything that one webhook gets, or
	// the identity where the webhook is set up to get it. Absent: withheld in the call.
	Party string `json:"party,omitempty"`
	Left  bool   `json:"left,omitempty"`
}

// EventMember is one member of a session.
type EventMember struct {
	ID   MemberID `json:"id"`
	Side int      `json:"side"`
	Left bool     `json:"left,omitempty"`
}

// CallEvent is the data of call.reported.
type CallEvent struct {
	// Reporter: device, person, element, provider or automaton.
	Reporter  string        `json:"reporter"`
	Own       string        `json:"own,omitempty"`
	Other     string        `json:"other,omitempty"`
	Direction tel.Direction `json:"direction,omitempty"`
	State     tel.State     `json:"state"`
}

// DeviceEvent is the data of device.* events.
type DeviceEvent struct {
	// Device and Party are pseudonyms, or the device's id and the number proved.
	Device string `json:"device"`
	Party  string `json:"party,omitempty"`
	// Proof of the number, and until when it holds.
	Proof   string    `json:"proof,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
	// Reason for a revocation: revoked or number_recycled.
	Reason string `json:"reason,omitempty"`
}

// WebhookRequest asks for a webhook (operators only).
type WebhookRequest struct {
	URL    string   `json:"url" maxLength:"2048" doc:"Where events are sent"`
	Events []string `json:"events,omitempty" maxItems:"32" doc:"Types of events; empty: all but call.reported"`
	// Identities: masked (the default) sends pseudonyms, full sends numbers.
	Identities string `json:"identities,omitempty" enum:"masked,full" doc:"masked: pseudonyms; full: the numbers themselves"`
}

// Webhook is an endpoint that gets events.
type Webhook struct {
	ID         string    `json:"id"`
	URL        string    `json:"url"`
	Events     []string  `json:"events"`
	Identities string    `json:"identities"`
	Created    time.Time `json:"created"`
	// FailingSince is when the first of an unbroken row of failures came.
	FailingSince time.Time `json:"failing_since,omitzero"`
	Disabled     time.Time `json:"disabled,omitzero"`
	// DisabledBy: gone (it answered 410) or failing.
	DisabledBy string `json:"disabled_by,omitempty"`
	Secret     string `json:"secret,omitempty" doc:"Shown only when it is made"`
}

// WebhookList lists webhooks.
type WebhookList struct {
	Webhooks []Webhook `json:"webhooks"`
}

// WebhookDelivery is one event on its way to one webhook.
type WebhookDelivery struct {
	Event   string    `json:"event"`
	Webhook string    `json:"webhook"`
	Type    string    `json:"type"`
	Created time.Time `json:"created"`
	Status  string    `json:"status" doc:"pending, delivered or failed"`
	// Next attempt, while it is pending.
	Next     time.Time        `json:"next,omitzero"`
	Attempts []WebhookAttempt `json:"attempts,omitempty" doc:"The last ones"`
	// Tried counts all attempts.
	Tried int `json:"tried"`
}

// WebhookAttempt is one attempt to deliver an event.
type WebhookAttempt struct {
	At time.Time `json:"at"`
	// Status of the answer; zero: there was none.
	Status int    `json:"status,omitempty"`
	Error  string `json:"error,omitempty"`
	Millis int64  `json:"ms"`
}

// WebhookDeliveryList lists deliveries, the newest first.
type WebhookDeliveryList struct {
	Deliveries []WebhookDelivery `json:"deliveries"`
}

// WebhookReplay asks to deliver an event again.
type WebhookReplay struct {
	Webhook string `json:"webhook,omitempty" maxLength:"64" doc:"To this webhook only; empty: to each that it was for"`
}

// Barred is a number, or another identity, that the operator has barred.
type Barred struct {
	Identity tel.Identity `json:"identity"`
	Note     string       `json:"note,omitempty"`
	Since    time.Time    `json:"since"`
}

// BarRequest bars an identity (operators only).
type BarRequest struct {
	Identity string `json:"identity" maxLength:"512"`
	Note     string `json:"note,omitempty" maxLength:"256" doc:"Why, for the list"`
}

// BarredList lists what is barred.
type BarredList struct {
	Barred []Barred `json:"barred"`
}

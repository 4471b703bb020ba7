package tel

import "errors"

// ErrDetails: the call party details cannot be used as they are.
var ErrDetails = errors.New("tel: unusable call party details")

// Direction of a call leg, as its own party sees it. The zero value is "unknown".
type Direction string

// Directions.
const (
	Outgoing Direction = "outgoing" // own party dialled
	Incoming Direction = "incoming" // own party was dialled
)

// State of a call leg.
type State string

// States of a call leg, in the order in which they come; held and active alternate.
const (
	Ringing State = "ringing"
	Active  State = "active"
	Held    State = "held"
	Ended   State = "ended"
)

// PartyDetails are the call party details that a report carries (SPEC "Words", A12):
// send both numbers when they are known.
type PartyDetails struct {
	// Own names the reporting side's party.
	Own Identity `json:"own,omitzero"`
	// Other names the other side; zero when withheld or unknown (A10).
	Other Identity `json:"other,omitzero"`
	// Extension of the own party behind a shared number, e.g. an agent's (A7).
	Extension string `json:"extension,omitempty"`
	// OtherExtension is the extension that was dialled or reached, where it is known.
	OtherExtension string `json:"other_extension,omitempty"`
	// ConferenceID identifies the conference that the call is in (K1).
	ConferenceID string    `json:"conference_id,omitempty"`
	Direction    Direction `json:"direction,omitempty"`
	State        State     `json:"state"`
	// Ref refers to the call.
	Ref Ref `json:"ref,omitzero"`
}

// Ref is a reference to a call leg: as much as the reporter knows. Any may be empty.
type Ref struct {
	// SessionID is the SIP Session-ID (RFC 7989): the same on both sides.
	SessionID string `json:"session_id,omitempty"`
	// CallID is the SIP Call-ID: the same on both sides unless a B2BUA is between.
	CallID string `json:"call_id,omitempty"`
	// Local is the reporter's own reference; it means nothing to others.
	Local string `json:"local,omitempty"`
}

// IsZero reports whether the reference is empty.
func (r Ref) IsZero() bool { return r == Ref{} }

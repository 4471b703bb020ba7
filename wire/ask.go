package wire

import (
	"time"

	"github.com/tandem-call/tandem/tel"
)

// TypeAsk, from a device: its user asks for a session beside a call. Body Ask; the ack's
// body is as a report's.
const TypeAsk Type = "ask"

// TypeAvailable, from the server: a session of the device's party is open, of which the device
// is no member, since its party wants it only told. Body Available.
const TypeAvailable Type = "available"

// Ask asks for a data session beside a call that is up (B15), at the phone or at a coupled
// device. It says what a report by a person says, and has the other side asked at once if that
// has not reported the call.
type Ask struct {
	// Other is the party that the user speaks to. Left out: the one of the only call that the
	// server knows this party to be in.
	Other tel.Identity `json:"other,omitzero"`
}

// Available tells a device of a session that it may join.
type Available struct {
	// Session that it may join.
	Session SessionID `json:"session"`
	// Phase in which it is; closed: it can be joined no more.
	Phase Phase `json:"phase"`
	// With are the other parties, as the call shows them.
	With []tel.Identity `json:"with,omitempty"`
	// Until is when an after_call session closes.
	Until time.Time `json:"until,omitzero"`
}

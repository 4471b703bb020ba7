package call

import (
	"time"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Event is what the machine is told. The events are the types below.
type Event interface{ event() }

// Fresh is what an event may need that was never used before: the machine has no
// randomness of its own.
type Fresh struct {
	Life       string
	Session    wire.SessionID
	Invitation wire.InvitationID
	Words      string
}

type (
	// Reported: somebody reports a leg of Own's. For a pair, Other is the other party,
	// also where the report itself does not name it; for a conference, its number or zero;
	// for partial details, zero. The record is made if it does not exist.
	Reported struct {
		Report Report
		Kind   Kind
		Key    string
		Own    Party
		Other  Party
		// Blocked: one of a pair wants no sessions with the other.
		Blocked bool
		// Handed over by the pair that the call was dialled in (divert.go).
		Handed bool
		Fresh  Fresh
	}
	// Diverted: a call that Caller made to Dialled is spoken of in another pair's record.
	Diverted struct {
		Tenant          wire.TenantID
		Key             string
		Caller, Dialled Party
		Divert          Divert
		Fresh           Fresh
	}
	// Chosen: a party's unnamed leg belongs to this pair (partial.go).
	Chosen struct {
		Pair string
		// Leg is the key of one of the leg's statements.
		Leg string
	}
	// Answered: a device of Party answers a question.
	Answered struct {
		Party  tel.Identity
		Device wire.DeviceID
		Answer wire.Answer
		Fresh  Fresh
	}
	// Confirmed: a device of Party has typed what was read aloud.
	Confirmed struct {
		Party   tel.Identity
		Device  wire.DeviceID
		Confirm wire.Confirm
		// Attempt is fresh per try, the same when the event is repeated.
		Attempt string
		Fresh   Fresh
	}
	// Ticked: time has passed, or a party's other calls have changed. Busy says of each party
	// whether it is known to speak to somebody outside this record.
	Ticked struct {
		Busy  [2]bool
		Fresh Fresh
	}
	// SessionGone: the session core has closed the session.
	SessionGone struct{ Session wire.SessionID }
	// MemberGone: somebody has left the session.
	MemberGone struct{ Session wire.SessionID }
	// Handed: another device of a party has, or will have, the session's call.
	Handed struct {
		Session wire.SessionID
		Device  wire.DeviceID
	}
	// NotTakenUp: the session to be taken up again was closed meanwhile.
	NotTakenUp struct {
		Session wire.SessionID
		Fresh   Fresh
	}
)

func (Reported) event()    {}
func (Diverted) event()    {}
func (Chosen) event()      {}
func (Answered) event()    {}
func (Confirmed) event()   {}
func (Ticked) event()      {}
func (SessionGone) event() {}
func (MemberGone) event()  {}
func (NotTakenUp) event()  {}
func (Handed) event()      {}

// Do names an effect.
type Do string

// Effects. Each is harmless when repeated.
const (
	OpenSession Do = "open"     // Session, Sides
	JoinDevices Do = "join"     // Session, Sides, At: further devices, or a further party
	Part        Do = "part"     // Session, Sides, At: parties that have left a call that goes on
	CallUp      Do = "call_up"  // Session: the pair is in a call again
	CallEnded   Do = "ended"    // Session, At, Sides: of each party the devices that were brought into it
	Invite      Do = "invite"   // To, Invite
	ReadOut     Do = "read"     // To, Words: the side that reads
	TypeIn      Do = "type"     // To, Words: the side that types
	Withdraw    Do = "withdraw" // To, Withdrawn
	HandOver    Do = "hand"     // Record, Statement: to a pair's record
	TellDialled Do = "divert"   // Statement: to the record of the caller and whom it dialled
	Enter       Do = "enter"    // To: into the index of that party's calls
)

// Effect is something to be done after the change that it came with is durable. Which
// fields it has stands beside its name.
type Effect struct {
	// Seq counts the record's effects; they are done in this order.
	Seq     uint64         `json:"seq"`
	Do      Do             `json:"do"`
	Session wire.SessionID `json:"session,omitempty"`
	Sides   []Side         `json:"sides,omitempty"`
	At      time.Time      `json:"at,omitzero"`
	// To is the party that is told.
	To        *Side           `json:"to,omitempty"`
	Invite    *wire.Invite    `json:"invite,omitempty"`
	Words     *wire.Words     `json:"words,omitempty"`
	Withdrawn *wire.Withdrawn `json:"withdrawn,omitempty"`
	Record    string          `json:"record,omitempty"`
	Statement *Statement      `json:"statement,omitempty"`
}

// Side is one party as a session is told of it.
type Side struct {
	// Index tells the parties of one session apart.
	Index int `json:"index"`
	// Principal identity; never shown to others.
	Principal tel.Identity `json:"principal"`
	// Shown is what the others may see: the name by which they called or were called,
	// zero where it is withheld from them.
	Shown tel.Identity `json:"shown,omitzero"`
	// Devices that speak of the leg, first; the party's others follow unless Shared.
	Devices []wire.DeviceID `json:"devices,omitempty"`
	// Brought are those of Devices that a report has brought into the call.
	Brought []wire.DeviceID `json:"brought,omitempty"`
	// Shared: the party's other devices have no part in it.
	Shared bool `json:"shared,omitempty"`
	// At is when it was decided, in JoinDevices and Part: what comes late must not undo what
	// was decided after it.
	At time.Time `json:"at,omitzero"`
}

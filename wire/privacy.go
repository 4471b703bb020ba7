package wire

import (
	"time"

	"github.com/tandem-call/tandem/tel"
)

// PartyRequest names a party (operators only).
type PartyRequest struct {
	Party string `json:"party" maxLength:"512" doc:"A number, or another identity of the party"`
}

// PartyExport is everything that is kept of a party, for the party.
type PartyExport struct {
	// At is when it was collected.
	At time.Time `json:"at"`
	// Identities of the party, the principal first.
	Identities []Proved `json:"identities"`
	// Devices, also revoked ones, without their keys.
	Devices []PartyDevice `json:"devices"`
	// Couplings of its telephones, without the devices' keys.
	Couplings []Coupling `json:"couplings"`
	// Calls, as the party's own side reported them.
	Calls []CallInfo `json:"calls"`
	// Sessions that its devices are or were in.
	Sessions []PartySession `json:"sessions"`
	// Blocked are the identities that the party refuses sessions with, as far as it knows them.
	Blocked []tel.Identity `json:"blocked"`
	// Shared lists which of the identities an operator has marked as shared by many callers.
	Shared []tel.Identity `json:"shared"`
	// Profile of its own; its pictures are at their paths.
	Profile Profile `json:"profile"`
	// Contacts are its address book.
	Contacts []Contact `json:"contacts"`
	// Rules are what it wants of, and for, single others.
	Rules []ContactRule `json:"contact_rules"`
	// Ledger says who has received what of its profile.
	Ledger []ProfileReceipt `json:"ledger"`
	// Received says what it has received of others'.
	Received []ProfileReceipt `json:"received"`
	// NotAsked are parties that may never ask for its place again.
	NotAsked []tel.Identity `json:"not_asked"`
	// PlaceRules let its place out without a question each time.
	PlaceRules []PlaceRule `json:"place_rules"`
	// NetworkPlaces are where the network says that it is, in each of its calls.
	NetworkPlaces []NetworkPlace `json:"network_places"`
	// Conversations with agents, and what they have noted.
	Conversations []Conversation `json:"conversations"`
	// Audit has the names under which the audit log speaks of the party.
	Audit []string `json:"audit"`
}

// PartyDevice is a device of a party.
type PartyDevice struct {
	ID       DeviceID  `json:"id"`
	Name     string    `json:"name,omitempty"`
	Client   string    `json:"client,omitempty"`
	App      *App      `json:"app,omitempty"`
	Bindings []Binding `json:"bindings"`
	Created  time.Time `json:"created"`
	LastSeen time.Time `json:"last_seen,omitzero"`
	Revoked  time.Time `json:"revoked,omitzero"`
}

// PartySession is what a session holds of a party.
type PartySession struct {
	// Session as the party's devices see it.
	Session SessionState `json:"session"`
	// Members that are the party's devices.
	Members []MemberID `json:"members"`
	// Messages that they sent, or were sent.
	Messages []Envelope `json:"messages"`
	// Files that they sent, or could fetch.
	Files []PartyFile `json:"files"`
}

// PartyFile is a file in a session.
type PartyFile struct {
	File File `json:"file"`
	// Sent by one of the party's devices.
	Sent bool `json:"sent"`
	// Kept with the place and camera that its sender wanted left in it.
	Metadata bool `json:"metadata,omitempty"`
}

// PartyErased says what was removed.
type PartyErased struct {
	Identities int `json:"identities"`
	Devices    int `json:"devices"`
	Calls      int `json:"calls"`
	// Sessions, with the messages and files of all their members.
	Sessions   int `json:"sessions"`
	Deliveries int `json:"deliveries" doc:"Webhook deliveries that named the party"`
	// Compacted: what was deleted is in no file of the store any more. Otherwise it goes
	// when the engine next rewrites its files.
	Compacted bool `json:"compacted"`
	// Barred lists identities of the party that an operator has barred: the bar stays, and
	// names them, until it is lifted.
	Barred []tel.Identity `json:"barred"`
}

package wire

import (
	"time"

	"github.com/tandem-call/tandem/tel"
)

// A profile is what a party lets others receive during calls (SPEC G). Nobody presses
// anything:
//
//	Alice's server-side profile            Bob's device
//	  | session opens; the ledger says        |
//	  | which fields Bob's device holds       |
//	  | -- message tandem.profile ----------> |  only what is missing or newer,
//	  |    {fields, has, show, keep}          |  and the versions of everything
//	  | <-- GET picture, unless it holds it - |
//	  | <-- POST received {have} ------------ |  noted in the ledger; the answer has
//	  | --- what is missing all the same ---> |  what the device turned out not to hold
//
// Limits of a profile.
const (
	MaxProfileFields   = 64
	MaxProfileValue    = 4096 // bytes of a field's value
	MaxProfileGroups   = 32
	MaxProfileMembers  = 256     // identities of a group
	MaxProfilePicture  = 2 << 20 // bytes
	MaxProfilePictures = 8
	// MaxProfileSides is the most parties in a session among whom profiles travel by themselves.
	MaxProfileSides = 16
	MaxContacts     = 5000
	// ProofStaleDays is after how many days the proof of a number or address is shown as old: it may
	// be somebody else's since.
	ProofStaleDays = 90
	// MaxProfileSource is the longest address of a profile, in bytes.
	MaxProfileSource = 2048
	// MaxCard is the largest vCard or jCard, or list of them, in bytes.
	MaxCard = 1 << 20
)

// ProfileField is one field of a profile. It has its own version, so that only what is
// new travels.
type ProfileField struct {
	// ID tells it from the profile's other fields, and stays when the value changes.
	ID string `json:"id" maxLength:"64" pattern:"^[A-Za-z0-9_-]+$" doc:"Tells it from the other fields; stays when the value changes"`
	// Name is the vCard property, in lower case: fn, org, email, tel, impp, bday, adr, url, photo, x-….
	Name string `json:"name" maxLength:"32" pattern:"^[a-z][a-z0-9-]*$" doc:"The vCard property (RFC 6350) in lower case: fn, org, title, email, tel, impp, bday, anniversary, adr, url, note, photo, x-…"`
	// Value as text. Of adr, org and n it is the vCard's own form, with semicolons; of photo it is empty.
	Value string `json:"value,omitempty" maxLength:"4096" doc:"As text; adr, org and n with semicolons as in a vCard"`
	// Types such as home, work, cell.
	Types []string `json:"types,omitempty" maxItems:"8" doc:"home, work, cell …"`
	// Picture, of a photo.
	Picture *ProfilePicture `json:"picture,omitempty"`
	// Version grows whenever the field changes. The server sets it.
	Version uint64 `json:"version,omitempty" doc:"Set by the server"`
	// Proof says how the server knows that a number or e-mail address is the party's; empty: it only says so.
	Proof string `json:"proof,omitempty" doc:"How the server knows that it is the party's: one_time_code, network, sim, operator; empty: only claimed"`
	// Proved is when that was; after ProofStaleDays it is shown as old.
	Proved time.Time `json:"proved,omitzero" doc:"When that was proved last"`
}

// Stale reports whether the field's proof is older than ProofStaleDays; a field without one has
// nothing to be stale.
func (f ProfileField) Stale(now time.Time) bool {
	return f.Proof != "" && !f.Proved.IsZero() && now.Sub(f.Proved) > ProofStaleDays*24*time.Hour
}

// ProfilePicture is a picture that the server keeps, to be fetched when it is not there yet.
type ProfilePicture struct {
	// Path to fetch it from, by its owner and by devices that were sent it.
	Path string `json:"path" maxLength:"256"`
	// SHA256 of the bytes, in hexadecimal.
	SHA256 string `json:"sha256" maxLength:"64"`
	// Type is the media type that the server recognised.
	Type string `json:"type" maxLength:"64"`
	// Size in bytes.
	Size int64 `json:"size"`
}

// FieldVersion says that a field is there in a version.
type FieldVersion struct {
	// ID of the field.
	ID string `json:"id" maxLength:"64"`
	// Version of the field.
	Version uint64 `json:"version"`
}

// ProfileGroup is a person or group that sees something else than the others (G7).
type ProfileGroup struct {
	// Name: family, work, customers.
	Name string `json:"name" maxLength:"64" minLength:"1"`
	// Members are the identities in it.
	Members []tel.Identity `json:"members" maxItems:"256"`
	// Adds: its fields come on top of the general ones, not in their place.
	Adds bool `json:"adds,omitempty" doc:"Its fields come on top of the general ones; otherwise in their place"`
	// Fields by their ids.
	Fields []string `json:"fields" maxItems:"64" doc:"Ids of the fields that its members see"`
}

// SendRule says when a profile goes to others by itself.
type SendRule string

// Send rules.
const (
	SendAlways SendRule = "always" // whenever a session opens; what holds unless it was changed
	SendOnce   SendRule = "once"   // the first time only, to each
	SendNever  SendRule = "never"  // only by hand
)

// KeepRule says what becomes of a profile that somebody else sends.
type KeepRule string

// Keep rules.
const (
	KeepAsk    KeepRule = "ask"    // it is there for the call, and offered for keeping; what holds unless it was changed
	KeepOnce   KeepRule = "once"   // it is kept unasked the next time, and asked for again after that
	KeepAlways KeepRule = "always" // it is kept unasked
	KeepNever  KeepRule = "never"  // it is not received
)

// Profile is a party's own profile, as the party sees it.
type Profile struct {
	// Version of the whole; grows with each change.
	Version uint64         `json:"version"`
	Fields  []ProfileField `json:"fields"`
	// General lists the ids of what everybody sees; without it, all that is in no group.
	General []string       `json:"general,omitempty"`
	Groups  []ProfileGroup `json:"groups"`
	// Show names the properties that others' devices may lay over the call screen (G5).
	Show    []string  `json:"show,omitempty"`
	Send    SendRule  `json:"send"`
	Keep    KeepRule  `json:"keep"`
	Changed time.Time `json:"changed,omitzero"`
	// Source is where the server reads the profile; nil: it is written here.
	Source *ProfileSource `json:"source,omitempty"`
}

// ProfileSource is a network address at which a profile lives (G2): a vCard, jCard, page with an
// hCard, or JSON. What stands there takes the place of the profile's fields with the same ids.
type ProfileSource struct {
	URL string `json:"url"`
	// Read is when the server read it last; zero: not yet.
	Read time.Time `json:"read,omitzero"`
	// Error says why that gave nothing.
	Error string `json:"error,omitempty"`
}

// ProfileChange changes a profile, or synchronises it with a device's copy. Fields that are
// left out stay.
type ProfileChange struct {
	// Base is the version that the device's copy was made of: what others have changed since
	// is not overwritten, but told as a conflict. Zero: overwrite.
	Base uint64 `json:"base,omitempty" doc:"Version of the copy that was changed; zero: overwrite"`
	// Set adds fields, or replaces those with the same id.
	Set []ProfileField `json:"set,omitempty" maxItems:"64"`
	// Remove fields, by their ids.
	Remove []string `json:"remove,omitempty" maxItems:"64"`
	// General replaces the list of what everybody sees.
	General *[]string `json:"general,omitempty"`
	// Groups replaces all groups.
	Groups *[]ProfileGroup `json:"groups,omitempty"`
	// Show replaces the list of what may be laid over the call screen.
	Show *[]string `json:"show,omitempty"`
	Send SendRule  `json:"send,omitempty" enum:"always,once,never"`
	Keep KeepRule  `json:"keep,omitempty" enum:"ask,once,always,never"`
	// Source sets the address at which the server reads the profile; empty: none.
	Source *string `json:"source,omitempty" maxLength:"2048" doc:"https:// or http:// address of a vCard, jCard, page with an hCard, or JSON profile that the server is to read; empty: none"`
}

// ProfileConflict is a field that was changed on both sides.
type ProfileConflict struct {
	ID string `json:"id"`
	// Server is what holds; without it, the field was removed.
	Server *ProfileField `json:"server,omitempty"`
	// Yours is what was not taken; without it, the field was to be removed.
	Yours *ProfileField `json:"yours,omitempty"`
}

// ProfileChanged is the profile after a change.
type ProfileChanged struct {
	Profile   Profile           `json:"profile"`
	Conflicts []ProfileConflict `json:"conflicts"`
}

// ProfileView is what somebody sees of a profile.
type ProfileView struct {
	// Groups that the other one is in.
	Groups []string       `json:"groups"`
	Fields []ProfileField `json:"fields"`
	// Sends: it goes to them by itself when a session opens.
	Sends bool `json:"sends"`
}

// KindProfile is the other side's profile, from the server: body ProfileMessage.
const KindProfile = "tandem.profile"

// ProfileMessage is the sender's profile, for one device: what is missing there or newer.
type ProfileMessage struct {
	// Owner names whose it is, for this party: the same in each session.
	Owner string `json:"owner"`
	// Fields that the device has not, or in an older version.
	Fields []ProfileField `json:"fields"`
	// Has lists everything that the owner shows to this party, in its version. What a device
	// holds besides was removed.
	Has []FieldVersion `json:"has"`
	// Show names the properties to lay over the call screen.
	Show []string `json:"show,omitempty"`
	// Keep is what the receiver's party has chosen for this owner: ask, once, always.
	Keep KeepRule `json:"keep"`
	// Contact that it was kept as.
	Contact string `json:"contact,omitempty"`
	// Withdrawn: the owner asks that what was sent be forgotten.
	Withdrawn bool `json:"withdrawn,omitempty"`
}

// ProfileSend sends one's profile by hand.
type ProfileSend struct {
	// To members; without it, all other parties.
	To []MemberID `json:"to,omitempty" maxItems:"64"`
	// Fields by their ids; without it, what the other one sees of it anyway.
	Fields []string `json:"fields,omitempty" maxItems:"64"`
}

// ProfileSent says to how many devices something was sent.
type ProfileSent struct {
	Devices int `json:"devices"`
	Fields  int `json:"fields"`
	// Shown is how many fields the receivers may see, whether they were sent now or before.
	Shown int `json:"shown"`
}

// ProfileHeld says what a device holds of a profile that was sent in the session.
type ProfileHeld struct {
	Owner string         `json:"owner" maxLength:"64"`
	Have  []FieldVersion `json:"have" maxItems:"64"`
}

// ProfileMissing is what a device turned out not to hold.
type ProfileMissing struct {
	Fields []ProfileField `json:"fields"`
}

// ProfileReceipt is an entry of the ledger: who has which field in which version (G4).
type ProfileReceipt struct {
	// To is the party that has it, as it showed itself.
	To tel.Identity `json:"to,omitzero"`
	// Receiver names it also where it showed no identity.
	Receiver string `json:"receiver"`
	// Device is one of its devices, under a name for this list.
	Device  string    `json:"device"`
	Field   string    `json:"field"`
	Name    string    `json:"name"`
	Version uint64    `json:"version"`
	Sent    time.Time `json:"sent"`
	// Confirmed is when the device said that it holds it.
	Confirmed time.Time `json:"confirmed,omitzero"`
	// Kept: it is in that party's address book here.
	Kept bool `json:"kept,omitempty"`
	// Withdrawn is when the owner took it back.
	Withdrawn time.Time `json:"withdrawn,omitzero"`
}

// ProfileLedger lists who has what.
type ProfileLedger struct {
	Receipts []ProfileReceipt `json:"receipts"`
}

// Contact is an entry of a party's address book here.
type Contact struct {
	ID     string         `json:"id"`
	Fields []ProfileField `json:"fields"`
	// Identities that belong to this contact: any of them may be reported (A11).
	Identities []tel.Identity `json:"identities"`
	// Owner is whose profile it was kept from, as in ProfileMessage.
	Owner   string    `json:"owner,omitempty"`
	Changed time.Time `json:"changed"`
}

// ContactList lists an address book.
type ContactList struct {
	Contacts []Contact `json:"contacts"`
}

// ContactKeep keeps a profile that was received.
type ContactKeep struct {
	Owner string `json:"owner" maxLength:"64" minLength:"1" doc:"As in the message tandem.profile"`
}

// ContactRule is what a party wants of, and for, one other party.
type ContactRule struct {
	Identity tel.Identity `json:"identity"`
	// Send one's own profile to them; empty: as the profile says.
	Send SendRule `json:"send,omitempty" enum:"always,once,never"`
	// Keep theirs; empty: as the profile says.
	Keep KeepRule `json:"keep,omitempty" enum:"ask,once,always,never"`
}

// ContactRuleList lists them.
type ContactRuleList struct {
	Rules []ContactRule `json:"rules"`
}

// BlockRequest blocks a party, or takes that back.
type BlockRequest struct {
	Identity tel.Identity `json:"identity"`
}

// BlockList lists whom a party wants no sessions with, as far as it knows them.
type BlockList struct {
	Blocked []tel.Identity `json:"blocked"`
}

// EmailProofRequest asks for a code by e-mail.
type EmailProofRequest struct {
	Address string `json:"address" maxLength:"320" doc:"E-mail address, alice@example.com"`
}

// EmailProof is under way: a code was sent to the address.
type EmailProof struct {
	// Expires is when the code stops being valid.
	Expires time.Time `json:"expires"`
}

// EmailConfirm proves an e-mail address.
type EmailConfirm struct {
	Address string `json:"address" maxLength:"320" doc:"The same address"`
	Code    string `json:"code" minLength:"6" maxLength:"6" doc:"The six digits received"`
}

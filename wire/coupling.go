package wire

import (
	"time"

	"github.com/tandem-call/tandem/tel"
)

// A coupling ties a telephone to a device that carries data for it (SPEC B8). Somebody who
// has proved the telephone's number vouches for the device, in one of two ways:
//
//	PC (to be coupled)               server                phone's device, operator, service number
//	  |                                 | <-- offer {kind} ------------- |   a code is shown there
//	  |                                 | --- code WDJB-MJHT ----------> |   and typed at the PC
//	  | -- request {key, name} -------> |                                |
//	  | <- {id, code 019-450-730} ----- |                                |   or: a code is shown at the PC
//	  |                                 | <-- accept {code} ------------ |   and typed there
//	  | -- claim {assertion, code?} --> |
//	  | <- device ---------------------- |   coupled; until then: coupling-pending
//
// Codes are short-lived, serve once and allow few tries.

// CouplingKind says how long a coupling lasts.
type CouplingKind string

// Kinds of coupling.
const (
	Permanent CouplingKind = "permanent" // until somebody ends it, or the proof behind it expires
	Temporary CouplingKind = "temporary" // while the two are near each other
	ForCall   CouplingKind = "call"      // beside the one call whose report carries the device's address
)

// CouplingMade says in which way a coupling was made.
type CouplingMade string

// Ways to make a coupling.
const (
	MadeByCode      CouplingMade = "code"      // a code shown at the phone was typed at the device
	MadeByConfirm   CouplingMade = "confirmed" // a code shown at the device was typed at the phone, or on a web page
	MadeAtInstall   CouplingMade = "installer" // with a code that an operator gave the installer
	MadeByOperator  CouplingMade = "operator"  // an operator took the device's code down
	MadeByServiceNo CouplingMade = "keyed"     // the device's code was keyed on the phone, in a call to a service number
	MadeByReport    CouplingMade = "report"    // the report of a call carried the id of the device's request
)

// CouplingOfferRequest asks for a code to type at a device that is to be coupled.
type CouplingOfferRequest struct {
	// Number of the telephone; a device may leave it out if it has one only.
	Number string       `json:"number,omitempty" maxLength:"64" doc:"The telephone's number; a device's own if left out"`
	Kind   CouplingKind `json:"kind,omitempty" enum:"permanent,temporary" doc:"How long the coupling lasts; permanent if left out"`
	// Hours that an operator's code is valid; a device's is always short-lived.
	Hours int `json:"hours,omitempty" minimum:"0" maximum:"168" doc:"Of an operator's code: how long it is valid"`
}

// CouplingOffer is a code to type at the device that is to be coupled.
type CouplingOffer struct {
	Code    string       `json:"code" doc:"Eight letters, e.g. WDJB-MJHT; hyphens and case do not matter"`
	Number  tel.Number   `json:"number"`
	Kind    CouplingKind `json:"kind"`
	Expires time.Time    `json:"expires"`
}

// CouplingRequest begins to couple a device that need not be known yet.
type CouplingRequest struct {
	Key    JWK    `json:"key" doc:"Public key that the device has made for itself"`
	Name   string `json:"name,omitempty" maxLength:"64" doc:"Name of the device, e.g. Living room TV"`
	Client string `json:"client,omitempty" maxLength:"64" doc:"Software and version"`
	App    *App   `json:"app,omitempty" doc:"Application to wake by push"`
	// Kind wished for, where who vouches does not say.
	Kind CouplingKind `json:"kind,omitempty" enum:"permanent,temporary"`
}

// CouplingPending is a device's request to be coupled.
type CouplingPending struct {
	// It is also the device's address for one call (Report.Coupled): whoever has it may couple the
	// device, so it goes to the phone's side only.
	ID string `json:"id" doc:"To claim with, and the nonce of the assertion; and the device's address in the report of a call"`
	// Code to be typed at the phone, told to an operator, or keyed in a call.
	Code    string    `json:"code" doc:"Nine digits, e.g. 019-450-730; hyphens do not matter"`
	Expires time.Time `json:"expires"`
	// IntervalSeconds between two claims.
	IntervalSeconds int `json:"interval_s"`
}

// CouplingClaim completes a device's request.
type CouplingClaim struct {
	// Assertion by the device's key, as in EnrolConfirm, over the request's id.
	Assertion string `json:"assertion" maxLength:"2048" doc:"JWS by the device's key over the request's id"`
	Code      string `json:"code,omitempty" maxLength:"32" doc:"The code shown at the phone; left out to wait for the other way"`
}

// CouplingLook asks which device shows a code, before it is accepted.
type CouplingLook struct {
	Code string `json:"code" minLength:"1" maxLength:"32" doc:"The nine digits shown at the device"`
}

// CouplingSeen is the device that shows the code.
type CouplingSeen struct {
	Name    string       `json:"name,omitempty"`
	Client  string       `json:"client,omitempty"`
	Kind    CouplingKind `json:"kind,omitempty" doc:"The kind that it asks for"`
	Expires time.Time    `json:"expires"`
}

// CouplingAccept vouches for the device that shows a code.
type CouplingAccept struct {
	Code   string       `json:"code" minLength:"1" maxLength:"32" doc:"The nine digits shown at the device"`
	Number string       `json:"number,omitempty" maxLength:"64" doc:"The telephone's number; a device's own if left out"`
	Kind   CouplingKind `json:"kind,omitempty" enum:"permanent,temporary"`
}

// Coupling of a telephone and a device that carries data for it.
type Coupling struct {
	ID     string     `json:"id"`
	Number tel.Number `json:"number" doc:"Of the telephone"`
	Device DeviceID   `json:"device" doc:"The device that carries data for it"`
	Name   string     `json:"name,omitempty" doc:"Of the device"`
	// Key of the device: whoever meets it over a local link can tell that it is the one.
	Key     *JWK         `json:"key,omitempty"`
	Kind    CouplingKind `json:"kind"`
	Made    CouplingMade `json:"made" doc:"code, confirmed, installer, operator, keyed or report"`
	Vouched string       `json:"vouched" doc:"The proof behind it: one_time_code, network, sim or operator"`
	Created time.Time    `json:"created"`
	// Until it ends at the latest.
	Until time.Time `json:"until"`
	// Expires, of a temporary coupling: unless the two are near each other by then, it lapses. Of one
	// for a call: unless the call's report is repeated by then, it ends.
	Expires time.Time `json:"expires,omitzero"`
	// Apart: a temporary coupling that has lapsed; nearness brings it back.
	Apart bool `json:"apart,omitempty"`
}

// CouplingList lists couplings.
type CouplingList struct {
	Couplings []Coupling `json:"couplings"`
}

// CouplingNear says that the two devices of a temporary coupling are near each other.
type CouplingNear struct {
	// Link: the phone's device has the other one on a local link, and knows it by its key.
	// Otherwise the server goes by their addresses.
	Link bool `json:"link,omitempty"`
}

// Notices about couplings; Name is the device's.
const (
	NoticeCoupled   = "coupled"   // a device was coupled with this party's telephone
	NoticeUncoupled = "uncoupled" // it is so no longer
	NoticeApart     = "apart"     // a temporary coupling has lapsed, the two being apart
)

// SessionChoice says what a party wants one of its devices to do when a session opens.
type SessionChoice string

// Choices for a device.
const (
	ChoiceJoin SessionChoice = "join" // becomes a member by itself; what holds if nothing was chosen
	ChoiceTold SessionChoice = "told" // is told that the session is there, and may join it
	ChoiceNone SessionChoice = "none" // hears nothing of it
)

// PartyMember is one of a party's devices, as the party sees it.
type PartyMember struct {
	Device DeviceID `json:"device"`
	Name   string   `json:"name,omitempty"`
	// You: the device that asks.
	You      bool          `json:"you,omitempty"`
	Bindings []Binding     `json:"bindings"`
	Session  SessionChoice `json:"session" doc:"What it does when a session opens: join, told or none"`
	Gets     []DataKind    `json:"gets,omitempty" doc:"The kinds of data that it gets of what is sent to all; left out: every kind"`
}

// DataKind is a kind of data as a party tells its devices apart by.
type DataKind string

// Kinds of data.
const (
	DataText    DataKind = "text"
	DataLink    DataKind = "link"
	DataFile    DataKind = "file"
	DataPlace   DataKind = "place"
	DataProfile DataKind = "profile"
	DataOverlay DataKind = "overlay"
	DataObject  DataKind = "object" // everything else
)

// PartyMemberList lists a party's devices.
type PartyMemberList struct {
	Devices []PartyMember `json:"devices"`
}

// PartyMemberChange changes what one of the party's devices does; what is left out stays.
type PartyMemberChange struct {
	Session SessionChoice `json:"session,omitempty" enum:"join,told,none"`
	// Gets are the kinds of data that it is to get; an empty list: every kind.
	Gets []DataKind `json:"gets,omitzero" enum:"text,link,file,place,profile,overlay,object" maxItems:"7"`
}

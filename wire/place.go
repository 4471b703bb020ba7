package wire

import (
	"time"

	"github.com/tandem-call/tandem/tel"
)

// A place is asked for and shared with the consent of whoever is there (SPEC F):
//
//	asker                        server                          the other's device
//	  | -- ask {check} ----------> | -- signal tandem.place.check -> |  can it?
//	  |                            | <------ ability --------------- |  silence is a no
//	  |                            | -- message tandem.place.ask --> |  its user is asked
//	  |                            | <------ answer {consent} ------ |  once, call, live, never
//	  | <-- message tandem.place - | <------ share {place} --------- |
//	  | <-- signal tandem.place -- | <------ share, again and again  |  live
//	  | <- message …place.stopped  | <------ stop, or the call ends  |
//
// Limits of places.
const (
	// PlaceCheckSeconds is how long a capability check waits for an answer.
	PlaceCheckSeconds = 5
	// MaxPlaceMinutes is the longest that a place can be shared live.
	MaxPlaceMinutes = 480
	// PlaceIntervalSeconds is the least time between two places of one device.
	PlaceIntervalSeconds = 1
	// CoarseMeters is how far off a coarse place may be.
	CoarseMeters = 2000
	// MaxPlaceAddress is the longest address of a place, in characters.
	MaxPlaceAddress = 512
	// MaxPlaceRules of a party, and MaxPlaceNever whom it never wants to be asked by.
	MaxPlaceRules = 200
	MaxPlaceNever = 1000
	// PlacePictureHours is how long the picture of a place can be fetched.
	PlacePictureHours = 24
	// PlaceNetworkMinutes is how long a place that the network has reported waits for its party's
	// consent, after the last report of it.
	PlaceNetworkMinutes = 60
)

// Kinds of message about places, all from the server.
const (
	KindPlace        = "tandem.place"         // body PlaceMessage; a signal while it is shared live
	KindPlaceCheck   = "tandem.place.check"   // a signal, body PlaceCheck: say what you can do
	KindPlaceAsk     = "tandem.place.ask"     // body PlaceAsked: ask the user
	KindPlaceStopped = "tandem.place.stopped" // body PlaceStopped
)

// PlaceShow says how a device can show a place.
type PlaceShow string

// Ways to show a place.
const (
	ShowMap     PlaceShow = "map"     // it draws a map itself
	ShowPicture PlaceShow = "picture" // it can show a picture (PNG)
	ShowLink    PlaceShow = "link"    // it can open a link
	ShowNone    PlaceShow = "none"    // words only; what holds when nothing was heard
)

// PlaceAbility is what a device can do about places, in a session.
type PlaceAbility struct {
	// Provide: it can say where it is, if its user agrees.
	Provide bool      `json:"provide"`
	Show    PlaceShow `json:"show" enum:"map,picture,link,none"`
	// PIDFLO: it wants places as PIDF-LO too, as networks and emergency services do.
	PIDFLO bool `json:"pidf_lo,omitempty"`
}

// PlaceCheck asks a device for its ability.
type PlaceCheck struct {
	// TimeoutSeconds until silence counts as a no.
	TimeoutSeconds int `json:"timeout_s"`
}

// PlaceCheckRequest asks what another member's device can do.
type PlaceCheckRequest struct {
	To MemberID `json:"to" maxLength:"64"`
}

// PlaceAskRequest asks for another member's place.
type PlaceAskRequest struct {
	To MemberID `json:"to" maxLength:"64"`
	// Check first, in the same step: a device that cannot is not asked.
	Check bool `json:"check,omitempty"`
	// Minutes for which it would be followed; zero: only once.
	Minutes int `json:"minutes,omitempty" minimum:"0" maximum:"480"`
}

// PlaceAskedFor says whether the other was asked.
type PlaceAskedFor struct {
	// Request is what the answer will name; empty: the device cannot.
	Request string `json:"request,omitempty"`
	// Ability as the check found it.
	Ability PlaceAbility `json:"ability"`
}

// PlaceAsked asks the user of a device for its place.
type PlaceAsked struct {
	// Request to name in the answer.
	Request string `json:"request"`
	// Minutes for which the other would follow; zero: only once.
	Minutes int `json:"minutes,omitempty"`
	// Consent that is there already, by a rule of the user's or for the whole call: the device
	// shares its place without asking.
	Consent Consent `json:"consent,omitempty"`
	// Until such a consent holds, if it is live.
	Until time.Time `json:"until,omitzero"`
}

// Consent is what somebody who is asked for a place says.
type Consent string

// Consents.
const (
	ConsentOnce  Consent = "once"  // this one time
	ConsentCall  Consent = "call"  // as often as it is asked, until the call ends
	ConsentLive  Consent = "live"  // for some minutes, until the call ends at the latest
	ConsentNo    Consent = "no"    // not now
	ConsentNever Consent = "never" // nor ever again, by that party
)

// PlaceAnswer answers who asks for a place.
type PlaceAnswer struct {
	Request string  `json:"request" maxLength:"64"`
	Consent Consent `json:"consent" enum:"once,call,live,no,never"`
	// Minutes, for live.
	Minutes int `json:"minutes,omitempty" minimum:"0" maximum:"480"`
	// Coarse: within some two kilometres only.
	Coarse bool `json:"coarse,omitempty"`
}

// Place is a GeoJSON Feature (RFC 7946 3.2) with a point.
type Place struct {
	// Type is "Feature".
	Type string `json:"type" enum:"Feature"`
	// Geometry is the point.
	Geometry PlacePoint `json:"geometry"`
	// Properties of the measurement.
	Properties PlaceProperties `json:"properties"`
}

// PlacePoint is a GeoJSON Point (RFC 7946 3.1.2).
type PlacePoint struct {
	// Type is "Point".
	Type string `json:"type" enum:"Point"`
	// Coordinates are longitude and latitude in degrees (WGS 84), and the altitude in metres if it is known.
	Coordinates []float64 `json:"coordinates" minItems:"2" maxItems:"3"`
}

// PlaceProperties say how a place was measured.
type PlaceProperties struct {
	// Accuracy is the radius around the point, in metres; zero: not known.
	Accuracy float64 `json:"accuracy_m,omitempty" minimum:"0"`
	// Speed over ground, in metres a second.
	Speed *float64 `json:"speed_mps,omitempty" minimum:"0"`
	// Heading in degrees clockwise from true north.
	Heading *float64 `json:"heading_deg,omitempty" minimum:"0" maximum:"360"`
	// Time of the measurement.
	Time time.Time `json:"time,omitzero"`
	// Address in words, where whoever says the place knows it.
	Address string `json:"address,omitempty" maxLength:"512"`
}

// PlaceShare shares the caller's place, at its user's touch, or as an answer.
type PlaceShare struct {
	// Place to share; or URI, PIDFLO, or Network.
	Place *Place `json:"place,omitempty"`
	// URI is the place as a geo: URI (RFC 5870), instead of Place.
	URI string `json:"uri,omitempty" maxLength:"256"`
	// PIDFLO is the place as a PIDF-LO document (RFC 4119, 5491), instead of Place.
	PIDFLO string `json:"pidf_lo,omitempty" maxLength:"65536"`
	// Network: the place that the network has reported of the caller's party for this call.
	Network bool `json:"network,omitempty"`
	// Request that it answers; it goes to whoever asked.
	Request string `json:"request,omitempty" maxLength:"64"`
	// To members; without it, all others. Not with Request.
	To []MemberID `json:"to,omitempty" maxItems:"64"`
	// Minutes for which it is shared live, from the first time on; zero: this once.
	Minutes int `json:"minutes,omitempty" minimum:"0" maximum:"480"`
	// Coarse: within some two kilometres only.
	Coarse bool `json:"coarse,omitempty"`
}

// PlaceShared says to whom a place went.
type PlaceShared struct {
	To []MemberID `json:"to"`
	// Until it is shared live, unless the call ends before.
	Until time.Time `json:"until,omitzero"`
}

// PlaceMessage is the sender's place.
type PlaceMessage struct {
	// Place as GeoJSON.
	Place Place `json:"place"`
	// URI is the same as a geo: URI.
	URI string `json:"uri"`
	// Words say the place to those who see no map.
	Words string `json:"words"`
	// Link shows it at the mapping service that the operator chose, for devices that open links.
	Link string `json:"link,omitempty"`
	// Picture is the address of a map of it (PNG), for devices that show pictures. Whoever has
	// the address can fetch it, for a day.
	Picture string `json:"picture,omitempty"`
	// PIDFLO is the same as a PIDF-LO document, for devices that want it.
	PIDFLO string `json:"pidf_lo,omitempty"`
	// Live: more follow, until the time that Until says.
	Live bool `json:"live,omitempty"`
	// Until it is shared.
	Until time.Time `json:"until,omitzero"`
	// Coarse: it was made inexact.
	Coarse bool `json:"coarse,omitempty"`
	// Request that it answers.
	Request string `json:"request,omitempty"`
}

// PlaceStopped says that the sender's place is shared no more.
type PlaceStopped struct {
	// Reason is "stopped", "time" or "call_ended".
	Reason string `json:"reason"`
}

// PlaceGroup names several parties at once in a rule.
type PlaceGroup string

// Groups.
const (
	GroupEmergency PlaceGroup = "emergency" // emergency services, as the operator lists them
	GroupProviders PlaceGroup = "providers" // companies that serve callers, as the operator lists them
	GroupContacts  PlaceGroup = "contacts"  // who is in the party's address book
)

// PlaceRule lets a party's place out without a question each time (SPEC F3). Numbers that a
// call withholds are under no rule.
type PlaceRule struct {
	// Group or Identity: with whom.
	Group    PlaceGroup   `json:"group,omitempty" enum:"emergency,providers,contacts"`
	Identity tel.Identity `json:"identity,omitzero"`
	// Consent that holds when they ask: "call" or "live".
	Consent Consent `json:"consent" enum:"call,live"`
	// Minutes, for live.
	Minutes int `json:"minutes,omitempty" minimum:"0" maximum:"480"`
	// Coarse: within some two kilometres only.
	Coarse bool `json:"coarse,omitempty"`
	// Unasked: it is shared by itself when a session opens and the other's device can show it.
	Unasked bool `json:"unasked,omitempty"`
}

// PlaceRules are what a party has settled about its place once and for all.
type PlaceRules struct {
	// Rules, of which the first that fits holds.
	Rules []PlaceRule `json:"rules" maxItems:"200"`
	// Never asked again are these.
	Never []tel.Identity `json:"never" maxItems:"1000"`
}

// PlaceRuleFor says which rule holds for another member of a session.
type PlaceRuleFor struct {
	Member MemberID  `json:"member"`
	Rule   PlaceRule `json:"rule"`
}

// PlaceRulesHere lists them for a session.
type PlaceRulesHere struct {
	Rules []PlaceRuleFor `json:"rules"`
}

// NetworkPlace is where the network says that the caller's own party is. Only the party sees it,
// until it shares it.
type NetworkPlace struct {
	Place Place  `json:"place"`
	URI   string `json:"uri"`
	Words string `json:"words"`
	// At is when it was reported, Until when it is forgotten, if the call has not ended before.
	At    time.Time `json:"at"`
	Until time.Time `json:"until"`
}

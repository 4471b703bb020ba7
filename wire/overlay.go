package wire

import (
	"encoding/json"
	"time"

	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/tel"
)

// Kinds of messages about overlays (SPEC I): the server's own, which say what it has checked.
// The overlay itself is of the kind [overlay.Kind].
const (
	KindOverlayShown  = "tandem.overlay.shown"  // body OverlayShown
	KindOverlayResult = "tandem.overlay.result" // body OverlayResult
)

// Where the value of a template's parameter comes from.
const (
	FromAgent    = "agent"    // what the agent enters
	FromService  = "service"  // what the provider's own server, or system, gives
	FromCustomer = "customer" // what the customer has sent in this session
)

// OverlayParameter is something that is filled into a template: for {{id}} in its document.
type OverlayParameter struct {
	overlay.Field
	From string `json:"from,omitempty" enum:"agent,service,customer" doc:"Who gives the value; agent if absent"`
	// Of says what of the customer's is meant: "REGION.FIELD" of a form, "REGION" of what was
	// chosen there or where it is to be sent, or "place", a geo URI (RFC 5870).
	Of string `json:"of,omitempty" maxLength:"129" doc:"For customer: REGION.FIELD, REGION, or place"`
	// Default where nobody gives a value.
	Default []string `json:"default,omitempty" maxItems:"500"`
	// Example with which the template is tried when it is published.
	Example []string `json:"example,omitempty" maxItems:"500"`
}

// OverlayWhen makes an overlay a predetermined one, which is sent when a session opens (I2).
// Each list that is empty means any.
type OverlayWhen struct {
	Queues    []string `json:"queues,omitempty" maxItems:"64" doc:"Queues of the contact centre, as call reports name them"`
	Languages []string `json:"languages,omitempty" maxItems:"32" doc:"Languages of the customer's device, BCP 47"`
	Days      []string `json:"days,omitempty" maxItems:"7" doc:"mon, tue, wed, thu, fri, sat, sun"`
	// From and To are times of the day; To is excluded, and may be before From.
	From string `json:"from,omitempty" maxLength:"5" doc:"Time of day, 09:00"`
	To   string `json:"to,omitempty" maxLength:"5" doc:"Time of day, 17:30"`
	// Zone of Days, From and To; empty: UTC.
	Zone string `json:"zone,omitempty" maxLength:"64" doc:"Time zone of IANA's list, like Europe/London"`
}

// OverlayDraft is what an overlay is published from.
type OverlayDraft struct {
	// Title is what agents see, by language.
	Title map[string]string `json:"title" doc:"What agents see, by language"`
	// Numbers that it belongs to: a session's side that is one of them is the provider's.
	Numbers []string `json:"numbers" minItems:"1" maxItems:"100" doc:"Numbers and other identities, or beginnings of numbers, whose sessions it is for"`
	// Document is the overlay, with {{parameters}} in its texts; absent: all of it comes from URL.
	Document json.RawMessage `json:"document,omitempty" doc:"The overlay; {{ID}} in a text stands for a parameter"`
	// Parameters of the document.
	Parameters []OverlayParameter `json:"parameters,omitempty" maxItems:"16"`
	// When it is sent without being asked for; absent: only an agent sends it.
	When *OverlayWhen `json:"when,omitempty"`
	// URL of the provider's own server, which is asked for values or for the whole overlay.
	URL string `json:"url,omitempty" maxLength:"2048" doc:"The provider's own server, asked by a signed request"`
}

// OverlayVersion is a published state of an overlay.
type OverlayVersion struct {
	Version int       `json:"version"`
	At      time.Time `json:"at"`
}

// StoredOverlay is an overlay in the server's store.
type StoredOverlay struct {
	Name  string       `json:"name"`
	Draft OverlayDraft `json:"draft"`
	// Live is the version in use; 0: none.
	Live     int              `json:"live"`
	Versions []OverlayVersion `json:"versions"`
	Changed  time.Time        `json:"changed"`
	// Secret that signs requests to the draft's URL, once: when it is made.
	Secret string `json:"secret,omitempty" doc:"Shown once: what signs requests to the url"`
}

// StoredOverlayList lists stored overlays.
type StoredOverlayList struct {
	Overlays []StoredOverlay `json:"overlays"`
}

// OverlayRollback makes an earlier version the live one.
type OverlayRollback struct {
	Version int `json:"version" minimum:"0" doc:"A version of the list; 0: none is live"`
}

// OverlayTemplate is a live overlay, as whoever may send it sees it.
type OverlayTemplate struct {
	Name       string             `json:"name"`
	Title      map[string]string  `json:"title"`
	Version    int                `json:"version"`
	Parameters []OverlayParameter `json:"parameters"`
}

// OverlayTemplateList lists templates.
type OverlayTemplateList struct {
	Templates []OverlayTemplate `json:"templates"`
}

// OverlayFill fills a template.
type OverlayFill struct {
	Template string `json:"template" maxLength:"64"`
	// Values of the parameters, by their ids; seats take several, all others one.
	Values map[string][]string `json:"values,omitempty"`
}

// OverlayFilled is a template that has been filled and checked.
type OverlayFilled struct {
	Document json.RawMessage `json:"document"`
}

// OverlaySend sends an overlay into a session: a template, or a whole document.
type OverlaySend struct {
	// ID of the request: the same id is sent once.
	ID       RequestID           `json:"id" minLength:"1" maxLength:"64"`
	To       []MemberID          `json:"to,omitempty" maxItems:"1000" doc:"Members addressed; none: all others"`
	Template string              `json:"template,omitempty" maxLength:"64"`
	Values   map[string][]string `json:"values,omitempty"`
	Document json.RawMessage     `json:"document,omitempty" doc:"Instead of a template"`
}

// OverlaySent says that an overlay is stored in the session.
type OverlaySent struct {
	Sent
	// Overlay is the document's id.
	Overlay string `json:"overlay"`
}

// Whether an overlay is on the screen.
const (
	OverlayIsShown    = "shown"
	OverlayShowFailed = "failed"
)

// OverlayShown confirms that a device shows an overlay, or says why not (I4).
type OverlayShown struct {
	// Seq of the message with the overlay.
	Seq uint64 `json:"seq" minimum:"1"`
	// Overlay is the document's id.
	Overlay string `json:"overlay"`
	// State is shown or failed.
	State string `json:"state" enum:"shown,failed"`
	// Reason of failed: a code such as not_valid.
	Reason string `json:"reason,omitempty"`
}

// OverlayResult says what came of an action at a region's touch (I6).
type OverlayResult struct {
	// Seq of the message with the overlay.
	Seq uint64 `json:"seq"`
	// Overlay is the document's id.
	Overlay string `json:"overlay"`
	overlay.Answer
	// Payment that was done or not, of pay and buy: the payment server's word, not the device's.
	Payment *OverlayPayment `json:"payment,omitempty"`
}

// OverlayPayment is what came of a payment.
type OverlayPayment struct {
	// ID of the payment.
	ID PaymentID `json:"id"`
	// Item that was to be paid, as the overlay has it.
	Item string `json:"item"`
	// Amount as the overlay has it.
	Amount overlay.Amount `json:"amount"`
	// Reference by which the payment server knows what was paid.
	Reference string `json:"reference,omitempty"`
}

// OverlayShow is a device's word that it shows an overlay, or not.
type OverlayShow struct {
	State  string `json:"state" enum:"shown,failed"`
	Reason string `json:"reason,omitempty" maxLength:"64" pattern:"^[a-z0-9_]*$" doc:"A code, where it failed"`
}

// OverlayAnswer is a device's word of what came of an action.
type OverlayAnswer struct {
	// ID of the request: the same id counts once.
	ID RequestID `json:"id" minLength:"1" maxLength:"64"`
	overlay.Answer
}

// OverlayQuestion is what a provider's own server is asked, by POST and signed as Standard
// Webhooks says (I2, I3).
type OverlayQuestion struct {
	Overlay string    `json:"overlay"`
	Version int       `json:"version"`
	Session SessionID `json:"session"`
	// Number of the provider's that was called.
	Number tel.Identity `json:"number"`
	Queue  string       `json:"queue,omitempty"`
	// Language of the customer's device.
	Language string    `json:"language,omitempty"`
	Time     time.Time `json:"time"`
	// Values that are known already.
	Values map[string][]string `json:"values,omitempty"`
}

// OverlaySource is what a provider's own server answers: the whole overlay, or values for the
// template that is stored.
type OverlaySource struct {
	Document json.RawMessage     `json:"document,omitempty"`
	Values   map[string][]string `json:"values,omitempty"`
	// KeepSeconds is how long the answer may serve other calls while the server does not answer.
	// Absent: it is for this call only.
	KeepSeconds int `json:"keep_s,omitempty"`
}

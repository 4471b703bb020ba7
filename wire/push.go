package wire

import (
	"time"
)

// PushID is what a push notification carries, and all that it carries: whoever received the
// push returns it to learn what it is about, and may answer with it (A9, B7). It cannot be
// guessed and ends with its matter.
type PushID string

// PushKind says what a device was woken for.
type PushKind string

// Reasons to wake a device.
const (
	PushInvite  PushKind = "invite"  // it is asked to join a session (B2)
	PushWords   PushKind = "words"   // two words are to be read aloud, or typed (A10)
	PushSession PushKind = "session" // a session was opened for it (B9)
	PushData    PushKind = "data"    // messages wait for it in a session (C5)
	PushNotice  PushKind = "notice"  // its user should know something
	PushTest    PushKind = "test"    // an operator tries whether pushes arrive
)

// Push is what a device was woken for: the answer to GET /v1/pushes/{id}.
type Push struct {
	ID   PushID   `json:"id"`
	Kind PushKind `json:"kind" enum:"invite,words,session,data,notice,test"`
	// Until is when it lapses.
	Until time.Time `json:"until"`
	// Withdrawn says why it is no more ("answered", "call_over", "joined", "expired",
	// "refused", "other_call", "closed"): take the notification off the screen.
	Withdrawn string `json:"withdrawn,omitempty" doc:"Why it is no more; take the notification off the screen"`
	// Unasked, for invite: the device's user lets it join without being asked.
	Unasked bool `json:"unasked,omitempty"`
	// Invite, for invite.
	Invite *Invite `json:"invite,omitempty"`
	// Words, for words.
	Words *Words `json:"words,omitempty"`
	// Session, for session and data.
	Session SessionID `json:"session,omitempty"`
	// Notice, for notice.
	Notice *Notice `json:"notice,omitempty"`
}

// PushAnswer answers an invitation from the notification itself.
type PushAnswer struct {
	Accept bool `json:"accept"`
}

// PushJoin has a device join the session of the invitation that woke it, without asking its
// user, who has set it so (B14).
type PushJoin struct {
	// Report is the device's own evidence: its telephone is in a call at this moment. Where the
	// telephone does not tell who the other is, other is left out.
	Report Report `json:"report"`
}

// Validate demands what the device's telephone shows. ErrFrame, tel.ErrDetails.
func (j PushJoin) Validate() error { return j.Report.Validate() }

// PushKey is the server's public key for Web Push (RFC 8292): what a page subscribes with.
type PushKey struct {
	Key string `json:"key" doc:"applicationServerKey: an uncompressed point on P-256, base64url"`
}

// PushTestRequest tries to wake a party's devices (operators only).
type PushTestRequest struct {
	Number string `json:"number" maxLength:"512" doc:"An identity of the party, normally its number"`
}

// PushTested is what came of it, device by device.
type PushTested struct {
	Device   DeviceID `json:"device"`
	Name     string   `json:"name,omitempty"`
	Platform string   `json:"platform,omitempty" doc:"Push service; none where the device has no application id"`
	// Outcome: accepted, gone, refused, failed, no_app or not_configured.
	Outcome string `json:"outcome" doc:"accepted, gone, refused, failed, no_app or not_configured"`
	// Detail in words, where it did not work.
	Detail string `json:"detail,omitempty"`
	Millis int64  `json:"ms"`
}

// PushTestedList lists them.
type PushTestedList struct {
	Devices []PushTested `json:"devices"`
}

// Way is a way to reach a party that is not connected.
type Way string

// Ways.
const (
	WayPush Way = "push" // its devices, by push
	WayText Way = "text" // its number, by text message with a link
)

// Reach is how a party prefers to be invited: in this order, each way some time after the one
// before it has brought no answer. Devices that are connected are asked at once.
type Reach struct {
	Ways []Way `json:"ways" enum:"push,text" maxItems:"2"`
}

// GuestRequest opens the link that a party without a client got by text message (D4).
type GuestRequest struct {
	// Link is the identifier at the link's end: what follows /g/.
	Link PushID `json:"link" maxLength:"64"`
	Key  JWK    `json:"key" doc:"Public key that the page has made for itself"`
	// Assertion proves possession of the key: as in EnrolConfirm, over the link's identifier.
	Assertion string `json:"assertion" maxLength:"2048" doc:"JWS by the key over the link's identifier"`
	Name      string `json:"name,omitempty" maxLength:"64" doc:"Name shown to the other party"`
	Client    string `json:"client,omitempty" maxLength:"64" doc:"Software and version"`
}

// LinkInstalled says that the device was installed by way of a link (D4).
type LinkInstalled struct {
	Link PushID `json:"link" maxLength:"64"`
}

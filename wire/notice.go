package wire

import "time"

// TypeNotice, from the server: something that the user of the device should know,
// outside any session. Body Notice.
const TypeNotice Type = "notice"

// NoticeNewDevice: a further device has proved one of this party's numbers; Name is what
// it calls itself. Whoever did not do that should ask the operator to revoke it.
const NoticeNewDevice = "new-device"

// Notices to agents' browsers, which read again what they show (SPEC I1). They wake nobody.
const (
	// NoticeAgent: the state of the device's own agent has changed, or what is known of a session
	// that it is in.
	NoticeAgent = "agent"
	// NoticeAgents, to supervisors, at most once a second: the states of the provider's agents have
	// changed.
	NoticeAgents = "agents"
	// NoticeLook, to a supervisor, at most once a second: there is something new in the session that
	// it looks into.
	NoticeLook = "look"
)

// NoticePayment: a payment that this device began has gone on; Name is the session's id. The device reads the session's
// payments again. The other devices of its side get the outcome as a message (SPEC I6).
const NoticePayment = "payment"

// Notice tells the user of a device something.
type Notice struct {
	// Code says what happened: "new-device", "agent", "agents", "look", "payment", or one that is not known yet.
	Code string `json:"code"`
	// Name of what it is about.
	Name string `json:"name,omitempty"`
	// At is when it happened.
	At time.Time `json:"at"`
}

// KindFileProgress is a signal to the members: how much of an upload has arrived. Body
// FileProgress.
const KindFileProgress = "file.progress"

// FileProgress of an upload that another member makes.
type FileProgress struct {
	// ID of the file.
	ID FileID `json:"id"`
	// Name of the file.
	Name string `json:"name"`
	// Offset is how many bytes have arrived.
	Offset int64 `json:"offset"`
	// Size of the whole, in bytes.
	Size int64 `json:"size"`
	// Gone says that the sender has taken it back: no more of it will arrive.
	Gone bool `json:"gone,omitempty"`
}

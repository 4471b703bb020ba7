package wire

import "github.com/tandem-call/tandem/tel"

// Sender says who sends a type of envelope, or a kind of message.
type Sender string

// Senders.
const (
	FromDevice Sender = "device"
	FromServer Sender = "server"
	FromBoth   Sender = "both"
)

// TypeInfo is what the protocol says of one type of envelope. The schemas and
// docs/reference/problems.md show the same table.
type TypeInfo struct {
	Type   Type
	Sender Sender
	// Required and Optional list the fields besides "type"; a device may use no others.
	Required, Optional []string
	// Body is a zero value of the body's Go type; nil if the kind decides, or there is none.
	Body any
	// Summary in a sentence.
	Summary string
}

// Types is the table that [Decode] holds devices to.
var Types = []TypeInfo{
	{TypeHello, FromDevice, []string{"body"}, []string{"id"}, Hello{}, "The first frame: proves which device this is."},
	{TypeReport, FromDevice, []string{"id", "body"}, nil, Report{}, "A call report."},
	{TypeAsk, FromDevice, []string{"id", "body"}, nil, Ask{}, "Asks for a session beside a call."},
	{TypeSend, FromDevice, []string{"id", "session", "kind"}, []string{"fresh", "to", "body"}, nil, "A message for other members: stored, and acknowledged once it is."},
	{TypeSignal, FromDevice, []string{"session", "kind"}, []string{"id", "to", "body"}, nil, "As send, but not stored: it may be lost. Only a fault is answered."},
	{TypeResume, FromDevice, []string{"id", "session"}, []string{"body"}, Resume{}, "Asks for what was missed; without a body for everything."},
	{TypeAnswer, FromDevice, []string{"id", "body"}, nil, Answer{}, "Answers an invitation."},
	{TypeConfirm, FromDevice, []string{"id", "body"}, nil, Confirm{}, "Gives the words heard in the call."},
	{TypeExtend, FromDevice, []string{"id", "session", "body"}, nil, Extend{}, "Keeps a session longer after the call."},
	{TypeLeave, FromDevice, []string{"id", "session"}, []string{"body"}, Leave{}, "Leaves a session."},

	{TypeChallenge, FromServer, []string{"body"}, nil, Challenge{}, "Opens the conversation with a nonce to sign."},
	{TypeWelcome, FromServer, []string{"body"}, []string{"id"}, Welcome{}, "Ends the authentication."},
	{TypeAck, FromServer, []string{"id"}, []string{"session", "seq", "epoch", "time", "body"}, Ack{}, "The request was carried out and stored."},
	{TypeError, FromServer, []string{"body"}, []string{"id", "session"}, Problem{}, "The request failed; without an id, a frame that could not be read."},
	{TypeMessage, FromServer, []string{"session", "kind"}, []string{"id", "seq", "epoch", "from", "to", "time", "body"}, nil, "A message of another member, or with a kind of the server's own. A signal has no seq."},
	{TypeSession, FromServer, []string{"session", "body"}, []string{"seq", "epoch", "time"}, SessionState{}, "The session was opened, changed or closed."},
	{TypeAvailable, FromServer, []string{"body"}, []string{"time"}, Available{}, "A session that the device may join was opened, changed or closed."},
	{TypeResumed, FromServer, []string{"id", "session", "body"}, nil, Resumed{}, "Follows the last missed message."},
	{TypeInvite, FromServer, []string{"body"}, nil, Invite{}, "Invites to a session with the party in the call."},
	{TypeWithdrawn, FromServer, []string{"body"}, nil, Withdrawn{}, "An invitation is no more."},
	{TypeWords, FromServer, []string{"body"}, nil, Words{}, "Words to read aloud in the call, or to type."},
	{TypeNotice, FromServer, []string{"body"}, nil, Notice{}, "Something that the user should know, outside any session."},

	{TypePing, FromBoth, nil, []string{"id"}, nil, "Are you there? Sent after the heartbeat interval has passed in silence, by a device also when an answer is due and nothing comes, and by the server while it carries out a request that takes its time."},
	{TypePong, FromBoth, nil, []string{"id"}, nil, "Answers ping, with its id."},
}

// fields is a set of an envelope's fields.
type fields uint16

// The fields of an envelope, in the order in which they are written.
const (
	fieldType fields = 1 << iota
	fieldID
	fieldFresh
	fieldSession
	fieldSeq
	fieldEpoch
	fieldFrom
	fieldTo
	fieldKind
	fieldTime
	fieldBody
)

var fieldNames = [...]string{"type", "id", "fresh", "session", "seq", "epoch", "from", "to", "kind", "time", "body"}

// names lists the fields of the set.
func (f fields) names() (names []string) {
	for i, name := range fieldNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

func fieldSet(names []string) (set fields) {
	for _, name := range names {
		for i := range fieldNames {
			if fieldNames[i] == name {
				set |= 1 << i
			}
		}
	}
	return set
}

// rule is a row of Types, as Decode wants it.
type rule struct {
	name              Type
	sender            Sender
	required, allowed fields
}

var rules = func() map[string]rule {
	m := make(map[string]rule, len(Types))
	for _, t := range Types {
		r := rule{t.Type, t.Sender, fieldSet(t.Required) | fieldType, 0}
		r.allowed = r.required | fieldSet(t.Optional)
		m[string(t.Type)] = r
	}
	return m
}()

// Validate holds a hello to its limits. ErrFrame.
func (h Hello) Validate() error {
	switch {
	case h.Assertion == "":
		return fault("assertion is empty")
	case len(h.Assertion) > maxAssertion:
		return fault("assertion is longer than %d bytes", maxAssertion)
	case len(h.Client) > tel.MaxDetail:
		return fault("client is longer than %d bytes", tel.MaxDetail)
	}
	return nil
}

// MaxPassports of a report, and the longest of them, in bytes.
const (
	MaxPassports = 4
	MaxPassport  = 4096
)

// maxAssertion is the longest assertion of a hello, in bytes.
const maxAssertion = 4096

// Validate checks everything but who is named: the server knows the device's own party.
// tel.ErrDetails, ErrFrame.
func (r Report) Validate() error {
	if r.TTLSeconds < 0 {
		return fault("ttl_s is negative")
	}
	if len(r.Passports) > MaxPassports {
		return fault("passports are more than %d", MaxPassports)
	}
	for _, p := range r.Passports {
		if p == "" || len(p) > MaxPassport {
			return fault("a passport has 1 to %d bytes", MaxPassport)
		}
	}
	return r.ValidateFields()
}

// Validate demands an invitation's id. ErrFrame.
func (a Answer) Validate() error { return validInvitation(a.Invitation) }

// Validate demands an invitation's id and words. ErrFrame.
func (c Confirm) Validate() error {
	if c.Words == "" || len(c.Words) > tel.MaxDetail {
		return fault("words has 1 to %d bytes", tel.MaxDetail)
	}
	return validInvitation(c.Invitation)
}

func validInvitation(id InvitationID) error {
	if !ValidID(string(id)) {
		return fault("invitation is not an id: 1 to %d letters, digits, _ or -", MaxID)
	}
	return nil
}

// Validate demands a time. ErrFrame.
func (e Extend) Validate() error {
	if e.Seconds <= 0 {
		return fault("seconds is not more than 0")
	}
	return nil
}

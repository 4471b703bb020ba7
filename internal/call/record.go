package call

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Kind says whose calls a record holds.
type Kind string

// Kinds of record.
const (
	Pair       Kind = "pair"       // two parties that name each other
	Conference Kind = "conference" // all who are in one conference (B10, K)
	Partial    Kind = "partial"    // one party in a call with somebody it does not name (A10)
)

// Record is all that is known of the calls of a pair, a conference, or a party that names
// nobody. It is kept as one record of the store and changed by compare-and-set only. The
// zero Record is one that does not exist yet.
type Record struct {
	// Life is fresh for each record made under the same key.
	Life   string        `json:"life"`
	Tenant wire.TenantID `json:"tenant"`
	Key    string        `json:"key"`
	Kind   Kind          `json:"kind"`
	// Parties of a pair are in the order of their identities, so that both sides'
	// reports find the same record. A conference's are in the order of their arrival.
	Parties []Party `json:"parties"`
	// Blocked: one of a pair wants no sessions with the other.
	Blocked bool `json:"blocked,omitempty"`
	// Number of a conference, where its callers named one.
	Number     tel.Identity `json:"number,omitzero"`
	Statements []Statement  `json:"statements,omitempty"`
	Joints     []Joint      `json:"joints,omitempty"`
	// Question that a pair has been asked, kept while the call lasts.
	Question *Question `json:"question,omitempty"`
	// Asked lists when the pair was asked lately, for the limit.
	Asked []time.Time `json:"asked,omitempty"`
	// Diverts are the calls of the pair that others have, kept while somebody speaks of them.
	Diverts []Divert `json:"diverts,omitempty"`
	// Pending effects, in their order; Effects counts all there have been.
	Pending []Effect  `json:"pending,omitempty"`
	Effects uint64    `json:"effects,omitempty"`
	Touched time.Time `json:"touched"`
}

// Party is one participant.
type Party struct {
	// Identity is the principal one, by which parties are told apart.
	Identity tel.Identity `json:"identity"`
	// Shared by many callers: a trunk, a contact centre's number.
	Shared bool `json:"shared,omitempty"`
	// Reachable: the party has a device with a proof that has not expired.
	Reachable bool `json:"reachable,omitempty"`
	// Invitable: the party has none, and can be invited all the same, by text message (D4).
	Invitable bool `json:"invitable,omitempty"`
}

// Joint is a data session that legs were joined in.
type Joint struct {
	Session wire.SessionID `json:"session"`
	Opened  time.Time      `json:"opened"`
	// Ended is when a side's last active leg ended; zero while the call is up.
	Ended time.Time `json:"ended,omitzero"`
	// Gone is when the session core closed the session.
	Gone time.Time `json:"gone,omitzero"`
	// Single: a later call is never joined to it (a shared, unnamed or withheld identity,
	// or somebody has left).
	Single bool `json:"single,omitempty"`
	// Sides that were joined, and the devices that spoke of their legs.
	Sides   []int           `json:"sides"`
	Devices []wire.DeviceID `json:"devices,omitempty"`
	// Handed lists the devices that it was handed to (hand.go).
	Handed []wire.DeviceID `json:"handed,omitempty"`
}

func (j Joint) inCall() bool { return j.Ended.IsZero() && j.Gone.IsZero() }

// Question asks the people of a pair what their telephones do not tell (ask.go).
type Question struct {
	ID wire.InvitationID `json:"id"`
	// Side that is asked first; the claimant is the other.
	Side int `json:"side"`
	// Words to be read aloud by the side asked; empty for a plain invitation (B2).
	Words string        `json:"words,omitempty"`
	State QuestionState `json:"state"`
	Until time.Time     `json:"until"`
	// Told is when somebody was last told of it.
	Told time.Time `json:"told,omitzero"`
	// By is the device that answered.
	By wire.DeviceID `json:"by,omitempty"`
	// Tries that have failed, and the newest attempt, so that a repetition is known.
	Tries   int    `json:"tries,omitempty"`
	Attempt string `json:"attempt,omitempty"`
}

// QuestionState is how far a question has come.
type QuestionState string

// States of a question. All but Open, Typing and Waiting are final for the call.
const (
	Open     QuestionState = "open"     // waits for the side that is asked
	Typing   QuestionState = "typing"   // that side reads, the claimant types
	Heard    QuestionState = "heard"    // the words were right
	Taken    QuestionState = "taken"    // the invitation was accepted
	Declined QuestionState = "declined" // the side asked said no
	Refused  QuestionState = "refused"  // too many wrong words
	Lapsed   QuestionState = "lapsed"   // time ran out, or the legs were joined without it
	Waiting  QuestionState = "waiting"  // not shown, or not any more: the party speaks to somebody else
	NotPut   QuestionState = "not_put"  // the party was asked too often
)

// pending: somebody sees it.
func (s QuestionState) pending() bool { return s == Open || s == Typing }

// inviting: it is an invitation, which is shown as long as its party speaks to nobody else.
func (q *Question) inviting() bool {
	return q != nil && q.Words == "" && (q.State == Open || q.State == Waiting)
}

// PartialPolicy is the operator's choice for details that name one party only.
type PartialPolicy string

// Policies for partial details.
const (
	PartialConfirm PartialPolicy = "confirm" // both people compare two words by voice
	PartialAuto    PartialPolicy = "auto"    // also where trusted elements vouch for both legs
	PartialOff     PartialPolicy = "off"
)

// Rules are the machine's settings. A zero field stands for its default.
type Rules struct {
	// Lease is the longest time that a statement stands without repetition; 2 minutes.
	Lease time.Duration
	// Skew is how far clocks may be apart; 30 seconds.
	Skew time.Duration
	// InviteDelay is how long one side must be up alone before the other is invited; 2
	// seconds. Negative: nobody is invited.
	InviteDelay time.Duration
	// QuestionTTL is how long a question stays open within a call; 10 minutes.
	QuestionTTL time.Duration
	// QuestionsPerHour limits the questions to one pair; 3.
	QuestionsPerHour int
	// Tries at typing the words; 3.
	Tries int
	// Partial policy; PartialConfirm.
	Partial PartialPolicy
	// Retention of call details after the call's last sign of life and its session; 10 minutes.
	Retention time.Duration
	// Abandon is how long all legs of a joined call may be unknown until it counts as ended; 1 hour.
	Abandon time.Duration
	// MinSession and MinInvitation are the least evidence with which a leg counts towards a
	// session, and has the other side invited; Typed.
	MinSession, MinInvitation Evidence
	// Statements that a pair's record holds; 32. A conference holds eight times as many.
	Statements int
	// Calls is with how many others a party may be in calls at once, as its devices and users say; 100.
	// Those that are over count as long as they are kept.
	Calls int
}

func (r Rules) withDefaults() (Rules, error) {
	for _, d := range []struct {
		v    *time.Duration
		zero time.Duration
		name string
	}{
		{&r.Lease, 2 * time.Minute, "Lease"},
		{&r.Skew, 30 * time.Second, "Skew"},
		{&r.QuestionTTL, 10 * time.Minute, "QuestionTTL"},
		{&r.Retention, 10 * time.Minute, "Retention"},
		{&r.Abandon, time.Hour, "Abandon"},
	} {
		if *d.v < 0 {
			return r, fmt.Errorf("call: rule %s is negative", d.name)
		}
		if *d.v == 0 {
			*d.v = d.zero
		}
	}
	if r.InviteDelay == 0 {
		r.InviteDelay = 2 * time.Second
	}
	for _, n := range []struct {
		v    *int
		zero int
	}{{&r.QuestionsPerHour, 3}, {&r.Tries, 3}, {&r.Statements, 32}, {&r.Calls, 100}} {
		if *n.v < 0 {
			return r, errors.New("call: a rule's count is negative")
		}
		if *n.v == 0 {
			*n.v = n.zero
		}
	}
	switch r.Partial {
	case "":
		r.Partial = PartialConfirm
	case PartialConfirm, PartialAuto, PartialOff:
	default:
		return r, fmt.Errorf("call: rule Partial is %q; use confirm, auto or off", r.Partial)
	}
	for _, least := range []*Evidence{&r.MinSession, &r.MinInvitation} {
		switch *least {
		case "":
			*least = Typed
		case Typed, Observed, Trusted, Passport:
		default:
			return r, fmt.Errorf("call: the least evidence is %q; use typed, observed, trusted or passport", *least)
		}
	}
	if r.Statements > 64 {
		return r, errors.New("call: rule Statements is above 64: a record might outgrow the store")
	}
	return r, nil
}

// pairKey is where two parties' calls are kept, whoever reports them.
func pairKey(tenant wire.TenantID, a, b tel.Identity) string {
	if b.String() < a.String() {
		a, b = b, a
	}
	return store.Key(string(tenant), string(Pair), a.String(), b.String())
}

func conferenceKey(tenant wire.TenantID, number tel.Identity, id string) string {
	return store.Key(string(tenant), string(Conference), number.String(), id)
}

func partialKey(tenant wire.TenantID, own tel.Identity) string {
	return store.Key(string(tenant), string(Partial), own.String())
}

// side returns the place of a party, or -1.
func (r Record) side(id tel.Identity) int {
	return slices.IndexFunc(r.Parties, func(p Party) bool { return p.Identity == id })
}

// principals are the parties' identities.
func (r Record) principals() []tel.Identity {
	ids := make([]tel.Identity, len(r.Parties))
	for i, p := range r.Parties {
		ids[i] = p.Identity
	}
	return ids
}

// joint returns the joint of a session, or nil. It points into the record.
func (r Record) joint(id wire.SessionID) *Joint {
	for i := range r.Joints {
		if id != "" && r.Joints[i].Session == id {
			return &r.Joints[i]
		}
	}
	return nil
}

// session returns the session that a statement's leg is joined to, while it is open.
func (r Record) session(s Statement) wire.SessionID {
	if j := r.joint(s.Session); j != nil && j.Gone.IsZero() {
		return s.Session
	}
	return ""
}

// clone returns a copy that shares nothing that the machine changes.
func (r Record) clone() Record {
	r.Parties = slices.Clone(r.Parties)
	r.Statements = slices.Clone(r.Statements)
	r.Joints = slices.Clone(r.Joints)
	for i := range r.Joints {
		r.Joints[i].Sides = slices.Clone(r.Joints[i].Sides)
		r.Joints[i].Devices = slices.Clone(r.Joints[i].Devices)
		r.Joints[i].Handed = slices.Clone(r.Joints[i].Handed)
	}
	r.Asked = slices.Clone(r.Asked)
	r.Diverts = slices.Clone(r.Diverts)
	r.Pending = slices.Clone(r.Pending)
	if r.Question != nil {
		q := *r.Question
		r.Question = &q
	}
	return r
}

// Phase is what a pair's record is doing, in one word.
type Phase string

// Phases; the picture is in the package comment.
const (
	Quiet     Phase = "quiet"      // nobody is in a call
	OneSided  Phase = "one_sided"  // one side is
	Asked     Phase = "asked"      // a person has been asked
	Unclear   Phase = "unclear"    // both sides are, but which leg belongs to which is open
	InCall    Phase = "in_call"    // a session is open beside the call
	AfterCall Phase = "after_call" // a session is open, its call is over
)

// Phase derives the record's phase at a time.
func (r Record) Phase(now time.Time) Phase {
	inCall := func(j Joint) bool { return j.inCall() }
	lingers := func(j Joint) bool { return j.Gone.IsZero() }
	up := map[int]bool{}
	for _, l := range r.legs(now) {
		if j := r.joint(l.Session); l.Up() && (j == nil || j.inCall()) {
			up[l.Side] = true
		}
	}
	switch {
	case slices.ContainsFunc(r.Joints, inCall):
		return InCall
	case r.Question != nil && r.Question.State.pending():
		return Asked
	case len(up) > 1:
		return Unclear
	case len(up) == 1:
		return OneSided
	case slices.ContainsFunc(r.Joints, lingers):
		return AfterCall
	}
	return Quiet
}

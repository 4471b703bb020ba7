package call

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Errors of this package. None of them tells a reporter about other parties.
var (
	// ErrReport: the report cannot be used as it is.
	ErrReport = errors.New("call: unusable report")
	// ErrTooMany: the reporter's party has more open legs than a record holds.
	ErrTooMany = errors.New("call: too many legs at once")
	// ErrNoQuestion: no such invitation is open to this device. Whether it never was, is
	// somebody else's or is over makes no difference.
	ErrNoQuestion = errors.New("call: no such invitation")
	// ErrWrongWords: the words are not those that the other side reads.
	ErrWrongWords = errors.New("call: wrong words")
)

// ReporterKind says what makes a report (SPEC "reporter").
type ReporterKind string

// Reporters.
const (
	ByDevice    ReporterKind = "device"    // a party's device, about its own call (A1)
	ByElement   ReporterKind = "element"   // a network element (A3, A4, A5)
	ByProvider  ReporterKind = "provider"  // a contact centre's CTI (A7)
	ByPerson    ReporterKind = "person"    // somebody at a web page (A2)
	ByAutomaton ReporterKind = "automaton" // voicemail, menu, bridge (A8)
)

var reporterKinds = []ReporterKind{ByDevice, ByElement, ByProvider, ByPerson, ByAutomaton}

// Evidence says why a reporter is believed that the call is real (DESIGN section 5).
type Evidence string

// Evidence.
const (
	Observed Evidence = "observed" // a device's own telephony interface
	Typed    Evidence = "typed"    // a person said so
	Trusted  Evidence = "trusted"  // a trusted element, within its number ranges
	Passport Evidence = "passport" // a verified STIR PASSporT
	Accepted Evidence = "accepted" // the party accepted an invitation (B2)
)

// ranks orders evidence by what it takes to forge. An accepted invitation is a person's word,
// too.
var ranks = map[Evidence]int{Typed: 1, Accepted: 1, Observed: 2, Trusted: 3, Passport: 4}

// AtLeast reports whether e is as good as least; anything is as good as "".
func (e Evidence) AtLeast(least Evidence) bool { return ranks[e] >= ranks[least] }

// Reporter is who says it. Its credentials were checked before.
type Reporter struct {
	Kind ReporterKind `json:"kind"`
	// ID names the reporter within its kind; for a device the device id.
	ID string `json:"id"`
	// Device that reports, or from which a person or automaton does; "" for elements.
	Device   wire.DeviceID `json:"device,omitempty"`
	Evidence Evidence      `json:"evidence"`
}

// Report is a call report as it reaches the matcher: parsed and allowed.
type Report struct {
	Tenant   wire.TenantID
	Reporter Reporter
	wire.Report
	// Asked: a person asks for the session (B15); the other side is then asked at once.
	Asked bool
	// Named are the devices that it brings into this call (B8), and Brought those of them that may
	// come now; the others do with [Matcher.Arrived].
	Named, Brought []wire.DeviceID
	// Raw is the report as it came, for explanations; at most [MaxRaw] bytes are kept.
	Raw json.RawMessage
}

// MaxBrought bounds the devices that one reporter brings into one call.
const MaxBrought = 8

// MaxRaw bounds a statement's raw text, in bytes, so that a record stays well below
// store.MaxValue.
const MaxRaw = 1024

// check returns why a report is unusable.
func (r Report) check() error {
	fault := func(what string) error { return fmt.Errorf("%w: %s", ErrReport, what) }
	states := []tel.State{tel.Ringing, tel.Active, tel.Held, tel.Ended}
	directions := []tel.Direction{"", tel.Outgoing, tel.Incoming}
	short := func(s string) bool { return len(s) <= 256 }
	switch d := r.PartyDetails; {
	case r.Tenant == "":
		return fault("no tenant")
	case !slices.Contains(reporterKinds, r.Reporter.Kind) || r.Reporter.ID == "" || r.Reporter.Evidence == "":
		return fault("no reporter")
	case d.Own.IsZero():
		return fault("it does not say whose leg it is")
	case !slices.Contains(states, d.State):
		return fault("its state is not ringing, active, held or ended")
	case !slices.Contains(directions, d.Direction):
		return fault("its direction is not outgoing or incoming")
	case !short(d.Extension), !short(d.OtherExtension), !short(d.ConferenceID),
		!short(d.Ref.SessionID), !short(d.Ref.CallID), !short(d.Ref.Local):
		return fault("a reference, extension or conference id is longer than 256 characters")
	case len(r.Queue) > 64:
		return fault("the name of a queue is longer than 64 bytes")
	case r.TTLSeconds < 0:
		return fault("its lease is negative")
	}
	return nil
}

// Statement is the latest that one reporter said of one leg, under one reference. The
// report stays beside what has been learnt from it.
type Statement struct {
	// Side is the place of the own party in Record.Parties.
	Side     int              `json:"side"`
	Reporter Reporter         `json:"reporter"`
	Details  tel.PartyDetails `json:"details"`
	Raw      json.RawMessage  `json:"raw,omitempty"`
	Seq      uint64           `json:"seq,omitempty"`

	// By the reporter's clock: when the state began, when the earliest known state
	// began, and when the leg was first active (zero: never).
	At       time.Time `json:"at"`
	Began    time.Time `json:"began"`
	ActiveAt time.Time `json:"active_at,omitzero"`
	// After is when an earlier call under the same reference ended: what was said before
	// then is about that one.
	After time.Time `json:"after,omitzero"`

	// By our clock: when the leg was first heard of, when it was last, and when the
	// state counts as unknown without a repetition.
	First   time.Time `json:"first"`
	Heard   time.Time `json:"heard"`
	UpHeard time.Time `json:"up_heard,omitzero"` // when it was first heard to be active
	Asked   bool      `json:"asked,omitempty"`   // as in Report
	Queue   string    `json:"queue,omitempty"`   // the last that was named
	// Devices that its reports have brought into the call, and those that may come.
	Named   []wire.DeviceID `json:"named,omitempty"`
	Brought []wire.DeviceID `json:"brought,omitempty"`
	Expires time.Time       `json:"expires"`

	// Session that the leg is joined to, and since when, by our clock.
	Session wire.SessionID `json:"session,omitempty"`
	Joined  time.Time      `json:"joined,omitzero"`
	// Pair is the key of the record that an unnamed leg was handed to (partial.go), or that of a
	// diverted call (divert.go).
	Pair string `json:"pair,omitempty"`
	// Handed: it came from the record of the pair that the call was dialled in.
	Handed bool `json:"handed,omitempty"`
}

// key tells a reporter's statements about one side apart: a reporter has one reference
// per leg, its own one if it gives several.
func (s Statement) key() string { return statementKey(s.Side, s.Reporter, s.Details.Ref) }

func statementKey(side int, by Reporter, ref tel.Ref) string {
	r := "local:" + ref.Local
	switch {
	case ref.Local != "":
	case ref.CallID != "":
		r = "call:" + ref.CallID
	case ref.SessionID != "":
		r = "session:" + ref.SessionID
	}
	return strconv.Itoa(side) + " " + string(by.Kind) + " " + by.ID + " " + r
}

// hear works a report into the statement. An older report, by its sequence or else by its
// time, only adds to what is known of the past; so does one that says that an active leg
// rings, which came late. After "ended" only a later report begins a new call under the same
// reference; after an active leg's lease has run out, one that says that it rings.
func (s Statement) hear(r Report, now time.Time, rules Rules) Statement {
	at := r.At
	if at.IsZero() || at.After(now.Add(rules.Skew)) {
		at = now
	}
	switch {
	case s.Heard.IsZero(): // first word of this leg
		s.Began, s.First = at, now
	case !s.After.IsZero() && !at.After(s.After):
		return s // about the call before
	}
	switch s.bring(r); {
	case s.olderOrSame(r, at), r.State == tel.Ringing && s.everActive() && s.standing(now):
		s.note(r.State, at, now)
		s.Reporter.Evidence = stronger(s.Reporter.Evidence, r.Reporter.Evidence)
		if r.State == s.Details.State && s.Details.State != tel.Ended {
			s.lease(r, now, rules)
		}
		return s
	case s.ended() && r.State != tel.Ended, r.State == tel.Ringing && s.everActive():
		s = Statement{Side: s.Side, Began: at, First: now, After: s.At}
		s.bring(r)
	}
	s.note(r.State, at, now)
	withheld := s.Details.OtherWithheld // it stays so for the call
	shown := s.Reporter.Evidence        // so does that
	s.Reporter, s.Details, s.Seq, s.At = r.Reporter, r.PartyDetails, r.Seq, at
	s.Reporter.Evidence = stronger(shown, s.Reporter.Evidence)
	s.Details.OtherWithheld = s.Details.OtherWithheld || withheld
	s.Asked = s.Asked || r.Asked
	s.Queue = cmp.Or(r.Queue, s.Queue)
	s.Raw = nil
	if len(r.Raw) <= MaxRaw {
		s.Raw = r.Raw
	}
	s.lease(r, now, rules)
	return s
}

// bring notes the devices that a report brings into the call: they stay for as long as it lasts.
func (s *Statement) bring(r Report) {
	add := func(to, more []wire.DeviceID) []wire.DeviceID {
		all := append(slices.Clone(to), subtract(more, to)...)
		return all[:min(len(all), MaxBrought)]
	}
	s.Named, s.Brought = add(s.Named, r.Named), add(s.Brought, r.Brought)
}

func stronger(a, b Evidence) Evidence {
	if a.AtLeast(b) {
		return a
	}
	return b
}

// olderOrSame reports whether the report is from before what is known, or repeats it.
func (s Statement) olderOrSame(r Report, at time.Time) bool {
	if r.Seq != 0 && s.Seq != 0 {
		return r.Seq <= s.Seq
	}
	return at.Before(s.At)
}

// note keeps what stays true whatever comes later.
func (s *Statement) note(state tel.State, at, now time.Time) {
	if at.Before(s.Began) {
		s.Began = at
	}
	if state == tel.Active || state == tel.Held {
		s.ActiveAt = earlier(s.ActiveAt, at)
		s.UpHeard = earlier(s.UpHeard, now)
	}
}

func (s *Statement) lease(r Report, now time.Time, rules Rules) {
	ttl := rules.Lease
	if r.TTLSeconds > 0 {
		ttl = min(ttl, time.Duration(r.TTLSeconds)*time.Second)
	}
	s.Heard, s.Expires = now, now.Add(ttl)
}

// report gives the statement back as a report, to hand it to another record.
func (s Statement) report(tenant wire.TenantID) Report {
	return Report{
		Tenant: tenant, Reporter: s.Reporter, Raw: s.Raw, Asked: s.Asked, Named: s.Named, Brought: s.Brought,
		Report: wire.Report{
			PartyDetails: s.Details, Seq: s.Seq, At: s.At, Queue: s.Queue,
			TTLSeconds: int(s.Expires.Sub(s.Heard) / time.Second),
		},
	}
}

func (s Statement) ended() bool      { return s.Details.State == tel.Ended }
func (s Statement) everActive() bool { return !s.ActiveAt.IsZero() }

// standing reports whether the statement is in force: not over, its lease not run out.
func (s Statement) standing(now time.Time) bool { return !s.ended() && now.Before(s.Expires) }

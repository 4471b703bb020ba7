package call

import (
	"cmp"
	"slices"
	"time"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Unknown is the state of a leg whose reporters have all fallen silent. It is not ended:
// nobody said so.
const Unknown tel.State = "unknown"

// Leg is one party's stretch of a call, put together from all that reporters say of it.
type Leg struct {
	Side  int
	State tel.State // as in tel, or Unknown
	// Since is when it was first active, by the reporters' clocks; before that, when it began.
	Since      time.Time
	EverActive bool
	// Over is when it ended, by the clock of the reporter who said so.
	Over       time.Time
	Direction  tel.Direction
	SessionIDs []string
	CallIDs    []string
	// Extension of the own party, and the one that it dialled or reached.
	Extension      string
	OtherExtension string
	// Named: somebody who speaks of it named the other party; Withheld: somebody did not,
	// or the other party's number is withheld from this side. Hidden: the own number is
	// withheld from the other side.
	Named    bool
	Withheld bool
	Hidden   bool
	// Shown is the name by which this side knows the other one; zero when withheld.
	Shown tel.Identity
	// Diverted: the call was dialled to another party than the one that has it (A8).
	Diverted bool
	// Vouched: a trusted element or a verified PASSporT speaks for it.
	Vouched bool
	// Asked: a person of this side asks for the session.
	Asked bool
	// Evidence is the best of those whose statement is in force.
	Evidence  Evidence
	Reporters []Reporter
	// Devices that speak of it, and those that were brought into it.
	Devices, Brought []wire.DeviceID
	// Session that it is joined to.
	Session wire.SessionID
	// Last is when the last lease runs out, or did.
	Last time.Time

	statements []int // in Record.Statements
	// By our clock: when it was first heard of, first heard to be active, heard to be over,
	// joined to its session.
	first    time.Time
	upHeard  time.Time
	endHeard time.Time
	joined   time.Time
}

// members are the leg's own devices in the session.
func (l Leg) members() []wire.DeviceID {
	return append(slices.Clone(l.Devices), subtract(l.Brought, l.Devices)...)
}

// Up reports whether one speaks on it, or could after a hold.
func (l Leg) Up() bool { return l.State == tel.Active || l.State == tel.Held }

// legs puts the statements together into legs, side by side. It depends on the set of
// statements only. Per side:
//
//   - an equal Session-ID or Call-ID makes one leg;
//   - one reporter's different references are different legs, and so are different
//     Session-IDs or different Call-IDs (an accepted invitation is no reference);
//   - what cannot be told so (a device that knows only its own reference, beside an
//     element) belongs to the one leg that it is compatible with, if there is just one.
func (r Record) legs(now time.Time) []Leg {
	order := make([]int, 0, len(r.Statements))
	for i, s := range r.Statements {
		if r.Kind != Pair || s.Pair == "" { // else its leg is another pair's
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		s, t := r.Statements[a], r.Statements[b]
		if c := cmp.Or(cmp.Compare(s.Side, t.Side), cmp.Compare(strength(t), strength(s)), s.Began.Compare(t.Began)); c != 0 {
			return c
		}
		return cmp.Compare(s.key(), t.key())
	})

	strong := make([]Leg, 0, len(order)) // one leg per reference
	for _, i := range order {
		l := r.leg([]int{i}, now)
		strong = slices.DeleteFunc(strong, func(other Leg) bool {
			same := sameLeg(l, other)
			if same {
				l = r.leg(append(other.statements, l.statements...), now)
			}
			return same
		})
		strong = append(strong, l)
	}

	legs := strong[:0] // behind what is still to be looked at
	for _, l := range strong {
		if i := onlyOne(legs, func(other Leg) bool { return couldBeOne(l, other) },
			func(other Leg) bool { return other.open() == l.open() }); i >= 0 {
			legs[i] = r.leg(append(legs[i].statements, l.statements...), now)
		} else {
			legs = append(legs, l)
		}
	}
	return legs
}

func strength(s Statement) int {
	n := 0
	if s.Details.Ref.SessionID != "" {
		n += 2
	}
	if s.Details.Ref.CallID != "" {
		n++
	}
	return n
}

// onlyOne returns the index of the only leg that fits or, of several, the only one that is also
// likely; -1 where that leaves none or more than one.
func onlyOne(legs []Leg, fits, likely func(Leg) bool) int {
	only := func(also func(Leg) bool) (at, n int) {
		for i, l := range legs {
			if fits(l) && also(l) {
				at, n = i, n+1
			}
		}
		return at, n
	}
	i, n := only(func(Leg) bool { return true })
	if n > 1 {
		i, n = only(likely)
	}
	if n != 1 {
		return -1
	}
	return i
}

// sameLeg: by reference there is no doubt.
func sameLeg(a, b Leg) bool {
	return a.Side == b.Side && !differ(a.Session, b.Session) &&
		(common(a.SessionIDs, b.SessionIDs) || common(a.CallIDs, b.CallIDs))
}

// couldBeOne: nothing speaks against it.
func couldBeOne(a, b Leg) bool {
	if a.Side != b.Side {
		return false // most are of others, in a conference
	}
	sameReporter := slices.ContainsFunc(a.Reporters, func(by Reporter) bool {
		return slices.ContainsFunc(b.Reporters, func(other Reporter) bool {
			return by.Kind == other.Kind && by.ID == other.ID && by.Evidence != Accepted && other.Evidence != Accepted
		})
	})
	return !sameReporter &&
		!disjoint(a.SessionIDs, b.SessionIDs) && !disjoint(a.CallIDs, b.CallIDs) &&
		!differ(a.Session, b.Session) && !differ(a.Direction, b.Direction) && !differ(a.Extension, b.Extension) &&
		a.startedBeforeEndOf(b) && b.startedBeforeEndOf(a) &&
		!a.overBeforeJoining(b) && !b.overBeforeJoining(a)
}

// startedBeforeEndOf goes by our own clock: a leg that we heard of only after the end of
// another is a new one.
func (l Leg) startedBeforeEndOf(other Leg) bool {
	return other.open() || !l.first.After(other.endHeard)
}

// overBeforeJoining: it was known to be over when the other was joined, and was not taken for
// the same leg then. To become so afterwards, because the joining has left it no other
// leg to belong to, would end a call that goes on.
func (l Leg) overBeforeJoining(other Leg) bool {
	return !l.open() && l.Session == "" && other.Session != "" && !l.endHeard.After(other.joined)
}

// open: not known to be over.
func (l Leg) open() bool { return l.State != tel.Ended }

func common(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

func disjoint(a, b []string) bool { return len(a) > 0 && len(b) > 0 && !common(a, b) }

func differ[T ~string](a, b T) bool { return a != "" && b != "" && a != b }

// leg sums up the statements at these indices.
func (r Record) leg(statements []int, now time.Time) Leg {
	l := Leg{State: Unknown, statements: slices.Clone(statements)}
	allEnded := true
	for n, i := range l.statements {
		s := r.Statements[i]
		d := s.Details
		if n == 0 {
			l.Side, l.first = s.Side, s.First
		}
		l.first = earlier(l.first, s.First)
		l.Since = earlier(l.Since, s.Began)
		if s.everActive() {
			l.upHeard = earlier(l.upHeard, s.UpHeard)
		}
		l.Reporters = append(l.Reporters, s.Reporter)
		l.Vouched = l.Vouched || s.Reporter.Evidence == Trusted || s.Reporter.Evidence == Passport
		l.Direction = cmp.Or(l.Direction, d.Direction)
		l.Extension = cmp.Or(l.Extension, d.Extension)
		l.OtherExtension = cmp.Or(l.OtherExtension, d.OtherExtension)
		l.Session = cmp.Or(l.Session, s.Session)
		if !s.Joined.IsZero() {
			l.joined = earlier(l.joined, s.Joined)
		}
		if d.Ref.SessionID != "" && !slices.Contains(l.SessionIDs, d.Ref.SessionID) {
			l.SessionIDs = append(l.SessionIDs, d.Ref.SessionID)
		}
		if d.Ref.CallID != "" && !slices.Contains(l.CallIDs, d.Ref.CallID) {
			l.CallIDs = append(l.CallIDs, d.Ref.CallID)
		}
		if s.Reporter.Device != "" && !slices.Contains(l.Devices, s.Reporter.Device) {
			l.Devices = append(l.Devices, s.Reporter.Device)
		}
		l.Brought = append(l.Brought, subtract(s.Brought, l.Brought)...)
		l.Hidden = l.Hidden || d.Withheld
		l.Withheld = l.Withheld || d.Other.IsZero() || d.OtherWithheld
		l.Diverted = l.Diverted || s.diverts() || s.Handed
		if !d.Other.IsZero() {
			l.Named = true
			if other := s.shown(); l.Shown.IsZero() || other.String() < l.Shown.String() {
				l.Shown = other
			}
		}
		if s.Expires.After(l.Last) {
			l.Last = s.Expires
		}
		if s.standing(now) {
			l.Evidence = stronger(l.Evidence, s.Reporter.Evidence)
			l.Asked = l.Asked || s.Asked
			l.State = further(l.State, d.State)
		}
		if s.ended() && s.everActive() {
			l.Over = earlier(l.Over, s.At)
			l.endHeard = earlier(l.endHeard, s.Heard)
		}
		allEnded = allEnded && s.ended()
	}
	for _, i := range l.statements {
		if at := r.Statements[i].ActiveAt; !at.IsZero() && (!l.EverActive || at.Before(l.Since)) {
			l.Since, l.EverActive = at, true
		}
	}
	if l.Withheld {
		l.Shown = tel.Identity{}
	}
	// The end counts when one who saw it active says so: a telephone that only rang along
	// and stopped says nothing about the others.
	if !l.Over.IsZero() || allEnded {
		l.State = tel.Ended
	}
	if l.Over.IsZero() {
		for _, i := range l.statements {
			l.endHeard = later(l.endHeard, r.Statements[i].Heard)
		}
	}
	return l
}

// further returns the state that says more: active, held, ringing, unknown.
func further(a, b tel.State) tel.State {
	for _, s := range []tel.State{tel.Active, tel.Held, tel.Ringing} {
		if a == s || b == s {
			return s
		}
	}
	return a
}

// earlier returns the earlier of two times, of which a may be zero for "none yet".
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

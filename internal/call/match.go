package call

import (
	"slices"
	"strings"
	"time"

	"github.com/tandem-call/tandem/tel"
)

// couple is two legs, one per side of a pair, that are taken for one call.
type couple struct {
	a, b Leg
	// sure: they may be joined. Otherwise the two people must show that they speak to
	// each other (ask.go).
	sure bool
}

// couples returns which legs of a pair's two sides are one call, of those that are up and
// not both joined already:
//
//   - legs with an equal Session-ID or Call-ID, or where one reached the extension that
//     the other has, if that singles them out;
//   - else the only leg of one side and the only leg of the other, which name each other.
//
// Where an identity is shared by many callers, or a leg names nobody, the second rule makes only
// an unsure couple.
func (r Record) couples(legs []Leg, now time.Time, rules Rules) []couple {
	sides := [2][]Leg{r.free(legs, 0, rules), r.free(legs, 1, rules)}
	var found []couple
	for _, a := range sides[0] {
		for _, b := range sides[1] {
			if r.obstacle(a, b, now, rules) != "" {
				continue
			}
			switch alone := len(sides[0]) == 1 && len(sides[1]) == 1; {
			case keyed(a, b) && singledOut(a, b, sides):
				found = append(found, couple{a, b, true})
			case alone:
				found = append(found, couple{a, b, r.sure(a, b, rules)})
			}
		}
	}
	return found
}

// free returns the legs of a side that a match may use: up, with evidence enough, and not
// taken by a session that was closed under it. A leg left over from a finished session counts only where the
// side has no fresh one: its end may just not have been reported.
func (r Record) free(legs []Leg, side int, rules Rules) []Leg {
	var fresh, old []Leg
	for _, l := range legs {
		if l.Side != side || !l.Up() || !l.Evidence.AtLeast(rules.MinSession) {
			continue
		}
		switch j := r.joint(l.Session); {
		case l.Session == "", j != nil && j.inCall():
			fresh = append(fresh, l)
		case j != nil && j.Gone.IsZero():
			old = append(old, l)
		}
	}
	if len(fresh) == 0 {
		return old
	}
	return fresh
}

// obstacle says what speaks against two legs being one call; "" if nothing does. It is a
// sentence for operators, see [Matcher.Explain].
func (r Record) obstacle(a, b Leg, now time.Time, rules Rules) string {
	switch {
	case a.Session != "" && b.Session != "" && !r.upAgain(a, b):
		return "both are joined already"
	case r.Blocked:
		return "one party has blocked the other"
	case r.shared() && r.busyJoint(a, b):
		return "behind the shared identity the session's call still goes on with another leg"
	case a.Direction != "" && a.Direction == b.Direction:
		return "both sides say that their leg is " + string(a.Direction)
	case a.Since.After(now.Add(rules.Skew)), b.Since.After(now.Add(rules.Skew)):
		return "a leg begins in the future"
	case !r.reachable(a):
		return "the first side has no device to reach"
	case !r.reachable(b):
		return "the second side has no device to reach"
	}
	return ""
}

// upAgain: both legs belong to one session whose call counted as over, and both are up. Somebody
// speaks of them anew after a long silence, or they were taken for legs of that session.
func (r Record) upAgain(a, b Leg) bool {
	j := r.joint(a.Session)
	return j != nil && a.Session == b.Session && !j.Ended.IsZero() && j.Gone.IsZero()
}

func (r Record) busyJoint(a, b Leg) bool {
	for _, l := range []Leg{a, b} {
		if j := r.joint(l.Session); j != nil && j.inCall() {
			return true
		}
	}
	return false
}

// reachable: there is a device for this leg's side. Behind a shared identity only a
// device that speaks of this very leg counts.
func (r Record) reachable(l Leg) bool {
	p := r.Parties[l.Side]
	return len(l.members()) > 0 || p.Reachable && !p.Shared
}

// keyed: a reference is the same on both sides, which nobody else can know; or they
// name each other and the extension.
func keyed(a, b Leg) bool {
	reached := func(from, to Leg) bool {
		return from.Named && to.Named && to.Extension != "" && from.OtherExtension == to.Extension
	}
	return sameRef(a, b) || reached(a, b) || reached(b, a)
}

func sameRef(a, b Leg) bool {
	return common(a.SessionIDs, b.SessionIDs) || common(a.CallIDs, b.CallIDs)
}

// singledOut: neither leg has another partner with the same key.
func singledOut(a, b Leg, sides [2][]Leg) bool {
	partners := func(l Leg, others []Leg) (n int) {
		for _, o := range others {
			if keyed(l, o) {
				n++
			}
		}
		return n
	}
	return partners(a, sides[1]) == 1 && partners(b, sides[0]) == 1
}

// sure: two legs that stand alone need no further proof.
func (r Record) sure(a, b Leg, rules Rules) bool {
	q := r.Question
	switch {
	case q != nil && q.State == Heard:
		return true
	case r.shared():
		return false
	case a.Named && b.Named:
		return true
	}
	return rules.Partial == PartialAuto && a.Vouched && b.Vouched && agree(a, b, rules)
}

// agree: as far as one can tell from their clocks, both legs became active together.
func agree(a, b Leg, rules Rules) bool { return a.Since.Sub(b.Since).Abs() <= rules.Skew }

// shared: one of the pair's identities is used by many callers.
func (r Record) shared() bool {
	return slices.ContainsFunc(r.Parties, func(p Party) bool { return p.Shared })
}

// host: this party of a conference record is the conference itself.
func (r Record) host(side int) bool {
	return r.Kind == Conference && r.Parties[side].Identity == r.Number
}

// describe writes a leg for an operator.
func (l Leg) describe() string {
	var b strings.Builder
	b.WriteString(string(l.State))
	if l.Direction != "" {
		b.WriteString(", " + string(l.Direction))
	}
	b.WriteString(" since " + l.Since.UTC().Format(time.TimeOnly))
	if l.Extension != "" {
		b.WriteString(", extension " + l.Extension)
	}
	for _, id := range l.SessionIDs {
		b.WriteString(", Session-ID " + id)
	}
	for _, id := range l.CallIDs {
		b.WriteString(", Call-ID " + id)
	}
	if l.Diverted {
		b.WriteString(", diverted")
	}
	if !l.Named {
		b.WriteString(", names nobody")
	}
	if l.Session != "" {
		b.WriteString(", joined")
	}
	by := make([]string, len(l.Reporters))
	for i, rep := range l.Reporters {
		by[i] = string(rep.Kind) + " (" + string(rep.Evidence) + ")"
	}
	b.WriteString("; reported by " + strings.Join(by, ", "))
	return b.String()
}

// candidate says whether an unnamed leg of own can be this pair's silent side: the other
// party's leg names own, is up, and began when it did; sure when a reference is the same on both.
func (r Record) candidate(own tel.Identity, partial Leg, now time.Time, rules Rules) (fits, sure bool) {
	side := r.side(own)
	if r.Kind != Pair || side < 0 {
		return false, false
	}
	legs := r.legs(now)
	silent := !slices.ContainsFunc(legs, func(l Leg) bool { return l.Side == side && l.open() && l.Named })
	for _, l := range legs {
		switch {
		case l.Side == side && sameRef(l, partial) && l.open():
			return true, true
		case l.Side == side || !l.Up() || l.Session != "" || !l.Named:
		case partial.Direction != "" && partial.Direction == l.Direction:
		case sameRef(l, partial):
			return true, true
		case silent && agree(l, partial, rules):
			fits = true
		}
	}
	return fits, false
}

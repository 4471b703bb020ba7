package call

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Explain tells an operator what is known of the calls between two identities, and why
// their legs are joined or not. It is for operators only: it tells what reporters must
// not learn.
func (m *Matcher) Explain(ctx context.Context, tenant wire.TenantID, a, b tel.Identity) (wire.Explanation, error) {
	var ex wire.Explanation
	say := func(format string, args ...any) { ex.Lines = append(ex.Lines, fmt.Sprintf(format, args...)) }
	var parties [2]Party
	for i, id := range []tel.Identity{a, b} {
		p, err := m.party(ctx, tenant, id)
		if err != nil {
			return ex, fmt.Errorf("call: explain: %w", err)
		}
		parties[i] = p
		notes := ""
		if p.Identity != id {
			notes += ", known as " + p.Identity.String()
		}
		if p.Shared {
			notes += ", shared by many callers"
		}
		if !p.Reachable {
			notes += ", without a device whose proof is valid"
		}
		say("%s%s", id, notes)
	}
	if parties[0].Identity == parties[1].Identity {
		say("Both are the same party: there is nothing to join.")
		return ex, nil
	}

	for _, p := range parties {
		rec, _, err := m.Records.Get(ctx, partialKey(tenant, p.Identity))
		if errors.Is(err, store.ErrNotFound) {
			continue
		} else if err != nil {
			return ex, fmt.Errorf("call: explain: %w", err)
		}
		for _, l := range rec.legs(m.Now()) {
			given := "it waits for exactly one pair whose other side names it"
			if rec.Statements[l.statements[0]].Pair != "" {
				given = "it was given to a pair"
			}
			say("%s is in a call with somebody: %s; %s", p.Identity, l.describe(), given)
		}
	}

	rec, _, err := m.Records.Get(ctx, pairKey(tenant, parties[0].Identity, parties[1].Identity))
	if errors.Is(err, store.ErrNotFound) {
		say("No report names the two together.")
		return ex, nil
	} else if err != nil {
		return ex, fmt.Errorf("call: explain: %w", err)
	}
	now := m.now()
	legs := rec.legs(now)
	for _, l := range legs {
		say("%s's leg: %s", rec.Parties[l.Side].Identity, l.describe())
		for _, i := range l.statements {
			s := rec.Statements[i]
			say("  %s %q said %s at %s; heard %s ago, stands until %s", s.Reporter.Kind, s.Reporter.ID,
				s.Details.State, s.At.Format(time.TimeOnly), now.Sub(s.Heard).Round(time.Millisecond), s.Expires.Format(time.TimeOnly))
		}
	}
	for _, s := range rec.Statements {
		if s.Pair != "" && s.standing(now) {
			say("A call of %s's that %s %q speaks of was diverted to somebody else, and is matched with them.", rec.Parties[s.Side].Identity, s.Reporter.Kind, s.Reporter.ID)
		}
	}
	for _, j := range rec.Joints {
		switch {
		case j.inCall():
			ex.Matched, ex.Session = true, j.Session
			say("Joined in session %s since %s.", j.Session, j.Opened.Format(time.TimeOnly))
		case j.Gone.IsZero():
			ex.Matched, ex.Session = true, j.Session
			say("Session %s stays after the call, which ended at %s.", j.Session, j.Ended.Format(time.TimeOnly))
		default:
			say("Session %s was closed at %s.", j.Session, j.Gone.Format(time.TimeOnly))
		}
	}
	if q := rec.Question; q != nil {
		say("%s was asked: %s.", rec.Parties[q.Side].Identity, q.State)
	}
	for _, line := range rec.reasons(legs, now, m.Rules) {
		say("%s", line)
	}
	if len(rec.Pending) > 0 {
		say("%d effects are still to be carried out.", len(rec.Pending))
	}
	return ex, nil
}

// reasons says of a pair's legs why they are not joined.
func (r Record) reasons(legs []Leg, now time.Time, rules Rules) (lines []string) {
	sides := [2][]Leg{r.free(legs, 0, rules), r.free(legs, 1, rules)}
	for _, l := range legs {
		if l.Up() && !l.Evidence.AtLeast(rules.MinSession) {
			lines = append(lines, fmt.Sprintf("A leg of %s does not count: its evidence is %s, and a session needs %s.",
				r.Parties[l.Side].Identity, l.Evidence, rules.MinSession))
		}
	}
	for i, free := range sides {
		if len(free) == 0 {
			lines = append(lines, fmt.Sprintf("%s has no leg that is up.", r.Parties[i].Identity))
		}
	}
	sure := map[int]bool{}
	for _, c := range r.couples(legs, now, rules) {
		if c.sure {
			sure[c.a.statements[0]] = true
			lines = append(lines, "They match.")
			continue
		}
		lines = append(lines, "A leg that names nobody, or a shared identity: without an equal Session-ID, Call-ID or "+
			"extension the people themselves must confirm (policy "+string(rules.Partial)+").")
	}
	for _, a := range sides[0] {
		for _, b := range sides[1] {
			if what := r.obstacle(a, b, now, rules); what != "" {
				lines = append(lines, "Not joined: "+what+".")
			} else if len(sides[0])+len(sides[1]) > 2 && !sure[a.statements[0]] {
				lines = append(lines, fmt.Sprintf("Ambiguous: the sides have %d and %d legs up, and no Session-ID, Call-ID or "+
					"extension singles out this couple.", len(sides[0]), len(sides[1])))
			}
		}
	}
	return lines
}

package call

import (
	"context"
	"slices"

	"github.com/tandem-call/tandem/tel"
)

// A diverted call (A8). A dials B, and C has the call: A's telephone names B, while a network element
// that knows of the diversion names A and C, and B as the one that was dialled. So the two sides
// speak in two records. That of A and C tells the record of A and B of the diverted call; there
// the choice is made which leg of A's it is, by one compare-and-set, and A's statements are handed
// over, again after each change. The session is one of A and C. A knows the other side as B, whom
// it dialled; it is not shown who has the call.

// Divert is a call of a pair that somebody else has, as the record of that call's pair tells it.
type Divert struct {
	// Pair is the key of that record.
	Pair string `json:"pair"`
	// Statement that says so; its side is one of that record.
	Statement Statement `json:"statement"`
	// Caller is the side of this record whose call it is.
	Caller int `json:"caller"`
}

// maxDiverts bounds the diverts of a record.
const maxDiverts = 16

// diverts reports whether the statement says that the call was diverted, by one who may say so.
func (s Statement) diverts() bool {
	d := s.Details
	return !d.Dialled.IsZero() && d.Direction != "" && !s.Handed && s.Reporter.Kind != ByDevice && s.Reporter.Kind != ByPerson
}

// shown is the name by which the statement's side knows the other: whom it dialled.
func (s Statement) shown() tel.Identity {
	if s.diverts() && s.Details.Direction == tel.Outgoing {
		return s.Details.Dialled
	}
	return s.Details.Other
}

// tellDialled tells the record of the caller and the party that it dialled of a diverted call.
func (m *Matcher) tellDialled(ctx context.Context, rec Record, s Statement) (changed string, err error) {
	caller := rec.Parties[s.Side]
	if s.Details.Direction == tel.Incoming {
		caller = rec.Parties[1-s.Side]
	}
	dialled, err := m.party(ctx, rec.Tenant, s.Details.Dialled)
	if err != nil {
		return "", err
	}
	if rec.side(dialled.Identity) >= 0 {
		return "", nil // another name of the one who has the call
	}
	key := pairKey(rec.Tenant, caller.Identity, dialled.Identity)
	s.Raw = nil
	_, err = m.change(ctx, key, Diverted{
		Tenant: rec.Tenant, Key: key, Caller: caller, Dialled: dialled,
		Divert: Divert{Pair: rec.Key, Statement: s}, Fresh: m.Fresh(),
	})
	return key, err
}

// diverted notes the latest of a diverted call.
func (t *turn) diverted(ev Diverted) {
	d := ev.Divert
	over := d.Statement.ended()
	if t.Life == "" && over {
		return
	}
	t.begin(ev.Tenant, ev.Key, Pair, []Party{ev.Caller, ev.Dialled})
	t.Touched = t.now
	d.Caller = t.side(ev.Caller.Identity)
	t.Diverts = slices.DeleteFunc(t.Diverts, func(o Divert) bool {
		return o.Pair == d.Pair && o.Statement.key() == d.Statement.key()
	})
	if !over {
		t.Diverts = append(t.Diverts, d)
		t.Diverts = t.Diverts[max(0, len(t.Diverts)-maxDiverts):]
	}
}

// giveAway hands the caller's leg of a diverted call to the pair that has it: by an equal
// Session-ID or Call-ID, or else the only leg to the only one, where they became active together and
// the party that was dialled is not itself in the call.
func (t *turn) giveAway() {
	if len(t.Diverts) == 0 {
		return
	}
	legs := t.legs(t.now)
	for _, l := range legs {
		pair := t.leadsTo(l, legs)
		if pair == "" {
			continue
		}
		for _, i := range l.statements {
			t.Statements[i].Pair = pair
			handed := t.Statements[i]
			t.do(Effect{Do: HandOver, Record: pair, Statement: &handed})
		}
	}
}

// leadsTo returns the key of the pair that has the call of a leg; "" where that is not certain.
func (t *turn) leadsTo(l Leg, legs []Leg) string {
	waits := func(l Leg) bool {
		handed := slices.ContainsFunc(l.statements, func(i int) bool { return t.Statements[i].Handed })
		return l.Up() && l.Session == "" && l.Named && !handed && !l.Diverted && l.Direction != tel.Incoming
	}
	if !waits(l) {
		return ""
	}
	alone := !t.Parties[l.Side].Shared && !slices.ContainsFunc(legs, func(o Leg) bool {
		return o.Side != l.Side && o.Up() || o.Side == l.Side && !slices.Equal(o.statements, l.statements) && waits(o)
	})
	var sure, fits []string
	add := func(to []string, pair string) []string {
		if slices.Contains(to, pair) {
			return to
		}
		return append(to, pair)
	}
	for _, d := range t.Diverts {
		if d.Caller != l.Side || !d.Statement.standing(t.now) || !d.Statement.up() {
			continue
		}
		other := Record{Statements: []Statement{d.Statement}}.leg([]int{0}, t.now)
		switch {
		case sameRef(l, other):
			sure = add(sure, d.Pair)
		case alone && agree(l, other, t.rules):
			fits = add(fits, d.Pair)
		}
	}
	switch {
	case len(sure) == 1:
		return sure[0]
	case len(sure) == 0 && len(fits) == 1:
		return fits[0]
	}
	return ""
}

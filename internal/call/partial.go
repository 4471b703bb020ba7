package call

import (
	"cmp"
	"slices"
	"time"
)

// Partial details (A10). A party whose reporter names nobody has a record of its own, in
// which it waits as "in a call with somebody". When exactly one pair's record names it on
// its silent side, the leg is given to that pair: the choice is made in the party's own
// record, by one compare-and-set, and the statement is then handed over, again after each
// change. In the pair's record it is a leg that names nobody; couples treats it with the
// caution that it needs.

// choose finds the pair that a party's unnamed leg belongs to, among the pairs of that
// party: one with an equal Session-ID or Call-ID, else the only one that fits the only
// leg. ok is false where there is none, or more than one.
func (r Record) choose(pairs []Record, now time.Time, rules Rules) (c Chosen, ok bool) {
	var waiting []Leg
	for _, l := range r.legs(now) {
		if l.Up() && r.Statements[l.statements[0]].Pair == "" {
			waiting = append(waiting, l)
		}
	}
	for _, l := range waiting {
		var fits, sure []string
		for _, p := range pairs {
			switch f, s := p.candidate(r.Parties[0].Identity, l, now, rules); {
			case s:
				sure = append(sure, p.Key)
			case f:
				fits = append(fits, p.Key)
			}
		}
		c.Leg = r.Statements[l.statements[0]].key()
		switch {
		case len(sure) == 1:
			c.Pair = sure[0]
			return c, true
		case len(sure) == 0 && len(fits) == 1 && len(waiting) == 1:
			c.Pair = fits[0]
			return c, true
		}
	}
	return Chosen{}, false
}

// chosen gives the leg to the pair, unless another node has decided first.
func (t *turn) chosen(ev Chosen) {
	for _, l := range t.legs(t.now) {
		mine := slices.ContainsFunc(l.statements, func(i int) bool { return t.Statements[i].key() == ev.Leg })
		given := slices.ContainsFunc(l.statements, func(i int) bool { return t.Statements[i].Pair != "" })
		if !mine || given || !l.Up() {
			continue
		}
		for _, i := range l.statements {
			t.Statements[i].Pair = ev.Pair
			handed := t.Statements[i]
			t.do(Effect{Do: HandOver, Record: ev.Pair, Statement: &handed})
		}
	}
}

// handOn lets a further statement about a leg that was given to a pair follow it.
func (t *turn) handOn() {
	for _, l := range t.legs(t.now) {
		pair := ""
		for _, i := range l.statements {
			pair = cmp.Or(pair, t.Statements[i].Pair)
		}
		for _, i := range l.statements {
			if s := &t.Statements[i]; pair != "" && s.Pair == "" {
				s.Pair = pair
				handed := *s
				t.do(Effect{Do: HandOver, Record: pair, Statement: &handed})
			}
		}
	}
}

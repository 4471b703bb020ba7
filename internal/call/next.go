package call

import (
	"cmp"
	"slices"
	"time"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// lookAgain is how often it is looked whether a party that an invitation waits for is still in its
// other call: nobody need say when that is over.
const lookAgain = 5 * time.Second

// Next is the machine: what the record becomes by an event, and the effects that follow,
// which are also in its Pending until they are done. It does no more than compute; an
// event that changes nothing returns the record as it was.
func (r Record) Next(ev Event, now time.Time, rules Rules) (Record, []Effect) {
	t := turn{Record: r.clone(), now: now, rules: rules}
	switch ev := ev.(type) {
	case Reported:
		t.fresh = ev.Fresh
		t.reported(ev)
	case Diverted:
		t.fresh = ev.Fresh
		t.diverted(ev)
	case Chosen:
		t.chosen(ev)
	case Answered:
		t.fresh = ev.Fresh
		t.answered(ev)
	case Confirmed:
		t.fresh = ev.Fresh
		t.confirmed(ev)
	case Ticked:
		t.fresh = ev.Fresh
	case SessionGone:
		t.sessionGone(ev.Session)
	case MemberGone:
		if j := t.joint(ev.Session); j != nil {
			j.Single = true
		}
	case Handed:
		t.hand(ev)
	case NotTakenUp:
		t.fresh = ev.Fresh
		t.notTakenUp(ev.Session)
	}
	if t.Life == "" {
		return r, nil // nothing was ever reported here
	}

	t.hide()
	switch t.Kind {
	case Pair:
		t.giveAway()
		t.join()
		t.end()
	case Conference:
		t.gather()
		t.depart()
		t.end()
	case Partial:
		t.handOn()
	}
	if ticked, ok := ev.(Ticked); ok {
		t.prune()
		t.ask(&ticked.Busy)
	} else {
		t.ask(nil)
	}
	return t.Record, t.effects
}

// turn is one run of the machine.
type turn struct {
	Record
	now     time.Time
	rules   Rules
	fresh   Fresh
	effects []Effect
}

// do adds an effect.
func (t *turn) do(e Effect) {
	t.Effects++
	e.Seq = t.Effects
	t.Pending = append(t.Pending, e)
	t.effects = append(t.effects, e)
}

// reported takes a report in: the record is made, the parties' facts are brought up to
// date, and the statement is begun or changed.
func (t *turn) reported(ev Reported) {
	if t.Life == "" && ev.Kind == Conference {
		t.Number = ev.Other.Identity
	}
	parties := []Party{ev.Own}
	if ev.Kind == Pair {
		parties = append(parties, ev.Other)
	}
	t.begin(ev.Report.Tenant, ev.Key, ev.Kind, parties)
	t.Blocked = ev.Blocked

	side := t.side(ev.Own.Identity)
	key := statementKey(side, ev.Report.Reporter, ev.Report.Ref)
	at := slices.IndexFunc(t.Statements, func(s Statement) bool { return s.key() == key })
	if at < 0 {
		if !t.room() {
			return
		}
		at = len(t.Statements)
		t.Statements = append(t.Statements, Statement{Side: side})
	}
	t.Touched = t.now
	s := &t.Statements[at]
	*s = s.hear(ev.Report, t.now, t.rules)
	s.Handed = ev.Handed
	if ev.Report.Asked {
		t.askedAnew(side)
	}
	if s.Pair != "" {
		handed := *s
		t.do(Effect{Do: HandOver, Record: s.Pair, Statement: &handed})
	}
	if t.Kind == Pair && s.diverts() {
		told := *s
		t.do(Effect{Do: TellDialled, Statement: &told})
	}
}

// begin makes the record, where it is new, and brings what is known of its parties up to date.
func (t *turn) begin(tenant wire.TenantID, key string, kind Kind, parties []Party) {
	if t.Life == "" {
		t.Life, t.Tenant, t.Key, t.Kind = t.fresh.Life, tenant, key, kind
	}
	slices.SortFunc(parties, func(a, b Party) int { return cmp.Compare(a.Identity.String(), b.Identity.String()) })
	for _, p := range parties {
		if side := t.side(p.Identity); side >= 0 {
			t.Parties[side] = p
			continue
		}
		t.Parties = append(t.Parties, p)
		t.do(Effect{Do: Enter, To: &Side{Index: len(t.Parties) - 1, Principal: p.Identity}})
	}
}

// hide notes in a pair's statements that the other side's number is withheld from theirs,
// where that side says so: whoever knows both, an element for instance, names both.
func (t *turn) hide() {
	if t.Kind != Pair || !slices.ContainsFunc(t.Statements, func(s Statement) bool { return s.Details.Withheld }) {
		return
	}
	legs := t.legs(t.now)
	for _, hidden := range legs {
		for _, l := range legs {
			if !hidden.Hidden || l.Side == hidden.Side || l.Session != hidden.Session && !(l.open() && hidden.open()) {
				continue
			}
			for _, i := range l.statements {
				t.Statements[i].Details.OtherWithheld = true
			}
		}
	}
}

// room makes room for one more statement, at the cost of the oldest one that is over or
// has lapsed; false if none is.
func (t *turn) room() bool {
	limit := t.rules.Statements
	if t.Kind == Conference {
		limit *= 8
	}
	if len(t.Statements) < limit {
		return true
	}
	oldest := -1
	for i, s := range t.Statements {
		j := t.joint(s.Session)
		if inUse := j != nil && j.inCall() && t.needed(s); !inUse && !s.standing(t.now) && (oldest < 0 || s.Heard.Before(t.Statements[oldest].Heard)) {
			oldest = i
		}
	}
	if oldest < 0 {
		return false
	}
	t.Statements = slices.Delete(t.Statements, oldest, oldest+1)
	return true
}

// knows reports whether the reporter's statement is in the record.
func (r Record) knows(side int, by Reporter, ref tel.Ref) *Statement {
	for i := range r.Statements {
		if r.Statements[i].key() == statementKey(side, by, ref) {
			return &r.Statements[i]
		}
	}
	return nil
}

func (t *turn) sessionGone(id wire.SessionID) {
	if j := t.joint(id); j != nil && j.Gone.IsZero() {
		j.Gone, j.Single, t.Touched = t.now, true, t.now
		t.Pending = slices.DeleteFunc(t.Pending, func(e Effect) bool { return e.Session == id })
	}
}

// notTakenUp gives the legs of a session that could not be taken up a new one.
func (t *turn) notTakenUp(id wire.SessionID) {
	j := t.joint(id)
	if j == nil || !j.Gone.IsZero() {
		return
	}
	t.sessionGone(id)
	for i, s := range t.Statements {
		if s.Session == id && s.standing(t.now) {
			t.Statements[i].Session, t.Statements[i].Joined = "", time.Time{}
		}
	}
}

// prune forgets what is over: statements and joints after the retention time.
func (t *turn) prune() {
	gone := t.now.Add(-t.rules.Retention)
	t.Joints = slices.DeleteFunc(t.Joints, func(j Joint) bool {
		return !j.inCall() && j.over().Before(gone) && !t.stands(j, t.now)
	})
	t.Statements = slices.DeleteFunc(t.Statements, func(s Statement) bool {
		return !s.standing(t.now) && s.over().Before(gone) && !t.needed(s)
	})
	t.Diverts = slices.DeleteFunc(t.Diverts, func(d Divert) bool { return !d.Statement.standing(t.now) })
	t.Asked = slices.DeleteFunc(t.Asked, func(at time.Time) bool { return at.Before(t.now.Add(-time.Hour)) })
}

// needed: the statement tells of a leg of a session, whose party has not left its call.
func (r Record) needed(s Statement) bool {
	j := r.joint(s.Session)
	return j != nil && (!j.inCall() || slices.Contains(j.Sides, s.Side))
}

// stands reports whether a leg of the joint is still spoken of.
func (r Record) stands(j Joint, now time.Time) bool {
	return slices.ContainsFunc(r.Statements, func(s Statement) bool { return s.Session == j.Session && s.standing(now) })
}

// over is when the joint is not needed any more: its session was closed, or, should we
// never be told of that, must have been.
func (j Joint) over() time.Time {
	if j.Gone.IsZero() {
		return j.Ended.Add(24 * time.Hour)
	}
	return j.Gone
}

// over is when a statement that no longer stands came to that, by our clock.
func (s Statement) over() time.Time {
	if s.ended() {
		return s.Heard
	}
	return s.Expires
}

// empty: nothing is left that is worth keeping.
func (r Record) empty() bool {
	return len(r.Statements) == 0 && len(r.Joints) == 0 && len(r.Diverts) == 0 && len(r.Asked) == 0 && len(r.Pending) == 0
}

// due returns when the record should next be ticked; zero when it need not be.
func (r Record) due(now time.Time, rules Rules) time.Time {
	var next time.Time
	at := func(when time.Time) {
		if when.Before(now) {
			when = now
		}
		next = earlier(next, when)
	}
	for _, s := range r.Statements {
		switch {
		case s.standing(now):
			at(s.Expires)
		case !r.needed(s):
			at(s.over().Add(rules.Retention + time.Millisecond))
		}
	}
	legs := r.legs(now)
	for _, j := range r.Joints {
		switch {
		case j.inCall():
			if p := r.presence(j, legs); p.unknown {
				at(p.last.Add(rules.Abandon))
			} else if r.Kind == Conference && p.parties > 2 {
				for _, side := range j.Sides {
					if a := attendanceOf(side, j, legs); a.there && a.unknown {
						at(a.last.Add(rules.Abandon))
					}
				}
			}
		case !r.stands(j, now):
			at(j.over().Add(rules.Retention + time.Millisecond))
		}
	}
	for _, d := range r.Diverts {
		at(d.Statement.Expires)
	}
	if len(r.Asked) > 0 {
		at(r.Asked[0].Add(time.Hour + time.Millisecond))
	}
	if q := r.Question; q != nil && (q.State.pending() || q.State == Waiting) {
		at(q.Until)
		if q.State == Waiting {
			at(now.Add(lookAgain))
		}
	}
	if when, ok := r.inviteDue(legs, rules); ok {
		at(when)
	}
	if r.Kind == Pair {
		for _, c := range r.couples(legs, now, rules) {
			if c.sure {
				at(now) // one turn opens one session
			}
		}
	}
	if r.empty() {
		at(now)
	}
	return next
}

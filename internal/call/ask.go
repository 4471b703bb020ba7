package call

import (
	"slices"
	"strings"
	"time"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// A question goes to the people of a pair where their telephones do not tell enough. Each
// call has one at most, whatever comes of it; but where a session has come of it and was
// left, a person may ask for another:
//
//	invitation (B2)               words (A10): nobody named, or a shared identity
//
//	claimant     other side       claimant           side that names nobody
//	   |  is up alone |              | names the other      | is in a call
//	   |              |◀─ Invite     |                      |◀─ Words{Read}
//	   |              |── Answer     |                      |── Answer{accept}
//	                                 |◀─ Words{TriesLeft}   |   reads them aloud
//	                                 |── Confirm{words}     |
//
// An invitation is shown to nobody who speaks to somebody else. It waits until that call is over,
// is taken back while its party is in another one, and shown again afterwards, under a new
// id, while it has not lapsed and the pair may still be asked.
//
// Until its words were right the claimant learns nothing that it would not learn of a
// party that is in no call at all; whoever does not want to read simply declines.

// inviteDue returns when the silent side is to be invited, if one side is up alone.
func (r Record) inviteDue(legs []Leg, rules Rules) (time.Time, bool) {
	// Where a session needs more than somebody's word, to ask for that is no use.
	useless := !Accepted.AtLeast(rules.MinSession)
	if r.Kind != Pair || r.Question != nil || r.Blocked || r.shared() || rules.InviteDelay < 0 || useless {
		return time.Time{}, false
	}
	for _, l := range legs {
		other := 1 - l.Side
		silent := !slices.ContainsFunc(legs, func(o Leg) bool { return o.Side == other && o.open() && !(l.Asked && r.shut(o.Session)) })
		if l.Up() && l.Named && l.Session == "" && l.Evidence.AtLeast(rules.MinInvitation) && silent && r.reachable(l) && (r.Parties[other].Reachable || r.Parties[other].Invitable) {
			if l.Asked { // the user waits; nothing else is likely to come
				return l.upHeard, true
			}
			return l.upHeard.Add(rules.InviteDelay), true
		}
	}
	return time.Time{}, false
}

// shut: the session was closed, as it is when all of a side have left.
func (r Record) shut(id wire.SessionID) bool {
	j := r.joint(id)
	return j != nil && !j.Gone.IsZero()
}

// anew lets the call go on without the session that was closed under it, for one of its sides: a
// person asks for another one, or says yes to it. False: there was none.
func (t *turn) anew(side int) bool {
	found := false
	for i := range t.Statements {
		if s := &t.Statements[i]; s.Side == side && s.standing(t.now) && t.shut(s.Session) {
			s.Session, s.Joined, found = "", time.Time{}, true
		}
	}
	return found
}

// askedAnew: a person who asks once more, after a session, has the other side asked once more,
// unless that has said no.
func (t *turn) askedAnew(side int) {
	if !t.anew(side) {
		return
	}
	if q := t.Question; q != nil && !slices.Contains([]QuestionState{Declined, Refused}, q.State) {
		t.Question = nil
	}
}

// ask closes a question whose call is over or has been joined, and puts a new one where
// one is needed. Whether the party to be invited is busy elsewhere only a tick can tell.
func (t *turn) ask(busy *[2]bool) {
	if t.Kind != Pair {
		return
	}
	legs := t.legs(t.now)
	if q := t.Question; q != nil {
		claimant, asked := openLeg(legs, 1-q.Side), openLeg(legs, q.Side)
		switch joined := slices.ContainsFunc(t.Joints, Joint.inCall); {
		case !claimant || q.Words != "" && !asked:
			t.close(Lapsed, "call_over")
			t.Question = nil
		case joined:
			t.close(Lapsed, "joined")
		case !t.now.Before(q.Until):
			t.close(Lapsed, "expired")
		case busy != nil && q.inviting():
			t.occupied(busy[q.Side])
		}
		return
	}

	for _, c := range t.couples(legs, t.now, t.rules) {
		if !c.sure && c.a.Session == "" && c.b.Session == "" && t.rules.Partial != PartialOff && t.fresh.Words != "" {
			reader := 0
			if t.Parties[1].Shared || !c.b.Named {
				reader = 1
			}
			if !c.a.Named {
				reader = 0
			}
			t.put(reader, t.fresh.Words, false)
			return
		}
	}
	if when, ok := t.inviteDue(legs, t.rules); ok && busy != nil && !when.After(t.now) {
		claimant := slices.IndexFunc(legs, func(l Leg) bool { return l.Up() && l.Named && l.Session == "" })
		side := 1 - legs[claimant].Side
		t.put(side, "", busy[side])
	}
}

func openLeg(legs []Leg, side int) bool {
	return slices.ContainsFunc(legs, func(l Leg) bool { return l.Side == side && l.open() })
}

// put puts a question to a side; an invitation waits while the side is busy.
func (t *turn) put(side int, words string, busy bool) {
	t.Question = &Question{ID: t.fresh.Invitation, Side: side, Words: words, State: Open, Until: t.now.Add(t.rules.QuestionTTL)}
	if busy {
		t.Question.State = Waiting
		return
	}
	t.show()
}

// occupied takes an invitation back whose party has come to speak to somebody else, and
// shows it when it does not any more.
func (t *turn) occupied(busy bool) {
	q := t.Question
	switch {
	case busy && q.State == Open:
		t.withdraw(q.Side, "other_call")
		q.State = Waiting
	case !busy && q.State == Waiting:
		q.ID, q.State = t.fresh.Invitation, Open
		t.show()
	}
}

// show tells the side that is asked, unless it has been asked too often.
func (t *turn) show() {
	q, side := t.Question, t.Question.Side
	hourAgo := t.now.Add(-time.Hour)
	t.Asked = slices.DeleteFunc(t.Asked, func(at time.Time) bool { return !at.After(hourAgo) })
	if len(t.Asked) >= t.rules.QuestionsPerHour {
		q.State = NotPut
		return
	}
	t.Asked = append(t.Asked, t.now)
	q.Told = t.now
	if q.Words != "" {
		t.do(Effect{Do: ReadOut, To: t.to(side, t.now), Words: q.readOut()})
		return
	}
	t.do(Effect{Do: Invite, To: t.to(side, t.now), Invite: t.invitation(t.now)})
}

// invitation is what the side asked is shown; without the claimant's name, where the
// claimant withheld its number in the call, or has a call that was dialled to somebody else.
func (r Record) invitation(now time.Time) *wire.Invite {
	q := r.Question
	i := &wire.Invite{ID: q.ID, Claimant: r.Parties[1-q.Side].Identity, Until: q.Until}
	if r.unseen(1-q.Side, now) {
		i.Claimant = tel.Identity{}
	}
	return i
}

// unseen: the other side may not be shown whom it speaks to on this one.
func (r Record) unseen(side int, now time.Time) bool {
	return slices.ContainsFunc(r.legs(now), func(l Leg) bool { return l.Side == side && l.open() && (l.Hidden || l.Diverted) })
}

func (q *Question) readOut() *wire.Words {
	return &wire.Words{Invitation: q.ID, Read: q.Words, Until: q.Until}
}

func (q *Question) typeIn(rules Rules) *wire.Words {
	return &wire.Words{Invitation: q.ID, TriesLeft: rules.Tries - q.Tries, Until: q.Until}
}

// asking returns what a party is being asked at this moment, as its device is told. Of a
// shared identity only the devices that speak of the leg are asked.
func (r Record) asking(party tel.Identity, device wire.DeviceID, now time.Time, rules Rules) (wire.Type, any, bool) {
	q := r.Question
	if q == nil || !q.State.pending() || !now.Before(q.Until) {
		return "", nil, false
	}
	side := r.side(party)
	if r.Parties[side].Shared && !slices.ContainsFunc(r.legs(now), func(l Leg) bool {
		return l.Side == side && l.open() && slices.Contains(l.Devices, device)
	}) {
		return "", nil, false
	}
	switch asked := side == q.Side; {
	case asked && q.Words == "":
		return wire.TypeInvite, r.invitation(now), true
	case asked:
		return wire.TypeWords, q.readOut(), true
	case q.State == Typing:
		return wire.TypeWords, q.typeIn(rules), true
	}
	return "", nil, false
}

// to addresses a side: its party's devices, those that speak of the call first.
func (r Record) to(side int, now time.Time) *Side {
	p := r.Parties[side]
	s := &Side{Index: side, Principal: p.Identity, Shared: p.Shared}
	for _, l := range r.legs(now) {
		if l.Side == side && l.open() {
			s.Devices = append(s.Devices, subtract(l.Devices, s.Devices)...)
		}
	}
	return s
}

// close ends a pending question and takes it back from whoever sees it.
func (t *turn) close(state QuestionState, reason string) {
	q := t.Question
	if q.State == Waiting {
		q.State = state
	}
	if !q.State.pending() {
		return
	}
	t.withdraw(q.Side, reason)
	if q.State == Typing {
		t.withdraw(1-q.Side, reason)
	}
	q.State = state
}

func (t *turn) withdraw(side int, reason string) {
	t.do(Effect{Do: Withdraw, To: t.to(side, t.now), Withdrawn: &wire.Withdrawn{Invitation: t.Question.ID, Reason: reason}})
}

// asks reports whether the question waits for that party.
func (r Record) asks(party tel.Identity, id wire.InvitationID, state QuestionState) bool {
	q := r.Question
	if q == nil || q.ID != id || q.State != state {
		return false
	}
	side := q.Side
	if state == Typing {
		side = 1 - side
	}
	return r.Parties[side].Identity == party
}

// answered: the side that was asked says yes or no. A yes to an invitation is its
// statement that it is in this call.
func (t *turn) answered(ev Answered) {
	if !t.asks(ev.Party, ev.Answer.Invitation, Open) {
		return
	}
	q := t.Question
	q.By = ev.Device
	switch {
	case !ev.Answer.Accept:
		t.close(Declined, "answered")
	case q.Words != "":
		q.State = Typing
		t.askToType()
	default:
		t.close(Taken, "answered")
		t.anew(q.Side)
		t.reported(Reported{Own: t.Parties[q.Side], Other: t.Parties[1-q.Side], Blocked: t.Blocked, Report: Report{
			Tenant:   t.Tenant,
			Reporter: Reporter{Kind: ByDevice, ID: string(ev.Device), Device: ev.Device, Evidence: Accepted},
			Report: wire.Report{PartyDetails: tel.PartyDetails{
				Own: t.Parties[q.Side].Identity, Other: t.Parties[1-q.Side].Identity,
				OtherWithheld: t.unseen(1-q.Side, t.now),
				State:         tel.Active, Ref: tel.Ref{Local: "invitation:" + string(q.ID)},
			}},
		}})
	}
}

func (t *turn) askToType() {
	q := t.Question
	q.Told = t.now
	t.do(Effect{Do: TypeIn, To: t.to(1-q.Side, t.now), Words: q.typeIn(t.rules)})
}

// confirmed: the claimant has typed what it heard.
func (t *turn) confirmed(ev Confirmed) {
	if !t.asks(ev.Party, ev.Confirm.Invitation, Typing) || t.Question.Attempt == ev.Attempt {
		return
	}
	q := t.Question
	q.Attempt = ev.Attempt
	if plain(ev.Confirm.Words) == plain(q.Words) {
		t.close(Heard, "joined")
		return
	}
	if q.Tries++; q.Tries >= t.rules.Tries {
		t.close(Refused, "refused")
		return
	}
	t.askToType()
}

// plain reduces typed words to what counts.
func plain(words string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(words), func(c rune) bool { return c < 'a' || c > 'z' }), " ")
}

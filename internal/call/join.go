package call

import (
	"slices"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// join gives legs that are one call their session. One session at most is opened in a turn;
// Record.due asks for another turn where more are ready.
func (t *turn) join() {
	legs := t.legs(t.now)
	t.follow(legs)
	for _, c := range t.couples(legs, t.now, t.rules) {
		if c.sure && t.couple(c.a, c.b) {
			return
		}
	}
}

// follow lets the further statements about a joined leg belong to its session: another
// device of the same party, told once.
func (t *turn) follow(legs []Leg) {
	for _, l := range legs {
		j := t.joint(l.Session)
		if j == nil {
			continue
		}
		t.link(l, j.Session)
		if newcomers := subtract(l.members(), j.Devices); len(newcomers) > 0 && j.inCall() && l.Up() && slices.Contains(j.Sides, l.Side) {
			j.Devices = append(j.Devices, newcomers...)
			t.do(Effect{Do: JoinDevices, Session: j.Session, At: t.now, Sides: []Side{{
				Index: l.Side, Principal: t.Parties[l.Side].Identity, Devices: newcomers, Brought: l.Brought, Shared: t.Parties[l.Side].Shared,
			}}})
		}
	}
}

func (t *turn) link(l Leg, id wire.SessionID) {
	for _, i := range l.statements {
		if s := &t.Statements[i]; s.Session != id {
			s.Session, s.Joined = id, t.now
		}
	}
}

// couple joins two legs: in the session that one of them has, in the pair's last one, or
// in a new one. False: it was not possible this time.
func (t *turn) couple(a, b Leg) bool {
	j := t.joint(a.Session)
	if j == nil {
		j = t.joint(b.Session)
	}
	handed := false
	if j == nil {
		j = t.handed(a, b)
		handed = j != nil
	}
	switch {
	case j != nil && j.inCall():
		// A leg came beside the ones that are up, as in a transfer.
	case j != nil && (handed || t.mayTakeUp(*j, nil)):
		// The same, but the old leg had already ended: one side's call never did.
		t.takeUp(j)
	case j != nil:
		return t.open(a, b)
	default:
		t.giveUp()
		i := slices.IndexFunc(t.Joints, func(j Joint) bool { return t.mayTakeUp(j, []Leg{a, b}) })
		if i < 0 {
			return t.open(a, b)
		}
		j = &t.Joints[i]
		t.takeUp(j)
	}
	t.link(a, j.Session)
	t.link(b, j.Session)
	t.follow(t.legs(t.now))
	return true
}

// giveUp ends the call of a session that nobody says is up any more: the pair is in another call
// now, or in the same one under new references, as after the restart of a telephone.
func (t *turn) giveUp() {
	legs := t.legs(t.now)
	for i := range t.Joints {
		j := &t.Joints[i]
		if p := t.presence(*j, legs); j.inCall() && p.unknown {
			t.endCall(j, p.last)
		}
	}
}

func (t *turn) endCall(j *Joint, at time.Time) {
	j.Ended = at
	t.do(Effect{Do: CallEnded, Session: j.Session, At: at, Sides: t.release(j)})
}

// release takes the devices that were brought into a session's call off it.
func (t *turn) release(j *Joint) (sides []Side) {
	for _, l := range t.legs(t.now) {
		if l.Session == j.Session && len(l.Brought) > 0 {
			j.Devices = subtract(j.Devices, subtract(l.Brought, l.Devices))
			sides = append(sides, Side{Index: l.Side, Principal: t.Parties[l.Side].Identity, Devices: l.Brought})
		}
	}
	return sides
}

// mayTakeUp: the session of a call that is over serves a new call (legs) only between the
// same devices, as far as all of them are known, and if nothing speaks against it.
func (t *turn) mayTakeUp(j Joint, legs []Leg) bool {
	return !j.Ended.IsZero() && j.Gone.IsZero() && !j.Single && !t.shared() &&
		!slices.ContainsFunc(legs, func(l Leg) bool {
			return l.Withheld || l.Hidden || l.Diverted || len(l.Devices) == 0 || len(subtract(l.Devices, j.Devices)) > 0
		})
}

func (t *turn) takeUp(j *Joint) {
	j.Ended = time.Time{}
	t.do(Effect{Do: CallUp, Session: j.Session, At: t.now})
}

// open opens a session for these legs, of as many sides.
func (t *turn) open(legs ...Leg) bool {
	id := t.fresh.Session
	if id == "" || t.joint(id) != nil {
		return false
	}
	j := Joint{Session: id, Opened: t.now, Single: t.Kind != Pair || t.shared()}
	var sides []Side
	for _, l := range legs {
		t.link(l, id)
		j.Single = j.Single || l.Withheld || l.Hidden || l.Diverted
		j.Devices = append(j.Devices, subtract(l.members(), j.Devices)...)
		if i := slices.Index(j.Sides, l.Side); i >= 0 {
			sides[i].Devices = append(sides[i].Devices, subtract(l.members(), sides[i].Devices)...)
			sides[i].Brought = append(sides[i].Brought, subtract(l.Brought, sides[i].Brought)...)
			continue
		}
		j.Sides = append(j.Sides, l.Side)
		sides = append(sides, t.sideOf(l, legs))
	}
	t.Joints = append(t.Joints, j)
	t.do(Effect{Do: OpenSession, Session: id, Sides: sides, At: t.now})
	return true
}

// sideOf describes a leg's party for a session. In a pair it is shown as the other side
// names it; who dialled into a conference is shown as it named itself.
func (t *turn) sideOf(l Leg, legs []Leg) Side {
	p := t.Parties[l.Side]
	s := Side{Index: l.Side, Principal: p.Identity, Devices: l.members(), Brought: slices.Clone(l.Brought), Shared: p.Shared}
	if l.Hidden {
		return s
	}
	if t.Kind == Conference {
		s.Shown = t.Statements[l.statements[0]].Details.Own
		return s
	}
	for _, other := range legs {
		if other.Side != l.Side {
			s.Shown = other.Shown
		}
	}
	return s
}

// gather keeps a conference's session: it opens when two parties are up, and takes in
// whoever comes later. The conference's own number is a side, but no party.
func (t *turn) gather() {
	legs := t.legs(t.now)
	t.follow(legs)
	var current *Joint
	for i := range t.Joints {
		if t.Joints[i].inCall() {
			current = &t.Joints[i]
		}
	}
	var up []Leg
	parties := map[int]bool{}
	for _, l := range legs {
		if j := t.joint(l.Session); !l.Up() || !l.Evidence.AtLeast(t.rules.MinSession) || !t.reachable(l) || j != nil && !j.Gone.IsZero() {
			continue // not there, or has seen the session closed
		}
		up = append(up, l)
		if !t.host(l.Side) {
			parties[l.Side] = true
		}
	}
	if current == nil {
		if len(parties) >= 2 {
			t.open(up...)
		}
		return
	}
	for _, l := range up {
		if l.Session == current.Session && slices.Contains(current.Sides, l.Side) {
			continue
		}
		t.link(l, current.Session)
		current.Devices = append(current.Devices, subtract(l.members(), current.Devices)...)
		if !slices.Contains(current.Sides, l.Side) {
			current.Sides = append(current.Sides, l.Side)
		}
		t.do(Effect{Do: JoinDevices, Session: current.Session, At: t.now, Sides: []Side{t.sideOf(l, nil)}})
	}
}

// end ends the call of a pair's session when one of its sides is over, and of a
// conference's when fewer than two parties are left.
func (t *turn) end() {
	legs := t.legs(t.now)
	for i := range t.Joints {
		j := &t.Joints[i]
		if !j.inCall() {
			continue
		}
		p, enough := t.presence(*j, legs), len(j.Sides)
		if t.Kind == Conference {
			enough = 2
		}
		switch {
		case p.unknown && t.now.Sub(p.last) >= t.rules.Abandon:
			t.endCall(j, p.last)
		case p.parties >= enough:
		case p.over.IsZero() || p.over.After(t.now):
			t.endCall(j, t.now)
		default:
			t.endCall(j, p.over)
		}
	}
}

// presence is who is in a session's call.
type presence struct {
	parties int       // whose leg is not over
	over    time.Time // when the last one ended that is over
	unknown bool      // nobody says any more that a leg is up
	last    time.Time // when the last lease of them ran out
}

// presence counts the parties in a session's call. A side ends with its last leg that was
// ever active.
func (r Record) presence(j Joint, legs []Leg) (p presence) {
	p.unknown = true
	for _, side := range j.Sides {
		a := attendanceOf(side, j, legs)
		p.unknown = p.unknown && (!a.there || a.unknown)
		p.last = later(p.last, a.last)
		if !a.there {
			p.over = later(p.over, a.over)
		} else if !r.host(side) {
			p.parties++
		}
	}
	p.unknown = p.unknown && p.parties > 0
	return p
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// subtract returns what is in a and not in b.
func subtract(a, b []wire.DeviceID) []wire.DeviceID {
	var rest []wire.DeviceID
	for _, d := range a {
		if !slices.Contains(b, d) {
			rest = append(rest, d)
		}
	}
	return rest
}

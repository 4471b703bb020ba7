package session

import (
	"errors"
	"slices"
	"time"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// ErrNotAgain: a new call cannot take this session up again; it needs one of its own.
var ErrNotAgain = errors.New("session: cannot be taken up by a new call")

// Event is something that happens to a session: one of the types below.
type Event interface{ event() }

type (
	// Opened begins a session: two sides of a call were matched (B1).
	Opened struct {
		ID     wire.SessionID
		Tenant wire.TenantID
		At     time.Time
		Terms  Terms
		Sides  []Joining
	}
	// Joining is a party with devices; as an event, devices that join an open session
	// on behalf of a party that is in it, or of a further one (B10, K2).
	Joining struct {
		Principal, Shown tel.Identity
		Devices          []Device
		// At is when that was decided: who went away later stays away. Zero: now.
		At time.Time
		// By is the device that lets them take another one's place.
		By wire.DeviceID
	}
	// Away: these devices are out of the session until they are joined again; all of the
	// party's, where none is named. What is sent meanwhile they never see, unless others of
	// their party do.
	Away struct {
		Principal tel.Identity
		Devices   []wire.DeviceID
		At        time.Time
	}
	// CallEnded: the call is over; the session lingers (B6).
	CallEnded struct {
		At    time.Time
		Order uint64 // among all CallEnded and CallUp of the session
	}
	// CallUp: a new call between the same parties takes the session up again.
	CallUp struct{ Order uint64 }
	// Extend: a member keeps the session at least for so long from now.
	Extend struct {
		Device wire.DeviceID
		For    time.Duration
	}
	// Leave: a member's party, or only the one device, leaves for good.
	Leave struct {
		Device     wire.DeviceID
		DeviceOnly bool
		Block      bool
	}
	// LingerOver: the time of Record.Until may have come.
	LingerOver struct{}
	// OperatorClose ends the session at once.
	OperatorClose struct{}
	// DetailsOver: the call's details are to be forgotten, some time after closing.
	DetailsOver struct{}
)

// Device that joins, and the name it shows.
type Device struct {
	ID   wire.DeviceID
	Name string
}

func (Opened) event()        {}
func (Joining) event()       {}
func (Away) event()          {}
func (CallEnded) event()     {}
func (CallUp) event()        {}
func (Extend) event()        {}
func (Leave) event()         {}
func (LingerOver) event()    {}
func (OperatorClose) event() {}
func (DetailsOver) event()   {}

// Do says what an effect does.
type Do string

// Effects. DoBlock, DoGone and DoObserve outlive a crash in Record.Due; the others are
// made good from the record itself.
const (
	DoTell  Do = "tell"  // tell every member the new state
	DoNote  Do = "note"  // append the new state to the log
	DoBlock Do = "block" // By refuses sessions with Against
	DoGone  Do = "gone"  // tell the call matcher who Left, and whether it is Over

	DoObserve Do = "observe" // tell the observer that Happened
)

// Effect is what a change of state brings about. All effects may be repeated.
type Effect struct {
	Do Do `json:"do"`
	// Version of the record that decided it.
	Version uint64       `json:"version,omitempty"`
	By      tel.Identity `json:"by,omitzero"`
	Against tel.Identity `json:"against,omitzero"`
	// Unnamed: Against is withheld from By.
	Unnamed bool           `json:"unnamed,omitempty"`
	Left    []tel.Identity `json:"left,omitempty"`
	Over    bool           `json:"over,omitempty"`
	// Happened, for DoObserve.
	Happened *Happened `json:"happened,omitempty"`
}

// Next returns the session after ev, and what is to be done then; it has no effects of
// its own. An event that changes nothing returns the record as it was (the same
// Version) and no effects. A refusal is a *wire.Problem, or [ErrNotAgain].
func (r Record) Next(ev Event, now time.Time) (Record, []Effect, error) {
	if e, ok := ev.(Opened); ok {
		return r.open(e, now)
	}
	if r.Version == 0 {
		return r, nil, wire.NewProblem(wire.CodeNotMember, "")
	}
	switch e := ev.(type) {
	case Joining:
		return r.join(e, now)
	case Away:
		return r.away(e, now)
	case CallEnded:
		return r.callEnded(e, now)
	case CallUp:
		return r.callUp(e, now)
	case Extend:
		return r.extend(e, now)
	case Leave:
		return r.leave(e, now)
	case LingerOver:
		if r.Phase != wire.AfterCall || now.Before(r.Until) {
			return r, nil, nil
		}
		return r.close("linger", now)
	case OperatorClose:
		if r.Phase == wire.Closed {
			return r, nil, nil
		}
		return r.close("operator", now)
	case DetailsOver:
		return r.forget(now)
	}
	panic("session: unknown event")
}

// changed returns a copy that Next may write to.
func (r Record) changed(now time.Time) Record {
	r.Version++
	r.Changed = now
	r.Sides = slices.Clone(r.Sides)
	r.Members = slices.Clone(r.Members)
	r.Due = slices.Clone(r.Due)
	return r
}

func (r Record) open(e Opened, now time.Time) (Record, []Effect, error) {
	if r.Version != 0 {
		return r, nil, nil
	}
	n := Record{ID: e.ID, Tenant: e.Tenant, Phase: wire.InCall, Opened: e.At, Terms: e.Terms}.changed(now)
	for _, s := range e.Sides {
		n.add(s, now)
	}
	return n, told(), nil
}

// add enters a party's devices, as far as there is room, and returns how many.
// A device that has been a member is not entered again, unless it was only away: who left
// stays out. A party that was away comes back as a further side, since what was said before
// was not for it.
func (r *Record) add(j Joining, now time.Time) int {
	at := j.At
	if at.IsZero() {
		at = now
	}
	side, shown := r.side(j.Principal), j.Shown
	if side >= 0 && !r.Sides[side].Left.IsZero() {
		if !r.Sides[side].Away || at.Before(r.Sides[side].Left) {
			return 0
		}
		side, shown = -1, r.Sides[side].Shown
	}
	if side < 0 {
		r.Sides = append(r.Sides, Side{Principal: j.Principal, Shown: shown})
		side = len(r.Sides) - 1
	}
	added := 0
	for _, d := range j.Devices {
		if r.barred(d.ID, at) || r.present() >= r.Terms.Members {
			continue
		}
		r.Members = append(r.Members, Member{Device: d.ID, Side: side + 1, Name: d.Name, By: j.By, Joined: now})
		added++
	}
	return added
}

// barred: the device is a member, or was one and does not come back at that time.
func (r *Record) barred(d wire.DeviceID, at time.Time) bool {
	return slices.ContainsFunc(r.Members, func(m Member) bool {
		return m.Device == d && (m.Left.IsZero() || !m.Away || at.Before(m.Left))
	})
}

func (r Record) join(e Joining, now time.Time) (Record, []Effect, error) {
	if r.Phase == wire.Closed {
		return r, nil, wire.NewProblem(wire.CodeSessionClosed, "")
	}
	n := r.changed(now)
	added := n.add(e, now)
	wanted := slices.ContainsFunc(e.Devices, func(d Device) bool {
		return !slices.ContainsFunc(n.Members, func(m Member) bool { return m.Device == d.ID })
	})
	if side := n.side(e.Principal); added == 0 && wanted && n.Sides[side].Left.IsZero() {
		return r, nil, wire.NewProblem(wire.CodeSessionFull, "it has %d members", r.present())
	}
	if added == 0 && len(n.Sides) == len(r.Sides) {
		return r, nil, nil
	}
	return n, told(), nil
}

func (r Record) away(e Away, now time.Time) (Record, []Effect, error) {
	if r.Phase == wire.Closed {
		return r, nil, nil
	}
	at := e.At
	if at.IsZero() {
		at = now
	}
	n := r.changed(now)
	went := map[int]bool{} // sides
	for i := range n.Members {
		m := &n.Members[i]
		if !m.Left.IsZero() || n.Sides[m.Side-1].Principal != e.Principal || len(e.Devices) > 0 && !slices.Contains(e.Devices, m.Device) {
			continue
		}
		m.Left, m.Out, m.Away = at, n.Version, true
		went[m.Side] = true
	}
	for side := range went {
		if !slices.ContainsFunc(n.Members, func(m Member) bool { return m.Side == side && m.Left.IsZero() }) {
			n.Sides[side-1].Left, n.Sides[side-1].Away = at, true
		}
	}
	if len(went) == 0 {
		return r, nil, nil
	}
	return n, told(), nil
}

func (r Record) callEnded(e CallEnded, now time.Time) (Record, []Effect, error) {
	if r.Phase != wire.InCall || e.Order < r.Order {
		return r, nil, nil
	}
	n := r.changed(now)
	n.Phase, n.CallEnded, n.Order = wire.AfterCall, e.At, e.Order
	// From now, not from e.At: the members must have the time that they are told.
	n.Until, n.Cap = now.Add(r.Terms.Linger), now.Add(max(r.Terms.Linger, r.Terms.LingerMax))
	return n, told(), nil
}

func (r Record) callUp(e CallUp, now time.Time) (Record, []Effect, error) {
	for _, s := range r.Sides {
		if s.Shown.IsZero() {
			return r, nil, ErrNotAgain
		}
	}
	switch {
	case r.Phase == wire.Closed, !r.complete(), r.Phase == wire.AfterCall && !now.Before(r.Until):
		return r, nil, ErrNotAgain
	case r.Phase == wire.InCall, e.Order < r.Order:
		return r, nil, nil
	}
	n := r.changed(now)
	n.Phase, n.Order = wire.InCall, e.Order
	n.CallEnded, n.Until, n.Cap = time.Time{}, time.Time{}, time.Time{}
	return n, told(), nil
}

func (r Record) extend(e Extend, now time.Time) (Record, []Effect, error) {
	switch {
	case r.member(e.Device) == 0:
		return r, nil, wire.NewProblem(wire.CodeNotMember, "")
	case r.Phase == wire.Closed, r.Phase == wire.AfterCall && !now.Before(r.Until):
		return r, nil, wire.NewProblem(wire.CodeSessionClosed, "")
	case r.Phase == wire.InCall:
		return r, nil, wire.NewProblem(wire.CodeConflict, "the call is still up; extend the session when it is over")
	case e.For <= 0:
		return r, nil, wire.NewProblem(wire.CodeBadRequest, "seconds must be above zero")
	}
	until := now.Add(e.For)
	if until.After(r.Cap) {
		until = r.Cap
	}
	if !until.After(r.Until) {
		return r, nil, nil
	}
	n := r.changed(now)
	n.Until = until
	return n, told(), nil
}

func (r Record) leave(e Leave, now time.Time) (Record, []Effect, error) {
	m := r.member(e.Device)
	if m == 0 {
		return r, nil, wire.NewProblem(wire.CodeNotMember, "")
	}
	if r.Phase == wire.Closed && !e.Block {
		return r, nil, nil
	}
	n := r.changed(now)
	own := n.Members[m-1].Side
	var due []Effect
	if e.Block {
		for i, s := range n.Sides {
			if i+1 != own && !s.Principal.IsZero() && !n.Sides[own-1].Principal.IsZero() {
				due = append(due, Effect{Do: DoBlock, Version: n.Version, By: n.Sides[own-1].Principal, Against: s.Principal, Unnamed: s.Shown.IsZero()})
			}
		}
	}
	if r.Phase == wire.Closed {
		n.Due = append(n.Due, due...)
		return n, due, nil
	}
	stays := false // somebody else of the party
	for i := range n.Members {
		switch o := &n.Members[i]; {
		case o.Side != own || !o.Left.IsZero():
		case !e.DeviceOnly || i == int(m-1):
			o.Left, o.Out = now, n.Version
		default:
			stays = true
		}
	}
	if !stays {
		n.Sides[own-1].Left = now
	}
	here := 0
	for _, s := range n.Sides {
		if s.Left.IsZero() {
			here++
		}
	}
	if here < 2 {
		n.shut("left", now)
	}
	if n.Phase == wire.Closed || !stays {
		gone := Effect{Do: DoGone, Version: n.Version, Over: n.Phase == wire.Closed}
		if !stays {
			gone.Left = []tel.Identity{n.Sides[own-1].Principal}
		}
		due = append(due, gone)
	}
	n.Due = append(n.Due, due...)
	return n, append(told(), due...), nil
}

func (r Record) close(reason string, now time.Time) (Record, []Effect, error) {
	n := r.changed(now)
	n.shut(reason, now)
	gone := Effect{Do: DoGone, Version: n.Version, Over: true}
	for _, s := range n.Sides { // the matcher finds the call by its parties
		if !s.Principal.IsZero() {
			gone.Left = append(gone.Left, s.Principal)
		}
	}
	n.Due = append(n.Due, gone)
	return n, append(told(), gone), nil
}

func (r *Record) shut(reason string, now time.Time) {
	r.Phase, r.Reason, r.Closed = wire.Closed, reason, now
	r.Until, r.Cap = time.Time{}, time.Time{}
}

func (r Record) forget(now time.Time) (Record, []Effect, error) {
	known := slices.ContainsFunc(r.Sides, func(s Side) bool { return !s.Principal.IsZero() || !s.Shown.IsZero() })
	if r.Phase != wire.Closed || len(r.Due) > 0 || !known {
		return r, nil, nil
	}
	n := r.changed(now)
	for i := range n.Sides {
		n.Sides[i].Principal, n.Sides[i].Shown = tel.Identity{}, tel.Identity{}
	}
	return n, nil, nil
}

func told() []Effect { return []Effect{{Do: DoTell}, {Do: DoNote}} }

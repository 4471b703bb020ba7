package session

import (
	"strconv"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// What says what happened to a session, for an [Observer].
type What string

// What can happen.
const (
	WasOpened    What = "opened"
	WasTakenUp   What = "in_call" // by a new call
	CallIsOver   What = "after_call"
	WasClosed    What = "closed"
	MemberJoined What = "member_joined" // after the opening
	MemberLeft   What = "member_left"
)

// Happened is one thing that happened.
type Happened struct {
	What What      `json:"what"`
	At   time.Time `json:"at"`
	// Version of the record in which it did.
	Version uint64 `json:"version"`
	// Members that joined or left.
	Members []wire.MemberID `json:"members,omitempty"`
}

// ID tells it from everything else that happened to the session.
func (h Happened) ID() string { return strconv.FormatUint(h.Version, 10) + "/" + string(h.What) }

// observe adds to next's due effects what the observer is to hear of the change.
func (s *Service) observe(was, next *Record) {
	if s.c.Observer == nil || !s.c.Observer.Wants(next.Tenant) {
		return
	}
	for _, h := range happened(was, next) {
		next.Due = append(next.Due, Effect{Do: DoObserve, Version: next.Version, Happened: &h})
	}
}

// happened says what the step from one version of a record to the next was.
func happened(was, next *Record) []Happened {
	var all []Happened
	add := func(w What, members ...wire.MemberID) {
		all = append(all, Happened{w, next.Changed, next.Version, members})
	}
	var joined, left []wire.MemberID
	for i, m := range next.Members {
		if i >= len(was.Members) {
			joined = append(joined, memberID(uint32(i+1)))
		} else if !m.Left.IsZero() && was.Members[i].Left.IsZero() {
			left = append(left, memberID(uint32(i+1)))
		}
	}
	switch {
	case was.Version == 0:
		add(WasOpened)
	case len(joined) > 0:
		add(MemberJoined, joined...)
	case len(left) > 0:
		add(MemberLeft, left...)
	}
	if was.Version != 0 && next.Phase != was.Phase {
		add(map[wire.Phase]What{wire.InCall: WasTakenUp, wire.AfterCall: CallIsOver, wire.Closed: WasClosed}[next.Phase])
	}
	return all
}

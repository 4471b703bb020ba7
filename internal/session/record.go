package session

import (
	"slices"
	"strconv"
	"time"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Record is a data session as it is stored, one per session, in the table "sessions"
// under store.Key(tenant, id). It changes only by [Record.Next].
type Record struct {
	ID     wire.SessionID `json:"id"`
	Tenant wire.TenantID  `json:"tenant"`
	// Version counts the changes, from 1.
	Version uint64     `json:"version"`
	Phase   wire.Phase `json:"phase"`
	// Sides[i] is the party that wire.Member calls side i+1.
	Sides []Side `json:"sides"`
	// Members[i] has the member id i+1. Who leaves stays in the list.
	Members []Member `json:"members"`
	// Terms in force when the session was opened.
	Terms   Terms     `json:"terms"`
	Opened  time.Time `json:"opened"`
	Changed time.Time `json:"changed"`
	// Attempt names the write that made this version, for when its answer is lost.
	Attempt   string    `json:"attempt,omitempty"`
	CallEnded time.Time `json:"call_ended,omitzero"`
	// Order of the CallEnded or CallUp that counted last.
	Order uint64 `json:"order,omitempty"`
	// Until is when an after_call session closes, Cap the latest that Until can become.
	Until  time.Time `json:"until,omitzero"`
	Cap    time.Time `json:"cap,omitzero"`
	Closed time.Time `json:"closed,omitzero"`
	// Reason for closing, as in wire.SessionState.
	Reason string `json:"reason,omitempty"`
	// Due are effects that were decided and may not have been carried out yet. They are
	// repeatable; who has carried them out removes them.
	Due []Effect `json:"due,omitempty"`
}

// Terms are the limits of one session.
type Terms struct {
	// Linger is how long the session stays after the call; LingerMax with extensions.
	Linger    time.Duration `json:"linger"`
	LingerMax time.Duration `json:"linger_max"`
	// Members present at one time.
	Members int `json:"members"`
}

// Side is one party in a session.
type Side struct {
	// Principal identity of the party; zero once the call's details are forgotten.
	Principal tel.Identity `json:"principal,omitzero"`
	// Shown to the other sides; zero where it was withheld in the call.
	Shown tel.Identity `json:"shown,omitzero"`
	// Left: the party is gone, for good unless Away.
	Left time.Time `json:"left,omitzero"`
	Away bool      `json:"away,omitempty"`
}

// Member is a device in a session.
type Member struct {
	Device wire.DeviceID `json:"device"`
	// Side is an index into Record.Sides plus one.
	Side int    `json:"side"`
	Name string `json:"name,omitempty"`
	// By is the device that let this one take another one's place.
	By     wire.DeviceID `json:"by,omitempty"`
	Joined time.Time     `json:"joined"`
	Left   time.Time     `json:"left,omitzero"`
	// Away: it may come back, as a further member.
	Away bool `json:"away,omitempty"`
	// Out is the version of the record in which it left.
	Out uint64 `json:"out,omitempty"`
}

// member returns the number (the member id) of a device that is present, else zero.
func (r *Record) member(d wire.DeviceID) uint32 {
	for i := range r.Members {
		if m := &r.Members[i]; m.Device == d && m.Left.IsZero() {
			return uint32(i + 1)
		}
	}
	return 0
}

// side returns the index of the party with this principal identity, or -1: where it was away
// and came back, the latest.
func (r *Record) side(principal tel.Identity) int {
	for i, s := range slices.Backward(r.Sides) {
		if s.Principal == principal {
			return i
		}
	}
	return -1
}

// firstOf returns the number of the first member of the side of member n: what was
// sent before it existed was not meant for that party.
func (r *Record) firstOf(n uint32) uint32 {
	for i, m := range r.Members {
		if m.Side == r.Members[n-1].Side {
			return uint32(i + 1)
		}
	}
	return n
}

// placesOf returns the numbers of the members in whose place member n is, which are fewer than
// n: of its own earlier ones, and where it was let take another one's place, of all that its
// side had before. What was sent to them is for it, too.
func (r *Record) placesOf(n uint32) (all []uint32) {
	own := &r.Members[n-1]
	for i := range n - 1 {
		if m := &r.Members[i]; m.Side == own.Side && (own.By != "" || m.Device == own.Device) {
			all = append(all, i+1)
		}
	}
	return all
}

// present counts the members that have not left.
func (r *Record) present() int {
	n := 0
	for _, m := range r.Members {
		if m.Left.IsZero() {
			n++
		}
	}
	return n
}

// complete reports whether nobody has left; a device in whose place another of its party's is
// was only let go (Away).
func (r *Record) complete() bool {
	for _, s := range r.Sides {
		if !s.Left.IsZero() {
			return false
		}
	}
	return !slices.ContainsFunc(r.Members, func(m Member) bool { return !m.Left.IsZero() && !m.Away })
}

// State is the session as the member you sees it; zero for the log, which keeps no
// call details and so shows no identities.
func (r *Record) State(you uint32) wire.SessionState {
	st := wire.SessionState{
		ID: r.ID, Phase: r.Phase, Opened: r.Opened, Until: r.Until, MayExtendTo: r.Cap, Reason: r.Reason,
		Members: make([]wire.Member, len(r.Members)),
	}
	if you != 0 {
		st.You = memberID(you)
		for i, m := range r.Members[:you-1] {
			if m.Device == r.Members[you-1].Device {
				st.Was = append(st.Was, memberID(uint32(i+1)))
			}
		}
	}
	for i, m := range r.Members {
		st.Members[i] = wire.Member{ID: memberID(uint32(i + 1)), Side: m.Side, Name: m.Name, Left: !m.Left.IsZero()}
		if you != 0 {
			st.Members[i].Identity = r.Sides[m.Side-1].Shown
		}
	}
	return st
}

func memberID(n uint32) wire.MemberID { return wire.MemberID(strconv.FormatUint(uint64(n), 10)) }

// memberNumber reads a member id as this package writes it; zero for anything else.
func memberNumber(id wire.MemberID) uint32 {
	if id == "" || id[0] < '1' || id[0] > '9' {
		return 0
	}
	n, err := strconv.ParseUint(string(id), 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// Package agent is a provider's side of its calls (SPEC I1): who its agents are, how they sign in,
// what they are doing, and what is kept of their conversations.
//
// A [Record] is one agent: the place at which calls reach it (a number and, where several share
// that, an extension), its one signed-in device, and its state, which follows the calls; its
// methods decide, without effects. A [Conversation] is what stays of a session: who had it when,
// notes, and how it came out. The [Service] stores both by compare-and-set, learns of the
// sessions by [Service.Observe], and tells by [Service.At] whose call a leg is.
//
// All agents of a tenant are one provider's.
package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Errors of this package.
var (
	// ErrRequest: something cannot be used as it is.
	ErrRequest = errors.New("agent: unusable request")
	// ErrNotFound: there is no such agent or conversation for the caller.
	ErrNotFound = errors.New("agent: not found")
	// ErrNone: the device is no agent's.
	ErrNone = errors.New("agent: this device is no agent's; sign in at the console")
	// ErrCode: the code is unknown, used by another browser, or over.
	ErrCode = errors.New("agent: it is unknown, too old, or was used in another browser")
	// ErrTaken: calls to the number and extension reach another agent.
	ErrTaken = errors.New("agent: the number and extension are another agent's")
	// ErrInCall: what is asked for does not go together with a call.
	ErrInCall = errors.New("agent: in a call")
	// ErrAway: the agent is not signed in.
	ErrAway = errors.New("agent: the agent is not signed in")
	// ErrForbidden: the agent may not look into others' calls.
	ErrForbidden = errors.New("agent: you may not look into the calls of others; whoever looks after the agents can let you")
	// ErrFull: there are as many as there may be.
	ErrFull = errors.New("agent: full")
)

// Record is one agent: table "agents", key store.Key(tenant, id).
type Record struct {
	ID         string        `json:"id"`
	Tenant     wire.TenantID `json:"tenant"`
	Name       string        `json:"name"`
	Number     tel.Number    `json:"number"`
	Extension  string        `json:"extension,omitempty"`
	Skills     []string      `json:"skills,omitempty"`
	Queue      string        `json:"queue,omitempty"`
	Supervisor bool          `json:"supervisor,omitempty"`
	MayLook    bool          `json:"may_look,omitempty"`
	Created    time.Time     `json:"created"`

	// Codes are the ids of the sign-in codes that were made.
	Codes []string `json:"codes,omitempty"`
	// Device that the agent is signed in with, until a time.
	Device wire.DeviceID `json:"device,omitempty"`
	Until  time.Time     `json:"until,omitzero"`

	State  wire.AgentState `json:"state"`
	Reason string          `json:"reason,omitempty"`
	Since  time.Time       `json:"since"`
	// Calls are the sessions whose call the agent is in.
	Calls []wire.SessionID `json:"calls,omitempty"`
	// Open are the sessions that the agent is in, also after their call.
	Open []wire.SessionID `json:"open,omitempty"`
}

// SignedIn reports whether the agent has a device that may act.
func (r *Record) SignedIn(now time.Time) bool { return r.Device != "" && now.Before(r.Until) }

// StateAt is the agent's state: who has not signed in again has no other.
func (r *Record) StateAt(now time.Time) (state wire.AgentState, reason string, since time.Time) {
	if !r.SignedIn(now) && r.State != wire.AgentSignedOut {
		return wire.AgentSignedOut, "", r.Until
	}
	return r.State, r.Reason, r.Since
}

// Info is what may be told of an agent; sessions only to whom they concern.
func (r *Record) Info(now time.Time, sessions bool) wire.Agent {
	a := wire.Agent{
		ID: r.ID, Name: r.Name, Number: r.Number, Extension: r.Extension, Skills: append([]string{}, r.Skills...), Queue: r.Queue,
		Supervisor: r.Supervisor, MayLook: r.MayLook, Created: r.Created,
	}
	a.State, a.Reason, a.Since = r.StateAt(now)
	if sessions {
		a.Sessions = slices.Clone(r.Open)
	}
	if r.SignedIn(now) {
		a.SignedInUntil = r.Until
	}
	return a
}

// become changes the state, if it is another one.
func (r *Record) become(state wire.AgentState, reason string, now time.Time) {
	if r.State != state || r.Reason != reason {
		r.State, r.Reason, r.Since = state, reason, now
	}
}

func (r *Record) signOut(now time.Time) {
	r.Until, r.Calls, r.Open = time.Time{}, nil, nil
	r.become(wire.AgentSignedOut, "", now)
}

// choose takes the agent's own word of what it is doing. ErrInCall, ErrRequest.
func (r *Record) choose(q wire.AgentStateRequest, reasons []string, now time.Time) error {
	switch {
	case !slices.Contains([]wire.AgentState{wire.AgentAvailable, wire.AgentBusy, wire.AgentWrapUp, wire.AgentAway}, q.State):
		return fmt.Errorf("%w: a state is available, busy, wrap_up or away", ErrRequest)
	case q.Reason != "" && (q.State == wire.AgentAvailable || !slices.Contains(reasons, q.Reason)):
		return fmt.Errorf("%w: the reason is none of the provider's: %s", ErrRequest, strings.Join(reasons, ", "))
	case len(r.Calls) > 0 && q.State != wire.AgentBusy:
		return fmt.Errorf("%w: the state follows when it is over", ErrInCall)
	}
	r.become(q.State, q.Reason, now)
	return nil
}

// attend notes whether the agent is in a session, and in its call: in a call it is busy, and
// after its last one it writes up.
func (r *Record) attend(id wire.SessionID, open, inCall bool, now time.Time) {
	was := len(r.Calls)
	r.Open = with(r.Open, id, open)
	r.Calls = with(r.Calls, id, inCall)
	switch {
	case r.State == wire.AgentSignedOut:
	case was == 0 && len(r.Calls) > 0:
		r.become(wire.AgentBusy, "", now)
	case was > 0 && len(r.Calls) == 0:
		r.become(wire.AgentWrapUp, "", now)
	}
}

// with returns the list with the session in it, or without.
func with(list []wire.SessionID, id wire.SessionID, in bool) []wire.SessionID {
	if slices.Contains(list, id) == in {
		return list
	}
	if in {
		return append(slices.Clone(list), id)
	}
	return slices.DeleteFunc(slices.Clone(list), func(x wire.SessionID) bool { return x == id })
}

// seat is where calls reach an agent: table "agent-seats", key store.Key(tenant, number, extension).
type seat struct {
	Agent string `json:"agent"`
}

// tied leads from a device to its agent, also after it has signed out: table "agent-devices", key
// store.Key(tenant, device).
type tied struct {
	Agent string    `json:"agent"`
	At    time.Time `json:"at"`
}

// validID of an agent, as in an address.
func validID(s string) bool {
	return s != "" && len(s) <= 32 && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-'
	})
}

// word: letters, digits and hyphens.
func word(s string) bool {
	return s != "" && len(s) <= 32 && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-'
	})
}

// line is a text on one line, of at most so many bytes.
func line(s string, most int) bool {
	return len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f })
}

// check a request for an agent.
func check(id string, n tel.Number, q wire.AgentRequest) error {
	switch {
	case !validID(id):
		return fmt.Errorf("%w: an id has 1 to 32 of a-z, 0-9 and hyphen", ErrRequest)
	case n.IsZero():
		return fmt.Errorf("%w: an agent has a number", ErrRequest)
	case strings.TrimSpace(q.Name) == "" || !line(q.Name, 64):
		return fmt.Errorf("%w: a name has 1 to 64 bytes of text on one line", ErrRequest)
	case q.Extension != "" && !word(q.Extension):
		return fmt.Errorf("%w: an extension has 1 to 32 letters, digits and hyphens", ErrRequest)
	case !line(q.Queue, 64):
		return fmt.Errorf("%w: a queue has at most 64 bytes of text on one line", ErrRequest)
	case q.MayLook && !q.Supervisor:
		return fmt.Errorf("%w: only a supervisor may look into the calls of others", ErrRequest)
	case len(q.Skills) > 32 || slices.ContainsFunc(q.Skills, func(s string) bool { return !word(s) }):
		return fmt.Errorf("%w: at most 32 skills of 1 to 32 letters, digits and hyphens", ErrRequest)
	}
	return nil
}

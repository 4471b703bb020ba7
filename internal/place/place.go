// Package place asks for places and shares them, with the consent of whoever is there
// (SPEC F).
//
// [State] is what is known of places in one session: what the devices can do, who asks whom,
// with what consent, and who is being followed. Its methods decide, without effects; the
// [Service] stores it by compare-and-set, tells the members, and ends what has come to its end.
// Positions themselves are not in it.
package place

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// Errors of this package.
var (
	// ErrRequest: something cannot be used as it is.
	ErrRequest = errors.New("place: unusable request")
	// ErrNotFound: there is no such request for the caller, or it was answered otherwise.
	ErrNotFound = errors.New("place: not found")
	// ErrClosed: the session takes nothing more, or the caller is not in it.
	ErrClosed = errors.New("place: no such open session")
	// ErrConsent: the consent for this request does not hold any more.
	ErrConsent = errors.New("place: the consent for this request has ended")
	// ErrCallOver: places are shared live while the call lasts.
	ErrCallOver = errors.New("place: the call is over; a place can be shared once")
	// ErrTooMany: more places than one a second.
	ErrTooMany = errors.New("place: too many")
	// ErrFull: the session has as many requests for places as it may have.
	ErrFull = errors.New("place: too many requests for places in this session")
)

// State of places in a session: table "places", key store.Key(tenant, session).
type State struct {
	Tenant    wire.TenantID  `json:"tenant"`
	Session   wire.SessionID `json:"session"`
	Abilities []Ability      `json:"abilities,omitempty"`
	// Silent are devices that have not answered when the server asked by itself what they can; it
	// asks them no more, and takes their word when it comes.
	Silent []wire.DeviceID `json:"silent,omitempty"`
	Asks   []Ask           `json:"asks,omitempty"`
	Shares []Share         `json:"shares,omitempty"`
	// Over: the call is over, and nothing is shared live any more.
	Over bool `json:"over,omitempty"`
	// Changed is when something was put into it last.
	Changed time.Time `json:"changed"`
}

// Ability of a device, as it said.
type Ability struct {
	Device wire.DeviceID     `json:"device"`
	Can    wire.PlaceAbility `json:"can"`
	At     time.Time         `json:"at"`
}

// Ask is a request for a place.
type Ask struct {
	ID string `json:"id"`
	// From asks, Of is asked.
	From    wire.MemberID `json:"from"`
	Of      wire.DeviceID `json:"of"`
	Minutes int           `json:"minutes,omitempty"`
	Consent wire.Consent  `json:"consent,omitempty"`
	// Until a consent of the kind live holds.
	Until  time.Time `json:"until,omitzero"`
	Coarse bool      `json:"coarse,omitempty"`
	// Used: a consent for once.
	Used bool `json:"used,omitempty"`
}

// Share is a device whose place is shared live.
type Share struct {
	Device  wire.DeviceID   `json:"device"`
	To      []wire.MemberID `json:"to"`
	Request string          `json:"request,omitempty"`
	Until   time.Time       `json:"until"`
	Coarse  bool            `json:"coarse,omitempty"`
	// Stopped by its user, at Until; it stays until the others have been told.
	Stopped bool `json:"stopped,omitempty"`
}

// maxAsks of a session.
const maxAsks = 256

// Of returns what a device said last that it can; where it said nothing, that is nothing.
func (s *State) Of(d wire.DeviceID) Ability {
	for _, a := range s.Abilities {
		if a.Device == d {
			return a
		}
	}
	return Ability{Device: d, Can: wire.PlaceAbility{Show: wire.ShowNone}}
}

// WithAbility notes what a device can.
func (s State) WithAbility(d wire.DeviceID, can wire.PlaceAbility, now time.Time) State {
	s.Abilities = append(slices.DeleteFunc(slices.Clone(s.Abilities), func(a Ability) bool { return a.Device == d }), Ability{d, can, now})
	s.Changed = now
	return s
}

// Said reports whether a device has said what it can.
func (s *State) Said(d wire.DeviceID) bool { return !s.Of(d).At.IsZero() }

// WithSilent notes which of these devices have said nothing.
func (s State) WithSilent(devices []wire.DeviceID, now time.Time) State {
	s.Silent = slices.Clone(s.Silent)
	for _, d := range devices {
		if !s.Said(d) && !slices.Contains(s.Silent, d) {
			s.Silent, s.Changed = append(s.Silent, d), now
		}
	}
	return s
}

// WithAsk adds a request. ErrFull.
func (s State) WithAsk(a Ask, now time.Time) (State, error) {
	if len(s.Asks) >= maxAsks {
		return s, ErrFull
	}
	s.Asks, s.Changed = append(slices.Clone(s.Asks), a), now
	return s, nil
}

// Standing returns the last request by the same member to the same device whose consent holds
// for more than once.
func (s *State) Standing(from wire.MemberID, of wire.DeviceID, now time.Time) (Ask, bool) {
	for _, a := range slices.Backward(s.Asks) {
		if a.From == from && a.Of == of && a.Consent == wire.ConsentCall && !s.Over {
			return a, true
		}
	}
	return Ask{}, false
}

// Answer gives a request its answer. Who has said yes can say no afterwards. ErrNotFound, ErrRequest.
func (s State) Answer(d wire.DeviceID, q wire.PlaceAnswer, now time.Time) (State, error) {
	i := slices.IndexFunc(s.Asks, func(a Ask) bool { return a.ID == q.Request && a.Of == d })
	if i < 0 {
		return s, ErrNotFound
	}
	s.Asks = slices.Clone(s.Asks)
	a := &s.Asks[i]
	a.Consent, a.Coarse, a.Until, a.Used = q.Consent, q.Coarse, time.Time{}, false
	switch q.Consent {
	case wire.ConsentLive:
		if q.Minutes <= 0 || q.Minutes > wire.MaxPlaceMinutes {
			return s, fmt.Errorf("%w: live is for 1 to %d minutes", ErrRequest, wire.MaxPlaceMinutes)
		}
		a.Until = now.Add(time.Duration(q.Minutes) * time.Minute)
	case wire.ConsentNo, wire.ConsentNever:
		s, _ = s.stopped(now, func(x Share) bool { return x.Device == d && x.Request == a.ID })
	case wire.ConsentOnce, wire.ConsentCall:
	default:
		return s, fmt.Errorf("%w: consent is once, call, live, no or never", ErrRequest)
	}
	s.Changed = now
	return s, nil
}

// Shared says what is to be sent when a device shares its place.
type Shared struct {
	To     []wire.MemberID
	Coarse bool
	// Live: it is followed until Until. First: this is the first of a series, or the only one.
	Live, First bool
	Until       time.Time
	Request     string
}

// Share decides what becomes of a place that a device shares: as the answer to a request, as
// the next of a series, or at its user's touch. others are the members that it may go to.
// ErrNotFound, ErrConsent, ErrCallOver.
func (s State) Share(d wire.DeviceID, q wire.PlaceShare, others []wire.MemberID, now time.Time) (State, Shared, error) {
	out := Shared{To: others, Coarse: q.Coarse, First: true, Request: q.Request}
	if len(q.To) > 0 {
		out.To = slices.DeleteFunc(slices.Clone(others), func(m wire.MemberID) bool { return !slices.Contains(q.To, m) })
	}
	running := slices.IndexFunc(s.Shares, func(x Share) bool {
		return x.Device == d && x.Request == q.Request && !x.Stopped && now.Before(x.Until)
	})
	minutes := q.Minutes
	if q.Request != "" {
		i := slices.IndexFunc(s.Asks, func(a Ask) bool { return a.ID == q.Request && a.Of == d })
		if i < 0 {
			return s, out, ErrNotFound
		}
		s.Asks = slices.Clone(s.Asks)
		a := &s.Asks[i]
		switch {
		case a.Consent == wire.ConsentOnce && !a.Used && minutes == 0:
			a.Used = true
		case a.Consent == wire.ConsentCall && !s.Over:
		case a.Consent == wire.ConsentLive && !s.Over && now.Before(a.Until):
			minutes = max(1, int(a.Until.Sub(now)/time.Minute))
			out.Until = a.Until
		default:
			return s, out, ErrConsent
		}
		out.To, out.Coarse = []wire.MemberID{a.From}, q.Coarse || a.Coarse
	}
	if len(out.To) == 0 {
		return s, out, fmt.Errorf("%w: there is nobody to share it with", ErrRequest)
	}
	s.Changed = now
	switch {
	case running >= 0 && minutes > 0:
		x := s.Shares[running]
		out.Live, out.First, out.Until, out.To, out.Coarse = true, false, x.Until, x.To, out.Coarse || x.Coarse
	case minutes > wire.MaxPlaceMinutes:
		return s, out, fmt.Errorf("%w: live is for at most %d minutes", ErrRequest, wire.MaxPlaceMinutes)
	case minutes > 0 && s.Over:
		return s, out, ErrCallOver
	case minutes > 0:
		out.Live = true
		if out.Until.IsZero() {
			out.Until = now.Add(time.Duration(minutes) * time.Minute)
		}
		s.Shares = append(slices.DeleteFunc(slices.Clone(s.Shares), func(x Share) bool { return x.Device == d && x.Request == q.Request }),
			Share{Device: d, To: out.To, Request: q.Request, Until: out.Until, Coarse: out.Coarse})
	}
	return s, out, nil
}

// Stop ends what the device shares, and takes back what it has agreed to. It returns what the others are to be told of.
func (s State) Stop(d wire.DeviceID, now time.Time) (State, []Share) {
	s, ended := s.stopped(now, func(x Share) bool { return x.Device == d })
	s.Asks = slices.Clone(s.Asks)
	for i := range s.Asks {
		if s.Asks[i].Of == d {
			s.Asks[i].Consent, s.Asks[i].Until = wire.ConsentNo, time.Time{}
		}
	}
	s.Changed = now
	return s, ended
}

// stopped ends shares, and returns them.
func (s State) stopped(now time.Time, which func(Share) bool) (_ State, ended []Share) {
	s.Shares = slices.Clone(s.Shares)
	for i := range s.Shares {
		x := &s.Shares[i]
		if !which(*x) {
			continue
		}
		if now.Before(x.Until) {
			x.Until, x.Stopped = now.Add(-time.Duration(i)), true // each its own, which tells the messages of the ends apart
		}
		ended = append(ended, *x)
	}
	return s, ended
}

// Ended returns the shares whose time is over: all, where the call is.
func (s *State) Ended(now time.Time) (ended []Share) {
	for _, x := range s.Shares {
		if s.Over || x.Stopped || !now.Before(x.Until) {
			ended = append(ended, x)
		}
	}
	return ended
}

// untold are the shares of a device that were stopped, of which the others have not been told yet.
func (s *State) untold(d wire.DeviceID) (stopped []Share) {
	for _, x := range s.Shares {
		if x.Device == d && x.Stopped {
			stopped = append(stopped, x)
		}
	}
	return stopped
}

// Without returns the state without these shares.
func (s State) Without(ended []Share) State {
	s.Shares = slices.DeleteFunc(slices.Clone(s.Shares), func(x Share) bool {
		return slices.ContainsFunc(ended, func(e Share) bool { return e.Device == x.Device && e.Request == x.Request && e.Until.Equal(x.Until) })
	})
	return s
}

// Consented gives a request its answer by a rule. ErrNotFound.
func (s State) Consented(ask string, d wire.DeviceID, r wire.PlaceRule, now time.Time) (State, error) {
	return s.Answer(d, wire.PlaceAnswer{Request: ask, Consent: r.Consent, Minutes: r.Minutes, Coarse: r.Coarse}, now)
}

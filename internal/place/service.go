package place

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	tenants "github.com/tandem-call/tandem/internal/tenant"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Sessions is what places need of the data sessions.
type Sessions interface {
	// Session looks at one. ErrClosed.
	Session(ctx context.Context, tenant wire.TenantID, id wire.SessionID) (Session, error)
	// Send sends the server's own kind of message in a device's name; without a request id as
	// a signal, which is not stored.
	Send(ctx context.Context, tenant wire.TenantID, id wire.SessionID, from wire.DeviceID, to []wire.MemberID, request wire.RequestID, kind string, body any) error
}

// Parties is what the rules need of those who use them.
type Parties interface {
	// Principal is the identity by which a party is known.
	Principal(ctx context.Context, tenant wire.TenantID, id tel.Identity) (tel.Identity, error)
	// In reports whether the party counts other as one of a group.
	In(ctx context.Context, tenant wire.TenantID, party, other tel.Identity, g wire.PlaceGroup) (bool, error)
}

// Session is an open session, as far as places are concerned.
type Session struct {
	InCall bool
	// Parties are the principal identities of those who have not left, present or not.
	Parties []tel.Identity
	Members []Member
}

// Member is a device that is present.
type Member struct {
	ID        wire.MemberID
	Device    wire.DeviceID
	Side      int
	Principal tel.Identity
	// Shown to the others; zero where the call withheld it.
	Shown tel.Identity
	// Guest: it is there by a link to its number only, so that no rule is its own or speaks of it.
	Guest bool
}

func (s *Session) of(d wire.DeviceID) (Member, error) {
	i := slices.IndexFunc(s.Members, func(m Member) bool { return m.Device == d })
	if i < 0 {
		return Member{}, ErrClosed
	}
	return s.Members[i], nil
}

// beside lists the members of the other sides.
func (s *Session) beside(than Member) (others []wire.MemberID) {
	for _, m := range s.Members {
		if m.Side != than.Side {
			others = append(others, m.ID)
		}
	}
	return others
}

// to returns another party's member. ErrRequest.
func (s *Session) to(id wire.MemberID, than Member) (Member, error) {
	i := slices.IndexFunc(s.Members, func(m Member) bool { return m.ID == id })
	if i < 0 || s.Members[i].Device == than.Device {
		return Member{}, fmt.Errorf("%w: there is no other member %q in the session", ErrRequest, id)
	}
	return s.Members[i], nil
}

// Config of a Service. The first two are needed.
type Config struct {
	Engine   store.Engine
	Sessions Sessions
	// Parties say who is who, for the rules; nil: no rules hold.
	Parties Parties
	// Link is the pattern of the mapping service's address, with {lat} and {lon}; empty: none.
	Link string
	// URL of this server, before the paths of pictures.
	URL string
	// CheckFor is how long a check waits; zero means wire.PlaceCheckSeconds.
	CheckFor time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log; nil means no log.
	Log *slog.Logger
}

// Service keeps the states. Make it with [New]; [Service.Run] must run for shares to end.
// Its methods may be called from several goroutines and on several nodes at once.
type Service struct {
	cfg      Config
	states   store.Table[State]
	refusals store.Table[Refusal]
	rules    store.Table[Rules]
	known    store.Table[Known]
	seal     *seal
	has      *tenants.Set // those with states
	wake     chan struct{}

	mu   sync.Mutex
	last map[wire.DeviceID]time.Time // places of devices that share here, for the rate
}

// New returns the service over the engine.
func New(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Engine == nil || cfg.Sessions == nil {
		return nil, errors.New("place: config needs Engine and Sessions")
	}
	if cfg.Link != "" && (!strings.HasPrefix(cfg.Link, "https://") && !strings.HasPrefix(cfg.Link, "http://") || !strings.Contains(cfg.Link, "{lat}") || !strings.Contains(cfg.Link, "{lon}")) {
		return nil, errors.New("place: the link is an address with {lat} and {lon} in it")
	}
	if cfg.CheckFor == 0 {
		cfg.CheckFor = wire.PlaceCheckSeconds * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		cfg: cfg, states: store.TableOf[State](cfg.Engine, "places"), refusals: store.TableOf[Refusal](cfg.Engine, "place-refusals"),
		rules: store.TableOf[Rules](cfg.Engine, "place-rules"), known: store.TableOf[Known](cfg.Engine, "place-network"),
		has: tenants.NewSet(cfg.Engine, "places"), wake: make(chan struct{}, 1), last: map[wire.DeviceID]time.Time{},
	}
	var err error
	if s.seal, err = newSeal(ctx, cfg.Engine); err != nil {
		return nil, err
	}
	for item, err := range s.states.Scan(ctx, "") {
		if err != nil {
			return nil, fmt.Errorf("place: read states: %w", err)
		}
		s.has.Learn(item.Value.Tenant)
	}
	return s, nil
}

// Any reports whether somebody in the tenant shares or asks for places.
func (s *Service) Any(tenant wire.TenantID) bool { return s.has.Has(tenant) }

func key(tenant wire.TenantID, id wire.SessionID) string {
	return store.Key(string(tenant), string(id))
}

func (s *Service) change(ctx context.Context, tenant wire.TenantID, id wire.SessionID, decide func(State) (State, error)) (State, error) {
	if err := s.has.Add(ctx, tenant); err != nil {
		return State{}, fmt.Errorf("place: %w", err)
	}
	st, err := store.Change(ctx, s.states, key(tenant, id), func(x State, exists bool) (State, bool, error) {
		if !exists {
			x = State{Tenant: tenant, Session: id}
		}
		next, err := decide(x)
		return next, err == nil, err
	})
	if err != nil {
		return st, fmt.Errorf("place: %w", err)
	}
	return st, nil
}

// SetAbility takes a device's word of what it can.
func (s *Service) SetAbility(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID, can wire.PlaceAbility) error {
	x, err := s.cfg.Sessions.Session(ctx, tenant, id)
	if err == nil {
		_, err = x.of(d)
	}
	if err == nil {
		_, err = s.change(ctx, tenant, id, func(st State) (State, error) { return st.WithAbility(d, can, s.cfg.Now()), nil })
	}
	return err
}

// Check asks another member's device what it can, and waits for the answer; silence, and
// whoever never wants to be asked, is a no (F1).
func (s *Service) Check(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID, to wire.MemberID) (wire.PlaceAbility, error) {
	no := wire.PlaceAbility{Show: wire.ShowNone}
	x, err := s.cfg.Sessions.Session(ctx, tenant, id)
	if err != nil {
		return no, err
	}
	me, err := x.of(d)
	if err != nil {
		return no, err
	}
	other, err := x.to(to, me)
	if err != nil {
		return no, err
	}
	before, err := s.state(ctx, tenant, id)
	if err != nil {
		return no, err
	}
	if err := s.cfg.Sessions.Send(ctx, tenant, id, d, []wire.MemberID{to}, "", wire.KindPlaceCheck, wire.PlaceCheck{TimeoutSeconds: int(s.cfg.CheckFor / time.Second)}); err != nil {
		return no, err
	}
	never, err := s.refused(ctx, tenant, other.Principal, me.Principal)
	if err != nil {
		return no, err
	}
	can := no
	err = s.await(ctx, tenant, id, func(st State) bool {
		// Another word than before, by whichever node's clock.
		said := st.Of(other.Device)
		if said.At.Equal(before.Of(other.Device).At) {
			return false
		}
		can = said.Can
		can.Provide = can.Provide && !never
		return true
	})
	return can, err
}

// await looks at a session's state until it is done, or the time of a check is over. The answer may
// come to another node, so the record is looked at.
func (s *Service) await(ctx context.Context, tenant wire.TenantID, id wire.SessionID, done func(State) bool) error {
	timeout, look := time.NewTimer(s.cfg.CheckFor), time.NewTicker(50*time.Millisecond)
	defer timeout.Stop()
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout.C:
			return nil
		case <-look.C:
		}
		st, err := s.state(ctx, tenant, id)
		if err != nil || done(st) {
			return err
		}
	}
}

// learn has the server ask by itself what those members' devices can that have not said so (F1): what
// they are sent follows from it (F5). Each is asked once in a session, and silence is a no. It reports
// whether there was somebody to ask.
func (s *Service) learn(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID, x *Session, to []wire.MemberID, st State) (asked bool, err error) {
	var members []wire.MemberID
	var of []wire.DeviceID
	for _, m := range x.Members {
		if slices.Contains(to, m.ID) && !st.Said(m.Device) && !slices.Contains(st.Silent, m.Device) {
			members, of = append(members, m.ID), append(of, m.Device)
		}
	}
	if len(members) == 0 {
		return false, nil
	}
	if err := s.cfg.Sessions.Send(ctx, tenant, id, d, members, "", wire.KindPlaceCheck, wire.PlaceCheck{TimeoutSeconds: int(s.cfg.CheckFor / time.Second)}); err != nil {
		return true, err
	}
	all := func(st State) bool {
		return !slices.ContainsFunc(of, func(d wire.DeviceID) bool { return !st.Said(d) })
	}
	if err := s.await(ctx, tenant, id, all); err != nil {
		return true, err
	}
	_, err = s.change(ctx, tenant, id, func(st State) (State, error) { return st.WithSilent(of, s.cfg.Now()), nil })
	return true, err
}

// state returns what is known of a session; an empty one, where nothing is.
func (s *Service) state(ctx context.Context, tenant wire.TenantID, id wire.SessionID) (State, error) {
	st, _, err := s.states.Get(ctx, key(tenant, id))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return st, fmt.Errorf("place: %w", err)
	}
	return st, nil
}

// Ask asks for another member's place (F2). With a check, a device that cannot is not asked.
func (s *Service) Ask(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID, q wire.PlaceAskRequest) (wire.PlaceAskedFor, error) {
	out := wire.PlaceAskedFor{Ability: wire.PlaceAbility{Show: wire.ShowNone}}
	if q.Minutes < 0 || q.Minutes > wire.MaxPlaceMinutes {
		return out, fmt.Errorf("%w: live is for at most %d minutes", ErrRequest, wire.MaxPlaceMinutes)
	}
	x, err := s.cfg.Sessions.Session(ctx, tenant, id)
	if err != nil {
		return out, err
	}
	me, err := x.of(d)
	if err != nil {
		return out, err
	}
	other, err := x.to(q.To, me)
	if err != nil {
		return out, err
	}
	if q.Check {
		if out.Ability, err = s.Check(ctx, tenant, id, d, q.To); err != nil || !out.Ability.Provide {
			return out, err
		}
	}
	a := Ask{ID: wire.NewID("ask_"), From: me.ID, Of: other.Device, Minutes: q.Minutes}
	never, err := s.refused(ctx, tenant, other.Principal, me.Principal)
	if err != nil {
		return out, err
	}
	if never { // as if its user said nothing
		out.Request = a.ID
		return out, nil
	}
	rule, byRule, err := s.rule(ctx, tenant, other, me)
	if err != nil {
		return out, err
	}
	st, err := s.change(ctx, tenant, id, func(st State) (State, error) {
		if old, ok := st.Standing(me.ID, other.Device, s.cfg.Now()); ok && q.Minutes == 0 {
			a = old
			return st, nil
		}
		st, err := st.WithAsk(a, s.cfg.Now())
		if err == nil && byRule && x.InCall {
			st, err = st.Consented(a.ID, other.Device, rule, s.cfg.Now())
		}
		return st, err
	})
	if err != nil {
		return out, err
	}
	out.Request = a.ID
	msg := wire.PlaceAsked{Request: a.ID, Minutes: q.Minutes}
	for _, x := range st.Asks {
		if x.ID == a.ID { // where the consent is there, the device answers without its user
			msg.Consent, msg.Until = x.Consent, x.Until
		}
	}
	request := wire.RequestID(wire.NewID("place-"))
	return out, s.cfg.Sessions.Send(ctx, tenant, id, d, []wire.MemberID{other.ID}, request, wire.KindPlaceAsk, msg)
}

// Answer takes the word of somebody who was asked. No and never are told to nobody; that a place is not shared any more is.
func (s *Service) Answer(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID, q wire.PlaceAnswer) error {
	x, err := s.cfg.Sessions.Session(ctx, tenant, id)
	if err != nil {
		return err
	}
	me, err := x.of(d)
	if err != nil {
		return err
	}
	st, err := s.change(ctx, tenant, id, func(st State) (State, error) { return st.Answer(d, q, s.cfg.Now()) })
	if err == nil && slices.ContainsFunc(st.Shares, func(x Share) bool { return x.Stopped }) {
		s.signal() // the others are to be told
	}
	if err != nil || q.Consent != wire.ConsentNever {
		return err
	}
	for _, a := range st.Asks {
		if a.ID != q.Request {
			continue
		}
		for _, m := range x.Members {
			if m.ID != a.From || m.Principal == me.Principal {
				continue
			}
			return s.refuse(ctx, tenant, me.Principal, m.Principal)
		}
	}
	return nil
}

// Share shares a device's place (F3, F4). Where the first place of a series, or the only one, goes to
// devices that have not said what they can, they are asked first: it then takes as long as a check.
func (s *Service) Share(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID, q wire.PlaceShare) (wire.PlaceShared, error) {
	where, err := s.shared(ctx, tenant, id, d, q)
	if err != nil {
		return wire.PlaceShared{}, err
	}
	x, err := s.cfg.Sessions.Session(ctx, tenant, id)
	if err != nil {
		return wire.PlaceShared{}, err
	}
	me, err := x.of(d)
	if err != nil {
		return wire.PlaceShared{}, err
	}
	if !s.mayShare(d) {
		return wire.PlaceShared{}, ErrTooMany
	}
	others := x.beside(me)
	var out Shared
	decide := func(st State) (next State, err error) {
		st.Over = !x.InCall // a new call may have taken the session up
		next, out, err = st.Share(d, q, others, s.cfg.Now())
		return next, err
	}
	st, err := s.state(ctx, tenant, id)
	if err == nil {
		_, err = decide(st)
	}
	if err == nil && out.First {
		asked, err := s.learn(ctx, tenant, id, d, &x, out.To, st)
		if err == nil && asked { // consent, members and call may have ended meanwhile
			if x, err = s.cfg.Sessions.Session(ctx, tenant, id); err == nil {
				me, err = x.of(d)
			}
			others = x.beside(me)
		}
		if err != nil {
			return wire.PlaceShared{}, err
		}
	}
	if err != nil || out.First { // the next of a series changes nothing
		st, err = s.begin(ctx, tenant, id, d, decide)
	}
	if err != nil {
		return wire.PlaceShared{}, err
	}
	s.paced(d)
	out.To = slices.DeleteFunc(slices.Clone(out.To), func(m wire.MemberID) bool { return !slices.Contains(others, m) })
	if out.Coarse {
		where = Coarse(where)
	}
	msg := wire.PlaceMessage{Place: where, URI: URI(where), Words: Words(where), Live: out.Live, Until: out.Until, Coarse: out.Coarse, Request: out.Request}
	ways := map[way][]wire.MemberID{}
	for _, m := range x.Members {
		if slices.Contains(out.To, m.ID) {
			w := s.wayTo(st.Of(m.Device).Can)
			ways[w] = append(ways[w], m.ID)
		}
	}
	request := ""
	if out.First {
		request = wire.NewID("place-")
	}
	for w, to := range ways {
		r := request
		if r != "" {
			r += w.suffix()
		}
		if err := s.cfg.Sessions.Send(ctx, tenant, id, d, to, wire.RequestID(r), wire.KindPlace, s.shown(msg, w)); err != nil {
			return wire.PlaceShared{}, err
		}
	}
	if out.First && out.Live {
		s.signal() // there is a new end to wait for
	}
	return wire.PlaceShared{To: out.To, Until: out.Until}, nil
}

var errUntold = errors.New("place: the others have not been told yet of a share that was stopped")

// begin lets a share begin. Of one that the device has stopped before, the others are told first: afterwards the end would be taken for that
// of the new one, and who does not get that would not be told at all.
func (s *Service) begin(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID, decide func(State) (State, error)) (State, error) {
	for {
		var untold []Share
		st, err := s.change(ctx, tenant, id, func(st State) (State, error) {
			if untold = st.untold(d); len(untold) > 0 {
				return st, errUntold
			}
			return decide(st)
		})
		if !errors.Is(err, errUntold) {
			return st, err
		}
		if err := s.tellEnded(ctx, tenant, id, untold, "stopped"); err != nil {
			return st, err
		}
	}
}

// mayShare allows a device one place a second.
func (s *Service) mayShare(d wire.DeviceID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.Now().Sub(s.last[d]) >= wire.PlaceIntervalSeconds*time.Second
}

// paced notes that it has shared one.
func (s *Service) paced(d wire.DeviceID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	if len(s.last) > 10_000 {
		for d, at := range s.last {
			if now.Sub(at) > time.Minute {
				delete(s.last, d)
			}
		}
	}
	s.last[d] = now
}

// Stop ends what a device shares, and every consent that it has given. Should the others not be told now, [Service.Run] tells
// them.
func (s *Service) Stop(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID) error {
	var ended []Share
	_, err := s.change(ctx, tenant, id, func(st State) (next State, err error) {
		next, ended = st.Stop(d, s.cfg.Now())
		return next, nil
	})
	if err != nil {
		return err
	}
	if len(ended) == 0 {
		return nil
	}
	if err := s.tellEnded(ctx, tenant, id, ended, "time"); err != nil {
		s.signal() // soon again
		return err
	}
	return nil
}

// tellEnded tells those who are still there of shares that have ended, and then forgets them. reason is of those that nobody has stopped.
func (s *Service) tellEnded(ctx context.Context, tenant wire.TenantID, id wire.SessionID, ended []Share, reason string) error {
	here, err := s.cfg.Sessions.Session(ctx, tenant, id)
	if err != nil && !errors.Is(err, ErrClosed) {
		return err
	}
	for _, x := range ended {
		to := slices.DeleteFunc(slices.Clone(x.To), func(m wire.MemberID) bool {
			return !slices.ContainsFunc(here.Members, func(h Member) bool { return h.ID == m })
		})
		if len(to) == 0 {
			continue
		}
		why := reason
		if x.Stopped {
			why = "stopped"
		}
		request := wire.RequestID(fmt.Sprintf("place-end-%d", x.Until.UnixNano()))
		err := s.cfg.Sessions.Send(ctx, tenant, id, x.Device, to, request, wire.KindPlaceStopped, wire.PlaceStopped{Reason: why})
		if err != nil && !errors.Is(err, ErrClosed) {
			return err
		}
	}
	_, err = s.change(ctx, tenant, id, func(st State) (State, error) { return st.Without(ended), nil })
	return err
}

// CallOver notes that the call beside a session is over; what is shared live ends. It may
// be repeated.
func (s *Service) CallOver(ctx context.Context, tenant wire.TenantID, id wire.SessionID) error {
	_, err := store.Change(ctx, s.states, key(tenant, id), func(st State, exists bool) (State, bool, error) {
		was := st.Over
		st.Over = true
		return st, exists && !was, nil
	})
	if err != nil {
		return fmt.Errorf("place: %w", err)
	}
	s.signal()
	return nil
}

func (s *Service) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// keepFor is how long a state stays after its last change: longer than a session's longest share.
const keepFor = 24 * time.Hour

// Run ends what has come to its end, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	cancel, err := s.has.Listen(ctx)
	if err != nil {
		return fmt.Errorf("place: %w", err)
	}
	defer cancel()
	for {
		next, err := s.sweep(ctx)
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("shares of places end later", "err", err)
		}
		t := time.NewTimer(max(0, next.Sub(s.cfg.Now())))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-s.wake:
			t.Stop()
		case <-t.C:
		}
	}
}

// sweep ends what is over, and returns when to look again: soon enough for what other nodes
// have put there.
func (s *Service) sweep(ctx context.Context) (time.Time, error) {
	now := s.cfg.Now()
	next := now.Add(time.Minute)
	all := s.sweepKnown(ctx)
	for item, err := range s.states.Scan(ctx, "") {
		if err != nil {
			return now.Add(time.Second), errors.Join(all, err)
		}
		st := item.Value
		s.has.Learn(st.Tenant)
		if now.Sub(st.Changed) > keepFor {
			all = errors.Join(all, store.Remove(ctx, s.states, item.Key))
			continue
		}
		if len(st.Shares) > 0 && !st.Over {
			x, err := s.cfg.Sessions.Session(ctx, st.Tenant, st.Session)
			st.Over = errors.Is(err, ErrClosed) || err == nil && !x.InCall
		}
		if ended := st.Ended(now); len(ended) > 0 {
			reason := "time"
			if st.Over {
				reason = "call_ended"
			}
			if err := s.tellEnded(ctx, st.Tenant, st.Session, ended, reason); err != nil {
				all, next = errors.Join(all, err), now.Add(time.Second)
			}
		}
		for _, x := range st.Shares {
			if x.Until.Before(next) && x.Until.After(now) {
				next = x.Until
			}
		}
	}
	return next, all
}

// Drop removes what is kept of a session. It may be repeated.
func (s *Service) Drop(ctx context.Context, tenant wire.TenantID, id wire.SessionID) error {
	if err := store.Remove(ctx, s.states, key(tenant, id)); err != nil {
		return fmt.Errorf("place: drop: %w", err)
	}
	return nil
}

package call

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/internal/due"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Table is what the matcher needs of storage; store.Table[T] fits.
type Table[T any] interface {
	Get(ctx context.Context, key string) (T, store.Rev, error)
	Put(ctx context.Context, key string, v T, at store.Rev) (store.Rev, error)
	Delete(ctx context.Context, key string, at store.Rev) error
	Scan(ctx context.Context, prefix string) iter.Seq2[store.Item[T], error]
}

// IndexEntry finds a party's records: key store.Key(tenant, principal, record key).
type IndexEntry struct {
	Record string `json:"record"`
	Life   string `json:"life"`
}

// Directory knows the parties.
type Directory interface {
	// Principal returns the identity by which the party is told apart; id itself for one
	// that nobody knows.
	Principal(ctx context.Context, tenant wire.TenantID, id tel.Identity) (tel.Identity, error)
	// SharedName reports whether many callers use the identity, or its principal.
	SharedName(ctx context.Context, tenant wire.TenantID, id, principal tel.Identity) (bool, error)
	// Devices returns the party's devices whose proof of the number has not expired.
	Devices(ctx context.Context, tenant wire.TenantID, principal tel.Identity) ([]wire.DeviceID, error)
	// Apart reports whether one of the two wants no sessions with the other.
	Apart(ctx context.Context, tenant wire.TenantID, a, b tel.Identity) (bool, error)
}

// Foresight reads side by side, into the memory of a request ([store.Remember]), what the [Directory] is going to be asked,
// one thing after the other.
type Foresight interface {
	// Foresee reads who the parties of some names are, and which devices they have.
	Foresee(ctx context.Context, tenant wire.TenantID, ids ...tel.Identity)
	// ForeseeApart reads what may keep two parties apart.
	ForeseeApart(ctx context.Context, tenant wire.TenantID, a, b tel.Identity)
}

// Sessions is the session core. Each method may be repeated, also long after; an error makes
// the matcher repeat it, except a *wire.Problem that says that a repetition is no use.
type Sessions interface {
	// Open opens the session and tells the devices. Opening one that exists, or existed,
	// opens nothing new.
	Open(ctx context.Context, o Opening) error
	// JoinDevices adds a side's devices, or a further side.
	JoinDevices(ctx context.Context, tenant wire.TenantID, id wire.SessionID, s Side) error
	// Part takes a side out of the session, until it is joined again.
	Part(ctx context.Context, tenant wire.TenantID, id wire.SessionID, s Side) error
	// CallEnded: the call is over, the session lingers. order grows with each CallEnded and
	// CallUp of a session: a node may repeat one when another has carried out a later one, and
	// then it must not count any more.
	CallEnded(ctx context.Context, tenant wire.TenantID, id wire.SessionID, at time.Time, order uint64) error
	// CallUp: the same devices are in a call again. False: the session cannot be taken up.
	CallUp(ctx context.Context, tenant wire.TenantID, id wire.SessionID, order uint64) (bool, error)
}

// Opening of a session.
type Opening struct {
	Tenant wire.TenantID
	ID     wire.SessionID
	Sides  []Side
	At     time.Time
}

// Notifier reaches a device, connected or not. What it is told may be told again.
type Notifier interface {
	Tell(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, t wire.Type, body any) error
}

// Config of a [Matcher]. The first five are needed.
type Config struct {
	Records   Table[Record]
	Index     Table[IndexEntry]
	Directory Directory
	Sessions  Sessions
	Notifier  Notifier
	Rules     Rules
	// Foresight reads ahead; nil: the store is so near that there is nothing to be gained.
	Foresight Foresight
	// Invitable reports whether a party that has no device can be invited all the same; nil:
	// none can.
	Invitable func(ctx context.Context, tenant wire.TenantID, principal tel.Identity) (bool, error)
	// TellParty tells a party, besides its devices, what it is asked, and that it is not any
	// more: by text message, for instance. It may be repeated. Nil: only devices are told.
	TellParty func(ctx context.Context, tenant wire.TenantID, principal tel.Identity, t wire.Type, body any) error
	// Release lets those devices of a side go that were brought into a call which is over. It may be
	// repeated. Nil: they stay.
	Release func(ctx context.Context, tenant wire.TenantID, id wire.SessionID, s Side) error
	// Look has a session looked at again, at this node, that was opened or joined lately: what the node that opened it said of it may
	// not have arrived. It must not block. Nil: what is said always arrives.
	Look func(tenant wire.TenantID, id wire.SessionID)
	// Again tells a device, if it is connected to this node, what it is asked since lately: what the node that put the question
	// said of it may not have arrived. Nil: what is said always arrives.
	Again func(tenant wire.TenantID, device wire.DeviceID, t wire.Type, body any)
	// Now is the clock; time.Now.
	Now func() time.Time
	// Fresh makes identifiers and words; random ones.
	Fresh func() Fresh
	// Log; slog.Default().
	Log *slog.Logger
	// Rescan is how often Run looks for what other nodes have left undone; 1 minute.
	Rescan time.Duration
}

// Matcher keeps the records, drives the machine and carries out its effects. Several
// matchers, on several nodes, may share one store. Its methods may be called from several
// goroutines.
type Matcher struct {
	Config
	timers *due.Times

	counts *counts

	missed time.Time // since then no scan has come to its end; zero: the last one did. It is of rescan alone

	mu    sync.Mutex
	marks map[string]*mark // by record key
}

// New returns a matcher; its Run must be running for time to have effects.
func New(c Config) (*Matcher, error) {
	if c.Records == nil || c.Index == nil || c.Directory == nil || c.Sessions == nil || c.Notifier == nil {
		return nil, errors.New("call: the matcher needs records, index, directory, sessions and notifier")
	}
	var err error
	if c.Rules, err = c.Rules.withDefaults(); err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Fresh == nil {
		c.Fresh = fresh
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Rescan <= 0 {
		c.Rescan = time.Minute
	}
	return &Matcher{Config: c, timers: due.New(), counts: newCounts(), marks: map[string]*mark{}}, nil
}

// Outcome is the answer to a report.
type Outcome struct {
	// Session that the reporter's leg is joined to; "" also where nothing matches yet,
	// more than one thing does, or no such call exists: these are one answer.
	Session wire.SessionID
}

// Report takes a call report. When it returns nil the report is stored; whatever follows
// from it has been done, or will be. Repeating a report is harmless. ErrReport, ErrTooMany,
// and the store's errors.
func (m *Matcher) Report(ctx context.Context, r Report) (Outcome, error) {
	o, err := m.report(ctx, r)
	if err != nil {
		m.counts.refused.Add(1)
	} else {
		m.counts.reports[r.Reporter.Kind].Add(1)
	}
	return o, err
}

func (m *Matcher) report(ctx context.Context, r Report) (Outcome, error) {
	if err := r.check(); err != nil {
		return Outcome{}, err
	}
	ctx = store.Remember(ctx) // who the parties are is asked at each step
	var next foreseen
	if m.Foresight != nil {
		next = m.foresee(ctx, r)
	}
	ev, err := m.place(ctx, r)
	if err != nil {
		return Outcome{}, fmt.Errorf("call: place a report: %w", err)
	}
	before, at, err := next.rec, next.rev, next.err
	if ev.Key != next.key {
		before, at, err = m.Records.Get(ctx, ev.Key)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Outcome{}, fmt.Errorf("call: read the calls of a pair: %w", err)
	}
	if before.side(ev.Own.Identity) < 0 {
		if full, err := m.full(ctx, ev); err != nil {
			return Outcome{}, fmt.Errorf("call: count a party's calls: %w", err)
		} else if full {
			return Outcome{}, ErrTooMany
		}
	}
	rec, err := store.ChangeFrom(store.Linearizable(ctx), m.Records, ev.Key, before, at, m.next(ev.Key, by(ev)))
	if err != nil {
		return Outcome{}, fmt.Errorf("call: store a report: %w", err)
	}
	ctx = context.WithoutCancel(ctx)
	rec = m.perform(ctx, rec)
	s := rec.knows(rec.side(ev.Own.Identity), r.Reporter, r.Ref)
	if s == nil {
		return Outcome{}, ErrTooMany
	}
	if err := m.moved(ctx, rec, ev.Own, r); err != nil {
		return Outcome{}, fmt.Errorf("call: store a report: %w", err) // repeating it is harmless
	}
	handed, err := m.matchPartial(ctx, rec)
	if err != nil {
		m.Log.Warn("call: a match by partial details waits", "err", err)
	}
	if handed {
		if err := m.turnedTo(ctx, rec, rec.principals()...); err != nil {
			m.Log.Warn("call: an invitation will be taken back later", "err", err)
		}
	}
	if handed || s.Pair != "" {
		return Outcome{m.joined(ctx, ev, r)}, nil
	}
	return Outcome{rec.session(*s)}, nil
}

// foreseen is the record of the pair that a report most likely speaks of; no key: it was not read.
type foreseen struct {
	key string
	rec Record
	rev store.Rev
	err error
}

// foresee looks up at once what one report needs one after the other.
func (m *Matcher) foresee(ctx context.Context, r Report) (next foreseen) {
	var all sync.WaitGroup
	all.Go(func() { m.Foresight.Foresee(ctx, r.Tenant, r.Own, r.Other) })
	all.Go(func() { m.Foresight.ForeseeApart(ctx, r.Tenant, r.Own, r.Other) })
	if r.ConferenceID == "" && !r.Other.IsZero() { // of two principals; else it is another record
		next.key = pairKey(r.Tenant, r.Own, r.Other)
		next.rec, next.rev, next.err = m.Records.Get(ctx, next.key)
	}
	all.Wait()
	return next
}

// place finds out whose record the report belongs in, and what is known of the parties. A
// conference is recognised by its id. Its number is the other identity, or the own one when
// the conference system itself reports.
func (m *Matcher) place(ctx context.Context, r Report) (Reported, error) {
	ev := Reported{Report: r, Fresh: m.Fresh()}
	var g errgroup.Group // on a cluster each look-up is a way to another machine and back
	g.Go(func() (err error) {
		ev.Own, err = m.party(ctx, r.Tenant, r.Own)
		return err
	})
	g.Go(func() (err error) {
		ev.Other, err = m.party(ctx, r.Tenant, r.Other)
		return err
	})
	err := g.Wait()
	if err != nil {
		return ev, err
	}
	own, other := ev.Own.Identity, ev.Other.Identity
	if !r.Dialled.IsZero() {
		dialled, err := m.Directory.Principal(ctx, r.Tenant, r.Dialled)
		if err != nil {
			return ev, err
		}
		if dialled == own || dialled == other { // another name of theirs
			ev.Report.Dialled = tel.Identity{}
		}
	}
	switch {
	case own == other:
		return ev, fmt.Errorf("%w: both sides are the same party", ErrReport)
	case r.ConferenceID != "":
		if ev.Own.Shared && !ev.Other.Shared {
			other, ev.Other = own, ev.Own
		}
		ev.Kind, ev.Key = Conference, conferenceKey(r.Tenant, other, r.ConferenceID)
	case other.IsZero():
		ev.Kind, ev.Key = Partial, partialKey(r.Tenant, own)
	default:
		ev.Kind, ev.Key = Pair, pairKey(r.Tenant, own, other)
		ev.Blocked, err = m.Directory.Apart(ctx, r.Tenant, own, other)
	}
	return ev, err
}

// full reports whether a party's device or user speaks of more calls than a party can be in, before it
// speaks of one with somebody else. Each report looks at all of its party's records, so their number must
// have an end. Those that only others have spoken of do not count.
func (m *Matcher) full(ctx context.Context, ev Reported) (bool, error) {
	if kind := ev.Report.Reporter.Kind; kind != ByDevice && kind != ByPerson || ev.Own.Shared {
		return false, nil
	}
	var others []string
	for item, err := range m.Index.Scan(ctx, store.Key(string(ev.Report.Tenant), ev.Own.Identity.String())+"/") {
		if err != nil {
			return false, err
		}
		if item.Value.Record == ev.Key {
			return false, nil
		}
		others = append(others, item.Value.Record)
	}
	said := 0
	for i := 0; i < len(others) && said+len(others)-i >= m.Rules.Calls && said < m.Rules.Calls; i++ {
		rec, _, err := m.Records.Get(ctx, others[i])
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return false, err
		}
		side := rec.side(ev.Own.Identity)
		if slices.ContainsFunc(rec.Statements, func(s Statement) bool { return s.Side == side }) {
			said++
		}
	}
	return said >= m.Rules.Calls, nil
}

// party looks up what is known of a party; the zero Party for the zero identity.
func (m *Matcher) party(ctx context.Context, tenant wire.TenantID, id tel.Identity) (p Party, err error) {
	if id.IsZero() {
		return p, nil
	}
	if p.Identity, err = m.Directory.Principal(ctx, tenant, id); err != nil {
		return p, err
	}
	if p.Shared, err = m.Directory.SharedName(ctx, tenant, id, p.Identity); err != nil {
		return p, err
	}
	devices, err := m.Directory.Devices(ctx, tenant, p.Identity)
	p.Reachable = len(devices) > 0
	if err == nil && !p.Reachable && !p.Shared && m.Invitable != nil {
		p.Invitable, err = m.Invitable(ctx, tenant, p.Identity)
	}
	return p, err
}

// joined returns the session of the report's leg after legs that name nobody were handed on.
func (m *Matcher) joined(ctx context.Context, ev Reported, r Report) wire.SessionID {
	key := ev.Key
	for range 2 { // an unnamed leg may be in a pair's record
		rec, _, err := m.Records.Get(ctx, key)
		if err != nil {
			return ""
		}
		s := rec.knows(rec.side(ev.Own.Identity), r.Reporter, r.Ref)
		if s == nil {
			return ""
		}
		if s.Pair == "" {
			return rec.session(*s)
		}
		key = s.Pair
	}
	return ""
}

// Answer takes a device's answer to an invitation, or to the request to read words. own
// is an identity of the device's party. ErrNoQuestion.
func (m *Matcher) Answer(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, own tel.Identity, a wire.Answer) error {
	err := m.respond(ctx, tenant, own, a.Invitation, func(party tel.Identity, rec Record) (Event, bool) {
		again := rec.Question.By == device && !rec.asks(party, a.Invitation, Open)
		return Answered{party, device, a, m.Fresh()}, rec.asks(party, a.Invitation, Open) || again
	}, nil)
	switch {
	case err != nil:
	case a.Accept:
		m.counts.accepted.Add(1)
	default:
		m.counts.declined.Add(1)
	}
	return err
}

// Confirm takes the words that a device's user heard in the call. ErrNoQuestion,
// ErrWrongWords.
func (m *Matcher) Confirm(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, own tel.Identity, c wire.Confirm) error {
	return m.respond(ctx, tenant, own, c.Invitation, func(party tel.Identity, rec Record) (Event, bool) {
		f := m.Fresh()
		return Confirmed{party, device, c, f.Life, f}, rec.asks(party, c.Invitation, Typing)
	}, func(rec Record) error {
		if q := rec.Question; q == nil || q.State != Heard {
			return ErrWrongWords
		}
		return nil
	})
}

// respond finds the question among the party's records, and applies the event that
// respond makes of the record, if it may.
func (m *Matcher) respond(ctx context.Context, tenant wire.TenantID, own tel.Identity, id wire.InvitationID,
	event func(tel.Identity, Record) (Event, bool), verdict func(Record) error,
) error {
	party, err := m.Directory.Principal(ctx, tenant, own)
	if err != nil {
		return fmt.Errorf("call: find a party: %w", err)
	}
	for rec, err := range m.recordsOf(ctx, tenant, party) {
		if err != nil {
			return fmt.Errorf("call: find an invitation: %w", err)
		}
		if rec.Question == nil || rec.Question.ID != id {
			continue
		}
		ev, ok := event(party, rec)
		if !ok {
			break
		}
		if rec, err = m.apply(ctx, rec.Key, ev); err != nil {
			return fmt.Errorf("call: store an answer: %w", err)
		}
		if rec.Phase(m.now()) == InCall {
			if err := m.turnedTo(ctx, rec, rec.principals()...); err != nil {
				m.Log.Warn("call: an invitation will be taken back later", "err", err)
			}
		}
		if verdict != nil {
			return verdict(rec)
		}
		return nil
	}
	return ErrNoQuestion
}

// Claim is what an open invitation rests on.
type Claim struct {
	// Party that the invitation comes from, by its principal identity.
	Party tel.Identity
	// Evidence is the best in force for that party's side of the call, Own for that of the party that
	// is asked; "" where there is none.
	Evidence, Own Evidence
	// Devices that report the claimant's side.
	Devices []wire.DeviceID
}

// Claimant returns the principal identity of the party that an open invitation to own's party
// comes from. ErrNoQuestion.
func (m *Matcher) Claimant(ctx context.Context, tenant wire.TenantID, own tel.Identity, id wire.InvitationID) (tel.Identity, error) {
	c, err := m.Claim(ctx, tenant, own, id)
	return c.Party, err
}

// Claim returns what an open invitation to own's party rests on. ErrNoQuestion.
func (m *Matcher) Claim(ctx context.Context, tenant wire.TenantID, own tel.Identity, id wire.InvitationID) (Claim, error) {
	party, err := m.Directory.Principal(ctx, tenant, own)
	if err != nil {
		return Claim{}, fmt.Errorf("call: find a party: %w", err)
	}
	for rec, err := range m.recordsOf(ctx, tenant, party) {
		if err != nil {
			return Claim{}, fmt.Errorf("call: find an invitation: %w", err)
		}
		if rec.asks(party, id, Open) && rec.Question.Words == "" && m.now().Before(rec.Question.Until) {
			return rec.claim(m.now()), nil
		}
	}
	return Claim{}, ErrNoQuestion
}

// claim is what the record's question rests on.
func (r Record) claim(now time.Time) Claim {
	c := Claim{Party: r.Parties[1-r.Question.Side].Identity}
	for _, l := range r.legs(now) {
		switch {
		case !l.Up():
		case l.Side == r.Question.Side:
			c.Own = stronger(c.Own, l.Evidence)
		default:
			c.Evidence, c.Devices = stronger(c.Evidence, l.Evidence), append(c.Devices, l.Devices...)
		}
	}
	return c
}

// Remind tells a device that has just connected what its party is being asked: it was
// away when the others were told. own is an identity of the device's party.
func (m *Matcher) Remind(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, own tel.Identity) error {
	party, err := m.Directory.Principal(ctx, tenant, own)
	if err != nil {
		return fmt.Errorf("call: remind a device: %w", err)
	}
	for rec, err := range m.recordsOf(ctx, tenant, party) {
		if err != nil {
			return fmt.Errorf("call: remind a device: %w", err)
		}
		if rec.Question.inviting() && rec.Parties[rec.Question.Side].Identity == party { // its other calls may have changed
			if rec, err = m.look(ctx, rec.Key); err != nil {
				return fmt.Errorf("call: remind a device: %w", err)
			}
		}
		t, body, ok := rec.asking(party, device, m.now(), m.Rules)
		if !ok {
			continue
		}
		if err := m.Notifier.Tell(ctx, tenant, device, t, body); err != nil {
			return fmt.Errorf("call: remind a device: %w", err)
		}
	}
	return nil
}

// Gone tells the matcher that parties (principal identities) have left a session for
// good, and whether it is over. It may be repeated.
func (m *Matcher) Gone(ctx context.Context, tenant wire.TenantID, id wire.SessionID, left []tel.Identity, over bool) error {
	var ev Event = MemberGone{id}
	if over {
		ev = SessionGone{id}
	}
	for _, party := range left {
		for rec, err := range m.recordsOf(ctx, tenant, party) {
			if err == nil && rec.joint(id) != nil {
				_, err = m.apply(ctx, rec.Key, ev)
			}
			if err != nil {
				return fmt.Errorf("call: note that a session is gone: %w", err)
			}
		}
	}
	return nil
}

// Calls lists a party's calls, as the party itself reported them (B3). Claims of others
// are not among them.
func (m *Matcher) Calls(ctx context.Context, tenant wire.TenantID, own tel.Identity) ([]wire.CallInfo, error) {
	party, err := m.Directory.Principal(ctx, tenant, own)
	if err != nil {
		return nil, fmt.Errorf("call: list calls: %w", err)
	}
	var calls []wire.CallInfo
	for rec, err := range m.recordsOf(ctx, tenant, party) {
		if err != nil {
			return nil, fmt.Errorf("call: list calls: %w", err)
		}
		for _, l := range rec.legs(m.Now()) {
			if l.Side != rec.side(party) || rec.Kind == Partial && rec.Statements[l.statements[0]].Pair != "" {
				continue
			}
			info := wire.CallInfo{Other: l.Shown, Direction: l.Direction, State: l.State, Since: l.Since}
			if j := rec.joint(l.Session); j != nil && j.Gone.IsZero() {
				info.Session = l.Session
			}
			calls = append(calls, info)
		}
	}
	slices.SortStableFunc(calls, func(a, b wire.CallInfo) int { return b.Since.Compare(a.Since) })
	return calls, nil
}

// recordsOf walks the records that a party has a side in.
func (m *Matcher) recordsOf(ctx context.Context, tenant wire.TenantID, party tel.Identity) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for item, err := range m.Index.Scan(ctx, store.Key(string(tenant), party.String())+"/") {
			if err != nil {
				yield(Record{}, err)
				return
			}
			rec, _, err := m.Records.Get(ctx, item.Value.Record)
			if errors.Is(err, store.ErrNotFound) {
				m.strike(ctx, item)
				continue
			}
			if !yield(rec, err) || err != nil {
				return
			}
		}
	}
}

// strike takes an entry off the index whose record is gone for good: who forgot that may have died before.
func (m *Matcher) strike(ctx context.Context, item store.Item[IndexEntry]) {
	if _, _, err := m.Records.Get(store.Linearizable(ctx), item.Value.Record); !errors.Is(err, store.ErrNotFound) {
		return
	}
	if err := m.Index.Delete(ctx, item.Key, item.Rev); err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) {
		m.Log.Info("call: an entry of a call that is over stays in the index", "err", err)
	}
}

// matchPartial looks whether an unnamed leg can be given to a pair, after a report
// that may have made it so: of the party itself, or of somebody who names it.
// True: one was.
func (m *Matcher) matchPartial(ctx context.Context, changed Record) (handed bool, err error) {
	if m.Rules.Partial == PartialOff || changed.Kind == Conference {
		return false, nil
	}
	for _, p := range changed.Parties {
		waiting, _, err := m.Records.Get(ctx, partialKey(changed.Tenant, p.Identity))
		if errors.Is(err, store.ErrNotFound) {
			continue
		} else if err != nil {
			return handed, err
		}
		var pairs []Record
		for rec, err := range m.recordsOf(ctx, changed.Tenant, p.Identity) {
			if err != nil {
				return handed, err
			}
			pairs = append(pairs, rec)
		}
		if ev, ok := waiting.choose(pairs, m.Now(), m.Rules); ok {
			if _, err := m.apply(ctx, waiting.Key, ev); err != nil {
				return handed, err
			}
			handed = true
		}
	}
	return handed, nil
}

// apply changes a record by an event, durably, and then carries out the effects. The
// effects outlive the caller's context: what fails stays pending and is tried again.
func (m *Matcher) apply(ctx context.Context, key string, ev Event) (Record, error) {
	rec, err := m.change(ctx, key, ev)
	if err != nil {
		return rec, err
	}
	return m.perform(context.WithoutCancel(ctx), rec), nil
}

func (m *Matcher) change(ctx context.Context, key string, ev Event) (Record, error) {
	return store.Change(store.Linearizable(ctx), m.Records, key, m.next(key, by(ev)))
}

// next decides what a record becomes by an event, which may depend on the record.
func (m *Matcher) next(key string, event func(Record) (Event, error)) func(Record, bool) (Record, bool, error) {
	return func(r Record, _ bool) (Record, bool, error) {
		ev, err := event(r)
		if err != nil {
			return r, false, err
		}
		next, _ := m.cleared(key, r).Next(ev, m.now(), m.Rules)
		return next, !reflect.DeepEqual(next, r), nil
	}
}

func by(ev Event) func(Record) (Event, error) {
	return func(Record) (Event, error) { return ev, nil }
}

// now is the time as it reads back from a record.
func (m *Matcher) now() time.Time { return m.Now().UTC().Round(0) }

// fresh makes identifiers that cannot be guessed, and two words that can be read aloud.
func fresh() Fresh {
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return Fresh{
		Life:       wire.NewID("r_"),
		Session:    wire.SessionID(wire.NewID("s_")),
		Invitation: wire.InvitationID(wire.NewID("i_")),
		Words:      words[b[0]] + " " + words[b[1]],
	}
}

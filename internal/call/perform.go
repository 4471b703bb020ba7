package call

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// mark remembers which of a record's effects this matcher has carried out, until a later
// change takes them off the record. Performing holds the turn, so that a record's effects keep
// their order; a partial record's is taken before the pair's that it hands a leg to.
type mark struct {
	turn chan struct{} // holds a token while somebody performs; not a mutex: it is held over I/O
	life string
	done uint64 // all effects up to this one
}

func (m *Matcher) mark(key string) *mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.marks[key]
	if k == nil {
		k = &mark{turn: make(chan struct{}, 1)}
		m.marks[key] = k
	}
	return k
}

// perform carries out the record's pending effects, in their order, and sets the timer for
// what is left to do. It returns the record as it is then. Of pairs that it has changed the
// effects follow when its turn is over: two pairs may speak of calls diverted to one another.
// Effects go by who the parties are now, not by what was read for the decision.
func (m *Matcher) perform(ctx context.Context, rec Record) Record {
	ctx = store.RememberAnew(ctx)
	rec, changed := m.performOwn(ctx, rec)
	for _, key := range changed {
		other, _, err := m.Records.Get(ctx, key)
		if err != nil {
			m.timers.Set(key, m.now().Add(retryAfter))
			continue
		}
		m.perform(ctx, other)
	}
	return rec
}

func (m *Matcher) performOwn(ctx context.Context, rec Record) (_ Record, changed []string) {
	if rec.Life == "" {
		return rec, nil
	}
	defer func() { m.timers.Set(rec.Key, m.wake(rec)) }()
	if len(rec.Pending) == 0 {
		return rec, nil
	}
	k := m.mark(rec.Key)
	k.turn <- struct{}{}
	defer func() { <-k.turn }()
	if m.Foresight != nil {
		if told := rec.told(); len(told) > 0 {
			m.Foresight.Foresee(ctx, rec.Tenant, told...)
		}
	}
	for i := 0; i < len(rec.Pending); i++ {
		e := rec.Pending[i]
		if m.done(k, rec.Life) >= e.Seq {
			continue
		}
		ev, other, err := m.do(ctx, rec, e)
		if other != "" && !slices.Contains(changed, other) {
			changed = append(changed, other)
		}
		if err == nil && ev != nil {
			var next Record
			if next, err = m.change(ctx, rec.Key, ev); err == nil {
				rec, i = next, -1
			}
		}
		if err != nil {
			m.Log.Warn("call: an effect will be tried again", "effect", e.Do, "err", err)
			return rec, changed
		}
		m.mu.Lock()
		k.life, k.done = rec.Life, e.Seq
		m.mu.Unlock()
	}
	return rec, changed
}

// told are the parties whose devices the pending effects are about: those of a call of two, and in a conference
// the first ones.
func (r Record) told() (ids []tel.Identity) {
	const most = 16
	for _, e := range r.Pending {
		sides := e.Sides
		if e.To != nil && e.Do != Enter {
			sides = append(slices.Clone(sides), *e.To)
		}
		for _, s := range sides {
			if len(ids) < most && !s.Shared && !slices.Contains(ids, s.Principal) {
				ids = append(ids, s.Principal)
			}
		}
	}
	return ids
}

func (m *Matcher) done(k *mark, life string) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k.life != life {
		return 0
	}
	return k.done
}

// cleared takes the effects that are done off the record, on the occasion of a change.
func (m *Matcher) cleared(key string, r Record) Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.marks[key]; k != nil && k.life == r.Life {
		r.Pending = slices.DeleteFunc(slices.Clone(r.Pending), func(e Effect) bool { return e.Seq <= k.done })
	}
	return r
}

// do carries out one effect. The event, if any, is what came of it; changed is the key of a pair
// that has changed by it, and has effects of its own.
func (m *Matcher) do(ctx context.Context, rec Record, e Effect) (ev Event, changed string, err error) {
	switch e.Do {
	case OpenSession:
		o := Opening{Tenant: rec.Tenant, ID: e.Session, At: e.At, Sides: slices.Clone(e.Sides)}
		var g errgroup.Group // as in place
		g.SetLimit(16)
		for i, s := range o.Sides {
			g.Go(func() (err error) {
				o.Sides[i], err = m.allDevices(ctx, rec.Tenant, s)
				return err
			})
		}
		if err = g.Wait(); err == nil {
			err = m.Sessions.Open(ctx, o)
		}
	case JoinDevices:
		for _, s := range e.Sides {
			if s, err = m.allDevices(ctx, rec.Tenant, s); err == nil {
				s.At = e.At
				err = m.Sessions.JoinDevices(ctx, rec.Tenant, e.Session, s)
			}
		}
	case Part:
		for _, s := range e.Sides {
			s.At = e.At
			err = errors.Join(err, m.Sessions.Part(ctx, rec.Tenant, e.Session, s))
		}
	case CallUp:
		var again bool
		if again, err = m.Sessions.CallUp(ctx, rec.Tenant, e.Session, e.Seq); err == nil && !again {
			return NotTakenUp{e.Session, m.Fresh()}, "", nil
		}
	case CallEnded:
		err = m.Sessions.CallEnded(ctx, rec.Tenant, e.Session, e.At, e.Seq)
		for _, s := range e.Sides {
			if err == nil && m.Release != nil {
				err = m.Release(ctx, rec.Tenant, e.Session, s)
			}
		}
	case Invite:
		// Since it was decided the party may have taken another call, whose report did not see
		// the question yet.
		var busy [2]bool
		if busy[e.To.Index], err = m.busy(ctx, rec, e.To.Index); err == nil && busy[e.To.Index] {
			return Ticked{busy, m.Fresh()}, "", nil
		}
		if err == nil {
			err = m.tell(ctx, rec, e, wire.TypeInvite, e.Invite)
		}
	case ReadOut, TypeIn:
		err = m.tell(ctx, rec, e, wire.TypeWords, e.Words)
	case Withdraw:
		err = m.tell(ctx, rec, e, wire.TypeWithdrawn, e.Withdrawn)
	case HandOver:
		changed, err = m.handOver(ctx, rec, e)
	case TellDialled:
		changed, err = m.tellDialled(ctx, rec, *e.Statement)
	case Enter:
		err = m.enter(ctx, rec, e.To.Principal)
	default:
		return nil, "", fmt.Errorf("call: unknown effect %q", e.Do)
	}
	var p *wire.Problem
	if errors.As(err, &p) && !wire.Catalogue[p.Code].Retry && p.Code != wire.CodeInternal {
		m.Log.Info("call: the session core declined", "effect", e.Do, "code", p.Code)
		return nil, "", nil
	}
	return nil, changed, err
}

// allDevices adds the party's devices to those that speak of the call.
func (m *Matcher) allDevices(ctx context.Context, tenant wire.TenantID, s Side) (Side, error) {
	if s.Shared {
		return s, nil
	}
	all, err := m.Directory.Devices(ctx, tenant, s.Principal)
	s.Devices = append(slices.Clone(s.Devices), subtract(all, s.Devices)...)
	return s, err
}

// tell tells a side's devices. A device that cannot be told is no reason to tell the others again; a store that cannot
// be written to, in which it stands who is to be woken, is one.
func (m *Matcher) tell(ctx context.Context, rec Record, e Effect, t wire.Type, body any) error {
	to, err := m.allDevices(ctx, rec.Tenant, *e.To)
	if err != nil {
		return err
	}
	var later error
	for _, d := range to.Devices {
		err := m.Notifier.Tell(ctx, rec.Tenant, d, t, body)
		if err != nil {
			m.Log.Info("call: a device was not told", "type", t, "err", err)
		}
		if errors.Is(err, store.ErrUncertain) || errors.Is(err, store.ErrFull) || errors.Is(err, context.DeadlineExceeded) {
			later = err
		}
	}
	if m.TellParty != nil && !e.To.Shared {
		later = errors.Join(later, m.TellParty(ctx, rec.Tenant, e.To.Principal, t, body))
	}
	return later
}

// handOver brings a statement to the pair that its leg was given to.
func (m *Matcher) handOver(ctx context.Context, from Record, e Effect) (changed string, err error) {
	pair, _, err := m.Records.Get(ctx, e.Record)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil // the pair's call is long over
	} else if err != nil {
		return "", err
	}
	own := from.Parties[e.Statement.Side]
	i := pair.side(own.Identity)
	if i < 0 || pair.Kind != Pair {
		return "", fmt.Errorf("call: %s is not a pair of this party", e.Record)
	}
	ev := Reported{
		Report: e.Statement.report(from.Tenant), Kind: Pair, Key: e.Record,
		Own: own, Other: pair.Parties[1-i], Blocked: pair.Blocked, Handed: from.Kind == Pair, Fresh: m.Fresh(),
	}
	if ev.Handed {
		_, err = m.change(ctx, e.Record, ev)
		return e.Record, err
	}
	_, err = m.apply(ctx, e.Record, ev)
	return "", err
}

// enter makes the record known in the index of a party's calls.
func (m *Matcher) enter(ctx context.Context, rec Record, party tel.Identity) error {
	mine := IndexEntry{Record: rec.Key, Life: rec.Life}
	_, err := m.Index.Put(ctx, indexKey(rec, party), mine, 0) // mostly there is none
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrUncertain) {
		_, err = store.Change(ctx, m.Index, indexKey(rec, party), func(e IndexEntry, _ bool) (IndexEntry, bool, error) {
			return mine, e != mine, nil
		})
	}
	return err
}

func indexKey(rec Record, party tel.Identity) string {
	return store.Key(string(rec.Tenant), party.String(), rec.Key)
}

// forget removes a record of which nothing is left, and what points to it.
func (m *Matcher) forget(ctx context.Context, key string) error {
	rec, rev, err := m.Records.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil || !rec.empty() {
		return err
	}
	if err := m.Records.Delete(ctx, key, rev); err != nil {
		if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
			return nil // it is needed again, or gone
		}
		return err
	}
	m.mu.Lock()
	delete(m.marks, key)
	m.mu.Unlock()
	for _, p := range rec.Parties {
		e, rev, err := m.Index.Get(ctx, indexKey(rec, p.Identity))
		if err == nil && e.Life == rec.Life {
			err = m.Index.Delete(ctx, indexKey(rec, p.Identity), rev)
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return nil
}

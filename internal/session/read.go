package session

import (
	"context"
	"errors"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// MaxList is the most messages that Messages returns at once.
const MaxList = 1000

// Sessions lists the open sessions of a device. The error is a *wire.Problem.
func (s *Service) Sessions(ctx context.Context, tenant wire.TenantID, device wire.DeviceID) ([]wire.SessionState, error) {
	var all []wire.SessionState
	for p, err := range s.c.ByDevice.Scan(ctx, store.Key(string(tenant), string(device))+"/") {
		if err != nil {
			return nil, s.problem("list sessions", err)
		}
		st, err := s.Get(ctx, tenant, device, p.Value.Session)
		if gone(err) || err == nil && st.Phase == wire.Closed {
			continue
		} else if err != nil {
			return nil, err
		}
		all = append(all, st)
	}
	return all, nil
}

// Get returns a session as the device sees it, also a closed one until it is forgotten.
// The error is a *wire.Problem; CodeNotMember both where the device is not a member and
// where there is no such session.
func (s *Service) Get(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, id wire.SessionID) (wire.SessionState, error) {
	rec, n, err := s.asMember(ctx, tenant, device, id)
	if err != nil {
		return wire.SessionState{}, err
	}
	head, err := s.c.Log.Head(ctx, roomKey{tenant, id}.log())
	if err != nil {
		return wire.SessionState{}, s.problem("get session", err)
	}
	st := rec.State(n)
	st.Epoch, st.Head = head.Epoch, head.Seq
	return st, nil
}

// Record returns the stored session. [store.ErrNotFound] is proved, since what belongs to the session is removed, or left undone, then: a leader that is
// none any more does not know what was opened since.
func (s *Service) Record(ctx context.Context, tenant wire.TenantID, id wire.SessionID) (Record, error) {
	key := roomKey{tenant, id}.record()
	rec, _, err := s.c.Records.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) && store.MomentOf(ctx) == nil {
		rec, _, err = s.c.Records.Get(store.Linearizable(ctx), key)
	}
	return rec, err
}

// Messages returns the stored messages after a sequence that the device may read, at
// most limit (and [MaxList]). A page with fewer than that reaches to the end of the log.
// The error is a *wire.Problem.
func (s *Service) Messages(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, id wire.SessionID, after uint64, limit int) (wire.MessageList, error) {
	rec, n, err := s.asMember(ctx, tenant, device, id)
	if err != nil {
		return wire.MessageList{}, err
	}
	key := roomKey{tenant, id}
	head, err := s.c.Log.Head(ctx, key.log())
	if err != nil {
		return wire.MessageList{}, s.problem("list messages", err)
	}
	// The room knows which entries repeat a request that another node had stored.
	r, err := s.room(ctx, key)
	if err != nil {
		return wire.MessageList{}, s.problem("list messages", err)
	}
	if err := r.since(ctx, after); err != nil {
		return wire.MessageList{}, s.problem("list messages", err)
	}
	list := wire.MessageList{Messages: []wire.Envelope{}, Epoch: head.Epoch, Head: head.Seq}
	limit = min(max(limit, 1), MaxList)
	first, places, f := rec.firstOf(n), rec.placesOf(n), framesOf(id)
	for len(list.Messages) < limit {
		entries, err := s.c.Log.Read(ctx, key.log(), after, page)
		if err != nil {
			return wire.MessageList{}, s.problem("list messages", err)
		}
		for _, e := range entries {
			after = e.Seq
			m, ok := r.readable(e, n, first, places...)
			if !ok {
				continue
			}
			env, err := f.envelope(e, m.tail)
			if err != nil {
				return wire.MessageList{}, s.problem("list messages", err)
			}
			if list.Messages = append(list.Messages, env); len(list.Messages) == limit {
				break
			}
		}
		if len(entries) < page {
			break
		}
	}
	return list, nil
}

// asMember returns the record and the device's number in it, or a *wire.Problem.
func (s *Service) asMember(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, id wire.SessionID) (Record, uint32, error) {
	if !wire.ValidID(string(id)) {
		return Record{}, 0, notMember()
	}
	rec, err := s.Record(ctx, tenant, id)
	if errors.Is(err, store.ErrNotFound) {
		return rec, 0, notMember()
	} else if err != nil {
		return rec, 0, s.problem("read session", err)
	}
	n := rec.member(device)
	if n == 0 {
		return rec, 0, notMember()
	}
	return rec, n, nil
}

// Follow calls fn for each message that is stored in a session from now on, until cancel is called. ctx covers the
// setting up only. fn must not block.
func (s *Service) Follow(ctx context.Context, tenant wire.TenantID, id wire.SessionID, fn func()) (cancel func(), err error) {
	return s.c.Log.Watch(ctx, roomKey{tenant, id}.log(), func(store.Entry) { fn() })
}

package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Opening of a session.
type Opening struct {
	Tenant wire.TenantID
	ID     wire.SessionID
	Sides  []OpeningSide
	// At is when the call brought it about; zero: now.
	At time.Time
}

// OpeningSide is a party and its devices, the most important first: where there are
// more than may be members, the last are left out.
type OpeningSide struct {
	// Principal identity of the party.
	Principal tel.Identity
	// Shown to the others; zero where the call withheld it.
	Shown   tel.Identity
	Devices []wire.DeviceID
	// At is when it was decided that they join an open session; zero: now.
	At time.Time
	// By is the device that lets them take another one's place.
	By wire.DeviceID
}

// Open opens the session and tells its members. It may be repeated, and must be until
// it returns nil: opening a session that exists only makes good what was left undone.
//
// Members connected here are told before the record is synced. That is sound because the
// decision to open the session is stored already, by the caller, who repeats Open after
// a crash with the same Opening; whatever they ask of the session waits for the record.
func (s *Service) Open(ctx context.Context, o Opening) error {
	if !wire.ValidID(string(o.Tenant)) || !wire.ValidID(string(o.ID)) || len(o.Sides) < 2 {
		return fmt.Errorf("session: opening %q of tenant %q with %d sides: %w", o.ID, o.Tenant, len(o.Sides), errOpening)
	}
	for i, side := range o.Sides {
		if slices.ContainsFunc(o.Sides[:i], func(x OpeningSide) bool { return x.Principal == side.Principal }) {
			return fmt.Errorf("session: opening %s names one party twice: %w", o.ID, errOpening)
		}
	}
	key := roomKey{o.Tenant, o.ID}
	rec, err := s.openRecord(ctx, key, o)
	if err != nil {
		return err
	}
	return s.toldAndObserved(ctx, &rec)
}

var errOpening = errors.New("not a valid opening")

// openRecord stores the record and the index by device, both in one round of syncs.
func (s *Service) openRecord(ctx context.Context, key roomKey, o Opening) (Record, error) {
	done, err := s.beginOpening(ctx, key)
	if err != nil {
		return Record{}, err
	}
	defer done()
	rec, _, err := s.c.Records.Get(ctx, key.record())
	if err == nil {
		return rec, s.index(ctx, &rec)
	} else if !errors.Is(err, store.ErrNotFound) {
		return rec, err
	}
	now := s.c.Now()
	ev := Opened{ID: o.ID, Tenant: o.Tenant, At: o.At, Terms: s.terms()}
	if ev.At.IsZero() {
		ev.At = now
	}
	for _, side := range o.Sides {
		ev.Sides = append(ev.Sides, s.joining(ctx, o.Tenant, side))
	}
	rec, _, err = Record{}.Next(ev, now)
	if err != nil {
		return rec, err
	}
	s.observe(&Record{}, &rec) // needs no alarm: Open is repeated
	s.promise(key)
	s.tellHere(&rec, store.Head{})
	var g errgroup.Group
	g.Go(func() error { return s.index(ctx, &rec) })
	_, err = s.c.Records.Put(ctx, key.record(), rec, 0)
	if err == nil {
		s.counts.opened.Add(1)
		s.counts.opening.Add(int64(s.c.Now().Sub(ev.At)))
	}
	if indexed := g.Wait(); err == nil && indexed == nil {
		s.keep(key)
		s.note(ctx, &rec)
		return rec, nil
	} else if err == nil {
		return rec, indexed
	}
	if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrUncertain) {
		return rec, err
	}
	// Somebody was faster, or the answer was lost: what is stored counts.
	rec, _, got := s.c.Records.Get(ctx, key.record())
	if got != nil {
		return rec, errors.Join(err, got)
	}
	s.keep(key)
	return rec, s.index(ctx, &rec)
}

// promise notes that a session is announced before it is stored. Whoever asks for it until
// then is told to try again, and not that there is none.
func (s *Service) promise(key roomKey) {
	s.mu.Lock()
	s.promised[key] = s.c.Now()
	s.mu.Unlock()
}

func (s *Service) keep(key roomKey) {
	s.mu.Lock()
	delete(s.promised, key)
	s.mu.Unlock()
}

func (s *Service) isPromised(key roomKey) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.promised[key]
	return ok
}

func (s *Service) beginOpening(ctx context.Context, key roomKey) (done func(), err error) {
	for {
		s.mu.Lock()
		other := s.opening[key]
		if other == nil {
			mine := make(chan struct{})
			s.opening[key] = mine
			s.mu.Unlock()
			return func() {
				s.mu.Lock()
				delete(s.opening, key)
				s.mu.Unlock()
				close(mine)
			}, nil
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *Service) joining(ctx context.Context, t wire.TenantID, side OpeningSide) Joining {
	j := Joining{Principal: side.Principal, Shown: side.Shown, At: side.At, By: side.By}
	for _, d := range side.Devices {
		name := ""
		if s.c.Names != nil {
			var err error
			if name, err = s.c.Names.Name(ctx, t, d); err != nil {
				s.log.Warn("session: a device joins without its name", "err", err)
			}
		}
		j.Devices = append(j.Devices, Device{ID: d, Name: name})
	}
	return j
}

// index enters the members that are present in the index by device.
func (s *Service) index(ctx context.Context, rec *Record) error {
	var g errgroup.Group
	g.SetLimit(16)
	for _, m := range rec.Members {
		if !m.Left.IsZero() || rec.Phase == wire.Closed {
			continue
		}
		g.Go(func() error {
			_, err := store.Change(ctx, s.c.ByDevice, placeKey(rec.Tenant, m.Device, rec.ID), func(p Place, exists bool) (Place, bool, error) {
				return Place{rec.ID, m.Joined}, !exists || !p.At.Equal(m.Joined), nil
			})
			return err
		})
	}
	return g.Wait()
}

// JoinDevices adds devices of a party to an open session: of one that is in it already,
// found by its principal identity, or of a further one. It may be repeated. The error is
// a *wire.Problem when the session does not exist (CodeNotMember), is closed or is full.
func (s *Service) JoinDevices(ctx context.Context, tenant wire.TenantID, id wire.SessionID, side OpeningSide) error {
	rec, err := s.change(ctx, roomKey{tenant, id}, s.joining(ctx, tenant, side))
	if err != nil {
		return err
	}
	if err := s.index(ctx, &rec); err != nil {
		return err
	}
	return s.toldAndObserved(ctx, &rec)
}

// Away takes devices of a party out of the session until they are joined again; all of them,
// where none is named. It may be repeated; a session that does not exist or is closed is no
// error.
func (s *Service) Away(ctx context.Context, tenant wire.TenantID, id wire.SessionID, side OpeningSide) error {
	rec, err := s.change(ctx, roomKey{tenant, id}, Away{Principal: side.Principal, Devices: side.Devices, At: side.At})
	if gone(err) {
		return nil
	} else if err != nil {
		return err
	}
	return s.toldAndObserved(ctx, &rec)
}

// CallEnded makes the session linger (B6). It may be repeated; a session that does not
// exist or is closed is no error. order grows with each CallEnded and CallUp: one that comes
// after a later one, repeated by a node that has not heard of it, changes nothing.
func (s *Service) CallEnded(ctx context.Context, tenant wire.TenantID, id wire.SessionID, at time.Time, order uint64) error {
	rec, err := s.change(ctx, roomKey{tenant, id}, CallEnded{At: at, Order: order})
	if gone(err) {
		return nil
	} else if err != nil {
		return err
	}
	return s.toldAndObserved(ctx, &rec)
}

// CallUp takes the session up again for a new call between the same parties. False: it
// is closed, or somebody left, or an identity is withheld; the call needs a new session.
// It may be repeated; order is as in CallEnded.
func (s *Service) CallUp(ctx context.Context, tenant wire.TenantID, id wire.SessionID, order uint64) (bool, error) {
	rec, err := s.change(ctx, roomKey{tenant, id}, CallUp{order})
	if errors.Is(err, ErrNotAgain) || gone(err) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, s.toldAndObserved(ctx, &rec)
}

func gone(err error) bool {
	var p *wire.Problem
	return errors.As(err, &p) && p.Code == wire.CodeNotMember
}

// Extend keeps an after_call session at least so long from now, up to MayExtendTo. Any
// member may ask. The error is a *wire.Problem.
func (s *Service) Extend(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, id wire.SessionID, e wire.Extend) (wire.SessionState, error) {
	if err := s.allow(tenant, device); err != nil {
		return wire.SessionState{}, err
	}
	seconds := min(max(e.Seconds, 0), 1<<30)
	rec, err := s.change(ctx, roomKey{tenant, id}, Extend{device, time.Duration(seconds) * time.Second})
	if err == nil {
		err = s.tell(ctx, &rec)
	}
	if err != nil {
		return wire.SessionState{}, s.problem("extend", err)
	}
	return rec.State(rec.member(device)), nil
}

// Leave takes the device's party, or the one device, out of the session for good.
// Blocks are in force when it returns. The error is a *wire.Problem.
func (s *Service) Leave(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, id wire.SessionID, l wire.Leave) error {
	if err := s.allow(tenant, device); err != nil {
		return err
	}
	rec, err := s.change(ctx, roomKey{tenant, id}, Leave{Device: device, DeviceOnly: l.Device, Block: l.Block})
	if err == nil {
		err = s.settled(ctx, &rec)
	}
	if err != nil {
		return s.problem("leave", err)
	}
	return nil
}

// OperatorClose closes the session at once. Closing a closed one is no error; the error
// is a *wire.Problem with CodeNotMember when there is no such session.
func (s *Service) OperatorClose(ctx context.Context, tenant wire.TenantID, id wire.SessionID) error {
	rec, err := s.change(ctx, roomKey{tenant, id}, OperatorClose{})
	if err != nil {
		return err
	}
	return s.settled(ctx, &rec)
}

// change applies one event to one record by compare-and-set, and appends the new state
// to the log. The caller tells the members, also when nothing changed: whoever
// changed it may have died before telling.
func (s *Service) change(ctx context.Context, key roomKey, ev Event) (Record, error) {
	tried := ""
	read := ctx
	for {
		rec, rev, err := s.c.Records.Get(read, key.record())
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return rec, err
		}
		if tried != "" && rec.Attempt == tried {
			s.note(ctx, &rec) // our write arrived, only its answer was lost
			return rec, nil
		}
		next, effects, err := rec.Next(ev, s.c.Now())
		if err != nil || next.Version == rec.Version {
			if store.MomentOf(read) == nil { // no write proves what was read
				read = store.Linearizable(ctx)
				continue
			}
			return rec, err
		}
		s.observe(&rec, &next)
		next.Attempt = wire.NewID("")
		// The alarm first: one without a change is harmless, a change without one would
		// never be looked at again.
		if err := s.arm(ctx, &next); err != nil {
			return rec, err
		}
		_, err = s.c.Records.Put(ctx, key.record(), next, rev)
		switch {
		case err == nil:
			if next.Phase == wire.Closed && rec.Phase != wire.Closed {
				s.counts.closed.Add(1)
			}
			// The alarm may have rung before the change was there.
			if at := s.due(&next); !at.IsZero() && at.Before(s.c.Now().Add(pause)) {
				if err := s.arm(ctx, &next); err != nil {
					return next, err
				}
			}
			if slices.ContainsFunc(effects, func(e Effect) bool { return e.Do == DoNote }) {
				s.note(ctx, &next)
			}
			return next, nil
		case errors.Is(err, store.ErrUncertain), errors.Is(err, store.ErrConflict):
			tried = next.Attempt // a conflict may be with ourselves, after an answer that was lost
		default:
			return rec, err
		}
		if ctx.Err() != nil {
			return rec, errors.Join(err, ctx.Err())
		}
	}
}

// note appends the state to the log, so that who resumes sees it in its place, and other nodes hear of it, whatever the bus loses. It is
// not waited for: the record itself is the truth, and members get it when they connect. One that fails is tried again.
func (s *Service) note(ctx context.Context, rec *Record) {
	key, version := roomKey{rec.Tenant, rec.ID}, rec.Version
	fail := func(err error) {
		if err != nil {
			s.log.Warn("session: change of state is missing in the log for now", "session", key.session, "version", version, "err", err)
			s.unnoted.add(key, version)
		}
	}
	data, err := noteOf(rec)
	if err != nil {
		fail(err)
		return
	}
	p, err := s.c.Log.Append(context.WithoutCancel(ctx), key.log(), data, store.DeliverAfter)
	if err != nil {
		fail(err)
		return
	}
	p.Done(fail)
}

// noteAgain tries again what is missing in the logs, and tells it again: what kept it from there may have kept the bus, too.
func (s *Service) noteAgain(ctx context.Context) {
	keys, versions := s.unnoted.take()
	for _, key := range keys {
		rec, _, err := s.c.Records.Get(ctx, key.record())
		switch {
		case errors.Is(err, store.ErrNotFound):
			continue
		case err == nil && rec.Version >= versions[key]:
			s.note(ctx, &rec)
			err = s.tell(ctx, &rec)
		case err == nil:
			err = fmt.Errorf("version %d was read, and there is %d", rec.Version, versions[key])
		}
		if err != nil {
			s.unnoted.add(key, versions[key])
		}
	}
}

// settled tells the members and carries out what the record still has due.
func (s *Service) settled(ctx context.Context, rec *Record) error {
	if err := s.tell(ctx, rec); err != nil {
		return err
	}
	return s.perform(ctx, rec, func(Do) bool { return true })
}

// toldAndObserved is settled for what the matcher asks for: it must not be called back.
func (s *Service) toldAndObserved(ctx context.Context, rec *Record) error {
	if err := s.tell(ctx, rec); err != nil {
		return err
	}
	return s.perform(ctx, rec, func(do Do) bool { return do == DoObserve })
}

// perform carries out those due effects that which names, and takes them off the record.
func (s *Service) perform(ctx context.Context, rec *Record, which func(Do) bool) error {
	if !slices.ContainsFunc(rec.Due, func(e Effect) bool { return which(e.Do) }) {
		return nil
	}
	for _, e := range rec.Due {
		var err error
		switch {
		case !which(e.Do):
		case e.Do == DoBlock:
			block := s.c.Blocks.Block
			if e.Unnamed {
				block = s.c.Blocks.BlockUnnamed
			}
			err = block(ctx, rec.Tenant, e.By, e.Against)
		case e.Do == DoGone && s.c.Watcher != nil:
			err = s.c.Watcher.Gone(ctx, rec.Tenant, rec.ID, e.Left, e.Over)
		case e.Do == DoObserve && s.c.Observer != nil:
			err = s.c.Observer.Observe(ctx, rec, *e.Happened)
		}
		if err != nil {
			return fmt.Errorf("session: carry out %s: %w", e.Do, err)
		}
	}
	_, err := store.Change(ctx, s.c.Records, roomKey{rec.Tenant, rec.ID}.record(), func(r Record, exists bool) (Record, bool, error) {
		left := slices.DeleteFunc(slices.Clone(r.Due), func(e Effect) bool { return e.Version <= rec.Version && which(e.Do) })
		write := exists && len(left) < len(r.Due)
		r.Due = left
		return r, write, nil
	})
	return err
}

// tell brings the state to the members: those connected here, and by a notice those
// connected to other nodes.
func (s *Service) tell(ctx context.Context, rec *Record) error {
	if err := s.apply(ctx, rec); err != nil {
		return err
	}
	n := notice{Node: s.node, Tenant: rec.Tenant, Session: rec.ID, Version: rec.Version}
	for _, m := range rec.Members {
		n.Devices = append(n.Devices, m.Device)
	}
	data, err := json.Marshal(n)
	if err == nil {
		err = s.c.Bus.Publish(ctx, noticeSubject, data)
	}
	if err != nil {
		s.log.Warn("session: other nodes hear of a change late", "session", rec.ID, "err", err)
	}
	return nil
}

// apply makes the record known on this node: to the room, and to connected members.
func (s *Service) apply(ctx context.Context, rec *Record) error {
	key := roomKey{rec.Tenant, rec.ID}
	s.mu.RLock()
	r, needed := s.rooms[key], false
	for _, m := range rec.Members {
		d := s.devices[deviceKey{rec.Tenant, m.Device}]
		needed = needed || d != nil && len(d.conns) > 0
	}
	s.mu.RUnlock()
	if r == nil && !needed {
		return nil
	}
	if r == nil && rec.Phase == wire.Closed {
		s.tellHere(rec, store.Head{})
		return nil
	}
	for {
		r, err := s.room(ctx, key)
		if err != nil {
			return err
		}
		// The room goes by the change before anybody has heard of it, and whoever joins hears of it
		// before the first message.
		if r.update(rec) {
			s.tellHere(rec, r.end())
			s.subscribe(r)
			return nil
		}
	}
}

// tellHere sends the state to the members connected to this node that have not heard it.
func (s *Service) tellHere(rec *Record, head store.Head) {
	for i, m := range rec.Members {
		if !m.Left.IsZero() && m.Out != rec.Version {
			continue // left before, and hears no more
		}
		s.mu.RLock()
		var conns []*conn
		if d := s.devices[deviceKey{rec.Tenant, m.Device}]; d != nil {
			conns = d.conns
		}
		s.mu.RUnlock()
		var frame []byte
		for _, c := range conns {
			if frame == nil {
				st := rec.State(uint32(i + 1))
				st.Epoch, st.Head = head.Epoch, head.Seq
				var err error
				if frame, err = frameOf(wire.TypeSession, "", rec.ID, st); err != nil {
					s.log.Error("session: state cannot be encoded", "session", rec.ID, "err", err)
					return
				}
			}
			c.tell(rec.ID, rec.Version, frame)
		}
	}
}

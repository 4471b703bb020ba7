package session

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// device is a device with connections to this node, or that sent something lately.
type device struct {
	key     deviceKey
	limiter atomic.Pointer[rate.Limiter] // nil until the device sends something: most never do
	used    atomic.Int64                 // Unix nanoseconds
	// guarded by Service.mu; replaced, never changed
	conns []*conn
}

// conn is one connection of a device.
type conn struct {
	id  uint64
	dev *device
	out Outbox

	telling sync.Mutex // orders what tell pushes

	mu   sync.Mutex
	told map[wire.SessionID]uint64 // version of each session that it is in or heard of, zero before it heard; nil before the first
}

// meets notes that the device is in a session, of which it has not been told yet.
func (c *conn) meets(id wire.SessionID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, met := c.told[id]; !met {
		c.tells(id, 0)
	}
}

func (c *conn) tells(id wire.SessionID, version uint64) {
	if c.told == nil {
		c.told = map[wire.SessionID]uint64{}
	}
	c.told[id] = version
}

// hears notes that the device is told this version, and reports whether it is news.
func (c *conn) hears(id wire.SessionID, version uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told[id] >= version {
		return false
	}
	c.tells(id, version)
	return true
}

// tell pushes the state of a session, unless the device heard it, or a later one.
func (c *conn) tell(id wire.SessionID, version uint64, frame []byte) {
	c.telling.Lock()
	defer c.telling.Unlock()
	if c.hears(id, version) {
		c.out.Push(frame)
	}
}

func (c *conn) forget(id wire.SessionID) {
	c.mu.Lock()
	delete(c.told, id)
	c.mu.Unlock()
}

// Attach gives the connection everything for the device from now on: state and messages
// of all its sessions, also of those opened later. A device may have several
// connections. What came before is had by [Service.Resume].
//
// It returns the device's open sessions, for the welcome; frames may be pushed before it
// returns, and it is up to the outbox to send them after the welcome. detach ends the
// delivery and may be called again; a frame that is on its way may still be pushed. The
// error is a *wire.Problem.
func (s *Service) Attach(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, out Outbox) (sessions []wire.SessionState, detach func(), err error) {
	c := &conn{out: out}
	s.mu.Lock()
	s.nextID++
	c.id = s.nextID
	c.dev = s.deviceLocked(deviceKey{tenant, id})
	c.dev.conns = append(slices.Clip(c.dev.conns), c)
	s.mu.Unlock()
	prefix := store.Key(string(tenant), string(id)) + "/"
	var places []store.Item[Place]
	for p, err := range s.c.ByDevice.Scan(ctx, prefix) {
		if err != nil {
			s.detach(c)
			return nil, nil, s.problem("attach", err)
		}
		places = append(places, p)
	}
	for _, p := range places {
		st, err := s.attachTo(ctx, c, p)
		if err != nil {
			s.detach(c)
			return nil, nil, s.problem("attach", err)
		}
		if st != nil {
			sessions = append(sessions, *st)
		}
	}
	return sessions, func() { s.detach(c) }, nil
}

// attachTo subscribes the connection to one session of the index; nil if the device
// has no part in it any more.
func (s *Service) attachTo(ctx context.Context, c *conn, p store.Item[Place]) (*wire.SessionState, error) {
	for {
		r, err := s.room(ctx, roomKey{c.dev.key.tenant, p.Value.Session})
		var old *wire.Problem
		if errors.As(err, &old) && old.Code == wire.CodeNotMember {
			s.outdated(ctx, p) // the record comes after the index
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		sub, rec, end := r.join(c)
		switch {
		case rec == nil:
			continue // the room was evicted meanwhile
		case rec.Phase == wire.Closed:
			s.unindex(ctx, p)
			return nil, nil
		case sub == nil:
			s.outdated(ctx, p) // this node may hear of a device that has just joined only now
			return nil, nil
		}
		c.hears(rec.ID, rec.Version)
		st := rec.State(sub.member)
		st.Epoch, st.Head = end.Epoch, end.Seq
		return &st, nil
	}
}

// outdated removes an entry of the index that is not borne out, unless it is so new that this may change.
func (s *Service) outdated(ctx context.Context, p store.Item[Place]) {
	if s.c.Now().Sub(p.Value.At) > time.Minute {
		s.unindex(ctx, p)
	}
}

// unindex removes an entry of the index that has become pointless.
func (s *Service) unindex(ctx context.Context, p store.Item[Place]) {
	if err := s.c.ByDevice.Delete(ctx, p.Key, p.Rev); err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) {
		s.log.Warn("session: old entry stays in the index by device", "err", err)
	}
}

func (s *Service) detach(c *conn) {
	s.mu.Lock()
	c.dev.conns = slices.DeleteFunc(slices.Clone(c.dev.conns), func(o *conn) bool { return o == c })
	c.dev.used.Store(s.c.Now().UnixNano())
	rooms := make([]*room, 0, 8)
	c.mu.Lock()
	for id := range c.told {
		if r := s.rooms[roomKey{c.dev.key.tenant, id}]; r != nil {
			rooms = append(rooms, r)
		}
	}
	c.mu.Unlock()
	s.mu.Unlock()
	for _, r := range rooms {
		r.part(c)
	}
}

// deviceLocked returns the device's entry; s.mu is held for writing.
func (s *Service) deviceLocked(k deviceKey) *device {
	d := s.devices[k]
	if d == nil {
		d = &device{key: k}
		s.devices[k] = d
	}
	d.used.Store(s.c.Now().UnixNano())
	return d
}

func (s *Service) device(k deviceKey) *device {
	s.mu.RLock()
	d := s.devices[k]
	s.mu.RUnlock()
	if d == nil {
		s.mu.Lock()
		d = s.deviceLocked(k)
		s.mu.Unlock()
	}
	return d
}

// allow counts one request of a device against its rate.
func (s *Service) allow(tenant wire.TenantID, id wire.DeviceID) error {
	if p := s.allowDevice(s.device(deviceKey{tenant, id}), s.c.Now()); p != nil {
		return p
	}
	return nil
}

func (s *Service) allowDevice(d *device, now time.Time) *wire.Problem {
	limiter := d.limiter.Load()
	if limiter == nil {
		d.limiter.CompareAndSwap(nil, rate.NewLimiter(rate.Limit(s.c.Limits.MessagesPerSecond), s.c.Limits.MessageBurst))
		limiter = d.limiter.Load()
	}
	if limiter.AllowN(now, 1) {
		return nil
	}
	p := wire.NewProblem(wire.CodeTooMany, "a device may send %g messages a second", s.c.Limits.MessagesPerSecond)
	p.RetryAfterSeconds = int(math.Ceil(1 / s.c.Limits.MessagesPerSecond))
	return p
}

// connOf finds the device's connection with this outbox.
func (s *Service) connOf(d *device, out Outbox) *conn {
	if out == nil {
		return nil
	}
	s.mu.RLock()
	conns := d.conns
	s.mu.RUnlock()
	for _, c := range conns {
		if c.out == out {
			return c
		}
	}
	return nil
}

package agent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tandem-call/tandem/wire"
)

const (
	// lookFor is how long a look lasts that is not prolonged: who closes the page looks no more.
	lookFor = 2 * time.Minute
	// keptLooks of a conversation; the oldest go.
	keptLooks = 100
)

// ErrNoLook: a supervisor reads without having said that it looks.
var ErrNoLook = errors.New("agent: you do not look into this call, or no longer; begin anew")

// looker is a supervisor whose browser is told of what is new in a session.
type looker struct {
	by      Record
	session wire.SessionID
	until   time.Time
}

// following is a session that is followed for a looker.
type following struct {
	session wire.SessionID
	cancel  func()
	news    atomic.Bool
}

// Look begins a supervisor's look into another agent's running session, or prolongs it, for two
// minutes. The agent is told. ErrNone, ErrNotFound, ErrForbidden.
func (s *Service) Look(ctx context.Context, tenant wire.TenantID, d wire.DeviceID, id wire.SessionID) (c Conversation, err error) {
	r, holder, err := s.over(ctx, tenant, d, id)
	if err != nil {
		return c, err
	}
	until, began := s.now().Add(lookFor), false
	c, err = s.amend(ctx, tenant, id, func(c *Conversation) error {
		c.Looks = slices.Clone(c.Looks)
		i := c.looking(r.ID, s.now())
		if began = i < 0; began {
			c.Looks = append(c.Looks, wire.Look{Agent: r.ID, Name: r.Name, From: s.now(), Until: until})
			c.Looks = c.Looks[max(0, len(c.Looks)-keptLooks):]
			return nil
		}
		c.Looks[i].Until = until
		return nil
	})
	if err != nil {
		return c, err
	}
	s.mu.Lock()
	s.lookers[d] = looker{by: r, session: id, until: until} // into one at a time
	s.mu.Unlock()
	s.signal()
	switch {
	case began:
		s.tellAgent(ctx, holder)
	case s.cfg.Tell != nil: // that it began may not have arrived, and the agent is to know
		s.tell(ctx, holder, wire.NoticeAgent)
	}
	return c, nil
}

// EndLook ends a look. It may repeat. ErrNone, ErrNotFound.
func (s *Service) EndLook(ctx context.Context, tenant wire.TenantID, d wire.DeviceID, id wire.SessionID) error {
	r, c, err := s.mine(ctx, tenant, d, id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if s.lookers[d].session == id {
		delete(s.lookers, d)
	}
	s.mu.Unlock()
	s.signal()
	if c.looking(r.ID, s.now()) < 0 {
		return nil
	}
	c, err = s.amend(ctx, tenant, id, func(c *Conversation) error {
		c.Looks = slices.Clone(c.Looks)
		if i := c.looking(r.ID, s.now()); i >= 0 {
			c.Looks[i].Until = s.now()
		}
		return nil
	})
	if err != nil {
		return err
	}
	if holder := c.holder(); holder != "" {
		x, err := s.Get(ctx, tenant, holder)
		if err != nil {
			return err
		}
		s.tellAgent(ctx, x)
	}
	return nil
}

// Looking returns the conversation that a supervisor looks into, and the device of the agent who has
// the session. ErrNone, ErrNotFound, ErrForbidden, ErrNoLook.
func (s *Service) Looking(ctx context.Context, tenant wire.TenantID, d wire.DeviceID, id wire.SessionID) (Conversation, wire.DeviceID, error) {
	r, holder, err := s.over(ctx, tenant, d, id)
	if err != nil {
		return Conversation{}, "", err
	}
	c, err := s.Conversation(ctx, tenant, d, id)
	if err == nil && c.looking(r.ID, s.now()) < 0 {
		err = ErrNoLook
	}
	return c, holder.Device, err
}

// over returns the supervisor and the agent who has the session. ErrForbidden: it is no supervisor who
// may look into calls. ErrNotFound: nobody else of its number has such a session now.
func (s *Service) over(ctx context.Context, tenant wire.TenantID, d wire.DeviceID, id wire.SessionID) (by, holder Record, err error) {
	by, c, err := s.mine(ctx, tenant, d, id)
	switch {
	case err != nil:
		return by, holder, err
	case !by.MayLook:
		return by, holder, ErrForbidden
	case c.Number != by.Number, c.holder() == by.ID, c.holder() == "":
		return by, holder, ErrNotFound
	}
	holder, err = s.Get(ctx, tenant, c.holder())
	if err == nil && (!slices.Contains(holder.Open, id) || !holder.SignedIn(s.now())) {
		err = ErrNotFound
	}
	return by, holder, err
}

// holder is the agent who has the session now; "": none.
func (c *Conversation) holder() string {
	if i := slices.IndexFunc(c.Stints, func(x wire.Stint) bool { return x.To.IsZero() }); i >= 0 && c.Closed.IsZero() {
		return c.Stints[i].Agent
	}
	return ""
}

// looking returns the place of an agent's look that is not over; -1: there is none.
func (c *Conversation) looking(agent string, now time.Time) int {
	return slices.IndexFunc(c.Looks, func(l wire.Look) bool { return l.Agent == agent && now.Before(l.Until) })
}

// followOn begins and ends following the sessions that supervisors look into, and tells of what is new
// in them. followed is the caller's.
func (s *Service) followOn(ctx context.Context, followed map[wire.DeviceID]*following) {
	s.mu.Lock()
	maps.DeleteFunc(s.lookers, func(_ wire.DeviceID, l looker) bool { return !s.now().Before(l.until) })
	lookers := maps.Clone(s.lookers)
	s.mu.Unlock()
	for d, f := range followed {
		if lookers[d].session != f.session {
			f.cancel()
			delete(followed, d)
		}
	}
	for d, l := range lookers {
		f := followed[d]
		if f == nil {
			f = &following{session: l.session}
			f.news.Store(true) // what came meanwhile
			var err error
			if f.cancel, err = s.cfg.Sessions.Follow(ctx, l.by.Tenant, l.session, func() {
				f.news.Store(true)
				s.signal()
			}); err != nil {
				s.cfg.Log.Warn("a supervisor sees late what is said", "session", l.session, "err", err)
				continue // the next prolonging tries again
			}
			followed[d] = f
		}
		if f.news.Swap(false) && s.cfg.Tell != nil {
			s.tell(ctx, l.by, wire.NoticeLook)
		}
	}
}

func (s *Service) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

package agent

import (
	"context"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// toldEvery is how often supervisors are told, at most, that agents' states have changed.
const toldEvery = time.Second

// tellAgent tells an agent's browser that there is something new, and in time the supervisors. It is only a
// hint: who is not reached reads again when it connects.
func (s *Service) tellAgent(ctx context.Context, r Record) {
	if s.cfg.Tell == nil {
		return
	}
	if r.SignedIn(s.now()) {
		s.tell(ctx, r, wire.NoticeAgent)
	}
	s.mu.Lock()
	s.changed[r.Tenant] = true
	s.mu.Unlock()
	s.signal()
}

func (s *Service) tell(ctx context.Context, r Record, code string) {
	if err := s.cfg.Tell(ctx, r.Tenant, r.Device, code); err != nil && ctx.Err() == nil {
		s.cfg.Log.Warn("an agent was not told that states have changed", "agent", r.ID, "err", err)
	}
}

// tellSupervisors tells those of the tenants in which agents' states have changed.
func (s *Service) tellSupervisors(ctx context.Context) {
	s.mu.Lock()
	changed := s.changed
	s.changed = map[wire.TenantID]bool{}
	s.mu.Unlock()
	for tenant := range changed {
		all, err := s.List(ctx, tenant)
		if err != nil {
			s.cfg.Log.Warn("supervisors were not told that states have changed", "err", err)
			continue
		}
		for _, r := range all {
			if r.Supervisor && r.SignedIn(s.now()) {
				s.tell(ctx, r, wire.NoticeAgents)
			}
		}
	}
}

// runTelling tells supervisors, of states and of what is said in the sessions that they look into, until ctx ends:
// at once, and then not again for a while.
func (s *Service) runTelling(ctx context.Context) {
	followed := map[wire.DeviceID]*following{}
	defer func() {
		for _, f := range followed {
			f.cancel()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		s.tellSupervisors(ctx)
		s.followOn(ctx, followed)
		select {
		case <-ctx.Done():
			return
		case <-time.After(toldEvery):
		}
	}
}

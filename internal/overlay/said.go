package overlay

import (
	"context"
	"slices"
	"sync"

	"github.com/tandem-call/tandem/wire"
)

// said is what the customers of sessions have sent, as far as the logs were read: of each message a
// node reads once what a parameter may ask for. It is no record: a node that does not have it reads
// the session's log again.
type said struct {
	mu  sync.Mutex
	all map[reader]*heard
	// order in which they were last asked for, the longest ago first.
	order []reader
}

// reader is a device that reads a session's log.
type reader struct {
	tenant  wire.TenantID
	session wire.SessionID
	device  wire.DeviceID
}

// heard is what one device's log says.
type heard struct {
	mu    sync.Mutex // held while the log is read
	epoch uint64
	after uint64
	said  Values
}

const (
	// keptSessions is of how many sessions at most a node remembers what was said, those that were
	// asked for last.
	keptSessions = 1000
	// keptAnswers is how many answers of a session at most are remembered; further ones come from the
	// log, which is read whole then.
	keptAnswers = 1000
	// pageOfLog is how many messages are read at once.
	pageOfLog = 1000
)

// of returns what is remembered of a session, and forgets what was asked for longest ago.
func (s *said) of(r reader) *heard {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.all[r]
	if h == nil {
		h = &heard{}
		s.all[r] = h
	} else {
		s.order = slices.DeleteFunc(s.order, func(x reader) bool { return x == r })
	}
	s.order = append(s.order, r)
	if len(s.order) > keptSessions {
		delete(s.all, s.order[0])
		s.order = s.order[1:]
	}
	return h
}

func (s *said) forget(r reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, r)
	s.order = slices.DeleteFunc(s.order, func(x reader) bool { return x == r })
}

// customers returns what the customer has sent that the parameters ask for: the newest of each. Only
// what is new in the session's log since this was last asked is read.
func (s *Service) customers(ctx context.Context, tenant wire.TenantID, x Session, d wire.DeviceID, parameters []wire.OverlayParameter) (Values, error) {
	values := Values{}
	if !slices.ContainsFunc(parameters, func(p wire.OverlayParameter) bool { return p.From == wire.FromCustomer }) {
		return values, nil
	}
	mine, err := x.Of(d)
	if err != nil {
		return nil, err
	}
	r := reader{tenant, x.ID, d}
	h := s.said.of(r)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := s.hear(ctx, r, h, x.Sides[mine]); err != nil || len(h.said) > keptAnswers {
		s.said.forget(r)
		if err != nil {
			return nil, err
		}
	}
	for _, p := range parameters {
		if v, ok := h.said[p.Of]; p.From == wire.FromCustomer && ok {
			values[p.ID] = v
		}
	}
	return values, nil
}

// hear reads what is new in the log, but for what the reader's own side wrote.
func (s *Service) hear(ctx context.Context, r reader, h *heard, own Side) error {
	for known := h.after > 0; ; known = false {
		list, err := s.cfg.Sessions.Messages(ctx, r.tenant, r.device, r.session, h.after, pageOfLog)
		if err != nil {
			return err
		}
		if known && len(list) > 0 && list[0].Epoch != h.epoch {
			h.after, h.said = 0, nil // its sequences began anew
			continue
		}
		if h.said == nil {
			h.said = Values{}
		}
		for _, e := range list {
			h.after, h.epoch = e.Seq, e.Epoch
			if !own.had(e.From) {
				take(h.said, e)
			}
		}
		if len(list) < pageOfLog {
			return nil
		}
	}
}

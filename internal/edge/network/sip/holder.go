package sip

import (
	"context"
	"maps"
	"sync"
	"time"
)

// A password is given to somebody, who can lose the right to it before it ends: a device
// that is revoked, a number that has a new owner. A shard cannot wait until that has been
// looked up. So it is looked up before a request reaches its shard, and remembered for a
// moment.

// holder is whom a password was given to, and for which user.
type holder struct{ user, by string }

// holderFor is how long an answer is good; holdersMost bounds how many are remembered. lookTime is how long one
// is waited for.
const (
	holderFor   = 30 * time.Second
	lookTime    = 2 * time.Second
	holdersMost = 10_000
)

// holders remembers who may use a password.
type holders struct {
	mu    sync.Mutex
	known map[holder]standing
}

type standing struct {
	holds bool
	until time.Time
}

// of returns what is known of a holder; not fresh: it was looked up some time ago.
func (h *holders) of(who holder, now time.Time) (holds, known, fresh bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.known[who]
	return s.holds, ok, ok && now.Before(s.until)
}

func (h *holders) note(who holder, holds bool, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known == nil {
		h.known = map[holder]standing{}
	}
	if _, ok := h.known[who]; !ok && len(h.known) >= holdersMost {
		for other := range h.known { // any: to look for the oldest each time would take too long
			delete(h.known, other)
			break
		}
	}
	h.known[who] = standing{holds, now.Add(holderFor)}
}

// prolong lets what is known stand for longer, since nothing newer can be found out.
func (h *holders) prolong(who holder, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s, ok := h.known[who]; ok {
		s.until = now.Add(holderFor)
		h.known[who] = s
	}
}

// end forgets what was known of a holder's rights.
func (h *holders) end(by string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.known, func(who holder, _ standing) bool { return who.by == by })
}

// look asks whether the holder still has the right. With an error, what was known of it stands.
func (e *Element) look(ctx context.Context, who holder) (holds bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if holds, err = e.cfg.Holds(ctx, who.user, who.by); err != nil {
		e.holders.prolong(who, time.Now())
		return false, err
	}
	e.holders.note(who, holds, time.Now())
	return holds, nil
}

// unknown returns the holder whose right credentials a request shows, if it has to be looked
// up whether they still hold.
func (e *Element) unknown(m *Message) (who holder, ok bool) {
	if e.cfg.Holds == nil {
		return who, false
	}
	for _, id := range []HeaderID{Authorization, ProxyAuthorization} {
		for _, value := range m.Raw(id) {
			c, ok := parseCredentials(value)
			if !ok || !e.right(c, m.Method) {
				continue
			}
			if _, who, ok = holderOf(c["username"]); ok {
				_, _, fresh := e.holders.of(who, time.Now())
				return who, !fresh
			}
		}
	}
	return who, false
}

// Revoke ends the passwords that were given to somebody: who has registered with one is not
// registered any more, and its connection ends.
func (e *Element) Revoke(by string) {
	e.holders.end(by)
	e.unregister(func(who holder) bool { return who.by == by })
}

func (e *Element) unregister(gone func(holder) bool) {
	for _, b := range e.location.sweep(func(b *binding) bool { return gone(b.holder) }) {
		if b.via.conn != nil {
			b.via.conn.stop()
		}
	}
}

// recheck ends the registrations of those who have lost their right without a word of it.
func (e *Element) recheck(ctx context.Context) error {
	if e.cfg.Holds == nil {
		return nil
	}
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			e.recheckNow(ctx)
		}
	}
}

func (e *Element) recheckNow(ctx context.Context) {
	failed, last := 0, error(nil)
	for _, who := range e.location.holders() {
		holds, err := e.look(ctx, who)
		switch {
		case err != nil:
			failed, last = failed+1, err
		case !holds:
			e.unregister(func(h holder) bool { return h == who })
		}
	}
	if failed > 0 && ctx.Err() == nil {
		e.log.Warn("it cannot be found out whether telephones may still be registered; they stay", "holders", failed, "err", last)
	}
}

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

// holderFor is how long an answer is remembered; holdersMost bounds how many are.
const (
	holderFor   = 30 * time.Second
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

// of returns what is known of a holder.
func (h *holders) of(who holder, now time.Time) (holds, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.known[who]
	return s.holds, ok && now.Before(s.until)
}

func (h *holders) note(who holder, holds bool, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known == nil {
		h.known = map[holder]standing{}
	}
	if len(h.known) >= holdersMost {
		maps.DeleteFunc(h.known, func(_ holder, s standing) bool { return !now.Before(s.until) })
	}
	if len(h.known) < holdersMost {
		h.known[who] = standing{holds, now.Add(holderFor)}
	}
}

// end forgets what was known of a holder's rights.
func (h *holders) end(by string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.known, func(who holder, _ standing) bool { return who.by == by })
}

// look asks whether the holder still has the right.
func (e *Element) look(ctx context.Context, who holder) bool {
	holds := e.cfg.Holds(ctx, who.user, who.by)
	e.holders.note(who, holds, time.Now())
	return holds
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
				_, known := e.holders.of(who, time.Now())
				return who, !known
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
	for _, who := range e.location.holders() {
		if !e.look(ctx, who) && ctx.Err() == nil {
			e.unregister(func(h holder) bool { return h == who })
		}
	}
}

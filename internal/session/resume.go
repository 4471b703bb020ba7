package session

import (
	"context"
	"encoding/json"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// Resume sends, on a connection that is attached, what the device missed after the place
// that e names (body wire.Resume), then resumed. A connection gets each message once and
// none is missing: what was pushed live since Attach is not sent again, and what comes
// while Resume runs follows the resumed frame, in order. What was pushed before
// Resume began may be newer than what it sends: order by sequence until resumed.
//
// Resuming works in a closed session too, as long as its log is kept. The error is a
// *wire.Problem; the answer to the request is then up to the caller.
func (s *Service) Resume(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, out Outbox, e wire.Envelope) error {
	var from wire.Resume
	if len(e.Body) > 0 {
		if err := json.Unmarshal(e.Body, &from); err != nil {
			return wire.NewProblem(wire.CodeBadRequest, "the body of resume has epoch and seq")
		}
	}
	d := s.device(deviceKey{tenant, id})
	if p := s.allowDevice(d, s.c.Now()); p != nil {
		return p
	}
	c := s.connOf(d, out)
	if c == nil {
		return wire.NewProblem(wire.CodeBadRequest, "only a connection can resume; over HTTP, list the messages")
	}
	for {
		r, err := s.room(ctx, roomKey{tenant, e.Session})
		if err != nil {
			return s.problem("resume", err)
		}
		u, rec, _ := r.join(c)
		if rec == nil {
			continue // evicted meanwhile
		}
		if u == nil {
			return notMember()
		}
		if !s.attached(c) { // it went while the room was found
			r.part(c)
			return wire.NewProblem(wire.CodeBadRequest, "the connection is over")
		}
		if err := r.resume(ctx, u, e.ID, from); err != nil {
			return s.problem("resume", err)
		}
		return nil
	}
}

func (r *room) resume(ctx context.Context, u *subscriber, id wire.RequestID, from wire.Resume) error {
	u.mu.Lock()
	if u.resuming.Load() {
		u.mu.Unlock()
		return wire.NewProblem(wire.CodeConflict, "this connection is resuming the session already")
	}
	u.resuming.Store(true)
	low := u.low
	u.mu.Unlock()
	answered := false
	defer func() {
		if !answered {
			r.release(ctx, u)
		}
	}()

	res := wire.Resumed{Recovered: true}
	start := from.Seq
	if start > 0 {
		back, err := r.s.c.Log.Rewind(ctx, r.logName, from.Epoch, start)
		if err != nil {
			return err
		}
		if back < start {
			res.RewindTo, start = &back, back
		}
	}
	var err error
	if res.Recovered, err = r.replay(ctx, u, start, low); err != nil {
		return err
	}
	u.mu.Lock()
	u.low = min(u.low, start)
	u.mu.Unlock()
	res.Epoch, res.Head = r.end().Epoch, max(start, low)
	frame, err := frameOf(wire.TypeResumed, id, r.key.session, res)
	if err != nil {
		return err
	}
	u.c.out.Push(frame)
	answered = true
	r.release(ctx, u)
	return nil
}

// release pushes what was held and lets live messages flow again.
func (r *room) release(ctx context.Context, u *subscriber) {
	for {
		u.mu.Lock()
		held, over := u.held, u.over
		u.held = nil
		if len(held) == 0 {
			u.over.after, u.over.to = 0, 0
			if over.to == 0 {
				u.resuming.Store(false)
			}
		}
		u.mu.Unlock()
		if len(held) == 0 && over.to == 0 {
			return
		}
		for _, f := range held {
			if pacer, ok := u.c.out.(Pacer); ok {
				_ = pacer.Drained(ctx) // who ends the waiting leaves it to the outbox
			}
			u.c.out.Push(f)
		}
		if len(held) > 0 {
			continue
		}
		if whole, err := r.replay(ctx, u, over.after, over.to); err != nil || !whole {
			// A gap that the device does not know of must not stay: it comes back and resumes.
			u.c.out.Close(wire.CloseSlow, "resume from the last message")
		}
	}
}

// replay pushes the messages after one place up to another from the log, and reports
// whether it found them all.
func (r *room) replay(ctx context.Context, u *subscriber, after, to uint64) (whole bool, err error) {
	if after >= to {
		return true, nil
	}
	if err := r.synced(ctx, to); err != nil {
		return false, err
	}
	if err := r.since(ctx, after); err != nil {
		return false, err
	}
	pacer, _ := u.c.out.(Pacer)
	for after < to {
		entries, err := r.s.c.Log.Read(ctx, r.logName, after, page)
		if err != nil {
			return false, err
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			if e.Seq > to {
				return true, nil
			}
			after = e.Seq
			m, ok := r.readable(e, u.member, u.first, u.places...)
			if !ok {
				continue
			}
			if pacer != nil {
				if err := pacer.Drained(ctx); err != nil {
					return false, err
				}
			}
			if !u.c.out.Push(r.frames.messageFrame(e.Seq, e.Epoch, m.tail)) {
				return true, nil // the connection is over, and so is what it missed
			}
		}
	}
	if after >= to {
		return true, nil
	}
	// Less than was announced: unless the log ends here, because an append failed.
	head, err := r.s.c.Log.Head(ctx, r.logName)
	return head.Seq <= after, err
}

// readable reports whether a stored message is for the member, and not the repetition of one.
func (r *room) readable(e store.Entry, member, first uint32, places ...uint32) (entry, bool) {
	m, err := parseEntry(e.Data)
	if err != nil || !m.visible(member, first, places...) {
		return m, false
	}
	if m.from == 0 {
		return m, true
	}
	r.mu.Lock()
	p, ok := r.sent[requestOf(m.from, m.id)]
	r.mu.Unlock()
	return m, !ok || p.seq == e.Seq
}

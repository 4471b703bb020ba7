package session

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// flight is an append whose outcome is not known yet. It is guarded by room.mu.
type flight struct {
	key    request
	from   uint32
	id     wire.RequestID
	to     []uint32 // members addressed; empty: all
	origin *conn    // the connection that sent it and needs no copy
	seq    uint64
	seen   bool  // delivered
	at     place // of the request, once seen; not of seq if another node was faster
	synced bool  // known to be durable
	// placing: it is durable, and answered once it is shown.
	placing bool
	// over, once somebody waits for the outcome, is closed with it.
	over  chan struct{}
	first waiter // who sent it
	more  []waiter
	taken time.Time
}

// open: somebody waits for the answer.
func (f *flight) open() bool { return !f.synced || f.placing }

type waiter func(wire.Envelope)

// outcome of an append.
type outcome struct {
	f   *flight
	at  place
	err error
}

// Send relays a message (wire.TypeSend) or a signal (wire.TypeSignal) to the members it
// is addressed to. answer is called exactly once (never for a signal without an id that
// was taken), perhaps before Send returns and
// perhaps from a goroutine of the engine, so it must not block: with an ack once the
// message is durable, else with an error. Repeating a request gets the same answer.
//
// out is the sending connection, which needs no copy; nil for a request over HTTP. The
// device's other connections get the message like every other member. e.Body must be
// valid JSON, as it comes out of a decoder.
func (s *Service) Send(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, out Outbox, e wire.Envelope, answer func(wire.Envelope)) {
	if !validKind(e.Kind) {
		answer(problemFrame(&e, wire.NewProblem(wire.CodeBadRequest, "a kind has at most 64 characters a-z, 0-9, ., _ or -, and does not begin with tandem.")))
		return
	}
	s.SendOwn(ctx, tenant, id, out, e, answer)
}

// SendOwn is Send for what the server sends in a device's name, also with a kind of its own
// (tandem.…), which no device can send.
func (s *Service) SendOwn(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, out Outbox, e wire.Envelope, answer func(wire.Envelope)) {
	now := s.c.Now()
	d := s.device(deviceKey{tenant, id})
	p := s.allowDevice(d, now)
	if p == nil {
		p = s.check(&e)
	}
	if p == nil {
		if e.Type == wire.TypeSignal {
			p = s.signal(ctx, d, out, &e, now)
			if p == nil && e.ID != "" {
				answer(wire.Envelope{Type: wire.TypeAck, ID: e.ID, Session: e.Session})
			}
		} else {
			p = s.send(ctx, d, out, &e, now, answer)
		}
	}
	if p != nil {
		answer(problemFrame(&e, p))
	}
}

// check refuses what no room needs to be asked about.
func (s *Service) check(e *wire.Envelope) *wire.Problem {
	switch {
	case !wire.ValidID(string(e.ID)) && !(e.Type == wire.TypeSignal && e.ID == ""):
		return wire.NewProblem(wire.CodeBadRequest, "a request needs an id of at most %d letters, digits, _ or -", wire.MaxID)
	case len(e.Body) > s.c.Limits.FrameBytes:
		return wire.NewProblem(wire.CodeTooLarge, "a frame has at most %d bytes", s.c.Limits.FrameBytes)
	case len(e.To) > s.c.Limits.Members:
		return wire.NewProblem(wire.CodeTooLarge, "a message names at most %d members", s.c.Limits.Members)
	case !utf8.Valid(e.Body):
		return wire.NewProblem(wire.CodeBadFrame, "the body is not UTF-8")
	}
	if check := s.c.Kinds[e.Kind]; check != nil {
		if err := check(e.Body); err != nil {
			return wire.NewProblem(wire.CodeBadRequest, "a message of kind %s: %v", e.Kind, err)
		}
	}
	return nil
}

func validKind(k string) bool {
	if k == "" || len(k) > 64 || strings.HasPrefix(k, "tandem.") {
		return false
	}
	for i := range len(k) {
		c := k[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// sender checks that the device may send into the session now, with the room locked.
func (r *room) sender(d *device, e *wire.Envelope, to []uint32) (from uint32, numbers []uint32, p *wire.Problem) {
	if from = r.members[d.key.device]; from == 0 {
		return 0, nil, notMember()
	}
	for _, id := range e.To {
		n := memberNumber(id)
		if n == 0 || n > uint32(len(r.rec.Members)) || !r.rec.Members[n-1].Left.IsZero() {
			return from, nil, wire.NewProblem(wire.CodeBadRequest, "there is no member %q in the session", id)
		}
		to = append(to, n)
	}
	if r.rec.Phase == wire.Closed {
		return from, nil, wire.NewProblem(wire.CodeSessionClosed, "")
	}
	return from, to, nil
}

// requestOf names a request of a present member's: as the device's earlier member, where it was sent by that one, before the
// device was away and came back as another one. r.mu is held.
func (r *room) requestOf(from uint32, e *wire.Envelope) request {
	k := requestOf(from, e.ID)
	if e.Fresh || from == 0 {
		return k
	}
	for i := range from - 1 {
		if r.rec.Members[i].Device != r.rec.Members[from-1].Device {
			continue
		}
		before := requestOf(i+1, e.ID)
		if _, sent := r.sent[before]; sent || r.flights[before] != nil {
			return before
		}
	}
	return k
}

// placeOf finds a request in the index, which is large and seldom near the processor: what is said to be fresh is
// not looked for. Should it be there all the same, admit finds it. r.mu is held.
func (r *room) placeOf(k request, fresh bool) (at place, ok bool) {
	if fresh && len(r.doubts) == 0 {
		return place{}, false
	}
	at, ok = r.sent[k]
	return at, ok
}

func (s *Service) send(ctx context.Context, d *device, out Outbox, e *wire.Envelope, now time.Time, answer waiter) *wire.Problem {
	origin := s.connOf(d, out)
	var room4 [4]uint32
	var r *room
	var f *flight
	var data []byte
	for f == nil {
		var err error
		if r, err = s.room(ctx, roomKey{d.key.tenant, e.Session}); err != nil {
			return s.problem("send", err)
		}
		r.mu.Lock()
		if r.dead {
			r.mu.Unlock()
			continue
		}
		r.used = now
		from, to, p := r.sender(d, e, room4[:0])
		k := r.requestOf(from, e)
		if from != 0 {
			// A request that was taken keeps its answer, whatever came since.
			if old := r.flights[k]; old != nil && old.open() {
				old.more = append(old.more, answer)
				r.mu.Unlock()
				return nil
			}
			if at, ok := r.placeOf(k, e.Fresh); ok {
				doubt := r.doubts[k]
				r.mu.Unlock()
				if doubt {
					if stored, err := r.resolve(ctx, k, at); err != nil {
						return s.problem("send", err)
					} else if !stored {
						continue
					}
				}
				answer(ackFrame(e.ID, e.Session, at))
				return nil
			}
		}
		if from != 0 && r.unread > 0 && !e.Fresh {
			r.mu.Unlock()
			if err := r.whole(ctx); err != nil {
				return s.problem("send", err)
			}
			continue
		}
		if p == nil && r.head.Seq+uint64(len(r.flights)) >= s.c.Limits.LogEntries {
			p = wire.NewProblem(wire.CodeLogFull, "%d messages", s.c.Limits.LogEntries)
		}
		if p != nil {
			r.mu.Unlock()
			return p
		}
		f = &flight{key: k, from: from, id: e.ID, origin: origin, first: answer, taken: now}
		if s.c.Absent != nil && len(to) > 0 {
			f.to = slices.Clone(to)
		}
		r.flights[k] = f
		members := uint32(len(r.rec.Members))
		r.mu.Unlock()
		data = appendEntry(make([]byte, 0, 160+len(e.Body)+len(to)*8), from, members, to, e, now)
	}
	when := store.DeliverAfter
	if wire.DeliverFirst(e.Kind) {
		when = store.DeliverFirst
	}
	p, err := s.c.Log.Append(ctx, r.logName, data, when)
	if err != nil {
		r.landed(f, place{}, err)
		return nil
	}
	p.Done(func(err error) { r.landed(f, place{p.Epoch(), p.Seq()}, err) })
	return nil
}

// landed takes the outcome of an append, and gives it to everybody who waits for it. While
// entries before its place have not been shown here, one of them may be the same request,
// taken by another node or before a lost answer; then the place is known when this one is shown.
func (r *room) landed(f *flight, at place, err error) {
	r.mu.Lock()
	if err == nil {
		f.synced = true
		if f.seen {
			delete(r.flights, f.key)
			at = f.at
		} else if p, known := r.sent[f.key]; known {
			at = p // another node was faster
		} else if at.epoch == r.head.Epoch && at.seq > r.head.Seq+1 {
			f.placing = true
			r.mu.Unlock()
			return
		} else {
			r.sent[f.key] = at
		}
	} else {
		// Not stored as far as we know: a repetition tries again. What has been seen may be
		// stored all the same.
		delete(r.flights, f.key)
		if f.seen {
			r.doubts[f.key] = true
		}
	}
	r.outcomes = append(r.outcomes, outcome{f, at, err})
	r.mu.Unlock()
	r.answer()
}

// answer gives those who wait for an append its outcome, one after the other in the order
// in which the outcomes became known, whoever found them.
func (r *room) answer() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answering {
		return
	}
	r.answering = true
	for i := 0; i < len(r.outcomes); i++ { // more may come meanwhile
		o := r.outcomes[i]
		r.answerOne(o.f, o.at, o.err)
	}
	clear(r.outcomes)
	r.outcomes, r.answering = r.outcomes[:0], false
}

// answerOne gives everybody who waits for an append its outcome. r.mu is held, but for the time
// in which they are told.
func (r *room) answerOne(f *flight, at place, err error) {
	first, more, over := f.first, f.more, f.over
	f.first, f.more, f.over = nil, nil, nil
	var away []wire.DeviceID
	if err == nil && r.s.c.Absent != nil {
		away = r.absent(f.from, f.to)
	}
	r.mu.Unlock()
	defer r.mu.Lock()
	if over != nil {
		close(over)
	}
	if err == nil {
		n := &r.s.counts
		n.messages.Add(1)
		n.storing.Add(int64(r.s.c.Now().Sub(f.taken)))
	}
	if len(away) > 0 {
		r.s.c.Absent(r.key.tenant, r.key.session, away)
	}
	e := ackFrame(f.id, r.key.session, at)
	if err != nil {
		e = problemFrame(&wire.Envelope{ID: f.id, Session: r.key.session}, r.s.problem("send", err))
	}
	first(e)
	for _, w := range more {
		w(e)
	}
}

// resolve finds out whether a request that was seen is stored, although its append is said to
// have failed; one that is not is forgotten.
func (r *room) resolve(ctx context.Context, k request, at place) (stored bool, err error) {
	back, err := r.s.c.Log.Rewind(ctx, r.logName, at.epoch, at.seq)
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if stored = back == at.seq; !stored && r.sent[k] == at {
		delete(r.sent, k)
	}
	delete(r.doubts, k)
	return stored, nil
}

// waiting reports whether somebody waits for an append; r.mu is held.
func (r *room) waiting() bool {
	for _, f := range r.flights {
		if f.open() {
			return true
		}
	}
	return false
}

// synced waits until the outcome of every append up to a place is known.
func (r *room) synced(ctx context.Context, upTo uint64) error {
	for {
		r.mu.Lock()
		var over chan struct{}
		for _, f := range r.flights {
			if f.seen && !f.synced && f.seq <= upTo {
				if f.over == nil {
					f.over = make(chan struct{})
				}
				over = f.over
				break
			}
		}
		r.mu.Unlock()
		if over == nil {
			return nil
		}
		select {
		case <-over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// signal hands a message to the members that are connected now, on all nodes.
func (s *Service) signal(ctx context.Context, d *device, out Outbox, e *wire.Envelope, now time.Time) *wire.Problem {
	origin := s.connOf(d, out)
	for {
		r, err := s.room(ctx, roomKey{d.key.tenant, e.Session})
		if err != nil {
			return s.problem("signal", err)
		}
		r.mu.Lock()
		if r.dead {
			r.mu.Unlock()
			continue
		}
		r.used = now
		from, to, p := r.sender(d, e, nil)
		members := uint32(len(r.rec.Members))
		r.mu.Unlock()
		if p != nil {
			return p
		}
		var id uint64
		if origin != nil {
			id = origin.id
		}
		b := binary.BigEndian.AppendUint64(make([]byte, 0, 192+len(e.Body)), id)
		b = append(b, s.node...)
		b = appendEntry(b, from, members, to, &wire.Envelope{Kind: e.Kind, Body: e.Body}, now)
		if err := s.c.Bus.Publish(ctx, r.key.signals(), b); err != nil {
			return s.problem("signal", err)
		}
		return nil
	}
}

func ackFrame(id wire.RequestID, session wire.SessionID, at place) wire.Envelope {
	return wire.Envelope{Type: wire.TypeAck, ID: id, Session: session, Seq: at.seq, Epoch: at.epoch}
}

func problemFrame(e *wire.Envelope, p *wire.Problem) wire.Envelope {
	body, err := json.Marshal(p)
	if err != nil {
		body = nil
	}
	return wire.Envelope{Type: wire.TypeError, ID: e.ID, Session: e.Session, Body: body}
}

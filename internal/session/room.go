package session

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// heldFrames is how many live messages wait while older ones are being sent; more are
// read from the log again.
const heldFrames = 1024

// page is how many entries of a log are read at once.
const page = 256

// room is a session in memory, while members of it are connected to this node or send.
type room struct {
	// fixed after construction
	s       *Service
	key     roomKey
	logName string
	frames  frames
	ready   chan struct{} // closed when loaded
	reading chan struct{} // holds a token while somebody reads the beginning of the log

	// set before ready is closed
	err     error
	unwatch []func()

	mu        sync.Mutex
	loading   bool
	early     []store.Entry // watched while loading
	dead      bool          // evicted: get another one
	used      time.Time
	rec       Record
	members   map[wire.DeviceID]uint32 // who is present
	subs      []*subscriber            // replaced, never changed
	away      []uint32                 // members without a subscriber, as of counted
	counted   bool                     // away is right
	head      store.Head               // last entry seen, durable or not
	sent      map[request]place        // the requests in the log, after unread
	unread    uint64                   // up to here the log has not been read, see whole
	flights   map[request]*flight      // appends under way
	outcomes  []outcome                // known, and not answered yet
	answering bool                     // somebody answers them
	doubts    map[request]bool         // sent, and then said to have failed: perhaps not stored
	garbled   bool                     // an unreadable message was told
}

type place struct{ epoch, seq uint64 }

// unreadable tells the operator, once while the room is in memory, that its log has messages
// that nobody can read, and passes them by. r.mu is held.
func (r *room) unreadable(seq uint64) {
	if !r.garbled {
		r.garbled = true
		r.s.log.Error("session: unreadable message in the log; further ones of this session are not told", "session", r.key.session, "seq", seq)
	}
}

// subscriber is a connection that receives what is sent in a room.
type subscriber struct {
	c      *conn
	member uint32
	first  uint32   // first member of the same party
	places []uint32 // in which it is, of members before it

	resuming atomic.Bool // live messages are held

	mu sync.Mutex
	// Everything after low was pushed to this connection, or is held, or over.
	low  uint64
	held [][]byte
	// over is what was too much to hold: to be read from the log, after low.
	over struct{ after, to uint64 }
}

// push delivers a message as it is seen, or holds it while older ones are being sent.
func (u *subscriber) push(seq uint64, frame []byte) {
	if u.resuming.Load() {
		u.mu.Lock()
		if u.resuming.Load() {
			if len(u.held) < heldFrames && u.over.to == 0 {
				u.held = append(u.held, frame)
			} else {
				if u.over.to == 0 {
					u.over.after = seq - 1
				}
				u.over.to = seq
			}
			u.mu.Unlock()
			return
		}
		u.mu.Unlock()
	}
	u.c.out.Push(frame)
}

// room returns the session's room, loading it if need be. A *wire.Problem with
// CodeNotMember when there is no such session.
func (s *Service) room(ctx context.Context, key roomKey) (*room, error) {
	s.mu.RLock()
	r := s.rooms[key]
	s.mu.RUnlock()
	if r == nil {
		s.mu.Lock()
		if r = s.rooms[key]; r == nil {
			r = &room{
				s: s, key: key, logName: key.log(), frames: framesOf(key.session), ready: make(chan struct{}), reading: make(chan struct{}, 1), loading: true,
				used: s.c.Now(), sent: map[request]place{}, flights: map[request]*flight{}, doubts: map[request]bool{},
			}
			s.rooms[key] = r
			s.mu.Unlock()
			// Others wait for it too, so it does not end with this caller's request, and reads what is so now, not what was so when
			// that came.
			r.load(context.Background())
			return r, r.err
		}
		s.mu.Unlock()
	}
	select {
	case <-r.ready:
		return r, r.err
	default:
	}
	select {
	case <-r.ready:
		return r, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// load fills the room: it watches the log first and then reads it, so that nothing is
// missed, and subscribes the members that are connected to this node.
func (r *room) load(ctx context.Context) {
	r.err = r.fill(ctx)
	if r.err != nil {
		r.s.mu.Lock()
		delete(r.s.rooms, r.key)
		r.s.mu.Unlock()
		r.mu.Lock()
		r.dead = true
		r.mu.Unlock()
		r.stop()
	}
	close(r.ready)
	if r.err == nil {
		r.s.subscribe(r)
	}
}

func (r *room) fill(ctx context.Context) error {
	s := r.s
	s.mu.RLock()
	opening := s.opening[r.key]
	s.mu.RUnlock()
	if opening != nil {
		<-opening // it was announced before its record is stored
	}
	if !wire.ValidID(string(r.key.session)) {
		return notMember()
	}
	if _, _, err := s.c.Records.Get(ctx, r.key.record()); errors.Is(err, store.ErrNotFound) && s.isPromised(r.key) {
		return wire.NewProblem(wire.CodeUncertain, "the session is being opened")
	} else if errors.Is(err, store.ErrNotFound) {
		return notMember()
	} else if err != nil {
		return err
	}
	cancel, err := s.c.Log.Watch(ctx, r.logName, r.onEntry)
	if err != nil {
		return err
	}
	r.unwatch = append(r.unwatch, cancel)
	cancel, err = s.c.Bus.Subscribe(ctx, r.key.signals(), r.onSignal)
	if err != nil {
		return err
	}
	r.unwatch = append(r.unwatch, cancel)
	head, err := s.c.Log.Head(ctx, r.logName)
	if err != nil {
		return err
	}
	var noted uint64
	after := uint64(0)
	if head.Seq > s.c.Tail {
		after = head.Seq - s.c.Tail
		r.unread = after
	}
	for {
		entries, err := s.c.Log.Read(ctx, r.logName, after, page)
		if err != nil {
			return err
		}
		r.mu.Lock()
		for _, e := range entries {
			after = e.Seq
			m, err := parseEntry(e.Data)
			if err != nil {
				r.unreadable(e.Seq)
				continue
			}
			if m.from == 0 {
				noted = max(noted, m.version())
			}
			r.admit(e, m)
		}
		r.mu.Unlock()
		if len(entries) < page {
			break
		}
	}
	if head, err = s.c.Log.Head(ctx, r.logName); err != nil {
		return err
	}
	// Last, so that no change is missed: whoever changes the record from now on finds the room.
	rec, _, err := s.c.Records.Get(ctx, r.key.record())
	if errors.Is(err, store.ErrNotFound) {
		return notMember()
	} else if err != nil {
		return err
	}
	// A crash may have come between a change and its note; where the last note is older than what was read,
	// nobody knows.
	known := noted > 0 || r.unread == 0
	if known && noted < rec.Version && rec.Phase != wire.Closed && s.c.Now().Sub(rec.Changed) > time.Minute {
		s.note(ctx, &rec)
	}
	if noted > rec.Version { // what was read is older than what the log says
		s.look.add(r.key, noted)
	}
	r.update(&rec)
	r.mu.Lock()
	if r.head.Epoch < head.Epoch {
		r.head.Epoch = head.Epoch
	}
	for _, e := range r.early {
		if m, err := parseEntry(e.Data); err == nil {
			r.admit(e, m)
		}
	}
	r.early, r.loading = nil, false
	r.mu.Unlock()
	return nil
}

// whole reads the beginning of the log, if that has not been done: what somebody looks at there may be there
// twice, and what somebody sends again may be there.
func (r *room) whole(ctx context.Context) error {
	select {
	case r.reading <- struct{}{}:
		defer func() { <-r.reading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	r.mu.Lock()
	to := r.unread
	r.mu.Unlock()
	for after := uint64(0); after < to; {
		entries, err := r.s.c.Log.Read(ctx, r.logName, after, page)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			break // the log was dropped
		}
		r.mu.Lock()
		for _, e := range entries {
			if after = e.Seq; after > to {
				break
			}
			m, err := parseEntry(e.Data)
			if err != nil {
				r.unreadable(e.Seq)
			} else if m.from != 0 {
				r.foundEarlier(requestOf(m.from, m.id), place{e.Epoch, e.Seq})
			}
		}
		r.mu.Unlock()
	}
	r.mu.Lock()
	r.unread = 0
	r.mu.Unlock()
	return nil
}

// foundEarlier notes a request at the beginning of the log, where the first one counts. r.mu is held.
func (r *room) foundEarlier(k request, at place) {
	if p, ok := r.sent[k]; !ok || at.seq < p.seq {
		r.sent[k] = at
	}
}

// since makes sure that all entries after a sequence are known.
func (r *room) since(ctx context.Context, after uint64) error {
	r.mu.Lock()
	known := after >= r.unread
	r.mu.Unlock()
	if known {
		return nil
	}
	return r.whole(ctx)
}

// stop ends the watching; no lock is held.
func (r *room) stop() {
	for _, f := range r.unwatch {
		f()
	}
}

// update takes a newer record. False: the room was evicted.
func (r *room) update(rec *Record) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead {
		return false
	}
	if rec.Version <= r.rec.Version {
		return true
	}
	r.rec, r.counted = *rec, false
	r.members = make(map[wire.DeviceID]uint32, len(rec.Members))
	for i, m := range rec.Members {
		if m.Left.IsZero() {
			r.members[m.Device] = uint32(i + 1)
		}
	}
	r.subs = slices.DeleteFunc(slices.Clone(r.subs), func(u *subscriber) bool {
		gone := r.members[u.c.dev.key.device] != u.member
		if gone {
			u.c.forget(rec.ID)
		}
		return gone
	})
	return true
}

// subscribe joins the members connected to this node to the room.
func (s *Service) subscribe(r *room) {
	r.mu.Lock()
	rec := r.rec
	r.mu.Unlock()
	for _, m := range rec.Members {
		if !m.Left.IsZero() {
			continue
		}
		s.mu.RLock()
		var conns []*conn
		if d := s.devices[deviceKey{r.key.tenant, m.Device}]; d != nil {
			conns = d.conns
		}
		s.mu.RUnlock()
		for _, c := range conns {
			r.join(c)
			if !s.attached(c) {
				r.part(c)
			}
		}
	}
}

// attached reports whether the connection has not been detached.
func (s *Service) attached(c *conn) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Contains(c.dev.conns, c)
}

// join makes a connection a subscriber, if its device is a member (else nil), and
// returns the place after which it is pushed what comes. A nil record means that the
// room was evicted.
func (r *room) join(c *conn) (*subscriber, *Record, store.Head) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead {
		return nil, nil, store.Head{}
	}
	rec := r.rec
	n := r.members[c.dev.key.device]
	if n == 0 {
		return nil, &rec, r.head
	}
	for _, u := range r.subs {
		if u.c == c {
			u.mu.Lock()
			low := u.low
			u.mu.Unlock()
			return u, &rec, store.Head{Epoch: r.head.Epoch, Seq: low}
		}
	}
	u := &subscriber{c: c, member: n, first: rec.firstOf(n), places: rec.placesOf(n), low: r.head.Seq}
	r.subs, r.counted = append(slices.Clip(r.subs), u), false
	r.used = r.s.c.Now()
	c.meets(r.key.session) // by which detach finds the room
	return u, &rec, r.head
}

func (r *room) part(c *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subs = slices.DeleteFunc(slices.Clone(r.subs), func(u *subscriber) bool { return u.c == c })
	r.used, r.counted = r.s.c.Now(), false
}

// absent lists the devices that a message is for and that are not connected to this node,
// without those of the sender's own party. r.mu is held.
func (r *room) absent(from uint32, to []uint32) (devices []wire.DeviceID) {
	if !r.counted {
		r.away, r.counted = r.away[:0], true
		for i, m := range r.rec.Members {
			n := uint32(i + 1)
			if m.Left.IsZero() && !slices.ContainsFunc(r.subs, func(u *subscriber) bool { return u.member == n }) {
				r.away = append(r.away, n)
			}
		}
	}
	for _, n := range r.away {
		m := r.rec.Members[n-1]
		if m.Side != r.rec.Members[from-1].Side && (len(to) == 0 || slices.Contains(to, n)) {
			devices = append(devices, m.Device)
		}
	}
	return devices
}

func (r *room) end() store.Head {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.head
}

// admit enters a message into the index. False: a request that is in the log already,
// taken by two nodes at once; the first counts. placed: outcomes became known, which are to be
// answered. r.mu is held.
func (r *room) admit(e store.Entry, m entry) (origin *conn, fresh, placed bool) {
	if e.Epoch == r.head.Epoch && e.Seq <= r.head.Seq {
		return nil, false, false
	}
	r.head = store.Head{Epoch: e.Epoch, Seq: e.Seq}
	if m.from == 0 {
		return nil, true, false
	}
	k, at := requestOf(m.from, m.id), place{e.Epoch, e.Seq}
	if p, ok := r.sent[k]; ok {
		fresh, at = p == at, p
	} else {
		r.sent[k], fresh = at, true
	}
	if f := r.flights[k]; f != nil {
		f.seq, f.seen, f.at, origin = e.Seq, true, at, f.origin
		if f.synced {
			delete(r.flights, k)
		}
		if f.placing {
			f.placing, placed = false, true
			r.outcomes = append(r.outcomes, outcome{f, at, nil})
		}
	}
	return origin, fresh, placed
}

// onEntry delivers a message. It is called by the engine, one entry at a time.
func (r *room) onEntry(e store.Entry) {
	m, err := parseEntry(e.Data)
	if err != nil {
		r.mu.Lock()
		r.unreadable(e.Seq)
		r.mu.Unlock()
		return
	}
	r.mu.Lock()
	if r.loading {
		r.early = append(r.early, e)
		r.mu.Unlock()
		return
	}
	origin, fresh, placed := r.admit(e, m)
	subs, version := r.subs, r.rec.Version
	r.mu.Unlock()
	if placed {
		r.answer()
	}
	if m.from == 0 && m.version() > version {
		r.s.look.add(r.key, m.version())
	}
	if !fresh {
		return
	}
	var frame []byte
	for _, u := range subs {
		if u.c == origin && origin != nil || !m.visible(u.member, u.first, u.places...) {
			continue
		}
		if frame == nil {
			frame = r.frames.messageFrame(e.Seq, e.Epoch, m.tail)
		}
		u.push(e.Seq, frame)
	}
}

// onSignal delivers a signal: 8 bytes of the sending connection's id, the sending node's
// name, then an entry.
func (r *room) onSignal(_ string, data []byte) {
	if len(data) < 8+len(r.s.node) {
		return
	}
	origin := binary.BigEndian.Uint64(data)
	if string(data[8:8+len(r.s.node)]) != r.s.node {
		origin = 0
	}
	m, err := parseEntry(data[8+len(r.s.node):])
	if err != nil {
		return
	}
	r.mu.Lock()
	subs := r.subs
	r.mu.Unlock()
	var frame []byte
	for _, u := range subs {
		if u.c.id == origin || !m.visible(u.member, u.first, u.places...) {
			continue
		}
		if frame == nil {
			frame = r.frames.signalFrame(m.tail)
		}
		u.c.out.Push(frame)
	}
}

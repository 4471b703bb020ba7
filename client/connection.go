package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// connection lives one connection to its end. sound: it has brought us further, so that
// the next may be tried at once.
func (d *Device) connection(ctx context.Context) (sound bool, err error) {
	l, welcome, err := d.dial(ctx)
	if err != nil {
		return false, err
	}
	begun := time.Now()
	c := &conn{d: d, link: l, out: newQueue(), sound: len(welcome.Sessions) == 0, over: map[wire.SessionID]bool{}, begun: begun}
	heartbeat := time.Duration(max(1, welcome.HeartbeatSeconds)) * time.Second
	// Two heartbeats of silence, and half a one for the way: nobody is there.
	l.Patience(2*heartbeat + heartbeat/2)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { c.write(ctx, heartbeat*3/4) })
	defer wg.Wait()
	defer l.Close()
	defer cancel()
	defer func() {
		d.mu.Lock()
		d.out = nil
		d.mu.Unlock()
	}()
	if d.cfg.Events.Connected != nil {
		d.cfg.Events.Connected(welcome)
	}
	c.begin(welcome)
	for {
		frame, err := l.Read(ctx)
		if err == nil {
			c.busy.Store(true)
			err = c.frame(frame)
			c.heard.Store(int64(time.Since(begun)))
			c.busy.Store(false)
		}
		if err != nil {
			return c.sound, err
		}
	}
}

// conn is a connection that is authenticated. Its methods but write belong to Run.
type conn struct {
	d     *Device
	link  link
	out   *queue
	sound bool

	begun time.Time
	heard atomic.Int64 // when the last frame was taken, since begun
	busy  atomic.Bool  // one is being taken

	// over are the sessions that ended on this connection: what is said of them after
	// that has been said. Where the device was no member (true), it may become one.
	over map[wire.SessionID]bool
}

// impatient is how long an answer may be due in silence before the server is asked for a sign of life, and how long
// that may take: when a device gets another address nobody tells its old connections. A server that is at work says
// so each second.
const impatient = 2 * time.Second

// write writes what is queued, and pings, until ctx ends. A failure ends the connection.
func (c *conn) write(ctx context.Context, every time.Duration) {
	ping := wire.Envelope{Type: wire.TypePing}.AppendEncode(nil)
	t := time.NewTicker(every)
	defer t.Stop()
	var due <-chan time.Time // runs while an answer is due
	var since time.Duration  // from when on the silence counts
	asked := false           // for a sign of life
	look := func() { due = time.After(impatient - min(c.silent(since), impatient)) }
	for {
		var frames [][]byte
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			frames = [][]byte{ping}
		case <-c.out.more:
			frames = c.out.take()
			if due == nil && c.link.Answers() {
				since, asked = time.Since(c.begun), false
				look()
			}
		case <-due:
			switch {
			case !c.d.waits():
				due = nil
				continue
			case c.silent(since) < impatient:
				asked = false
			case asked:
				c.link.Fail(errSilence)
				return
			default:
				frames, since, asked = [][]byte{ping}, time.Since(c.begun), true
			}
			look()
		}
		for _, f := range frames {
			if err := c.link.Write(ctx, f); err != nil {
				c.link.Fail(err)
				return
			}
		}
	}
}

// silent is how long nothing has come, counted from since on.
func (c *conn) silent(since time.Duration) time.Duration {
	if c.busy.Load() {
		return 0
	}
	return time.Since(c.begun) - max(since, time.Duration(c.heard.Load()))
}

// begin makes the connection the one in use: it resumes every session, and repeats the
// requests that have no answer yet, in their order.
func (c *conn) begin(w wire.Welcome) {
	d := c.d
	d.mu.Lock()
	states := make(map[wire.SessionID]*wire.SessionState, len(w.Sessions))
	for i, s := range w.Sessions {
		states[s.ID] = &w.Sessions[i]
		if d.sessions[s.ID] == nil {
			d.sessions[s.ID] = newView(s.ID)
		}
	}
	for id, v := range d.sessions {
		if v.begin(states[id]); v.closed {
			delete(d.sessions, id)
			continue
		}
		// Also a session that the welcome does not know: it has ended, perhaps with words.
		c.out.push(v.resume().AppendEncode(nil))
	}
	for _, id := range d.order {
		c.out.push(d.requests[id].next())
	}
	d.out = c.out
	d.mu.Unlock()
	if d.cfg.Events.Session != nil {
		for _, s := range w.Sessions {
			d.cfg.Events.Session(s)
		}
	}
}

// frame takes one frame of the server's.
func (c *conn) frame(b []byte) error {
	e, err := wire.DecodeServer(b)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	events := &c.d.cfg.Events
	switch e.Type {
	case wire.TypePing:
		c.out.push(wire.Envelope{Type: wire.TypePong, ID: e.ID}.AppendEncode(nil))
	case wire.TypePong:
	case wire.TypeMessage: // without a place in the log it was a signal
		if e.Seq != 0 {
			c.message(e)
		} else if events.Signal != nil {
			events.Signal(e)
		}
	case wire.TypeSession:
		return tell(e, c.session)
	case wire.TypeResumed:
		return tell(e, func(r wire.Resumed) { c.resumed(e, r) })
	case wire.TypeAck, wire.TypeError:
		return c.answer(e)
	case wire.TypeInvite:
		return tell(e, events.Invite)
	case wire.TypeWithdrawn:
		return tell(e, events.Withdrawn)
	case wire.TypeWords:
		return tell(e, events.Words)
	case wire.TypeNotice:
		return tell(e, events.Notice)
	case wire.TypeAvailable:
		return tell(e, events.Available)
	default:
		c.d.log.Debug("the server sent a type that this version does not know", "type", e.Type)
	}
	return nil
}

// tell decodes the body and calls f with it. New keys in it pass.
func tell[T any](e wire.Envelope, f func(T)) error {
	if f == nil {
		return nil
	}
	var v T
	if err := json.Unmarshal(e.Body, &v); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrProtocol, e.Type, err)
	}
	f(v)
	return nil
}

// view returns the view of a session, a new one if need be. d.mu is held.
func (c *conn) view(id wire.SessionID) *view {
	v := c.d.sessions[id]
	if v == nil {
		v = newView(id)
		c.d.sessions[id] = v
	}
	return v
}

// letGo reports whether the device is out of a session that goes on, to which it may come back.
func letGo(s wire.SessionState) bool {
	return s.Phase != wire.Closed && slices.ContainsFunc(s.Members, func(m wire.Member) bool { return m.ID == s.You && m.Left })
}

// session takes a change of a session. A session new to this connection is read from
// where we stand, so that nothing said before we were told is missed.
func (c *conn) session(s wire.SessionState) {
	if back, over := c.over[s.ID]; over {
		if !back || s.Phase == wire.Closed {
			return
		}
		delete(c.over, s.ID)
	}
	d := c.d
	d.mu.Lock()
	v := c.view(s.ID)
	v.state, v.closed = s, s.Phase == wire.Closed
	// The last messages may come after the word that the session is over: resuming tells
	// when there are no more, and then it is told (settle).
	if letGo(s) {
		v.begin(nil) // what is said meanwhile is read when it comes back
	} else if v.closed || v.asked == "" && !v.live {
		c.out.push(v.resume().AppendEncode(nil))
	}
	d.mu.Unlock()
	if s.Phase != wire.Closed && d.cfg.Events.Session != nil {
		d.cfg.Events.Session(s)
	}
}

func (c *conn) message(e wire.Envelope) {
	if _, over := c.over[e.Session]; over {
		return
	}
	d := c.d
	d.mu.Lock()
	v := c.view(e.Session)
	now, again := v.message(e)
	if again || v.asked == "" && !v.live && !letGo(v.state) {
		c.out.push(v.resume().AppendEncode(nil))
	}
	d.mu.Unlock()
	c.hand(v, now)
}

// hand hands messages on, and moves the position after each.
func (c *conn) hand(v *view, l []wire.Envelope) {
	d := c.d
	for _, e := range l {
		d.mu.Lock()
		own := v.sentHere(e) || d.requests[e.ID] != nil
		d.mu.Unlock()
		if !own && d.cfg.Events.Message != nil {
			d.cfg.Events.Message(e)
		}
		d.mu.Lock()
		v.handed(e)
		d.mu.Unlock()
		c.sound = true
	}
}

func (c *conn) resumed(e wire.Envelope, r wire.Resumed) {
	d := c.d
	d.mu.Lock()
	v := d.sessions[e.Session]
	if v == nil || v.asked != e.ID {
		d.mu.Unlock()
		return // of a resume that was overtaken
	}
	now, rewound, again := v.resumed(r)
	at := v.at
	if again {
		c.out.push(v.resume().AppendEncode(nil))
	}
	d.mu.Unlock()
	if rewound && d.cfg.Events.Rewind != nil {
		d.cfg.Events.Rewind(v.id, at.Seq)
	}
	if again {
		return
	}
	c.sound = true
	if !r.Recovered && d.cfg.Events.Lost != nil {
		d.cfg.Events.Lost(v.id)
	}
	ended := endedIn(now)
	c.hand(v, now)
	d.mu.Lock()
	v.caughtUp(r)
	d.mu.Unlock()
	c.settle(v, ended)
}

// endedIn returns the last state among the messages if it says that the session is over.
func endedIn(l []wire.Envelope) *wire.SessionState {
	for _, e := range slices.Backward(l) {
		if e.Kind != wire.KindState {
			continue
		}
		var s wire.SessionState
		if json.Unmarshal(e.Body, &s) == nil && s.Phase == wire.Closed {
			return &s
		}
		break
	}
	return nil
}

// settle tells of the end of a session that is over, after its last messages. ended is
// what the log says of it, where nobody else has told: it ended while the device was away.
func (c *conn) settle(v *view, ended *wire.SessionState) {
	d := c.d
	d.mu.Lock()
	if ended != nil && !v.closed {
		ended.ID, ended.You = v.id, v.state.You
		v.state, v.closed = *ended, true
	}
	state := v.state
	if v.closed {
		delete(d.sessions, v.id)
		c.over[v.id] = false
	}
	d.mu.Unlock()
	if v.closed && d.cfg.Events.Session != nil {
		d.cfg.Events.Session(state)
	}
}

// answer hands an answer to who waits for it.
func (c *conn) answer(e wire.Envelope) error {
	d := c.d
	d.mu.Lock()
	if v := d.sessions[e.Session]; v != nil && v.asked == e.ID && e.Type == wire.TypeError {
		d.mu.Unlock()
		return c.refused(v, e)
	}
	r := d.drop(e.ID)
	d.mu.Unlock()
	switch {
	case r != nil:
		r.answer <- e // has room for one
	case e.Type == wire.TypeError:
		d.log.Warn("the server refused a frame", "id", e.ID, "problem", string(e.Body))
	}
	return nil
}

// refused takes the error that answers a resume.
func (c *conn) refused(v *view, e wire.Envelope) error {
	err := problemOf(e)
	if !isCode(err, wire.CodeNotMember, wire.CodeNotFound, wire.CodeSessionClosed) {
		// Without it the session would stay silent; another connection may fare better.
		return fmt.Errorf("client: resume of %s: %w", v.id, errors.New(err.Error()))
	}
	c.d.mu.Lock()
	gone := v.state
	v.asked, v.live, v.held = "", true, nil
	c.d.mu.Unlock()
	c.sound = true
	gone.Phase = wire.Closed
	c.settle(v, &gone)
	c.over[v.id] = isCode(err, wire.CodeNotMember)
	return nil
}

// problemOf reads the problem in an error frame.
func problemOf(e wire.Envelope) error {
	var p wire.Problem
	if err := json.Unmarshal(e.Body, &p); err != nil || p.Code == "" {
		return fmt.Errorf("%w: an error without a problem", ErrProtocol)
	}
	return &p
}

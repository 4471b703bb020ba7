package wsconn

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// batchBytes is about the most that goes out in one write.
const batchBytes = 64 << 10

// keepQueue is the largest queue, in frames, whose memory an idle connection keeps.
const keepQueue = 4

// sink is the transport below an outbox: a WebSocket or an event stream.
type sink interface {
	// appendFrame and appendClose append an envelope and the last word in the
	// transport's form.
	appendFrame(dst, frame []byte) []byte
	appendClose(dst []byte, code uint16, reason string) []byte
	// heartbeat is what is sent into a silence, in the transport's form.
	heartbeat() []byte
	// hears says whether the device is ever heard; if not, what it took counts instead.
	hears() bool
	// write sends; only one goroutine at a time calls it.
	write(p []byte) error
	// hurry ends a write that hangs at the given time.
	hurry(t time.Time)
	// cut ends the transport at once, and any read or write. It may be called at any
	// time, repeatedly.
	cut()
}

// outbox is the sending half of a connection: a bounded queue, the goroutine that empties
// it while it is not empty, and what watches over the connection's life: a timer until it is
// authenticated and while it is being closed, and in between Handler.watch.
type outbox struct {
	// Fixed after construction.
	h    *Handler
	sink sink

	// See Handler.mark. writing is zero while nothing is being written.
	heard, sent, writing atomic.Int64
	// busy: a frame of the device's is being carried out. What it sends meanwhile is not
	// read, so that its silence means nothing.
	busy atomic.Bool
	// next is when to look after its heartbeats, as Handler.mark; zero: not now.
	next atomic.Int64

	index int // in registry.all, and guarded by it

	mu       sync.Mutex
	queue    [][]byte
	held     [][]byte // what was pushed between hold and release
	bytes    int      // in queue and held
	control  []byte   // ready-made bytes that overtake the queue
	last     []byte   // the close frame, sent after the queue
	flushing bool     // the flusher runs
	authed   bool
	holding  bool
	pinged   int64         // the value of heard when a heartbeat last went out
	ending   bool          // nothing more is taken
	broken   bool          // nothing more is sent
	timer    *time.Timer   // of authentication and of closing; nil in between
	flushed  chan struct{} // made when ending, or before; closed once all is sent or given up
	drained  chan struct{} // made when somebody waits for the queue; see Drained
	told     []string      // the newest of Handler.TellOnce
}

// toldKept is how much of what a connection was told once is known again.
const toldKept = 8

// news reports whether the connection has not been told this, and notes that it is now.
func (o *outbox) news(what string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if slices.Contains(o.told, what) {
		return false
	}
	o.told = append(o.told[max(0, len(o.told)+1-toldKept):], what)
	return true
}

// open starts the life of a connection, with the time it has to authenticate itself. It
// reports false when the server is draining.
func (o *outbox) open(h *Handler, s sink) bool {
	o.h, o.sink = h, s
	now := h.mark()
	o.heard.Store(now)
	o.sent.Store(now)
	o.mu.Lock()
	o.allow(h.cfg.AuthTimeout)
	o.mu.Unlock()
	if h.reg.enter(o) {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.forbear()
	return false
}

// allow sets the time after which tick comes, and forbear stops it. Called with mu held.
func (o *outbox) allow(d time.Duration) {
	if o.timer == nil {
		o.timer = time.AfterFunc(d, o.tick)
	} else {
		o.timer.Reset(d)
	}
}

func (o *outbox) forbear() {
	if o.timer != nil {
		o.timer.Stop()
		o.timer = nil
	}
}

// Push implements Outbox.
func (o *outbox) Push(frame []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ending {
		o.h.count.drop(DropClosed, 1)
		return false
	}
	full := len(o.queue)+len(o.held) >= o.h.cfg.QueueFrames
	if full || o.bytes > 0 && o.bytes+len(frame) > o.h.cfg.QueueBytes {
		o.h.count.drop(DropSlow, 1)
		o.end(uint16(wire.CloseSlow), "too slow: resume to get what was missed")
		return false
	}
	o.bytes += len(frame)
	if o.holding {
		o.held = append(o.held, frame)
		return true
	}
	o.queue = append(o.queue, frame)
	o.kick()
	return true
}

// Close implements Outbox.
func (o *outbox) Close(code wire.CloseCode, reason string) { o.closeWith(uint16(code), reason) }

// closeWith is Close with any code of RFC 6455. The first call decides.
func (o *outbox) closeWith(code uint16, reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ending {
		o.end(code, reason)
	}
}

// Drained returns when at most a quarter of the queue's bounds is in use, so that as much
// again can be pushed, or when the connection ends. The error is ctx's. It must not be
// called from where frames are read while the connection is held back by hold.
func (o *outbox) Drained(ctx context.Context) error {
	o.mu.Lock()
	if o.roomy() {
		o.mu.Unlock()
		return nil
	}
	if o.drained == nil {
		o.drained = make(chan struct{})
	}
	drained := o.drained
	o.mu.Unlock()
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// roomy reports whether Drained need not wait. Called with mu held.
func (o *outbox) roomy() bool {
	return o.ending || len(o.queue)+len(o.held) <= o.h.cfg.QueueFrames/4 && o.bytes <= o.h.cfg.QueueBytes/4
}

// resumeWaiting lets go who waits in Drained. Called with mu held.
func (o *outbox) resumeWaiting() {
	if o.drained != nil && o.roomy() {
		close(o.drained)
		o.drained = nil
	}
}

// hold keeps what is pushed from now on back until release.
func (o *outbox) hold() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.holding = true
}

// release sends the welcome and then what was held back; from now on the heartbeats run.
func (o *outbox) release(welcome []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ending {
		return
	}
	o.holding, o.authed = false, true
	o.bytes += len(welcome)
	o.queue = append(append(o.queue, welcome), o.held...)
	o.held = nil
	o.forbear()
	o.next.Store(o.h.mark() + int64(o.h.cfg.Heartbeat))
	o.kick()
}

// forget drops what was held back: there will be no welcome.
func (o *outbox) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.holding = false
	for _, frame := range o.held {
		o.bytes -= len(frame)
	}
	o.h.count.drop(DropClosed, len(o.held))
	o.held = nil
	o.resumeWaiting()
}

// overtake sends ready-made bytes before all that is queued. A peer that provokes more of
// them than it reads gets the newest (RFC 6455 5.5.3).
func (o *outbox) overtake(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ending {
		o.overtaking(p)
	}
}

func (o *outbox) overtaking(p []byte) {
	if len(o.control)+len(p) > 1024 {
		o.control = o.control[:0]
	}
	o.control = append(o.control, p...)
	o.kick()
}

// listen notes that the device was heard.
func (o *outbox) listen() { o.heard.Store(o.h.mark()) }

// over reports whether the connection is being closed.
func (o *outbox) over() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ending
}

// end begins the closing. Called with mu held, once.
func (o *outbox) end(code uint16, reason string) {
	o.ending = true
	if o.flushed == nil {
		o.flushed = make(chan struct{})
	}
	switch wire.CloseCode(code) {
	case wire.CloseSlow:
		o.discard(DropSlow)
	case wire.CloseRevoked:
		o.discard(DropClosed) // what is queued is no longer this device's
	}
	o.h.count.drop(DropClosed, len(o.held))
	o.held, o.control = nil, nil
	o.last = o.sink.appendClose(nil, code, reason)
	if code >= 4000 {
		o.h.count.closing(wire.CloseCode(code))
	}
	o.sink.hurry(time.Now().Add(o.h.cfg.CloseTimeout))
	o.allow(o.h.cfg.CloseTimeout)
	o.resumeWaiting()
	o.kick()
}

// abort ends the connection without another word: it is broken, or out of time.
func (o *outbox) abort() {
	o.mu.Lock()
	o.ending = true
	o.resumeWaiting()
	if o.flushed == nil {
		o.flushed = make(chan struct{})
	}
	if !o.broken {
		o.broken, o.last, o.control = true, nil, nil
		o.discard(DropBroken)
		o.forbear()
		if !o.flushing {
			o.settle()
		}
	}
	o.mu.Unlock()
	o.sink.cut()
}

// discard forgets what is queued. Called with mu held.
func (o *outbox) discard(why DropReason) {
	o.h.count.drop(why, len(o.queue)+len(o.held))
	o.queue, o.held, o.bytes = nil, nil, 0
}

// settle announces that nothing more will be written. Called with mu held.
func (o *outbox) settle() {
	select {
	case <-o.flushed:
	default:
		close(o.flushed)
	}
}

// kick starts the flusher if it does not run. Called with mu held.
func (o *outbox) kick() {
	if !o.flushing && !o.broken {
		o.flushing = true
		o.h.wg.Add(1)
		go o.flush()
	}
}

var batches = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// flush writes until there is nothing left.
func (o *outbox) flush() {
	defer o.h.wg.Done()
	buf := batches.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= 2*batchBytes {
			batches.Put(buf)
		}
	}()
	for {
		b, frames := o.take((*buf)[:0])
		*buf = b
		if len(b) == 0 {
			return
		}
		o.writing.Store(o.h.mark())
		err := o.sink.write(b)
		o.writing.Store(0)
		if err != nil {
			o.h.count.drop(DropBroken, frames)
			o.abort()
			continue // take finds it broken and lets go
		}
		o.sent.Store(o.h.mark())
		if !o.sink.hears() {
			o.listen()
		}
		o.h.count.framesOut.Add(uint64(frames))
		o.h.count.bytesOut.Add(uint64(len(b)))
		o.h.count.writes.Add(1)
	}
}

// take fills dst with the next batch. If there is none, the flusher must stop.
func (o *outbox) take(dst []byte) (batch []byte, frames int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.broken {
		dst = append(dst, o.control...)
		o.control = o.control[:0]
		for frames < len(o.queue) && (frames == 0 || len(dst)+len(o.queue[frames]) <= batchBytes) {
			dst = o.sink.appendFrame(dst, o.queue[frames])
			o.bytes -= len(o.queue[frames])
			frames++
		}
		o.queue = slices.Delete(o.queue, 0, frames)
		if o.drained != nil {
			o.listen() // who waits reads nothing meanwhile; the device took what went before
			o.resumeWaiting()
		}
		if len(o.queue) == 0 {
			dst = append(dst, o.last...)
			o.last = nil
		}
	}
	if len(dst) == 0 {
		o.flushing = false
		o.control = nil
		if cap(o.queue) > keepQueue {
			o.queue = nil
		}
		if o.ending {
			o.settle()
		}
	}
	return dst, frames
}

// tick is the timer's: the time to authenticate or the time to close is over.
func (o *outbox) tick() {
	o.mu.Lock()
	switch {
	case o.ending:
		o.mu.Unlock()
		o.abort()
		return
	case o.authed: // just in time
	case o.busy.Load(): // the hello has its own time
		o.allow(o.h.cfg.AuthTimeout)
	default:
		o.end(uint16(wire.CloseAuthTimeout), "no hello in time")
	}
	o.mu.Unlock()
}

// due reports whether look has something to do.
func (o *outbox) due(now int64) bool {
	next := o.next.Load()
	return next != 0 && (next <= now || o.unsure(now))
}

// unsure: the device has waited for the answer to a request for so long, and heard nothing, that it may take its network
// for gone.
func (o *outbox) unsure(now int64) bool {
	before := now - int64(lookEvery/2)
	return o.busy.Load() && o.heard.Load() < before && o.sent.Load() < before
}

// look sends a heartbeat where one is due, and closes a connection that is dead.
func (o *outbox) look() {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.h.mark()
	if !o.ending && o.next.Load() <= now {
		o.beat(time.Duration(now))
	}
	if !o.ending && o.unsure(now) {
		o.sent.Store(now)
		o.overtaking(o.sink.heartbeat())
	}
}

// beat closes a connection whose device has been silent for two heartbeats, or has read
// nothing for as long, and sends a heartbeat into a silence of one. Called with mu held.
func (o *outbox) beat(now time.Duration) {
	every := o.h.cfg.Heartbeat
	heard := o.heard.Load()
	silent := now - time.Duration(heard)
	if o.busy.Load() {
		silent = 0
	}
	var stuck time.Duration
	if since := o.writing.Load(); since != 0 {
		stuck = now - time.Duration(since)
	}
	if silent >= 2*every || stuck >= 2*every {
		o.end(uint16(wire.CloseHeartbeat), "silent for longer than two heartbeats")
		return
	}
	quiet := now - time.Duration(o.sent.Load())
	if quiet >= every || silent >= every && o.pinged != heard {
		quiet = 0
		o.pinged = heard
		o.sent.Store(int64(now))
		o.overtaking(o.sink.heartbeat())
	}
	next := every - quiet
	if silent < every {
		next = min(next, every-silent)
	} else {
		next = min(next, 2*every-silent)
	}
	o.next.Store(int64(now + next))
}

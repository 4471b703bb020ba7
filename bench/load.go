package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	messageBytes = 128      // of a message's body
	readBuffer   = 16 << 10 // of each of the load's connections, in bytes
	stamps       = 1 << 12  // messages under way of which the time of sending is kept
	patience     = 20 * time.Second
)

// peer is a server that relays, as the load sees it.
type peer interface {
	server() *child
	// connect makes one pair of connections, ready to send from tx to rx.
	connect(pair int) (tx, rx *socket, err error)
	// appendMessage appends the frame of a pair's message number n, from 1.
	appendMessage(dst []byte, pair int, n uint64) []byte
	// parse reads one thing of a frame: 'a' for the acknowledgement of message n, 'm' for
	// its delivery, 0 for anything else; and returns what is left of the frame. n is next
	// where the peer does not say which one.
	parse(frame []byte) (kind rune, n uint64, rest []byte, err error)
}

// next stands for the number after the last one.
const next = 0

// load drives one peer with pairs of connections.
type load struct {
	peer
	packed bool // messages that are sent together go out in one write
	flows  []*flow
	window atomic.Int64 // messages that each sender may have under way; zero: none by itself
	timing atomic.Bool  // latencies are kept
	failed atomic.Pointer[error]
	wg     sync.WaitGroup
}

// flow is one pair: messages go from tx to rx, numbered from 1.
type flow struct {
	l      *load
	pair   int
	tx, rx *socket

	mu   sync.Mutex // of writing
	sent uint64
	buf  []byte

	acked, delivered atomic.Uint64
	stamp            [stamps]atomic.Int64

	ackTimes, deliveryTimes []time.Duration // owned by the readers while timing
}

func newLoad(p peer, pairs int, packed bool) (*load, error) {
	l := &load{peer: p, packed: packed}
	for i := range pairs {
		f := &flow{l: l, pair: i}
		var err error
		if f.tx, f.rx, err = p.connect(i); err != nil {
			return l, fmt.Errorf("pair %d: %w", i, err)
		}
		l.flows = append(l.flows, f)
	}
	for _, f := range l.flows {
		l.wg.Go(func() { f.run(f.tx, 'a', &f.acked, &f.ackTimes) })
		l.wg.Go(func() { f.run(f.rx, 'm', &f.delivered, &f.deliveryTimes) })
	}
	return l, nil
}

func (l *load) close() error {
	for _, f := range l.flows {
		f.tx.close()
		f.rx.close()
	}
	l.wg.Wait()
	return l.server().stop()
}

func (l *load) fail(err error) { l.failed.CompareAndSwap(nil, &err) }

// run reads one side of a pair: each number comes once, and in order.
func (f *flow) run(s *socket, kind rune, count *atomic.Uint64, times *[]time.Duration) {
	last := uint64(0)
	for {
		frame, err := s.read()
		if err != nil {
			f.l.fail(fmt.Errorf("%s: pair %d: %w", f.l.server().role, f.pair, err))
			return
		}
		for len(frame) > 0 {
			k, n, rest, err := f.l.parse(frame)
			if err != nil {
				f.l.fail(fmt.Errorf("%s: pair %d: unexpected frame %.200q: %w", f.l.server().role, f.pair, frame, err))
				return
			}
			frame = rest
			if k != kind {
				continue
			}
			if n == next {
				n = last + 1
			}
			if n != last+1 {
				f.l.fail(fmt.Errorf("%s: pair %d: %c %d came after %d", f.l.server().role, f.pair, k, n, last))
				return
			}
			last = n
			if f.l.timing.Load() {
				*times = append(*times, time.Duration(time.Now().UnixNano()-f.stamp[n%stamps].Load()))
			}
		}
		count.Store(last)
		if kind == 'a' && !s.more() {
			f.refill()
		}
	}
}

// refill sends as many messages as the window has room for.
func (f *flow) refill() {
	if window := uint64(f.l.window.Load()); window > 0 {
		f.mu.Lock()
		defer f.mu.Unlock()
		if under := f.sent - f.acked.Load(); under < window {
			f.send(int(window - under))
		}
	}
}

// send writes messages, each by itself, as a person's device does, or packed into one
// write; f.mu is held.
func (f *flow) send(count int) {
	f.buf = f.buf[:0]
	for i := range count {
		f.sent++
		f.buf = f.l.appendMessage(f.buf, f.pair, f.sent)
		f.stamp[f.sent%stamps].Store(time.Now().UnixNano())
		if f.l.packed && i < count-1 {
			continue
		}
		if _, err := f.tx.nc.Write(f.buf); err != nil {
			f.l.fail(err)
			return
		}
		f.buf = f.buf[:0]
	}
}

type counts struct{ sent, acked, delivered uint64 }

func (l *load) counts() (c counts) {
	for _, f := range l.flows {
		f.mu.Lock()
		c.sent += f.sent
		f.mu.Unlock()
		c.acked += f.acked.Load()
		c.delivered += f.delivered.Load()
	}
	return c
}

// drain waits until everything that was sent has been acknowledged and delivered.
func (l *load) drain() (counts, error) {
	for began := time.Now(); ; time.Sleep(2 * time.Millisecond) {
		c := l.counts()
		switch err := l.failed.Load(); {
		case err != nil:
			return c, *err
		case c.acked == c.sent && c.delivered == c.sent:
			return c, nil
		case time.Since(began) > patience:
			return c, fmt.Errorf("%s: of %d sent, %d were acknowledged and %d delivered", l.server().role, c.sent, c.acked, c.delivered)
		}
	}
}

// throughput is what a relay does when every sender has a window of messages under way.
type throughput struct {
	acked, delivered float64       // per second
	processor        time.Duration // of the server, per message
}

func (l *load) saturate(window int, d time.Duration) (t throughput, err error) {
	l.window.Store(int64(window))
	for _, f := range l.flows {
		f.refill()
	}
	time.Sleep(d / 4)
	cpu0, err := l.server().processor()
	began, before := time.Now(), l.counts()
	time.Sleep(d)
	cpu1, err1 := l.server().processor()
	took, after := time.Since(began), l.counts()
	l.window.Store(0)
	_, err2 := l.drain()
	if err := errors.Join(err, err1, err2); err != nil {
		return t, err
	}
	n := after.acked - before.acked
	if n == 0 {
		return t, fmt.Errorf("%s: nothing was acknowledged", l.server().role)
	}
	return throughput{
		acked:     float64(n) / took.Seconds(),
		delivered: float64(after.delivered-before.delivered) / took.Seconds(),
		processor: (cpu1 - cpu0) / time.Duration(n),
	}, nil
}

// latency is what one message takes at a fixed rate, whatever the server does.
type latency struct{ delivery50, delivery99, ack50, ack99 time.Duration }

func (l *load) pace(perSecond int, d time.Duration) (latency, error) {
	l.timing.Store(true)
	began, sent := time.Now(), 0
	for time.Since(began) < d {
		for due := int(time.Since(began).Seconds() * float64(perSecond)); sent < due; sent++ {
			f := l.flows[sent%len(l.flows)]
			f.mu.Lock()
			f.send(1)
			f.mu.Unlock()
		}
		time.Sleep(200 * time.Microsecond)
	}
	_, err := l.drain()
	l.timing.Store(false)
	var acks, deliveries []time.Duration
	for _, f := range l.flows {
		acks, deliveries = append(acks, f.ackTimes...), append(deliveries, f.deliveryTimes...)
		f.ackTimes, f.deliveryTimes = nil, nil
	}
	if err == nil && (len(acks) != sent || len(deliveries) != sent) {
		err = fmt.Errorf("%s: %d sent, %d acknowledgements and %d deliveries timed", l.server().role, sent, len(acks), len(deliveries))
	}
	return latency{quantile(deliveries, .5), quantile(deliveries, .99), quantile(acks, .5), quantile(acks, .99)}, err
}

// quantile sorts l.
func quantile[T int64 | float64 | time.Duration](l []T, q float64) T {
	if len(l) == 0 {
		return 0
	}
	slices.Sort(l)
	return l[min(int(q*float64(len(l))), len(l)-1)]
}

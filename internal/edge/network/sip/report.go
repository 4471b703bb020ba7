package sip

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/tandem-call/tandem/tel"
)

// Report is what the element says of one party's stretch of a call.
type Report struct {
	tel.PartyDetails
	// Seq orders the reports of a leg; At is when the state began.
	Seq uint64
	At  time.Time
	// Lease is how long it stands without being repeated.
	Lease time.Duration
	// Vouched: the party's identity was proved, by its password or by a trusted element; an
	// open registrar proves nothing.
	Vouched bool
	// Passports are the Identity header fields of the INVITE (RFC 8224).
	Passports []string
}

// ErrRefused: a report can never be taken; there is no use in repeating it.
var ErrRefused = errors.New("sip: the report was refused")

// queue hands reports over, one at a time, so that no call waits for them. Of each leg it
// keeps the newest only; when it is full, legs that it does not know are dropped. They are
// reported again when their lease is half over.
type queue struct {
	report func(context.Context, Report) error
	most   int
	log    *slog.Logger

	mu      sync.Mutex
	waiting map[string]Report // by leg
	order   []string
	wake    chan struct{}
	// Counts.
	handed, dropped, failed int64
}

func newQueue(report func(context.Context, Report) error, most int, log *slog.Logger) *queue {
	return &queue{report: report, most: most, log: log, waiting: map[string]Report{}, wake: make(chan struct{}, 1)}
}

// put never waits.
func (q *queue) put(r Report) {
	if q.report == nil {
		return
	}
	leg := r.Ref.Local
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, known := q.waiting[leg]; !known {
		if len(q.order) >= q.most {
			q.dropped++
			return
		}
		q.order = append(q.order, leg)
	}
	q.waiting[leg] = r
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) take() (r Report, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) == 0 {
		return r, false
	}
	leg := q.order[0]
	q.order = q.order[1:]
	r = q.waiting[leg]
	delete(q.waiting, leg)
	return r, true
}

// back puts a report that was not taken behind the others, unless a newer one has come.
func (q *queue) back(r Report) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failed++
	if _, newer := q.waiting[r.Ref.Local]; newer {
		return
	}
	if len(q.order) >= q.most {
		q.dropped++
		return
	}
	q.waiting[r.Ref.Local] = r
	q.order = append(q.order, r.Ref.Local)
}

// stats: waiting, handed over, dropped, failed attempts.
func (q *queue) stats() (waiting, handed, dropped, failed int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return int64(len(q.order)), q.handed, q.dropped, q.failed
}

// The time between attempts to hand a report over.
const firstPause, longestPause = 100 * time.Millisecond, 5 * time.Second

func (q *queue) run(ctx context.Context) error {
	pause := firstPause
	for {
		r, ok := q.take()
		if !ok {
			select {
			case <-ctx.Done():
				return nil
			case <-q.wake:
			}
			continue
		}
		err := q.report(ctx, r)
		if err == nil || errors.Is(err, ErrRefused) {
			q.mu.Lock()
			q.handed++
			q.mu.Unlock()
			pause = firstPause
			continue
		}
		q.back(r)
		q.log.Warn("a call was not reported; it will be tried again", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
	}
}

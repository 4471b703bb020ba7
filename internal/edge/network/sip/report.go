package sip

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
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
	// Place of the party, by the word of a trusted element; nil: none was said.
	Place *Place
}

// ErrRefused: a report can never be taken; there is no use in repeating it.
var ErrRefused = errors.New("sip: the report was refused")

// queue hands reports over, one at a time, so that no call waits for them. Of each leg it
// keeps the newest only; when it is full, legs that it does not know are dropped. They are
// reported again when their lease is half over.
type queue struct {
	report func(context.Context, Report) error
	log    *slog.Logger
	legs   *latest[Report] // by leg

	handed, failed atomic.Int64
}

func newQueue(report func(context.Context, Report) error, most int, log *slog.Logger) *queue {
	return &queue{report: report, log: log, legs: newLatest[Report](most)}
}

// put never waits.
func (q *queue) put(r Report) {
	if q.report != nil {
		q.legs.put(r.Ref.Local, r)
	}
}

// stats: waiting, handed over, dropped, failed attempts.
func (q *queue) stats() (waiting, handed, dropped, failed int64) {
	waiting, dropped = q.legs.stats()
	return waiting, q.handed.Load(), dropped, q.failed.Load()
}

// The time between attempts to hand a report over.
const firstPause, longestPause = 100 * time.Millisecond, 5 * time.Second

func (q *queue) run(ctx context.Context) error {
	pause := firstPause
	for {
		leg, r, ok := q.legs.take()
		if !ok {
			select {
			case <-ctx.Done():
				return nil
			case <-q.legs.wake:
			}
			continue
		}
		err := q.report(ctx, r)
		if err == nil || errors.Is(err, ErrRefused) {
			q.handed.Add(1)
			pause = firstPause
			continue
		}
		q.failed.Add(1)
		q.legs.back(leg, r)
		q.log.Warn("a call was not reported; it will be tried again", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
	}
}

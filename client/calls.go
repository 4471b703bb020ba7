package client

import (
	"context"
	"time"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Reported tells what became of one report.
type Reported struct {
	Details tel.PartyDetails
	Ack     wire.Ack
	Err     error
	// Took is the time from the change to the server's answer.
	Took time.Duration
}

// reportTries is how often a report is made that the server cannot take at the moment.
const reportTries = 4

// ReportCalls reports every change that comes on changes, in order, and repeats the
// state of each call that is up while the program runs, since a report stands only for a
// time (every sets the pause between repetitions; zero: 40 s). A change that could not be
// delivered yet gives way to a newer one of the same call, but the end of a call does
// not. told may be nil. It returns when changes is closed and all is reported, or when ctx
// ends.
func (d *Device) ReportCalls(ctx context.Context, changes <-chan tel.PartyDetails, every time.Duration, told func(Reported)) {
	if every == 0 {
		every = 40 * time.Second
	}
	r := reporter{up: map[tel.Ref]change{}, seq: uint64(time.Now().UnixMilli())} // grows over restarts of the program
	repeat := time.NewTicker(every)
	defer repeat.Stop()
	done := make(chan struct{}, 1)
	busy := false
	for changes != nil || busy || len(r.waiting) > 0 {
		if !busy && len(r.waiting) > 0 {
			c := r.next()
			busy = true
			go func() {
				defer func() { done <- struct{}{} }()
				ack, err := d.insist(ctx, wire.Report{PartyDetails: c.details, Seq: c.seq})
				if told != nil && ctx.Err() == nil {
					told(Reported{c.details, ack, err, time.Since(c.since)})
				}
			}()
		}
		select {
		case details, ok := <-changes:
			if ok {
				r.changed(details, time.Now())
			} else {
				changes = nil
			}
		case <-repeat.C:
			if !busy {
				r.repeat(time.Now())
			}
		case <-done:
			busy = false
		case <-ctx.Done():
			if busy {
				<-done
			}
			return
		}
	}
}

// insist reports, and again where the server says that it may work later.
func (d *Device) insist(ctx context.Context, r wire.Report) (wire.Ack, error) {
	for n := 1; ; n++ {
		ack, err := d.Report(ctx, r)
		if p := problemIn(err); p == nil || !retryable(p) || n == reportTries || !pause(ctx, backoff(n, p)) {
			return ack, err
		}
	}
}

// reporter decides what is reported next.
type reporter struct {
	up      map[tel.Ref]change // calls that are not over
	waiting []change
	seq     uint64
}

type change struct {
	details tel.PartyDetails
	since   time.Time
	seq     uint64
}

// changed takes a change of a call. It replaces the one of the same call that waits,
// unless either is the call's end: that there was a call must be known, and that it is over.
func (r *reporter) changed(details tel.PartyDetails, now time.Time) {
	r.seq++
	c := change{details, now, r.seq}
	if r.up[details.Ref] = c; details.State == tel.Ended {
		delete(r.up, details.Ref)
	}
	if last := len(r.waiting) - 1; details.State != tel.Ended {
		for i := last; i >= 0; i-- {
			if w := &r.waiting[i]; w.details.Ref == details.Ref {
				if w.details.State == tel.Ended {
					break
				}
				*w = c
				return
			}
		}
	}
	r.waiting = append(r.waiting, c)
}

// repeat has every call that is up reported again, when nothing else is to be.
func (r *reporter) repeat(now time.Time) {
	if len(r.waiting) > 0 {
		return
	}
	for ref, c := range r.up {
		c.since = now
		r.up[ref] = c
		r.waiting = append(r.waiting, c)
	}
}

func (r *reporter) next() change {
	c := r.waiting[0]
	r.waiting = r.waiting[1:]
	return c
}

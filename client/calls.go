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

// ReportCalls reports every change that comes on changes, in order, and repeats the
// state of each call that is up while the connection lasts, since a report stands only
// for a time (every sets the pause between repetitions; zero: 40 s). A change that could
// not be delivered yet gives way to a newer one of the same call. told may be nil.
// It returns when changes is closed and all is reported, or when ctx ends.
func (d *Device) ReportCalls(ctx context.Context, changes <-chan tel.PartyDetails, every time.Duration, told func(Reported)) {
	if every == 0 {
		every = 40 * time.Second
	}
	type change struct {
		details tel.PartyDetails
		since   time.Time
		seq     uint64
	}
	var (
		up      = map[tel.Ref]change{} // calls that are not over
		waiting []change
		seq     = uint64(time.Now().UnixMilli()) // grows over restarts of the program
		busy    bool
		results = make(chan struct{}, 1)
		repeat  = time.NewTicker(every)
	)
	defer repeat.Stop()
	for changes != nil || busy || len(waiting) > 0 {
		if !busy && len(waiting) > 0 {
			c := waiting[0]
			waiting = waiting[1:]
			busy = true
			go func() {
				defer func() { results <- struct{}{} }()
				ack, err := d.Report(ctx, wire.Report{PartyDetails: c.details, Seq: c.seq})
				if told != nil && ctx.Err() == nil {
					told(Reported{c.details, ack, err, time.Since(c.since)})
				}
			}()
		}
		select {
		case details, ok := <-changes:
			if !ok {
				changes = nil
				continue
			}
			seq++
			c := change{details, time.Now(), seq}
			for i := range waiting {
				if waiting[i].details.Ref == details.Ref && details.State != tel.Ended {
					waiting[i] = c
					ok = false
				}
			}
			if ok {
				waiting = append(waiting, c)
			}
			if up[details.Ref] = c; details.State == tel.Ended {
				delete(up, details.Ref)
			}
		case <-repeat.C:
			if len(waiting) == 0 && !busy {
				for _, c := range up {
					waiting = append(waiting, c)
				}
			}
		case <-results:
			busy = false
		case <-ctx.Done():
			if busy {
				<-results
			}
			return
		}
	}
}

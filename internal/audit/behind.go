package audit

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/tandem-call/tandem/wire"
)

const (
	// noteRate and noteBurst bound what is written behind, per tenant and action, so that
	// nobody fills the disk with refusals.
	noteRate  = rate.Limit(1)
	noteBurst = 60
	// waiting is how many records may wait to be written.
	waiting = 1024
	// countEvery is how long events that were only counted may wait to be told.
	countEvery = time.Minute
	// pruneEvery is how often old entries are looked for.
	pruneEvery = time.Hour
	// patience is how long writing one entry may take.
	patience = 5 * time.Second
)

// behind is what is to be written behind.
type behind struct {
	queue chan noted

	mu      sync.Mutex
	limits  map[noteKey]*rate.Limiter
	counted map[noteKey]noted // counted, not written; the newest of its kind
}

type noteKey struct {
	tenant wire.TenantID
	what   Action
}

type noted struct {
	Record
	count uint64 // events before it that it stands for
}

func newBehind() behind {
	return behind{queue: make(chan noted, waiting), limits: map[noteKey]*rate.Limiter{}, counted: map[noteKey]noted{}}
}

// Note has a record written soon, by [Log.Run]; it never waits. Where events come faster
// than they are written, one entry stands for several and says for how many. A crash may
// take the last ones with it.
func (l *Log) Note(r Record) {
	if err := r.check(); err != nil {
		l.cfg.Log.Error("audit: a record was not taken", "err", err)
		return
	}
	b := &l.behind
	key := noteKey{r.Tenant, r.What}
	b.mu.Lock()
	defer b.mu.Unlock()
	limit := b.limits[key]
	if limit == nil {
		limit = rate.NewLimiter(noteRate, noteBurst)
		b.limits[key] = limit
	}
	n := noted{r, b.counted[key].count}
	if limit.AllowN(l.cfg.Now(), 1) {
		select {
		case b.queue <- n:
			delete(b.counted, key)
			return
		default:
		}
	}
	n.count++
	b.counted[key] = n
}

// Run writes what is noted and prunes, until ctx ends; then it writes what is left.
func (l *Log) Run(ctx context.Context) error {
	counts, prune := time.NewTicker(countEvery), time.NewTicker(pruneEvery)
	defer counts.Stop()
	defer prune.Stop()
	for {
		select {
		case n := <-l.behind.queue:
			l.writeNoted(ctx, n)
		case <-counts.C:
			l.writeCounts(ctx)
		case <-prune.C:
			if err := l.Sweep(ctx); err != nil && ctx.Err() == nil {
				l.cfg.Log.Warn("audit: old entries stay until the next try", "err", err)
			}
		case <-ctx.Done():
			for {
				select {
				case n := <-l.behind.queue:
					l.writeNoted(ctx, n)
				default:
					l.writeCounts(ctx)
					return nil
				}
			}
		}
	}
}

// writeNoted writes one entry, also when ctx has just ended.
func (l *Log) writeNoted(ctx context.Context, n noted) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if n.count > 0 {
		n.count++
	}
	if err := l.append(ctx, n.Record, n.count); err != nil {
		l.cfg.Log.Error("audit: an entry is missing", "what", n.What, "who", n.Who, "err", err)
	}
}

// writeCounts tells of events that were only counted.
func (l *Log) writeCounts(ctx context.Context) {
	b := &l.behind
	b.mu.Lock()
	waiting := b.counted
	b.counted = map[noteKey]noted{}
	b.mu.Unlock()
	for _, n := range waiting {
		n.count--
		l.writeNoted(ctx, n)
	}
}

// Sweep removes what is older than the retention, in all tenants. It may run on any node.
func (l *Log) Sweep(ctx context.Context) error {
	var tenants []wire.TenantID
	for item, err := range l.bounds.Scan(ctx, "") {
		if err != nil {
			return err
		}
		tenants = append(tenants, wire.TenantID(item.Key))
	}
	var faults []error
	for _, t := range tenants {
		faults = append(faults, l.Prune(ctx, t))
	}
	return errors.Join(append(faults, l.sweepNames(ctx))...)
}

package ratelimit

import (
	"container/list"
	"sync"
	"time"
)

// Policy is how much may be done: Quota in each Window on average, and Quota at once.
type Policy struct {
	// Name is told to clients.
	Name   string
	Quota  int
	Window time.Duration
}

// Decision is what a bucket says of one request.
type Decision struct {
	OK bool
	// Policy that decided; Remaining is what is left of its quota.
	Policy    Policy
	Remaining int
	// Full is when the whole quota is there again, Retry when the next request can
	// succeed; both from now.
	Full, Retry time.Duration
}

// Buckets count by key, in bounded memory: of more keys than Entries those that were used
// longest ago are forgotten, which gives them their whole quota back.
type Buckets struct {
	policy  Policy
	entries int
	now     func() time.Time

	mu     sync.Mutex
	byKey  map[string]*list.Element
	recent *list.List // of *bucket, the one used last in front
	denied uint64
}

// bucket is a token bucket that is kept as one time: when it will be full again (the
// "generic cell rate algorithm").
type bucket struct {
	key  string
	full time.Time
}

// NewBuckets returns buckets, all full. A Quota of zero means no limit. now may be nil:
// time.Now.
func NewBuckets(p Policy, entries int, now func() time.Time) *Buckets {
	if now == nil {
		now = time.Now
	}
	return &Buckets{policy: p, entries: entries, now: now, byKey: map[string]*list.Element{}, recent: list.New()}
}

// Take takes one token from the key's bucket, if there is one.
func (b *Buckets) Take(key string) Decision {
	if b.policy.Quota <= 0 {
		return Decision{OK: true, Policy: b.policy}
	}
	each := max(b.policy.Window/time.Duration(b.policy.Quota), 1) // in which one token grows
	whole := each * time.Duration(b.policy.Quota)
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	e := b.byKey[key]
	if e == nil {
		e = b.recent.PushFront(&bucket{key, now})
		b.byKey[key] = e
		if b.recent.Len() > b.entries {
			last := b.recent.Back()
			delete(b.byKey, last.Value.(*bucket).key)
			b.recent.Remove(last)
		}
	} else {
		b.recent.MoveToFront(e)
	}
	k := e.Value.(*bucket)
	missing := min(max(k.full.Sub(now), 0), whole) // whole: the clock was set back
	d := Decision{OK: missing+each <= whole, Policy: b.policy}
	if d.OK {
		missing += each
	} else {
		b.denied++
		d.Retry = missing + each - whole
	}
	k.full = now.Add(missing)
	d.Full = missing
	d.Remaining = int((whole - missing) / each)
	return d
}

// Stats returns how many keys are counted, and how many requests were denied.
func (b *Buckets) Stats() (keys int, denied uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.recent.Len(), b.denied
}

package store

import (
	"context"
	"sync"
)

type momentKey struct{}

// Moment is when a context was made by [Linearizable]. What an engine did to prove a read with it proves all others
// with it, too: they show what was acknowledged before that moment. An engine keeps here, by a name of its own,
// how far such a proof reaches. For many goroutines.
type Moment struct {
	mu     sync.Mutex
	proofs map[string]uint64
}

// Reach returns how far the proof of that name reaches, and whether there is one.
func (m *Moment) Reach(name string) (uint64, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.proofs[name]
	return n, ok
}

// Proved keeps how far the proof of that name reaches.
func (m *Moment) Proved(name string, reach uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proofs == nil {
		m.proofs = map[string]uint64{}
	}
	m.proofs[name] = reach
}

// Linearizable returns a context whose reads are linearizable: what an [Engine.Get], [Engine.Head], [Engine.Read] or
// [Engine.Scan] shows has everything that was acknowledged, at whatever node, before the context was made. Other reads
// are so, too, but in a cluster while the machine that leads is parted from its peers and does not know it yet: it shows
// what was so some seconds ago. Who decides by compare-and-set needs nothing of this, since the write fails then; it
// is for answers that somebody outside compares with what they know, and who writes makes another context before reading
// that again. In a cluster the first such read costs a small write for each stream that is read.
func Linearizable(ctx context.Context) context.Context {
	return context.WithValue(ctx, momentKey{}, &Moment{})
}

// MomentOf returns the moment of which reads with the context are to know everything; nil: they need not be
// linearizable.
func MomentOf(ctx context.Context) *Moment {
	m, _ := ctx.Value(momentKey{}).(*Moment)
	return m
}

// believing is for reads that a write will prove.
func believing(ctx context.Context) context.Context {
	if MomentOf(ctx) == nil {
		return ctx
	}
	return context.WithValue(ctx, momentKey{}, (*Moment)(nil))
}

package fileapi

import (
	"context"
	"sync"

	tus "github.com/tus/tusd/v2/pkg/handler"
)

// locker lets one request at a time work on an upload. A request that finds the lock
// taken asks the holder to stop: a client that resumes after a lost connection gets
// through although the server still waits for the old one.
//
// tusd's own memorylocker asks at any time. Too early, before the holder reads its body,
// the wish is lost (and it is a data race); too late, it breaks the next request on the
// same connection. Here the holder is asked only while it reads, and knows it afterwards.
type locker struct {
	mu   sync.Mutex
	held map[string]*held
}

// held is guarded by the locker's mu.
type held struct {
	free    chan struct{} // closed when it is unlocked
	stop    func()        // does not block
	reading bool
	wanted  bool
	stopped bool
}

// ask asks the holder to stop, if it is wanted and can be asked.
func (h *held) ask() {
	if h.wanted && h.reading && !h.stopped {
		h.stopped = true
		h.stop()
	}
}

func newLocker() *locker { return &locker{held: map[string]*held{}} }

// NewLock implements tus.Locker.
func (l *locker) NewLock(id string) (tus.Lock, error) { return lock{l, id}, nil }

// startReading says that the holder reads its body from now on.
func (l *locker) startReading(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.held[id]; h != nil {
		h.reading = true
		h.ask()
	}
}

// stopReading says that it does so no more, and returns whether it was asked to stop.
func (l *locker) stopReading(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.held[id]
	if h == nil {
		return false
	}
	h.reading = false
	return h.stopped
}

type lock struct {
	l  *locker
	id string
}

// Lock implements tus.Lock.
func (k lock) Lock(ctx context.Context, requestRelease func()) error {
	for {
		k.l.mu.Lock()
		h := k.l.held[k.id]
		if h == nil {
			k.l.held[k.id] = &held{free: make(chan struct{}), stop: requestRelease}
			k.l.mu.Unlock()
			return nil
		}
		h.wanted = true
		h.ask()
		k.l.mu.Unlock()
		select {
		case <-ctx.Done():
			return tus.ErrLockTimeout
		case <-h.free:
		}
	}
}

// Unlock implements tus.Lock.
func (k lock) Unlock() error {
	k.l.mu.Lock()
	defer k.l.mu.Unlock()
	if h := k.l.held[k.id]; h != nil {
		delete(k.l.held, k.id)
		close(h.free)
	}
	return nil
}

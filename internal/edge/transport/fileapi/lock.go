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
// tusd's own memorylocker asks too early at times: a request that has not yet begun to
// read its body cannot be stopped, and the wish is lost (it is a data race as well). Here
// the wish waits until the holder reads.
type locker struct {
	mu   sync.Mutex
	held map[string]*held
}

// held is guarded by the locker's mu.
type held struct {
	free    chan struct{} // closed when it is unlocked
	stop    func()
	reading bool // stop works
	wanted  bool
}

func newLocker() *locker { return &locker{held: map[string]*held{}} }

// NewLock implements tus.Locker.
func (l *locker) NewLock(id string) (tus.Lock, error) { return lock{l, id}, nil }

// reads says that the holder has begun to read its body.
func (l *locker) reads(id string) {
	l.mu.Lock()
	h := l.held[id]
	var stop func()
	if h != nil {
		h.reading = true
		if h.wanted {
			stop = h.stop
		}
	}
	l.mu.Unlock()
	if stop != nil {
		stop()
	}
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
		reading := h.reading
		k.l.mu.Unlock()
		if reading {
			h.stop()
		}
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

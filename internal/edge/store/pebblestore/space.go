package pebblestore

import (
	"fmt"
	"sync"
	"time"

	"github.com/tandem-call/tandem/internal/store"
)

// space watches the free space of the file system: Pebble does not survive a full one,
// so writes are refused while there is still room for what it does in the background.
type space struct {
	dir      string
	headroom int64
	read     func(dir string) (int64, error)

	mu      sync.Mutex
	free    int64 // when last looked at
	written int64 // bytes admitted since
	looked  time.Time
	err     error // of the last look
}

const (
	spaceInterval = 50 * time.Millisecond // how old a look may be
	spaceWritten  = 4 << 20               // how many bytes may be admitted on it
)

// admit says whether n more bytes may be written: store.ErrFull. What makes space is
// let through until half of the headroom is gone.
func (s *space) admit(n int, makesSpace bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written += int64(n)
	if now := time.Now(); now.Sub(s.looked) > spaceInterval || s.written > spaceWritten {
		s.free, s.err = s.read(s.dir)
		s.looked, s.written = now, int64(n)
	}
	if s.err != nil {
		return fmt.Errorf("pebblestore: free space: %w", s.err)
	}
	need := s.headroom
	if makesSpace {
		need /= 2
	}
	if s.free-s.written < need {
		return fmt.Errorf("pebblestore: %d MiB free, of which %d MiB are kept back: %w", s.free>>20, s.headroom>>20, store.ErrFull)
	}
	return nil
}

func (s *space) lastFree() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.free
}

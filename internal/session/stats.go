package session

import (
	"sync/atomic"
	"time"
)

// Stats is what one process has done since its start, and holds now.
type Stats struct {
	// Opened and Closed count the sessions whose record this process made, and closed.
	Opened, Closed uint64
	// Opening is the time from the match to the stored session, over all that were Opened.
	Opening time.Duration
	// Messages that were stored and acknowledged.
	Messages uint64
	// Storing is the time from taking a message to its acknowledgement, over all Messages.
	Storing time.Duration
	// Rooms are the sessions that somebody is connected to here, or was a moment ago.
	Rooms int
}

type counts struct {
	opened, closed, messages atomic.Uint64
	opening, storing         atomic.Int64 // ns
}

// Stats counts.
func (s *Service) Stats() Stats {
	s.mu.RLock()
	rooms := len(s.rooms)
	s.mu.RUnlock()
	n := &s.counts
	return Stats{
		Opened: n.opened.Load(), Closed: n.closed.Load(), Opening: time.Duration(n.opening.Load()),
		Messages: n.messages.Load(), Storing: time.Duration(n.storing.Load()), Rooms: rooms,
	}
}

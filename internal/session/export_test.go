package session

import (
	"context"
	"time"
)

// Ring handles the alarms that are due now, as Run does.
func (s *Service) Ring(ctx context.Context) time.Time { return s.ring(ctx) }

// Evict drops what nobody has used for a while, as Run does.
func (s *Service) Evict() { s.evict() }

// Rooms counts the rooms in memory.
func (s *Service) Rooms() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.rooms)
}

// HeldFrames is how many live messages wait during a resume.
const HeldFrames = heldFrames

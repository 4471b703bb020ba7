package session

import (
	"context"
	"time"
)

// Ring handles the alarms that are due now, as Run does.
func (s *Service) Ring(ctx context.Context) time.Time { return s.ring(ctx) }

// Evict drops what nobody has used for a while, as Run does.
func (s *Service) Evict() { s.evict() }

// NoteAgain tries again what could not be noted in the logs, as Run does.
func (s *Service) NoteAgain(ctx context.Context) { s.noteAgain(ctx) }

// Rooms counts the rooms in memory.
func (s *Service) Rooms() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.rooms)
}

// HeldFrames is how many live messages wait during a resume.
const HeldFrames = heldFrames

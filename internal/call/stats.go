package call

import "sync/atomic"

// Stats is what one process has done since its start.
type Stats struct {
	// Reports that were stored, by who made them, and those that were refused or failed.
	Reports map[ReporterKind]uint64
	Refused uint64
	// Accepted and Declined count the answers to invitations.
	Accepted, Declined uint64
}

type counts struct {
	reports                     map[ReporterKind]*atomic.Uint64 // fixed
	refused, accepted, declined atomic.Uint64
}

func newCounts() *counts {
	c := &counts{reports: map[ReporterKind]*atomic.Uint64{}}
	for _, k := range reporterKinds {
		c.reports[k] = new(atomic.Uint64)
	}
	return c
}

// Stats counts.
func (m *Matcher) Stats() Stats {
	s := Stats{
		Reports: map[ReporterKind]uint64{}, Refused: m.counts.refused.Load(),
		Accepted: m.counts.accepted.Load(), Declined: m.counts.declined.Load(),
	}
	for k, n := range m.counts.reports {
		s.Reports[k] = n.Load()
	}
	return s
}

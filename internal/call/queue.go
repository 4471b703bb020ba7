package call

import (
	"context"
	"fmt"
	"time"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Queue returns the queue of a contact centre in which the call beside a session came to a
// party, as its own side's reports name it: the queue of the newest leg, where a session saw
// several calls; "" where none is named.
func (m *Matcher) Queue(ctx context.Context, tenant wire.TenantID, own tel.Identity, session wire.SessionID) (string, error) {
	party, err := m.Directory.Principal(ctx, tenant, own)
	if err != nil {
		return "", fmt.Errorf("call: queue: %w", err)
	}
	queue, newest := "", time.Time{}
	for rec, err := range m.recordsOf(ctx, tenant, party) {
		if err != nil {
			return "", fmt.Errorf("call: queue: %w", err)
		}
		for _, s := range rec.Statements {
			if s.Side == rec.side(party) && s.Session == session && s.Queue != "" && !s.First.Before(newest) {
				queue, newest = s.Queue, s.First
			}
		}
	}
	return queue, nil
}

package call

import (
	"context"
	"fmt"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Own returns the best evidence in force for a party's own side of the call beside a
// session: Accepted where it only accepted an invitation, and "" where nothing of its own
// is part of the match. What a party sends by itself asks for more than that.
func (m *Matcher) Own(ctx context.Context, tenant wire.TenantID, own tel.Identity, session wire.SessionID) (best Evidence, err error) {
	party, err := m.Directory.Principal(ctx, tenant, own)
	if err != nil {
		return "", fmt.Errorf("call: own side: %w", err)
	}
	for rec, err := range m.recordsOf(ctx, tenant, party) {
		if err != nil {
			return "", fmt.Errorf("call: own side: %w", err)
		}
		for _, l := range rec.legs(m.Now()) {
			if l.Side != rec.side(party) || l.Session != session {
				continue
			}
			for _, i := range l.statements {
				if e := rec.Statements[i].Reporter.Evidence; best == "" || best == Accepted {
					best = e
				} else {
					best = stronger(best, e)
				}
			}
		}
	}
	return best, nil
}

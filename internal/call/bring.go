package call

import (
	"context"
	"fmt"
	"slices"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Arrived lets a device into the calls of a party whose reports have named it, now that it may
// carry data for the party (B8). It may be repeated.
func (m *Matcher) Arrived(ctx context.Context, tenant wire.TenantID, own tel.Identity, device wire.DeviceID) error {
	party, err := m.Directory.Principal(ctx, tenant, own)
	if err != nil {
		return fmt.Errorf("call: a device arrives: %w", err)
	}
	for rec, err := range m.recordsOf(ctx, tenant, party) {
		if err != nil {
			return fmt.Errorf("call: a device arrives: %w", err)
		}
		for _, s := range rec.Statements {
			if s.Side != rec.side(party) || s.ended() || !slices.Contains(s.Named, device) {
				continue
			}
			again := s.report(tenant)
			again.Brought = []wire.DeviceID{device}
			if _, err := m.report(ctx, again); err != nil {
				return err
			}
		}
	}
	return nil
}

package call

import (
	"context"
	"fmt"
	"slices"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Over returns why a device that has a question on its screen is not asked any more, as in [wire.Withdrawn]; "": it is. own is an
// identity of the device's party.
func (m *Matcher) Over(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, own tel.Identity, id wire.InvitationID) (reason string, err error) {
	party, err := m.Directory.Principal(ctx, tenant, own)
	if err != nil {
		return "", fmt.Errorf("call: look at what a device is asked: %w", err)
	}
	for rec, err := range m.recordsOf(ctx, tenant, party) {
		if err != nil {
			return "", fmt.Errorf("call: look at what a device is asked: %w", err)
		}
		if rec.Question == nil || rec.Question.ID != id {
			continue
		}
		if _, _, ok := rec.asking(party, device, m.now(), m.Rules); ok {
			return "", nil
		}
		return rec.why(), nil
	}
	return "call_over", nil
}

// why returns the reason with which the record's question is over.
func (r Record) why() string {
	switch r.Question.State {
	case Taken, Declined:
		return "answered"
	case Refused:
		return "refused"
	case Waiting:
		return "other_call"
	case Heard:
		return "joined"
	case Lapsed:
		if slices.ContainsFunc(r.Joints, Joint.inCall) {
			return "joined"
		}
		return "expired"
	}
	return "call_over" // of this device; another one's may go on
}

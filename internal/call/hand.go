package call

import (
	"context"
	"fmt"
	"slices"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// A session beside a shared number may be handed from one agent's device to another's, before or
// after the telephones transfer the call. The call's new leg then goes on in the same session,
// which a further leg behind a shared number otherwise does not.

// Hand notes that another device of the party speaks in the session from now on, or will. A session
// that the party's calls do not know is no error. It may repeat.
func (m *Matcher) Hand(ctx context.Context, tenant wire.TenantID, party tel.Identity, id wire.SessionID, to wire.DeviceID) error {
	for rec, err := range m.recordsOf(ctx, tenant, party) {
		if err == nil && rec.joint(id) != nil {
			_, err = m.apply(ctx, rec.Key, Handed{id, to})
		}
		if err != nil {
			return fmt.Errorf("call: hand over a session: %w", err)
		}
	}
	return nil
}

func (t *turn) hand(ev Handed) {
	if j := t.joint(ev.Session); j != nil && !slices.Contains(j.Handed, ev.Device) {
		j.Handed = append(j.Handed, ev.Device)
		j.Devices = append(j.Devices, subtract([]wire.DeviceID{ev.Device}, j.Devices)...)
	}
}

// handed returns the session that was handed to a device which speaks of one of the legs: once,
// while the call goes on or shortly after, since the old leg may end before the new one is up.
func (t *turn) handed(a, b Leg) *Joint {
	for i := range t.Joints {
		j := &t.Joints[i]
		to := func(d wire.DeviceID) bool {
			return slices.Contains(j.Handed, d) && (slices.Contains(a.Devices, d) || slices.Contains(b.Devices, d))
		}
		if j.Gone.IsZero() && (j.inCall() || t.now.Sub(j.Ended) <= t.rules.Lease) && slices.ContainsFunc(j.Handed, to) {
			j.Handed = slices.DeleteFunc(j.Handed, to)
			return j
		}
	}
	return nil
}

package agent_test

import (
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/agent"
	"github.com/tandem-call/tandem/internal/tenant/tenanttest"
	"github.com/tandem-call/tandem/wire"
)

// TestFirstAtAnotherNode: a tenant gets its first agent at one node, and another one, which has been running for
// long, knows that calls may be an agent's, and the agent's device.
func TestFirstAtAnotherNode(t *testing.T) {
	c := newCentre(t)
	other, err := agent.New(t.Context(), agent.Config{Engine: c.engine, Devices: c, Sessions: c, Now: func() time.Time { return c.now }})
	if err != nil {
		t.Fatal(err)
	}
	tenanttest.Hears(t, other, func(tenant wire.TenantID) error {
		_, err := c.Set(t.Context(), tenant, "first", c.number, wire.AgentRequest{Name: "First"})
		return err
	})
	anna := c.work("anna", "1", false)
	if r, err := other.Of(t.Context(), tenant, anna); err != nil || r.ID != "anna" {
		t.Errorf("the device is %q's, %v", r.ID, err)
	}
}

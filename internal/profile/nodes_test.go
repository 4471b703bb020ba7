package profile_test

import (
	"testing"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore/pebbletest"
	"github.com/tandem-call/tandem/internal/tenant/tenanttest"
	"github.com/tandem-call/tandem/wire"
)

// TestFirstAtAnotherNode: a session that another node opens brings the first profile of a tenant too.
func TestFirstAtAnotherNode(t *testing.T) {
	e := pebbletest.Open(t)
	s, alice := service(t, e), id(t, "+442079460001")
	tenanttest.Hears(t, service(t, e), func(tenant wire.TenantID) error {
		_, err := s.Change(t.Context(), tenant, alice, "d", wire.ProfileChange{Set: []wire.ProfileField{field("fn", "Alice")}})
		return err
	})
}

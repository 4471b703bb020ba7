package place_test

import (
	"testing"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore/pebbletest"
	"github.com/tandem-call/tandem/internal/place"
	"github.com/tandem-call/tandem/internal/tenant/tenanttest"
	"github.com/tandem-call/tandem/wire"
)

// TestFirstAtAnotherNode: a node that hears of a call's end looks for shares that began at another one.
func TestFirstAtAnotherNode(t *testing.T) {
	e := pebbletest.Open(t)
	here, there := newService(t, place.Config{Engine: e, Sessions: &checked{}}), newService(t, place.Config{Engine: e, Sessions: &checked{}})
	tenanttest.Hears(t, there, func(tenant wire.TenantID) error {
		_, err := here.Ask(t.Context(), tenant, "s", "bob-s", wire.PlaceAskRequest{To: "1"})
		return err
	})
}

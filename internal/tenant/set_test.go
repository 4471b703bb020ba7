package tenant_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore/pebbletest"
	"github.com/tandem-call/tandem/internal/tenant"
)

// parted is a bus on which nothing can be said.
type parted struct{ tenant.Bus }

var errParted = errors.New("parted")

func (parted) Publish(context.Context, string, []byte) error { return errParted }

// TestSet: what is added at one node is known at the others, until they listen no more; and what cannot be told them is
// refused, so that it is tried again.
func TestSet(t *testing.T) {
	bus := pebbletest.Open(t)
	here, there := tenant.NewSet(bus, "agents"), tenant.NewSet(bus, "agents")
	others := tenant.NewSet(bus, "profiles")
	for _, s := range []*tenant.Set{there, others} {
		cancel, err := s.Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer cancel()
	}
	if err := here.Add(t.Context(), "acme"); err != nil || !here.Has("acme") {
		t.Fatalf("added: %v, %v", here.Has("acme"), err)
	}
	for end := time.Now().Add(10 * time.Second); !there.Has("acme"); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the other node has not heard of it")
		}
	}
	if there.Has("bell") || others.Has("acme") {
		t.Error("heard of what nobody said")
	}

	alone := tenant.NewSet(parted{bus}, "agents")
	if err := alone.Add(t.Context(), "acme"); !errors.Is(err, errParted) || alone.Has("acme") {
		t.Errorf("added where the others cannot be told: %v, %v", alone.Has("acme"), err)
	}
	alone.Learn("acme")
	if err := alone.Add(t.Context(), "acme"); err != nil {
		t.Errorf("added what is known: %v", err)
	}
}

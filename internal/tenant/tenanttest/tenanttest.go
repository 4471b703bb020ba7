// Package tenanttest tests services that hold in memory which tenants have something.
package tenanttest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// Node is a service as it runs at one node.
type Node interface {
	Run(ctx context.Context) error
	Any(tenant wire.TenantID) bool
}

// Hears fails the test unless a node that has been running hears of the first thing that a tenant gets at another
// node, by begin, within seconds: much sooner than it reads by itself which tenants have something.
func Hears(t *testing.T, other Node, begin func(tenant wire.TenantID) error) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() {
		if err := other.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	end := time.Now().Add(10 * time.Second)
	for i := 0; ; i++ { // until it runs, nobody hears of the first ones
		tenant := wire.TenantID(fmt.Sprint("t", i))
		if other.Any(tenant) {
			t.Fatalf("%s has something before it has", tenant)
		}
		if err := begin(tenant); err != nil {
			t.Fatal(err)
		}
		for soon := time.Now().Add(100 * time.Millisecond); time.Now().Before(soon); time.Sleep(time.Millisecond) {
			if other.Any(tenant) {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatal("the other node has not heard of it")
		}
	}
}

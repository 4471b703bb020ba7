// Package pebbletest gives tests an engine: the embedded one, in a directory of the test's own.
package pebbletest

import (
	"testing"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
	"github.com/tandem-call/tandem/internal/store"
)

// Open returns a fresh engine, which is closed when the test ends. What it acknowledges need not
// outlive the machine: it does not sync.
func Open(t testing.TB) store.Engine {
	t.Helper()
	e, err := pebblestore.Open(pebblestore.Options{Dir: t.TempDir(), Relaxed: true, CacheSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

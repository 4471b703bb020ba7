package device_test

import (
	"testing"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
	"github.com/tandem-call/tandem/internal/store"
)

// openEngine returns a fresh engine for one test; what it acknowledges need not outlive
// the machine.
func openEngine(t testing.TB) store.Engine {
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

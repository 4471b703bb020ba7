package pebblestore

import (
	"testing"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/internal/store/storetest"
)

func openStore(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) store.Engine {
		return openStore(t, Options{Dir: dir})
	})
}

func TestConformanceRelaxed(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) store.Engine {
		return openStore(t, Options{Dir: dir, Relaxed: true})
	})
}

package pebblestore

import (
	"hash/maphash"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

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

// memory gives a file system in memory room.
func memory(m *vfs.MemFS) *vfs.MemFS {
	m.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 40})
	return m
}

func maphashOf(b []byte) uint64 { return maphash.Bytes(hashSeed, b) }

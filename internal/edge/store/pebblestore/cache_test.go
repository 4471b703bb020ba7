package pebblestore

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestCache: what is read again comes from memory, also when the memtables, which Pebble takes off the cache, have
// come to their size, which is the cache's by default.
func TestCache(t *testing.T) {
	const size = 4 << 20
	s := openStore(t, Options{Dir: "data", fs: memory(vfs.NewMem()), Relaxed: true, CacheSize: size, memTable: size})
	for i := range 4 * size / 1000 { // a table that is not known in memory; memtables grow as they follow each other
		_, err := s.Put(t.Context(), "t", fmt.Sprintf("%06d", i), make([]byte, 1000), 0)
		ok(t, err)
	}
	ok(t, s.db.Flush())
	const n = 1000
	read := func() int64 {
		before := s.db.Metrics().BlockCache.Misses
		for i := range n {
			_, err := s.Get(t.Context(), "t", fmt.Sprintf("%06d", i))
			ok(t, err)
		}
		return s.db.Metrics().BlockCache.Misses - before
	}
	var m int64
	for range 50 { // while levels are compacted, files change
		if m = read(); m <= n/100 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("the cache lacked %d blocks when %d records were read again", m, n)
}

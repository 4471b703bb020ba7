package natsstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/tandem-call/tandem/internal/edge/store/natsstore"
	"github.com/tandem-call/tandem/internal/edge/store/natsstore/natstest"
	"github.com/tandem-call/tandem/internal/store"
)

// BenchmarkCluster measures appends to logs and changes of records on three servers with
// replicas 3, at three numbers of callers at once; with JetStream's default, which syncs every
// two minutes, and with a sync before each acknowledgement.
func BenchmarkCluster(b *testing.B) {
	for _, sync := range []string{"2m", "always"} {
		servers, err := natstest.StartOn(b.Context(), b.TempDir(), slices.Repeat([]natstest.Place{{Host: "127.0.0.1", Sync: sync}}, 3))
		if err != nil {
			b.Fatal(err)
		}
		s, err := natsstore.Open(b.Context(), natsstore.Options{URL: servers.URL(), Tables: []string{"t"}})
		if err != nil {
			b.Fatal(err)
		}
		data := make([]byte, 200)
		for _, callers := range []int{1, 16, 256} {
			var n atomic.Int64
			b.Run(fmt.Sprintf("sync=%s/append/callers=%d", sync, callers), func(b *testing.B) {
				b.SetParallelism(callers)
				b.RunParallel(func(pb *testing.PB) {
					log := fmt.Sprintf("log/%d", n.Add(1))
					for pb.Next() {
						if _, err := s.Append(b.Context(), log, data, store.DeliverAfter); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
			b.Run(fmt.Sprintf("sync=%s/put/callers=%d", sync, callers), func(b *testing.B) {
				b.SetParallelism(callers)
				b.RunParallel(func(pb *testing.PB) {
					key := fmt.Sprintf("k%d", n.Add(1))
					for rev := store.Rev(0); pb.Next(); {
						var err error
						if rev, err = s.Put(b.Context(), "t", key, data, rev); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
		if err := s.Close(); err != nil {
			b.Error(err)
		}
		if err := servers.Stop(); err != nil {
			b.Error(err)
		}
	}
}

// BenchmarkReads measures what a proof costs: reads of one record on three servers with replicas 3, from the leader,
// and linearizable ones, at three numbers of callers at once.
func BenchmarkReads(b *testing.B) {
	servers, err := natstest.Start(b.Context(), b.TempDir(), 3)
	if err != nil {
		b.Fatal(err)
	}
	s, err := natsstore.Open(b.Context(), natsstore.Options{URL: servers.URL(), Tables: []string{"t"}})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.Put(b.Context(), "t", "k", make([]byte, 200), 0); err != nil {
		b.Fatal(err)
	}
	for _, callers := range []int{1, 16, 256} {
		for name, request := range map[string]func(context.Context) context.Context{
			"leader":       func(ctx context.Context) context.Context { return ctx },
			"linearizable": store.Linearizable,
		} {
			b.Run(fmt.Sprintf("%s/callers=%d", name, callers), func(b *testing.B) {
				b.SetParallelism(callers)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := s.Get(request(b.Context()), "t", "k"); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
	if err := errors.Join(s.Close(), servers.Stop()); err != nil {
		b.Error(err)
	}
}

package pebblestore

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tandem-call/tandem/internal/store"
)

// BenchmarkPut measures synced puts per second with this many waiting writers.
func BenchmarkPut(b *testing.B) {
	for _, writers := range []int{1, 16, 256} {
		b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) {
			s := openStore(b, Options{Dir: b.TempDir()})
			value := make([]byte, 128)
			var n atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range writers {
				wg.Go(func() {
					for {
						i := n.Add(1)
						if i > int64(b.N) {
							return
						}
						if _, err := s.Put(context.Background(), "t", fmt.Sprintf("%012d", i), value, 0); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
			b.ReportMetric(float64(s.Stats().Operations)/float64(s.Stats().Batches), "puts/batch")
		})
	}
}

// BenchmarkAppend measures appends per second to 200 watched logs, each of which has 16
// entries of 128 bytes on the way to the disk.
func BenchmarkAppend(b *testing.B) {
	for name, d := range map[string]store.Delivery{"after": store.DeliverAfter, "first": store.DeliverFirst} {
		b.Run(name, func(b *testing.B) {
			s := openStore(b, Options{Dir: b.TempDir()})
			ctx := context.Background()
			data := make([]byte, 128)
			var n, seen atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for l := range 200 {
				log := fmt.Sprint("session/", l)
				cancel, err := s.Watch(ctx, log, func(store.Entry) { seen.Add(1) })
				if err != nil {
					b.Fatal(err)
				}
				defer cancel()
				wg.Go(func() {
					window := make(chan struct{}, 16)
					for n.Add(1) <= int64(b.N) {
						window <- struct{}{}
						p, err := s.Append(ctx, log, data, d)
						if err != nil {
							b.Error(err)
							return
						}
						p.Done(func(error) { <-window })
					}
					for range cap(window) {
						window <- struct{}{}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
			b.ReportMetric(float64(s.Stats().Operations)/float64(s.Stats().Batches), "appends/batch")
		})
	}
}

// BenchmarkGet measures reads of records that are in the block cache or the memtable.
func BenchmarkGet(b *testing.B) {
	s := openStore(b, Options{Dir: b.TempDir(), Relaxed: true})
	ctx := context.Background()
	for i := range 1000 {
		if _, err := s.Put(ctx, "t", fmt.Sprint(i), make([]byte, 512), 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if _, err := s.Get(ctx, "t", fmt.Sprint(i%1000)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen measures making, closing and opening a store.
func BenchmarkOpen(b *testing.B) {
	for range b.N {
		dir := b.TempDir()
		for range 2 {
			s, err := Open(Options{Dir: dir})
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

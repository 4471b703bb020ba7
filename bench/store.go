package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
)

// fdatasync is the median time of one, after 4 KiB were appended to a file.
func fdatasync(dir string, d time.Duration) (p50 time.Duration, err error) {
	f, err := os.CreateTemp(dir, "sync-*")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	block := make([]byte, 4096)
	var times []time.Duration
	for began := time.Now(); time.Since(began) < d || len(times) < 5; {
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		t := time.Now()
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		times = append(times, time.Since(t))
	}
	return quantile(times, .5), nil
}

// writers of the store at once.
var writers = []int{1, 16, 256}

// puts measures the engine alone: records stored by compare-and-set, synced.
func puts(b *bench) (err error) {
	s, err := pebblestore.Open(pebblestore.Options{Dir: filepath.Join(b.dir, "puts")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var key atomic.Int64
	for round := range b.rounds {
		for _, n := range writers {
			perSecond, err := putFor(s, n, b.time/2, &key)
			if err != nil {
				return err
			}
			b.add(fmt.Sprint("puts ", n), perSecond)
			b.progress("round %d, %d writers: %.0f puts/s", round+1, n, perSecond)
		}
		sync, err := fdatasync(b.dir, b.time/4)
		if err != nil {
			return err
		}
		b.add("puts sync", micros(sync))
	}
	b.printf("## The engine alone\n\nNew records of 128 bytes, each synced before its writer goes on.\n\n")
	b.row("writers at once", "puts/s")
	for _, n := range writers {
		b.row(fmt.Sprint(n), b.figure(fmt.Sprint("puts ", n), 0))
	}
	b.endTable()
	b.printf("One fdatasync, p50: %s µs.\n\n", b.figure("puts sync", 0))
	return nil
}

func putFor(s *pebblestore.Store, writers int, d time.Duration, key *atomic.Int64) (perSecond float64, err error) {
	var stop atomic.Bool
	var done atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	value := make([]byte, 128)
	began := time.Now()
	for range writers {
		wg.Go(func() {
			for !stop.Load() {
				if _, err := s.Put(context.Background(), "bench", fmt.Sprintf("%012d", key.Add(1)), value, 0); err != nil {
					failed.Store(&err)
					return
				}
				done.Add(1)
			}
		})
	}
	time.Sleep(d)
	stop.Store(true)
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(done.Load()) / time.Since(began).Seconds(), nil
}

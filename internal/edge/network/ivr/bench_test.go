package ivr

import (
	"context"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkPlay: how many calls a processor speaks to at once, and what one takes of memory. Each
// round is two seconds of an announcement in 100 calls.
func BenchmarkPlay(b *testing.B) {
	for name, offer := range map[string][]string{
		"Opus": {"109 101", "a=rtpmap:109 opus/48000/2", eventMap},
		"PCMU": {"0 101", eventMap},
	} {
		b.Run(name, func(b *testing.B) { benchmarkPlay(b, offer) })
	}
}

func benchmarkPlay(b *testing.B, offer []string) {
	const calls, spoken = 100, 2 * time.Second
	wav, err := os.ReadFile("../../../server/announcements/couple.wav")
	if err != nil {
		b.Fatal(err)
	}
	opus, err := os.ReadFile("../../../server/announcements/couple.opus")
	if err != nil {
		b.Fatal(err)
	}
	a, err := NewAnnouncement(wav, opus)
	if err != nil {
		b.Fatal(err)
	}
	for name, p := range a.packets {
		a.packets[name] = p[:spoken/(20*time.Millisecond)]
	}
	for range b.N {
		begin, heard := make(chan struct{}), sync.WaitGroup{}
		heard.Add(calls)
		server, err := Listen(Config{Media: loopback, Calls: calls, Logger: slog.New(slog.DiscardHandler), Serve: func(ctx context.Context, c *Call) {
			<-begin
			if err := c.Play(ctx, a); err != nil {
				b.Error(err)
			}
			heard.Done()
		}})
		if err != nil {
			b.Fatal(err)
		}
		s := &service{Server: server}
		before := held()
		for range calls {
			c := newCaller(b, s)
			if code, answer := c.invite(c.offer(offer[0], offer[1:]...)); code != 200 {
				b.Fatal(answer)
			}
		}
		b.ReportMetric(float64(held()-before)/calls, "B/call")
		was := processor()
		close(begin)
		heard.Wait()
		b.ReportMetric(float64(calls*spoken)/float64(processor()-was), "calls/processor")
		s.end(b)
	}
}

// held is what the heap holds.
func held() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// processor time that was used.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

package session_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/wire"
)

// sink is an outbox that counts.
type sink struct{ n atomic.Int64 }

func (s *sink) Push([]byte) bool             { s.n.Add(1); return true }
func (s *sink) Close(wire.CloseCode, string) {}

// BenchmarkRelay sends 128-byte messages between 200 pairs, everything synced, with 64
// messages of each pair under way: the relay and the engine in one process, without
// sockets.
func BenchmarkRelay(b *testing.B) {
	w := newWorld(b)
	n := w.node(fast, func(c *session.Config) { c.Limits.LogEntries = 1 << 40; c.Now = nil })
	const pairs, underWay = 200, 64
	sinks := make([]*sink, pairs)
	for i := range pairs {
		o := opening()
		o.ID = wire.SessionID(fmt.Sprint("S", i))
		from, to := wire.DeviceID(fmt.Sprint("a", i)), wire.DeviceID(fmt.Sprint("b", i))
		o.Sides[0].Devices, o.Sides[1].Devices = []wire.DeviceID{from}, []wire.DeviceID{to}
		sinks[i] = &sink{}
		if err := n.Open(context.Background(), o); err != nil {
			b.Fatal(err)
		}
		if _, _, err := n.Attach(context.Background(), tenant, to, sinks[i]); err != nil {
			b.Fatal(err)
		}
	}
	body := []byte(fmt.Sprintf(`{"text":"%0116d"}`, 0))
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	before := processor()
	for i := range pairs {
		wg.Go(func() {
			from, id := wire.DeviceID(fmt.Sprint("a", i)), wire.SessionID(fmt.Sprint("S", i))
			free := make(chan struct{}, underWay)
			var acks sync.WaitGroup
			for {
				k := next.Add(1)
				if k > int64(b.N) {
					break
				}
				free <- struct{}{}
				acks.Add(1)
				e := wire.Envelope{Type: wire.TypeSend, ID: wire.RequestID(fmt.Sprint(k)), Session: id, Kind: wire.KindText, Body: body}
				n.Send(context.Background(), tenant, from, nil, e, func(a wire.Envelope) {
					if a.Type != wire.TypeAck {
						b.Errorf("answer %+v %s", a, a.Body)
					}
					<-free
					acks.Done()
				})
			}
			acks.Wait()
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64((processor()-before).Nanoseconds())/float64(b.N), "cpu-ns/msg")
}

// processor is the time that this process has spent on the processors.
func processor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // SELF cannot fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkResume resumes 100 missed messages.
func BenchmarkResume(b *testing.B) {
	w := newWorld(b)
	n := w.node(fast)
	n.open()
	for i := range 100 {
		n.send("a1", nil, text(fmt.Sprint("r", i), "hello"))
	}
	for b.Loop() {
		s := &sink{}
		_, detach, err := n.Attach(context.Background(), tenant, "b1", s)
		if err == nil {
			err = n.Resume(context.Background(), tenant, "b1", s, wire.Envelope{ID: "r", Session: "S"})
		}
		if err != nil || s.n.Load() < 100 {
			b.Fatal(s.n.Load(), err)
		}
		detach()
	}
}

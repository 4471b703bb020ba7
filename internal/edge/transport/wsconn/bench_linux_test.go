package wsconn_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/tandem-call/tandem/internal/edge/transport/wsconn"
	"github.com/tandem-call/tandem/wire"
)

// BenchmarkRelay passes messages of 200 bytes from one WebSocket through Push to another,
// over TCP; window is how many are under way at once.
func BenchmarkRelay(b *testing.B) {
	body := json.RawMessage(`"` + strings.Repeat("x", 160) + `"`)
	message := encode(wire.Envelope{Type: wire.TypeMessage, Seq: 1, Body: body})
	frame := masked(finText, encode(wire.Envelope{Type: wire.TypeSend, ID: "r", Session: "s", Kind: "text", Body: body}))
	for _, window := range []int{1, 64, 512} {
		b.Run(fmt.Sprint("window=", window), func(b *testing.B) {
			s := serve(b, wsconn.Config{FloodPerSecond: 1 << 30, FloodBurst: 1 << 30})
			to, from := s.raw(b, "dev_to"), s.raw(b, "dev_from")
			out := s.relay.outbox(b, "dev_to")
			s.relay.onHandle = func(wsconn.Identity, wire.Envelope, wsconn.Outbox) bool { return out.Push(message) }
			writes := s.Stats().Writes
			batch := make([]byte, 0, window*len(frame))
			for range window {
				batch = append(batch, frame...)
			}
			b.SetBytes(int64(len(message)))
			b.ReportAllocs()
			b.ResetTimer()
			sent, received := 0, 0
			for ; received < b.N; received++ {
				if sent-received <= window/2 && sent < b.N {
					n := min(b.N-sent, window-(sent-received))
					from.bytes(batch[:n*len(frame)])
					sent += n
				}
				if _, _, err := to.frame(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/float64(s.Stats().Writes-writes), "frames/write")
		})
	}
}

// BenchmarkIdle reports the server's memory for each connected, authenticated, silent
// device. The clients are bare file descriptors, without memory of their own.
func BenchmarkIdle(b *testing.B) {
	const conns = 2000
	for range b.N {
		b.StopTimer()
		s := &server{relay: newRelay()}
		mux := s.mux(b, wsconn.Config{MaxPendingPerAddr: conns})
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		srv := &http.Server{Handler: mux}
		go srv.Serve(ln)
		before := inUse()
		b.StartTimer()
		fds := make([]int, conns)
		for i := range fds {
			fds[i] = idle(b, ln.Addr().(*net.TCPAddr).Port, fmt.Sprint("dev_", i))
		}
		for s.Stats().Sockets < conns {
			runtime.Gosched()
		}
		b.StopTimer()
		after := inUse()
		b.ReportMetric(float64(after.heap-before.heap)/conns, "heap-B/conn")
		b.ReportMetric(float64(after.stack-before.stack)/conns, "stack-B/conn")
		for _, fd := range fds {
			syscall.Close(fd)
		}
		s.drain(b)
		srv.Close()
	}
}

// BenchmarkLook reports what the look at all connections costs that comes each second, for each of
// them, while none of them needs anything.
func BenchmarkLook(b *testing.B) {
	for _, conns := range []int{1_000, 20_000, 100_000} {
		b.Run(fmt.Sprint("connections=", conns), func(b *testing.B) {
			look := wsconn.Look(conns)
			for b.Loop() {
				look()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(conns), "ns/conn")
		})
	}
}

// idle connects and says hello, without waiting for answers that only need to be read.
func idle(b *testing.B, port int, name string) int {
	b.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		err = syscall.Connect(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		_, err = syscall.Write(fd, append([]byte(upgrade), masked(finText, encode(helloOf(name)))...))
	}
	var answers [2048]byte
	for got := 0; err == nil && !strings.Contains(string(answers[:got]), `"welcome"`); {
		var n int
		if n, err = syscall.Read(fd, answers[got:]); n == 0 && err == nil {
			b.Fatal("hung up")
		}
		got += n
	}
	if err != nil {
		b.Fatal(err)
	}
	return fd
}

type memory struct{ heap, stack float64 }

func inUse() memory {
	for range 3 { // stacks shrink, pools empty
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return memory{float64(m.HeapAlloc), float64(m.StackInuse)}
}

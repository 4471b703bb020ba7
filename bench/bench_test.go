package main

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/wire"
)

func TestMain(m *testing.M) {
	serveIfChild() // this program is its own servers, as a test too
	os.Exit(m.Run())
}

// TestEveryBenchmark runs each one for a moment. That everything that was sent is
// acknowledged and delivered once, in order, and that each call opened one session, is
// for the benchmarks themselves to find out: they end with an error if not.
func TestEveryBenchmark(t *testing.T) {
	for _, m := range benchmarks {
		t.Run(m.name, func(t *testing.T) {
			var out strings.Builder
			err := run([]string{"-only", m.name, "-rounds", "2", "-seconds", "0.2", "-pairs", "5", "-window", "8", "-rate", "500",
				"-idle", "20", "-parties", "300", "-members", "50", "-plots", t.TempDir(), "-dir", t.TempDir(), "-quiet"}, &out)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(out.String(), "–") || !strings.Contains(out.String(), "## ") {
				t.Errorf("a figure is missing:\n%s", &out)
			}
			t.Log("\n" + out.String())
		})
	}
}

// TestCountsAreChecked: the load notices what is lost, repeated or out of order.
func TestCountsAreChecked(t *testing.T) {
	for name, numbers := range map[string][]uint64{"lost": {1, 3}, "repeated": {1, 1}, "out of order": {2, 1}} {
		t.Run(name, func(t *testing.T) {
			p, err := newLimit("", 0)
			if err != nil {
				t.Fatal(err)
			}
			l, err := newLoad(p, 1, false)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := l.close(); err != nil {
					t.Error(err)
				}
			}()
			f := l.flows[0]
			for _, n := range numbers {
				if _, err := f.tx.nc.Write(p.appendMessage(nil, 0, n)); err != nil {
					t.Fatal(err)
				}
			}
			f.mu.Lock()
			f.sent = uint64(len(numbers))
			f.mu.Unlock()
			if c, err := l.drain(); err == nil {
				t.Errorf("%+v without an error", c)
			}
		})
	}
}

// TestLongResumeToASlowReader: a device that missed 20,000 messages, far more than the
// server queues for one connection, gets them all, however slowly it reads.
func TestLongResumeToASlowReader(t *testing.T) {
	const messages = 20_000
	p, err := newTandem(t.TempDir(), 2)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	}()
	tx, rx, err := p.connect(0)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.close()
	rx.close()
	if err := p.fill(tx, messages); err != nil {
		t.Fatal(err)
	}
	s, w, err := p.join(p.ids[1], 4<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	// With little room on the way, the server feels how slow it is.
	if err := s.nc.(*net.TCPConn).SetReadBuffer(16 << 10); err != nil {
		t.Fatal(err)
	}
	from := w.Sessions[0]
	got, err := p.comeBack(s, from.ID, wire.Resume{Epoch: from.Epoch, Seq: from.Head - messages})
	if err != nil || got != messages {
		t.Errorf("%d of %d messages: %v", got, messages, err)
	}
}

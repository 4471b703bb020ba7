package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// relayed are the relays that are compared, the limit first.
var relayed = []struct {
	name, title string
	start       func(dir string, devices int) (peer, error)
}{
	{"limit", "limit: bare relay in memory", newLimit},
	{"tandem", "Tandem, every message synced", func(dir string, devices int) (peer, error) { return newTandem(dir, devices) }},
	{"centrifuge", "Centrifuge, history in memory", newCentrifuge},
	{"nats", "nats-server's WebSocket, nothing kept", newNATS},
}

// relay measures messages between pairs, first as many as go through, then at a fixed rate.
func relay(b *bench) (err error) {
	loads := make([]*load, len(relayed))
	defer func() {
		for _, l := range loads {
			if l != nil {
				err = errors.Join(err, l.close())
			}
		}
	}()
	for i, r := range relayed {
		p, err := r.start(b.dir, 2*b.pairs)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		b.progress("%s: %d pairs connect", r.name, b.pairs)
		if loads[i], err = newLoad(p, b.pairs, b.packed); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		if t, ok := p.(*tandemPeer); ok {
			b.setup(t.setups)
		}
	}
	for round := range b.rounds {
		for i, r := range relayed {
			t, err := loads[i].profiled(b, r.name, round)
			if err != nil {
				return err
			}
			b.progress("round %d, %s: %.0f acknowledged/s, %.1f µs", round+1, r.name, t.acked, micros(t.processor))
			b.add(r.name+" acked", t.acked)
			b.add(r.name+" delivered", t.delivered)
			b.add(r.name+" cpu", micros(t.processor))
		}
		for i, r := range relayed {
			l, err := loads[i].pace(b.rate, b.time)
			if err != nil {
				return err
			}
			b.progress("round %d, %s: delivery %v, ack %v", round+1, r.name, l.delivery50, l.ack50)
			b.add(r.name+" delivery50", micros(l.delivery50))
			b.add(r.name+" delivery99", micros(l.delivery99))
			b.add(r.name+" ack50", micros(l.ack50))
			b.add(r.name+" ack99", micros(l.ack99))
		}
		sync, err := fdatasync(b.dir, b.time/4)
		if err != nil {
			return err
		}
		b.add("fdatasync50", micros(sync))
	}
	b.relayTables()
	return nil
}

// profiled runs one round; with -profile, the server writes a profile in the last one.
func (l *load) profiled(b *bench, name string, round int) (throughput, error) {
	stop := func() error { return nil }
	if b.profiles != "" && round == b.rounds-1 {
		var err error
		if stop, err = l.server().profile(filepath.Join(b.profiles, name+".pprof")); err != nil {
			return throughput{}, err
		}
	}
	t, err := l.saturate(b.window, b.time)
	return t, errors.Join(err, stop())
}

func (b *bench) setup(s setups) {
	for _, d := range s.socket {
		b.add("setup socket", micros(d))
	}
	for _, d := range s.http {
		b.add("setup http", micros(d))
	}
	for _, d := range s.trip {
		b.add("trip", micros(d))
	}
}

func (b *bench) relayTables() {
	b.printf("## Relay\n\n%d pairs, messages of %d bytes, %d of each sender under way; then %d messages/s, whatever the server does.\n\n", b.pairs, messageBytes, b.window, b.rate)
	b.row("server", "acked/s", "delivered/s", "CPU per message, µs", "delivery p50, µs", "p99", "ack p50, µs", "p99")
	for _, r := range relayed {
		b.row(r.title, b.figure(r.name+" acked", 0), b.figure(r.name+" delivered", 0), b.figure(r.name+" cpu", 1),
			b.figure(r.name+" delivery50", 0), b.figure(r.name+" delivery99", 0), b.figure(r.name+" ack50", 0), b.figure(r.name+" ack99", 0))
	}
	b.endTable()
	b.row("ratio, within each round", "measured", "goal")
	b.row("acked/s, Tandem to the limit", b.ratio("tandem acked", "limit acked"), "≥ 0.8")
	b.row("acked/s, Tandem to Centrifuge", b.ratio("tandem acked", "centrifuge acked"), "≥ 2")
	b.row("acked/s, Tandem to nats-server", b.ratio("tandem acked", "nats acked"), "")
	b.row("CPU per message, Tandem to the limit", b.ratio("tandem cpu", "limit cpu"), "≤ 1.5")
	b.row("CPU per message, Tandem to Centrifuge", b.ratio("tandem cpu", "centrifuge cpu"), "")
	b.row("CPU per message, Tandem to nats-server", b.ratio("tandem cpu", "nats cpu"), "")
	b.row(fmt.Sprintf("delivery p50 at %d/s, Tandem to the limit", b.rate), b.ratio("tandem delivery50", "limit delivery50"), "≤ 2")
	b.row(fmt.Sprintf("ack p50 at %d/s, Tandem to one fdatasync", b.rate), b.ratio("tandem ack50", "fdatasync50"), "≤ 4")
	b.endTable()
	b.printf("One fdatasync of 4 KiB in the same directory, p50: %s µs.\n\n", b.figure("fdatasync50", 0))
	b.printf("## Set-up of a session\n\nFrom the second report to the moment at which both devices have been told; nothing else goes on.\n\n")
	b.row("", "p50, µs", "p99, µs")
	for _, r := range [][2]string{{"setup socket", "second report over the WebSocket"}, {"setup http", "second report over HTTP"}, {"trip", "one round trip (ping, pong)"}} {
		b.row(r[1], b.quantile(r[0], .5), b.quantile(r[0], .99))
	}
	b.endTable()
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }

package main

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
	"github.com/tandem-call/tandem/internal/party"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/wire"
)

// grown are the stored parties of a growth step, as parts of all.
var grown = []int{100, 10, 1}

// growthPairs are the pairs of devices that are active while the others are only stored.
const growthPairs = 50

// growth measures what the same work costs among more and more stored parties, each with
// a device, and sessions: the start, a device that comes, a session's set-up, a message.
func growth(b *bench) (err error) {
	dir := filepath.Join(b.dir, "growth")
	parties := 0
	var rows [][]string
	for _, part := range grown {
		want := max(b.parties/part, 2*growthPairs)
		b.progress("growth: %d parties are stored", want)
		if err := populate(dir, parties, want-parties); err != nil {
			return err
		}
		parties = want
		row, err := b.growthStep(dir, parties)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	b.printf("## How cost grows\n\n%d pairs at work among stored parties, each with a device, and sessions; medians.\n\n", growthPairs)
	b.row("stored parties", "stored sessions", "start, ms", "a device comes, µs", "set-up, µs", "CPU per message, µs", "on the disk, MB")
	for _, r := range rows {
		b.row(r...)
	}
	b.endTable()
	return nil
}

// growthStep runs a server on the directory.
func (b *bench) growthStep(dir string, parties int) (row []string, err error) {
	// The active devices are new ones each time, so that their calls are first ones.
	ids, err := enrol(context.Background(), dir, 5_000_000+parties, 2*growthPairs, false)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	c, err := startChild("tandem", dir)
	if err != nil {
		return nil, err
	}
	start := time.Since(began)
	for _, id := range ids {
		id.Server = "http://" + c.addr
	}
	p := &tandemPeer{child: c, ids: ids, sessions: make([]wire.SessionID, growthPairs)}
	l, err := newLoad(p, growthPairs, false)
	defer func() { err = errors.Join(err, l.close()) }()
	if err != nil {
		return nil, err
	}
	var comes []time.Duration
	for _, id := range ids {
		began := time.Now()
		s, _, err := p.join(id, 512)
		if err != nil {
			return nil, err
		}
		comes = append(comes, time.Since(began))
		s.close()
	}
	var cpu []float64
	for range b.rounds {
		t, err := l.saturate(b.window, b.time/2)
		if err != nil {
			return nil, err
		}
		cpu = append(cpu, micros(t.processor))
	}
	disk, err := sizeOf(dir)
	if err != nil {
		return nil, err
	}
	setup := append(p.setups.socket, p.setups.http...)
	g := growthFigures{
		float64(parties), micros(start) / 1e3, micros(quantile(comes, .5)), micros(quantile(setup, .5)), quantile(cpu, .5),
	}
	b.growth = append(b.growth, g)
	return []string{
		number(g.parties, 0), number(g.parties/2, 0), number(g.start, 0), number(g.comes, 0),
		number(g.setup, 0), number(g.cpu, 1), number(float64(disk)/1e6, 0),
	}, nil
}

// growthFigures are a step's, for the picture.
type growthFigures struct{ parties, start, comes, setup, cpu float64 }

// populate stores parties with a device each, and half as many sessions, without waiting
// for the disk.
func populate(dir string, from, n int) (err error) {
	if _, err := enrol(context.Background(), dir, from, n, true); err != nil {
		return err
	}
	e, err := pebblestore.Open(pebblestore.Options{Dir: filepath.Join(dir, server.StoreDir), Relaxed: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	s, err := sessionsOn(e, party.New(e, nil), wire.DefaultLimits)
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(256)
	for i := from; i < from+n-1; i += 2 {
		g.Go(func() error {
			a, b := numberOf(i).Identity(), numberOf(i+1).Identity()
			return s.Open(context.Background(), session.Opening{
				Tenant: wire.DefaultTenant, ID: wire.SessionID(wire.NewID("s_")), At: time.Now(),
				Sides: []session.OpeningSide{
					{Principal: a, Shown: a, Devices: []wire.DeviceID{deviceOf(a)}},
					{Principal: b, Shown: b, Devices: []wire.DeviceID{deviceOf(b)}},
				},
			})
		})
	}
	return g.Wait()
}

// sizeOf is what the files below a directory take, in bytes.
func sizeOf(dir string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, f fs.DirEntry, err error) error {
		if err == nil && !f.IsDir() {
			var i fs.FileInfo
			if i, err = f.Info(); err == nil {
				bytes += i.Size()
			}
		}
		return err
	})
	return bytes, err
}

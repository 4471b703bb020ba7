package main

import (
	"errors"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// silence is how long the devices have been idle when the memory is measured.
const silence = 4 * time.Second

// idle measures the memory of devices that are connected and say nothing: what the
// server holds with them and without, after a collection of garbage each, without what
// the kernel keeps for a connection. They come twice: at first they also bring what is
// there once, such as the engine's cache; the second time shows what each one costs.
func idle(b *bench) (err error) {
	p, err := newTandem(b.dir+"/idle", b.idle)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	for _, name := range []string{"idle first", "idle"} {
		before, err := p.memory()
		if err != nil {
			return err
		}
		sockets, err := p.joinAll()
		if err != nil {
			return err
		}
		time.Sleep(silence)
		after, err := p.memory()
		if err == nil && b.profiles != "" {
			err = p.heap(filepath.Join(b.profiles, "idle.pprof"))
		}
		if err != nil {
			return err
		}
		for _, s := range sockets {
			s.close()
		}
		time.Sleep(silence)
		b.add(name, float64(after-before)/float64(len(p.ids)))
		b.add("idle all", float64(after)/1e6)
	}
	b.printf("## Idle devices\n\n%s connected, authenticated, silent: **%s bytes** of the server's memory for each (goal: ≤ 2,048), ",
		number(float64(len(p.ids)), 0), b.quantile("idle", .5))
	b.printf("%s the first time, when the caches fill; %s MB in all.\n\n", b.quantile("idle first", .5), b.quantile("idle all", .5))
	return nil
}

// joinAll connects all devices.
func (p *tandemPeer) joinAll() ([]*socket, error) {
	sockets := make([]*socket, len(p.ids))
	var g errgroup.Group
	g.SetLimit(64)
	for i := range sockets {
		g.Go(func() (err error) {
			sockets[i], _, err = p.join(p.ids[i], 512)
			return err
		})
	}
	return sockets, g.Wait()
}

package main

import (
	"errors"

	"golang.org/x/sync/errgroup"
)

// idle measures the memory of devices that are connected and say nothing: what the
// server holds with them and without, after a collection of garbage each, without TLS and
// without what the kernel keeps for a connection.
func idle(b *bench) (err error) {
	p, err := newTandem(b.dir+"/idle", b.idle)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	// The first one brings what there is once.
	first, _, err := p.join(p.ids[0], 512)
	if err != nil {
		return err
	}
	defer first.close()
	before, err := p.memory()
	if err != nil {
		return err
	}
	sockets := make([]*socket, len(p.ids))
	var g errgroup.Group
	g.SetLimit(64)
	for i := 1; i < len(p.ids); i++ {
		g.Go(func() (err error) {
			sockets[i], _, err = p.join(p.ids[i], 512)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	after, err := p.memory()
	if err != nil {
		return err
	}
	for _, s := range sockets[1:] {
		s.close()
	}
	b.add("idle", float64(after-before)/float64(len(p.ids)-1))
	b.printf("## Idle devices\n\n%s connected, authenticated, silent: **%s bytes** of the server's memory for each (goal: ≤ 2,048); %s MB in all.\n\n",
		number(float64(len(p.ids)), 0), b.quantile("idle", .5), number(float64(after)/1e6, 0))
	return nil
}

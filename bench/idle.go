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
// A quarter as many come over TLS that ends at the server.
func idle(b *bench) error {
	devices, secure := b.idle, max(b.idle/4, 1)
	if err := b.idleAs("tandem", devices); err != nil {
		return err
	}
	if err := b.idleAs(overTLS, secure); err != nil {
		return err
	}
	b.printf("## Idle devices\n\n%s connected, authenticated, silent: **%s bytes** of the server's memory for each (goal: ≤ 2,048), ",
		number(float64(devices), 0), b.quantile("tandem idle", .5))
	b.printf("%s the first time, when the caches fill; %s MB in all. With TLS that ends at the server, %s of them: **%s bytes** for each, and ",
		b.quantile("tandem idle first", .5), b.quantile("tandem idle all", .5), number(float64(secure), 0), b.quantile(overTLS+" idle", .5))
	b.printf("%s µs of its processor time to come instead of %s.\n\n", b.quantile(overTLS+" comes", .5), b.quantile("tandem comes", .5))
	return nil
}

// idleAs measures it with a server in one of its roles.
func (b *bench) idleAs(role string, devices int) (err error) {
	p, err := newTandemAs(role, filepath.Join(b.dir, "idle"), devices)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	for _, which := range []string{" first", ""} {
		before, err := p.memory()
		if err != nil {
			return err
		}
		cpu, err := p.processor()
		if err != nil {
			return err
		}
		sockets, err := p.joinAll()
		if err != nil {
			return err
		}
		spent, err := p.processor()
		if err != nil {
			return err
		}
		time.Sleep(silence)
		after, err := p.memory()
		if err == nil && b.profiles != "" {
			err = p.heap(filepath.Join(b.profiles, role+"-idle.pprof"))
		}
		if err != nil {
			return err
		}
		for _, s := range sockets {
			s.close()
		}
		time.Sleep(silence)
		each := float64(after-before) / float64(devices)
		b.progress("%d idle at %s%s: %.0f bytes each", devices, role, which, each)
		b.add(role+" idle"+which, each)
		b.add(role+" idle all", float64(after)/1e6)
		b.add(role+" comes", micros(spent-cpu)/float64(devices))
	}
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

package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/client/nearby"
	"github.com/tandem-call/tandem/wire"
)

// hereEvery is how often a device says that it is here, at least; more often where a lease is short.
const hereEvery = 20 * time.Second

// linksEvery is how often a device looks which links it has.
const linksEvery = time.Minute

// findWithin is how long the other device has to answer on a local link.
const findWithin = 500 * time.Millisecond

// stayNear says again and again that this device is here, for its temporary couplings, with
// which it is coupled or which it vouches for.
func stayNear(ctx context.Context, api *client.API, me *client.Identity, networks []string, log *slog.Logger) {
	for {
		wait, err := here(ctx, api, me, networks)
		if err != nil && ctx.Err() == nil {
			log.Warn("the server was not told that this device is here", "err", err)
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

// here says it once, and returns how long to wait.
func here(ctx context.Context, api *client.API, me *client.Identity, networks []string) (time.Duration, error) {
	wait := hereEvery
	var l wire.CouplingList
	if err := api.Call(ctx, "GET", "/v1/couplings", nil, &l); err != nil {
		return wait, err
	}
	var errs []error
	for _, c := range l.Couplings {
		if c.Kind != wire.Temporary {
			continue
		}
		link := false
		if c.Device != me.Device && c.Key != nil { // the phone's side
			var err error
			link, err = nearby.Find(ctx, *c.Key, findWithin, networks...)
			errs = append(errs, err)
		}
		c, err := api.Near(ctx, c.ID, link)
		if errs = append(errs, err); err == nil {
			wait = min(wait, max(time.Second, time.Until(c.Expires)/3))
		}
	}
	return wait, errors.Join(errs...)
}

// awaitNear waits until a device that is away from its telephone has found it again. It
// returns false where it never will: it is coupled with none, or ctx has ended.
func awaitNear(ctx context.Context, api *client.API, id *client.Identity, log *slog.Logger) bool {
	for {
		list, err := api.Here(ctx, id)
		var p *wire.Problem
		switch {
		case errors.As(err, &p) && !wire.Catalogue[p.Code].Retry:
			return false
		case err != nil && ctx.Err() == nil:
			log.Warn("the server was not told that this device is here", "err", err)
		case err == nil && len(list) == 0:
			return false
		}
		for _, c := range list {
			if !c.Apart {
				return true
			}
		}
		if !sleep(ctx, hereEvery/4) {
			return false
		}
	}
}

// answerNear answers on local links for as long as the device runs, whether it is away or not.
func answerNear(ctx context.Context, id *client.Identity, networks []string, log *slog.Logger) {
	for {
		now, end := context.WithTimeout(ctx, linksEvery)
		err := nearby.Answer(now, id.Key, id.PublicKey(), networks...)
		end()
		if err != nil {
			log.Warn("this device is not found on local links", "err", err)
			sleep(ctx, hereEvery)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/wire"
)

// hereEvery is how often a device says that it is here, at least; more often where a lease is short.
const hereEvery = 20 * time.Second

// stayNear says again and again that this device is here, for its temporary couplings, with
// which it is coupled or which it vouches for.
func stayNear(ctx context.Context, api *client.API, log *slog.Logger) {
	for {
		wait, err := here(ctx, api)
		if err != nil && ctx.Err() == nil {
			log.Warn("the server was not told that this device is here", "err", err)
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

// here says it once, and returns how long to wait.
func here(ctx context.Context, api *client.API) (time.Duration, error) {
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
		c, err := api.Near(ctx, c.ID, false)
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

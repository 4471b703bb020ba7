package device

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/tandem-call/tandem/internal/ipnet"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// ErrTooMany: a limit on one-time codes is used up. The error is a [*TooMany].
var ErrTooMany = errors.New("device: too many codes asked for")

// TooMany says when the next code can be asked for.
type TooMany struct{ RetryAfter time.Duration }

// Error makes TooMany an error.
func (e *TooMany) Error() string {
	return fmt.Sprintf("%v; try again in %v", ErrTooMany, e.RetryAfter.Round(time.Second))
}

// Is makes errors.Is(err, ErrTooMany) hold.
func (e *TooMany) Is(target error) bool { return target == ErrTooMany }

// usage is how much of its quotas a number or an address has used. It is a record rather
// than an engine's counter so that it can be swept: a counter stays for ever, and its
// name would keep the number.
type usage struct {
	Windows []window `json:"windows"`
}

type window struct {
	Start  time.Time     `json:"start"`
	Period time.Duration `json:"period"`
	Used   int           `json:"used"`
}

type quota struct {
	period time.Duration
	max    int
}

// limit takes one from the address's quota and one from the number's, in this order, so
// that an address without quota cannot use up a number's. Callers without an address share one. *TooMany.
func (r *Registry) limit(ctx context.Context, tenant wire.TenantID, n tel.Number, remote netip.Addr) error {
	if r.cfg.Unlimited != nil && r.cfg.Unlimited(n) {
		return nil
	}
	if err := r.take(ctx, store.Key(string(tenant), "address", cmp.Or(ipnet.Of(remote), "none")), quota{time.Hour, r.cfg.AddressPerHour}); err != nil {
		return err
	}
	return r.take(ctx, store.Key(string(tenant), "number", n.String()),
		quota{time.Hour, r.cfg.NumberPerHour}, quota{24 * time.Hour, r.cfg.NumberPerDay})
}

// take counts one use against all quotas, or against none. A window begins with its first
// use. After an uncertain write one use may count twice.
func (r *Registry) take(ctx context.Context, key string, quotas ...quota) error {
	_, err := store.Change(ctx, r.limits, key, func(u usage, _ bool) (usage, bool, error) {
		next, err := u.take(r.cfg.Now(), quotas)
		return next, err == nil, err
	})
	if err != nil && !ours(err) {
		err = fmt.Errorf("device: count a code: %w", err)
	}
	return err
}

func (u usage) take(now time.Time, quotas []quota) (usage, error) {
	next := usage{Windows: make([]window, len(quotas))}
	var wait time.Duration
	for i, q := range quotas {
		w := window{Start: now, Period: q.period}
		if i < len(u.Windows) && u.Windows[i].Period == q.period && now.Sub(u.Windows[i].Start) < q.period {
			w = u.Windows[i]
		}
		if w.Used >= q.max {
			wait = max(wait, w.Start.Add(q.period).Sub(now))
		}
		w.Used++
		next.Windows[i] = w
	}
	if wait > 0 {
		return u, &TooMany{wait}
	}
	return next, nil
}

// over reports whether the record no longer limits anything.
func (u usage) over(now time.Time) bool {
	for _, w := range u.Windows {
		if now.Sub(w.Start) < w.Period {
			return false
		}
	}
	return true
}

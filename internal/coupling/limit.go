package coupling

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/store"
)

// usage counts what was done under a key since an hour began with the first of it.
type usage struct {
	Start time.Time `json:"start"`
	Used  int       `json:"used"`
}

func (u usage) over(now time.Time) bool { return now.Sub(u.Start) >= time.Hour }

// wait returns how long until one more is allowed; zero: now.
func (u usage) wait(now time.Time, quota int) time.Duration {
	if u.over(now) || u.Used < quota {
		return 0
	}
	return u.Start.Add(time.Hour).Sub(now)
}

// take counts one against an hour's quota. *device.TooMany where it is used up.
func (s *Service) take(ctx context.Context, key string, quota int) error {
	_, err := store.Change(ctx, s.limits, key, func(u usage, _ bool) (usage, bool, error) {
		now := s.cfg.Now()
		if w := u.wait(now, quota); w > 0 {
			return u, false, &device.TooMany{RetryAfter: w}
		}
		if u.over(now) {
			u = usage{Start: now}
		}
		u.Used++
		return u, true, nil
	})
	if err != nil && !errors.Is(err, device.ErrTooMany) {
		err = fmt.Errorf("coupling: count: %w", err)
	}
	return err
}

// left looks whether something is left of a quota. *device.TooMany.
func (s *Service) left(ctx context.Context, key string, quota int) error {
	u, _, err := s.limits.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	} else if err != nil {
		return fmt.Errorf("coupling: count: %w", err)
	}
	if w := u.wait(s.cfg.Now(), quota); w > 0 {
		return &device.TooMany{RetryAfter: w}
	}
	return nil
}

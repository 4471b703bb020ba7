package credential

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tandem-call/tandem/internal/store"
)

// Sweep deletes the credentials that were revoked, or expired, so long ago, and returns how
// many: their keys are unknown from then on, which is no less. Call it now and then, on any node.
func (s *Store) Sweep(ctx context.Context, after time.Duration) (n int, err error) {
	before := s.cfg.Now().Add(-after)
	old := func(t time.Time) bool { return !t.IsZero() && t.Before(before) }
	var over []store.Item[Credential]
	for item, err := range s.credentials.Scan(ctx, "") {
		if err != nil {
			return 0, fmt.Errorf("credential: sweep: %w", err)
		}
		if c := item.Value; old(c.RevokedAt) || old(c.Expires) {
			over = append(over, item)
		}
	}
	for _, item := range over {
		// The way to it first: a crash leaves a credential that no key leads to, and it is
		// found here again.
		_, rev, err := s.tenants.Get(ctx, store.Key(item.Value.ID))
		if err == nil {
			err = s.tenants.Delete(ctx, store.Key(item.Value.ID), rev)
		}
		if err == nil || errors.Is(err, store.ErrNotFound) {
			err = s.credentials.Delete(ctx, item.Key, item.Rev)
		}
		switch {
		case err == nil:
			n++
		case !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict):
			return n, fmt.Errorf("credential: sweep: %w", err)
		}
	}
	return n, nil
}

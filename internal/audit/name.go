package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// usedEvery is how often the use of a pseudonym is written down, at most.
const usedEvery = 24 * time.Hour

// nameRecord says under which pseudonym an identity stands, key store.Key(tenant,
// identity). The pseudonym is random: without the record nothing leads back.
type nameRecord struct {
	Pseudonym string    `json:"pseudonym"`
	Used      time.Time `json:"used"`
}

func nameKey(tenant wire.TenantID, id tel.Identity) string {
	return store.Key(string(tenant), id.String())
}

// Pseudonym returns the pseudonym of an identity, and makes one if there is none.
func (l *Log) Pseudonym(ctx context.Context, tenant wire.TenantID, id tel.Identity) (string, error) {
	now := l.cfg.Now()
	fresh := wire.NewID("p_")
	n, err := store.Change(ctx, l.names, nameKey(tenant, id), func(n nameRecord, exists bool) (nameRecord, bool, error) {
		if exists && now.Sub(n.Used) < usedEvery {
			return n, false, nil
		}
		if !exists {
			n.Pseudonym = fresh
		}
		n.Used = now
		return n, true, nil
	})
	if err != nil {
		return "", fmt.Errorf("audit: pseudonym: %w", err)
	}
	return n.Pseudonym, nil
}

// Known returns the pseudonym of an identity; "" if it has none.
func (l *Log) Known(ctx context.Context, tenant wire.TenantID, id tel.Identity) (string, error) {
	n, _, err := l.names.Get(ctx, nameKey(tenant, id))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", fmt.Errorf("audit: pseudonym: %w", err)
	}
	return n.Pseudonym, nil
}

// Erase forgets whose an identity's pseudonym was. It may repeat.
func (l *Log) Erase(ctx context.Context, tenant wire.TenantID, id tel.Identity) error {
	if err := store.Remove(ctx, l.names, nameKey(tenant, id)); err != nil {
		return fmt.Errorf("audit: erase a pseudonym: %w", err)
	}
	return nil
}

// sweepNames forgets pseudonyms that no entry uses any more.
func (l *Log) sweepNames(ctx context.Context) error {
	if l.cfg.Retention == 0 {
		return nil
	}
	old := l.cfg.Now().Add(-l.cfg.Retention - usedEvery)
	var over []store.Item[nameRecord]
	for item, err := range l.names.Scan(ctx, "") {
		if err != nil {
			return fmt.Errorf("audit: sweep pseudonyms: %w", err)
		}
		if item.Value.Used.Before(old) {
			over = append(over, item)
		}
	}
	for _, item := range over {
		err := l.names.Delete(ctx, item.Key, item.Rev)
		if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("audit: sweep pseudonyms: %w", err)
		}
	}
	return nil
}

package webhook

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// intent says that something was about to be changed: table "webhook-intents", key
// store.Key(tenant, subject, time in nanoseconds).
type intent struct {
	Tenant  wire.TenantID `json:"tenant"`
	Subject string        `json:"subject"`
	// At is the time of the change, Written when it was announced.
	At      time.Time `json:"at"`
	Written time.Time `json:"written"`
}

// stale is how old an intent is that nobody is at any more.
const stale = time.Minute

// Announce writes down that the subject is about to be changed, so that the events of the
// change are not lost in a crash; it is for records that cannot carry the events
// themselves. done, called after the change, emits what emit finds in the record as it is
// then; if that fails, or a crash comes first, [Service.Recover] does it later. at is the
// time of the change: the same at each repetition.
func (s *Service) Announce(ctx context.Context, tenant wire.TenantID, subject string, at time.Time) (done func(emit func() error) error, err error) {
	key := store.Key(string(tenant), subject, fmt.Sprintf("%020d", at.UnixNano()))
	_, err = store.Change(ctx, s.intents, key, func(i intent, exists bool) (intent, bool, error) {
		return intent{tenant, subject, at, s.c.Now()}, !exists, nil
	})
	if err != nil {
		return nil, fmt.Errorf("webhook: announce a change: %w", err)
	}
	return func(emit func() error) error {
		if err := emit(); err != nil {
			return err
		}
		return s.finished(ctx, key)
	}, nil
}

func (s *Service) finished(ctx context.Context, key string) error {
	if err := remove(ctx, s.intents, key); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

// Recover emits what was announced and then cut off: emit is to look at the subject, and
// emit what happened to it at the time or later. Call it now and then.
func (s *Service) Recover(ctx context.Context, emit func(ctx context.Context, tenant wire.TenantID, subject string, at time.Time) error) error {
	var old []store.Item[intent]
	for item, err := range s.intents.Scan(ctx, "") {
		if err != nil {
			return fmt.Errorf("webhook: recover: %w", err)
		}
		if s.c.Now().Sub(item.Value.Written) >= stale {
			old = append(old, item)
		}
	}
	for _, item := range old {
		i := item.Value
		if err := emit(ctx, i.Tenant, i.Subject, i.At); err != nil {
			return err
		}
		if err := s.finished(ctx, item.Key); err != nil {
			return err
		}
	}
	return nil
}

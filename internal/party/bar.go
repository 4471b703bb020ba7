package party

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Bar is an operator's block of one identity: its party gets no data sessions.
type Bar struct {
	Identity tel.Identity `json:"identity"`
	// Note says why, for the operator.
	Note  string    `json:"note,omitempty"`
	Since time.Time `json:"since"`
}

// maxNote bounds a note, in bytes.
const maxNote = 256

// Bar bars the identity, whoever it belongs to now or later. It may repeat; the first
// note stays. ErrRequest.
func (d *Directory) Bar(ctx context.Context, tenant wire.TenantID, id tel.Identity, note string) error {
	if id.IsZero() || len(note) > maxNote {
		return fmt.Errorf("%w: a bar needs an identity, and a note of at most %d bytes", ErrRequest, maxNote)
	}
	_, err := store.Change(ctx, d.bars, keyOf(tenant, id), func(b Bar, exists bool) (Bar, bool, error) {
		if exists {
			return b, false, nil
		}
		return Bar{id, note, d.now()}, true, nil
	})
	if err != nil {
		return fmt.Errorf("party: bar: %w", err)
	}
	return nil
}

// Unbar takes the bar back. ErrNotFound.
func (d *Directory) Unbar(ctx context.Context, tenant wire.TenantID, id tel.Identity) error {
	_, _, err := d.bars.Get(ctx, keyOf(tenant, id))
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: it is not barred", ErrNotFound)
	}
	if err == nil {
		err = store.Remove(ctx, d.bars, keyOf(tenant, id))
	}
	if err != nil {
		return fmt.Errorf("party: unbar: %w", err)
	}
	return nil
}

// Bars lists what is barred, in the order of the identities.
func (d *Directory) Bars(ctx context.Context, tenant wire.TenantID) ([]Bar, error) {
	var all []Bar
	for item, err := range d.bars.Scan(ctx, store.Key(string(tenant))+"/") {
		if err != nil {
			return nil, fmt.Errorf("party: list bars: %w", err)
		}
		all = append(all, item.Value)
	}
	return all, nil
}

// Barred reports whether one of the identities of the party that id names is barred. The
// zero identity never is.
func (d *Directory) Barred(ctx context.Context, tenant wire.TenantID, id tel.Identity) (bool, error) {
	if id.IsZero() {
		return false, nil
	}
	all, err := d.Identities(ctx, tenant, id)
	if err != nil {
		return false, err
	}
	for _, id := range append(all, id) {
		if _, _, err := d.bars.Get(ctx, keyOf(tenant, id)); err == nil {
			return true, nil
		} else if !errors.Is(err, store.ErrNotFound) {
			return false, fmt.Errorf("party: look up a bar: %w", err)
		}
	}
	return false, nil
}

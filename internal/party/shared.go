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

// SharedKind says why many people stand behind one identity.
type SharedKind string

// Kinds of shared identity.
const (
	Trunk         SharedKind = "trunk"          // a company's exchange
	ContactCentre SharedKind = "contact_centre" // a provider's service number
	Conference    SharedKind = "conference"     // a conference bridge's number
)

// SharedIdentity is an identity behind which stand several people at once, so that two
// calls with it need more than the identity to be told apart (DESIGN section 3).
type SharedIdentity struct {
	Identity tel.Identity `json:"identity"`
	Kind     SharedKind   `json:"kind"`
	// Note for the operator.
	Note   string    `json:"note,omitempty"`
	Marked time.Time `json:"marked"`
}

// MarkShared marks an identity as shared, or changes the mark. ErrRequest.
func (d *Directory) MarkShared(ctx context.Context, tenant wire.TenantID, id tel.Identity, kind SharedKind, note string) error {
	if id.IsZero() {
		return fmt.Errorf("%w: no identity", ErrRequest)
	}
	if kind != Trunk && kind != ContactCentre && kind != Conference {
		return fmt.Errorf("%w: unknown kind of shared identity %q; use trunk, contact_centre or conference", ErrRequest, kind)
	}
	if len(note) > 256 {
		return fmt.Errorf("%w: a note has at most 256 bytes", ErrRequest)
	}
	_, err := store.Change(ctx, d.shared, keyOf(tenant, id), func(SharedIdentity, bool) (SharedIdentity, bool, error) {
		return SharedIdentity{id, kind, note, d.now()}, true, nil
	})
	if err != nil {
		return fmt.Errorf("party: mark %s as shared: %w", id.Mask(), err)
	}
	return nil
}

// UnmarkShared takes the mark away. It may repeat.
func (d *Directory) UnmarkShared(ctx context.Context, tenant wire.TenantID, id tel.Identity) error {
	if err := store.Remove(ctx, d.shared, keyOf(tenant, id)); err != nil {
		return fmt.Errorf("party: unmark %s: %w", id.Mask(), err)
	}
	return nil
}

// Shared reports whether an identity, or its party's principal, is marked as shared.
func (d *Directory) Shared(ctx context.Context, tenant wire.TenantID, id tel.Identity) (bool, error) {
	if id.IsZero() {
		return false, nil
	}
	principal, err := d.Principal(ctx, tenant, id)
	if err != nil {
		return false, err
	}
	return d.SharedName(ctx, tenant, id, principal)
}

// SharedName is Shared for who knows the identity's principal already.
func (d *Directory) SharedName(ctx context.Context, tenant wire.TenantID, id, principal tel.Identity) (bool, error) {
	for _, i := range distinct(id, principal) {
		_, _, err := d.shared.Get(ctx, keyOf(tenant, i))
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return false, fmt.Errorf("party: look up %s: %w", i.Mask(), err)
		}
	}
	return false, nil
}

// ListShared returns all marks of a tenant.
func (d *Directory) ListShared(ctx context.Context, tenant wire.TenantID) ([]SharedIdentity, error) {
	var all []SharedIdentity
	for item, err := range d.shared.Scan(ctx, store.Key(string(tenant))+"/") {
		if err != nil {
			return nil, fmt.Errorf("party: list shared identities: %w", err)
		}
		all = append(all, item.Value)
	}
	return all, nil
}

func distinct(a, b tel.Identity) []tel.Identity {
	if a == b {
		return []tel.Identity{a}
	}
	return []tel.Identity{a, b}
}

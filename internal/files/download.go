package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/tandem-call/tandem/wire"
)

// Download opens a stored file for device, which must be its owner or a member to whom
// it was addressed. The caller closes the content. ErrNotFound, in all other cases alike.
func (s *Service) Download(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, id wire.FileID) (Record, Content, error) {
	return s.open(ctx, tenant, device, id, Contents)
}

// Preview opens the small picture of a file, as Download does the file.
func (s *Service) Preview(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, id wire.FileID) (Record, Content, error) {
	return s.open(ctx, tenant, device, id, Previews)
}

func (s *Service) open(ctx context.Context, tenant wire.TenantID, device wire.DeviceID, id wire.FileID, a Area) (Record, Content, error) {
	r, _, err := s.get(ctx, tenant, id)
	if err != nil {
		return r, nil, err
	}
	if r.State != Stored || a == Previews && r.Preview == "" {
		return r, nil, ErrNotFound
	}
	member, err := s.c.Access.Member(ctx, tenant, device, r.Session)
	switch {
	case errors.Is(err, ErrNotMember):
		return r, nil, ErrNotFound
	case err != nil:
		return r, nil, err
	case r.Owner != device && len(r.To) > 0 && !slices.Contains(r.To, member):
		return r, nil, ErrNotFound
	}
	c, err := s.c.Disk.Open(a, id)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return r, nil, fmt.Errorf("files: open %s: %w", id, err)
	}
	return r, c, nil
}

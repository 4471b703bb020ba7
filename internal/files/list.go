package files

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/tandem-call/tandem/wire"
)

// OfSession lists the files of a session, by name.
func (s *Service) OfSession(ctx context.Context, tenant wire.TenantID, session wire.SessionID) ([]Record, error) {
	var all []Record
	ids, err := s.idsOf(ctx, sessionKey{tenant, session})
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		r, _, err := s.get(ctx, tenant, id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b Record) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

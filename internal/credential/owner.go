package credential

import (
	"slices"

	"github.com/tandem-call/tandem/wire"
)

// Owner is who manages what belongs to numbers: an operator all of a tenant's, a provider's key
// what lies in its ranges. The zero Owner manages nothing.
type Owner struct {
	Tenant wire.TenantID
	// All: those of the whole tenant.
	All bool
	// Ranges as [ParseRange] writes them.
	Ranges []string
}

// Has reports whether all of the numbers, as [ParseRange] writes them, are the owner's.
func (o Owner) Has(numbers []string) bool {
	if o.All {
		return true
	}
	return len(numbers) > 0 && !slices.ContainsFunc(numbers, func(n string) bool { return !Within(n, o.Ranges) })
}

// ParseRanges brings ranges into canonical form, sorted, each once. ErrRequest.
func ParseRanges(list []string) ([]string, error) {
	ranges := make([]string, len(list))
	for i, text := range list {
		r, err := ParseRange(text)
		if err != nil {
			return nil, err
		}
		ranges[i] = r
	}
	slices.Sort(ranges)
	return slices.Compact(ranges), nil
}

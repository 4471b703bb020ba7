package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tandem-call/tandem/internal/store"
)

var errBroken = errors.New("the disk has failed")

// failing is a table that cannot be read any more once a write has failed.
type failing struct {
	put    error
	failed bool
}

func (f *failing) Get(context.Context, string) (int, store.Rev, error) {
	if f.failed {
		return 0, 0, errBroken
	}
	return 1, 1, nil
}

func (f *failing) Put(context.Context, string, int, store.Rev) (store.Rev, error) {
	f.failed = true
	return 0, f.put
}

// TestChangeOutcomeUnknown: who cannot read back what a write has come to does not know it, and says so: callers take back what was not
// stored, and only that.
func TestChangeOutcomeUnknown(t *testing.T) {
	for _, c := range []struct {
		put     error
		unknown bool
	}{{store.ErrUncertain, true}, {store.ErrConflict, false}} {
		_, err := store.Change(t.Context(), &failing{put: c.put}, "k", func(int, bool) (int, bool, error) { return 2, true, nil })
		if !errors.Is(err, errBroken) || errors.Is(err, store.ErrUncertain) != c.unknown {
			t.Errorf("after %v: %v", c.put, err)
		}
	}
}

package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
	"github.com/tandem-call/tandem/internal/store"
)

// What an operator does to a data directory while no server runs on it.

// VerifyData reads everything in the store of a data directory. Damage comes back as
// errors that are store.ErrDamaged, joined, with a report of what could be read.
func VerifyData(ctx context.Context, data string) (pebblestore.Report, error) {
	r, err := pebblestore.Verify(ctx, pebblestore.Options{Dir: filepath.Join(data, StoreDir)})
	return r, explainLock(data, err)
}

// RepairData makes a damaged store open again; with accept, without the acknowledged
// data that is lost.
func RepairData(ctx context.Context, data string, accept bool) (pebblestore.Repaired, error) {
	r, err := pebblestore.Repair(ctx, pebblestore.Options{Dir: filepath.Join(data, StoreDir)}, pebblestore.Loss(accept))
	return r, explainLock(data, err)
}

// RestoreData makes the data directory, which must be empty or absent, from a backup.
func RestoreData(ctx context.Context, backup, data string) error {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fmt.Errorf("server: restore: %w", err)
	}
	there, err := os.ReadDir(data)
	if err != nil {
		return fmt.Errorf("server: restore: %w", err)
	}
	if len(there) > 0 {
		return fmt.Errorf("server: restore: %s is not empty; name a new directory: %w", data, os.ErrExist)
	}
	for _, dir := range []string{"contents", "previews"} {
		if err := copyTree(filepath.Join(backup, FilesDir, dir), filepath.Join(data, FilesDir, dir)); err != nil {
			return err
		}
	}
	// The store comes last: with it the directory is complete.
	return pebblestore.Restore(ctx, filepath.Join(backup, StoreDir), pebblestore.Options{Dir: filepath.Join(data, StoreDir)})
}

func explainLock(data string, err error) error {
	if errors.Is(err, store.ErrLocked) {
		return fmt.Errorf("server: a server is running on %s; stop it first: %w", data, err)
	}
	return err
}

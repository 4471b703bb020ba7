package store

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"
)

// WorkOn calls do for each record of a table of tasks, at most atOnce of them at the same time,
// and returns what failed.
func WorkOn[T any](ctx context.Context, t Table[T], atOnce int, do func(context.Context, Item[T]) error) error {
	var g errgroup.Group
	g.SetLimit(atOnce)
	var mu sync.Mutex
	var all error
	for item, err := range t.Scan(ctx, "") {
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		g.Go(func() error {
			err := do(ctx, item)
			mu.Lock()
			defer mu.Unlock()
			all = errors.Join(all, err)
			return nil
		})
	}
	_ = g.Wait() // all has what failed
	return all
}

// Finish takes a task that was done off its table. again: it was set anew meanwhile, and stays.
func Finish[T any](ctx context.Context, t Table[T], task Item[T]) (again bool, err error) {
	err = t.Delete(ctx, task.Key, task.Rev)
	switch {
	case errors.Is(err, ErrConflict):
		return true, nil
	case errors.Is(err, ErrNotFound): // somebody else has done it, too
		return false, nil
	}
	return false, err
}

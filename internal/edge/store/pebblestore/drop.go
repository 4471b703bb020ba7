package pebblestore

import (
	"context"

	"github.com/cockroachdb/pebble/v2"
)

// drop removes a log, and raises the epoch for logs that begin after it: a log of the
// same name must not get the epochs that this one had.
type drop struct {
	log   *logState
	epoch uint64
	done  chan error
}

func (d *drop) write(b *pebble.Batch, _ uint64) {
	e := &d.log.logs.store.epochs
	e.last++
	d.epoch = e.last
	// Both fail only on a batch that is already committed.
	_ = b.Set(epochKey, append(number(e.last), number(e.floor)...), nil)
	prefix := logPrefix(d.log.name, 0)
	prefix = prefix[:len(prefix)-1]
	_ = b.DeleteRange(prefix, after(prefix), nil)
}

func (d *drop) finish(err error) {
	l := d.log
	l.mu.Lock()
	if err == nil {
		l.logs.store.epochs.now.Store(d.epoch)
		l.seq, l.durable, l.shown, l.epochs = 0, 0, 0, nil
	}
	close(l.dropping)
	l.dropping = nil
	l.mu.Unlock()
	l.logs.release(l)
	d.done <- err
}

// DropLog removes a log and its epochs, as store.Engine says.
func (s *Store) DropLog(ctx context.Context, name string) error {
	l, leave, err := s.useLog(ctx, name)
	if err != nil {
		return err
	}
	defer leave()
	free, err := s.admit(ctx, len(name), true)
	if err != nil {
		return err
	}
	defer free()
	d := &drop{log: l, done: make(chan error, 1)}
	if begun, err := l.drop(ctx, d); !begun {
		return err
	}
	select {
	case err := <-d.done:
		return err
	case <-ctx.Done():
		return uncertain(ctx)
	}
}

// drop queues the drop, unless there is nothing to be dropped.
func (l *logState) drop(ctx context.Context, d *drop) (begun bool, err error) {
	if err := l.ready(ctx); err != nil {
		return false, err
	}
	defer l.mu.Unlock()
	if len(l.epochs) == 0 {
		return false, nil
	}
	if err := l.logs.store.commits.submit(d); err != nil {
		return false, err
	}
	l.logs.retain(l)
	l.dropping = make(chan struct{})
	return true, nil
}

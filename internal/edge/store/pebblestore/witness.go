package pebblestore

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// witnessInterval is how far the witness file may lag behind the acknowledgements.
const witnessInterval = 200 * time.Millisecond

// witness keeps a file outside Pebble that says which commit was acknowledged last. If
// Pebble's log loses its end, or is gone, Pebble opens without a word; a store that has
// less than its witness says does not open.
type witness struct {
	files vfs.FS
	dir   string
	epoch func() uint64 // the last epoch that is durable
	sync  func() error  // makes what was noted durable, where it is not yet
	log   func(error)

	noted   atomic.Uint64
	done    atomic.Uint64 // what the file says
	failure atomic.Pointer[error]
	wake    chan struct{}
	stop    chan struct{}
	wg      sync.WaitGroup
}

func (w *witness) start() {
	w.wake, w.stop = make(chan struct{}, 1), make(chan struct{})
	w.wg.Go(w.run)
}

// note takes down that all up to this number is acknowledged.
func (w *witness) note(number uint64) {
	w.noted.Store(number)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run writes the file when there is news, and then not for a while.
func (w *witness) run() {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-w.wake:
		case <-w.stop:
			return
		}
		select {
		case <-pause.C:
		case <-w.stop:
			return
		}
		if n := w.noted.Load(); n != w.done.Load() {
			err := w.sync()
			if err == nil {
				err = w.write(testimony{commit: n, epoch: w.epoch()})
			}
			w.settle(n, err)
		}
		pause.Reset(witnessInterval)
	}
}

// settle takes down how a write went. While the file cannot be written the store takes
// no writes; the next try is on its way.
func (w *witness) settle(n uint64, err error) {
	if err == nil {
		w.done.Store(n)
		w.failure.Store(nil)
		return
	}
	err = fmt.Errorf("pebblestore: cannot write the witness file: %w", err)
	if w.failure.Swap(&err) == nil {
		w.log(err)
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *witness) write(t testimony) error {
	return writeFile(w.files, w.files.PathJoin(w.dir, witnessFile), t.String())
}

// writeClean writes the exact testimony of a store that is closed.
func (w *witness) writeClean(number uint64) error {
	err := w.write(testimony{commit: number, epoch: w.epoch(), clean: true})
	if err == nil {
		w.done.Store(number)
	}
	return err
}

func (w *witness) err() error {
	if err := w.failure.Load(); err != nil {
		return *err
	}
	return nil
}

func (w *witness) written() uint64 { return w.done.Load() }

// close ends the writing.
func (w *witness) close() {
	close(w.stop)
	w.wg.Wait()
}

package pebblestore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tandem-call/tandem/internal/store"
)

// logState is what is kept in memory of a log while it is used. Sequences are given
// out under mu, in the order in which the appends are queued; reads show entries up to
// durable only.
type logState struct {
	logs *logs
	name string

	mu       sync.Mutex
	loaded   bool
	seq      uint64       // the last that was given out
	durable  uint64       // the last that is durable
	shown    uint64       // the last that watchers have been given
	epochs   []epochStart // rising; the last ones may not be durable yet
	underway []*entry     // from durable+1 to seq
	open     *pack        // waits for its batch, and takes further entries
	watchers []*mailbox[store.Entry]
	dropping chan struct{} // closed when the drop under way is done

	// Guarded by logs.mu.
	users int // operations, entries under way and watchers that need this state
	idle  idleMark
}

// epochStart says that an epoch of a log began after a sequence.
type epochStart struct{ epoch, after uint64 }

// ready locks the log for an operation, with its state loaded and no drop under way.
// The caller unlocks it.
func (l *logState) ready(ctx context.Context) error {
	for {
		l.mu.Lock()
		if l.dropping == nil {
			break
		}
		dropping := l.dropping
		l.mu.Unlock()
		select {
		case <-dropping:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	err := l.logs.store.usable(ctx) // a drop may have failed
	if err == nil && !l.loaded {
		err = l.load()
	}
	if err != nil {
		l.mu.Unlock()
	}
	return err
}

// load reads the state from Pebble. Nothing of this log is under way, else its state
// would be in memory, so all that is there is durable.
func (l *logState) load() error {
	prefix := logPrefix(l.name, epochKind)
	it, err := l.logs.store.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return readError(err)
	}
	defer it.Close()
	var epochs []epochStart
	for ok := it.First(); ok; ok = it.Next() {
		start, err := decodeNumber("start of an epoch", it.Value())
		if err != nil {
			return err
		}
		epoch, err := decodeNumber("epoch", it.Key()[len(prefix):])
		if err != nil {
			return err
		}
		epochs = append(epochs, epochStart{epoch, start})
	}
	if err := it.Error(); err != nil {
		return readError(err)
	}
	prefix = logPrefix(l.name, entryKind)
	it.SetBounds(prefix, after(prefix))
	seq := uint64(0)
	if it.Last() {
		if seq, err = decodeNumber("sequence", it.Key()[len(prefix):]); err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return readError(err)
	}
	if (seq > 0) != (len(epochs) > 0) {
		return fmt.Errorf("pebblestore: log %s has %d epochs and ends at %d: %w", l.name, len(epochs), seq, store.ErrDamaged)
	}
	l.seq, l.durable, l.shown, l.epochs, l.loaded = seq, seq, seq, epochs, true
	return nil
}

// epoch is the epoch that the next entry bears. Since an unclean start, a log that was
// written before it has a new one, even before its first entry.
func (l *logState) epoch() uint64 {
	e := &l.logs.store.epochs
	if len(l.epochs) == 0 {
		return e.now.Load()
	}
	return max(l.epochs[len(l.epochs)-1].epoch, e.floor)
}

// epochDurable says whether the epoch that the next entry bears has been synced.
func (l *logState) epochDurable() bool {
	last := l.lastEpoch()
	return last.epoch == l.epoch() && (last.after < l.durable)
}

func (l *logState) lastEpoch() epochStart {
	if len(l.epochs) == 0 {
		return epochStart{}
	}
	return l.epochs[len(l.epochs)-1]
}

// entry is one append under way; a store.Pending.
type entry struct {
	log   *logState
	first bool // may be shown before it is durable
	store.Entry

	mu      sync.Mutex
	settled bool
	err     error
	done    chan struct{} // made for the first who waits
	fn      func(error)   // the first to be called, nearly always the only one
	fns     []func(error) // the others
}

// size is what the entry was admitted with.
func (e *entry) size() int { return len(e.log.name) + len(e.Data) }

// Seq is the entry's sequence, Epoch its epoch; see store.Pending.
func (e *entry) Seq() uint64 { return e.Entry.Seq }

// Epoch is the entry's epoch.
func (e *entry) Epoch() uint64 { return e.Entry.Epoch }

// settle tells who waits how it went.
func (e *entry) settle(err error) {
	e.mu.Lock()
	e.settled, e.err = true, err
	if e.done != nil {
		close(e.done)
	}
	fn, fns := e.fn, e.fns
	e.fn, e.fns = nil, nil
	e.mu.Unlock()
	if fn != nil {
		fn(err)
	}
	for _, fn := range fns {
		fn(err)
	}
}

// Wait waits until the entry is durable; see store.Pending.
func (e *entry) Wait(ctx context.Context) error {
	e.mu.Lock()
	if e.settled {
		e.mu.Unlock()
		return e.err
	}
	if e.done == nil {
		e.done = make(chan struct{})
	}
	done := e.done
	e.mu.Unlock()
	select {
	case <-done:
		return e.err
	case <-ctx.Done():
		return uncertain(ctx)
	}
}

// Done calls fn when the outcome is known; see store.Pending.
func (e *entry) Done(fn func(error)) {
	e.mu.Lock()
	switch {
	case e.settled:
		e.mu.Unlock()
		fn(e.err)
		return
	case e.fn == nil:
		e.fn = fn
	default:
		e.fns = append(e.fns, fn)
	}
	e.mu.Unlock()
}

// settle takes down that the entries of a pack, the first of those under way, are durable.
func (l *logState) settle(p *pack) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.durable = p.last()
	for _, e := range p.entries {
		if e.Entry.Seq > l.shown {
			l.show(e)
		}
	}
	clear(l.underway[:len(p.entries)])
	l.underway = l.underway[len(p.entries):]
	l.showFirst()
}

// show hands the entry after the last shown one to the watchers.
func (l *logState) show(e *entry) {
	l.shown = e.Seq()
	for _, w := range l.watchers {
		w.put(e.Entry)
	}
}

// showFirst shows what may be shown before it is durable: entries for which all before
// them have been shown, and whose epoch is durable.
func (l *logState) showFirst() {
	for _, e := range l.underway[l.shown-l.durable:] {
		if !e.first || !l.epochDurable() {
			return
		}
		l.show(e)
	}
}

// Append adds an entry to a log, as store.Engine says.
func (s *Store) Append(ctx context.Context, name string, data []byte, d store.Delivery) (store.Pending, error) {
	return s.appendEntry(ctx, name, &entry{first: d == store.DeliverFirst, Entry: store.Entry{Data: data}})
}

// appendEntry adds an entry that has its data, and its time unless that is now.
func (s *Store) appendEntry(ctx context.Context, name string, e *entry) (store.Pending, error) {
	if len(e.Data) > store.MaxValue {
		return nil, fmt.Errorf("pebblestore: log entry of %d bytes: %w", len(e.Data), store.ErrTooLarge)
	}
	l, leave, err := s.useLog(ctx, name)
	if err != nil {
		return nil, err
	}
	defer leave()
	e.log = l
	if err := s.take(ctx, e.size(), false); err != nil {
		return nil, err
	}
	if err := l.append(ctx, e); err != nil {
		s.release(e.size())
		return nil, err
	}
	return e, nil
}

func (l *logState) append(ctx context.Context, e *entry) error {
	if err := l.ready(ctx); err != nil {
		return err
	}
	defer l.mu.Unlock()
	e.Entry.Seq, e.Entry.Epoch = l.seq+1, l.epoch()
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	var newEpoch *epochStart
	if e.Entry.Epoch != l.lastEpoch().epoch {
		newEpoch = &epochStart{e.Entry.Epoch, l.seq}
	}
	if err := l.add(e, newEpoch); err != nil {
		return err
	}
	l.seq++
	if newEpoch != nil {
		l.epochs = append(l.epochs, *newEpoch)
	}
	l.underway = append(l.underway, e)
	if l.shown == e.Seq()-1 {
		l.showFirst()
	}
	return nil
}

// Read returns durable entries after a sequence, as store.Engine says.
func (s *Store) Read(ctx context.Context, name string, from uint64, limit int) ([]store.Entry, error) {
	l, leave, err := s.useLog(ctx, name)
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	if from >= l.durable || limit <= 0 {
		l.mu.Unlock()
		return nil, nil
	}
	// The iterator is of this moment, at which no drop is under way: nothing it shows up
	// to the durable end can be of a later life of the log.
	n := min(uint64(limit), l.durable-from)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: entryKey(name, from+1), UpperBound: entryKey(name, l.durable+1)})
	l.mu.Unlock()
	if err != nil {
		return nil, readError(err)
	}
	defer it.Close()
	entries := make([]store.Entry, 0, min(n, 1024))
	for ok := it.First(); ok && uint64(len(entries)) < n; ok = it.Next() {
		if err := s.usable(ctx); err != nil {
			return nil, err
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, readError(err)
		}
		if entries, err = decodePack(entries, it.Key(), slices.Clone(value)); err != nil {
			return nil, err
		}
		if first := entries[0].Seq; first <= from { // a pack that began before
			entries = entries[from+1-first:]
		}
	}
	if err := it.Error(); err != nil {
		return nil, readError(err)
	}
	return entries[:min(uint64(len(entries)), n)], nil
}

// Head returns the durable end of a log, as store.Engine says.
func (s *Store) Head(ctx context.Context, name string) (store.Head, error) {
	l, leave, err := s.useLog(ctx, name)
	if err != nil {
		return store.Head{}, err
	}
	defer leave()
	if err := l.ready(ctx); err != nil {
		return store.Head{}, err
	}
	defer l.mu.Unlock()
	if l.durable == 0 {
		return store.Head{}, nil
	}
	starts := l.durableEpochs()
	return store.Head{Epoch: starts[len(starts)-1].epoch, Seq: l.durable}, nil
}

// durableEpochs returns the epochs of a log that has a durable entry. The one that was
// begun by an unclean start is durable before the log has an entry that bears it.
func (l *logState) durableEpochs() []epochStart {
	starts := l.epochs
	for len(starts) > 0 && starts[len(starts)-1].after >= l.durable {
		starts = starts[:len(starts)-1]
	}
	if n := len(starts); n > 0 && starts[n-1].epoch < l.logs.store.epochs.floor {
		starts = append(starts[:n:n], epochStart{l.logs.store.epochs.floor, l.durable})
	}
	return starts
}

// Rewind says how far a reader has seen what is in the log, as store.Engine says.
func (s *Store) Rewind(ctx context.Context, name string, epoch, seq uint64) (uint64, error) {
	l, leave, err := s.useLog(ctx, name)
	if err != nil {
		return 0, err
	}
	defer leave()
	for {
		if err := l.ready(ctx); err != nil {
			return 0, err
		}
		if seq <= l.durable || len(l.underway) == 0 {
			break
		}
		e := l.underway[min(seq-l.durable, uint64(len(l.underway)))-1]
		l.mu.Unlock()
		if err := e.Wait(ctx); err != nil {
			return 0, err
		}
	}
	defer l.mu.Unlock()
	starts := l.durableEpochs()
	i := slices.IndexFunc(starts, func(e epochStart) bool { return e.epoch == epoch })
	if i < 0 {
		return 0, nil
	}
	end := l.durable
	if i+1 < len(starts) {
		end = starts[i+1].after
	}
	return min(seq, end), nil
}

// Watch calls fn with what is appended from now on, as store.Engine says.
func (s *Store) Watch(ctx context.Context, name string, fn func(store.Entry)) (cancel func(), err error) {
	l, leave, err := s.useLog(ctx, name)
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	defer l.mu.Unlock()
	s.logs.retain(l)
	w := newMailbox(s.delivery, 0, fn)
	// What has been shown but is not durable would be missed by a read that follows.
	for _, e := range l.underway[:l.shown-l.durable] {
		w.put(e.Entry)
	}
	l.watchers = append(l.watchers, w)
	return sync.OnceFunc(func() {
		l.mu.Lock()
		l.watchers = slices.DeleteFunc(slices.Clone(l.watchers), func(o *mailbox[store.Entry]) bool { return o == w })
		l.mu.Unlock()
		s.logs.release(l)
		w.close()
	}), nil
}

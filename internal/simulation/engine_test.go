package simulation

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tandem-call/tandem/internal/store"
)

// disk is the storage that all nodes share: what is durable, and what is about to be. Only one
// goroutine uses it at a time (see scheduler).
type disk struct {
	tables   map[string]map[string]store.Record
	counters map[string]int64
	rev      store.Rev
	logs     map[string]*journal
	epoch    uint64
	// pending are entries that are not durable yet, in their order. With one node they wait
	// for the disk's sync; with several there are none, since a cluster answers after it stored.
	pending []*entry
	subs    []*subscription
	mail    []*mail
	answers []answer
}

// journal is one log.
type journal struct {
	entries  []*entry
	watchers []*watcher
}

type entry struct {
	store.Entry
	journal *journal
	first   bool // may be shown before it is durable
	durable bool
	owner   *node
	waiting []func(error)
	outcome error
	over    bool
}

// watcher is shown a journal's entries one by one; each showing is a step of its own.
type watcher struct {
	node *node
	next uint64 // sequence after which it has not been shown anything
	fn   func(store.Entry)
	gone bool
}

type subscription struct {
	node    *node
	subject string
	fn      func(string, []byte)
	gone    bool
}

// mail is a publication on its way to one subscriber.
type mail struct {
	to      *subscription
	subject string
	data    []byte
}

// answer is the outcome of an append on its way to who waits for it.
type answer struct {
	owner *node
	fn    func(error)
	err   error
}

func newDisk() *disk {
	return &disk{tables: map[string]map[string]store.Record{}, counters: map[string]int64{}, logs: map[string]*journal{}, epoch: 1}
}

func (d *disk) journal(name string) *journal {
	j := d.logs[name]
	if j == nil {
		j = &journal{}
		d.logs[name] = j
	}
	return j
}

// crash takes away what is not durable, and begins a new epoch, as the embedded engine does.
func (d *disk) crash() {
	for _, e := range d.pending {
		e.journal.entries = slices.DeleteFunc(e.journal.entries, func(o *entry) bool { return o == e })
	}
	d.pending, d.mail, d.answers, d.subs = nil, nil, nil, nil
	for _, j := range d.logs {
		j.watchers = nil
	}
	d.epoch++
}

// sync makes the first n pending entries durable.
func (d *disk) sync(n int) {
	for _, e := range d.pending[:n] {
		e.durable = true
		d.settle(e, nil)
	}
	d.pending = slices.Clone(d.pending[n:])
}

func (d *disk) settle(e *entry, err error) {
	e.over, e.outcome = true, err
	for _, fn := range e.waiting {
		d.answers = append(d.answers, answer{e.owner, fn, err})
	}
	e.waiting = nil
}

// showable returns the next entry that a watcher may be shown.
func (j *journal) showable(w *watcher) *entry {
	for i, e := range j.entries {
		if e.Seq <= w.next {
			continue
		}
		// The first entry of a log in a new epoch is shown when it is durable.
		begins := i == 0 || j.entries[i-1].Epoch != e.Epoch
		if e.durable || e.first && !begins {
			return e
		}
		return nil
	}
	return nil
}

func (j *journal) durable() (l []*entry) {
	for _, e := range j.entries {
		if !e.durable {
			break
		}
		l = append(l, e)
	}
	return l
}

func (j *journal) last() uint64 {
	if len(j.entries) == 0 {
		return 0
	}
	return j.entries[len(j.entries)-1].Seq
}

// engine is the store as one node sees it.
type engine struct {
	*scheduler
	node *node
}

var _ store.Engine = engine{}

var errNoAnswer = errors.New("simulation: the store does not answer")

func (e engine) Get(ctx context.Context, table, key string) (r store.Record, err error) {
	err = e.step(ctx, op{name: "get " + table + "/" + key, fault: errNoAnswer}, func() error {
		var ok bool
		if r, ok = e.disk.tables[table][key]; !ok {
			return store.ErrNotFound
		}
		r.Value = slices.Clone(r.Value)
		return nil
	})
	return r, err
}

func (e engine) Put(ctx context.Context, table, key string, value []byte, at store.Rev) (rev store.Rev, err error) {
	err = e.step(ctx, op{name: "put " + table + "/" + key, fault: store.ErrUncertain, write: true}, func() error {
		t := e.disk.tables[table]
		if t[key].Rev != at {
			return store.ErrConflict
		}
		if t == nil {
			t = map[string]store.Record{}
			e.disk.tables[table] = t
		}
		e.disk.rev++
		rev = e.disk.rev
		t[key] = store.Record{Key: key, Value: slices.Clone(value), Rev: rev}
		return nil
	})
	return rev, err
}

func (e engine) Delete(ctx context.Context, table, key string, at store.Rev) error {
	return e.step(ctx, op{name: "delete " + table + "/" + key, fault: store.ErrUncertain, write: true}, func() error {
		r, ok := e.disk.tables[table][key]
		switch {
		case !ok:
			return store.ErrNotFound
		case r.Rev != at:
			return store.ErrConflict
		}
		delete(e.disk.tables[table], key)
		return nil
	})
}

func (e engine) Scan(ctx context.Context, table, prefix string) iter.Seq2[store.Record, error] {
	return e.ScanAfter(ctx, table, prefix, "")
}

func (e engine) ScanAfter(ctx context.Context, table, prefix, after string) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		var all []store.Record
		err := e.step(ctx, op{name: "scan " + table + "/" + prefix, fault: errNoAnswer}, func() error {
			for _, key := range slices.Sorted(maps.Keys(e.disk.tables[table])) {
				if strings.HasPrefix(key, prefix) && (after == "" || key > after) {
					r := e.disk.tables[table][key]
					r.Value = slices.Clone(r.Value)
					all = append(all, r)
				}
			}
			return nil
		})
		if err != nil {
			yield(store.Record{}, err)
			return
		}
		for _, r := range all {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// appended is a store.Pending.
type appended struct {
	*entry
	s *scheduler
}

func (a appended) Seq() uint64   { return a.entry.Seq }
func (a appended) Epoch() uint64 { return a.entry.Epoch }

func (a appended) Wait(ctx context.Context) error {
	done := make(chan error, 1)
	a.Done(func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return store.ErrUncertain
	}
}

func (a appended) Done(fn func(error)) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	if a.over {
		a.s.disk.answers = append(a.s.disk.answers, answer{a.owner, fn, a.outcome})
		return
	}
	a.waiting = append(a.waiting, fn)
}

func (e engine) Append(ctx context.Context, log string, data []byte, d store.Delivery) (p store.Pending, err error) {
	err = e.step(ctx, op{name: "append " + log, write: true}, func() error {
		j := e.disk.journal(log)
		x := &entry{
			Entry:   store.Entry{Seq: j.last() + 1, Epoch: e.disk.epoch, Data: data, Time: time.Now()},
			journal: j, first: d == store.DeliverFirst, owner: e.node,
		}
		p = appended{x, e.scheduler}
		if e.nodes() == 1 {
			j.entries = append(j.entries, x)
			e.disk.pending = append(e.disk.pending, x)
			return nil
		}
		switch e.verdict() { // of a cluster
		case lostBefore:
			e.disk.settle(x, store.ErrUncertain)
			return nil
		case lostAfter:
			x.durable = true
			j.entries = append(j.entries, x)
			e.disk.settle(x, store.ErrUncertain)
		default:
			x.durable = true
			j.entries = append(j.entries, x)
			e.disk.settle(x, nil)
		}
		return nil
	})
	return p, err
}

func (e engine) Read(ctx context.Context, log string, after uint64, limit int) (l []store.Entry, err error) {
	err = e.step(ctx, op{name: "read " + log, fault: errNoAnswer}, func() error {
		for _, x := range e.disk.journal(log).durable() {
			if x.Seq > after && len(l) < limit {
				l = append(l, x.Entry)
			}
		}
		return nil
	})
	return l, err
}

func (e engine) Head(ctx context.Context, log string) (h store.Head, err error) {
	err = e.step(ctx, op{name: "head " + log, fault: errNoAnswer}, func() error {
		if l := e.disk.journal(log).durable(); len(l) > 0 {
			last := l[len(l)-1]
			h = store.Head{Epoch: last.Epoch, Seq: last.Seq}
		}
		return nil
	})
	return h, err
}

func (e engine) Rewind(ctx context.Context, log string, epoch, seq uint64) (back uint64, err error) {
	j := e.disk.journal(log)
	underWay := func() bool {
		return slices.ContainsFunc(j.entries, func(x *entry) bool { return !x.durable && x.Epoch == epoch && x.Seq <= seq })
	}
	err = e.step(ctx, op{name: "rewind " + log, fault: errNoAnswer, blocked: underWay}, func() error {
		for _, x := range j.entries {
			if x.Epoch == epoch && x.durable {
				back = x.Seq
			}
		}
		back = min(back, seq)
		return nil
	})
	return back, err
}

func (e engine) Watch(ctx context.Context, log string, fn func(store.Entry)) (cancel func(), err error) {
	w := &watcher{node: e.node, fn: fn}
	err = e.step(ctx, op{name: "watch " + log, fault: errNoAnswer}, func() error {
		j := e.disk.journal(log)
		for _, x := range j.entries { // what was durable is not shown; what is about to be may be
			if x.durable {
				w.next = x.Seq
			}
		}
		j.watchers = append(j.watchers, w)
		return nil
	})
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		w.gone = true
	}, err
}

func (e engine) DropLog(ctx context.Context, log string) error {
	return e.step(ctx, op{name: "drop " + log, fault: store.ErrUncertain, write: true}, func() error {
		delete(e.disk.logs, log)
		return nil
	})
}

func (e engine) Add(ctx context.Context, counter string, delta int64) (v int64, err error) {
	err = e.step(ctx, op{name: "add " + counter, fault: store.ErrUncertain, write: true}, func() error {
		e.disk.counters[counter] += delta
		v = e.disk.counters[counter]
		return nil
	})
	return v, err
}

func (e engine) Publish(ctx context.Context, subject string, data []byte) error {
	return e.step(ctx, op{name: "publish " + subject}, func() error {
		for _, s := range e.disk.subs {
			if !s.gone && s.subject == subject {
				e.disk.mail = append(e.disk.mail, &mail{s, subject, data})
			}
		}
		return nil
	})
}

func (e engine) Subscribe(ctx context.Context, subject string, fn func(string, []byte)) (cancel func(), err error) {
	s := &subscription{node: e.node, subject: subject, fn: fn}
	err = e.step(ctx, op{name: "subscribe " + subject}, func() error {
		e.disk.subs = append(e.disk.subs, s)
		return nil
	})
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		s.gone = true
	}, err
}

func (e engine) Durability() string { return "simulated" }
func (e engine) Err() error         { return nil }
func (e engine) Close() error       { return nil }

// op is an operation that a goroutine is about to do.
type op struct {
	name string
	// fault is what it says when the answer is lost; nil: it cannot be.
	fault error
	// write: when the answer is lost it may have been done all the same.
	write bool
	// blocked, if not nil, says that it cannot be done yet.
	blocked func() bool

	node    *node
	apply   func() error
	release chan error
}

func byName(a, b *op) int { return cmp.Compare(a.name, b.name) }

func decode[T any](b []byte) (v T, err error) {
	err = json.Unmarshal(b, &v)
	return v, err
}

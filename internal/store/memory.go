package store

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"
)

// rememberFor bounds how old what is remembered can be, whoever keeps the context.
const rememberFor = time.Second

// Remember returns a context whose reads of a [Table.Remembered] table are made once: who decides about
// one request asks again and again who somebody is, and gets the same answer for as long as
// the request lasts, or a second. A change that is made with the context is seen at once; one that
// somebody else makes meanwhile is not. A context that remembers already is returned as it is.
func Remember(ctx context.Context) context.Context {
	if memoryOf(ctx) != nil {
		return ctx
	}
	return RememberAnew(ctx)
}

// RememberAnew is Remember that begins with nothing: for what follows a decision, and must not go by
// what was so before it.
func RememberAnew(ctx context.Context) context.Context {
	return context.WithValue(ctx, memoryKey{}, &memory{until: time.Now().Add(rememberFor), reads: make([]remembered, 0, 16)})
}

type memoryKey struct{}

// memory of one request.
type memory struct {
	until time.Time

	mu      sync.Mutex
	reads   []remembered // few enough to be looked through
	changes int          // made with the context
}

// remembered is a read[T] of a key, or the items of a scan.
type remembered struct {
	place
	what any
}

// place is a key of a table, or a prefix that is scanned.
type place struct {
	table, key string
	scan       bool
}

type read[T any] struct {
	value T
	rev   Rev
	err   error
}

// memoryOf returns the memory of a context; nil where there is none, or it is too old.
func memoryOf(ctx context.Context) *memory {
	m, _ := ctx.Value(memoryKey{}).(*memory)
	if m == nil || time.Now().After(m.until) {
		return nil
	}
	return m
}

// unremembered is for reads on which a change is decided.
func unremembered(ctx context.Context) context.Context {
	if memoryOf(ctx) == nil {
		return ctx
	}
	return context.WithValue(ctx, memoryKey{}, (*memory)(nil))
}

// recall returns what was read at a place; nil where nothing was, and then how many changes there
// have been, for keep.
func (m *memory) recall(p place) (what any, changes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.reads {
		if m.reads[i].place == p {
			return m.reads[i].what, 0
		}
	}
	return nil, m.changes
}

// keep remembers what was read, unless something was changed since it was looked for.
func (m *memory) keep(p place, what any, changes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.changes == changes {
		m.reads = append(m.reads, remembered{p, what})
	}
}

// forget drops what a change of a table makes old.
func (m *memory) forget(table, key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes++
	m.reads = slices.DeleteFunc(m.reads, func(r remembered) bool {
		return r.table == table && (r.scan || r.key == key)
	})
}

// memory returns that of a context, if this table uses it.
func (t Table[T]) memory(ctx context.Context) *memory {
	if !t.remembered {
		return nil
	}
	return memoryOf(ctx)
}

// changed is called after each attempt to change a record, whatever came of it.
func (t Table[T]) changed(ctx context.Context, key string) {
	if !t.remembered {
		return
	}
	if m, _ := ctx.Value(memoryKey{}).(*memory); m != nil {
		m.forget(t.name, key)
	}
}

// recall is get with a memory.
func (t Table[T]) recall(ctx context.Context, m *memory, key string) (T, Rev, error) {
	p := place{t.name, key, false}
	what, changes := m.recall(p)
	if r, ok := what.(read[T]); ok {
		return r.value, r.rev, r.err
	}
	v, rev, err := t.get(ctx, key)
	if err == nil || errors.Is(err, ErrNotFound) {
		m.keep(p, read[T]{v, rev, err}, changes)
	}
	return v, rev, err
}

// recallScan is scan with a memory.
func (t Table[T]) recallScan(ctx context.Context, m *memory, prefix string) iter.Seq2[Item[T], error] {
	return func(yield func(Item[T], error) bool) {
		p := place{t.name, prefix, true}
		what, changes := m.recall(p)
		items, ok := what.([]Item[T])
		if !ok {
			for item, err := range t.scan(ctx, prefix) {
				if err != nil {
					yield(item, err)
					return
				}
				items = append(items, item)
			}
			m.keep(p, items, changes)
		}
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
	}
}

package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
)

// Table is a table of T on an engine, kept as JSON so that a reader one version older
// or newer still understands it. It is made with [TableOf]; its zero value is unusable.
// Features declare the part of it that they need as a port of their own.
type Table[T any] struct {
	engine     Engine
	name       string
	remembered bool
}

// TableOf returns the table called name. Tables need no creation.
func TableOf[T any](e Engine, name string) Table[T] { return Table[T]{engine: e, name: name} }

// Remembered returns the table with its reads remembered for the length of a request, see [Remember].
// What it returns is then shared: whoever reads it changes nothing in it.
func (t Table[T]) Remembered() Table[T] {
	t.remembered = true
	return t
}

// Get returns the record under key and its revision. ErrNotFound.
func (t Table[T]) Get(ctx context.Context, key string) (T, Rev, error) {
	if m := t.memory(ctx); m != nil {
		return t.recall(ctx, m, key)
	}
	return t.get(ctx, key)
}

func (t Table[T]) get(ctx context.Context, key string) (T, Rev, error) {
	var v T
	r, err := t.engine.Get(ctx, t.name, key)
	if err != nil {
		return v, 0, err
	}
	if err := json.Unmarshal(r.Value, &v); err != nil {
		return v, 0, fmt.Errorf("store: record %s of table %s: %w", key, t.name, err)
	}
	return v, r.Rev, nil
}

// Put writes v if the record is at revision at; zero means that there must be none.
// ErrConflict, ErrUncertain, ErrFull, ErrTooLarge.
func (t Table[T]) Put(ctx context.Context, key string, v T, at Rev) (Rev, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return 0, fmt.Errorf("store: record %s of table %s: %w", key, t.name, err)
	}
	defer t.changed(ctx, key)
	return t.engine.Put(ctx, t.name, key, b, at)
}

// Delete removes the record if it is at revision at. ErrNotFound, ErrConflict, ErrUncertain.
func (t Table[T]) Delete(ctx context.Context, key string, at Rev) error {
	defer t.changed(ctx, key)
	return t.engine.Delete(ctx, t.name, key, at)
}

// Scan walks the records whose key begins with prefix in the order of their keys; the
// error, if any, is the last pair.
func (t Table[T]) Scan(ctx context.Context, prefix string) iter.Seq2[Item[T], error] {
	if m := t.memory(ctx); m != nil {
		return t.recallScan(ctx, m, prefix)
	}
	return t.scan(ctx, prefix)
}

func (t Table[T]) scan(ctx context.Context, prefix string) iter.Seq2[Item[T], error] {
	return t.items(t.engine.Scan(ctx, t.name, prefix))
}

// ScanAfter is Scan from behind a key on, which need not be there.
func (t Table[T]) ScanAfter(ctx context.Context, prefix, after string) iter.Seq2[Item[T], error] {
	return t.items(t.engine.ScanAfter(ctx, t.name, prefix, after))
}

func (t Table[T]) items(records iter.Seq2[Record, error]) iter.Seq2[Item[T], error] {
	return func(yield func(Item[T], error) bool) {
		for r, err := range records {
			item := Item[T]{Key: r.Key, Rev: r.Rev}
			if err == nil {
				if err = json.Unmarshal(r.Value, &item.Value); err != nil {
					err = fmt.Errorf("store: record %s of table %s: %w", r.Key, t.name, err)
				}
			}
			if !yield(item, err) || err != nil {
				return
			}
		}
	}
}

// Item is one record that a scan found.
type Item[T any] struct {
	Key   string
	Value T
	Rev   Rev
}

const hexDigits = "0123456789ABCDEF"

// Key joins parts with "/" into a key, a log name or a subject. Bytes outside
// [A-Za-z0-9_+-] are written as "=XX" in hexadecimal, so that parts from outside (an
// e-mail address, a SIP URI) cannot reach across a separator, and every engine takes
// the result as it is. An empty part is written as "=". Prefix "a/b/" of a Scan is
// Key("a", "b") + "/".
func Key(parts ...string) string {
	size := 0
	for _, p := range parts {
		size += len(p) + 5 // a separator, and two bytes that have to be written so
	}
	var b strings.Builder
	b.Grow(size)
	for i, p := range parts {
		if i > 0 {
			b.WriteByte('/')
		}
		if p == "" {
			b.WriteByte('=')
		}
		for j := range len(p) {
			c := p[j]
			if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '+' || c == '-' {
				b.WriteByte(c)
			} else {
				b.WriteByte('=')
				b.WriteByte(hexDigits[c>>4])
				b.WriteByte(hexDigits[c&0xf])
			}
		}
	}
	return b.String()
}

// Change applies a read-decide-write to one record until no one else came between:
// decide gets the record as it is (the zero T and exists false where there is none) and
// returns what it should be; returning false leaves it alone. decide may run several
// times, so it must have no effects of its own. After an uncertain outcome the record
// is read again and decide runs again: it must recognise its own attempt. Where it cannot be read the error is ErrUncertain. What it decides on is read, not
// remembered.
//
// With a context from [Linearizable] also a decision to leave the record alone, or an error, is one about the record
// as it is; a write proves that by itself.
func Change[T any](ctx context.Context, t interface {
	Get(context.Context, string) (T, Rev, error)
	Put(context.Context, string, T, Rev) (Rev, error)
}, key string, decide func(v T, exists bool) (T, bool, error)) (T, error) {
	v, rev, err := t.Get(believing(unremembered(ctx)), key)
	if err != nil && !isNotFound(err) {
		return v, err
	}
	return ChangeFrom(ctx, t, key, v, rev, decide)
}

// ChangeFrom is Change for who has just read the record: v at revision rev, zero for none.
func ChangeFrom[T any](ctx context.Context, t interface {
	Get(context.Context, string) (T, Rev, error)
	Put(context.Context, string, T, Rev) (Rev, error)
}, key string, v T, rev Rev, decide func(v T, exists bool) (T, bool, error)) (T, error) {
	proved := MomentOf(ctx) == nil
	for {
		next, write, err := decide(v, rev != 0)
		if (err != nil || !write) && !proved {
			now, at, fault := t.Get(unremembered(ctx), key)
			if fault != nil && !isNotFound(fault) {
				return next, fault
			}
			if proved = true; at != rev {
				v, rev = now, at
				continue
			}
		}
		if err != nil || !write {
			return next, err
		}
		if _, err = t.Put(ctx, key, next, rev); err == nil {
			return next, nil
		}
		if ctx.Err() != nil || !retryable(err) {
			return next, err
		}
		unknown := errors.Is(err, ErrUncertain)
		if v, rev, err = t.Get(believing(unremembered(ctx)), key); err != nil && !isNotFound(err) {
			if unknown && !errors.Is(err, ErrUncertain) {
				err = fmt.Errorf("%w: %w", ErrUncertain, err)
			}
			return v, err
		}
		proved = MomentOf(ctx) == nil
	}
}

// Remove deletes a record whatever it is; what is not there is no error.
func Remove[T any](ctx context.Context, t interface {
	Get(context.Context, string) (T, Rev, error)
	Delete(context.Context, string, Rev) error
}, key string) error {
	for {
		_, rev, err := t.Get(ctx, key)
		if err == nil {
			err = t.Delete(ctx, key, rev)
		}
		switch {
		case err == nil || isNotFound(err):
			return nil
		case ctx.Err() != nil || !retryable(err):
			return err
		}
	}
}

func isNotFound(err error) bool { return errors.Is(err, ErrNotFound) }

func retryable(err error) bool { return errors.Is(err, ErrConflict) || errors.Is(err, ErrUncertain) }

package call

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Erase removes every record of a call that names one of the identities, of all sides: half
// of a call's details is no use. The sessions beside them it leaves alone. It returns how
// many; it may repeat, and must be repeated after an error.
func (m *Matcher) Erase(ctx context.Context, tenant wire.TenantID, ids []tel.Identity) (int, error) {
	var names [][]byte
	for _, id := range ids {
		names = append(names, []byte(`"`+id.String()+`"`), []byte("/"+store.Key(id.String())))
	}
	erased := 0
	var found []string
	prefix := store.Key(string(tenant)) + "/"
	for item, err := range m.Records.Scan(ctx, prefix) {
		if err != nil {
			return 0, fmt.Errorf("call: erase: %w", err)
		}
		if mentions(item.Key, item.Value, names) {
			found = append(found, item.Key)
		}
	}
	for _, key := range found {
		if err := m.erase(ctx, key); err != nil {
			return erased, fmt.Errorf("call: erase: %w", err)
		}
		erased++
	}
	// Of the index what is left over, of a crash.
	found = nil
	for item, err := range m.Index.Scan(ctx, prefix) {
		if err != nil {
			return erased, fmt.Errorf("call: erase: %w", err)
		}
		if mentions(item.Key, item.Value, names) {
			found = append(found, item.Key)
		}
	}
	for _, key := range found {
		if err := store.Remove(ctx, m.Index, key); err != nil {
			return erased, fmt.Errorf("call: erase: %w", err)
		}
	}
	return erased, nil
}

// mentions: a name is a whole value, or a whole part of a key.
func mentions(key string, v any, names [][]byte) bool {
	text, err := json.Marshal(v)
	if err != nil {
		return false // what was read as JSON can be written
	}
	text = append(append(append(text, '/'), key...), '/', '"')
	for _, n := range names {
		for rest := text; ; {
			i := bytes.Index(rest, n)
			if i < 0 {
				break
			}
			if n[0] == '"' || rest[i+len(n)] == '/' || rest[i+len(n)] == '"' {
				return true
			}
			rest = rest[i+1:]
		}
	}
	return false
}

// erase removes one record, whatever is still due.
func (m *Matcher) erase(ctx context.Context, key string) error {
	rec, _, err := m.Records.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = store.Remove(ctx, m.Records, key)
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	delete(m.marks, key)
	m.mu.Unlock()
	for _, p := range rec.Parties {
		if err := store.Remove(ctx, m.Index, indexKey(rec, p.Identity)); err != nil {
			return err
		}
	}
	return nil
}

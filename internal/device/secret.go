package device

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/tandem-call/tandem/internal/store"
)

// secretRecord is the server's own secret, shared by all nodes and tenants: the one
// record of the table "keys", under "device".
type secretRecord struct {
	Secret  []byte    `json:"secret"`
	Created time.Time `json:"created"`
}

// secrets are one key per purpose, derived from the record.
type secrets struct{ code, nonce, token []byte }

func loadSecrets(ctx context.Context, table store.Table[secretRecord], now time.Time) (secrets, error) {
	fresh := secretRecord{Secret: make([]byte, 32), Created: now}
	rand.Read(fresh.Secret)
	rec, err := store.Change(ctx, table, store.Key("device"), func(old secretRecord, exists bool) (secretRecord, bool, error) {
		if exists {
			return old, false, nil
		}
		return fresh, true, nil
	})
	if err != nil {
		return secrets{}, fmt.Errorf("device: load the server's secret: %w", err)
	}
	if len(rec.Secret) != 32 {
		return secrets{}, fmt.Errorf("device: the server's secret has %d bytes, not 32: %w", len(rec.Secret), store.ErrDamaged)
	}
	var s secrets
	for purpose, key := range map[string]*[]byte{"code": &s.code, "nonce": &s.nonce, "token": &s.token} {
		if *key, err = hkdf.Key(sha256.New, rec.Secret, nil, "tandem device "+purpose, 32); err != nil {
			return secrets{}, fmt.Errorf("device: derive the %s key: %w", purpose, err)
		}
	}
	return s, nil
}

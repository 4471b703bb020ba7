package device

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/tandem-call/tandem/internal/store"
)

// SecretOverlap is how long the secret before the last is still taken after a change: longer
// than anything lasts that was made with it, and than nodes take to hear of it.
const SecretOverlap = 15 * time.Minute

// secretRecord is the server's own secret, shared by all nodes and tenants: the record
// "device" of the table "keys".
type secretRecord struct {
	Secret  []byte    `json:"secret"`
	Created time.Time `json:"created"`
	// Previous is the secret before, until SecretOverlap has passed since Created; it may be
	// empty.
	Previous []byte `json:"previous,omitempty"`
}

var secretKey = store.Key("device")

// secrets are one key per purpose, derived from a secret.
type secrets struct{ code, nonce, token []byte }

// keyring is what a node signs with, the first, and what it takes: all.
type keyring struct {
	all []secrets
	// alone is when the first one alone is left.
	alone time.Time
}

// loadSecrets reads the secret, and makes it at the first start.
func loadSecrets(ctx context.Context, table store.Table[secretRecord], now time.Time) (*keyring, error) {
	fresh := secretRecord{Secret: newSecret(), Created: now}
	rec, err := store.Change(ctx, table, secretKey, func(old secretRecord, exists bool) (secretRecord, bool, error) {
		if exists {
			return old, false, nil
		}
		return fresh, true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("device: load the server's secret: %w", err)
	}
	return rec.keyring()
}

func newSecret() []byte {
	b := make([]byte, 32)
	rand.Read(b)
	return b
}

func (r secretRecord) keyring() (*keyring, error) {
	k := &keyring{alone: r.Created.Add(SecretOverlap)}
	for _, secret := range [][]byte{r.Secret, r.Previous} {
		if len(secret) == 0 && len(k.all) > 0 {
			continue
		}
		if len(secret) != 32 {
			return nil, fmt.Errorf("device: the server's secret has %d bytes, not 32: %w", len(secret), store.ErrDamaged)
		}
		s, err := derive(secret)
		if err != nil {
			return nil, err
		}
		k.all = append(k.all, s)
	}
	return k, nil
}

func derive(secret []byte) (s secrets, err error) {
	for purpose, key := range map[string]*[]byte{"code": &s.code, "nonce": &s.nonce, "token": &s.token} {
		if *key, err = hkdf.Key(sha256.New, secret, nil, "tandem device "+purpose, 32); err != nil {
			return secrets{}, fmt.Errorf("device: derive the %s key: %w", purpose, err)
		}
	}
	return s, nil
}

// signing returns what to sign with.
func (r *Registry) signing() secrets { return r.ring.Load().all[0] }

// taken returns what is taken now, the newest first.
func (r *Registry) taken() []secrets {
	k := r.ring.Load()
	if len(k.all) > 1 && !r.cfg.Now().Before(k.alone) {
		return k.all[:1]
	}
	return k.all
}

// verified reports whether one of the secrets that are taken gives the MAC.
func (r *Registry) verified(mac []byte, of func(secrets) []byte) bool {
	ok := false
	for _, s := range r.taken() {
		ok = hmac.Equal(mac, of(s)) || ok
	}
	return ok
}

// RotateSecret replaces the server's secret, of which the keys of bearer tokens, nonces and
// codes are made. What was made with the one before is taken for [SecretOverlap], or, atOnce,
// no more: then tokens and codes that are on their way end. Other nodes must [Registry.ReloadSecret].
func (r *Registry) RotateSecret(ctx context.Context, atOnce bool) error {
	fresh := secretRecord{Secret: newSecret(), Created: r.cfg.Now()}
	rec, err := store.Change(ctx, r.keys, secretKey, func(old secretRecord, _ bool) (secretRecord, bool, error) {
		next := fresh
		if !atOnce {
			next.Previous = old.Secret
		}
		return next, true, nil
	})
	if err != nil {
		return fmt.Errorf("device: rotate the server's secret: %w", err)
	}
	return r.use(rec)
}

// ReloadSecret reads the secret again: another node may have changed it.
func (r *Registry) ReloadSecret(ctx context.Context) error {
	rec, _, err := r.keys.Get(ctx, secretKey)
	if errors.Is(err, store.ErrNotFound) {
		err = store.ErrDamaged // it was there at the start
	}
	if err != nil {
		return fmt.Errorf("device: read the server's secret: %w", err)
	}
	return r.use(rec)
}

func (r *Registry) use(rec secretRecord) error {
	k, err := rec.keyring()
	if err == nil {
		r.ring.Store(k)
	}
	return err
}

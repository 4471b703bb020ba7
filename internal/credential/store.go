package credential

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// Config of a Store. Engine is needed.
type Config struct {
	Engine store.Engine
	// OnRevoke is told when a key was revoked, so that its connections are closed on every
	// node. It may be called twice for one event. Nil: nobody is told.
	OnRevoke func(ctx context.Context, tenant wire.TenantID, id string)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Store keeps the credentials. Make it with [Open]. Its methods may be called from several
// goroutines and on several nodes at once.
type Store struct {
	cfg         Config
	credentials store.Table[Credential]
	// tenants leads from a key's id to its tenant: a key is all that its holder shows.
	tenants store.Table[tenantRecord]
}

type tenantRecord struct {
	Tenant wire.TenantID `json:"tenant"`
}

// Open returns the store over an engine.
func Open(cfg Config) (*Store, error) {
	if cfg.Engine == nil {
		return nil, errors.New("credential: config needs Engine")
	}
	if cfg.OnRevoke == nil {
		cfg.OnRevoke = func(context.Context, wire.TenantID, string) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Store{
		cfg:         cfg,
		credentials: store.TableOf[Credential](cfg.Engine, "credentials"),
		tenants:     store.TableOf[tenantRecord](cfg.Engine, "credential_tenants"),
	}, nil
}

const keyPrefix = "tdm_"

// NewID returns the id of a key that is to be made.
func NewID() string { return rand.Text() } // 26 characters of base32

// Create makes a credential and returns it with its key, which can't be had again.
// ErrRequest.
func (s *Store) Create(ctx context.Context, n New) (key string, c Credential, err error) {
	now := s.cfg.Now()
	if err := n.check(now); err != nil {
		return "", c, err
	}
	id, secret := n.ID, rand.Text()
	if id == "" {
		id = NewID()
	}
	sum := sha256.Sum256([]byte(secret))
	c = Credential{
		ID: id, Tenant: n.Tenant, Role: n.Role, Name: n.Name, Scopes: n.Scopes, Speaks: n.Speaks,
		Created: now, Expires: n.Expires, Certificate: n.Certificate, SecretSHA256: sum[:],
	}
	// The way to the tenant first: a way that leads nowhere does no harm.
	_, err = store.Change(ctx, s.tenants, store.Key(id), func(_ tenantRecord, exists bool) (tenantRecord, bool, error) {
		return tenantRecord{n.Tenant}, !exists, nil
	})
	if err == nil {
		_, err = store.Change(ctx, s.credentials, store.Key(string(n.Tenant), id), func(_ Credential, exists bool) (Credential, bool, error) {
			return c, !exists, nil
		})
	}
	if err != nil {
		return "", Credential{}, fmt.Errorf("credential: create: %w", err)
	}
	return keyPrefix + id + "_" + secret, c, nil
}

// Verify returns the credential of a key. ErrInvalid for a key that is not known, whatever
// is wrong with it; ErrExpired and ErrRevoked only for one whose secret is right.
func (s *Store) Verify(ctx context.Context, key string) (Credential, error) {
	id, secret, ok := split(key)
	if !ok {
		return Credential{}, ErrInvalid
	}
	way, _, err := s.tenants.Get(ctx, store.Key(id))
	var c Credential
	if err == nil {
		c, _, err = s.credentials.Get(ctx, store.Key(string(way.Tenant), id))
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Credential{}, fmt.Errorf("credential: verify: %w", err)
	}
	sum := sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare(sum[:], c.SecretSHA256) != 1 {
		return Credential{}, ErrInvalid
	}
	if err := c.check(s.cfg.Now()); err != nil {
		return Credential{}, err
	}
	return c, nil
}

func split(key string) (id, secret string, ok bool) {
	rest, ok := strings.CutPrefix(key, keyPrefix)
	if !ok || len(rest) > 2*wire.MaxID {
		return "", "", false
	}
	id, secret, ok = strings.Cut(rest, "_")
	return id, secret, ok && wire.ValidID(id) && wire.ValidID(secret)
}

// Get returns a credential, also one that can be used no more. ErrNotFound.
func (s *Store) Get(ctx context.Context, tenant wire.TenantID, id string) (Credential, error) {
	c, _, err := s.credentials.Get(ctx, store.Key(string(tenant), id))
	if errors.Is(err, store.ErrNotFound) {
		return c, ErrNotFound
	}
	if err != nil {
		return c, fmt.Errorf("credential: read: %w", err)
	}
	return c, nil
}

// List returns a tenant's credentials, also those that can be used no more.
func (s *Store) List(ctx context.Context, tenant wire.TenantID) ([]Credential, error) {
	var all []Credential
	for item, err := range s.credentials.Scan(ctx, store.Key(string(tenant))+"/") {
		if err != nil {
			return nil, fmt.Errorf("credential: list: %w", err)
		}
		all = append(all, item.Value)
	}
	return all, nil
}

// Revoke ends a credential for good. ErrNotFound. It may repeat.
func (s *Store) Revoke(ctx context.Context, tenant wire.TenantID, id string) error {
	_, err := store.Change(ctx, s.credentials, store.Key(string(tenant), id), func(c Credential, exists bool) (Credential, bool, error) {
		if !exists {
			return c, false, ErrNotFound
		}
		if !c.RevokedAt.IsZero() {
			return c, false, nil
		}
		c.RevokedAt = s.cfg.Now()
		return c, true, nil
	})
	if errors.Is(err, ErrNotFound) {
		return err
	}
	if err != nil {
		return fmt.Errorf("credential: revoke: %w", err)
	}
	s.cfg.OnRevoke(ctx, tenant, id)
	return nil
}

// Package tenant keeps the list of a server's tenants: providers and operators that share
// one server and see nothing of each other (DESIGN section 5).
//
// A [Tenant] has an id, under which everything of its own is kept in the store, and the
// hosts by which it is reached. Who comes without credentials, to enrol, belongs to the
// tenant of the host that was asked; [Registry.ByHost] finds it. Everybody else's
// credentials name the tenant.
package tenant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// Errors.
var (
	// ErrRequest: a field cannot be used as it is.
	ErrRequest = errors.New("tenant: unusable request")
	// ErrTaken: the host leads to another tenant.
	ErrTaken = errors.New("tenant: the host belongs to another tenant")
)

// Limits: the list is one record.
const (
	Max      = 1000
	MaxHosts = 16
	maxName  = 128
)

// Tenant is one of those that share the server.
type Tenant struct {
	ID wire.TenantID `json:"id"`
	// Name for the operator; may be empty.
	Name string `json:"name,omitempty"`
	// Hosts by which it is reached, in lower case and without a port.
	Hosts   []string  `json:"hosts,omitempty"`
	Created time.Time `json:"created"`
}

// record is the whole list, so that one compare-and-set keeps hosts apart.
type record struct {
	Tenants []Tenant `json:"tenants"`
}

var key = store.Key("all")

// Registry keeps the list. Make it with [Open]; its methods may be called from several
// goroutines.
type Registry struct {
	table store.Table[record]
	now   func() time.Time
	// hosts as they were last read.
	hosts atomic.Pointer[map[string]wire.TenantID]
}

// Open reads the list. now is the clock; nil means time.Now.
func Open(ctx context.Context, e store.Engine, now func() time.Time) (*Registry, error) {
	if now == nil {
		now = time.Now
	}
	r := &Registry{table: store.TableOf[record](e, "tenants"), now: now}
	return r, r.Reload(ctx)
}

// Reload reads the list again: another node may have changed it.
func (r *Registry) Reload(ctx context.Context) error {
	list, err := r.List(ctx)
	if err == nil {
		r.remember(list)
	}
	return err
}

func (r *Registry) remember(list []Tenant) {
	hosts := map[string]wire.TenantID{}
	for _, t := range list {
		for _, h := range t.Hosts {
			hosts[h] = t.ID
		}
	}
	r.hosts.Store(&hosts)
}

// ByHost returns the tenant of a host, as a request names it. False: no tenant's own, so it
// is [wire.DefaultTenant]'s.
func (r *Registry) ByHost(host string) (wire.TenantID, bool) {
	id, ok := (*r.hosts.Load())[Host(host)]
	return id, ok
}

// Host brings the value of a Host header into the form of [Tenant.Hosts].
func Host(s string) string {
	if i := strings.LastIndexByte(s, ':'); i >= 0 && i > strings.LastIndexByte(s, ']') {
		s = s[:i]
	}
	return strings.TrimSuffix(strings.ToLower(s), ".")
}

// List returns the tenants in the order of their ids, without the default one.
func (r *Registry) List(ctx context.Context) ([]Tenant, error) {
	rec, _, err := r.table.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("tenant: list: %w", err)
	}
	return rec.Tenants, nil
}

// Exists reports whether there is such a tenant; there is always the default one.
func (r *Registry) Exists(ctx context.Context, id wire.TenantID) (bool, error) {
	if id == wire.DefaultTenant {
		return true, nil
	}
	list, err := r.List(ctx)
	return slices.ContainsFunc(list, func(t Tenant) bool { return t.ID == id }), err
}

// Set adds a tenant, or gives one that is there another name and other hosts. ErrRequest,
// ErrTaken. It may repeat.
func (r *Registry) Set(ctx context.Context, t Tenant) (Tenant, error) {
	if err := t.check(); err != nil {
		return Tenant{}, err
	}
	t.Created = r.now()
	rec, err := store.Change(ctx, r.table, key, func(rec record, _ bool) (record, bool, error) {
		list := slices.Clone(rec.Tenants)
		for _, other := range list {
			for _, h := range t.Hosts {
				if other.ID != t.ID && slices.Contains(other.Hosts, h) {
					return rec, false, fmt.Errorf("%w: %s", ErrTaken, h)
				}
			}
		}
		i, found := slices.BinarySearchFunc(list, t.ID, func(x Tenant, id wire.TenantID) int { return strings.Compare(string(x.ID), string(id)) })
		switch {
		case found:
			t.Created = list[i].Created
			list[i] = t
		case len(list) == Max:
			return rec, false, fmt.Errorf("%w: a server has at most %d tenants", ErrRequest, Max)
		default:
			list = slices.Insert(list, i, t)
		}
		return record{list}, true, nil
	})
	if err != nil {
		if !errors.Is(err, ErrTaken) && !errors.Is(err, ErrRequest) {
			err = fmt.Errorf("tenant: set: %w", err)
		}
		return Tenant{}, err
	}
	r.remember(rec.Tenants)
	return t, nil
}

func (t *Tenant) check() error {
	switch {
	case !validID(string(t.ID)):
		return fmt.Errorf("%w: an id has 1 to 32 of a-z, 0-9 and hyphen", ErrRequest)
	case t.ID == wire.DefaultTenant:
		return fmt.Errorf("%w: %s is reached by every host that is no other tenant's", ErrRequest, t.ID)
	case len(t.Name) > maxName || !utf8.ValidString(t.Name):
		return fmt.Errorf("%w: a name has at most %d bytes of text", ErrRequest, maxName)
	case len(t.Hosts) > MaxHosts:
		return fmt.Errorf("%w: at most %d hosts", ErrRequest, MaxHosts)
	}
	hosts := make([]string, 0, len(t.Hosts))
	for _, h := range t.Hosts {
		host := Host(strings.TrimSpace(h))
		if !validHost(host) {
			return fmt.Errorf("%w: %q is not a host, like calls.example.com", ErrRequest, h)
		}
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	t.Hosts = hosts
	return nil
}

func validID(s string) bool {
	return s != "" && len(s) <= 32 && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-'
	})
}

// validHost: a DNS name or an IP address (RFC 1123 2.1), an IPv6 one in brackets.
func validHost(s string) bool {
	if in, ok := strings.CutPrefix(s, "["); ok {
		in, ok = strings.CutSuffix(in, "]")
		return ok && in != "" && !strings.ContainsFunc(in, func(c rune) bool {
			return (c < 'a' || c > 'f') && (c < '0' || c > '9') && c != ':' && c != '.'
		})
	}
	return s != "" && len(s) <= 253 && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.'
	})
}

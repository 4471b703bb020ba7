package tenant

import (
	"context"
	"fmt"
	"sync"

	"github.com/tandem-call/tandem/wire"
)

// Bus is what a [Set] needs of the engine: store.Engine fits.
type Bus interface {
	Publish(ctx context.Context, subject string, data []byte) error
	Subscribe(ctx context.Context, subject string, fn func(subject string, data []byte)) (cancel func(), err error)
}

// Set is which tenants have something, held in memory, since it is asked with every call. Each node has
// one, and hears at once what is added at another; since that can be lost, its owner reads the truth now and
// then. A tenant is never taken out, so that having one in vain costs a look, and no more. Make it with [NewSet]; its
// methods may be called from several goroutines.
type Set struct {
	bus     Bus
	subject string
	has     sync.Map // of wire.TenantID
}

// NewSet returns an empty set that the nodes speak of under this subject.
func NewSet(bus Bus, subject string) *Set { return &Set{bus: bus, subject: subject} }

// Has reports whether the tenant has what the set is about.
func (s *Set) Has(t wire.TenantID) bool {
	_, ok := s.has.Load(t)
	return ok
}

// Learn notes what was read: the others can read it, too.
func (s *Set) Learn(t wire.TenantID) { s.has.Store(t, true) }

// Add adds a tenant here and at the other nodes. It is to be called before what it gets is stored, so that no node
// passes over what is there. The error is the bus's: then nothing was added.
func (s *Set) Add(ctx context.Context, t wire.TenantID) error {
	if s.Has(t) {
		return nil
	}
	if err := s.bus.Publish(ctx, s.subject, []byte(t)); err != nil {
		return fmt.Errorf("tenant: tell the other nodes of %s: %w", s.subject, err)
	}
	s.Learn(t)
	return nil
}

// Listen hears of what is added at other nodes, until cancel.
func (s *Set) Listen(ctx context.Context) (cancel func(), err error) {
	cancel, err = s.bus.Subscribe(ctx, s.subject, func(_ string, t []byte) { s.Learn(wire.TenantID(t)) })
	if err != nil {
		return nil, fmt.Errorf("tenant: listen for %s of other nodes: %w", s.subject, err)
	}
	return cancel, nil
}

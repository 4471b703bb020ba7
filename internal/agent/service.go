package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	tenants "github.com/tandem-call/tandem/internal/tenant"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Devices makes browsers the agents' devices.
type Devices interface {
	// Seat lets the device with the key in until that time; the assertion is over the nonce.
	Seat(ctx context.Context, q Seating) (wire.DeviceID, error)
	// Unseat revokes it and closes its connections. It may repeat.
	Unseat(ctx context.Context, tenant wire.TenantID, d wire.DeviceID) error
}

// Seating of a device.
type Seating struct {
	Tenant           wire.TenantID
	Number           tel.Number
	Key              wire.JWK
	Name, Client     string
	Nonce, Assertion string
	Until            time.Time
}

// Sessions hands sessions over.
type Sessions interface {
	// HandOver lets a device take the place of another in an open session, as a third or one of
	// both wants it. ErrNotFound.
	HandOver(ctx context.Context, tenant wire.TenantID, id wire.SessionID, by, from, to wire.DeviceID) error
	// Follow calls fn, which does not wait, for each message that is stored, until cancel is called.
	Follow(ctx context.Context, tenant wire.TenantID, id wire.SessionID, fn func()) (cancel func(), err error)
}

// Config of a Service. The first three are needed.
type Config struct {
	Engine   store.Engine
	Devices  Devices
	Sessions Sessions
	// Tell tells a device that there is something new for it: wire.NoticeAgent, NoticeAgents or NoticeLook. Nil:
	// nobody is told.
	Tell func(ctx context.Context, tenant wire.TenantID, d wire.DeviceID, code string) error
	// SignIn is how long an agent is signed in; zero: 12 hours.
	SignIn time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log; nil means no log.
	Log *slog.Logger
}

// Service keeps agents and conversations. Make it with [New]; [Service.Run] must run for
// conversations to be forgotten, and supervisors to be told of states. Its methods may be called from several goroutines and on several
// nodes at once.
type Service struct {
	cfg           Config
	agents        store.Table[Record]
	seats         store.Table[seat]
	devices       store.Table[tied]
	codes         store.Table[code]
	settings      store.Table[Settings]
	conversations store.Table[Conversation]
	byTime        store.Table[indexed]

	has *tenants.Set // those with agents

	wake    chan struct{}
	mu      sync.Mutex
	changed map[wire.TenantID]bool // supervisors are to be told
	lookers map[wire.DeviceID]looker
}

// New returns the service over the engine.
func New(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Engine == nil || cfg.Devices == nil || cfg.Sessions == nil {
		return nil, errors.New("agent: config needs Engine, Devices and Sessions")
	}
	if cfg.SignIn == 0 {
		cfg.SignIn = 12 * time.Hour
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	e := cfg.Engine
	s := &Service{
		cfg: cfg, agents: store.TableOf[Record](e, "agents"), seats: store.TableOf[seat](e, "agent-seats"), devices: store.TableOf[tied](e, "agent-devices"),
		codes: store.TableOf[code](e, "agent-codes"), settings: store.TableOf[Settings](e, "agent-settings"),
		conversations: store.TableOf[Conversation](e, "conversations"), byTime: store.TableOf[indexed](e, "conversations-by-time"),
		has: tenants.NewSet(e, "agents"), wake: make(chan struct{}, 1), changed: map[wire.TenantID]bool{}, lookers: map[wire.DeviceID]looker{},
	}
	return s, s.learn(ctx)
}

// learn finds out which tenants have agents: other nodes add some too, and what they say of that need not arrive.
func (s *Service) learn(ctx context.Context) error {
	for item, err := range s.agents.Scan(ctx, "") {
		if err != nil {
			return fmt.Errorf("agent: read agents: %w", err)
		}
		s.has.Learn(item.Value.Tenant)
	}
	return nil
}

// Any reports whether the tenant has agents.
func (s *Service) Any(tenant wire.TenantID) bool { return s.has.Has(tenant) }

func (s *Service) now() time.Time { return s.cfg.Now().UTC().Round(0) }

func key(tenant wire.TenantID, id string) string { return store.Key(string(tenant), id) }

// Get returns an agent. ErrNotFound.
func (s *Service) Get(ctx context.Context, tenant wire.TenantID, id string) (Record, error) {
	r, _, err := s.agents.Get(ctx, key(tenant, id))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return r, ErrNotFound
	case err != nil:
		return r, fmt.Errorf("agent: read: %w", err)
	}
	return r, nil
}

// List returns the tenant's agents in the order of their ids.
func (s *Service) List(ctx context.Context, tenant wire.TenantID) ([]Record, error) {
	var all []Record
	for item, err := range s.agents.Scan(ctx, store.Key(string(tenant))+"/") {
		if err != nil {
			return nil, fmt.Errorf("agent: list: %w", err)
		}
		all = append(all, item.Value)
	}
	return all, nil
}

// change applies decide to an agent that exists. ErrNotFound, and decide's errors.
func (s *Service) change(ctx context.Context, tenant wire.TenantID, id string, decide func(*Record) error) (Record, error) {
	r, err := store.Change(ctx, s.agents, key(tenant, id), func(r Record, exists bool) (Record, bool, error) {
		if !exists {
			return r, false, ErrNotFound
		}
		err := decide(&r)
		return r, err == nil, err
	})
	if err == nil {
		s.tellAgent(ctx, r)
	}
	return r, err
}

// Set adds an agent, or changes one. Whoever moves to another number or extension signs in anew.
// It may repeat. ErrRequest, ErrTaken, ErrFull.
func (s *Service) Set(ctx context.Context, tenant wire.TenantID, id string, n tel.Number, q wire.AgentRequest) (Record, error) {
	if err := check(id, n, q); err != nil {
		return Record{}, err
	}
	before, err := s.Get(ctx, tenant, id)
	fresh := errors.Is(err, ErrNotFound)
	if err != nil && !fresh {
		return before, err
	}
	if fresh {
		if all, err := s.List(ctx, tenant); err != nil || len(all) >= wire.MaxAgents {
			return before, errors.Join(err, fmt.Errorf("%w: a tenant has at most %d agents", ErrFull, wire.MaxAgents))
		}
	}
	// The seat first: one without an agent that sits there does no harm.
	if err := s.takeSeat(ctx, tenant, id, n, q.Extension); err != nil {
		return before, err
	}
	if err := s.has.Add(ctx, tenant); err != nil {
		return before, fmt.Errorf("agent: set: %w", err)
	}
	now := s.now()
	var was wire.DeviceID
	r, err := store.Change(ctx, s.agents, key(tenant, id), func(r Record, exists bool) (Record, bool, error) {
		if !exists {
			r = Record{ID: id, Tenant: tenant, Created: now, State: wire.AgentSignedOut, Since: now}
		}
		was = ""
		if exists && (r.Number != n || r.Extension != q.Extension) {
			was, r.Device, r.Until = r.Device, "", time.Time{}
			r.become(wire.AgentSignedOut, "", now)
		}
		r.Name, r.Number, r.Extension, r.Queue, r.Supervisor, r.MayLook = q.Name, n, q.Extension, q.Queue, q.Supervisor, q.MayLook
		r.Skills = slices.Clone(q.Skills)
		return r, true, nil
	})
	if err != nil {
		return r, fmt.Errorf("agent: set: %w", err)
	}
	s.tellAgent(ctx, r)
	if !fresh && (before.Number != n || before.Extension != q.Extension) {
		if err := s.leaveSeat(ctx, tenant, before); err != nil {
			return r, err
		}
	}
	if was != "" {
		err = s.cfg.Devices.Unseat(ctx, tenant, was)
	}
	return r, err
}

func seatKey(tenant wire.TenantID, n tel.Number, extension string) string {
	return store.Key(string(tenant), n.String(), extension)
}

func (s *Service) takeSeat(ctx context.Context, tenant wire.TenantID, id string, n tel.Number, extension string) error {
	_, err := store.Change(ctx, s.seats, seatKey(tenant, n, extension), func(x seat, exists bool) (seat, bool, error) {
		if exists && x.Agent != id {
			other, err := s.Get(ctx, tenant, x.Agent)
			if err == nil && other.Number == n && other.Extension == extension {
				return x, false, ErrTaken
			}
			if err != nil && !errors.Is(err, ErrNotFound) {
				return x, false, err
			}
		}
		return seat{id}, x.Agent != id, nil
	})
	if err != nil && !errors.Is(err, ErrTaken) {
		return fmt.Errorf("agent: take a seat: %w", err)
	}
	return err
}

// leaveSeat frees the seat that the record says, if it is still the agent's.
func (s *Service) leaveSeat(ctx context.Context, tenant wire.TenantID, r Record) error {
	x, rev, err := s.seats.Get(ctx, seatKey(tenant, r.Number, r.Extension))
	if err == nil && x.Agent == r.ID {
		err = s.seats.Delete(ctx, seatKey(tenant, r.Number, r.Extension), rev)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("agent: leave a seat: %w", err)
	}
	return nil
}

// Remove ends an agent: its codes, its device, and then itself. Conversations stay as long as they
// are kept. It may repeat. ErrNotFound.
func (s *Service) Remove(ctx context.Context, tenant wire.TenantID, id string) error {
	if err := s.Revoke(ctx, tenant, id); err != nil {
		return err
	}
	r, err := s.Get(ctx, tenant, id)
	if err != nil {
		return err
	}
	if err := s.leaveSeat(ctx, tenant, r); err != nil {
		return err
	}
	if err := store.Remove(ctx, s.agents, key(tenant, id)); err != nil {
		return fmt.Errorf("agent: remove: %w", err)
	}
	s.tellAgent(ctx, Record{Tenant: tenant})
	return nil
}

// At returns the agent's device that the calls to a number and extension concern. ErrNotFound: nobody
// is signed in there.
func (s *Service) At(ctx context.Context, tenant wire.TenantID, n tel.Number, extension string) (wire.DeviceID, error) {
	if !s.Any(tenant) {
		return "", ErrNotFound
	}
	x, _, err := s.seats.Get(ctx, seatKey(tenant, n, extension))
	if errors.Is(err, store.ErrNotFound) {
		return "", ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("agent: seat: %w", err)
	}
	r, err := s.Get(ctx, tenant, x.Agent)
	if err == nil && (!r.SignedIn(s.now()) || r.Number != n || r.Extension != extension) {
		err = ErrNotFound
	}
	return r.Device, err
}

// Of returns the agent that is signed in with the device. ErrNone.
func (s *Service) Of(ctx context.Context, tenant wire.TenantID, d wire.DeviceID) (Record, error) {
	id, err := s.agentOf(ctx, tenant, d)
	if err != nil {
		return Record{}, err
	}
	r, err := s.Get(ctx, tenant, id)
	if errors.Is(err, ErrNotFound) || err == nil && (r.Device != d || !r.SignedIn(s.now())) {
		return r, ErrNone
	}
	return r, err
}

// agentOf returns whose device it is, or was. ErrNone.
func (s *Service) agentOf(ctx context.Context, tenant wire.TenantID, d wire.DeviceID) (string, error) {
	x, _, err := s.devices.Get(ctx, key(tenant, string(d)))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return "", ErrNone
	case err != nil:
		return "", fmt.Errorf("agent: device: %w", err)
	}
	return x.Agent, nil
}

// SetState takes the agent's word of what it is doing. ErrNone, ErrInCall, ErrRequest.
func (s *Service) SetState(ctx context.Context, tenant wire.TenantID, d wire.DeviceID, q wire.AgentStateRequest) (Record, error) {
	r, err := s.Of(ctx, tenant, d)
	if err != nil {
		return r, err
	}
	set, err := s.Settings(ctx, tenant)
	if err != nil {
		return r, err
	}
	return s.change(ctx, tenant, r.ID, func(r *Record) error { return r.choose(q, set.Reasons, s.now()) })
}

// takeBackFor is how long an agent may take back a session that it has transferred.
const takeBackFor = 2 * time.Minute

// Transfer hands a session of the device's agent to another agent; or back to this one, to, shortly after it
// was transferred: its call did not get there. A supervisor who looks into a session hands that on, or takes it.
// ErrNone, ErrNotFound, ErrAway, ErrRequest.
func (s *Service) Transfer(ctx context.Context, tenant wire.TenantID, d wire.DeviceID, id wire.SessionID, to string) error {
	from, err := s.Of(ctx, tenant, d)
	if err != nil {
		return err
	}
	has := d
	if _, holder, err := s.Looking(ctx, tenant, d, id); err == nil {
		has = holder
	} else if to == from.ID {
		return s.takeBack(ctx, from, id)
	}
	other, err := s.Get(ctx, tenant, to)
	switch {
	case err != nil:
		return err
	case other.Number != from.Number: // whether there is such an agent is not this one's to know
		return ErrNotFound
	case !other.SignedIn(s.now()):
		return ErrAway
	}
	return s.cfg.Sessions.HandOver(ctx, tenant, id, d, has, other.Device)
}

// takeBack hands a session that an agent has transferred back to it. ErrNotFound, ErrRequest.
func (s *Service) takeBack(ctx context.Context, r Record, id wire.SessionID) error {
	c, _, err := s.conversations.Get(ctx, key(r.Tenant, string(id)))
	if errors.Is(err, store.ErrNotFound) {
		return ErrNotFound
	} else if err != nil {
		return fmt.Errorf("agent: conversation: %w", err)
	}
	i := slices.IndexFunc(c.Stints, func(x wire.Stint) bool { return x.To.IsZero() })
	mine := slices.ContainsFunc(c.Stints, func(x wire.Stint) bool {
		return x.Agent == r.ID && !x.To.IsZero() && s.now().Sub(x.To) < takeBackFor
	})
	switch {
	case i < 0:
		return ErrNotFound
	case c.Stints[i].Agent == r.ID:
		return fmt.Errorf("%w: the session is yours already", ErrRequest)
	case !mine:
		return ErrNotFound
	}
	holder, err := s.Get(ctx, r.Tenant, c.Stints[i].Agent)
	if err != nil {
		return err
	}
	return s.cfg.Sessions.HandOver(ctx, r.Tenant, id, r.Device, holder.Device, r.Device)
}

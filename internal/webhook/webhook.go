// Package webhook tells other programs what happens: it sends events to the endpoints
// that operators name, signed as Standard Webhooks says, in CloudEvents envelopes.
//
// [Service.Emit] writes an event down for each [Endpoint] that asked for its type, as a
// [Delivery]; only then has it happened for whoever emits it, who must repeat Emit, with
// the same id, until it returns nil. [Service.Run] delivers: at least once, in no promised
// order, with growing pauses between the attempts, and each endpoint apart, so that one
// that is slow or broken holds up no other. What was delivered, and what was not, stays
// in the log of deliveries for a while, and can be sent again ([Service.Replay]).
//
// An event bears pseudonyms of the parties, each endpoint's its own, unless the endpoint
// is set up to get identities ([Full]).
package webhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Errors of a Service.
var (
	// ErrNotFound: there is no such endpoint or delivery in this tenant.
	ErrNotFound = errors.New("webhook: not found")
	// ErrRequest: a field cannot be used as it is.
	ErrRequest = errors.New("webhook: unusable request")
	// ErrTooMany: the tenant has as many endpoints as it may.
	ErrTooMany = errors.New("webhook: too many endpoints")
)

// Post is one attempt to deliver.
type Post struct {
	URL string
	// ID, Timestamp (Unix seconds) and Signature are the three headers of Standard Webhooks.
	ID        string
	Timestamp int64
	Signature string
	Body      []byte
}

// Answer of an endpoint.
type Answer struct {
	Status int
	// RetryAfter as the endpoint asked; zero: it did not.
	RetryAfter time.Duration
}

// Poster carries a post to its endpoint. An error means that there was no answer; its text
// goes into the log of deliveries, so it must bear nothing of the body. ctx ends when the
// attempt has taken too long.
type Poster interface {
	Post(ctx context.Context, p Post) (Answer, error)
}

// Bus is the part of store.Engine that tells other nodes to look again.
type Bus interface {
	Publish(ctx context.Context, subject string, data []byte) error
	Subscribe(ctx context.Context, subject string, fn func(subject string, data []byte)) (cancel func(), err error)
}

// Config of a Service. Engine and Poster are needed.
type Config struct {
	Engine store.Engine
	Poster Poster
	// Source is the beginning of each event's source: the server's address.
	Source string
	// Plain allows http:// endpoints, besides https://.
	Plain bool
	// Timeout of one attempt. Zero: 15 seconds.
	Timeout time.Duration
	// PerEndpoint is how many attempts an endpoint gets at one time. Zero: 4.
	PerEndpoint int
	// Endpoints of one tenant, at most. Zero: 32.
	Endpoints int
	// Keep is how long deliveries stay in the log. Zero: 7 days.
	Keep time.Duration
	// GiveUp is how long an endpoint may fail before it is disabled. Zero: 5 days.
	GiveUp time.Duration
	// Pauses before each attempt after the first. Nil: [Schedule].
	Pauses []time.Duration
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
	// Jitter returns a number from 0 to 1, by which a pause grows by up to a fifth. Nil: random.
	Jitter func() float64
	// Log; nil: no log.
	Log *slog.Logger
}

// Schedule is the pauses that Standard Webhooks recommends, after the first attempt,
// which is made at once: 8 attempts in 32 hours.
var Schedule = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour,
}

// longest is the longest pause that an endpoint can ask for with Retry-After.
const longest = 24 * time.Hour

// changedSubject tells nodes that endpoints have changed, or that there is work.
const changedSubject = "webhooks"

// Service keeps endpoints and delivers events. Make it with [New]; its methods may be
// called from several goroutines and on several nodes at once.
type Service struct {
	c Config

	endpoints  store.Table[Endpoint]
	deliveries store.Table[Delivery]
	due        store.Table[pointer]
	intents    store.Table[intent]

	known atomic.Pointer[[]Endpoint] // as they were at the last look
	wake  chan struct{}
	stats counts

	mu     sync.Mutex
	flying map[string]map[string]bool // by endpoint, the keys of pointers being worked on
}

// Stats are counts since the start, but for InFlight.
type Stats struct {
	Emitted, Delivered, Failed, Disabled uint64
	// Attempts that did not succeed.
	Missed   uint64
	InFlight int
}

type counts struct{ emitted, delivered, failed, disabled, missed atomic.Uint64 }

// New checks the configuration and reads the endpoints.
func New(ctx context.Context, c Config) (*Service, error) {
	if c.Engine == nil || c.Poster == nil {
		return nil, errors.New("webhook: config needs Engine and Poster")
	}
	if c.Timeout < 0 || c.PerEndpoint < 0 || c.Endpoints < 0 || c.Keep < 0 || c.GiveUp < 0 {
		return nil, errors.New("webhook: config has a negative limit")
	}
	c.Timeout = cmp.Or(c.Timeout, 15*time.Second)
	c.PerEndpoint = cmp.Or(c.PerEndpoint, 4)
	c.Endpoints = cmp.Or(c.Endpoints, 32)
	c.Keep = cmp.Or(c.Keep, 7*24*time.Hour)
	c.GiveUp = cmp.Or(c.GiveUp, 5*24*time.Hour)
	if c.Pauses == nil {
		c.Pauses = Schedule
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Jitter == nil {
		c.Jitter = rand.Float64
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		c:          c,
		endpoints:  store.TableOf[Endpoint](c.Engine, "webhooks"),
		deliveries: store.TableOf[Delivery](c.Engine, "webhook-deliveries"),
		due:        store.TableOf[pointer](c.Engine, "webhook-due"),
		intents:    store.TableOf[intent](c.Engine, "webhook-intents"),
		wake:       make(chan struct{}, 1),
		flying:     map[string]map[string]bool{},
	}
	if err := s.look(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Stats counts.
func (s *Service) Stats() Stats {
	st := Stats{
		Emitted: s.stats.emitted.Load(), Delivered: s.stats.delivered.Load(), Failed: s.stats.failed.Load(),
		Disabled: s.stats.disabled.Load(), Missed: s.stats.missed.Load(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.flying {
		st.InFlight += len(f)
	}
	return st
}

// look reads the endpoints again.
func (s *Service) look(ctx context.Context) error {
	all, err := s.read(ctx)
	if err == nil {
		s.known.Store(&all)
	}
	return err
}

func (s *Service) read(ctx context.Context) (all []Endpoint, err error) {
	for item, err := range s.endpoints.Scan(ctx, "") {
		if err != nil {
			return nil, fmt.Errorf("webhook: read endpoints: %w", err)
		}
		all = append(all, item.Value)
	}
	return all, nil
}

// changed looks here, and lets other nodes look.
func (s *Service) changed(ctx context.Context) error {
	if err := s.look(ctx); err != nil {
		return err
	}
	s.ring()
	if err := s.c.Engine.Publish(ctx, changedSubject, nil); err != nil {
		s.c.Log.Warn("other nodes hear late of a webhook", "err", err)
	}
	return nil
}

// ring wakes Run.
func (s *Service) ring() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Service) endpoint(tenant wire.TenantID, id string) (Endpoint, bool) {
	for _, e := range *s.known.Load() {
		if e.Tenant == tenant && e.ID == id {
			return e, true
		}
	}
	return Endpoint{}, false
}

// Wants reports whether an endpoint asks for any event of the tenant with this prefix
// ("session."), so that nobody writes down what no one will hear. On other nodes than the
// one where an endpoint was added it may be wrong for a moment.
func (s *Service) Wants(tenant wire.TenantID, prefix string) bool {
	for _, e := range *s.known.Load() {
		if e.Tenant != tenant || !e.Disabled.IsZero() {
			continue
		}
		for _, t := range e.Events {
			if strings.HasPrefix(t, prefix) {
				return true
			}
		}
	}
	return false
}

// Event is something that has happened.
type Event struct {
	Tenant wire.TenantID
	// ID names the event: emitting it twice delivers it once. See [EventID].
	ID   string
	Type string
	At   time.Time
	// Subject may be empty.
	Subject string
	// Data returns the event's data; show writes what is personal.
	Data func(show Shown) any
}

// Shown writes what is personal as an endpoint may see it.
type Shown interface {
	// Party returns visible, or a pseudonym of principal, the party's principal identity;
	// "" when visible is the zero identity, since it is withheld.
	Party(principal, visible tel.Identity) string
	// Device returns the id, or a pseudonym of it.
	Device(wire.DeviceID) string
}

func (c Config) checkURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || len(raw) > 2048:
		return fmt.Errorf("%w: the address is not a URL", ErrRequest)
	case u.User != nil:
		return fmt.Errorf("%w: credentials do not belong in the address; the signature tells who sends", ErrRequest)
	case u.Scheme == "https", u.Scheme == "http" && c.Plain:
		return nil
	}
	return fmt.Errorf("%w: the address must begin with https://", ErrRequest)
}

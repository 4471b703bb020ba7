package overlay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Sessions is what overlays need of the data sessions.
type Sessions interface {
	// Session looks at one. ErrClosed.
	Session(ctx context.Context, tenant wire.TenantID, id wire.SessionID) (Session, error)
	// Send sends a message in a device's name. The same request id sends once. ErrClosed.
	Send(ctx context.Context, tenant wire.TenantID, id wire.SessionID, from wire.DeviceID, to []wire.MemberID, request wire.RequestID, kind string, body any) (wire.Sent, error)
	// Messages returns at most limit messages after a sequence that a device may read. ErrClosed.
	Messages(ctx context.Context, tenant wire.TenantID, d wire.DeviceID, id wire.SessionID, after uint64, limit int) ([]wire.Envelope, error)
}

// Session is an open session, as far as overlays are concerned.
type Session struct {
	ID    wire.SessionID
	Sides []Side
}

// Side is a party in a session, with the members that are present, or were.
type Side struct {
	Principal, Shown tel.Identity
	Members          []Member
	// Left are members who were of the side: what they sent is its own, too.
	Left []wire.MemberID
}

// Member is a device of a side.
type Member struct {
	ID     wire.MemberID
	Device wire.DeviceID
}

// is reports whether the side is one of the numbers.
func (s Side) is(numbers []string) bool {
	return credential.Covers(numbers, s.Principal) || credential.Covers(numbers, s.Shown)
}

// had reports whether a member is of the side, or was: another one of it has its place now.
func (s Side) had(id wire.MemberID) bool {
	return slices.Contains(s.Left, id) || slices.ContainsFunc(s.Members, func(m Member) bool { return m.ID == id })
}

// toAlso returns whom an overlay is addressed to, with its sender: whoever takes the sender's place
// in the session sees then what is on the customer's screen.
func (s Side) toAlso(to []wire.MemberID, from wire.DeviceID) []wire.MemberID {
	to = slices.Clone(to)
	for _, m := range s.Members {
		if m.Device == from && !slices.Contains(to, m.ID) {
			to = append(to, m.ID)
		}
	}
	return to
}

// Of returns the index of the device's side. ErrClosed.
func (x Session) Of(d wire.DeviceID) (int, error) {
	for i, s := range x.Sides {
		for _, m := range s.Members {
			if m.Device == d {
				return i, nil
			}
		}
	}
	return 0, ErrClosed
}

// provider returns the index of the one side that is one of the numbers, and has a device to
// speak through. ErrClosed.
func (x Session) provider(numbers []string) (int, error) {
	found := -1
	for i, s := range x.Sides {
		if s.is(numbers) && len(s.Members) > 0 {
			if found >= 0 {
				return 0, ErrClosed
			}
			found = i
		}
	}
	if found < 0 {
		return 0, ErrClosed
	}
	return found, nil
}

// Calls is what overlays need of the calls beside the sessions.
type Calls interface {
	// Queue of the contact centre in which the call of a session came to a party, as reports of
	// its leg named it; "" where none did.
	Queue(ctx context.Context, tenant wire.TenantID, id wire.SessionID, party tel.Identity) (string, error)
}

// Devices is what overlays need of the devices.
type Devices interface {
	// Language of a device's user, BCP 47 in lower case; "" where it is not known.
	Language(ctx context.Context, tenant wire.TenantID, d wire.DeviceID) (string, error)
}

// Config of a Service. The first four are needed.
type Config struct {
	Engine   store.Engine
	Sessions Sessions
	Calls    Calls
	Devices  Devices
	// Ask asks a provider's server; nil: none is asked.
	Ask func(ctx context.Context, q Question) ([]byte, error)
	// CheckURL refuses addresses that may not be asked; nil: none is asked.
	CheckURL func(url string) error
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log; nil means no log.
	Log *slog.Logger
}

// Service keeps overlays and sends them. Make it with [New]; [Service.Run] must run for
// predetermined ones to be sent. Its methods may be called from several goroutines and on
// several nodes at once.
type Service struct {
	cfg      Config
	stored   store.Table[Stored]
	editions store.Table[Edition]
	kept     store.Table[Kept]
	openings store.Table[Opening]
	wake     chan struct{}
	patience patience
	said     said

	mu sync.Mutex
	// predetermined overlays that are live, by tenant, as they were last read.
	predetermined map[wire.TenantID][]Stored
}

// New returns the service over the engine.
func New(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Engine == nil || cfg.Sessions == nil || cfg.Calls == nil || cfg.Devices == nil {
		return nil, errors.New("overlay: config needs Engine, Sessions, Calls and Devices")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		cfg:      cfg,
		stored:   store.TableOf[Stored](cfg.Engine, "overlays"),
		editions: store.TableOf[Edition](cfg.Engine, "overlay-versions"),
		kept:     store.TableOf[Kept](cfg.Engine, "overlay-answers"),
		openings: store.TableOf[Opening](cfg.Engine, "overlay-openings"),
		wake:     make(chan struct{}, 1),
		said:     said{all: map[reader]*heard{}},
	}
	return s, s.look(ctx)
}

// look reads which overlays are predetermined.
func (s *Service) look(ctx context.Context) error {
	all := map[wire.TenantID][]Stored{}
	for item, err := range s.stored.Scan(ctx, "") {
		if err != nil {
			return fmt.Errorf("overlay: read: %w", err)
		}
		if o := item.Value; o.Live > 0 && o.LiveWhen != nil {
			all[o.Tenant] = append(all[o.Tenant], o)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.predetermined = all
	return nil
}

// changedSubject tells other nodes that an overlay has changed.
const changedSubject = "overlays"

// changed looks here, and lets other nodes look.
func (s *Service) changed(ctx context.Context) error {
	if err := s.cfg.Engine.Publish(ctx, changedSubject, nil); err != nil {
		s.cfg.Log.Warn("other nodes hear late of an overlay", "err", err)
	}
	return s.look(ctx)
}

// Any reports whether a tenant has overlays that are sent by themselves.
func (s *Service) Any(tenant wire.TenantID) bool { return len(s.live(tenant)) > 0 }

func (s *Service) live(tenant wire.TenantID) []Stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.predetermined[tenant]
}

// Message returns the overlay that a message of a session brought to, or from, a device.
// ErrNotFound, ErrClosed.
func (s *Service) message(ctx context.Context, tenant wire.TenantID, id wire.SessionID, d wire.DeviceID, seq uint64) (wire.Envelope, error) {
	if seq == 0 {
		return wire.Envelope{}, ErrNotFound
	}
	list, err := s.cfg.Sessions.Messages(ctx, tenant, d, id, seq-1, 1)
	if err != nil {
		return wire.Envelope{}, err
	}
	if len(list) == 0 || list[0].Seq != seq || list[0].Kind != overlay.Kind {
		return wire.Envelope{}, fmt.Errorf("%w: message %d is no overlay", ErrNotFound, seq)
	}
	return list[0], nil
}

// encode writes a document anew.
func encode(v any) (json.RawMessage, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("overlay: encode: %w", err)
	}
	return b, nil
}

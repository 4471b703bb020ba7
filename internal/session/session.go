// Package session is the data session: who is in it and for how long, and the relay
// that carries messages between its members.
//
// [Record] and [Record.Next] are the state machine, without any effect of their own: a
// session is opened by the matching of two reports (SPEC B1), outlives its call for the
// linger time (B6), and is closed. [Service] is the thin loop around it. It stores
// records, tells members, and relays: [Service.Attach] gives a connection everything for
// its device, [Service.Send] appends a message to the session's log and delivers it to
// the members it is addressed to (B10), [Service.Resume] sends what was missed.
//
// A message is encoded once, as the end of the frame that members receive, and stored in
// that form; all members get the same bytes. While members are connected here, a room in
// memory follows the session's log; everything in it can be rebuilt from the store.
//
// Locks, in the order in which they nest: Service.mu, room.mu, subscriber.mu, conn.mu.
// None is held while calling the engine, an outbox, or any other port. (conn.telling,
// which is taken before all others, is: it keeps the states that one connection is told
// in order.)
package session

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Table is what session needs of a table of T; store.Table[T] fits.
type Table[T any] interface {
	Get(ctx context.Context, key string) (T, store.Rev, error)
	Put(ctx context.Context, key string, v T, at store.Rev) (store.Rev, error)
	Delete(ctx context.Context, key string, at store.Rev) error
	Scan(ctx context.Context, prefix string) iter.Seq2[store.Item[T], error]
}

// Log is the part of store.Engine that keeps messages.
type Log interface {
	Append(ctx context.Context, log string, data []byte, d store.Delivery) (store.Pending, error)
	Read(ctx context.Context, log string, after uint64, limit int) ([]store.Entry, error)
	Head(ctx context.Context, log string) (store.Head, error)
	Rewind(ctx context.Context, log string, epoch, seq uint64) (uint64, error)
	Watch(ctx context.Context, log string, fn func(store.Entry)) (cancel func(), err error)
	DropLog(ctx context.Context, log string) error
}

// Bus is the part of store.Engine that carries signals, and notices between nodes.
type Bus interface {
	Publish(ctx context.Context, subject string, data []byte) error
	Subscribe(ctx context.Context, subject string, fn func(subject string, data []byte)) (cancel func(), err error)
}

// Watcher learns what others must know of a session.
type Watcher interface {
	// Gone says that the parties left (principal identities; all of them where it was closed
	// for all) are out of the session for good, and whether the session is over. It may be
	// repeated. An error makes the service try again later. It is never called from within
	// Open, JoinDevices, CallEnded or CallUp.
	Gone(ctx context.Context, tenant wire.TenantID, id wire.SessionID, left []tel.Identity, over bool) error
	// Dropped says that the retention time of a closed session has passed, and what belongs
	// to it can be dropped as its log is. It may be repeated. An error makes the service
	// try again later.
	Dropped(ctx context.Context, tenant wire.TenantID, id wire.SessionID) error
}

// Blocks keeps which party refuses sessions with which.
type Blocks interface {
	// Block notes a refusal, between principal identities. It may be repeated. An error
	// makes the service try again later.
	Block(ctx context.Context, tenant wire.TenantID, by, against tel.Identity) error
	// BlockUnnamed does the same where against is withheld from by.
	BlockUnnamed(ctx context.Context, tenant wire.TenantID, by, against tel.Identity) error
}

// Observer is told what happens to sessions, for whoever is not in them.
type Observer interface {
	// Wants reports whether anybody wants to hear of the tenant's sessions. What happens
	// while nobody does is not told later.
	Wants(tenant wire.TenantID) bool
	// Observe tells what happened. It is decided with the change itself, and repeated until
	// it returns nil, also after a crash; so it may come twice, and must know h.ID again.
	// rec is the session by now. It must not call the service.
	Observe(ctx context.Context, rec *Record, h Happened) error
}

// Names knows the names that devices chose to show.
type Names interface {
	// Name returns "" for a device that chose none. After an error the device joins
	// without a name.
	Name(ctx context.Context, tenant wire.TenantID, device wire.DeviceID) (string, error)
}

// Outbox is a connection to a device. Its dynamic type must be comparable.
type Outbox interface {
	// Push queues one encoded frame (shared, read-only) without blocking. False: the
	// connection is closed or was too slow and is being closed.
	Push(frame []byte) bool
	// Close ends the connection with a code.
	Close(code wire.CloseCode, reason string)
}

// Pacer may be implemented by an Outbox: a resume waits for it before each message, so
// that it does not overrun the queue.
type Pacer interface {
	// Drained returns when most of what was pushed has been written out, at once if it has,
	// or when the connection is over.
	Drained(ctx context.Context) error
}

// Place is an entry of the index by device: table "session-devices", key
// store.Key(tenant, device, session).
type Place struct {
	Session wire.SessionID `json:"session"`
	At      time.Time      `json:"at"`
}

// Alarm is a time at which a session must be looked at: table "session-alarms", key
// store.Key("h" and the hours since 1970, time in milliseconds with leading zeros, tenant, session); of an earlier
// version without the hour.
type Alarm struct {
	Tenant  wire.TenantID  `json:"tenant"`
	Session wire.SessionID `json:"session"`
	At      time.Time      `json:"at"`
}

// Config of a Service.
type Config struct {
	// Stores; all are required.
	Records  Table[Record]
	ByDevice Table[Place]
	Alarms   Table[Alarm]
	Log      Log
	Bus      Bus
	// Blocks is required.
	Blocks Blocks
	// Watcher may be nil: nobody wants to know.
	Watcher Watcher
	// Observer may be nil: nobody wants to know.
	Observer Observer
	// Absent is told, after a message was stored, of the devices that it is for and that are not
	// connected to this node, without those of the sender's own party. It must not block. Nil:
	// nobody wants to know.
	Absent func(tenant wire.TenantID, id wire.SessionID, devices []wire.DeviceID)
	// Kinds check the bodies of messages and signals of a kind, before anything else is done with
	// them; the error's text is told to the sender. What is not in it passes as it is.
	Kinds map[string]func(body json.RawMessage) error
	// Names may be nil: members have no names.
	Names Names
	// Limits; the zero value means wire.DefaultLimits.
	Limits wire.Limits
	// Keep is how long the log stays after the session closed. Zero: 24 hours.
	Keep time.Duration
	// KeepDetails is how long the parties' identities stay after the session closed.
	// Zero: 5 minutes. Not longer than Keep.
	KeepDetails time.Duration
	// Tail is how many of a log's last entries are read before anybody is served; it must be more than can be
	// under way at once. The others are read when somebody looks at them, or repeats a request that may be among
	// them. Zero: 128.
	Tail uint64
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
	// Logger may be nil: nothing is logged.
	Logger *slog.Logger
}

// Service runs sessions. Make it with [New]; its methods may be called from several
// goroutines; [Service.Run] must run for sessions to close and for several nodes to
// hear of each other.
type Service struct {
	// fixed after New
	c    Config
	log  *slog.Logger
	node string // names this process on the bus

	counts counts

	look    looks          // sessions to be read again
	unnoted looks          // those whose newest state is missing in the log
	wake    chan time.Time // alarms set, for Run

	alarms alarms // of ring

	mu      sync.RWMutex
	nextID  uint64 // of connections
	devices map[deviceKey]*device
	rooms   map[roomKey]*room
	opening map[roomKey]chan struct{} // closed when Open is done with it
	// promised sessions were announced, and their record could not be stored yet.
	promised map[roomKey]time.Time
}

type deviceKey struct {
	tenant wire.TenantID
	device wire.DeviceID
}

type roomKey struct {
	tenant  wire.TenantID
	session wire.SessionID
}

func (k roomKey) record() string { return store.Key(string(k.tenant), string(k.session)) }
func (k roomKey) log() string    { return store.Key("session", string(k.tenant), string(k.session)) }
func (k roomKey) signals() string {
	return store.Key("session-signal", string(k.tenant), string(k.session))
}

func placeKey(t wire.TenantID, d wire.DeviceID, id wire.SessionID) string {
	return store.Key(string(t), string(d), string(id))
}

// New checks the configuration and returns a Service.
func New(c Config) (*Service, error) {
	if c.Records == nil || c.ByDevice == nil || c.Alarms == nil || c.Blocks == nil || c.Log == nil || c.Bus == nil {
		return nil, errors.New("session: a store is missing in the configuration")
	}
	if c.Limits == (wire.Limits{}) {
		c.Limits = wire.DefaultLimits
	}
	if l := c.Limits; l.FrameBytes <= 0 || l.MessagesPerSecond <= 0 || l.MessageBurst <= 0 || l.Members < 2 || l.LogEntries == 0 || l.LingerSeconds < 0 {
		return nil, fmt.Errorf("session: limits must be above zero: %+v", l)
	}
	c.Tail = cmp.Or(c.Tail, 128)
	c.Keep = cmp.Or(c.Keep, 24*time.Hour)
	c.KeepDetails = cmp.Or(c.KeepDetails, min(5*time.Minute, c.Keep))
	if c.Keep < 0 || c.KeepDetails < 0 || c.KeepDetails > c.Keep {
		return nil, fmt.Errorf("session: details cannot be kept (%v) longer than the log (%v)", c.KeepDetails, c.Keep)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{
		c: c, log: c.Logger, node: wire.NewID(""),
		look: looks{signal: make(chan struct{}, 1)}, wake: make(chan time.Time, 1),
		devices: map[deviceKey]*device{}, rooms: map[roomKey]*room{}, opening: map[roomKey]chan struct{}{}, promised: map[roomKey]time.Time{},
	}, nil
}

func (s *Service) terms() Terms {
	l := s.c.Limits
	return Terms{
		Linger:    time.Duration(l.LingerSeconds) * time.Second,
		LingerMax: time.Duration(l.LingerMaxSeconds) * time.Second,
		Members:   l.Members,
	}
}

// problem turns an error into what a device may see; what it may not is logged.
func (s *Service) problem(doing string, err error) *wire.Problem {
	var p *wire.Problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, store.ErrFull):
		return wire.NewProblem(wire.CodeStorageFull, "")
	case errors.Is(err, store.ErrTooLarge):
		return wire.NewProblem(wire.CodeTooLarge, "")
	case errors.Is(err, store.ErrClosed):
		return wire.NewProblem(wire.CodeDraining, "")
	case errors.Is(err, store.ErrUncertain), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return wire.NewProblem(wire.CodeUncertain, "")
	}
	s.log.Error("session: request failed", "doing", doing, "err", err)
	return wire.NewProblem(wire.CodeInternal, "")
}

func notMember() *wire.Problem { return wire.NewProblem(wire.CodeNotMember, "") }

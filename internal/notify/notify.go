// Package notify decides which devices are woken by push, and for what (SPEC B2, B7, B9,
// C5): an invitation, words to compare, a session that was opened, data that waits.
//
// [Service.Wake] writes a [Wake] down for a device that is not connected; only then is
// the matter done for whoever asks for it, who must repeat Wake until it returns nil.
// [Service.Run] delivers by the [Pusher] of the device's platform, with growing pauses until
// the matter lapses, also after a crash; [Service.Withdraw] takes it back, by a further push
// if the first was sent.
//
// A push carries nothing but an identifier. What it is about the device fetches with it
// ([Service.Get]). The identifier is derived from the server's secret and the matter, so a
// repetition is the same push, a later one about the same matter takes the earlier one's
// place on the screen, and nobody can guess it.
//
//	matter ──Wake──▶ Waiting ──attempt──▶ Sent ──Withdraw──▶ Waiting (withdrawn) ──▶ Sent
//	                    │  ▲                │ Came, Left
//	                    │  └────────────────┘
//	                    ├──▶ Dropped: withdrawn before it was sent; the device is here, or has no application
//	                    └──▶ Failed: refused, or lapsed before any attempt succeeded
package notify

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-call/tandem/internal/due"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// ErrNotFound: there is no such push, or it has lapsed.
var ErrNotFound = errors.New("notify: no such push")

// Errors of a Pusher. Any other error is one that may pass.
var (
	// ErrGone: the application id is dead, for ever; it is dropped.
	ErrGone = errors.New("notify: the application id is no longer valid")
	// ErrRefused: this push, or our credentials, will not do; a repetition is no use.
	ErrRefused = errors.New("notify: the push service refuses it")
)

// Later is an error of a Pusher that has been asked to wait.
type Later struct {
	// After is how long, at least.
	After time.Duration
	// Everyone: it holds for all pushes of this platform, not for this one device.
	Everyone bool
	Err      error
}

func (l *Later) Error() string { return l.Err.Error() }

// Unwrap gives the reason.
func (l *Later) Unwrap() error { return l.Err }

// Push is one attempt to wake a device.
type Push struct {
	// App is the platform's name of the application on the device.
	App string
	// ID is what the device gets to know; a later push with the same takes its place.
	ID   wire.PushID
	Kind wire.PushKind
	// Withdraw: the notification shown for ID is to be taken away.
	Withdraw bool
	// TTL is for how long the push service may keep it.
	TTL time.Duration
	// Urgent: somebody waits for it, in a call.
	Urgent bool
	// About is what it is about: for text messages, which are all that their receiver gets.
	// Other pushes bear nothing of it.
	About wire.Push
}

// Pusher hands a push to a platform's service. nil means that the service has taken it.
// ErrGone, ErrRefused, *Later; error texts go to the log and to the operator, so they bear
// neither the application id nor the push's.
type Pusher interface {
	Push(ctx context.Context, p Push) error
}

// Devices is what the service needs to know of devices.
type Devices interface {
	// App returns the application by which a device is woken; nil for none, and for a device
	// that may not act.
	App(ctx context.Context, tenant wire.TenantID, id wire.DeviceID) (*wire.App, error)
	// Drop forgets the application of a device, unless it has another one by now.
	Drop(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, dead wire.App) error
}

// Config of a Service. Engine, Secret, Devices and Connected are needed.
type Config struct {
	Engine store.Engine
	// Secret of the server's, at least 16 bytes, from which identifiers are derived.
	Secret  []byte
	Devices Devices
	// Pushers by platform: "apns", "fcm", "webpush". Devices of others are not woken.
	Pushers map[string]Pusher
	// Connected reports whether a device is connected to this node.
	Connected func(tenant wire.TenantID, id wire.DeviceID) bool
	// Remind asks whatever a device is being asked at this moment, by Wake where it is not
	// connected; called some seconds after it has gone. Nil: nothing is ever asked.
	Remind func(ctx context.Context, tenant wire.TenantID, id wire.DeviceID) error
	// Timeout of one attempt. Zero: 10 seconds.
	Timeout time.Duration
	// PerPlatform is how many attempts a platform gets at one time. Zero: 64.
	PerPlatform int
	// KeepData is how long a push may wait at its service that says that data waits, or that a
	// session was opened. Zero: 24 hours.
	KeepData time.Duration
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
	// Jitter returns a number from 0 to 1, by which a pause grows by up to a fifth. Nil: random.
	Jitter func() float64
	// Log; nil: no log.
	Log *slog.Logger
}

// Service keeps and delivers pushes. Make it with [New]; its methods may be called from
// several goroutines, and on several nodes at once.
type Service struct {
	c     Config
	wakes store.Table[Wake]
	times *due.Times
	stats stats

	places map[string]chan struct{} // attempts under way, by platform

	mu     sync.Mutex
	paused map[string]time.Time // by platform
	// announced are the sessions whose data a device that is away has been told of, and when.
	announced map[deviceKey]map[wire.SessionID]time.Time
	// back are devices that have come to another node, and what they were told of by this one.
	back []waiting
	data []waiting // to be written down by Run
	gone map[string]deviceKey
	// flying are the records with an attempt under way; true: to be looked at again.
	flying map[string]bool
}

type deviceKey struct {
	tenant wire.TenantID
	device wire.DeviceID
}

type waiting struct {
	deviceKey
	session wire.SessionID
}

// Stats are counts since the start, by platform.
type Stats struct {
	Sent, Missed, Refused, Gone map[string]uint64
	// Seconds from a matter's beginning until its push was taken, summed over Sent.
	Seconds float64
	// Waiting are pushes with an attempt to come.
	Waiting int
}

type stats struct {
	mu                          sync.Mutex
	sent, missed, refused, gone map[string]uint64
	seconds                     atomic.Uint64 // microseconds
}

func (s *stats) count(m map[string]uint64, platform string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m[platform]++
}

// New checks the configuration.
func New(c Config) (*Service, error) {
	if c.Engine == nil || len(c.Secret) < 16 || c.Devices == nil || c.Connected == nil {
		return nil, errors.New("notify: config needs Engine, Secret, Devices and Connected")
	}
	if c.Timeout < 0 || c.PerPlatform < 0 || c.KeepData < 0 {
		return nil, errors.New("notify: config has a negative limit")
	}
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	c.PerPlatform = cmp.Or(c.PerPlatform, 64)
	c.KeepData = cmp.Or(c.KeepData, 24*time.Hour)
	if c.Remind == nil {
		c.Remind = func(context.Context, wire.TenantID, wire.DeviceID) error { return nil }
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
		c: c, wakes: store.TableOf[Wake](c.Engine, "wakes"), times: due.New(),
		places: map[string]chan struct{}{}, paused: map[string]time.Time{},
		announced: map[deviceKey]map[wire.SessionID]time.Time{}, gone: map[string]deviceKey{}, flying: map[string]bool{},
	}
	s.stats.sent, s.stats.missed, s.stats.refused, s.stats.gone = map[string]uint64{}, map[string]uint64{}, map[string]uint64{}, map[string]uint64{}
	for platform := range c.Pushers {
		s.places[platform] = make(chan struct{}, c.PerPlatform)
	}
	return s, nil
}

// Stats counts.
func (s *Service) Stats() Stats {
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	clone := func(m map[string]uint64) map[string]uint64 {
		c := map[string]uint64{}
		for platform := range s.c.Pushers {
			c[platform] = m[platform]
		}
		return c
	}
	return Stats{
		Sent: clone(s.stats.sent), Missed: clone(s.stats.missed), Refused: clone(s.stats.refused), Gone: clone(s.stats.gone),
		Seconds: float64(s.stats.seconds.Load()) / 1e6, Waiting: s.times.Len(),
	}
}

// id names the push about a matter to a device.
func (s *Service) id(m Matter) wire.PushID {
	mac := hmac.New(sha256.New, s.c.Secret)
	fmt.Fprintf(mac, "push\x00%s\x00%s\x00%s\x00%s\x00%s", m.Tenant, m.Device, m.Number, m.Push.Kind, m.Ref)
	return wire.PushID("psh_" + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(mac.Sum(nil)[:16]))
}

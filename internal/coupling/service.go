package coupling

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Devices is what couplings need of the registry of devices.
type Devices interface {
	Get(ctx context.Context, tenant wire.TenantID, id wire.DeviceID) (device.Device, error)
	// Couple binds a device on the word of somebody who has proved the number; Uncouple takes
	// that back, and cuts off a device that has nothing else; Lapse does so and keeps it known.
	// All may repeat.
	Couple(ctx context.Context, q device.Request, vouched device.ProofKind, until time.Time) (device.Device, error)
	Uncouple(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, n tel.Number) error
	Lapse(ctx context.Context, tenant wire.TenantID, id wire.DeviceID, n tel.Number) error
}

// Config of a Service. Engine and Devices are needed; the zero value of each other field is
// its default.
type Config struct {
	Engine  store.Engine
	Devices Devices
	// Made is told that a device carries data for a number from now on; again: it did before,
	// and was away. Ended is told that it does so no longer; apart: it may come back. Both may
	// be called twice for one event. An error fails the request, which can be repeated. Nil:
	// nobody is told.
	Made  func(ctx context.Context, c Coupling, again bool) error
	Ended func(ctx context.Context, c Coupling, apart bool) error
	// Barred numbers are coupled with nothing, and whoever tries learns nothing of it. Nil:
	// none.
	Barred func(ctx context.Context, tenant wire.TenantID, n tel.Number) (bool, error)

	// CodeTTL is how long a code is valid; zero means 5 minutes. An operator's may be longer.
	CodeTTL time.Duration
	// Lease of a temporary coupling; zero means 2 minutes.
	Lease time.Duration
	// PerNumber is the most devices that are coupled with one number; zero means 16.
	PerNumber int
	// Tries at one request; zero means 3.
	Tries int
	// Requests of one address, offers by one device, and wrong codes typed by one device or for
	// one number, per hour; zero means 20, 20, 10.
	AddressPerHour, OffersPerHour, WrongPerHour int

	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log; nil means no log.
	Log *slog.Logger
}

// Service keeps the couplings. Make it with [New]; [Service.Run] must run for leases to run
// out. Its methods may be called from several goroutines and on several nodes at once.
type Service struct {
	cfg       Config
	secret    []byte
	couplings store.Table[Coupling]
	codes     store.Table[code]
	requests  store.Table[Request]
	limits    store.Table[usage]
	choices   store.Table[Choice]
	chosen    sync.Map // tenants with choices of sessions
	getsMu    sync.RWMutex
	gets      gets          // guarded by getsMu
	getsMade  int           // guarded by getsMu: choices that were noted one by one
	sooner    chan struct{} // a lease was given
}

// New returns the service over the engine. At the first start it makes the server's secret.
func New(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Engine == nil || cfg.Devices == nil {
		return nil, errors.New("coupling: config needs Engine and Devices")
	}
	for name, n := range map[string]int64{
		"CodeTTL": int64(cfg.CodeTTL), "Lease": int64(cfg.Lease), "PerNumber": int64(cfg.PerNumber), "Tries": int64(cfg.Tries),
		"AddressPerHour": int64(cfg.AddressPerHour), "OffersPerHour": int64(cfg.OffersPerHour), "WrongPerHour": int64(cfg.WrongPerHour),
	} {
		if n < 0 {
			return nil, fmt.Errorf("coupling: %s is negative", name)
		}
	}
	cfg.CodeTTL = cmp.Or(cfg.CodeTTL, 5*time.Minute)
	cfg.Lease = cmp.Or(cfg.Lease, 2*time.Minute)
	cfg.PerNumber = cmp.Or(cfg.PerNumber, 16)
	cfg.Tries = cmp.Or(cfg.Tries, 3)
	cfg.AddressPerHour = cmp.Or(cfg.AddressPerHour, 20)
	cfg.OffersPerHour = cmp.Or(cfg.OffersPerHour, 20)
	cfg.WrongPerHour = cmp.Or(cfg.WrongPerHour, 10)
	if cfg.Made == nil {
		cfg.Made = func(context.Context, Coupling, bool) error { return nil }
	}
	if cfg.Ended == nil {
		cfg.Ended = func(context.Context, Coupling, bool) error { return nil }
	}
	if cfg.Barred == nil {
		cfg.Barred = func(context.Context, wire.TenantID, tel.Number) (bool, error) { return false, nil }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	secret, err := loadSecret(ctx, cfg.Engine)
	if err != nil {
		return nil, err
	}
	s := &Service{
		cfg: cfg, secret: secret,
		couplings: store.TableOf[Coupling](cfg.Engine, "couplings"),
		codes:     store.TableOf[code](cfg.Engine, "coupling_codes"),
		requests:  store.TableOf[Request](cfg.Engine, "coupling_requests"),
		limits:    store.TableOf[usage](cfg.Engine, "coupling_limits"),
		choices:   store.TableOf[Choice](cfg.Engine, "device_choices"),
		sooner:    make(chan struct{}, 1),
	}
	return s, s.lookAtChoices(ctx)
}

func couplingKey(tenant wire.TenantID, n tel.Number, d wire.DeviceID) string {
	return store.Key(string(tenant), n.String(), string(d))
}

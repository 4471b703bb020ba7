package wsconn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/tandem-call/tandem/wire"
)

// Config of a Handler.
type Config struct {
	// Backend is required.
	Backend Backend
	// Origins are the hosts ("app.example.org", "localhost:5173") whose pages may connect,
	// besides the server's own. A request without Origin is not from a browser and passes.
	Origins []string
	// Heartbeat is the longest silence either side may keep; after two of them the
	// connection is closed. Zero: 25 s.
	Heartbeat time.Duration
	// AuthTimeout is how long a WebSocket may wait with its hello, and how long the
	// backend may take for it. Zero: 10 s.
	AuthTimeout time.Duration
	// RequestTimeout is how long a POST waits for its answer. Zero: 10 s.
	RequestTimeout time.Duration
	// CloseTimeout is how long a closing connection may take to flush what is queued and
	// to answer the close frame. Zero: 5 s.
	CloseTimeout time.Duration
	// DrainSpread is the time over which Drain closes the connections, so that not all
	// come back at once. Zero: 2 s.
	DrainSpread time.Duration
	// QueueBytes and QueueFrames bound what waits for a slow device. Zero: 1 MiB, 4096.
	QueueBytes, QueueFrames int
	// MaxConnsPerDevice counts WebSockets and event streams together. Zero: 8.
	MaxConnsPerDevice int
	// MaxPending bounds the connections that have not authenticated themselves yet;
	// MaxPendingPerAddr those of one address (an IPv6 /64 counts as one). Zero: 4096, 64.
	MaxPending, MaxPendingPerAddr int
	// FloodPerSecond and FloodBurst are the frames of one WebSocket, of every kind, above
	// which it is closed with wire.CloseRate. The session core's own limits, which are
	// answered politely, lie well below. Zero: ten times those in Limits.
	FloodPerSecond, FloodBurst int
	// Limits are told to the devices; FrameBytes is enforced here. Zero: wire.DefaultLimits.
	Limits wire.Limits
	// RemoteAddr finds the device's address, e.g. in a trusted proxy's header. Nil: the
	// connection's.
	RemoteAddr func(*http.Request) netip.Addr
	// Elsewhere hands the frame of a POST, for a stream that is not here, to the node that
	// holds it; see Handler.For. False: no node does. Nil: there is no other node.
	Elsewhere func(ctx context.Context, who Identity, stream string, frame []byte) (Answer, bool)
	// Logger, nil: slog.Default().
	Logger *slog.Logger
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// ErrConfig says that a Config is not valid.
var ErrConfig = errors.New("wsconn: bad configuration")

// complete checks the configuration and fills in what zero values stand for.
func (c Config) complete() (Config, error) {
	if c.Backend == nil {
		return c, fmt.Errorf("%w: no backend", ErrConfig)
	}
	for _, n := range []int64{int64(c.Heartbeat), int64(c.AuthTimeout), int64(c.RequestTimeout), int64(c.CloseTimeout),
		int64(c.DrainSpread), int64(c.QueueBytes), int64(c.QueueFrames), int64(c.MaxConnsPerDevice), int64(c.MaxPending),
		int64(c.MaxPendingPerAddr), int64(c.FloodPerSecond), int64(c.FloodBurst), int64(c.Limits.FrameBytes)} {
		if n < 0 {
			return c, fmt.Errorf("%w: a time or bound is negative", ErrConfig)
		}
	}
	for _, o := range c.Origins {
		if o == "" || strings.ContainsAny(o, "/*@ ") {
			return c, fmt.Errorf("%w: origin %q is not a host such as app.example.org or localhost:5173", ErrConfig, o)
		}
	}
	if c.Limits == (wire.Limits{}) {
		c.Limits = wire.DefaultLimits
	}
	if c.Limits.FrameBytes == 0 {
		return c, fmt.Errorf("%w: limits allow no frame", ErrConfig)
	}
	c.Heartbeat = cmp.Or(c.Heartbeat, 25*time.Second)
	if c.Heartbeat < time.Second {
		return c, fmt.Errorf("%w: heartbeat of %v is below a second, the unit in which devices are told it", ErrConfig, c.Heartbeat)
	}
	c.AuthTimeout = cmp.Or(c.AuthTimeout, 10*time.Second)
	c.RequestTimeout = cmp.Or(c.RequestTimeout, 10*time.Second)
	c.CloseTimeout = cmp.Or(c.CloseTimeout, 5*time.Second)
	c.DrainSpread = cmp.Or(c.DrainSpread, 2*time.Second)
	c.QueueBytes = cmp.Or(c.QueueBytes, 1<<20)
	c.QueueFrames = cmp.Or(c.QueueFrames, 4096)
	c.MaxConnsPerDevice = cmp.Or(c.MaxConnsPerDevice, 8)
	c.MaxPending = cmp.Or(c.MaxPending, 4096)
	c.MaxPendingPerAddr = cmp.Or(c.MaxPendingPerAddr, 64)
	c.FloodPerSecond = cmp.Or(c.FloodPerSecond, int(10*c.Limits.MessagesPerSecond), 1000)
	c.FloodBurst = cmp.Or(c.FloodBurst, 10*c.Limits.MessageBurst, 10_000)
	if c.RemoteAddr == nil {
		c.RemoteAddr = remoteAddr
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

func remoteAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

package wsconn

import (
	"sync"
	"sync/atomic"

	"github.com/tandem-call/tandem/wire"
)

// DropReason says why a frame never reached its device.
type DropReason int

// Reasons for drops.
const (
	DropSlow     DropReason = iota // queued when the device proved too slow
	DropClosed                     // pushed to, or queued in, a connection that is over
	DropBroken                     // queued, or being written, when the connection broke
	DropNoStream                   // caused by a POST that named no stream
	dropReasons
)

var dropNames = [dropReasons]string{"slow", "closed", "broken", "no-stream"}

// String returns the reason's name, as in metrics.
func (r DropReason) String() string { return dropNames[r] }

// Stats are counts since the start, and the connections of this moment.
type Stats struct {
	Sockets, Streams int // open now, authenticated
	Pending          int // open now, not authenticated yet

	FramesIn, FramesOut uint64 // envelopes
	BytesIn, BytesOut   uint64 // payload in, everything written out
	Writes              uint64 // to sockets; FramesOut/Writes tells how well they coalesce
	SlowClosings        uint64
	// Dropped frames by reason (see DropReason).
	Dropped map[string]uint64
	// Closings by the server, by code.
	Closings map[wire.CloseCode]uint64
	// Refused requests, by the problem's code.
	Refused map[wire.Code]uint64
}

// Open is the number of authenticated connections.
func (s Stats) Open() int { return s.Sockets + s.Streams }

type counters struct {
	framesIn, framesOut, bytesIn, bytesOut, writes atomic.Uint64
	dropped                                        [dropReasons]atomic.Uint64

	mu       sync.Mutex
	closings map[wire.CloseCode]uint64
	refused  map[wire.Code]uint64
}

func (c *counters) drop(r DropReason, n int) {
	if n > 0 {
		c.dropped[r].Add(uint64(n))
	}
}

func (c *counters) closing(code wire.CloseCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closings[code]++
}

func (c *counters) refuse(code wire.Code) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[code]++
}

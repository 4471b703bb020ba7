package store

import (
	"context"
	"time"
)

// Portable is an engine whose whole content can be listed and written anew, so that it can
// be carried to another engine: see package archive. Both engines are.
type Portable interface {
	Engine
	// Tables, Logs and Counters name what holds something, in order.
	Tables(ctx context.Context) ([]string, error)
	Logs(ctx context.Context) ([]string, error)
	Counters(ctx context.Context) ([]string, error)
	// Renew gives all logs that begin from now on epochs beyond any given out before.
	Renew(ctx context.Context) error
	// AppendAt is Append with DeliverAfter of an entry that was first appended at a time.
	AppendAt(ctx context.Context, log string, data []byte, at time.Time) (Pending, error)
}

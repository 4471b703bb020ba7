package store

import "context"

type linearizableKey struct{}

// Linearizable returns a context whose reads are linearizable: what an [Engine.Get], [Engine.Head] or [Engine.Scan]
// shows has everything that was acknowledged, at whatever node, before the read began. Other reads are so, too, but
// in a cluster while the machine that leads is parted from its peers and does not know it yet: it shows what was so
// some seconds ago. Who decides by compare-and-set needs nothing of this, since the write fails then; it is for
// answers that somebody outside compares with what they know. In a cluster such a read costs a small write.
func Linearizable(ctx context.Context) context.Context {
	return context.WithValue(ctx, linearizableKey{}, true)
}

// IsLinearizable reports whether reads with the context are to be linearizable.
func IsLinearizable(ctx context.Context) bool {
	is, _ := ctx.Value(linearizableKey{}).(bool)
	return is
}

// believing is for reads that a write will prove.
func believing(ctx context.Context) context.Context {
	if !IsLinearizable(ctx) {
		return ctx
	}
	return context.WithValue(ctx, linearizableKey{}, false)
}

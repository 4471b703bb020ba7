package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/tandem-call/tandem/internal/edge/network/sip"
	"github.com/tandem-call/tandem/internal/store"
)

// sipMemory keeps the calls of one node's SIP element, in the tables "sip_calls" and "sip_seen".
// The one that is started on the same machine with the same address goes on with them.
type sipMemory struct {
	calls store.Table[sip.Kept]
	seen  store.Table[time.Time]
	at    string // key of the node
}

// sipForgotten is after how long a node that does not come back is forgotten, with its calls.
const sipForgotten = 25 * time.Hour

func (s *Server) newSIPMemory() (sipMemory, error) {
	host, err := os.Hostname()
	if err != nil {
		return sipMemory{}, fmt.Errorf("server: %w", err)
	}
	return sipMemory{
		store.TableOf[sip.Kept](s.engine, "sip_calls"), store.TableOf[time.Time](s.engine, "sip_seen"), store.Key(host, s.cfg.Listen+" "+s.cfg.SIP.Listen),
	}, nil
}

func (m sipMemory) key(id string) string { return m.at + "/" + store.Key(id) }

func (m sipMemory) Keep(ctx context.Context, id string, c sip.Kept) error {
	_, err := store.Change(ctx, m.calls, m.key(id), func(sip.Kept, bool) (sip.Kept, bool, error) { return c, true, nil })
	if err != nil {
		return fmt.Errorf("server: keep a SIP call: %w", err)
	}
	return nil
}

func (m sipMemory) Forget(ctx context.Context, id string) error {
	return m.forget(ctx, m.key(id))
}

func (m sipMemory) forget(ctx context.Context, key string) error {
	if err := store.Remove(ctx, m.calls, key); err != nil {
		return fmt.Errorf("server: forget a SIP call: %w", err)
	}
	return nil
}

func (m sipMemory) Seen(ctx context.Context, at time.Time) error {
	_, err := store.Change(ctx, m.seen, m.at, func(time.Time, bool) (time.Time, bool, error) { return at, true, nil })
	if err != nil {
		return fmt.Errorf("server: note that the SIP element is there: %w", err)
	}
	return nil
}

func (m sipMemory) Kept(ctx context.Context) (map[string]sip.Kept, time.Time, error) {
	calls := map[string]sip.Kept{}
	for item, err := range m.calls.Scan(ctx, m.at+"/") {
		if err != nil {
			return nil, time.Time{}, fmt.Errorf("server: read the SIP calls: %w", err)
		}
		calls[strings.TrimPrefix(item.Key, m.at+"/")] = item.Value
	}
	seen, _, err := m.seen.Get(ctx, m.at)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, time.Time{}, fmt.Errorf("server: read when the SIP element was there: %w", err)
	}
	return calls, seen, nil
}

func (s *Server) sweepSIP(ctx context.Context) error {
	m, err := s.newSIPMemory()
	if err != nil {
		return err
	}
	return m.Sweep(ctx)
}

// Sweep forgets the nodes that have not come back for long, and their calls.
func (m sipMemory) Sweep(ctx context.Context) error {
	last, over := map[string]time.Time{}, func(t time.Time) bool { return time.Since(t) > sipForgotten }
	for item, err := range m.seen.Scan(ctx, "") {
		if err != nil {
			return fmt.Errorf("server: sweep SIP elements: %w", err)
		}
		last[item.Key] = item.Value
	}
	var calls []string
	for item, err := range m.calls.Scan(ctx, "") {
		if err != nil {
			return fmt.Errorf("server: sweep SIP calls: %w", err)
		}
		node := item.Key[:strings.LastIndexByte(item.Key, '/')]
		if over(last[node]) && over(item.Value.Began) {
			calls = append(calls, item.Key)
		}
	}
	for _, key := range calls {
		if err := m.forget(ctx, key); err != nil {
			return err
		}
	}
	for node, at := range last {
		if !over(at) {
			continue
		}
		if err := store.Remove(ctx, m.seen, node); err != nil {
			return fmt.Errorf("server: sweep SIP elements: %w", err)
		}
	}
	return nil
}

package natsstore

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Nodes that append to one log at once count from the same end, and all but one are refused. Where one
// is nearer to the stream's leader, that is the same one each time: its next entry is under way before
// another's arrives. So who is refused again asks the others to give way: they wait with their next entry until
// they have seen another's, or for as long as the asking one needs for a few attempts.

// refusals after which a node asks, and how long the others wait at the least and at most.
const (
	refusals    = 2
	shortestWay = 2 * pause
	longestWay  = 2 * time.Second
)

// way is what a node asks the others for, below the subject of [Store.wayRoot] that ends as the log's.
type way struct {
	Node string        `json:"node"`
	For  time.Duration `json:"for_ns"`
}

func (s *Store) wayRoot() string { return s.opt.Prefix + ".way." }

// ask asks the other nodes to give way in a log. attempt is how long one took. That nobody hears it does no
// harm: it is asked again after the next refusal.
func (s *Store) ask(log string, attempt time.Duration) {
	k, err := subject(log)
	if err != nil {
		return
	}
	b, _ := json.Marshal(way{s.node, min(max(4*attempt, shortestWay), longestWay)})
	_ = s.nc.Publish(s.wayRoot()+k, b)
}

// asked takes what other nodes ask for.
func (s *Store) asked(m *nats.Msg) {
	var w way
	if json.Unmarshal(m.Data, &w) != nil || w.Node == s.node {
		return
	}
	if t := s.tailOf(name(strings.TrimPrefix(m.Subject, s.wayRoot()))); t != nil {
		t.way.Store(time.Now().Add(min(w.For, longestWay)).UnixNano())
	}
}

// heard notes the end of a log as a live copy tells it.
func (s *Store) heard(log string, e end) {
	t := s.tailOf(log)
	if t == nil {
		return
	}
	for old := t.heard.Load(); old == nil || old.last < e.last; old = t.heard.Load() {
		if t.heard.CompareAndSwap(old, &e) {
			return
		}
	}
}

func (s *Store) tailOf(log string) *tail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tails[log]
}

// giveWay waits while another node is to go first, and counts from what was heard meanwhile. The caller has the turn.
func (t *tail) giveWay(ctx context.Context) error {
	for !t.count() && time.Now().UnixNano() < t.way.Load() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil
}

// count counts from an entry that was heard, if it is later than what is known.
func (t *tail) count() bool {
	e := t.heard.Load()
	if e == nil || e.last <= t.end.last {
		return false
	}
	t.end, t.known = *e, true
	return true
}

package natsstore

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
)

// maxGather is how much one direct request may return, in bytes.
const maxGather = 8 << 20

// gathers are the direct requests under way. Their answers come to one inbox: a subscription for
// each would be told to every server of the cluster, and taken back, at each read.
type gathers struct {
	inbox string // what their reply subjects begin with

	mu    sync.Mutex
	last  uint64
	under map[string]chan *nats.Msg // by reply subject
}

// listen subscribes to the inbox, for as long as the connection lasts.
func (s *Store) listen() error {
	s.gathers.inbox, s.gathers.under = s.nc.NewInbox()+".", map[string]chan *nats.Msg{}
	sub, err := s.nc.Subscribe(s.gathers.inbox+"*", s.gathers.take)
	if err != nil {
		return err
	}
	return sub.SetPendingLimits(-1, -1) // each request has its own
}

// begin returns where a request is to be answered, with so many messages at most and one that says that
// these were all; end when nobody waits any more.
func (g *gathers) begin(most int) (reply string, answers chan *nats.Msg, end func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last++
	reply, answers = g.inbox+strconv.FormatUint(g.last, 36), make(chan *nats.Msg, most+1)
	g.under[reply] = answers
	return reply, answers, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.under, reply)
	}
}

func (g *gathers) take(m *nats.Msg) {
	g.mu.Lock()
	answers := g.under[m.Subject]
	g.mu.Unlock()
	select {
	case answers <- m:
	default: // nobody waits any more
	}
}

// gather asks any replica for many messages at once. upTo is the sequence that the
// replica had reached, for multi_last requests; zero when the answer is incomplete.
// What it returns may be too little: the replica may lag, the answer may be cut.
func (s *Store) gather(ctx context.Context, stream string, req getRequest) (got []message, upTo uint64) {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	req.MaxBytes = maxGather
	body, err := json.Marshal(req)
	if err != nil {
		return nil, 0
	}
	reply, answers, end := s.gathers.begin(max(req.Batch, len(req.MultiLast)))
	defer end()
	if err := s.nc.PublishRequest("$JS.API.DIRECT.GET."+stream, reply, body); err != nil {
		return nil, 0
	}
	for {
		select {
		case <-ctx.Done():
			return got, 0
		case m := <-answers:
			if m.Header.Get("Status") != "" { // 204 is the end of the batch, others are refusals
				upTo, _ = strconv.ParseUint(m.Header.Get("Nats-UpTo-Sequence"), 10, 64)
				return got, upTo
			}
			got = append(got, published(m))
		}
	}
}

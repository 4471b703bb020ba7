package server

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/tandem-call/tandem/internal/edge/transport/wsconn"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// Subjects of requests for the event streams of other nodes, and of what those answer.
const (
	streamSubject = "stream"
	answerSubject = "stream-answer"
)

// takenWithin is how long the node that holds a stream may take to say so, and answeredWithin
// how long it may then take to answer.
const (
	takenWithin    = 2 * time.Second
	answeredWithin = 20 * time.Second
)

// streams carries the POSTs of event streams to the nodes that hold the streams: a load
// balancer may send a device's stream to one node and its requests to others. A message of
// the bus can be lost; the device then repeats its request, which is harmless.
type streams struct {
	*Server
	node string

	mu      sync.Mutex
	waiting map[string]chan streamAnswer
}

type streamRequest struct {
	Node   string          `json:"node"` // that asks
	ID     string          `json:"id"`
	Who    wsconn.Identity `json:"who"`
	Stream string          `json:"stream"`
	Frame  json.RawMessage `json:"frame"`
}

type streamAnswer struct {
	ID string `json:"id"`
	// Answer; nil: the stream is here, and the answer is to come.
	Answer *wsconn.Answer `json:"answer,omitempty"`
}

func newStreams(s *Server) *streams {
	return &streams{Server: s, node: wire.NewID("node_"), waiting: map[string]chan streamAnswer{}}
}

// elsewhere serves wsconn.Config.
func (s *streams) elsewhere(ctx context.Context, who wsconn.Identity, stream string, frame []byte) (wsconn.Answer, bool) {
	r := streamRequest{Node: s.node, ID: wire.NewID("ask_"), Who: who, Stream: stream, Frame: frame}
	answers := make(chan streamAnswer, 2)
	s.mu.Lock()
	s.waiting[r.ID] = answers
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waiting, r.ID)
		s.mu.Unlock()
	}()
	if !s.say(ctx, streamSubject, r) {
		return wsconn.Answer{}, false
	}
	late := time.NewTimer(takenWithin)
	defer late.Stop()
	taken := false
	for {
		select {
		case a := <-answers:
			if a.Answer != nil {
				return *a.Answer, true
			}
			taken = true
			late.Reset(answeredWithin)
		case <-ctx.Done():
			return uncertain(), taken
		case <-late.C:
			return uncertain(), taken
		}
	}
}

// uncertain is the answer when none came.
func uncertain() wsconn.Answer {
	p := wire.NewProblem(wire.CodeUncertain, "the node that holds the event stream has not answered")
	body, _ := json.Marshal(p) // a problem can always be encoded
	a := wsconn.Answer{Status: p.Status, Body: body}
	a.Header = map[string][]string{"Content-Type": {"application/problem+json"}, "Cache-Control": {"no-store"}}
	return a
}

func (s *streams) say(ctx context.Context, subject string, what any) bool {
	data, err := json.Marshal(what)
	if err == nil {
		err = s.engine.Publish(ctx, subject, data)
	}
	if err != nil {
		s.log.Warn("a request did not get to the node of its event stream", "err", err)
	}
	return err == nil
}

// watchStreams carries out what other nodes got for streams that are here, and takes their
// answers.
func (s *Server) watchStreams(ctx context.Context) (cancel func(), err error) {
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	var under sync.WaitGroup
	requests, err := s.engine.Subscribe(ctx, streamSubject, func(_ string, data []byte) {
		var r streamRequest
		if err := json.Unmarshal(data, &r); err != nil {
			s.log.Warn("another node said what cannot be read", "err", err)
			return
		}
		if r.Node == s.streams.node || !s.sockets.Has(r.Who, r.Stream) {
			return
		}
		under.Go(func() {
			to := store.Key(answerSubject, r.Node)
			s.streams.say(life, to, streamAnswer{ID: r.ID})
			a := s.sockets.For(life, r.Who, r.Stream, r.Frame)
			s.streams.say(life, to, streamAnswer{r.ID, &a})
		})
	})
	if err != nil {
		stop()
		return nil, err
	}
	answers, err := s.engine.Subscribe(ctx, store.Key(answerSubject, s.streams.node), func(_ string, data []byte) {
		var a streamAnswer
		if err := json.Unmarshal(data, &a); err != nil {
			s.log.Warn("another node said what cannot be read", "err", err)
			return
		}
		s.streams.mu.Lock()
		defer s.streams.mu.Unlock()
		select {
		case s.streams.waiting[a.ID] <- a:
		default: // nobody waits any more
		}
	})
	if err != nil {
		requests()
		stop()
		return nil, err
	}
	return func() {
		requests()
		stop()
		under.Wait()
		answers()
	}, nil
}
